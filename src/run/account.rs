//! One account of a run: its due days, one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::accounts::Account;
use crate::cost::Day;
use crate::day_status::{AccountDay, DayState};
use crate::service::failure::{Failure, Hop, Kind};
use crate::source::Presence;

use super::Environment;
use super::day::{DayWork, DueDay};
use super::days::{days_due, phase_of};
use super::failed::{is_of_one_day, of_days};
use super::order::work_order;
use super::pipeline::{RunRequest, Stop};
use super::reconcile::{DayDifference, differences};
use super::summary::{AccountSummary, DaySummary, FailureSummary, Outcome};
use crate::lease::HeldLease;

/// An account's days and what is known of them before they are worked on.
struct Known {
    /// In the order in which they are worked on.
    due: Vec<Day>,
    presence: BTreeMap<Day, Presence>,
    records: BTreeMap<Day, AccountDay>,
    differences: Vec<DayDifference>,
}

/// Works through an account; what fails is in the summary, and stops the account only.
pub async fn run_account(
    environment: &Environment,
    account: &Account,
    request: &RunRequest,
    run_id: &str,
    stop: &Stop,
) -> AccountSummary {
    let mut summary = untouched(account);
    let lease = match lease(environment, account, request, run_id).await {
        Ok(lease) => lease,
        // Only here: a conflict over a document or a lost lease is a failure.
        Err(failure) if failure.kind == Kind::Conflict => {
            tracing::warn!(account.id = %account.id, %failure, "the account is skipped");
            summary.failure = Some(FailureSummary::from(&failure));
            summary.outcome = Outcome::Skipped;
            return summary;
        }
        Err(failure) => return failed(summary, &failure),
    };
    let work = DayWork { environment, request, run_id, account, lease: lease.as_ref() };
    let mut failures = BTreeMap::new();
    let worked = work_through(&work, stop, &mut summary, &mut failures).await;
    if let Some(lease) = lease {
        lease.release().await;
    }
    summary.days.sort_by_key(|day| std::cmp::Reverse(day.day));
    if let Err(failure) = &worked {
        return failed(summary, failure);
    }
    if let Some(failure) = of_days(&summary.days, &failures) {
        return failed(summary, &failure);
    }
    if summary.days_left > 0 || summary.days.iter().any(|day| day.state != DayState::Ok) {
        summary.outcome = Outcome::Partial;
    }
    summary
}

/// An account that failed before it was worked on.
pub(super) fn account_failed(account: &Account, failure: &Failure) -> AccountSummary {
    failed(untouched(account), failure)
}

fn untouched(account: &Account) -> AccountSummary {
    AccountSummary {
        account: account.clone(),
        outcome: Outcome::Ok,
        failure: None,
        days: Vec::new(),
        documents_retired: 0,
        reconciliation_differences: 0,
        reconciliation_difference_usd: 0.0,
        days_left: 0,
    }
}

fn failed(mut summary: AccountSummary, failure: &Failure) -> AccountSummary {
    tracing::error!(account.id = %summary.account.id, %failure, "the account failed");
    summary.failure = Some(FailureSummary::from(failure));
    summary.outcome = Outcome::Failed;
    summary
}

/// The account's lease, unless nothing is to be written.
async fn lease(
    environment: &Environment,
    account: &Account,
    request: &RunRequest,
    run_id: &str,
) -> Result<Option<HeldLease>, Failure> {
    if request.is_dry {
        return Ok(None);
    }
    HeldLease::take(
        &environment.leases,
        &environment.clock,
        environment.settings.lease,
        &account.id,
        run_id,
    )
    .await
    .map(Some)
}

async fn work_through(
    work: &DayWork<'_>,
    stop: &Stop,
    summary: &mut AccountSummary,
    failures: &mut BTreeMap<Day, Failure>,
) -> Result<(), Failure> {
    let started = Instant::now();
    let deadline = work.environment.settings.account_deadline;
    let known = known(work).await?;
    summary.reconciliation_differences = known.differences.len() as u64;
    summary.reconciliation_difference_usd =
        known.differences.iter().fold(0.0, |sum, d| sum + (d.ledger_usd - d.recorded_usd).abs());
    let mut was_late = false;
    for (index, day) in known.due.iter().copied().enumerate() {
        if index > 0 && (started.elapsed() >= deadline || stop.is_asked()) {
            summary.days_left = known.due.len() - index;
            tracing::warn!(
                account.id = %work.account.id,
                days_left = summary.days_left,
                "the account's time is up: the next run goes on"
            );
            break;
        }
        let due = known.day(work, day);
        let limit = deadline.saturating_sub(started.elapsed()).max(deadline / 2);
        let done = match in_time(work, due, limit).await {
            Ok(done) => done,
            Err(failure) if is_of_one_day(&failure) => {
                // Twice in a row is no matter of the day: the layer is down, or too slow for all.
                let is_late = failure.kind == Kind::Timeout;
                if is_late && was_late {
                    return Err(Failure { what: format!("{day}: {}", failure.what), ..failure });
                }
                was_late = is_late;
                let done = work.day_failed(due, &failure).await?;
                tracing::error!(account.id = %work.account.id, %day, %failure, "the day failed");
                failures.insert(day, failure);
                summary.days.push(done);
                continue;
            }
            Err(failure) => return Err(failure),
        };
        was_late = false;
        tell(work.account, &done);
        summary.days.push(done);
    }
    retire(work, summary).await?;
    let off_usd = work.reconcile_documents().await?;
    summary.reconciliation_differences += u64::from(off_usd != 0.0);
    summary.reconciliation_difference_usd += off_usd;
    Ok(())
}

async fn in_time(
    work: &DayWork<'_>,
    due: DueDay<'_>,
    limit: Duration,
) -> Result<DaySummary, Failure> {
    tokio::time::timeout(limit, work.process(due)).await.unwrap_or_else(|_| {
        Err(Failure::new(
            Hop::Worker,
            Kind::Timeout,
            format!("the day took over {} s", limit.as_secs()),
            "raise ACCOUNT_DEADLINE_SECONDS, or see which hop is slow; the next run goes on",
        ))
    })
}

impl Known {
    fn day(&self, work: &DayWork<'_>, day: Day) -> DueDay<'_> {
        let record = self.records.get(&day);
        let presence = self.presence.get(&day).copied().unwrap_or_default();
        let phase = phase_of(work.environment.settings.phase, presence, record);
        DueDay { day, phase, presence, record }
    }
}

async fn known(work: &DayWork<'_>) -> Result<Known, Failure> {
    let environment = work.environment;
    let now_seconds = work.now_seconds();
    let today = Day::of_unix(now_seconds);
    let (first, last) = range(work, today);
    let presence = environment.query.presence(work.account, first, last, now_seconds).await?;
    let records = environment.days.days(&work.account.id, first, last).await?;
    let records: BTreeMap<Day, AccountDay> = records.into_iter().map(|r| (r.day, r)).collect();
    let totals = environment.ledger.day_totals(&work.account.id, first, last).await?;
    let differences = differences(&records, &totals);
    differences.iter().for_each(|difference| tell_difference(work.account, difference));
    let mut due: BTreeSet<Day> = match (&work.request.plan, work.request.days) {
        (Some(plan), _) => plan.days(&work.account.id).iter().map(|plan| plan.day).collect(),
        (None, Some(_)) => first.through(last).collect(),
        (None, None) => days_due(today, first, &presence, &records).into_iter().collect(),
    };
    if work.request.plan.is_none() {
        due.extend(differences.iter().map(|difference| difference.day));
    }
    let is_asked_for = work.request.plan.is_some() || work.request.days.is_some();
    let due = if is_asked_for {
        due.into_iter().rev().collect()
    } else {
        work_order(&due, today, &records)
    };
    Ok(Known { due, presence, records, differences })
}

/// The days that are looked at: those asked for, those of the plan, or all that may be due.
fn range(work: &DayWork<'_>, today: Day) -> (Day, Day) {
    let catch_up = (today.minus(work.environment.settings.catch_up_days), today);
    let Some(plan) = &work.request.plan else {
        return work.request.days.unwrap_or(catch_up);
    };
    let days = || plan.days(&work.account.id).iter().map(|plan| plan.day);
    days().min().zip(days().max()).unwrap_or((today, today))
}

fn tell_difference(account: &Account, difference: &DayDifference) {
    tracing::error!(
        account.id = %account.id,
        day = %difference.day,
        recorded_usd = difference.recorded_usd,
        recorded_rows = difference.recorded_rows,
        ledger_usd = difference.ledger_usd,
        ledger_rows = difference.ledger_rows,
        reconciliation_difference_usd = difference.ledger_usd - difference.recorded_usd,
        "the ledger does not hold what was stored: the day is computed again"
    );
}

/// Marks what was not seen for a day as inactive, when today is known to be told of.
async fn retire(work: &DayWork<'_>, summary: &mut AccountSummary) -> Result<(), Failure> {
    let today = Day::of_unix(work.now_seconds());
    let is_told = summary
        .days
        .iter()
        .any(|day| day.day == today && matches!(day.state, DayState::Ok | DayState::Partial));
    if let (true, Some(lease)) = (is_told, work.lease) {
        lease.keep().await?;
        let resources = &work.environment.resources;
        summary.documents_retired = resources.retire(&work.account.id, today.previous()).await?;
    }
    Ok(())
}

fn tell(account: &Account, day: &DaySummary) {
    for warning in &day.warnings {
        tracing::warn!(account.id = %account.id, day = %day.day, "{warning}");
    }
    tracing::info!(
        account.id = %account.id,
        day = %day.day,
        state = day.state.as_str(),
        cause = day.cause,
        phase = day.phase,
        covered_minutes = day.covered_minutes,
        expected_minutes = day.expected_minutes,
        total_usd = day.source_total_usd,
        rows_written = day.rows_written,
        documents_written = day.documents_written,
        "the day is done"
    );
}
