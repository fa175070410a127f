//! The status of each account's day: what is stored of it and why.
//!
//! One document per account and day in MongoDB's collection `kubecost_account_day`, or a row of the
//! embedded store.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::cost::{AccountId, Day};
use crate::service::failure::Failure;

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
