//! Leases: one writer at a time for each account.
//!
//! One document per account in MongoDB's collection `kubecost_lease`, or a row of the embedded
//! store. A run works through [`HeldLease`].

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::cost::AccountId;
use crate::service::failure::Failure;

pub mod held;
pub mod memory;
pub mod mongo;
pub mod sqlite;

pub use held::HeldLease;

/// A right to write an account's costs, until it expires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The account.
    pub account: AccountId,
    /// Who holds it: host, process and a random part.
    pub holder: String,
    /// Grows by one with each new holder: a holder with an older token has lost its lease.
    pub token: i64,
    /// Unix seconds.
    pub expires_at: i64,
}

/// What came of asking for a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// It is ours.
    Granted(Lease),
    /// Somebody else holds it.
    HeldBy(Lease),
}

/// Sees to it that one worker at a time writes an account.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes the account's lease if nobody holds it, or if it has expired.
    ///
    /// # Errors
    /// When the store cannot be used.
    async fn acquire(
        &self,
        account: &AccountId,
        holder: &str,
        now_seconds: i64,
        seconds: i64,
    ) -> Result<Acquired, Failure>;

    /// Prolongs a lease; `false` when it is no longer ours.
    ///
    /// # Errors
    /// When the store cannot be used.
    async fn renew(&self, lease: &Lease, now_seconds: i64, seconds: i64) -> Result<bool, Failure>;

    /// Gives a lease back.
    ///
    /// # Errors
    /// When the store cannot be used; the lease then expires by itself.
    async fn release(&self, lease: &Lease) -> Result<(), Failure>;
}
