//! Leases: one writer at a time for each account.
//!
//! One document per account in MongoDB's collection `kubecost_lease`, or a row of the embedded
//! store. Time is the store's: workers whose clocks differ, or were set by `--at`, agree on when a
//! lease expires. A run works through [`HeldLease`].

use std::time::Duration;

use async_trait::async_trait;

use crate::cost::AccountId;
use crate::service::failure::Failure;
use crate::settings::worker::LEASE_MIN;
use crate::stores::WRITE_TIMEOUT;

pub mod held;
pub mod memory;
pub mod mongo;
pub mod sqlite;

pub use held::HeldLease;

// The shortest lease outlives a write that began right after the lease was renewed, even if its
// holder died then.
const _: () = assert!(LEASE_MIN.as_secs() >= WRITE_TIMEOUT.as_secs() * 3 / 2);

/// A right to write an account's costs, until it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The account.
    pub account: AccountId,
    /// Who holds it: run, host and process.
    pub holder: String,
    /// Fencing token: grows by one with each new holder, so an older one has lost its lease.
    pub token: i64,
}

/// What came of asking for a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// The caller has it.
    Granted(Lease),
    /// Somebody else has it.
    HeldBy {
        /// Theirs.
        lease: Lease,
        /// Seconds until it expires, by the store's clock.
        seconds_left: i64,
    },
}

/// Keeps leases. Each call takes a slice: a run asks once for a batch of accounts.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes the leases of these accounts that nobody holds or that have expired, each for at
    /// least `length` from when the call was made. One answer an account, in their order.
    ///
    /// `holder` must be different in each run: the caller's leases are known by it.
    ///
    /// # Errors
    /// When the store cannot be used. Leases that were taken all the same expire by themselves.
    async fn acquire(
        &self,
        accounts: &[AccountId],
        holder: &str,
        length: Duration,
    ) -> Result<Vec<Acquired>, Failure>;

    /// Renews leases, each for at least `length` from when the call was made. For each, in their
    /// order, whether it is still its holder's; one that has expired is not, even if nobody took
    /// it.
    ///
    /// # Errors
    /// When the store cannot be used.
    async fn renew(&self, leases: &[Lease], length: Duration) -> Result<Vec<bool>, Failure>;

    /// Gives leases back; those that others have taken meanwhile stay theirs.
    ///
    /// # Errors
    /// When the store cannot be used; the leases then expire by themselves.
    async fn release(&self, leases: &[Lease]) -> Result<(), Failure>;
}

/// When a lease of this length expires that is taken or renewed at `now_seconds`, Unix seconds.
/// Clocks show whole seconds, so one more makes sure that the lease is not shorter.
fn expiry(now_seconds: i64, length: Duration) -> i64 {
    let seconds = i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
    now_seconds.saturating_add(seconds).saturating_add(1)
}
