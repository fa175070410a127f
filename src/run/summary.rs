//! What a run did, for people and for machines.

use serde::Serialize;

use crate::accounts::Account;
use crate::cost::odd_days::Judged;
use crate::cost::{Day, Phase};
use crate::day_status::{DayState, DayStatus};
use crate::rest_api::TabNodes;
use crate::service::failure::{Failure, Hop};
use crate::source::Warning;

/// What became of one day of an account.
#[derive(Clone, Debug, Serialize)]
pub struct DaySummary {
    /// The day.
    pub day: Day,
    /// What became of it.
    pub state: DayState,
    /// Why it is not `ok`.
    pub cause: String,
    /// 1 or 2, when costs were read.
    pub phase: Option<u8>,
    /// Minutes of the day with samples.
    pub covered_minutes: u32,
    /// Minutes that could have had one.
    pub expected_minutes: u32,
    /// By how much the source lags, seconds.
    pub lag_seconds: i64,
    /// What the source says the day costs, USD, as rounded.
    pub source_total_usd: f64,
    /// What the ledger has for the day, USD.
    pub stored_total_usd: f64,
    /// Live rows of the day.
    pub rows: u64,
    /// Rows written.
    pub rows_written: u64,
    /// Keys whose cost changed.
    pub keys_changed: u64,
    /// Keys whose rows contradicted each other and were put right.
    pub keys_healed: u64,
    /// Documents inserted or changed.
    pub documents_written: u64,
    /// By how much what was stored differed from the day's record before this run, USD.
    pub reconciliation_difference_usd: f64,
    /// Parents whose children cost over 1 % more than they: the source contradicts itself.
    pub contradictions: u64,
    /// What an operator should know.
    pub warnings: Vec<Warning>,
}

impl DaySummary {
    /// A day of which no costs are known.
    #[must_use]
    pub fn without_costs(day: Day) -> Self {
        Self {
            day,
            state: DayState::NoData,
            cause: String::new(),
            phase: None,
            covered_minutes: 0,
            expected_minutes: 0,
            lag_seconds: 0,
            source_total_usd: 0.0,
            stored_total_usd: 0.0,
            rows: 0,
            rows_written: 0,
            keys_changed: 0,
            keys_healed: 0,
            documents_written: 0,
            reconciliation_difference_usd: 0.0,
            contradictions: 0,
            warnings: Vec::new(),
        }
    }

    /// A day that was not worked on, as it is stored.
    #[must_use]
    pub fn of_status(status: &DayStatus) -> Self {
        let stored = &status.stored;
        Self {
            state: status.attempt.state,
            cause: status.attempt.cause.clone(),
            phase: stored.phase.map(Phase::number),
            covered_minutes: stored.coverage.covered_minutes,
            expected_minutes: stored.coverage.expected_minutes,
            source_total_usd: stored.source_total_usd,
            stored_total_usd: stored.total_usd,
            rows: stored.rows,
            ..Self::without_costs(status.day)
        }
    }
}

/// How an account fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All due days are stored and complete.
    Ok,
    /// Nothing failed, but some due days are incomplete, kept as they were, or left for the next
    /// run.
    Partial,
    /// Something failed; days that were done stay done.
    Failed,
    /// Somebody else is writing the account.
    Skipped,
}

impl Outcome {
    /// The outcome's name in metrics and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// What became of one account.
#[derive(Clone, Debug, Serialize)]
pub struct AccountSummary {
    /// The account.
    #[serde(flatten)]
    pub account: Account,
    /// How it fared.
    pub outcome: Outcome,
    /// What failed, or who else is writing.
    pub failure: Option<FailureSummary>,
    /// Its days, the newest first.
    pub days: Vec<DaySummary>,
    /// Yesterday as it is stored, where it is settled and the source has no more of it.
    #[serde(skip)]
    pub settled_yesterday: Option<DaySummary>,
    /// The nodes of the newest day that was worked on, where nodes are a level.
    #[serde(skip)]
    pub nodes: TabNodes,
    /// Documents marked as inactive.
    pub documents_retired: u64,
    /// Days whose record and ledger disagreed before this run, and documents that did after it.
    pub reconciliation_differences: u64,
    /// By how much, USD.
    pub reconciliation_difference_usd: f64,
    /// Due days left for the next run, because the account's time was up or a stop was asked for.
    pub days_left: usize,
    /// Whether the newest whole day costs other than days like it; absent where there are too few.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_day: Option<Judged>,
}

impl AccountSummary {
    /// An account that was not worked on yet.
    #[must_use]
    pub fn untouched(account: &Account) -> Self {
        Self {
            account: account.clone(),
            outcome: Outcome::Ok,
            failure: None,
            days: Vec::new(),
            settled_yesterday: None,
            nodes: TabNodes::default(),
            documents_retired: 0,
            reconciliation_differences: 0,
            reconciliation_difference_usd: 0.0,
            days_left: 0,
            newest_day: None,
        }
    }

    /// The days that were worked on, and yesterday where it is settled.
    pub fn known_days(&self) -> impl Iterator<Item = &DaySummary> {
        self.days.iter().chain(&self.settled_yesterday)
    }

    /// The account with this failure.
    #[must_use]
    pub fn failed(mut self, failure: &Failure) -> Self {
        tracing::error!(account.id = %self.account.id, %failure, "the account failed");
        self.failure = Some(FailureSummary::from(failure));
        self.outcome = Outcome::Failed;
        self
    }

    /// The account, which somebody else is writing.
    #[must_use]
    pub fn skipped(mut self, failure: &Failure) -> Self {
        tracing::warn!(account.id = %self.account.id, %failure, "the account is skipped");
        self.failure = Some(FailureSummary::from(failure));
        self.outcome = Outcome::Skipped;
        self
    }

    /// The account, which was left in the middle because a stop was asked for.
    #[must_use]
    pub fn broken_off(mut self) -> Self {
        tracing::warn!(
            account.id = %self.account.id,
            "the account is left in the middle of its writes: a stop was asked for; the next run that \
             finds its lease ended (LEASE_SECONDS) goes on"
        );
        self.days_left = 1;
        self.outcome = Outcome::Partial;
        self
    }

    /// Why nothing of the account could be stored, where none of its days has any sample.
    #[must_use]
    pub fn nothing_found(&self) -> Option<String> {
        let newest = self.days.iter().max_by_key(|day| day.day)?;
        let has_nothing =
            |day: &DaySummary| matches!(day.state, DayState::NoData | DayState::Waiting);
        let is_empty = self.known_days().all(has_nothing)
            && self.days.iter().any(|day| day.state == DayState::NoData);
        is_empty.then(|| format!("{}: {}", newest.day, newest.cause))
    }
}

/// A failure as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct FailureSummary {
    /// Where.
    pub hop: &'static str,
    /// Of which kind.
    pub kind: &'static str,
    /// What was done and what came of it.
    pub what: String,
    /// What to do.
    pub fix: String,
    /// Whether the hop could not be used at all.
    #[serde(skip)]
    pub is_hop_down: bool,
    /// Whether settings or arguments are at fault.
    #[serde(skip)]
    pub is_misuse: bool,
}

impl From<&Failure> for FailureSummary {
    fn from(failure: &Failure) -> Self {
        Self {
            hop: failure.hop.as_str(),
            kind: failure.kind.as_str(),
            what: failure.what.clone(),
            fix: failure.fix.clone(),
            is_hop_down: failure.is_hop_down() && failure.hop != Hop::Worker,
            is_misuse: failure.is_misuse(),
        }
    }
}

/// What a run did: its last line of output, as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct RunSummary {
    /// The run's name in records and logs.
    pub run_id: String,
    /// Unix seconds.
    pub started_at: i64,
    /// How long it took.
    pub duration_ms: u64,
    /// Whether nothing was to be written.
    pub dry_run: bool,
    /// The exit code that goes with it.
    pub exit_code: u8,
    /// Accounts that are done, complete or not.
    pub accounts_done: usize,
    /// Accounts that failed.
    pub accounts_failed: usize,
    /// Accounts that somebody else is writing.
    pub accounts_skipped: usize,
    /// Accounts not looked at, because a stop was asked for.
    pub accounts_left: usize,
    /// Rows written.
    pub rows_written: u64,
    /// Documents inserted or changed.
    pub documents_written: u64,
    /// Where source, MongoDB and ClickHouse did not agree: days and documents.
    pub reconciliation_differences: u64,
    /// By how much, USD.
    pub reconciliation_difference_usd: f64,
    /// Calls to the REST API that failed; none of them kept a cost from being stored.
    pub rest_api_failures: u64,
    /// What an operator should know of the run as a whole.
    pub warnings: Vec<String>,
    /// What could not be done at all, if anything.
    pub failure: Option<FailureSummary>,
    /// The accounts.
    pub accounts: Vec<AccountSummary>,
}

impl RunSummary {
    /// A run that has done nothing yet.
    #[must_use]
    pub fn start(started_at: i64, dry_run: bool) -> Self {
        Self {
            run_id: uuid::Uuid::new_v4().to_string(),
            started_at,
            duration_ms: 0,
            dry_run,
            exit_code: 0,
            accounts_done: 0,
            accounts_failed: 0,
            accounts_skipped: 0,
            accounts_left: 0,
            rows_written: 0,
            documents_written: 0,
            reconciliation_differences: 0,
            reconciliation_difference_usd: 0.0,
            rest_api_failures: 0,
            warnings: Vec::new(),
            failure: None,
            accounts: Vec::new(),
        }
    }

    /// Ends the run by a failure, before it could do anything.
    pub fn abort(&mut self, failure: &Failure) {
        tracing::error!(%failure, "nothing could be done");
        self.failure = Some(FailureSummary::from(failure));
        self.finalize();
    }

    /// Sums up a run that took so long.
    pub fn finish(&mut self, took: std::time::Duration) {
        self.duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.finalize();
    }

    /// Sums up the accounts' outcomes.
    pub fn finalize(&mut self) {
        let count = |outcome| self.accounts.iter().filter(|a| a.outcome == outcome).count();
        self.accounts_done = count(Outcome::Ok) + count(Outcome::Partial);
        self.accounts_failed = count(Outcome::Failed);
        self.accounts_skipped = count(Outcome::Skipped);
        let days = || self.accounts.iter().flat_map(|account| &account.days);
        self.rows_written = days().map(|day| day.rows_written).sum();
        self.documents_written = days().map(|day| day.documents_written).sum::<u64>()
            + self.accounts.iter().map(|account| account.documents_retired).sum::<u64>();
        let accounts = &self.accounts;
        self.reconciliation_differences =
            accounts.iter().map(|account| account.reconciliation_differences).sum();
        self.reconciliation_difference_usd =
            accounts.iter().fold(0.0, |sum, account| sum + account.reconciliation_difference_usd);
        self.exit_code = self.code();
    }

    /// 0: all accounts done; 1: some account failed, or stores that did not agree were found; 2:
    /// what was asked for is not there; 3: nothing could be done, because a hop is down.
    fn code(&self) -> u8 {
        if let Some(failure) = &self.failure {
            return if failure.is_misuse { 2 } else { 3 };
        }
        if self.accounts_failed == 0 {
            return u8::from(self.reconciliation_differences > 0);
        }
        let is_down = |account: &AccountSummary| {
            account.outcome == Outcome::Failed
                && account.days.iter().all(|day| day.state == DayState::Failed)
                && account.failure.as_ref().is_some_and(|failure| failure.is_hop_down)
        };
        if self.accounts.iter().all(is_down) { 3 } else { 1 }
    }
}
