//! Reading what a report is made of: one account's day at a time, so that memory is bounded by a
//! day's rows and by the sums.

use std::collections::BTreeMap;

use crate::accounts::Account;
use crate::cost::{AccountId, Day};
use crate::day_status::{DayState, DayStatus, DayStatusReader, by_day};
use crate::documents::{DocumentNames, ResourceNames};
use crate::ledger::{DayTotal, KeyState, LedgerReader};
use crate::run::reconcile::{DayDifference, settled_difference};
use crate::service::failure::Failure;

use super::build::Sums;
use super::forecast::{BASIS_DAYS_MAX, Forecast, KnownDay, forecast, month_of};
use super::group::{By, Group};
use super::model::DayFact;
use super::row::Row;
use super::series::{GROUPS_MAX, Series};

/// Documents whose names are kept while days of one account are read.
const NAMES_MAX: usize = 100_000;

/// The stores that a report reads.
pub struct ReportStores<'a> {
    /// Expense rows.
    pub ledger: &'a dyn LedgerReader,
    /// The names of their documents.
    pub names: &'a dyn DocumentNames,
    /// Day status.
    pub status: &'a dyn DayStatusReader,
}

/// What a report is about.
#[derive(Clone, Debug)]
pub struct Scope {
    /// What is added up by.
    pub by: By,
    /// First and last day.
    pub days: (Day, Day),
    /// The accounts.
    pub accounts: Vec<Account>,
}

/// An account's day: its rows and its status.
#[derive(Clone, Debug)]
pub struct AccountDay {
    /// The day.
    pub day: Day,
    /// The rows that are stored.
    pub rows: Vec<Row>,
    /// The status, where there is one.
    pub status: Option<DayStatus>,
    /// What is known of the day.
    pub fact: DayFact,
}

/// Reads the days of accounts one after the other, as they are known on `today`, and hands each to
/// `take`.
///
/// # Errors
/// When a store cannot be read, or what `take` returns.
pub async fn each_day<E: From<Failure>>(
    stores: &ReportStores<'_>,
    scope: &Scope,
    today: Day,
    mut take: impl FnMut(&Account, AccountDay) -> Result<(), E>,
) -> Result<(), E> {
    let (first, last) = scope.days;
    for account in &scope.accounts {
        let status = stores.status.statuses(&account.id, first, last).await?;
        let mut status: BTreeMap<Day, DayStatus> =
            status.into_iter().map(|one| (one.day, one)).collect();
        let mut names: BTreeMap<String, ResourceNames> = BTreeMap::new();
        for day in first.through(last) {
            let states = stores.ledger.states(&account.id, day).await?;
            learn(stores.names, &account.id, &states, &mut names).await?;
            let read = status.remove(&day);
            let (status, difference) = compare(stores, day, read, &states).await?;
            let rows = states.into_iter().map(|state| row(&account.id, day, state, &names));
            let rows: Vec<Row> = rows.collect();
            let usd = rows.iter().map(|row| row.usd).sum::<f64>() + 0.0;
            let fact = DayFact::of(&account.id, day, status.as_ref(), (usd, today));
            let fact = fact.with_difference(status.as_ref().zip(difference.as_ref()));
            take(account, AccountDay { day, rows, status, fact })?;
        }
    }
    Ok(())
}

/// A day's status, and how the rows of a settled one differ from it. Where they do, a run may have
/// written the day after its status was read: then the status is another one by now, and stands.
async fn compare(
    stores: &ReportStores<'_>,
    day: Day,
    status: Option<DayStatus>,
    states: &[KeyState],
) -> Result<(Option<DayStatus>, Option<DayDifference>), Failure> {
    let Some(status) = status else { return Ok((None, None)) };
    let at_midnight = states.iter().filter(|state| state.date_seconds == day.start_seconds());
    let total = DayTotal {
        day,
        total_usd: at_midnight.clone().map(|state| state.cost_usd).sum::<f64>() + 0.0,
        rows: at_midnight.map(|state| state.sign_sum).sum(),
    };
    let Some(difference) = settled_difference(&status, Some(&total)) else {
        return Ok((Some(status), None));
    };
    let now = stores.status.statuses(&status.account, day, day).await?.pop();
    if now.as_ref().is_none_or(|now| now.attempt != status.attempt) {
        return Ok((now, None));
    }
    // Not all that is made of days shows their causes.
    let cause = difference.cause(&status);
    tracing::warn!(account.id = %status.account, %day, cause, "the rows of a settled day differ");
    Ok((Some(status), Some(difference)))
}

/// Reads what a report is made of.
///
/// # Errors
/// When a store cannot be read.
pub async fn read(stores: &ReportStores<'_>, scope: &Scope, today: Day) -> Result<Sums, Failure> {
    let mut adding = Adding::new(scope);
    each_day::<Failure>(stores, scope, today, |_, one| {
        one.rows.iter().for_each(|row| adding.row(row));
        adding.status(one.fact);
        Ok(())
    })
    .await?;
    // A month that is over needs no forecast.
    let is_current = month_of(today).0 <= scope.days.1;
    let forecast = if is_current { forecasts(stores, scope, today).await? } else { None };
    Ok(adding.into_sums(forecast))
}

/// The sum of accounts' forecasts; `None` where one of them has no basis for it.
async fn forecasts(
    stores: &ReportStores<'_>,
    scope: &Scope,
    today: Day,
) -> Result<Option<Forecast>, Failure> {
    let first = month_of(today).0.min(today.minus(BASIS_DAYS_MAX));
    let mut sum: Option<Forecast> = None;
    for account in &scope.accounts {
        let totals = stores.ledger.day_totals(&account.id, first, today).await?;
        if totals.is_empty() {
            continue;
        }
        let status = by_day(stores.status.statuses(&account.id, first, today).await?);
        let known = known_days(&totals, &status, today);
        let Some(one) = forecast(&known, today) else { return Ok(None) };
        sum = Some(sum.map_or(one, |sum| sum.plus(one)));
    }
    Ok(sum)
}

/// The days from an account's first one with rows or a cost on.
fn known_days(
    totals: &[DayTotal],
    statuses: &BTreeMap<Day, DayStatus>,
    today: Day,
) -> Vec<KnownDay> {
    let totals: BTreeMap<Day, &DayTotal> = totals.iter().map(|total| (total.day, total)).collect();
    let had_costs = |status: &&DayStatus| status.attempt.state.had_costs();
    let with_costs = statuses.values().find(had_costs).map(|status| status.day);
    let with_rows = totals.keys().next().copied();
    let Some(first) = with_rows.into_iter().chain(with_costs).min() else { return Vec::new() };
    let known = |day: Day| {
        let (total, status) = (totals.get(&day).copied(), statuses.get(&day));
        let usd = total.map_or(0.0, |total| total.total_usd);
        let is_complete = status.is_some_and(|one| {
            let fact = DayFact::of(&one.account, day, Some(one), (usd, today));
            fact.is_complete() && settled_difference(one, total).is_none()
        });
        let has_rows = total.is_some_and(|total| total.rows != 0);
        // That the source had nothing, or costs of nothing, was seen; of other days nobody knows it.
        let is_empty = status.is_some_and(|one| {
            let state = one.attempt.state;
            state == DayState::NoData || (state.is_stored() && one.stored.rows == 0)
        });
        KnownDay { day, usd, is_complete, is_lacking: !has_rows && !is_empty }
    };
    first.through(today).map(known).collect()
}

/// Adds names of states that are not known yet.
async fn learn(
    reader: &dyn DocumentNames,
    account: &AccountId,
    states: &[KeyState],
    names: &mut BTreeMap<String, ResourceNames>,
) -> Result<(), Failure> {
    if names.len() > NAMES_MAX {
        names.clear();
    }
    let mut ids: Vec<String> = states
        .iter()
        .map(|state| state.resource_id.clone())
        .filter(|id| !names.contains_key(id))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    if !ids.is_empty() {
        let found = reader.names(account, &ids).await?;
        names.extend(found.into_iter().map(|one| (one.id.clone(), one)));
    }
    Ok(())
}

/// A row under its document's names; the ledger's own columns go before them.
fn row(
    account: &AccountId,
    day: Day,
    state: KeyState,
    names: &BTreeMap<String, ResourceNames>,
) -> Row {
    let found = names.get(&state.resource_id);
    let names = found.cloned().unwrap_or_default();
    let pod = names.pod().map(str::to_owned);
    Row {
        account: account.clone(),
        day,
        resource_id: state.resource_id,
        cloud_resource_id: names.cloud_resource_id,
        resource_type: names.resource_type,
        resource_name: names.name,
        is_known: found.is_some(),
        cluster: names.cluster,
        namespace: state.dimensions.namespace.or(names.namespace),
        node: state.dimensions.node.or(names.node),
        pod,
        service: state.dimensions.service.or(names.service),
        tags: names.tags,
        usd: state.cost_usd,
    }
}

/// Sums that rows are added to.
#[derive(Clone, Debug)]
pub struct Adding {
    by: By,
    days: (Day, Day),
    groups: Series,
    accounts: Series,
    by_day: Vec<f64>,
    overhead_usd: f64,
    status: Vec<DayFact>,
}

impl Adding {
    /// Nothing added yet.
    #[must_use]
    pub fn new(scope: &Scope) -> Self {
        let count = scope.days.0.through(scope.days.1).count();
        Self {
            by: scope.by.clone(),
            days: scope.days,
            groups: Series::new(count, GROUPS_MAX),
            accounts: Series::new(count, GROUPS_MAX),
            by_day: vec![0.0; count],
            overhead_usd: 0.0,
            status: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, row: &Row) {
        let seconds = row.day.start_seconds() - self.days.0.start_seconds();
        let index = usize::try_from(seconds / crate::cost::day::DAY_SECONDS).unwrap_or(usize::MAX);
        let Some(sum) = self.by_day.get_mut(index) else { return };
        *sum += row.usd;
        self.groups.add(self.by.group(row), index, row.usd);
        let account = Group { name: row.account.to_string(), ..Group::default() };
        self.accounts.add(account, index, row.usd);
        if row.is_known && row.namespace.is_none() {
            self.overhead_usd += row.usd;
        }
    }

    /// Adds an account's day.
    pub fn status(&mut self, fact: DayFact) {
        self.status.push(fact);
    }

    /// The sums, with the month's forecast.
    #[must_use]
    pub fn into_sums(self, forecast: Option<Forecast>) -> Sums {
        Sums {
            by: self.by,
            days: self.days,
            groups: self.groups,
            accounts: self.accounts,
            by_day: self.by_day,
            overhead_usd: self.overhead_usd,
            status: self.status,
            forecast,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::day_status::DayStatusWriter;
    use crate::day_status::memory::MemoryDayStatus;
    use crate::day_status::stored_form::tests::complete;
    use crate::ledger::Dimensions;
    use crate::ledger::memory::{MemoryLedger, StoredRow};

    struct NoNames;

    #[async_trait::async_trait]
    impl DocumentNames for NoNames {
        async fn names(&self, _: &AccountId, _: &[String]) -> Result<Vec<ResourceNames>, Failure> {
            Ok(Vec::new())
        }
    }

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    fn account() -> Account {
        Account::unnamed(AccountId::new("a").unwrap())
    }

    fn add_row(ledger: &MemoryLedger, date_seconds: i64) {
        ledger.insert_raw(StoredRow {
            account: account().id,
            resource_id: format!("r{date_seconds}"),
            date_seconds,
            cost_usd: 1.0,
            sign: 1,
            dimensions: Dimensions::default(),
        });
    }

    /// A report of `2026-11-01..=2026-11-05`, of days that were all stored with one row of $1.
    async fn read_days(ledger: &MemoryLedger, status: &dyn DayStatusReader) -> Sums {
        let days = (day("2026-11-01"), day("2026-11-05"));
        let scope = Scope { by: By::Day, days, accounts: vec![account()] };
        let stores = ReportStores { ledger, names: &NoNames, status };
        read(&stores, &scope, day("2026-11-06")).await.unwrap()
    }

    async fn stored_days() -> (MemoryLedger, MemoryDayStatus) {
        let (ledger, status) = (MemoryLedger::default(), MemoryDayStatus::default());
        for one in day("2026-11-01").through(day("2026-11-05")) {
            status.put(&complete(one)).await.unwrap();
            if one != day("2026-11-02") {
                add_row(&ledger, one.start_seconds());
            }
        }
        (ledger, status)
    }

    #[tokio::test]
    async fn a_settled_day_with_other_rows_than_were_stored_is_not_complete() {
        let (ledger, status) = stored_days().await;
        // One off the midnight is in the total, and no difference.
        add_row(&ledger, day("2026-11-01").start_seconds() + 60);
        add_row(&ledger, day("2026-11-03").start_seconds());
        let mut running = complete(day("2026-11-05"));
        running.attempt.is_settled = false;
        status.put(&running).await.unwrap();
        add_row(&ledger, running.day.start_seconds());
        let sums = read_days(&ledger, &status).await;
        let facts: Vec<_> = sums.status.iter().map(|one| (one.state, one.usd)).collect();
        let wanted = [("ok", 2.0), ("partial", 0.0), ("partial", 2.0), ("ok", 1.0), ("ok", 2.0)];
        assert_eq!(facts, wanted);
        assert_eq!(
            sums.status[1].cause,
            "the ledger has $0.0000 of this day (rows: 0), its status $1.0000 (rows: 1): \
             kubecost-worker run --from 2026-11-02 --to 2026-11-02 --account a writes it again"
        );
        assert!(!sums.status[2].is_complete() && sums.status[3].is_complete());
        assert_eq!(sums.forecast.unwrap().basis_days, 3);
    }

    #[tokio::test]
    async fn a_day_that_was_stored_while_it_ran_is_not_complete_once_it_is_over() {
        let (ledger, status) = stored_days().await;
        add_row(&ledger, day("2026-11-02").start_seconds());
        let mut broken_off = complete(day("2026-11-03"));
        broken_off.attempt.is_settled = false;
        broken_off.attempt.at_seconds = broken_off.day.start_seconds() + 21_600;
        let coverage = &mut broken_off.stored.coverage;
        (coverage.covered_minutes, coverage.expected_minutes) = (360, 360);
        status.put(&broken_off).await.unwrap();
        let sums = read_days(&ledger, &status).await;
        let states: Vec<_> = sums.status.iter().map(|one| one.state).collect();
        assert_eq!(states, ["ok", "ok", "partial", "ok", "ok"]);
        let fact = &sums.status[2];
        assert_eq!((fact.covered_minutes, fact.expected_minutes), (360, 1_440));
        assert_eq!(
            fact.cause,
            "no run came after 06:00 of this day: kubecost-worker run --from 2026-11-03 --to \
             2026-11-03 --account a adds the rest"
        );
        assert!(!fact.is_complete());
        // A run came since, and the source knew no more.
        broken_off.attempt.at_seconds = day("2026-11-04").start_seconds() + 60;
        status.put(&broken_off).await.unwrap();
        let fact = read_days(&ledger, &status).await.status.remove(2);
        let cause = "the source knows 06:00 of this day: a later run adds the rest";
        assert_eq!((fact.state, fact.cause.as_str()), ("partial", cause));
    }

    #[test]
    fn a_day_of_which_nothing_is_stored_is_lacking_unless_the_source_had_nothing() {
        let total = |text: &str| DayTotal { day: day(text), total_usd: 2.0, rows: 1 };
        let totals = [total("2026-11-02"), total("2026-11-06")];
        let of_state = |text: &str, state: DayState| {
            let mut status = DayStatus::empty(&account().id, day(text));
            status.attempt.state = state;
            (status.day, status)
        };
        let statuses = BTreeMap::from([
            of_state("2026-10-31", DayState::NoData),
            of_state("2026-11-01", DayState::Failed),
            (day("2026-11-02"), complete(day("2026-11-02"))),
            of_state("2026-11-04", DayState::NoData),
            of_state("2026-11-05", DayState::Late),
            // Its costs are nothing, and rows of nothing are not written.
            of_state("2026-11-07", DayState::Ok),
        ]);
        let days = known_days(&totals, &statuses, day("2026-11-07"));
        let lacking: Vec<_> =
            days.iter().map(|one| (one.day.to_string(), one.is_lacking)).collect();
        let wanted = [
            ("2026-11-01", true),
            ("2026-11-02", false),
            ("2026-11-03", true),
            ("2026-11-04", false),
            ("2026-11-05", true),
            ("2026-11-06", false),
            ("2026-11-07", false),
        ];
        assert_eq!(lacking, wanted.map(|(day, is)| (day.to_owned(), is)));
        assert!(known_days(&[], &BTreeMap::new(), day("2026-11-06")).is_empty());
    }
}
