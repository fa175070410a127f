//! What a run asks of CloudTuner's REST API and reports to it. Costs are
//! stored whether or not it answers: where it fails, that is a warning and a count, once a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::accounts::Account;
use crate::cost::{AccountId, Day};
use crate::documents::PoolOwner;
use crate::rest_api::{
    CloudAccount, CloudTunerApi, ImportOutcome, NewResource, TabNodes, discovery, import_status,
};
use crate::service::failure::{Failure, Kind, excerpt};

use super::summary::{AccountSummary, Outcome};

/// Of how many accounts a call may run out of time until the API itself is taken for down: one
/// account's may do so for what it holds.
const SLOW_ACCOUNTS_MAX: usize = 3;

/// The REST API of one environment, or none.
#[derive(Clone, Default)]
pub struct RestApi {
    api: Option<Arc<dyn CloudTunerApi>>,
    failures: Arc<AtomicU64>,
    is_down: Arc<AtomicBool>,
    /// Accounts of which a call ran out of time: no more is asked of them in this run.
    slow: Arc<Mutex<BTreeSet<AccountId>>>,
    has_unowned: Arc<AtomicBool>,
}

/// What a run has met: failed calls, and documents without pool and owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestReport {
    /// Calls that failed.
    pub failures: u64,
    /// Whether documents were made without pool and owner.
    pub has_unowned: bool,
}

impl RestApi {
    /// This API.
    #[must_use]
    pub fn new(api: Arc<dyn CloudTunerApi>) -> Self {
        Self { api: Some(api), ..Self::default() }
    }

    /// Begins a run: what an earlier one met is forgotten.
    pub fn begin(&self) {
        self.failures.store(0, Ordering::SeqCst);
        self.is_down.store(false, Ordering::SeqCst);
        self.slow().clear();
        self.has_unowned.store(false, Ordering::SeqCst);
    }

    fn slow(&self) -> MutexGuard<'_, BTreeSet<AccountId>> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the run has met so far.
    #[must_use]
    pub fn report(&self) -> RestReport {
        RestReport {
            failures: self.failures.load(Ordering::SeqCst),
            has_unowned: self.has_unowned.load(Ordering::SeqCst),
        }
    }

    /// Takes note that a document has neither pool nor owner.
    pub fn note_unowned(&self) {
        self.has_unowned.store(true, Ordering::SeqCst);
    }

    /// The API, unless it was found to be down in this run: then each further call would only
    /// cost its time-out again.
    fn usable(&self) -> Option<&Arc<dyn CloudTunerApi>> {
        self.api.as_ref().filter(|_| !self.is_down.load(Ordering::SeqCst))
    }

    /// The same, unless one of this account's calls ran out of time.
    fn usable_for(&self, account: &AccountId) -> Option<&Arc<dyn CloudTunerApi>> {
        let is_slow = self.slow().contains(account);
        self.usable().filter(|_| !is_slow)
    }

    /// Counts and tells a failure of a call that was about all accounts.
    fn note(&self, what: &str, failure: &Failure) {
        self.count(what, failure, failure.is_hop_down());
    }

    /// The same of a call that was about one account.
    fn note_of(&self, account: &AccountId, what: &str, failure: &Failure) {
        let is_down = if failure.kind == Kind::Timeout {
            let mut slow = self.slow();
            slow.insert(account.clone());
            slow.len() >= SLOW_ACCOUNTS_MAX
        } else {
            failure.is_hop_down()
        };
        self.count(&format!("account {account}: {what}"), failure, is_down);
    }

    fn count(&self, what: &str, failure: &Failure, is_down: bool) {
        self.failures.fetch_add(1, Ordering::SeqCst);
        let is_first_down = is_down && !self.is_down.swap(true, Ordering::SeqCst);
        let rest = if is_first_down { "; it is not asked again in this run" } else { "" };
        tracing::warn!(%failure, "{what}{rest}");
    }

    /// The status of all accounts, by id; empty without an API, or where it fails.
    pub async fn accounts(&self) -> BTreeMap<AccountId, CloudAccount> {
        let Some(api) = self.usable() else { return BTreeMap::new() };
        match api.cloud_accounts().await {
            Ok(accounts) => accounts.into_iter().map(|a| (a.id.clone(), a)).collect(),
            Err(failure) => {
                self.note("the accounts' import status cannot be read", &failure);
                BTreeMap::new()
            }
        }
    }

    /// Pool and owner of an account's documents, where the API has them.
    pub async fn pool_owner(&self, account: &AccountId) -> Option<PoolOwner> {
        match self.usable_for(account)?.pool_owner(account).await {
            Ok(found) => found
                .map(|found| PoolOwner { pool_id: found.pool_id, employee_id: found.employee_id }),
            Err(failure) => {
                self.note_of(account, "pool and owner cannot be read", &failure);
                None
            }
        }
    }

    /// Has the API make documents; returns those that are live there: `_id` by stable id.
    pub async fn create(
        &self,
        account: &AccountId,
        items: &[NewResource],
    ) -> BTreeMap<String, String> {
        let Some(api) = self.usable_for(account) else { return BTreeMap::new() };
        match api.create(account, items).await {
            Ok(made) => {
                for refused in made.refused.iter().take(5) {
                    tracing::warn!(
                        account.id = %account,
                        resource.id = refused.cloud_resource_id,
                        "the rest api refuses a resource, which is made in mongodb: {}",
                        refused.reason
                    );
                }
                let live = made.resources.into_iter().filter(|made| made.is_live());
                live.map(|made| (made.cloud_resource_id, made.id)).collect()
            }
            Err(failure) => {
                let what = "new resources are made in mongodb, not by the rest api";
                self.note_of(account, what, &failure);
                BTreeMap::new()
            }
        }
    }

    /// Reports how the account fared, where that is due, and keeps the time of the last discovery
    /// of pods from hiding those that are stored.
    pub async fn finish(
        &self,
        summary: &AccountSummary,
        known: Option<&CloudAccount>,
        now_seconds: i64,
        interval_seconds: i64,
    ) {
        let Some(outcome) = outcome(summary, now_seconds) else { return };
        let previous = known.and_then(CloudAccount::status);
        if !import_status::due(previous.as_ref(), &outcome, now_seconds, interval_seconds) {
            return;
        }
        let account = &summary.account.id;
        let Some(api) = self.usable_for(account) else { return };
        // Before the status, whose time hides nodes that were seen before it.
        if let ImportOutcome::Succeeded { at_seconds } = outcome {
            self.show_nodes(api.as_ref(), account, &summary.nodes, at_seconds).await;
        }
        if let Err(failure) = api.report(account, &outcome).await {
            self.note_of(account, "the import status is not reported", &failure);
            return;
        }
        if let Err(failure) = keep_pods_active(api.as_ref(), account, now_seconds).await {
            let what = "the time of the last discovery of pods is not kept";
            self.note_of(account, what, &failure);
        }
    }

    /// Has the account's nodes tab show its nodes, where any is known.
    async fn show_nodes(
        &self,
        api: &dyn CloudTunerApi,
        account: &AccountId,
        nodes: &TabNodes,
        seen_seconds: i64,
    ) {
        if let Some(first) = nodes.unknown.first() {
            tracing::info!(
                account.id = %account,
                "the nodes tab lacks {} nodes (such as '{}'), whose cores or memory are not known: \
                 forward kube_node_status_capacity",
                nodes.unknown.len(),
                excerpt(first)
            );
        }
        if nodes.shown.is_empty() {
            return;
        }
        match api.show_nodes(account, &nodes.shown, seen_seconds).await {
            Ok(true) => {}
            Ok(false) => tracing::debug!("the rest api has no call for nodes"),
            Err(failure) => self.note_of(account, "the nodes are not shown", &failure),
        }
    }
}

/// The warning about accounts that CloudTuner's own importer imports too.
pub(super) fn auto_import_warning(
    accounts: &[Account],
    known: &BTreeMap<AccountId, CloudAccount>,
) -> Option<String> {
    const NAMED_MAX: usize = 5;
    let is_on = |account: &&Account| {
        known.get(&account.id).is_some_and(|known| known.auto_import == Some(true))
    };
    let on: Vec<&str> = accounts.iter().filter(is_on).map(|one| one.id.as_str()).collect();
    let first = on.first()?;
    let more = on.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let warning = format!(
        "auto_import is on for {}{more}: CloudTuner's own importer stores their costs a second \
         time and overwrites their import status: kubecost-worker accounts --disable-auto-import \
         {first}",
        on.get(..NAMED_MAX).unwrap_or(&on).join(", ")
    );
    tracing::warn!("{warning}");
    Some(warning)
}

/// Documents that are active were seen yesterday at the earliest, so no later time may be recorded
/// as the last discovery.
async fn keep_pods_active(
    api: &dyn CloudTunerApi,
    account: &AccountId,
    now_seconds: i64,
) -> Result<(), Failure> {
    let oldest_seconds = Day::of_unix(now_seconds).previous().start_seconds();
    let recorded = api.pod_discovery(account).await?;
    match discovery::correction(recorded.as_ref(), Some(oldest_seconds)) {
        Some(at_seconds) => api.set_pod_discovery(account, at_seconds).await,
        None => Ok(()),
    }
}

/// How an account fared, as its page shows it; nothing where somebody else is writing it.
#[must_use]
pub fn outcome(summary: &AccountSummary, at_seconds: i64) -> Option<ImportOutcome> {
    let failed = |error: String| Some(ImportOutcome::Failed { at_seconds, error });
    match (summary.outcome, &summary.failure) {
        (Outcome::Skipped, _) => None,
        (Outcome::Failed, Some(failure)) => failed(format!("{}: {}", failure.hop, failure.what)),
        (Outcome::Failed, None) => failed("the import failed".to_owned()),
        (Outcome::Ok | Outcome::Partial, _) => match summary.nothing_found() {
            Some(cause) => failed(cause),
            None => Some(ImportOutcome::Succeeded { at_seconds }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest_api::RestClient;
    use crate::service::failure::Hop;
    use crate::settings::{Endpoint, Secret};

    fn failure(kind: Kind) -> Failure {
        Failure::new(Hop::RestApi, kind, "no answer", "wait")
    }

    #[test]
    fn one_accounts_time_outs_keep_no_other_from_the_api() {
        let endpoint = Endpoint::parse("http://127.0.0.1:9").unwrap();
        let client = RestClient::new(endpoint, &Secret::new("s")).unwrap();
        let rest = RestApi::new(Arc::new(client));
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|id| AccountId::new(id).unwrap());
        for _ in 0..5 {
            rest.note_of(&a, "slow", &failure(Kind::Timeout));
        }
        assert!(rest.usable_for(&a).is_none() && rest.usable_for(&b).is_some());
        rest.note_of(&b, "slow", &failure(Kind::Timeout));
        assert!(rest.usable_for(&d).is_some());
        rest.note_of(&c, "slow", &failure(Kind::Timeout));
        assert!(rest.usable_for(&d).is_none(), "three accounts: the api is slow");
        assert_eq!(rest.report().failures, 7);
        rest.begin();
        assert!(rest.usable_for(&a).is_some());
        rest.note_of(&a, "down", &failure(Kind::Unavailable));
        assert!(rest.usable_for(&b).is_none());
    }
}
