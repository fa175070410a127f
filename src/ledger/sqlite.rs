//! The ledger in the embedded store: the table `expenses`, with ClickHouse's columns.

use async_trait::async_trait;
use rusqlite::{Row, Transaction};

use crate::cost::{AccountId, Day};
use crate::service::failure::{Failure, Hop};
use crate::stores::sqlite::{SqliteStore, json_list};

use super::collapse::kept_by_merge;
use super::{DayTotal, Dimensions, Entry, ExpenseLedger, KeyState, ResourceTotal};

const INSERT: &str = "
INSERT INTO expenses
    (cloud_account_id, resource_id, date, cost, sign, k8s_namespace, k8s_node, k8s_service)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

const STATES: &str = "
SELECT resource_id, date, k8s_namespace, k8s_node, k8s_service, SUM(cost * sign), SUM(sign)
FROM expenses WHERE cloud_account_id = ?1 AND date >= ?2 AND date < ?3
GROUP BY resource_id, date, k8s_namespace, k8s_node, k8s_service
HAVING SUM(sign) <> 0 OR SUM(cost * sign) <> 0
ORDER BY resource_id, date, k8s_namespace, k8s_node, k8s_service";

/// One row for each resource and day; what is summed over days is summed by the reader, so that
/// the last day's cost comes with it.
const TOTALS: &str = "
SELECT asked.key, asked.value, date, SUM(cost * sign), SUM(sign)
FROM json_each(?2) AS asked
LEFT JOIN expenses ON cloud_account_id = ?1 AND resource_id = asked.value
GROUP BY asked.key, date ORDER BY asked.key, date";

/// Rows of keys that have more than one, in the order of their writing.
const MERGE_CANDIDATES: &str = "
SELECT rowid, cloud_account_id, resource_id, date, sign FROM expenses
WHERE (cloud_account_id, resource_id, date) IN (
    SELECT cloud_account_id, resource_id, date FROM expenses WHERE date >= ?1 AND date < ?2
    GROUP BY cloud_account_id, resource_id, date HAVING COUNT(*) > 1)
ORDER BY cloud_account_id, resource_id, date, rowid";

const ROWS: &str = "
SELECT resource_id, date, cost, sign FROM expenses
WHERE cloud_account_id = ?1 AND date >= ?2 AND date < ?3 ORDER BY resource_id, date, rowid";

const DAY_TOTALS: &str = "
SELECT date, SUM(cost * sign), SUM(sign) FROM expenses
WHERE cloud_account_id = ?1 AND date >= ?2 AND date < ?3 AND date % 86400 = 0
GROUP BY date ORDER BY date";

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

fn key_state(row: &Row<'_>) -> rusqlite::Result<KeyState> {
    Ok(KeyState {
        resource_id: row.get(0)?,
        date_seconds: row.get(1)?,
        dimensions: Dimensions { namespace: row.get(2)?, node: row.get(3)?, service: row.get(4)? },
        cost_usd: row.get(5)?,
        sign: row.get(6)?,
    })
}

fn day_total(row: &Row<'_>) -> rusqlite::Result<DayTotal> {
    let day = Day::of_unix(row.get(0)?);
    Ok(DayTotal { day, total_usd: row.get(1)?, rows: row.get(2)? })
}

/// What a merge keeps of one key's rows, summed up; nothing where they cancel out.
fn merged(rows: &[((String, i64), f64, i8)]) -> Option<KeyState> {
    let signs: Vec<i8> = rows.iter().map(|row| row.2).collect();
    let kept = kept_by_merge(&signs).into_iter().map(|index| &rows[index]);
    let kept: Vec<_> = kept.filter(|row| row.2 > 0).collect();
    let cost_usd = kept.iter().map(|row| row.1 * f64::from(row.2)).sum::<f64>() + 0.0;
    let sign = kept.iter().map(|row| i64::from(row.2)).sum();
    let (resource_id, date_seconds) = rows.first()?.0.clone();
    let dimensions = Dimensions::default();
    let state = KeyState { resource_id, date_seconds, dimensions, cost_usd, sign };
    (sign != 0 || cost_usd != 0.0).then_some(state)
}

/// The rows that a merge takes away, by `rowid`.
fn collapsed_rows(transaction: &Transaction<'_>, day: Day) -> rusqlite::Result<Vec<i64>> {
    let mut query = transaction.prepare_cached(MERGE_CANDIDATES)?;
    let rows = query
        .query_map((day.start_seconds(), day.end_seconds()), |row| {
            let key: (String, String, i64) = (row.get(1)?, row.get(2)?, row.get(3)?);
            Ok((key, row.get::<_, i64>(0)?, row.get::<_, i8>(4)?))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut gone = Vec::new();
    for of_key in rows.chunk_by(|a, b| a.0 == b.0) {
        let signs: Vec<i8> = of_key.iter().map(|row| row.2).collect();
        let kept = kept_by_merge(&signs);
        let lost = of_key.iter().enumerate().filter(|(index, _)| !kept.contains(index));
        gone.extend(lost.map(|(_, row)| row.1));
    }
    Ok(gone)
}

#[async_trait]
impl ExpenseLedger for SqliteLedger {
    async fn check(&self) -> Result<(), Failure> {
        self.store.check(Hop::ClickHouse, &["expenses"]).await
    }

    async fn states(&self, account: &AccountId, day: Day) -> Result<Vec<KeyState>, Failure> {
        let account = account.as_str().to_owned();
        self.store
            .read(Hop::ClickHouse, "reading expenses", move |connection| {
                let mut query = connection.prepare_cached(STATES)?;
                let range = (account, day.start_seconds(), day.end_seconds());
                query.query_map(range, key_state)?.collect()
            })
            .await
    }

    async fn collapsed(&self, account: &AccountId, day: Day) -> Result<Vec<KeyState>, Failure> {
        let account = account.as_str().to_owned();
        self.store
            .read(Hop::ClickHouse, "reading merged expenses", move |connection| {
                let mut query = connection.prepare_cached(ROWS)?;
                let range = (account, day.start_seconds(), day.end_seconds());
                let rows = query
                    .query_map(range, |row| {
                        let key: (String, i64) = (row.get(0)?, row.get(1)?);
                        Ok((key, row.get::<_, f64>(2)?, row.get::<_, i8>(3)?))
                    })?
                    .collect::<rusqlite::Result<Vec<_>>>()?;
                Ok(rows.chunk_by(|a, b| a.0 == b.0).filter_map(merged).collect())
            })
            .await
    }

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

    async fn merge(&self, day: Day) -> Result<(), Failure> {
        self.store
            .write(Hop::ClickHouse, "merging a day's expenses", move |transaction| {
                let gone = collapsed_rows(transaction, day)?;
                let mut delete =
                    transaction.prepare_cached("DELETE FROM expenses WHERE rowid = ?1")?;
                for rowid in gone {
                    delete.execute([rowid])?;
                }
                Ok(())
            })
            .await
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
}
