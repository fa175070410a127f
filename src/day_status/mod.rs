//! The status of each account's day: what is stored of it and why.
//!
//! One document per account and day in MongoDB's collection `kubecost_account_day`, or a row of the
//! embedded store, in the form of [`stored_form`].

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::cost::bound::DayBound;
use crate::cost::day::DAY_MINUTES;
use crate::cost::{AccountId, Composition, Day};
use crate::service::failure::Failure;
use crate::source::checkpoint::Checkpoint;
use crate::source::{Phase, Presence};

pub mod memory;
pub mod mongo;
pub mod sqlite;
pub mod stored_form;

/// The state of an account's day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DayState {
    /// Stored, and complete: the source had samples of every minute that was due.
    Ok,
    /// Stored, but something is missing: gaps, numbers that were refused, an incomplete answer.
    Partial,
    /// Stored, from numbers that are averages over other times than the day.
    Approximate,
    /// Nothing of the day can have samples yet; nothing was written.
    Waiting,
    /// The source has nothing; nothing was written.
    NoData,
    /// The source has less than is stored; nothing was written.
    Late,
    /// A step failed, or the source contradicts itself; nothing was written.
    Failed,
}

impl DayState {
    /// The state's name in messages, JSON and stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Approximate => "approximate",
            Self::Waiting => "waiting",
            Self::NoData => "no-data",
            Self::Late => "late",
            Self::Failed => "failed",
        }
    }

    /// Whether the source had costs of the day, stored or not.
    #[must_use]
    pub fn had_costs(self) -> bool {
        !matches!(self, Self::Waiting | Self::NoData)
    }

    /// Whether the day's costs as the source has them now are stored.
    #[must_use]
    pub fn is_stored(self) -> bool {
        matches!(self, Self::Ok | Self::Partial | Self::Approximate)
    }
}

/// A rule that keeps a day as it is stored. An operator can override it for a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    /// Two sources claim to be one cluster.
    SourceConflict,
    /// The source covers fewer minutes than are stored.
    LessCoverage,
    /// The source covers fewer minutes of one cluster than are stored.
    LostCluster,
    /// The source's total is far below what is stored.
    ShrunkTotal,
}

impl Guard {
    /// The guard's name in messages and stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SourceConflict => "source-conflict",
            Self::LessCoverage => "less-coverage",
            Self::LostCluster => "lost-cluster",
            Self::ShrunkTotal => "shrunk-total",
        }
    }
}

/// A guard that an operator has overridden on a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Which guard. The day's other guards stay in force.
    pub guard: Guard,
    /// The operator's reason.
    pub reason: String,
}

/// For how many minutes of a day there are samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Minutes with samples, of the cluster that has the fewest.
    pub covered_minutes: u32,
    /// Minutes that could have had samples by then.
    pub expected_minutes: u32,
    /// The covered minutes by cluster, in the order of names.
    pub clusters: Vec<ClusterCoverage>,
}

impl Coverage {
    /// Whether minutes are missing.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.covered_minutes < self.expected_minutes
    }
}

/// For how many minutes of a day a cluster has samples.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterCoverage {
    /// The cluster.
    pub cluster: String,
    /// Minutes of the day with samples, of what is stored.
    pub covered_minutes: u32,
}

/// What this program has stored of a day.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredCosts {
    /// The metrics that the costs came from; `None` when no costs are stored.
    pub phase: Option<Phase>,
    /// The coverage of the costs.
    pub coverage: Coverage,
    /// The source's total of the day when it was stored, USD, rounded as stored.
    pub source_total_usd: f64,
    /// The ledger's total of the day, USD.
    pub total_usd: f64,
    /// Live rows of the day.
    pub rows: u64,
    /// When the rows of the pods of a running day were last all written, Unix seconds; what pods
    /// cost since is in the rows above theirs. `None` without pods, for days that were written once
    /// they were over, and for days that earlier versions stored.
    pub pods_at: Option<i64>,
    /// When the pods of a running day were last read, Unix seconds, where nothing was wrong about
    /// its costs then. `None` wherever `pods_at` is.
    pub pods_read_at: Option<i64>,
    /// The rates by which other currencies were converted, by currency code.
    pub exchange_rates: BTreeMap<String, f64>,
    /// By how much the total may be off; `None` where nothing is stored, and for days that earlier
    /// versions stored.
    pub bound: Option<DayBound>,
    /// What the total is made of, where that was asked for and the source says it.
    pub composition: Composition,
}

/// Rows of a day that other programs wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OtherRows {
    /// Live rows.
    pub rows: i64,
    /// Their total, USD.
    pub total_usd: f64,
}

/// The last time that a run worked on a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The state that the day is in since.
    pub state: DayState,
    /// Why it is not `ok`; empty when it is.
    pub cause: String,
    /// Whether a run began to write the day and has not ended: what is stored may then be a part
    /// of the new costs and a part of the old ones.
    pub is_pending: bool,
    /// Whether the day was over, the source's lag and late samples included.
    pub is_settled: bool,
    /// The run.
    pub run_id: String,
    /// Unix seconds.
    pub at_seconds: i64,
}

/// The status of an account's day: one per account and day.
#[derive(Clone, Debug, PartialEq)]
pub struct DayStatus {
    /// The account.
    pub account: AccountId,
    /// The day.
    pub day: Day,
    /// What is stored.
    pub stored: StoredCosts,
    /// Rows that other programs wrote, at the last attempt.
    pub other_rows: OtherRows,
    /// The samples that the source had when it was last looked at: more of them came late.
    pub seen: Presence,
    /// The last attempt.
    pub attempt: Attempt,
    /// Guards that an operator has overridden.
    pub overrides: Vec<Override>,
}

/// Statuses of one account by their days.
#[must_use]
pub fn by_day(statuses: Vec<DayStatus>) -> BTreeMap<Day, DayStatus> {
    statuses.into_iter().map(|status| (status.day, status)).collect()
}

impl DayStatus {
    /// The status of a day of which nothing is stored and nothing was seen.
    #[must_use]
    pub fn empty(account: &AccountId, day: Day) -> Self {
        Self {
            account: account.clone(),
            day,
            stored: StoredCosts::default(),
            other_rows: OtherRows::default(),
            seen: Presence::default(),
            attempt: Attempt {
                state: DayState::NoData,
                cause: String::new(),
                is_pending: false,
                is_settled: false,
                run_id: String::new(),
                at_seconds: 0,
            },
            overrides: Vec::new(),
        }
    }

    /// Whether two statuses are equal but for the run and the time of the last attempt, and
    /// when pods were written and read.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let neutral = |status: &Self| {
            let attempt =
                Attempt { run_id: String::new(), at_seconds: 0, ..status.attempt.clone() };
            // That it was written again says nothing new, that it is no longer running does.
            let pods_at = status.stored.pods_at.map(|_| 0);
            let stored = StoredCosts { pods_at, pods_read_at: None, ..status.stored.clone() };
            Self { attempt, stored, ..status.clone() }
        };
        neutral(self) == neutral(other)
    }

    /// When the rows of the day's pods were last all written, Unix seconds, where that is before
    /// the last attempt: what pods cost since is in the rows above theirs.
    #[must_use]
    pub fn older_pods_at(&self) -> Option<i64> {
        self.stored.pods_at.filter(|at_seconds| *at_seconds < self.attempt.at_seconds)
    }

    /// Whether the last attempt kept the rows of pods without reading what they cost.
    #[must_use]
    pub fn are_pods_unread(&self) -> bool {
        self.stored.pods_read_at.is_some_and(|at_seconds| at_seconds < self.attempt.at_seconds)
    }

    /// Whether the day is over and what is stored of it ends before: no run has looked at it since,
    /// or the source lags.
    #[must_use]
    pub fn lacks_its_end(&self, today: Day) -> bool {
        let until_minute = self.stored.coverage.expected_minutes;
        let is_over = self.day < today;
        is_over && !self.attempt.is_settled && (1..DAY_MINUTES).contains(&until_minute)
    }

    /// The minutes that could have had samples by now: of a day that lacks its end, all of them.
    #[must_use]
    pub fn expected_minutes(&self, today: Day) -> u32 {
        if self.lacks_its_end(today) { DAY_MINUTES } else { self.stored.coverage.expected_minutes }
    }

    /// The last attempt's state and its cause; a day that lacks its end is not complete, whatever
    /// the last attempt found.
    #[must_use]
    pub fn state(&self, today: Day) -> (DayState, String) {
        let Attempt { state, cause, .. } = &self.attempt;
        if !state.is_stored() || !self.lacks_its_end(today) {
            return (*state, cause.clone());
        }
        let until_minute = self.stored.coverage.expected_minutes;
        let (hour, minute) = (until_minute / 60, until_minute % 60);
        let why = if self.attempt.at_seconds < self.day.end_seconds() {
            format!(
                "no run came after {hour:02}:{minute:02} of this day: {} adds the rest",
                self.run_command()
            )
        } else {
            format!("the source knows {hour:02}:{minute:02} of this day: a later run adds the rest")
        };
        (DayState::Partial, self.before_cause(why))
    }

    /// Why the day is not complete, before the cause that the last attempt found.
    #[must_use]
    pub fn before_cause(&self, mut why: String) -> String {
        if !self.attempt.cause.is_empty() {
            why.push_str("; ");
            why.push_str(&self.attempt.cause);
        }
        why
    }

    /// The command that stores the day again.
    #[must_use]
    pub fn run_command(&self) -> String {
        let Self { account, day, .. } = self;
        format!("kubecost-worker run --from {day} --to {day} --account {account}")
    }

    /// The reason for which this guard is overridden on the day, if it is.
    #[must_use]
    pub fn override_reason(&self, guard: Guard) -> Option<&str> {
        let of_guard = self.overrides.iter().find(|one| one.guard == guard);
        of_guard.map(|one| one.reason.as_str())
    }
}

/// Reads day status.
#[async_trait]
pub trait DayStatusReader: Send + Sync {
    /// The statuses of an account for `first..=last`, in the order of days.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn statuses(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<Vec<DayStatus>, Failure>;

    /// The statuses of several accounts for `first..=last`, in any order.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn statuses_of(
        &self,
        accounts: &[AccountId],
        first: Day,
        last: Day,
    ) -> Result<Vec<DayStatus>, Failure> {
        let mut all = Vec::new();
        for account in accounts {
            all.extend(self.statuses(account, first, last).await?);
        }
        Ok(all)
    }

    /// Whether the store keeps checkpoints.
    fn keeps_checkpoints(&self) -> bool {
        false
    }

    /// What the source answered about the part of an account's running day that is over; `None`
    /// where nothing is kept, or what is kept cannot be read.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn checkpoint(&self, _account: &AccountId) -> Result<Option<Checkpoint>, Failure> {
        Ok(None)
    }
}

/// Writes day status.
#[async_trait]
pub trait DayStatusWriter: Send + Sync {
    /// Writes a status in the place of the one for its account and day.
    ///
    /// # Errors
    /// When the write failed.
    async fn put(&self, status: &DayStatus) -> Result<(), Failure>;

    /// Keeps an account's checkpoint in the place of the one before, where it is not too long.
    ///
    /// # Errors
    /// When the write failed.
    async fn put_checkpoint(
        &self,
        _account: &AccountId,
        _checkpoint: &Checkpoint,
    ) -> Result<(), Failure> {
        Ok(())
    }
}

/// Both halves of the store of day status.
pub trait DayStatusStore: DayStatusReader + DayStatusWriter {}

impl<T: DayStatusReader + DayStatusWriter> DayStatusStore for T {}
