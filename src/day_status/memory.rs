//! Day status in memory, under the same contract as the real store.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::cost::{AccountId, Day};
use crate::service::failure::Failure;

use super::{AccountDay, DayRecords};

/// Day status that is forgotten when dropped.
#[derive(Debug, Default)]
pub struct MemoryDays {
    days: Mutex<BTreeMap<(AccountId, Day), AccountDay>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl DayRecords for MemoryDays {
    async fn days(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<Vec<AccountDay>, Failure> {
        let days = lock(&self.days);
        let of_account = days.range((account.clone(), first)..);
        let wanted = of_account.take_while(|(key, _)| key.0 == *account && key.1 <= last);
        Ok(wanted.map(|(_, record)| record.clone()).collect())
    }

    async fn put(&self, record: &AccountDay) -> Result<(), Failure> {
        lock(&self.days).insert((record.account.clone(), record.day), record.clone());
        Ok(())
    }
}
