//! The worker's own metrics: a run's summary in, families of samples out.
//!
//! Pure: nothing is asked and nothing is sent here. Where they go is `publish` and `serve`.

use std::collections::BTreeMap;

use crate::accounts::ACCOUNT_TYPE;
use crate::cost::Day;
use crate::cost::odd_days::Judged;
use crate::day_status::DayState;
use crate::run::RunSummary;
use crate::run::summary::{AccountSummary, DaySummary, Outcome};
use crate::service::failure::Kind;
use crate::source::WarningKind;

/// Labels of a sample, in order.
pub type Labels = Vec<(&'static str, String)>;

/// What kind of metric a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyKind {
    /// A value that goes up and down.
    Gauge,
    /// A count that only grows; its samples' names end in `_total`, the family's does not.
    Counter,
}

/// A metric and its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The name, for counters without `_total`.
    pub name: &'static str,
    /// What it means, with its unit.
    pub help: &'static str,
    /// Gauge or counter.
    pub kind: FamilyKind,
    /// Labels and value of each series.
    pub samples: Vec<(Labels, f64)>,
}

/// What is remembered from run to run: by `schedule` in memory, by `run` in what it left behind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Runs by outcome: `ok`, `failed` (some account), `down` (nothing could be done).
    pub runs: BTreeMap<String, f64>,
    /// Failures by hop and kind.
    pub failures: BTreeMap<(String, String), f64>,
    /// Rows written.
    pub rows: f64,
    /// Documents written.
    pub documents: f64,
    /// When the last successful run ended (see `has_succeeded`), Unix seconds.
    pub last_success: Option<f64>,
    /// When expenses of each account were last written, Unix seconds.
    pub last_insert: BTreeMap<String, f64>,
}

impl Totals {
    /// Adds a run.
    pub fn add(&mut self, summary: &RunSummary) {
        let ended = ended_at(summary);
        *self.runs.entry(run_outcome(summary).to_owned()).or_default() += 1.0;
        if has_succeeded(summary) {
            self.last_success = Some(ended);
        }
        self.rows += summary.rows_written as f64;
        self.documents += summary.documents_written as f64;
        let of_accounts = summary
            .accounts
            .iter()
            .filter(|account| account.outcome == Outcome::Failed)
            .filter_map(|account| account.failure.as_ref());
        for failure in summary.failure.iter().chain(of_accounts) {
            // Hops are named with spaces for people, and as the alerts' labels with dashes.
            let key = (failure.hop.replace(' ', "-"), failure.kind.to_owned());
            *self.failures.entry(key).or_default() += 1.0;
        }
        for account in &summary.accounts {
            if account.days.iter().any(|day| day.rows_written > 0) {
                self.last_insert.insert(account.account.id.to_string(), ended);
            }
        }
    }
}

fn run_outcome(summary: &RunSummary) -> &'static str {
    match summary.exit_code {
        0 => "ok",
        1 => "failed",
        _ => "down",
    }
}

/// Whether the run as a whole succeeded. Failed accounts have metrics and alerts of their own, so
/// unlike the exit code this does not depend on `FAIL_ON`.
fn has_succeeded(summary: &RunSummary) -> bool {
    let is_none_undone = summary.accounts_failed == 0 && summary.accounts_left == 0;
    summary.failure.is_none() && (summary.accounts_done > 0 || is_none_undone)
}

fn ended_at(summary: &RunSummary) -> f64 {
    summary.started_at as f64 + (summary.duration_ms as f64 / 1_000.0).floor()
}

fn gauge(name: &'static str, help: &'static str, samples: Vec<(Labels, f64)>) -> Family {
    Family { name, help, kind: FamilyKind::Gauge, samples }
}

fn counter(name: &'static str, help: &'static str, samples: Vec<(Labels, f64)>) -> Family {
    Family { name, help, kind: FamilyKind::Counter, samples }
}

/// All metrics after a run, or before the first one.
#[must_use]
pub fn families(last: Option<&RunSummary>, totals: &Totals) -> Vec<Family> {
    let mut all = of_process(totals);
    if let Some(summary) = last {
        all.extend(of_run(summary));
        all.extend(of_accounts(summary));
        all.extend(of_agreement(summary));
    }
    // A family without series would be a name with nothing behind it.
    all.retain(|family| !family.samples.is_empty());
    all
}

fn of_process(totals: &Totals) -> Vec<Family> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let runs = totals.runs.iter().map(|(outcome, n)| (vec![("outcome", outcome.clone())], *n));
    let failures = totals
        .failures
        .iter()
        .map(|((hop, kind), n)| (vec![("hop", hop.clone()), ("kind", kind.clone())], *n));
    let inserts = totals.last_insert.iter().map(|(id, time)| {
        let kind = ("cloud_account_type", ACCOUNT_TYPE.to_owned());
        (vec![("cloud_account_id", id.clone()), kind], *time)
    });
    vec![
        gauge(
            "kubecost_worker_build_info",
            "1; the label tells the version.",
            vec![(vec![("version", version)], 1.0)],
        ),
        gauge(
            "kubecost_worker_run_last_success_timestamp_seconds",
            "When the last run ended in which an account was done, or which had none to do, Unix time.",
            totals.last_success.map(|time| (Vec::new(), time)).into_iter().collect(),
        ),
        counter("kubecost_worker_runs", "Runs, by outcome.", runs.collect()),
        counter(
            "kubecost_worker_rows_written",
            "Rows written to ClickHouse.",
            vec![(Vec::new(), totals.rows)],
        ),
        counter(
            "kubecost_worker_documents_written",
            "Documents inserted or changed in MongoDB.",
            vec![(Vec::new(), totals.documents)],
        ),
        counter(
            "kubecost_worker_failures",
            "Failures of runs and accounts, by hop and kind.",
            failures.collect(),
        ),
        gauge(
            "expenses_last_insert_time",
            "When expenses of the account were last written, Unix time.",
            inserts.collect(),
        ),
    ]
}

fn of_run(summary: &RunSummary) -> Vec<Family> {
    let outcomes = [Outcome::Ok, Outcome::Partial, Outcome::Failed, Outcome::Skipped];
    let accounts = outcomes.map(|outcome| {
        let count = summary.accounts.iter().filter(|a| a.outcome == outcome).count();
        (vec![("outcome", outcome.as_str().to_owned())], count as f64)
    });
    vec![
        gauge(
            "kubecost_worker_run_duration_seconds",
            "How long the last run took.",
            vec![(Vec::new(), summary.duration_ms as f64 / 1_000.0)],
        ),
        gauge(
            "kubecost_worker_accounts",
            "Accounts of the last run, by outcome.",
            accounts.to_vec(),
        ),
        gauge(
            "kubecost_worker_rest_api_failed_calls",
            "Calls to the REST API that failed in the last run; they kept no cost from being stored.",
            vec![(Vec::new(), summary.rest_api_failures as f64)],
        ),
    ]
}

/// The states that alerts distinguish; exactly one holds for an account.
const ACCOUNT_STATES: [&str; 5] = ["ok", "partial", "failed", "skipped", "no-data"];

fn account_state(account: &AccountSummary) -> &'static str {
    let newest = account.days.iter().max_by_key(|day| day.day);
    match account.outcome {
        Outcome::Partial if newest.is_some_and(|day| day.state == DayState::NoData) => "no-data",
        outcome => outcome.as_str(),
    }
}

/// The samples of all accounts.
fn each(
    summary: &RunSummary,
    sample: impl Fn(&AccountSummary) -> Vec<(Labels, f64)>,
) -> Vec<(Labels, f64)> {
    summary.accounts.iter().flat_map(sample).collect()
}

fn of_accounts(summary: &RunSummary) -> Vec<Family> {
    let today = Day::of_unix(summary.started_at);
    let by_day = |value: fn(&DaySummary) -> Option<f64>| {
        each(summary, |account| {
            let days = [("today", today), ("yesterday", today.previous())];
            let sample = |(name, day): (&str, Day)| {
                let found = account.known_days().find(|summary| summary.day == day)?;
                let labels = vec![id(account), ("day", name.to_owned())];
                value(found).map(|value| (labels, value))
            };
            days.into_iter().filter_map(sample).collect()
        })
    };
    let states = each(summary, |account| {
        let holds = account_state(account);
        let sample = |state: &&'static str| {
            let labels = vec![id(account), ("state", (*state).to_owned())];
            (labels, f64::from(u8::from(*state == holds)))
        };
        ACCOUNT_STATES.iter().map(sample).collect()
    });
    let warnings = each(summary, |account| {
        let count = |kind: WarningKind| {
            let labels = vec![id(account), ("kind", kind.as_str().to_owned())];
            (labels, warning_count(account, kind) as f64)
        };
        WarningKind::ALL.map(count).to_vec()
    });
    let days = each(summary, |account| {
        let mut by_state: BTreeMap<&'static str, f64> = BTreeMap::new();
        for day in account.known_days() {
            *by_state.entry(day.state.as_str()).or_default() += 1.0;
        }
        let sample =
            |(state, count): (&str, f64)| (vec![id(account), ("state", state.to_owned())], count);
        by_state.into_iter().map(sample).collect()
    });
    vec![
        gauge("kubecost_worker_account_state", "1 for the state that the account is in.", states),
        gauge(
            "kubecost_worker_coverage_ratio",
            "Share of the day's minutes so far for which the source has a sample.",
            by_day(|day| {
                let expected = f64::from(day.expected_minutes);
                (expected > 0.0).then(|| f64::from(day.covered_minutes) / expected)
            }),
        ),
        gauge(
            "kubecost_worker_day_cost_usd",
            "What the stores have for the day, USD.",
            by_day(|day| Some(day.stored_total_usd)),
        ),
        gauge(
            "kubecost_worker_account_warnings",
            "Warnings about the account's days in the last run, by what they are about.",
            warnings,
        ),
        gauge(
            "kubecost_worker_account_day_states",
            "The account's days that the last run worked on or left at rest, by state.",
            days,
        ),
    ]
}

/// How well each account's source and stores agree, with each other and with themselves.
fn of_agreement(summary: &RunSummary) -> Vec<Family> {
    let differences = each(summary, |account| {
        let difference = difference_usd(account);
        difference.map(|usd| (vec![id(account)], usd)).into_iter().collect()
    });
    let contradictions = each(summary, |account| {
        let count: u64 = account.days.iter().map(|day| day.contradictions).sum();
        vec![(vec![id(account)], count as f64)]
    });
    let lags = each(summary, |account| {
        let told = account.days.iter().filter(|day| day.covered_minutes > 0);
        let newest = told.max_by_key(|day| day.day);
        newest.map(|day| (vec![id(account)], day.lag_seconds as f64)).into_iter().collect()
    });
    vec![
        gauge(
            "kubecost_worker_reconciliation_difference_usd",
            "Between source and stores over the run's days that were stored, USD.",
            differences,
        ),
        gauge(
            "kubecost_worker_source_contradictions",
            "Clusters and namespaces of the last run's days whose parts cost over 1 % more than they.",
            contradictions,
        ),
        odd_days(summary),
        gauge(
            "kubecost_worker_source_lag_seconds",
            "By how much the account's source lags behind the costs it tells about.",
            lags,
        ),
    ]
}

/// By how much the newest whole day of each account is odd.
fn odd_days(summary: &RunSummary) -> Family {
    let kinds = |judged: Judged| [("spike", judged.spike_usd), ("drop", judged.drop_usd)];
    let of = |account: &AccountSummary| {
        let sample = |(kind, usd): (&str, f64)| (vec![id(account), ("kind", kind.to_owned())], usd);
        account.newest_day.into_iter().flat_map(kinds).map(sample).collect::<Vec<_>>()
    };
    gauge(
        "kubecost_worker_day_anomaly_usd",
        "By how much the newest whole day costs more (spike) or less (drop) than days like it, USD; \
         0 where it is not odd.",
        summary.accounts.iter().flat_map(of).collect(),
    )
}

fn id(account: &AccountSummary) -> (&'static str, String) {
    ("cloud_account_id", account.account.id.to_string())
}

/// Warnings of a kind; a refused currency is a failure of the day, and counts as one.
fn warning_count(account: &AccountSummary, kind: WarningKind) -> usize {
    let warnings = account.days.iter().flat_map(|day| &day.warnings);
    let refused = account.failure.as_ref().is_some_and(|failure| {
        kind == WarningKind::Currency && failure.kind == Kind::Currency.as_str()
    });
    warnings.filter(|warning| warning.kind == kind).count() + usize::from(refused)
}

/// What the run's own reconciliation found; nothing for an account without a stored day.
fn difference_usd(account: &AccountSummary) -> Option<f64> {
    let is_stored = |day: &DaySummary| matches!(day.state, DayState::Ok | DayState::Partial);
    // `+ 0.0` makes a sum of nothing, which is -0, a plain zero.
    account.days.iter().any(is_stored).then_some(account.reconciliation_difference_usd + 0.0)
}

#[cfg(test)]
mod tests;
