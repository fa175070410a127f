//! The ledger in memory: the twin of the real one, for tests of everything around it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::cost::{AccountId, Day};
use crate::service::failure::Failure;

use super::collapse::kept_by_merge;
use super::{DayTotal, Dimensions, Entry, ExpenseLedger, KeyState, ResourceTotal};

/// A row as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRow {
    /// The account.
    pub account: AccountId,
    /// `resource_id`.
    pub resource_id: String,
    /// `date`, Unix seconds.
    pub date_seconds: i64,
    /// `cost`, USD.
    pub cost_usd: f64,
    /// `sign`.
    pub sign: i8,
    /// The Kubernetes columns.
    pub dimensions: Dimensions,
}

/// A ledger that forgets when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryLedger {
    rows: Mutex<Vec<StoredRow>>,
}

impl MemoryLedger {
    fn lock(&self) -> MutexGuard<'_, Vec<StoredRow>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of all rows, in the order in which they were written.
    #[must_use]
    pub fn rows(&self) -> Vec<StoredRow> {
        self.lock().clone()
    }

    /// Merges only rows that were written one after the other, from `first` up to `until`: what an
    /// engine does in the background.
    pub fn merge_some(&self, first: usize, until: usize) {
        let mut rows = self.lock();
        let until = until.min(rows.len());
        let first = first.min(until);
        let mut keys: BTreeMap<(AccountId, String, i64), Vec<StoredRow>> = BTreeMap::new();
        for row in rows.drain(first..until) {
            let key = (row.account.clone(), row.resource_id.clone(), row.date_seconds);
            keys.entry(key).or_default().push(row);
        }
        let after = rows.split_off(first);
        rows.extend(keys.values().flat_map(|rows| collapsed(rows)));
        rows.extend(after);
    }

    /// Adds a row as another writer would.
    pub fn plant(&self, row: StoredRow) {
        self.lock().push(row);
    }
}

type GroupKey = (String, i64, Dimensions);

fn grouped<'a>(rows: impl Iterator<Item = &'a StoredRow>) -> Vec<KeyState> {
    let mut groups: BTreeMap<GroupKey, (f64, i64)> = BTreeMap::new();
    for row in rows {
        let key = (row.resource_id.clone(), row.date_seconds, row.dimensions.clone());
        let group = groups.entry(key).or_default();
        group.0 += row.cost_usd * f64::from(row.sign);
        group.1 += i64::from(row.sign);
    }
    groups
        .into_iter()
        .filter(|(_, (cost, sign))| *sign != 0 || *cost != 0.0)
        .map(|((resource_id, date_seconds, dimensions), (cost_usd, sign))| KeyState {
            resource_id,
            date_seconds,
            dimensions,
            cost_usd,
            sign,
        })
        .collect()
}

/// What CollapsingMergeTree keeps of one key's rows, in the order of their writing.
fn collapsed(rows: &[StoredRow]) -> Vec<StoredRow> {
    let signs: Vec<i8> = rows.iter().map(|row| row.sign).collect();
    kept_by_merge(&signs).into_iter().map(|index| rows[index].clone()).collect()
}

#[async_trait]
impl ExpenseLedger for MemoryLedger {
    async fn check(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn states(&self, account: &AccountId, day: Day) -> Result<Vec<KeyState>, Failure> {
        let dates = day.start_seconds()..day.end_seconds();
        let rows = self.lock();
        Ok(grouped(
            rows.iter().filter(|r| r.account == *account && dates.contains(&r.date_seconds)),
        ))
    }

    async fn collapsed(&self, account: &AccountId, day: Day) -> Result<Vec<KeyState>, Failure> {
        let dates = day.start_seconds()..day.end_seconds();
        let mut keys: BTreeMap<(String, i64), Vec<StoredRow>> = BTreeMap::new();
        for row in self.rows() {
            if row.account == *account && dates.contains(&row.date_seconds) {
                let row = StoredRow { dimensions: Dimensions::default(), ..row };
                keys.entry((row.resource_id.clone(), row.date_seconds)).or_default().push(row);
            }
        }
        let kept = keys.values().flat_map(|rows| collapsed(rows));
        let kept: Vec<StoredRow> = kept.filter(|row| row.sign > 0).collect();
        Ok(grouped(kept.iter()))
    }

    async fn append(
        &self,
        account: &AccountId,
        _day: Day,
        entries: &[Entry],
    ) -> Result<(), Failure> {
        let mut rows = self.lock();
        rows.extend(entries.iter().map(|entry| StoredRow {
            account: account.clone(),
            resource_id: entry.resource_id.clone(),
            date_seconds: entry.date_seconds,
            cost_usd: entry.cost_usd,
            sign: entry.sign,
            dimensions: entry.dimensions.clone(),
        }));
        Ok(())
    }

    async fn merge(&self, _day: Day) -> Result<(), Failure> {
        self.merge_some(0, usize::MAX);
        Ok(())
    }

    async fn resource_totals(
        &self,
        account: &AccountId,
        resource_ids: &[String],
    ) -> Result<Vec<ResourceTotal>, Failure> {
        let rows = self.lock();
        let mut totals = Vec::new();
        for id in resource_ids {
            let states =
                grouped(rows.iter().filter(|r| r.account == *account && r.resource_id == *id));
            let last = states
                .iter()
                .filter(|s| s.sign > 0)
                .max_by_key(|s| s.date_seconds)
                .map(|s| (s.date_seconds, s.cost_usd));
            let total_usd = states.iter().map(|s| s.cost_usd).sum();
            totals.push(ResourceTotal { resource_id: id.clone(), total_usd, last });
        }
        Ok(totals)
    }

    async fn day_totals(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<Vec<DayTotal>, Failure> {
        let rows = self.lock();
        let mut totals: BTreeMap<Day, DayTotal> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.account == *account) {
            let day = Day::of_unix(row.date_seconds);
            if day.start_seconds() == row.date_seconds && (first..=last).contains(&day) {
                let none = DayTotal { day, total_usd: 0.0, rows: 0 };
                let total = totals.entry(day).or_insert(none);
                total.total_usd += row.cost_usd * f64::from(row.sign);
                total.rows += i64::from(row.sign);
            }
        }
        Ok(totals.into_values().collect())
    }
}
