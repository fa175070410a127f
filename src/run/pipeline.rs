//! One run over all accounts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use tokio::sync::watch;

use crate::accounts::{Account, chosen};
use crate::cost::{AccountId, Day};
use crate::rest_api::CloudAccount;
use crate::service::failure::Failure;

use super::Environment;
use super::account::{account_failed, run_account};
use super::plan::Plan;
use super::summary::{AccountSummary, RunSummary};

/// Of how many accounts the present is asked for at a time.
const OBSERVED_AT_ONCE: usize = 8;

/// Said once a run.
const UNOWNED_WARNING: &str = "resources have neither pool nor owner: the home page's month \
    total, the pages of pools and owners, and assignment rules lack them; set DEFAULT_POOL_ID and \
    DEFAULT_EMPLOYEE_ID, or REST_URL and CLUSTER_SECRET";

/// What a run is to do.
#[derive(Clone, Debug, Default)]
pub struct RunRequest {
    /// Exactly these days, first and last; otherwise those that are due.
    pub days: Option<(Day, Day)>,
    /// Only these accounts; otherwise all.
    pub accounts: Vec<AccountId>,
    /// Whether nothing is to be written.
    pub is_dry: bool,
    /// Whether each day's summary shall hold what the run would change.
    pub wants_plan: bool,
    /// The plan to carry out, unchanged; nothing else is done then.
    pub plan: Option<Arc<Plan>>,
    /// Why guards are overridden, if they are.
    pub force_reason: Option<String>,
}

/// Says that a run should end after the account it is at.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::channel(false).0))
    }
}

impl Stop {
    /// Asks for the end.
    pub fn ask(&self) {
        self.0.send_replace(true);
    }

    /// Whether the end was asked for.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the end is asked for.
    pub async fn asked(&self) {
        // It cannot fail: the sender lives as long as `self`.
        let _ = self.0.subscribe().wait_for(|asked| *asked).await;
    }
}

/// Sees that the hops answer, then works through the accounts one by one.
pub async fn run(environment: &Environment, request: &RunRequest, stop: &Stop) -> RunSummary {
    let started = Instant::now();
    let mut summary = RunSummary::begun(environment.clock.now_seconds(), request.is_dry);
    if let Err(failure) = work(environment, request, stop, &mut summary).await {
        summary.ended_by(&failure);
    }
    summary.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    summary.add_up();
    summary
}

async fn work(
    environment: &Environment,
    request: &RunRequest,
    stop: &Stop,
    summary: &mut RunSummary,
) -> Result<(), Failure> {
    check(environment).await?;
    environment.rest.begin();
    let accounts = chosen(environment.accounts.as_ref(), &request.accounts).await?;
    if accounts.is_empty() {
        tracing::warn!(source = environment.accounts.describe(), "there is no account to work on");
    }
    let mut unseen = observe(environment, request, stop, &accounts).await;
    let reporter = Reporter::new(environment, request).await;
    for (index, account) in accounts.iter().enumerate() {
        if stop.is_asked() {
            summary.accounts_left = accounts.len() - index;
            break;
        }
        let done = match unseen.remove(&account.id) {
            Some(failure) => account_failed(account, &failure),
            None => run_account(environment, account, request, &summary.run_id, stop).await,
        };
        reporter.report(&done).await;
        summary.accounts.push(done);
    }
    let met = environment.rest.report();
    summary.rest_api_failures = met.failures;
    if met.has_unowned {
        tracing::warn!("{UNOWNED_WARNING}");
        summary.warnings.push(UNOWNED_WARNING.to_owned());
    }
    Ok(())
}

/// Reports each account's status to the REST API.
struct Reporter<'a> {
    environment: &'a Environment,
    known: BTreeMap<AccountId, CloudAccount>,
    /// A dry run and days that were asked for say nothing about how the account fares.
    is_silent: bool,
}

impl<'a> Reporter<'a> {
    async fn new(environment: &'a Environment, request: &RunRequest) -> Self {
        let is_silent = request.is_dry || request.days.is_some() || request.plan.is_some();
        let known = if is_silent { BTreeMap::new() } else { environment.rest.accounts().await };
        Self { environment, known, is_silent }
    }

    async fn report(&self, account: &AccountSummary) {
        if self.is_silent {
            return;
        }
        let known = self.known.get(&account.account.id);
        let interval = self.environment.resource_settings.status_interval.as_secs();
        let interval_seconds = i64::try_from(interval).unwrap_or(i64::MAX);
        let now_seconds = self.environment.clock.now_seconds();
        self.environment.rest.finish(account, known, now_seconds, interval_seconds).await;
    }
}

/// Takes note of the present for all accounts before any is worked on: what is only known now is
/// lost while others are, or while somebody else writes the account. The first note of a time
/// stands, so that takes no lease. Returns the accounts of which it failed, and why.
async fn observe(
    environment: &Environment,
    request: &RunRequest,
    stop: &Stop,
    accounts: &[Account],
) -> BTreeMap<AccountId, Failure> {
    if request.is_dry {
        return BTreeMap::new();
    }
    let failed = futures_util::stream::iter(accounts.to_vec())
        .map(move |account| async move {
            if stop.is_asked() {
                return None;
            }
            let now_seconds = environment.clock.now_seconds();
            let observed = environment.query.observe(&account, now_seconds).await;
            observed.err().map(|failure| (account.id, failure))
        })
        .buffer_unordered(OBSERVED_AT_ONCE);
    failed.filter_map(std::future::ready).collect().await
}

/// A run that would find a hop down at its first account ends before it, with the hop's name.
async fn check(environment: &Environment) -> Result<(), Failure> {
    environment.resources.check().await?;
    environment.ledger.check().await?;
    environment.query.check().await
}
