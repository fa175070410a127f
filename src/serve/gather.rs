//! What an account costs on days, from the ledger and, for days that are not settled, from the
//! query layer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::accounts::{Account, AccountSource};
use crate::cost::{AccountId, Day};
use crate::day_status::{DayState, DayStatus, DayStatusReader};
use crate::ledger::DayTotal;
use crate::run::day::inputs::CostedDay;
use crate::run::day::verdict::{StoredDay, Verdict, verdict};
use crate::run::due::phase_of;
use crate::run::{Readers, enforce_limits};
use crate::service::failure::Failure;
use crate::source::{CostSource, Phase};

use super::cache::Cache;

/// How long the list of accounts is used.
const ACCOUNTS_LIFETIME: Duration = Duration::from_secs(60);

/// Where a day's costs come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The rows that are stored.
    Ledger,
    /// The query layer, as the next run would store it.
    QueryLayer,
}

impl Origin {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::QueryLayer => "query-layer",
        }
    }
}

/// What a day costs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DayCost {
    pub(super) day: Day,
    /// USD.
    pub(super) usd: f64,
    /// What its rows add up to, USD.
    pub(super) stored_usd: f64,
    pub(super) origin: Origin,
    /// `None`: rows of another program, of a day that this one has no status of.
    pub(super) state: Option<DayState>,
    /// Why it is not `ok`.
    pub(super) cause: String,
}

/// Costs by namespace over `first..=last`; what belongs to no namespace is under the empty name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NamespaceCosts {
    pub(super) first: Day,
    pub(super) last: Day,
    /// USD.
    pub(super) usd: BTreeMap<String, f64>,
    /// What their rows add up to, USD.
    pub(super) stored_usd: BTreeMap<String, f64>,
}

/// What an account costs on days.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct AccountCosts {
    /// Days whose costs are known, in their order.
    pub(super) days: Vec<DayCost>,
    /// The reasons why days that are not over have no costs.
    pub(super) causes: Vec<String>,
    /// Costs by namespace, where they were asked for: the first day, the last one, and those
    /// between them, so that parts of days can be taken.
    pub(super) namespaces: Vec<NamespaceCosts>,
    /// The clusters that are known to have costs.
    pub(super) clusters: Vec<String>,
    /// The phase of the newest day.
    pub(super) phase: Option<Phase>,
}

/// Of how many days that are not settled the query layer's costs are kept.
const OPEN_DAYS_MAX: usize = 400;

/// An account's day, and what was stored of it: its USD, and the time of the last attempt.
type OpenDayKey = (AccountId, Day, u64, Option<i64>);

/// Gathers what accounts cost.
pub struct Gatherer {
    readers: Readers,
    accounts: Cache<(), Vec<Account>>,
    /// Answers about any span of an account share its open days.
    open_days: Cache<OpenDayKey, Arc<Looked>>,
}

/// A day as the query layer has it.
struct OpenDay {
    usd: f64,
    namespaces: BTreeMap<String, f64>,
    clusters: Vec<String>,
    state: DayState,
    cause: String,
    phase: Phase,
}

/// A day as it is looked at: its costs, or why the stored ones stand.
enum Looked {
    Costs(OpenDay),
    Stays { state: DayState, cause: String },
}

impl Gatherer {
    /// A gatherer that reads through these, and uses for so long what the query layer answered.
    #[must_use]
    pub fn new(readers: Readers, lifetime: Duration) -> Self {
        let open_days = Cache::new(lifetime, OPEN_DAYS_MAX);
        Self { readers, accounts: Cache::new(ACCOUNTS_LIFETIME, 1), open_days }
    }

    /// The time, Unix seconds.
    pub(super) fn now_seconds(&self) -> i64 {
        self.readers.clock.now_seconds()
    }

    /// The account of an id, if there is one.
    pub(super) async fn account(&self, id: &AccountId) -> Result<Option<Account>, Failure> {
        let source: &dyn AccountSource = self.readers.accounts.as_ref();
        let (all, _) = self.accounts.get((), source.accounts()).await?;
        Ok(all.into_iter().find(|account| account.id == *id))
    }

    /// Sees that every hop answers.
    pub(super) async fn check(&self) -> Result<(), Failure> {
        self.readers.ledger.check().await?;
        self.readers.documents.check().await?;
        self.readers.source.check().await
    }

    /// What an account costs on the days `first..=last`, none of them in the future.
    pub(super) async fn costs(
        &self,
        account: &Account,
        (first, last): (Day, Day),
        by_namespace: bool,
    ) -> Result<AccountCosts, Failure> {
        let now_seconds = self.now_seconds();
        let today = Day::of_unix(now_seconds);
        let last = last.min(today);
        if first > last {
            return Ok(AccountCosts::default());
        }
        let status: &dyn DayStatusReader = self.readers.status.as_ref();
        let statuses = status.statuses(&account.id, first, last).await?;
        let statuses: BTreeMap<Day, DayStatus> =
            statuses.into_iter().map(|status| (status.day, status)).collect();
        let totals = self.readers.ledger.day_totals(&account.id, first, last).await?;
        let totals: BTreeMap<Day, DayTotal> =
            totals.into_iter().map(|total| (total.day, total)).collect();
        let mut open = BTreeMap::new();
        for day in first.max(today.previous()).through(last) {
            let status = statuses.get(&day);
            if !status.is_some_and(|status| status.attempt.is_settled) {
                let stored_usd = totals.get(&day).map_or(0.0, |total| total.total_usd);
                let looked = self.look(account, day, status, stored_usd, now_seconds).await;
                open.insert(day, looked);
            }
        }
        let mut costs = AccountCosts::default();
        for day in first.through(last) {
            add_day(
                &mut costs,
                day,
                statuses.get(&day),
                totals.get(&day),
                open.get(&day).map(Arc::as_ref),
            );
        }
        costs.clusters.sort();
        costs.clusters.dedup();
        if by_namespace {
            costs.namespaces = self.namespaces(&account.id, (first, last), &open).await?;
        }
        Ok(costs)
    }

    /// An open day from the query layer. What cannot be had leaves the stored costs standing.
    async fn look(
        &self,
        account: &Account,
        day: Day,
        status: Option<&DayStatus>,
        stored_usd: f64,
        now_seconds: i64,
    ) -> Arc<Looked> {
        let attempt_at = status.map(|status| status.attempt.at_seconds);
        let key = (account.id.clone(), day, stored_usd.to_bits(), attempt_at);
        let make = async {
            self.open_day(account, day, status, stored_usd, now_seconds).await.map(Arc::new)
        };
        match self.open_days.get(key, make).await {
            Ok((looked, _)) => looked,
            Err(failure) => {
                tracing::warn!(account.id = %account.id, %day, %failure, "the stored costs stand");
                let cause = failure.to_string();
                Arc::new(Looked::Stays { state: DayState::Failed, cause })
            }
        }
    }

    async fn open_day(
        &self,
        account: &Account,
        day: Day,
        status: Option<&DayStatus>,
        stored_usd: f64,
        now_seconds: i64,
    ) -> Result<Looked, Failure> {
        let (source, settings) = (self.readers.source.as_ref(), &self.readers.settings);
        let source: &dyn CostSource = source;
        let presence = source.presence(account, day, day, now_seconds).await?;
        let presence = presence.get(&day).copied().unwrap_or_default();
        let Some(phase) = phase_of(settings.phase, presence, status) else {
            let cause = "the source has no sample of this day".to_owned();
            return Ok(Looked::Stays { state: DayState::NoData, cause });
        };
        let mut costs = source.day_costs(account, day, phase, now_seconds).await?;
        enforce_limits(&mut costs, settings.limits, settings.levels)?;
        let CostedDay { source, roll, .. } =
            CostedDay::of(costs, settings.levels, settings.gap_policy);
        let total_usd = status.map_or(stored_usd, |status| status.stored.total_usd);
        let stored = StoredDay { status, total_usd };
        let (state, cause) = match verdict(&source, &roll, stored, settings.shrink_limit, false) {
            Verdict::Store { state, cause, .. } => (state, cause),
            Verdict::KeepStored { state, cause } => return Ok(Looked::Stays { state, cause }),
        };
        let mut namespaces: BTreeMap<String, f64> = BTreeMap::new();
        for line in &roll.lines {
            let name = line.key.namespace().unwrap_or_default().to_owned();
            *namespaces.entry(name).or_default() += line.cost.usd();
        }
        let clusters = source.clusters.keys().cloned().collect();
        let usd = roll.total.usd();
        Ok(Looked::Costs(OpenDay { usd, namespaces, clusters, state, cause, phase }))
    }

    /// Costs by namespace of the first day, the days between, and the last one.
    async fn namespaces(
        &self,
        account: &AccountId,
        (first, last): (Day, Day),
        open: &BTreeMap<Day, Arc<Looked>>,
    ) -> Result<Vec<NamespaceCosts>, Failure> {
        let mut groups = vec![(first, first)];
        if first.next() < last {
            groups.push((first.next(), last.previous()));
        }
        if first < last {
            groups.push((last, last));
        }
        let mut all = Vec::new();
        for (first, last) in groups {
            let stored = self.readers.ledger.namespace_totals(account, first, last).await?;
            let mut usd = stored.clone();
            for (day, looked) in open.range(first..=last) {
                let Looked::Costs(now) = looked.as_ref() else { continue };
                // The day's stored costs give way to those of now.
                let before = self.readers.ledger.namespace_totals(account, *day, *day).await?;
                for (name, before_usd) in before {
                    *usd.entry(name).or_default() -= before_usd;
                }
                for (name, now_usd) in &now.namespaces {
                    *usd.entry(name.clone()).or_default() += now_usd;
                }
            }
            all.push(NamespaceCosts { first, last, usd, stored_usd: stored });
        }
        Ok(all)
    }
}

/// Adds a day, if its costs are known.
fn add_day(
    costs: &mut AccountCosts,
    day: Day,
    status: Option<&DayStatus>,
    total: Option<&DayTotal>,
    open: Option<&Looked>,
) {
    let stored_usd = total.map_or(0.0, |total| total.total_usd);
    if let Some(status) = status {
        let clusters = &status.stored.coverage.clusters;
        costs.clusters.extend(clusters.iter().map(|cluster| cluster.cluster.clone()));
        costs.phase = status.stored.phase.or(costs.phase);
    }
    if let Some(Looked::Costs(now)) = open {
        costs.clusters.extend(now.clusters.iter().cloned());
        costs.phase = Some(now.phase);
        costs.days.push(DayCost {
            day,
            usd: now.usd,
            stored_usd,
            origin: Origin::QueryLayer,
            state: Some(now.state),
            cause: now.cause.clone(),
        });
        return;
    }
    let (state, cause) = match (open, status) {
        (Some(Looked::Stays { state, cause }), _) => (Some(*state), cause.clone()),
        (_, Some(status)) => (Some(status.attempt.state), status.attempt.cause.clone()),
        (_, None) => (None, String::new()),
    };
    let is_stored = status.is_some_and(|status| status.stored.phase.is_some());
    if is_stored || total.is_some_and(|total| total.rows != 0) {
        let origin = Origin::Ledger;
        costs.days.push(DayCost { day, usd: stored_usd, stored_usd, origin, state, cause });
    } else if !cause.is_empty() {
        costs.causes.push(format!("{day}: {cause}"));
    }
}
