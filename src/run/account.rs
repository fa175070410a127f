//! One account of a run: its due days, one after the other, each read, decided and applied.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use tracing::Instrument;

use crate::cost::Day;
use crate::day_status::DayState;
use crate::rest_api::TabNodes;
use crate::service::failure::{Failure, Hop, Kind};
use crate::service::spans::step;

use super::apply::{Applied, Sink};
use super::day::decide::Policy;
use super::day::failure::{failed_status, failed_summary, failure_of_days, is_of_one_day};
use super::day::{DayInputs, DueDay, decide};
use super::environment::Readers;
use super::history::History;
use super::plan::check_plan;
use super::read::{AccountState, DayJob, compute};
use super::reconcile::{DayDifference, account_end};
use super::request::{AccountJob, Days, Stop};
use super::summary::{AccountSummary, DaySummary, Outcome};

/// How long readings may go on after a stop was asked for: what they lead to is still written.
const STOP_PATIENCE: Duration = Duration::from_secs(3);
/// How often a day is read and decided again because document ids changed.
const ATTEMPTS_MAX: u32 = 3;

/// Works through an account; a failure is in the summary, and ends this account only.
pub(super) async fn work_account(
    readers: &Readers,
    job: &AccountJob<'_>,
    sink: &mut dyn Sink,
    stop: &Stop,
) -> AccountSummary {
    let mut work = AccountWork::new(readers, job, sink, stop);
    let worked = match work.work_days().await {
        Ok(()) => work.reconcile().await,
        Err(failure) => Err(failure),
    };
    work.summarize(worked)
}

/// An account while it is worked on.
pub(super) struct AccountWork<'a> {
    readers: &'a Readers,
    job: &'a AccountJob<'a>,
    sink: &'a mut dyn Sink,
    stop: &'a Stop,
    summary: AccountSummary,
    failures: BTreeMap<Day, Failure>,
    started: Instant,
    history: History,
}

impl<'a> AccountWork<'a> {
    pub(super) fn new(
        readers: &'a Readers,
        job: &'a AccountJob<'a>,
        sink: &'a mut dyn Sink,
        stop: &'a Stop,
    ) -> Self {
        let summary = AccountSummary::untouched(job.account);
        let (failures, started) = (BTreeMap::new(), Instant::now());
        let history = History::default();
        Self { readers, job, sink, stop, summary, failures, started, history }
    }

    /// Works through the account's days.
    ///
    /// # Errors
    /// What fails for the account as a whole; what fails for one day is in the summary.
    pub(super) async fn work_days(&mut self) -> Result<(), Failure> {
        let (readers, job) = (self.readers, self.job);
        let reading = readers.load_account_state(job).instrument(step!("read state"));
        let state = match self.in_time("reading what is stored", reading).await {
            // Which days are due is not known: today is.
            Err(failure) if self.is_cancelled(&failure) => {
                self.leave(1);
                return Ok(());
            }
            state => state?,
        };
        let AccountState { due, settled_yesterday, differences, history } = state;
        self.history = history;
        self.note_differences(&differences);
        self.summary.settled_yesterday = settled_yesterday.as_ref().map(DaySummary::of_status);
        let mut was_late = false;
        let count = due.len();
        for (index, mut day) in due.into_iter().enumerate() {
            // A run does its first day whatever happens; days that were listed can all wait.
            let is_listed = matches!(job.days, Days::List(_));
            let may_end = index > 0 || is_listed;
            if may_end && (self.is_out_of_time() || self.stop.is_asked()) {
                self.leave(count - index);
                break;
            }
            let span = step!("day", day = %day.day);
            match self.work_day(&mut day).instrument(span).await {
                Ok(done) => {
                    was_late = false;
                    log_day(job, &done);
                    self.summary.days.push(done);
                }
                // The stop cancelled the read; the day itself did not fail.
                Err(failure) if self.is_cancelled(&failure) => {
                    self.leave(count - index);
                    break;
                }
                Err(failure) if is_of_one_day(&failure) => {
                    // Two days in a row: the query layer is down, or too slow for all days.
                    let is_late = failure.kind == Kind::Timeout;
                    if is_late && (was_late || is_pending(&day)) {
                        let what = format!("{}: {}", day.day, failure.what);
                        return Err(Failure { what, ..failure });
                    }
                    was_late = is_late;
                    self.fail_day(&day, failure).await?;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Reads and decides the day, and has it applied; again where its documents have other ids: then
    /// its status is that of the half that was written.
    async fn work_day(&mut self, due: &mut DueDay) -> Result<DaySummary, Failure> {
        let (readers, job) = (self.readers, self.job);
        for attempt in 1..=ATTEMPTS_MAX {
            let batch = [DayJob { job: *job, due: &*due }];
            let reading =
                async { readers.read(&batch).await.into_iter().collect::<Result<Vec<_>, _>>() };
            let reading = reading.instrument(step!("read"));
            for inputs in self.in_time("reading the day", reading).await? {
                self.note_nodes(&inputs);
                let reason = job.force_reason.map(str::to_owned);
                let shrink_limit = readers.settings.shrink_limit;
                let today_refresh = job.today_refresh(readers.settings.today_refresh);
                let resources = inputs.documents.observed.len() + inputs.rows.states.len();
                let decision = compute(resources, move || {
                    let force_reason = reason.as_deref();
                    decide(inputs, Policy { shrink_limit, force_reason, today_refresh })
                });
                let decision = decision.instrument(step!("decide", resources)).await?;
                // Once documents are written, their ids may differ from the plan's.
                if let (Some(plan), 1) = (job.plan(), attempt) {
                    check_plan(plan, &job.account.id, due.day, &decision)?;
                }
                let applying = self.sink.take_day(due.day, decision).instrument(step!("apply"));
                match applying.await? {
                    Applied::Done(summary) => return Ok(*summary),
                    Applied::ReadAgain(None) => {}
                    Applied::ReadAgain(pending) => due.status = pending.map(|status| *status),
                }
            }
        }
        Err(Failure::new(
            Hop::MongoDb,
            Kind::Conflict,
            format!("{}: the ids of documents changed {ATTEMPTS_MAX} times", due.day),
            "see whether another program makes or deletes resources; the next run goes on",
        ))
    }

    /// Notes which nodes there are now: today's, or yesterday's while today has none yet.
    fn note_nodes(&mut self, inputs: &DayInputs) {
        let today = Day::of_unix(self.readers.now_seconds(self.job));
        let is_recent = [today, today.previous()].contains(&inputs.due.day);
        if is_recent && self.summary.nodes == TabNodes::default() {
            self.summary.nodes = inputs.documents.nodes();
        }
    }

    /// Notes that the day failed; what its status has of what is stored stays.
    async fn fail_day(&mut self, due: &DueDay, failure: Failure) -> Result<(), Failure> {
        let (readers, job, day) = (self.readers, self.job, due.day);
        let account = &job.account.id;
        let rows = match due.status {
            Some(_) => None,
            None => Some(readers.rows_alone(account, day).await?),
        };
        let at = (job.run_id, readers.now_seconds(job));
        let status = failed_status(account, due, rows, at, &failure);
        self.summary.days.push(failed_summary(&status));
        if !due.status.as_ref().is_some_and(|old| old.says_the_same(&status)) {
            self.sink.take_failed_day(status).await?;
        }
        tracing::error!(account.id = %account, %day, %failure, "the day failed");
        self.failures.insert(day, failure);
        Ok(())
    }

    /// Retires documents and compares all of them with the ledger.
    pub(super) async fn reconcile(&mut self) -> Result<(), Failure> {
        let (readers, account) = (self.readers, &self.job.account.id);
        if !self.job.reconciles {
            return Ok(());
        }
        if self.stop.is_asked() {
            self.leave_documents();
            return Ok(());
        }
        let comparing = readers.differing_documents(account).instrument(step!("reconcile"));
        let differing = match self.in_time("comparing documents", comparing).await {
            Err(failure) if self.is_cancelled(&failure) => {
                self.leave_documents();
                return Ok(());
            }
            differing => differing?,
        };
        let today = Day::of_unix(readers.now_seconds(self.job));
        let days = &self.summary.days;
        let is_today_stored = days.iter().any(|day| day.day == today && day.state.is_stored());
        let end = account_end(today, is_today_stored, differing);
        self.summary.reconciliation_differences += u64::from(end.difference_usd != 0.0);
        self.summary.reconciliation_difference_usd += end.difference_usd;
        self.summary.documents_retired = self.sink.take_end(end).await?;
        Ok(())
    }

    /// The account's summary.
    pub(super) fn summarize(mut self, worked: Result<(), Failure>) -> AccountSummary {
        self.summary.newest_day = std::mem::take(&mut self.history).judged(&self.summary.days);
        self.summary.days.sort_by_key(|day| std::cmp::Reverse(day.day));
        let failure = worked.err().or_else(|| failure_of_days(&self.summary.days, &self.failures));
        if let Some(failure) = failure {
            return self.summary.failed(&failure);
        }
        let is_done = |day: &DaySummary| matches!(day.state, DayState::Ok | DayState::Waiting);
        if self.summary.days_left > 0 || !self.summary.known_days().all(is_done) {
            self.summary.outcome = Outcome::Partial;
        }
        self.summary
    }

    /// How long the next reading may take: what is left of the account's time, and at least half of
    /// it, so that the last day that is begun can be done.
    fn limit(&self) -> Duration {
        let deadline = self.readers.settings.account_deadline;
        deadline.saturating_sub(self.started.elapsed()).max(deadline / 2)
    }

    /// Whether a stop cancelled a reading: a write is never cancelled, its time-out is a failure.
    fn is_cancelled(&self, failure: &Failure) -> bool {
        let is_of_reading = failure.hop == Hop::Worker && failure.kind == Kind::Timeout;
        is_of_reading && self.stop.is_asked()
    }

    fn is_out_of_time(&self) -> bool {
        // Days that were listed one by one are all to be done.
        !matches!(self.job.days, Days::List(_))
            && self.started.elapsed() >= self.readers.settings.account_deadline
    }

    /// Notes how many days are left for the next run, and why.
    fn leave(&mut self, days: usize) {
        self.summary.days_left = days;
        let why = if self.stop.is_asked() { "a stop was asked for" } else { "its time is up" };
        tracing::warn!(
            account.id = %self.job.account.id,
            days_left = days,
            "the account is left: {why}; the next run goes on"
        );
    }

    /// Notes that documents are left for the next run.
    fn leave_documents(&mut self) {
        self.summary.outcome = Outcome::Partial;
        tracing::warn!(
            account.id = %self.job.account.id,
            "its documents are not compared: a stop was asked for"
        );
    }

    /// Bounds a reading, and gives it up where a stop is asked for and it goes on. Writes are not
    /// bounded here: one that is under way is waited for.
    async fn in_time<T>(
        &self,
        what: &str,
        reading: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let limit = self.limit();
        let (what, fix) = tokio::select! {
            outcome = reading => return outcome,
            () = tokio::time::sleep(limit) => (
                format!("{what} took over {} s", limit.as_secs()),
                "raise ACCOUNT_DEADLINE_SECONDS, or see which hop is slow; the next run goes on",
            ),
            () = self.stop.asked_ago(STOP_PATIENCE) => (
                format!("{what} went on after a stop was asked for"),
                "none is needed: the next run goes on",
            ),
        };
        Err(Failure::new(Hop::Worker, Kind::Timeout, what, fix))
    }

    fn note_differences(&mut self, differences: &[DayDifference]) {
        self.summary.reconciliation_differences = differences.len() as u64;
        for difference in differences {
            let off_usd = difference.ledger_usd - difference.status_usd;
            self.summary.reconciliation_difference_usd += off_usd.abs();
            tracing::error!(
                account.id = %self.job.account.id,
                day = %difference.day,
                status_usd = difference.status_usd,
                status_rows = difference.status_rows,
                ledger_usd = difference.ledger_usd,
                ledger_rows = difference.ledger_rows,
                reconciliation_difference_usd = off_usd,
                "the ledger does not hold what was stored: the day is computed again"
            );
        }
    }
}

/// Whether the day was left half written, which only a run that has time for it can end.
fn is_pending(due: &DueDay) -> bool {
    due.status.as_ref().is_some_and(|status| status.attempt.is_pending)
}

fn log_day(job: &AccountJob<'_>, day: &DaySummary) {
    for warning in &day.warnings {
        tracing::warn!(account.id = %job.account.id, day = %day.day, "{warning}");
    }
    tracing::info!(
        account.id = %job.account.id,
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
