//! Leases in memory, under the same contract as the real store.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::cost::AccountId;
use crate::service::failure::Failure;

use super::{Acquired, Lease, Leases};

/// Leases that are forgotten when dropped.
#[derive(Debug, Default)]
pub struct MemoryLeases {
    leases: Mutex<BTreeMap<AccountId, Lease>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Leases for MemoryLeases {
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
