//! Day status in memory, under the same contract as the real store.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::cost::{AccountId, Day};
use crate::service::failure::Failure;
use crate::source::checkpoint::Checkpoint;

use super::{DayStatus, DayStatusReader, DayStatusWriter};

/// Day status that is forgotten when dropped.
#[derive(Debug, Default)]
pub struct MemoryDayStatus {
    days: Mutex<BTreeMap<(AccountId, Day), DayStatus>>,
    checkpoints: Mutex<BTreeMap<AccountId, Checkpoint>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl DayStatusReader for MemoryDayStatus {
    async fn statuses(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<Vec<DayStatus>, Failure> {
        let days = lock(&self.days);
        let of_account = days.range((account.clone(), first)..);
        let wanted = of_account.take_while(|(key, _)| key.0 == *account && key.1 <= last);
        Ok(wanted.map(|(_, status)| status.clone()).collect())
    }

    fn keeps_checkpoints(&self) -> bool {
        true
    }

    async fn checkpoint(&self, account: &AccountId) -> Result<Option<Checkpoint>, Failure> {
        Ok(lock(&self.checkpoints).get(account).cloned())
    }
}

#[async_trait]
impl DayStatusWriter for MemoryDayStatus {
    async fn put(&self, status: &DayStatus) -> Result<(), Failure> {
        lock(&self.days).insert((status.account.clone(), status.day), status.clone());
        Ok(())
    }

    async fn put_checkpoint(
        &self,
        account: &AccountId,
        checkpoint: &Checkpoint,
    ) -> Result<(), Failure> {
        lock(&self.checkpoints).insert(account.clone(), checkpoint.clone());
        Ok(())
    }
}
