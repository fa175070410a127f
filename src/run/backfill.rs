//! Past days, one after the other: resumable, and easy on the query layer.
//!
//! A day whose record is settled and complete is skipped, so a backfill that was ended goes on
//! where it was. One query runs at a time, and after each day as long a pause is made as the day
//! took, so that the query layer is never busy with this for more than half of the time.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::accounts::chosen;
use crate::cost::day::DAY_SECONDS;
use crate::cost::{AccountId, Day};
use crate::day_status::{AccountDay, DayState};
use crate::service::failure::Failure;

use super::Environment;
use super::pipeline::{RunRequest, Stop, run};
use super::summary::{FailureSummary, RunSummary};

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
    /// Days that were settled and complete before.
    pub days_skipped: u64,
    /// Days that failed.
    pub days_failed: u64,
    /// Days that are not complete after it, each with its cause in its record.
    pub days_incomplete: u64,
    /// Days not reached, because a stop was asked for.
    pub days_left: u64,
    /// Rows written.
    pub rows_written: u64,
    /// Documents written.
    pub documents_written: u64,
    /// What the source says that the days computed cost, USD.
    pub source_total_usd: f64,
    /// How long it took, pauses included.
    pub duration_ms: u64,
    /// Days computed against time taken.
    pub times_real_time: f64,
    /// The first failure.
    pub failure: Option<FailureSummary>,
}

/// Says how far a backfill is.
pub trait Progress {
    /// So many days there are.
    fn begin(&mut self, days: u64);
    /// One more is done, or was skipped.
    fn step(&mut self, account: &AccountId, day: Day);
}

/// Computes the days of `request`, the oldest first, account by account.
///
/// # Errors
/// When the accounts or the records cannot be read, or an account that is asked for is not there.
pub async fn backfill(
    environment: &Environment,
    request: &RunRequest,
    stop: &Stop,
    progress: &mut dyn Progress,
) -> Result<BackfillSummary, Failure> {
    let started = Instant::now();
    let mut out = BackfillSummary::default();
    let due = due(environment, request, &mut out).await?;
    progress.begin(due.len() as u64);
    for (index, (account, day)) in due.iter().enumerate() {
        if stop.is_asked() {
            out.days_left = (due.len() - index) as u64;
            break;
        }
        let began = Instant::now();
        let one = RunRequest {
            days: Some((*day, *day)),
            accounts: vec![account.clone()],
            ..request.clone()
        };
        let done = run(environment, &one, stop).await;
        if done.accounts_left > 0 {
            // The stop came after the look at it above, and before the day's work.
            out.days_left = (due.len() - index) as u64;
            break;
        }
        out.add(done);
        progress.step(account, *day);
        if index + 1 < due.len() {
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

/// The days to compute; those that are complete are counted as skipped.
async fn due(
    environment: &Environment,
    request: &RunRequest,
    out: &mut BackfillSummary,
) -> Result<Vec<(AccountId, Day)>, Failure> {
    let Some((first, last)) = request.days else { return Ok(Vec::new()) };
    let mut due = Vec::new();
    for account in chosen(environment.accounts.as_ref(), &request.accounts).await? {
        let records = environment.days.days(&account.id, first, last).await?;
        let is_forced = request.force_reason.is_some();
        for day in first.through(last) {
            out.days_total += 1;
            let record = records.iter().find(|record| record.day == day);
            if !is_forced && record.is_some_and(is_complete) {
                out.days_skipped += 1;
            } else {
                due.push((account.id.clone(), day));
            }
        }
    }
    Ok(due)
}

fn is_complete(record: &AccountDay) -> bool {
    record.settled && !record.pending && record.state == DayState::Ok
}

impl BackfillSummary {
    fn add(&mut self, run: RunSummary) {
        let days = || run.accounts.iter().flat_map(|account| &account.days);
        let failed = run
            .failure
            .clone()
            .or_else(|| run.accounts.iter().find_map(|account| account.failure.clone()));
        if failed.is_some() || days().next().is_none() {
            self.days_failed += 1;
        } else {
            self.days_done += 1;
        }
        self.days_incomplete += days().filter(|day| day.state != DayState::Ok).count() as u64;
        self.source_total_usd += days().map(|day| day.source_total_usd).sum::<f64>();
        self.rows_written += run.rows_written;
        self.documents_written += run.documents_written;
        let code = if failed.is_some() { run.exit_code.max(1) } else { run.exit_code };
        self.exit_code = self.exit_code.max(code);
        self.failure = self.failure.take().or(failed);
        // What one day met is no reason to say that nothing could be done.
        if self.days_done > 0 {
            self.exit_code = self.exit_code.min(1);
        }
    }
}
