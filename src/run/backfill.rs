//! Past days, one after the other: resumable, and easy on the query layer.
//!
//! A day whose status is settled and complete, and whose rows are what was stored, is skipped, so a
//! backfill that was ended resumes where it was. One query runs at a time, and after each day as long
//! a pause is made as the day took, so that the query layer is never busy with this for more than half
//! of the time. The lease is taken for each day, so that other runs write the account in between.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::accounts::{Account, select_accounts};
use crate::cost::Day;
use crate::cost::day::DAY_SECONDS;
use crate::day_status::{DayState, DayStatus, by_day};
use crate::service::failure::Failure;

use super::account::AccountWork;
use super::apply::Writing;
use super::environment::{Environment, Readers};
use super::order::QueuedAccount;
use super::reconcile::differences;
use super::request::{AccountJob, Days, RunRequest, Stop};
use super::summary::{AccountSummary, DaySummary, FailureSummary, Outcome};

/// Longest pause after a day.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// What a backfill did: its last line of output, as JSON.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BackfillSummary {
    /// The exit code that goes with it.
    pub exit_code: u8,
    /// Days of accounts in all.
    pub days_total: u64,
    /// Days that were computed.
    pub days_done: u64,
    /// Days that were settled and complete before, with the rows that were stored.
    pub days_skipped: u64,
    /// Days that failed.
    pub days_failed: u64,
    /// Days that are not complete after it, each with its cause in its status.
    pub days_incomplete: u64,
    /// Days not reached, because a stop was asked for.
    pub days_left: u64,
    /// Rows written.
    pub rows_written: u64,
    /// Documents written.
    pub documents_written: u64,
    /// What the days that were computed cost at the source, USD.
    pub source_total_usd: f64,
    /// How long it took, pauses included.
    pub duration_ms: u64,
    /// Days computed against time taken.
    pub times_real_time: f64,
    /// The first failure.
    pub failure: Option<FailureSummary>,
    /// The accounts of which days were computed.
    pub accounts: Vec<BackfillAccount>,
}

/// What a backfill did for an account.
#[derive(Clone, Debug, Serialize)]
pub struct BackfillAccount {
    /// The account.
    #[serde(flatten)]
    pub account: Account,
    /// Days that were computed.
    pub days_done: u64,
    /// Days that failed.
    pub days_failed: u64,
    /// Days that are not complete after it.
    pub days_incomplete: u64,
    /// What the days cost at the source, USD.
    pub source_total_usd: f64,
    /// What is stored of them, USD.
    pub stored_total_usd: f64,
    /// Rows written.
    pub rows_written: u64,
    /// Documents written.
    pub documents_written: u64,
    /// Its first days and those that are not complete, for people: a bounded part of them.
    #[serde(skip)]
    pub shown: Vec<DaySummary>,
}

/// Most days of an account that are kept to be shown.
const SHOWN_MAX: usize = 400;

impl BackfillAccount {
    fn new(account: Account) -> Self {
        Self {
            account,
            days_done: 0,
            days_failed: 0,
            days_incomplete: 0,
            source_total_usd: 0.0,
            stored_total_usd: 0.0,
            rows_written: 0,
            documents_written: 0,
            shown: Vec::new(),
        }
    }

    fn add(&mut self, one: &AccountSummary, has_failed: bool) {
        self.days_failed += u64::from(has_failed);
        self.days_done += u64::from(!has_failed);
        for day in &one.days {
            self.days_incomplete += u64::from(day.state != DayState::Ok);
            self.source_total_usd += day.source_total_usd;
            self.stored_total_usd += day.stored_total_usd;
            self.rows_written += day.rows_written;
            self.documents_written += day.documents_written;
        }
        self.documents_written += one.documents_retired;
        let room = SHOWN_MAX.saturating_sub(self.shown.len());
        self.shown.extend(one.days.iter().take(room).cloned());
    }
}

/// Computes the days of `request`, the oldest first, account by account.
///
/// # Errors
/// When a hop is down, the accounts or the status of days cannot be read, or an account that is
/// asked for is not there.
pub async fn backfill(
    environment: &Environment,
    request: &RunRequest,
    stop: &Stop,
) -> Result<BackfillSummary, Failure> {
    let started = Instant::now();
    let readers = &environment.readers;
    let mut out = BackfillSummary::default();
    // Accounts that are not there are an error of the request, whatever the hops do.
    let accounts = select_accounts(readers.accounts.as_ref(), &request.accounts).await?;
    readers.check().await?;
    readers.rest.begin();
    let due = days_due(readers, &accounts, request, &mut out).await?;
    request.progress.begin(due.len());
    let run_id = uuid::Uuid::new_v4().to_string();
    for (index, (account, day)) in due.iter().enumerate() {
        if stop.is_asked() {
            out.days_left = (due.len() - index) as u64;
            break;
        }
        let began = Instant::now();
        let next = due.get(index + 1);
        let is_last = next.is_none_or(|(other, _)| other.id != account.id);
        let days = [*day];
        let queued = QueuedAccount::alone(account.clone());
        let job = super::job(&queued, Days::List(&days), request, &run_id);
        let done = work_day(environment, &job, is_last, stop).await;
        if done.days_left > 0 {
            // The stop came after the look at it above, and before the day's work.
            out.days_left = (due.len() - index) as u64;
            break;
        }
        out.add(&done);
        request.progress.step(&done);
        if next.is_some() {
            let pause = tokio::time::sleep(began.elapsed().min(PAUSE_MAX));
            tokio::select! { () = pause => {}, () = stop.asked() => {} }
        }
    }
    let took = started.elapsed();
    out.duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    out.times_real_time =
        (out.days_done * DAY_SECONDS.unsigned_abs()) as f64 / took.as_secs_f64().max(0.001);
    Ok(out)
}

/// Reads, decides and applies one day under the account's lease, and compares the account's
/// documents with the ledger after its last day.
async fn work_day(
    environment: &Environment,
    job: &AccountJob<'_>,
    is_last: bool,
    stop: &Stop,
) -> AccountSummary {
    let readers = &environment.readers;
    let untouched = AccountSummary::untouched(job.account);
    if let Err(failure) = readers.observe(job.account).await {
        return untouched.failed(&failure);
    }
    let writer = match environment.writers.open(&job.account.id, job.run_id).await {
        Ok(writer) => writer,
        Err(failure) => return untouched.failed(&failure),
    };
    let mut writing = Writing::new(readers, &writer);
    let working = async {
        let mut work = AccountWork::new(readers, job, &mut writing, stop);
        let worked = match work.work_days().await {
            Ok(()) if is_last => work.reconcile().await,
            worked => worked,
        };
        work.summarize(worked)
    };
    let Some(done) = stop.bound(working).await else { return untouched.broken_off() };
    writer.release().await;
    done
}

/// The days to compute; those that are complete are counted as skipped. A day whose rows are not what
/// was stored is computed: a part was dropped, an older backup restored.
async fn days_due(
    readers: &Readers,
    accounts: &[Account],
    request: &RunRequest,
    out: &mut BackfillSummary,
) -> Result<Vec<(Account, Day)>, Failure> {
    let Some((first, last)) = request.days else { return Ok(Vec::new()) };
    let mut due = Vec::new();
    for account in accounts {
        let statuses = by_day(readers.status.statuses(&account.id, first, last).await?);
        let totals = readers.ledger.day_totals(&account.id, first, last).await?;
        let differing = differences(&statuses, &totals);
        let differing: BTreeSet<Day> = differing.iter().map(|one| one.day).collect();
        let is_forced = request.force_reason.is_some();
        for day in first.through(last) {
            out.days_total += 1;
            let is_done = statuses.get(&day).is_some_and(is_complete) && !differing.contains(&day);
            if is_done && !is_forced {
                out.days_skipped += 1;
            } else {
                due.push((account.clone(), day));
            }
        }
    }
    Ok(due)
}

fn is_complete(status: &DayStatus) -> bool {
    let attempt = &status.attempt;
    attempt.is_settled && !attempt.is_pending && attempt.state == DayState::Ok
}

impl BackfillSummary {
    fn add(&mut self, account: &AccountSummary) {
        let failed = account.failure.is_some() || account.days.is_empty();
        // Days come account by account.
        if self.accounts.last().is_none_or(|last| last.account.id != account.account.id) {
            self.accounts.push(BackfillAccount::new(account.account.clone()));
        }
        if let Some(last) = self.accounts.last_mut() {
            last.add(account, failed);
        }
        if failed {
            self.days_failed += 1;
        } else {
            self.days_done += 1;
        }
        for day in &account.days {
            self.days_incomplete += u64::from(day.state != DayState::Ok);
            self.source_total_usd += day.source_total_usd;
            self.rows_written += day.rows_written;
            self.documents_written += day.documents_written;
        }
        self.documents_written += account.documents_retired;
        let code = match &account.failure {
            Some(failure) if failure.is_hop_down && account.outcome == Outcome::Failed => 3,
            Some(_) => 1,
            None => u8::from(account.reconciliation_differences > 0),
        };
        self.exit_code = self.exit_code.max(code);
        self.failure = self.failure.take().or_else(|| account.failure.clone());
        // What one day met is no reason to report that nothing could be done.
        if self.days_done > 0 {
            self.exit_code = self.exit_code.min(1);
        }
    }
}
