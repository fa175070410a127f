//! What runs remember: what became of each account's days, who may write, and the rates seen of
//! layers that only know "now".
//!
//! These live beside the documents (MongoDB collections `kubecost_account_day`, `kubecost_lease`
//! and `kubecost_rate_journal`, or tables of the embedded store).

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::allocation::{AccountId, Day};
use crate::failure::Failure;

pub mod memory;
pub mod mongo;
pub mod sqlite;

/// What became of an account's day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DayState {
    /// Stored, and the source had a sample for every minute.
    Ok,
    /// Stored, but the source has gaps, or refused numbers.
    Partial,
    /// The source has nothing; nothing was written.
    NoData,
    /// The source would make the day poorer than it is stored; nothing was written.
    Late,
    /// Something failed on the way.
    Failed,
}

impl DayState {
    /// The state's name in messages, JSON and stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::NoData => "no-data",
            Self::Late => "late",
            Self::Failed => "failed",
        }
    }
}

/// The record of an account's day: one per account and day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountDay {
    /// The account.
    pub account: AccountId,
    /// The day.
    pub day: Day,
    /// What became of it.
    pub state: DayState,
    /// Why it is not `ok`; empty when it is.
    pub cause: String,
    /// 1 (raw metrics) or 2 (exporter's gauges), of what is stored; `None` when nothing is.
    pub phase: Option<u8>,
    /// Minutes of the day with samples, of what is stored.
    pub covered_minutes: u32,
    /// Those minutes by cluster, in the order of names.
    #[serde(default)]
    pub clusters: Vec<ClusterCoverage>,
    /// Minutes of the day that could have had samples then.
    pub expected_minutes: u32,
    /// What the source said the day costs, USD, rounded as stored; of what is stored.
    pub source_total_usd: f64,
    /// What the ledger has for the day, USD.
    pub stored_total_usd: f64,
    /// Live rows of the day.
    pub rows: u64,
    /// What rows of the day that no resource of ours has cost, USD: those of other programs.
    #[serde(default)]
    pub foreign_total_usd: f64,
    /// Live rows of that kind.
    #[serde(default)]
    pub foreign_rows: i64,
    /// Whether a run began to write the day and has not ended: then what is stored may be a part
    /// of the new day and a part of the old one.
    #[serde(default)]
    pub pending: bool,
    /// Whether the day was over, its lag passed, when it was computed.
    pub settled: bool,
    /// Minutes of raw metrics that the source had, to notice when more arrive.
    pub raw_minutes: u32,
    /// Minutes of exporter's gauges that the source had, to notice when more arrive.
    pub exporter_minutes: u32,
    /// Samples of raw metrics that the source had, of all clusters, for the same.
    #[serde(default)]
    pub raw_samples: u64,
    /// Samples of exporter's gauges that the source had, of all clusters, for the same.
    #[serde(default)]
    pub exporter_samples: u64,
    /// Why a guard was overridden, if it was.
    #[serde(default)]
    pub forced_reason: Option<String>,
    /// The run that wrote this.
    pub run_id: String,
    /// When, Unix seconds.
    pub updated_at: i64,
}

/// For how many minutes of a day a cluster has samples.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterCoverage {
    /// The cluster.
    pub cluster: String,
    /// Minutes of the day with samples, of what is stored.
    pub covered_minutes: u32,
}

impl AccountDay {
    /// Whether two records say the same, whichever run wrote them.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let neutral =
            |record: &Self| Self { run_id: String::new(), updated_at: 0, ..record.clone() };
        neutral(self) == neutral(other)
    }
}

/// Keeps the records of days.
#[async_trait]
pub trait DayRecords: Send + Sync {
    /// The records of an account for `first..=last`, in the order of days.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn days(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<Vec<AccountDay>, Failure>;

    /// Writes a record in the place of the one for its account and day.
    ///
    /// # Errors
    /// When the write failed.
    async fn put(&self, record: &AccountDay) -> Result<(), Failure>;
}

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

/// One rate that was seen: USD per hour of a cluster, a namespace or a pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeenRate {
    /// Cluster.
    pub cluster: String,
    /// Namespace, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Pod, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Node, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Service, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// USD per hour.
    pub usd_per_hour: f64,
}

/// All rates of an account in one slot of [`SLOT_SECONDS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlotRates {
    /// The account.
    pub account: AccountId,
    /// Start of the slot, Unix seconds; a multiple of [`SLOT_SECONDS`].
    pub slot_seconds: i64,
    /// 1 or 2: where the rates come from.
    pub phase: u8,
    /// By how much the source lagged at that time, seconds, if it said so.
    pub lag_seconds: Option<i64>,
    /// How many numbers were no rates and are left out.
    #[serde(default)]
    pub refused: u32,
    /// The rates.
    pub rates: Vec<SeenRate>,
}

/// Length of a slot of the rate journal, seconds: the rhythm of runs.
pub const SLOT_SECONDS: i64 = 300;

/// How long slots are kept, seconds: three days, enough for yesterday and a late run.
pub const SLOT_KEPT_SECONDS: i64 = 3 * 86_400;

/// Keeps the rates seen of layers that only know "now".
#[async_trait]
pub trait RateJournal: Send + Sync {
    /// Notes a slot. The first note of a slot stands, so that two runs in one slot agree.
    ///
    /// # Errors
    /// When the store cannot be used.
    async fn note(&self, slot: &SlotRates) -> Result<(), Failure>;

    /// The slots of an account that start in `from..until` (Unix seconds), in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn slots(
        &self,
        account: &AccountId,
        from_seconds: i64,
        until_seconds: i64,
    ) -> Result<Vec<SlotRates>, Failure>;
}
