//! The lease that a run holds while it writes an account.

use std::sync::Arc;
use std::time::Duration;

use crate::allocation::AccountId;
use crate::clock::Clock;
use crate::failure::{Failure, Hop, Kind};
use crate::records::{Acquired, Lease, Leases};

/// A lease in hand: asked for again before each write, so that a holder that lost it stops.
#[derive(Clone)]
pub struct HeldLease {
    leases: Arc<dyn Leases>,
    clock: Arc<dyn Clock>,
    lease: Lease,
    seconds: i64,
}

impl HeldLease {
    /// Takes the account's lease for a run.
    ///
    /// # Errors
    /// [`Kind::Conflict`] naming the holder when somebody else has it; or when the store fails.
    pub async fn take(
        leases: &Arc<dyn Leases>,
        clock: &Arc<dyn Clock>,
        length: Duration,
        account: &AccountId,
        run_id: &str,
    ) -> Result<Self, Failure> {
        let seconds = i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
        let now = clock.now_seconds();
        let holder = holder(run_id);
        match leases.acquire(account, &holder, now, seconds).await? {
            Acquired::Granted(lease) => {
                Ok(Self { leases: Arc::clone(leases), clock: Arc::clone(clock), lease, seconds })
            }
            Acquired::HeldBy(other) => Err(Failure::new(
                Hop::MongoDb,
                Kind::Conflict,
                format!(
                    "{} is writing account {} (its lease expires in {} s)",
                    other.holder,
                    account,
                    other.expires_at - now
                ),
                "wait for it; if it is dead, its lease expires by itself",
            )),
        }
    }

    /// Sees that the lease is still ours and prolongs it. Called before each write.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when somebody else has taken it; or when the store fails.
    pub async fn keep(&self) -> Result<(), Failure> {
        if self.leases.renew(&self.lease, self.clock.now_seconds(), self.seconds).await? {
            return Ok(());
        }
        Err(Failure::new(
            Hop::MongoDb,
            Kind::Conflict,
            format!("the lease on account {} was lost: it took too long", self.lease.account),
            "raise LEASE_SECONDS, or see what slows the run down; the next run goes on",
        ))
    }

    /// Gives the lease back; if that fails it expires by itself.
    pub async fn release(self) {
        if let Err(failure) = self.leases.release(&self.lease).await {
            tracing::warn!(account.id = %self.lease.account, %failure, "the lease was not released");
        }
    }
}

/// Who holds a lease, as another worker's message shows it.
fn holder(run_id: &str) -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "this host".to_owned());
    format!("run {run_id} on {host}, process {}", std::process::id())
}
