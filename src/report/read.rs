//! Reading what a report is made of: one account's day at a time, so that memory is bounded by a
//! day's rows and by the sums.

use std::collections::BTreeMap;

use crate::accounts::Account;
use crate::cost::{AccountId, Day};
use crate::day_status::{DayStatus, DayStatusReader};
use crate::documents::{DocumentNames, ResourceNames};
use crate::ledger::{KeyState, LedgerReader};
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
}

/// Reads the days of accounts one after the other and hands each to `take`.
///
/// # Errors
/// When a store cannot be read, or what `take` returns.
pub async fn each_day<E: From<Failure>>(
    stores: &ReportStores<'_>,
    scope: &Scope,
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
            let rows = states.into_iter().map(|state| row(&account.id, day, state, &names));
            let status = status.remove(&day);
            take(account, AccountDay { day, rows: rows.collect(), status })?;
        }
    }
    Ok(())
}

/// Reads what a report is made of.
///
/// # Errors
/// When a store cannot be read.
pub async fn read(stores: &ReportStores<'_>, scope: &Scope, today: Day) -> Result<Sums, Failure> {
    let mut adding = Adding::new(scope);
    each_day::<Failure>(stores, scope, |account, one| {
        one.rows.iter().for_each(|row| adding.row(row));
        let usd = one.rows.iter().map(|row| row.usd).sum::<f64>() + 0.0;
        adding.status(DayFact::of(&account.id, one.day, one.status.as_ref(), usd));
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
        let status = stores.status.statuses(&account.id, first, today).await?;
        let is_complete = |day: Day| {
            let of_day = status.iter().find(|one| one.day == day);
            of_day.is_some_and(|one| DayFact::of(&account.id, day, Some(one), 0.0).is_complete())
        };
        let known: Vec<KnownDay> = totals
            .iter()
            .map(|total| KnownDay {
                day: total.day,
                usd: total.total_usd,
                is_complete: is_complete(total.day),
            })
            .collect();
        if known.is_empty() {
            continue;
        }
        let Some(one) = forecast(&known, today) else { return Ok(None) };
        sum = Some(sum.map_or(one, |sum| sum.plus(one)));
    }
    Ok(sum)
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
