//! What an account costs on days, from the ledger and, for days that are not settled, from the
//! query layer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, try_join};
use futures_util::stream::{self, StreamExt};
use tokio::sync::Semaphore;

use crate::accounts::{Account, AccountSource};
use crate::cost::money::is_same_usd;
use crate::cost::{AccountId, Composition, Day};
use crate::day_status::{DayStatus, DayStatusReader, by_day};
use crate::ledger::{DayTotal, LedgerReader};
use crate::run::Readers;
use crate::run::day::inputs::{MISSED_DAYS, clusters_before};
use crate::run::day::rows::unknown_ids;
use crate::run::reconcile::{DayDifference, settled_difference};
use crate::service::failure::Failure;

use super::cache::{Bounds, Cache};
use super::costs::{AccountCosts, NamespaceCost, NamespaceCosts};
use super::day::{DayRead, Open, OpenRows, add_day, with_others};
use super::look::{KEPT_MAX, Looks, OpenDayJob};

/// How long the list of accounts is used.
const ACCOUNTS_LIFETIME: Duration = Duration::from_secs(60);
/// How many questions are put to the stores at a time; those to the query layer count apart, so
/// that one that hangs does not keep settled days from being answered.
const READS_AT_ONCE: usize = 16;
/// How many accounts are looked at at a time before the first question: a query layer that has just
/// started, too, must answer them in the time of a look.
const WARMED_AT_ONCE: usize = 16;

/// Gathers what accounts cost.
pub struct Gatherer {
    readers: Readers,
    accounts: Cache<(), Arc<Vec<Account>>, Failure>,
    looks: Looks,
    reading: Semaphore,
}

/// What is stored of days.
struct Stored {
    /// Those of some days before the first one too.
    statuses: BTreeMap<Day, DayStatus>,
    totals: BTreeMap<Day, DayTotal>,
    /// Rows between midnights, USD.
    off_midnight: BTreeMap<Day, f64>,
    /// Settled days whose rows are not those that their status has.
    differing: BTreeMap<Day, DayDifference>,
    /// The rows of days that are not settled.
    open: BTreeMap<Day, OpenRows>,
}

impl Gatherer {
    /// A gatherer that reads through these, and uses for so long what the query layer answered.
    #[must_use]
    pub fn new(readers: Readers, lifetime: Duration) -> Self {
        let one = Bounds {
            lifetime: ACCOUNTS_LIFETIME,
            renews: true,
            entries_max: 1,
            bytes_max: usize::MAX,
        };
        Self {
            accounts: Cache::new(one, |_| 0),
            looks: Looks::new(readers.clone(), lifetime, false),
            reading: Semaphore::new(READS_AT_ONCE),
            readers,
        }
    }

    /// The same, whose looks at the query layer are made anew beside their use, near the end of
    /// their time.
    pub(super) fn with_renewed_looks(self, lifetime: Duration) -> Self {
        Self { looks: Looks::new(self.readers.clone(), lifetime, true), ..self }
    }

    /// The time, Unix seconds.
    pub(super) fn now_seconds(&self) -> i64 {
        self.readers.clock.now_seconds()
    }

    /// The account of an id, if there is one.
    pub(super) async fn account(&self, id: &AccountId) -> Result<Option<Account>, Failure> {
        let all = self.all_accounts().await?;
        Ok(all.iter().find(|account| account.id == *id).cloned())
    }

    async fn all_accounts(&self) -> Result<Arc<Vec<Account>>, Failure> {
        let read = || {
            let source: Arc<dyn AccountSource> = Arc::clone(&self.readers.accounts);
            async move { source.accounts().await.map(Arc::new) }
        };
        Ok(self.accounts.get((), read).await?.0)
    }

    /// Sees that every hop answers.
    pub(super) async fn check(&self) -> Result<(), Failure> {
        self.readers.ledger.check().await?;
        self.readers.documents.check().await?;
        self.check_query_layer().await
    }

    /// Sees that the query layer answers; one with stores behind it is asked which are away.
    pub(super) async fn check_query_layer(&self) -> Result<(), Failure> {
        self.readers.source.check().await
    }

    /// Looks at the days of accounts that are not settled, of as many as are kept (two days of
    /// each). Of how many accounts that was done, and of how many it failed.
    pub(super) async fn warm_up(&self) -> Result<(usize, usize), Failure> {
        // Whether stores are away is known before the first look.
        self.check_query_layer().await?;
        let accounts = self.all_accounts().await?;
        let now_seconds = self.now_seconds();
        let today = Day::of_unix(now_seconds);
        let looks = accounts.iter().take(KEPT_MAX / 2).map(|account| async move {
            let days = (today.previous(), today);
            let stored = self.read_stored(&account.id, days, now_seconds).await?;
            self.look(account, &stored, now_seconds).await;
            Ok::<(), Failure>(())
        });
        let done: Vec<Result<(), Failure>> =
            stream::iter(looks).buffer_unordered(WARMED_AT_ONCE).collect().await;
        let failed = done.iter().filter(|one| one.is_err()).count();
        Ok((done.len() - failed, failed))
    }

    /// What an account costs on the days `first..=last`, none of them in the future.
    pub(super) async fn costs(
        &self,
        account: &Account,
        (first, last): (Day, Day),
        by_namespace: bool,
    ) -> Result<AccountCosts, Failure> {
        let now_seconds = self.now_seconds();
        let last = last.min(Day::of_unix(now_seconds));
        if first > last {
            return Ok(AccountCosts::default());
        }
        let stored = self.read_stored(&account.id, (first, last), now_seconds).await?;
        let open = self.look(account, &stored, now_seconds).await;
        let mut costs = AccountCosts::default();
        for day in first.through(last) {
            let status = stored.statuses.get(&day);
            let (total, difference) = (stored.totals.get(&day), stored.differing.get(&day));
            let off_midnight_usd = stored.off_midnight.get(&day).copied().unwrap_or(0.0);
            let open = open.get(&day);
            let read =
                DayRead { day, status, total, off_midnight_usd, difference, open, now_seconds };
            add_day(&mut costs, read);
        }
        costs.clusters.sort();
        costs.clusters.dedup();
        costs.since = self.since(&account.id, first, &costs, &stored.totals).await?;
        if by_namespace {
            costs.namespaces = self.namespaces(&account.id, (first, last), &open).await?;
        }
        Ok(costs)
    }

    async fn read_stored(
        &self,
        account: &AccountId,
        (first, last): (Day, Day),
        now_seconds: i64,
    ) -> Result<Stored, Failure> {
        let first_open = first.max(Day::of_unix(now_seconds).previous());
        // Which clusters an open day lacks is known from the days before it.
        let known_from =
            if first_open <= last { first.min(first_open.minus(MISSED_DAYS)) } else { first };
        // The semaphore is never closed.
        let _reading = self.reading.acquire().await.ok();
        let status: &dyn DayStatusReader = self.readers.status.as_ref();
        let statuses = by_day(status.statuses(account, known_from, last).await?);
        let ledger: &dyn LedgerReader = self.readers.ledger.as_ref();
        let (totals, off_midnight) = try_join(
            ledger.day_totals(account, first, last),
            ledger.off_midnight_totals(account, first, last),
        )
        .await?;
        let totals: BTreeMap<Day, DayTotal> =
            totals.into_iter().map(|total| (total.day, total)).collect();
        let differing = self.differing(account, statuses.range(first..=last), &totals).await?;
        let mut open = BTreeMap::new();
        for day in first_open.through(last) {
            let status = statuses.get(&day);
            if !status.is_some_and(|status| status.attempt.is_settled) {
                let has_others = off_midnight.contains_key(&day);
                let rows = (totals.get(&day), has_others);
                open.insert(day, self.open_rows(account, day, status, rows).await?);
            }
        }
        Ok(Stored { statuses, totals, off_midnight, differing, open })
    }

    /// The days of these whose rows are not those that their status has. Where a run wrote a day
    /// between both reads, its status is another one by now: nothing is known of that day then.
    async fn differing(
        &self,
        account: &AccountId,
        statuses: impl Iterator<Item = (&Day, &DayStatus)>,
        totals: &BTreeMap<Day, DayTotal>,
    ) -> Result<BTreeMap<Day, DayDifference>, Failure> {
        let mut found = BTreeMap::new();
        let mut attempts = BTreeMap::new();
        for (day, status) in statuses {
            if let Some(difference) = settled_difference(status, totals.get(day)) {
                found.insert(*day, difference);
                attempts.insert(*day, &status.attempt);
            }
        }
        let (Some(first), Some(last)) = (found.keys().next(), found.keys().next_back()) else {
            return Ok(found);
        };
        let now = self.readers.status.statuses(account, *first, *last).await?;
        let is_as_before = |status: &DayStatus| attempts.get(&status.day) == Some(&&status.attempt);
        let as_before: BTreeSet<Day> =
            now.into_iter().filter(is_as_before).map(|status| status.day).collect();
        found.retain(|day, _| as_before.contains(day));
        Ok(found)
    }

    /// The rows of a day, by whose they are: what it has at midnight, and whether it has others.
    /// They are read one by one only where they are not what this program's status says that it
    /// stored.
    async fn open_rows(
        &self,
        account: &AccountId,
        day: Day,
        status: Option<&DayStatus>,
        (total, has_others): (Option<&DayTotal>, bool),
    ) -> Result<OpenRows, Failure> {
        let total_usd = total.map_or(0.0, |total| total.total_usd);
        let own = status.map_or((0, 0.0), |status| (status.stored.rows, status.stored.total_usd));
        let is_own = is_same_usd(total_usd, own.1);
        let rows = total.map_or(0, |total| total.rows);
        if is_own && i64::try_from(own.0) == Ok(rows) && !has_others {
            return Ok(OpenRows { own_usd: own.1, ..OpenRows::default() });
        }
        let states = self.readers.ledger.states(account, day).await?;
        let ids = unknown_ids(&states, &BTreeSet::new());
        let own_ids = self.readers.documents.own_ids(account, &ids).await?;
        let mut rows = OpenRows::default();
        for state in states {
            // This program writes at midnight, and leaves other rows alone.
            let is_at_midnight = state.date_seconds == day.start_seconds();
            if is_at_midnight && own_ids.contains(&state.resource_id) {
                rows.own_usd += state.cost_usd;
            } else {
                rows.others_usd += state.cost_usd;
                let name = state.dimensions.namespace.unwrap_or_default();
                *rows.others_by_namespace.entry(name).or_default() += state.cost_usd;
            }
        }
        Ok(rows)
    }

    /// The days that are not settled, as the query layer has them.
    async fn look(
        &self,
        account: &Account,
        stored: &Stored,
        now_seconds: i64,
    ) -> BTreeMap<Day, Open> {
        let looks = stored.open.iter().map(|(day, rows)| async move {
            let job = OpenDayJob {
                account: account.clone(),
                day: *day,
                status: stored.statuses.get(day).cloned(),
                own_usd: rows.own_usd,
                clusters_before: clusters_before(*day, stored.statuses.values()),
                now_seconds,
            };
            (*day, Open { rows: rows.clone(), looked: self.looks.look(job).await })
        });
        join_all(looks).await.into_iter().collect()
    }

    /// The first day from `first` on that the account was there, as far as rows and status tell.
    /// Where it lacks the first day, rows before that one decide.
    async fn since(
        &self,
        account: &AccountId,
        first: Day,
        costs: &AccountCosts,
        totals: &BTreeMap<Day, DayTotal>,
    ) -> Result<Option<Day>, Failure> {
        let has_rows = |total: &&DayTotal| total.rows != 0;
        let with_rows = totals.values().find(has_rows).map(|total| total.day);
        let known = costs.days.first().map(|day| day.day);
        let since = [with_rows, known].into_iter().flatten().min();
        let not_stored = costs.not_stored.first().copied();
        let since = since.map(|since| not_stored.map_or(since, |day| day.min(since)));
        if since.is_none_or(|since| since == first) {
            return Ok(since);
        }
        // The semaphore is never closed.
        let _reading = self.reading.acquire().await.ok();
        let ledger: &dyn LedgerReader = self.readers.ledger.as_ref();
        let (start, last) = (Day::of_unix(0), first.previous());
        let has_rows = |totals: &[DayTotal]| totals.iter().any(|total| total.rows != 0);
        let was_there = has_rows(&ledger.day_totals(account, start, last).await?)
            || !ledger.off_midnight_totals(account, start, last).await?.is_empty();
        Ok(if was_there { Some(first) } else { since })
    }

    /// Costs by namespace: of the first day, of those that are settled between it and the last one,
    /// and of each day after them.
    async fn namespaces(
        &self,
        account: &AccountId,
        (first, last): (Day, Day),
        open: &BTreeMap<Day, Open>,
    ) -> Result<Vec<NamespaceCosts>, Failure> {
        let first_alone = open.keys().next().copied().unwrap_or(last).min(last);
        let mut groups = vec![(first, first)];
        if first.next() < first_alone {
            groups.push((first.next(), first_alone.previous()));
        }
        groups.extend(first_alone.max(first.next()).through(last).map(|day| (day, day)));
        let mut all = Vec::new();
        // The semaphore is never closed.
        let _reading = self.reading.acquire().await.ok();
        for (first, last) in groups {
            let stored = self.readers.ledger.namespace_totals(account, first, last).await?;
            let open = open.get(&first).filter(|_| first == last);
            all.push(NamespaceCosts { first, last, costs: namespace_costs(stored, open) });
        }
        Ok(all)
    }
}

/// Costs by namespace from what is stored and, of a day that is not settled, from what the query
/// layer has in the place of this program's rows.
fn namespace_costs(
    stored: BTreeMap<String, f64>,
    open: Option<&Open>,
) -> BTreeMap<String, NamespaceCost> {
    let now = open.and_then(|open| Some((open.now()?, &open.rows)));
    let Some((now, rows)) = now else {
        let one = |(name, usd): (String, f64)| {
            let stored_usd = usd;
            (name, NamespaceCost { usd, stored_usd, ..NamespaceCost::default() })
        };
        return stored.into_iter().filter(|(_, usd)| usd.is_finite()).map(one).collect();
    };
    let mut costs: BTreeMap<String, NamespaceCost> = BTreeMap::new();
    for (name, (usd, composition)) in &now.namespaces {
        let cost = costs.entry(name.clone()).or_default();
        cost.usd = *usd;
        cost.composition = composition.clone();
    }
    for (name, usd) in &rows.others_by_namespace {
        let cost = costs.entry(name.clone()).or_default();
        let is_new = cost.usd == 0.0;
        cost.usd += usd;
        if is_new {
            cost.composition = Composition::default();
        } else {
            cost.composition = with_others(&cost.composition, *usd);
        }
    }
    for (name, stored_usd) in stored {
        costs.entry(name).or_default().stored_usd = stored_usd;
    }
    costs.retain(|_, cost| cost.usd.is_finite() && cost.stored_usd.is_finite());
    costs
}
