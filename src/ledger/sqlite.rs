//! The ledger in the embedded store: the table `expenses`, with ClickHouse's columns.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rusqlite::Row;

use crate::cost::{AccountId, Day};
use crate::service::failure::{Failure, Hop};
use crate::stores::sqlite::{SqliteStore, json_list};

use super::collapse::kept_by_merge;
use super::entry::SignedCost;
use super::{DayTotal, Dimensions, Entry, KeyState, LedgerReader, LedgerWriter, ResourceTotal};

const INSERT: &str = "
INSERT INTO expenses
    (cloud_account_id, resource_id, date, cost, sign, k8s_namespace, k8s_node, k8s_service)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

/// One row for each resource and day; what is summed over days is summed by the reader, so that
/// the last day's cost comes with it.
const TOTALS: &str = "
SELECT asked.key, asked.value, date, SUM(cost * sign), SUM(sign)
FROM json_each(?2) AS asked
LEFT JOIN expenses ON cloud_account_id = ?1 AND resource_id = asked.value
GROUP BY asked.key, date ORDER BY asked.key, date";

/// A day's rows, in the order of their writing.
const ROWS: &str = "
SELECT resource_id, date, cost, sign, k8s_namespace, k8s_node, k8s_service FROM expenses
WHERE cloud_account_id = ?1 AND date >= ?2 AND date < ?3 ORDER BY resource_id, date, rowid";

const DAY_TOTALS: &str = "
SELECT date, SUM(cost * sign), SUM(sign) FROM expenses
WHERE cloud_account_id = ?1 AND date >= ?2 AND date < ?3 AND date % 86400 = 0
GROUP BY date ORDER BY date";

const OFF_MIDNIGHT_TOTALS: &str = "
SELECT date - date % 86400, SUM(cost * sign) FROM expenses
WHERE cloud_account_id = ?1 AND date >= ?2 AND date < ?3 AND date % 86400 != 0
GROUP BY 1 HAVING SUM(cost * sign) != 0";

/// The ledger in a SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteLedger {
    store: SqliteStore,
}

impl SqliteLedger {
    /// The ledger of this file.
    #[must_use]
    pub fn new(store: SqliteStore) -> Self {
        Self { store }
    }
}

/// A row of the table: its resource and date, its columns, its sign and cost.
type DayRow = ((String, i64), Dimensions, SignedCost);

fn day_row(row: &Row<'_>) -> rusqlite::Result<DayRow> {
    let dimensions = Dimensions { namespace: row.get(4)?, node: row.get(5)?, service: row.get(6)? };
    let signed = SignedCost { cost_usd: row.get(2)?, sign: row.get(3)? };
    Ok(((row.get(0)?, row.get(1)?), dimensions, signed))
}

fn states(rows: Vec<DayRow>) -> Vec<KeyState> {
    let mut groups: BTreeMap<((String, i64), Dimensions), Vec<SignedCost>> = BTreeMap::new();
    for (key, dimensions, row) in rows {
        groups.entry((key, dimensions)).or_default().push(row);
    }
    groups
        .into_iter()
        .filter_map(|(((id, date), dimensions), rows)| {
            KeyState::of_rows(id, date, dimensions, &rows)
        })
        .collect()
}

fn day_total(row: &Row<'_>) -> rusqlite::Result<DayTotal> {
    let day = Day::of_unix(row.get(0)?);
    Ok(DayTotal { day, total_usd: row.get(1)?, rows: row.get(2)? })
}

/// The live row that ClickHouse's engine would keep of one key's rows.
fn merged(rows: &[DayRow]) -> Option<KeyState> {
    let signs: Vec<i8> = rows.iter().map(|(_, _, row)| row.sign).collect();
    let kept = kept_by_merge(&signs).into_iter().map(|index| rows[index].2);
    let kept: Vec<_> = kept.filter(|row| row.sign > 0).collect();
    let (resource_id, date_seconds) = rows.first()?.0.clone();
    KeyState::of_rows(resource_id, date_seconds, Dimensions::default(), &kept)
}

impl SqliteLedger {
    async fn day_rows(&self, account: &AccountId, day: Day) -> Result<Vec<DayRow>, Failure> {
        let account = account.as_str().to_owned();
        self.store
            .read(Hop::ClickHouse, "reading expenses", move |connection| {
                let mut query = connection.prepare_cached(ROWS)?;
                let range = (account, day.start_seconds(), day.end_seconds());
                query.query_map(range, day_row)?.collect()
            })
            .await
    }
}

#[async_trait]
impl LedgerReader for SqliteLedger {
    async fn check(&self) -> Result<(), Failure> {
        self.store.check(Hop::ClickHouse, &["expenses"]).await
    }

    async fn states(&self, account: &AccountId, day: Day) -> Result<Vec<KeyState>, Failure> {
        Ok(states(self.day_rows(account, day).await?))
    }

    async fn collapsed(&self, account: &AccountId, day: Day) -> Result<Vec<KeyState>, Failure> {
        let rows = self.day_rows(account, day).await?;
        Ok(rows.chunk_by(|a, b| a.0 == b.0).filter_map(merged).collect())
    }

    async fn resource_totals(
        &self,
        account: &AccountId,
        resource_ids: &[String],
    ) -> Result<Vec<ResourceTotal>, Failure> {
        let (account, asked) = (account.as_str().to_owned(), json_list(resource_ids));
        self.store
            .read(Hop::ClickHouse, "summing up expenses", move |connection| {
                let mut query = connection.prepare_cached(TOTALS)?;
                let mut rows = query.query((account, asked))?;
                let mut totals: Vec<ResourceTotal> = Vec::new();
                while let Some(row) = rows.next()? {
                    let position = row.get::<_, u32>(0)? as usize;
                    if totals.len() <= position {
                        let resource_id = row.get(1)?;
                        totals.push(ResourceTotal { resource_id, total_usd: 0.0, last: None });
                    }
                    let day: (Option<i64>, Option<f64>, Option<i64>) =
                        (row.get(2)?, row.get(3)?, row.get(4)?);
                    if let (Some(total), (Some(date), Some(cost), Some(sign))) =
                        (totals.last_mut(), day)
                    {
                        total.total_usd += cost;
                        total.last = if sign > 0 { Some((date, cost)) } else { total.last };
                    }
                }
                Ok(totals)
            })
            .await
    }

    async fn day_totals(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<Vec<DayTotal>, Failure> {
        let account = account.as_str().to_owned();
        self.store
            .read(Hop::ClickHouse, "adding up days", move |connection| {
                let mut query = connection.prepare_cached(DAY_TOTALS)?;
                let range = (account, first.start_seconds(), last.end_seconds());
                query.query_map(range, day_total)?.collect()
            })
            .await
    }

    async fn off_midnight_totals(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<BTreeMap<Day, f64>, Failure> {
        let account = account.as_str().to_owned();
        self.store
            .read(Hop::ClickHouse, "adding up rows off midnight", move |connection| {
                let mut query = connection.prepare_cached(OFF_MIDNIGHT_TOTALS)?;
                let range = (account, first.start_seconds(), last.end_seconds());
                let of = |row: &Row<'_>| Ok((Day::of_unix(row.get(0)?), row.get(1)?));
                query.query_map(range, of)?.collect()
            })
            .await
    }
}

#[async_trait]
impl LedgerWriter for SqliteLedger {
    async fn append(
        &self,
        account: &AccountId,
        _day: Day,
        entries: &[Entry],
    ) -> Result<(), Failure> {
        let (account, entries) = (account.as_str().to_owned(), entries.to_vec());
        self.store
            .write(Hop::ClickHouse, "adding expenses", move |transaction| {
                let mut insert = transaction.prepare_cached(INSERT)?;
                for entry in &entries {
                    insert.execute((
                        &account,
                        &entry.resource_id,
                        entry.date_seconds,
                        entry.cost_usd,
                        entry.sign,
                        &entry.dimensions.namespace,
                        &entry.dimensions.node,
                        &entry.dimensions.service,
                    ))?;
                }
                Ok(())
            })
            .await
    }
}
