//! One run: accounts, their days, each day read, decided and applied.
//!
//! ```text
//! select accounts -> lease -> due days -> read -> decide -> apply -> reconcile -> report
//! ```
//!
//! `read` gathers values with read halves only; [`day`] decides as functions of these
//! values; `apply` carries out with an [`AccountWriter`](crate::account_writer), the only
//! thing that can write. A dry run and a plan stop after deciding: they are not given one.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use tokio::time::Instant;
use tracing::Instrument;
use tracing::field::Empty;

use crate::accounts::{Account, select_accounts};
use crate::cost::{AccountId, Day};
use crate::rest_api::CloudAccount;
use crate::service::failure::{Failure, Kind};
use crate::service::spans::step;

mod account;
mod apply;
pub mod backfill;
mod concurrent;
pub mod day;
pub mod due;
pub mod environment;
mod history;
pub mod metrics;
mod order;
pub mod plan;
pub mod progress;
mod read;
mod read_documents;
pub mod reconcile;
pub mod request;
pub mod rest;
pub mod summary;

use account::work_account;
use apply::{Preview, Writing};
use concurrent::{StopOrDeadline, run_concurrently};
use order::QueuedAccount;
use plan::{AccountPlan, Plan};
use request::{AccountJob, Days};
use rest::auto_import_warning;

pub use environment::{Environment, Readers};
pub(crate) use read::enforce_limits;
pub use request::{RunRequest, Stop};
pub use summary::{AccountSummary, DaySummary, RunSummary};

/// For how many accounts the present is read at a time.
const OBSERVED_AT_ONCE: usize = 8;

/// Given once a run.
const UNOWNED_WARNING: &str = "resources have neither pool nor owner: the home page's month \
    total, the pages of pools and owners, and assignment rules lack them; set DEFAULT_POOL_ID and \
    DEFAULT_EMPLOYEE_ID, or REST_URL and CLUSTER_SECRET";

/// Works through the accounts, side by side.
pub async fn run(environment: &Environment, request: &RunRequest, stop: &Stop) -> RunSummary {
    let is_silent = request.days.is_some();
    let work = Work { environment, days: asked_days(request), request, is_silent };
    work.run(stop).await
}

/// Carries a plan out, unchanged.
pub async fn run_plan(
    environment: &Environment,
    request: &RunRequest,
    plan: &Plan,
    stop: &Stop,
) -> RunSummary {
    let accounts = plan.accounts.iter().map(|plan| plan.account.clone()).collect();
    let request = RunRequest { accounts, days: None, ..request.clone() };
    let work = Work { environment, days: Days::Plan(plan), request: &request, is_silent: true };
    work.run(stop).await
}

/// Shows what a run would change, and changes nothing.
pub async fn preview(readers: &Readers, request: &RunRequest, stop: &Stop) -> (RunSummary, Plan) {
    let summary = RunSummary::start(readers.clock.now_seconds(), true);
    let span = step!("preview", run.id = summary.run_id);
    preview_all(readers, request, stop, summary).instrument(span).await
}

async fn preview_all(
    readers: &Readers,
    request: &RunRequest,
    stop: &Stop,
    mut summary: RunSummary,
) -> (RunSummary, Plan) {
    let started = Instant::now();
    let mut plan = Plan {
        made_at: summary.started_at,
        run_id: summary.run_id.clone(),
        is_of_due_days: request.days.is_none(),
        accounts: Vec::new(),
        accounts_left: 0,
    };
    match begin(readers, request).await {
        Ok(accounts) => {
            request.progress.begin(accounts.len());
            let mut queue = work_queue(readers, accounts).await;
            // A plan that is carried out names its accounts: what it changes is to be shown.
            let are_few = queue.len() <= order::RECONCILED_MAX;
            queue.iter_mut().for_each(|queued| queued.reconciles |= are_few);
            let parallel = readers.settings.parallel;
            let until = StopOrDeadline { stop, deadline: started + parallel.run_deadline };
            let run_id = summary.run_id.clone();
            let work = |queued: QueuedAccount| {
                preview_account(readers, queued, request, run_id.clone(), stop)
            };
            let (previews, left) =
                run_concurrently(queue, parallel.accounts_at_once(), until, work).await;
            (summary.accounts_left, plan.accounts_left) = (left, left);
            (summary.accounts, plan.accounts) = previews.into_iter().unzip();
            summary.accounts.sort_by(|one, other| one.account.id.cmp(&other.account.id));
            plan.accounts.sort_by(|one, other| one.account.cmp(&other.account));
            note_rest(readers, &mut summary);
        }
        Err(failure) => summary.abort(&failure),
    }
    summary.finish(started.elapsed());
    (summary, plan)
}

/// What a run would change of an account.
async fn preview_account(
    readers: &Readers,
    queued: QueuedAccount,
    request: &RunRequest,
    run_id: String,
    stop: &Stop,
) -> (AccountSummary, AccountPlan) {
    let mut preview = Preview::new(readers, queued.account.id.clone());
    let job = job(&queued, asked_days(request), request, &run_id);
    let job = AccountJob { leaves_pods: false, ..job };
    let span = step!("account", account.id = %queued.account.id);
    let done = work_account(readers, &job, &mut preview, stop).instrument(span).await;
    request.progress.step(&done);
    preview.days.sort_by_key(|day| std::cmp::Reverse(day.day));
    let (documents_retired, days_left) = (done.documents_retired, done.days_left);
    let account = queued.account.id.clone();
    (done, AccountPlan { account, days: preview.days, documents_retired, days_left })
}

/// Accounts in the order of work. If their last attempts cannot be read, accounts go by id: each
/// account's own read reports the failure.
async fn work_queue(readers: &Readers, accounts: Vec<Account>) -> Vec<QueuedAccount> {
    let today = Day::of_unix(readers.clock.now_seconds());
    let ids: Vec<AccountId> = accounts.iter().map(|account| account.id.clone()).collect();
    let read = readers.status.statuses_of(&ids, today.previous(), today).await;
    let statuses = read.unwrap_or_else(|failure| {
        tracing::warn!(%failure, "accounts are worked on in the order of their ids");
        Vec::new()
    });
    order::in_work_order(accounts, &statuses, readers.clock.now_seconds())
}

/// The days that a request asks for, else those that are due.
fn asked_days(request: &RunRequest) -> Days<'static> {
    request.days.map_or(Days::Due, |(first, last)| Days::Range(first, last))
}

fn job<'a>(
    queued: &'a QueuedAccount,
    days: Days<'a>,
    request: &'a RunRequest,
    run_id: &'a str,
) -> AccountJob<'a> {
    AccountJob {
        account: &queued.account,
        days,
        force_reason: request.force_reason.as_deref(),
        run_id,
        // Who names a few wants to know all about them.
        reconciles: queued.reconciles
            || (1..=order::RECONCILED_MAX).contains(&request.accounts.len()),
        leaves_pods: request.force_reason.is_none() && matches!(days, Days::Due),
    }
}

/// A run that writes.
struct Work<'a> {
    environment: &'a Environment,
    days: Days<'a>,
    request: &'a RunRequest,
    /// Whether the REST API gets no report of how the accounts fared: a run over days that were
    /// asked for says nothing about that.
    is_silent: bool,
}

impl Work<'_> {
    async fn run(&self, stop: &Stop) -> RunSummary {
        let readers = &self.environment.readers;
        let summary = RunSummary::start(readers.clock.now_seconds(), false);
        let span = step!("run", run.id = summary.run_id);
        self.run_all(stop, summary).instrument(span).await
    }

    async fn run_all(&self, stop: &Stop, mut summary: RunSummary) -> RunSummary {
        let started = Instant::now();
        let readers = &self.environment.readers;
        let until =
            StopOrDeadline { stop, deadline: started + readers.settings.parallel.run_deadline };
        if let Err(failure) = self.work_accounts(until, &mut summary).await {
            summary.abort(&failure);
        }
        summary.finish(started.elapsed());
        summary
    }

    async fn work_accounts(
        &self,
        until: StopOrDeadline<'_>,
        summary: &mut RunSummary,
    ) -> Result<(), Failure> {
        let readers = &self.environment.readers;
        let accounts = begin(readers, self.request).instrument(step!("begin")).await?;
        self.request.progress.begin(accounts.len());
        // Costs of a plan are as of its making: the present is not observed for it.
        let stop = until.stop;
        let failures = match self.days {
            Days::Plan(_) => BTreeMap::new(),
            _ => observe_accounts(readers, stop, &accounts).instrument(step!("observe")).await,
        };
        let known = if self.is_silent { BTreeMap::new() } else { readers.rest.accounts().await };
        summary.warnings.extend(auto_import_warning(&accounts, &known));
        let run_id = summary.run_id.clone();
        let (run_id, failures, known) = (&run_id, &failures, &known);
        let work = |queued: QueuedAccount| async move {
            let account = &queued.account;
            let span = step!("account", account.id = %account.id, outcome = Empty);
            let done = match failures.get(&account.id) {
                Some(failure) => AccountSummary::untouched(account).failed(failure),
                None => self.work_one(&queued, run_id, stop).instrument(span.clone()).await,
            };
            span.record("outcome", done.outcome.as_str());
            self.request.progress.step(&done);
            // A call that hangs would keep the process from its end; the next run reports.
            if !self.is_silent && !stop.is_asked() {
                report(readers, &done, known.get(&account.id)).await;
            }
            done
        };
        let queue = work_queue(readers, accounts).await;
        let at_once = readers.settings.parallel.accounts_at_once();
        (summary.accounts, summary.accounts_left) =
            run_concurrently(queue, at_once, until, work).await;
        summary.accounts.sort_by(|one, other| one.account.id.cmp(&other.account.id));
        note_rest(readers, summary);
        Ok(())
    }

    /// One account under its lease.
    async fn work_one(&self, queued: &QueuedAccount, run_id: &str, stop: &Stop) -> AccountSummary {
        let account = &queued.account;
        let readers = &self.environment.readers;
        let writer = match self
            .environment
            .writers
            .open(&account.id, run_id)
            .instrument(step!("lease"))
            .await
        {
            Ok(writer) => writer,
            // Only a lease that somebody else has. Later conflicts, over a document or over a lease
            // that was lost, are failures.
            Err(failure) if failure.kind == Kind::Conflict => {
                return AccountSummary::untouched(account).skipped(&failure);
            }
            Err(failure) => return AccountSummary::untouched(account).failed(&failure),
        };
        let job = job(queued, self.days, self.request, run_id);
        // Accounts that have the same days due write at about the same time.
        let mut writing = match self.days {
            Days::Due => Writing::announced(readers, &writer),
            _ => Writing::new(readers, &writer),
        };
        let done = stop.bound(work_account(readers, &job, &mut writing, stop)).await;
        let Some(done) = done else { return AccountSummary::untouched(account).broken_off() };
        writer.release().await;
        done
    }
}

/// Checks that the hops answer, and selects the accounts. A run that would find a hop down at its
/// first account ends here, with the hop's name.
async fn begin(readers: &Readers, request: &RunRequest) -> Result<Vec<Account>, Failure> {
    readers.check().await?;
    readers.rest.begin();
    let accounts = select_accounts(readers.accounts.as_ref(), &request.accounts).await?;
    if accounts.is_empty() {
        tracing::warn!(source = readers.accounts.describe(), "there is no account to work on");
    }
    Ok(accounts)
}

/// Observes the present for all accounts before any is worked on: a source that only knows "now"
/// would lose it while others are worked on, or while somebody else writes the account. It takes no
/// lease: the journal keeps the first rates of a time. Returns the accounts for which it failed,
/// and why.
async fn observe_accounts(
    readers: &Readers,
    stop: &Stop,
    accounts: &[Account],
) -> BTreeMap<AccountId, Failure> {
    let failed = futures_util::stream::iter(accounts.to_vec())
        .map(move |account| async move {
            if stop.is_asked() {
                return None;
            }
            readers.observe(&account).await.err().map(|failure| (account.id, failure))
        })
        .buffer_unordered(OBSERVED_AT_ONCE);
    failed.filter_map(std::future::ready).collect().await
}

/// Reports how an account fared to the REST API.
async fn report(readers: &Readers, account: &AccountSummary, known: Option<&CloudAccount>) {
    let interval = readers.resource_settings.status_interval.as_secs();
    let interval_seconds = i64::try_from(interval).unwrap_or(i64::MAX);
    let now_seconds = readers.clock.now_seconds();
    readers.rest.finish(account, known, now_seconds, interval_seconds).await;
}

/// Adds what the run met at the REST API.
fn note_rest(readers: &Readers, summary: &mut RunSummary) {
    let met = readers.rest.report();
    summary.rest_api_failures = met.failures;
    if met.has_unowned {
        tracing::warn!("{UNOWNED_WARNING}");
        summary.warnings.push(UNOWNED_WARNING.to_owned());
    }
}
