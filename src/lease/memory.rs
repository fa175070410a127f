//! Leases in memory, under the same contract as the real store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::cost::AccountId;
use crate::service::clock::Clock;
use crate::service::failure::Failure;

use super::{Acquired, Lease, Leases, expiry};

#[derive(Clone, Debug)]
struct Stored {
    lease: Lease,
    /// Unix seconds.
    expires_at: i64,
}

/// Leases that are forgotten when dropped, with a clock in the place of the store's.
pub struct MemoryLeases {
    clock: Arc<dyn Clock>,
    leases: Mutex<BTreeMap<AccountId, Stored>>,
}

impl MemoryLeases {
    /// No leases yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, leases: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AccountId, Stored>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Leases for MemoryLeases {
    async fn acquire(
        &self,
        accounts: &[AccountId],
        holder: &str,
        length: Duration,
    ) -> Result<Vec<Acquired>, Failure> {
        let now = self.clock.now_seconds();
        let mut leases = self.lock();
        let mut take = |account: &AccountId| {
            let token = match leases.get(account) {
                Some(held) if held.expires_at > now => {
                    let seconds_left = held.expires_at - now;
                    return Acquired::HeldBy { lease: held.lease.clone(), seconds_left };
                }
                Some(old) => old.lease.token + 1,
                None => 1,
            };
            let lease = Lease { account: account.clone(), holder: holder.to_owned(), token };
            let stored = Stored { lease: lease.clone(), expires_at: expiry(now, length) };
            leases.insert(account.clone(), stored);
            Acquired::Granted(lease)
        };
        Ok(accounts.iter().map(&mut take).collect())
    }

    async fn renew(&self, leases: &[Lease], length: Duration) -> Result<Vec<bool>, Failure> {
        let now = self.clock.now_seconds();
        let mut stored = self.lock();
        let mut renew = |lease: &Lease| match stored.get_mut(&lease.account) {
            Some(held) if held.lease == *lease && held.expires_at > now => {
                held.expires_at = held.expires_at.max(expiry(now, length));
                true
            }
            _ => false,
        };
        Ok(leases.iter().map(&mut renew).collect())
    }

    async fn release(&self, leases: &[Lease]) -> Result<(), Failure> {
        let mut stored = self.lock();
        for lease in leases {
            if let Some(held) = stored.get_mut(&lease.account)
                && held.lease == *lease
            {
                held.expires_at = 0;
            }
        }
        Ok(())
    }
}
