//! The lease that a run holds while it writes an account.

use std::sync::Arc;
use std::time::Duration;

use crate::cost::AccountId;
use crate::lease::{Acquired, Lease, Leases};
use crate::service::clock::Clock;
use crate::service::failure::{Failure, Hop, Kind};

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
    /// [`Kind::Conflict`] when somebody else has taken it, or may have: an answer that is later
    /// than the lease is long tells of a lease that is over. Or when the store fails.
    pub async fn keep(&self) -> Result<(), Failure> {
        let asked_at = self.clock.now_seconds();
        let is_ours = self.leases.renew(&self.lease, asked_at, self.seconds).await?;
        if is_ours && self.clock.now_seconds() - asked_at < self.seconds {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::lease::memory::MemoryLeases;
    use crate::service::clock::FixedClock;

    /// Leases whose answers to renewals take so many seconds.
    struct Slow {
        records: MemoryLeases,
        clock: Arc<FixedClock>,
        seconds: AtomicI64,
    }

    #[async_trait]
    impl Leases for Slow {
        async fn acquire(
            &self,
            account: &AccountId,
            holder: &str,
            now_seconds: i64,
            seconds: i64,
        ) -> Result<Acquired, Failure> {
            self.records.acquire(account, holder, now_seconds, seconds).await
        }

        async fn renew(&self, lease: &Lease, now: i64, seconds: i64) -> Result<bool, Failure> {
            let renewed = self.records.renew(lease, now, seconds).await;
            self.clock.set(now + self.seconds.load(Ordering::SeqCst));
            renewed
        }

        async fn release(&self, lease: &Lease) -> Result<(), Failure> {
            self.records.release(lease).await
        }
    }

    #[tokio::test]
    async fn an_answer_later_than_the_lease_is_long_is_no_lease() {
        let clock = Arc::new(FixedClock::at(1_000));
        let slow = Arc::new(Slow {
            records: MemoryLeases::default(),
            clock: Arc::clone(&clock),
            seconds: AtomicI64::new(9),
        });
        let leases: Arc<dyn Leases> = Arc::clone(&slow) as Arc<dyn Leases>;
        let clock: Arc<dyn Clock> = clock;
        let account = AccountId::new("a").unwrap();
        let ten = Duration::from_secs(10);
        let held = HeldLease::take(&leases, &clock, ten, &account, "r").await.unwrap();
        held.keep().await.unwrap();
        slow.seconds.store(10, Ordering::SeqCst);
        assert_eq!(held.keep().await.unwrap_err().kind, Kind::Conflict);
    }
}
