//! Records in memory: the twin of the real store, for tests of everything around it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::allocation::{AccountId, Day};
use crate::failure::Failure;

use super::{AccountDay, Acquired, DayRecords, Lease, Leases, RateJournal, SlotRates};

/// Records, leases and a journal that are forgotten when dropped.
#[derive(Debug, Default)]
pub struct MemoryRecords {
    days: Mutex<BTreeMap<(AccountId, Day), AccountDay>>,
    leases: Mutex<BTreeMap<AccountId, Lease>>,
    slots: Mutex<BTreeMap<(AccountId, i64), SlotRates>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl DayRecords for MemoryRecords {
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

#[async_trait]
impl Leases for MemoryRecords {
    async fn acquire(
        &self,
        account: &AccountId,
        holder: &str,
        now_seconds: i64,
        seconds: i64,
    ) -> Result<Acquired, Failure> {
        let mut leases = lock(&self.leases);
        let token = match leases.get(account) {
            Some(held) if held.expires_at > now_seconds => {
                return Ok(Acquired::HeldBy(held.clone()));
            }
            Some(old) => old.token + 1,
            None => 1,
        };
        let lease = Lease {
            account: account.clone(),
            holder: holder.to_owned(),
            token,
            expires_at: now_seconds + seconds,
        };
        leases.insert(account.clone(), lease.clone());
        Ok(Acquired::Granted(lease))
    }

    async fn renew(&self, lease: &Lease, now_seconds: i64, seconds: i64) -> Result<bool, Failure> {
        let mut leases = lock(&self.leases);
        match leases.get_mut(&lease.account) {
            Some(held) if held.token == lease.token && held.expires_at > now_seconds => {
                held.expires_at = now_seconds + seconds;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn release(&self, lease: &Lease) -> Result<(), Failure> {
        let mut leases = lock(&self.leases);
        if let Some(held) = leases.get_mut(&lease.account)
            && held.token == lease.token
        {
            held.expires_at = 0;
        }
        Ok(())
    }
}

#[async_trait]
impl RateJournal for MemoryRecords {
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
}
