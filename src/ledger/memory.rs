//! The ledger in memory, under the same contract as ClickHouse: for tests of everything around it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::cost::{AccountId, Day};
use crate::service::failure::Failure;

use super::blocks::blocks;
use super::collapse::kept_by_merge;
use super::entry::SignedCost;
use super::{DayTotal, Dimensions, Entry, KeyState, LedgerReader, LedgerWriter, ResourceTotal};

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

/// A ledger that forgets when it is dropped. As in the engine, the rows of one insert are a part,
/// and parts that stand side by side may be merged into one.
#[derive(Debug, Default)]
pub struct MemoryLedger {
    parts: Mutex<Vec<Vec<StoredRow>>>,
}

impl MemoryLedger {
    fn lock(&self) -> MutexGuard<'_, Vec<Vec<StoredRow>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of all rows, in the order in which they were written.
    #[must_use]
    pub fn rows(&self) -> Vec<StoredRow> {
        self.lock().concat()
    }

    /// How many parts there are.
    #[must_use]
    pub fn part_count(&self) -> usize {
        self.lock().len()
    }

    /// Merges the parts from `first` up to `until` into one: what an engine does in the background.
    /// One part alone is merged too, as with others that have no row of its keys.
    pub fn merge_some(&self, first: usize, until: usize) {
        let mut parts = self.lock();
        let until = until.min(parts.len());
        let first = first.min(until);
        let mut keys: BTreeMap<(AccountId, String, i64), Vec<StoredRow>> = BTreeMap::new();
        for row in parts.drain(first..until).flatten() {
            let key = (row.account.clone(), row.resource_id.clone(), row.date_seconds);
            keys.entry(key).or_default().push(row);
        }
        let merged: Vec<StoredRow> = keys.values().flat_map(|rows| collapsed(rows)).collect();
        if !merged.is_empty() {
            parts.insert(first, merged);
        }
    }

    /// Adds a row as another writer would.
    pub fn insert_raw(&self, row: StoredRow) {
        self.lock().push(vec![row]);
    }
}

fn grouped<'a>(rows: impl Iterator<Item = &'a StoredRow>) -> Vec<KeyState> {
    let mut groups: BTreeMap<(&str, i64, &Dimensions), Vec<SignedCost>> = BTreeMap::new();
    for row in rows {
        let key = (row.resource_id.as_str(), row.date_seconds, &row.dimensions);
        let of_group = groups.entry(key).or_default();
        of_group.push(SignedCost { sign: row.sign, cost_usd: row.cost_usd });
    }
    groups
        .into_iter()
        .filter_map(|((id, date_seconds, dimensions), rows)| {
            KeyState::of_rows(id.to_owned(), date_seconds, dimensions.clone(), &rows)
        })
        .collect()
}

/// What CollapsingMergeTree keeps of one key's rows, in the order of their writing.
fn collapsed(rows: &[StoredRow]) -> Vec<StoredRow> {
    let signs: Vec<i8> = rows.iter().map(|row| row.sign).collect();
    kept_by_merge(&signs).into_iter().map(|index| rows[index].clone()).collect()
}

#[async_trait]
impl LedgerReader for MemoryLedger {
    async fn check(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn states(&self, account: &AccountId, day: Day) -> Result<Vec<KeyState>, Failure> {
        let dates = day.start_seconds()..day.end_seconds();
        let parts = self.lock();
        Ok(grouped(
            parts
                .iter()
                .flatten()
                .filter(|r| r.account == *account && dates.contains(&r.date_seconds)),
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

    async fn resource_totals(
        &self,
        account: &AccountId,
        resource_ids: &[String],
    ) -> Result<Vec<ResourceTotal>, Failure> {
        let rows = self.rows();
        let mut totals = Vec::new();
        for id in resource_ids {
            let mut days: BTreeMap<i64, (f64, i64)> = BTreeMap::new();
            for row in rows.iter().filter(|r| r.account == *account && r.resource_id == *id) {
                let day = days.entry(row.date_seconds).or_default();
                day.0 += row.cost_usd * f64::from(row.sign);
                day.1 += i64::from(row.sign);
            }
            let last = days.iter().rev().find(|(_, (_, sign))| *sign > 0);
            let last = last.map(|(date, (cost_usd, _))| (*date, *cost_usd));
            let total_usd = days.values().map(|(cost_usd, _)| cost_usd).sum::<f64>() + 0.0;
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
        let rows = self.rows();
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

#[async_trait]
impl LedgerWriter for MemoryLedger {
    async fn append(
        &self,
        account: &AccountId,
        _day: Day,
        entries: &[Entry],
    ) -> Result<(), Failure> {
        let row = |entry: &Entry| StoredRow {
            account: account.clone(),
            resource_id: entry.resource_id.clone(),
            date_seconds: entry.date_seconds,
            cost_usd: entry.cost_usd,
            sign: entry.sign,
            dimensions: entry.dimensions.clone(),
        };
        let mut parts = self.lock();
        for block in blocks(entries) {
            let (plain, dimensioned): (Vec<_>, Vec<_>) =
                block.iter().map(row).partition(|row| row.dimensions.is_empty());
            parts.extend([plain, dimensioned].into_iter().filter(|part| !part.is_empty()));
        }
        Ok(())
    }
}
