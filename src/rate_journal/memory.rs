//! The rate journal in memory, under the same contract as the real store.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::cost::AccountId;
use crate::service::failure::Failure;

use super::{RateJournal, SlotHead, SlotRates};

/// A journal that is forgotten when dropped.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    slots: Mutex<BTreeMap<(AccountId, i64), SlotRates>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl RateJournal for MemoryJournal {
    async fn note(&self, slot: &SlotRates) -> Result<(), Failure> {
        let key = (slot.account.clone(), slot.slot_seconds);
        lock(&self.slots).entry(key).or_insert_with(|| slot.clone());
        Ok(())
    }

    async fn slots(
        &self,
        account: &AccountId,
        from_seconds: i64,
        until_seconds: i64,
    ) -> Result<Vec<SlotRates>, Failure> {
        let slots = lock(&self.slots);
        let of_account = slots.range((account.clone(), from_seconds)..);
        let wanted = of_account.take_while(|(key, _)| key.0 == *account && key.1 < until_seconds);
        Ok(wanted.map(|(_, slot)| slot.clone()).collect())
    }

    async fn heads(
        &self,
        account: &AccountId,
        from_seconds: i64,
        until_seconds: i64,
    ) -> Result<Vec<SlotHead>, Failure> {
        let slots = self.slots(account, from_seconds, until_seconds).await?;
        Ok(slots.iter().map(SlotRates::head).collect())
    }
}
