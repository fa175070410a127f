//! The ledger in ClickHouse, from 18.16 to today's.
//!
//! Old servers know no `RowBinaryWithNamesAndTypes`, so the client's validation is off and
//! [`check`](ExpenseLedger::check) looks at the columns' types instead.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use clickhouse::{Client, Row};
use serde::{Deserialize, Serialize};

use crate::cost::{AccountId, Day};
use crate::service::failure::{Failure, Hop, Kind};
use crate::settings::worker::CloudTunerConfig;

use super::blocks::blocks;
use super::clickhouse_failure::clickhouse_failure;
use super::{DayTotal, Dimensions, Entry, ExpenseLedger, KeyState, ResourceTotal};

/// The table.
pub const TABLE: &str = "expenses";
/// How long one statement may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(120);
/// From how many ids on all of an account's rows are read, rather than those of a list.
const LISTED_IDS_MAX: usize = 1_000;

/// The columns that are read and written, with the types that fit.
const COLUMNS: [(&str, &[&str]); 8] = [
    ("cloud_account_id", &["String", "LowCardinality(String)"]),
    ("resource_id", &["String", "LowCardinality(String)"]),
    ("date", &["DateTime"]),
    ("cost", &["Float64"]),
    ("sign", &["Int8"]),
    ("k8s_namespace", &["Nullable(String)", "LowCardinality(Nullable(String))"]),
    ("k8s_node", &["Nullable(String)", "LowCardinality(Nullable(String))"]),
    ("k8s_service", &["Nullable(String)", "LowCardinality(Nullable(String))"]),
];

/// A row without Kubernetes columns: a cluster's.
#[derive(Row, Serialize)]
struct Row5 {
    cloud_account_id: String,
    resource_id: String,
    date: u32,
    cost: f64,
    sign: i8,
}

/// A row with Kubernetes columns.
#[derive(Row, Serialize)]
struct Row8 {
    cloud_account_id: String,
    resource_id: String,
    date: u32,
    cost: f64,
    sign: i8,
    k8s_namespace: Option<String>,
    k8s_node: Option<String>,
    k8s_service: Option<String>,
}

#[derive(Row, Deserialize)]
struct StateRow {
    resource_id: String,
    date_seconds: u32,
    k8s_namespace: Option<String>,
    k8s_node: Option<String>,
    k8s_service: Option<String>,
    cost_sum: f64,
    sign_sum: i64,
}

#[derive(Row, Deserialize)]
struct DayTotalRow {
    resource_id: String,
    date_seconds: u32,
    cost_sum: f64,
}

#[derive(Row, Deserialize)]
struct CollapsedRow {
    resource_id: String,
    date_seconds: u32,
    cost_sum: f64,
    sign_sum: i64,
}

#[derive(Row, Deserialize)]
struct MidnightRow {
    date_seconds: u32,
    cost_sum: f64,
    sign_sum: i64,
}

#[derive(Row, Deserialize)]
struct ColumnRow {
    name: String,
    kind: String,
}

/// A ClickHouse that holds `expenses`.
#[derive(Clone)]
pub struct ClickHouseLedger {
    client: Client,
    address: String,
}

impl std::fmt::Debug for ClickHouseLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClickHouseLedger({})", self.address)
    }
}

/// A client for the settings; nothing is sent yet.
#[must_use]
pub fn client(config: &CloudTunerConfig) -> Client {
    crate::service::http::install_tls();
    let user = config.clickhouse.credentials().map(|(user, _)| user.as_str());
    Client::default()
        .with_url(config.clickhouse.shown())
        .with_database(&config.clickhouse_database)
        .with_user(user.unwrap_or(&config.clickhouse_user))
        .with_password(config.clickhouse_password.expose())
        .with_validation(false)
}

impl ClickHouseLedger {
    /// The ledger of the settings; nothing is sent yet.
    #[must_use]
    pub fn new(config: &CloudTunerConfig) -> Self {
        Self { client: client(config), address: config.clickhouse.shown().to_owned() }
    }

    async fn fetch<T>(&self, what: &str, query: clickhouse::query::Query) -> Result<Vec<T>, Failure>
    where
        T: clickhouse::RowOwned + clickhouse::RowRead,
    {
        let asked = tokio::time::timeout(STATEMENT_TIMEOUT, query.fetch_all::<T>()).await;
        self.outcome(what, asked)
    }

    fn outcome<T>(
        &self,
        what: &str,
        asked: Result<clickhouse::error::Result<T>, tokio::time::error::Elapsed>,
    ) -> Result<T, Failure> {
        match asked {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(clickhouse_failure(what, &self.address, &error)),
            Err(_) => Err(Failure::new(
                Hop::ClickHouse,
                Kind::Timeout,
                format!("{what} at {} took over {} s", self.address, STATEMENT_TIMEOUT.as_secs()),
                "see ClickHouse's load and the network between",
            )),
        }
    }

    fn schema(&self, what: String) -> Failure {
        let fix = "run kubecost-worker migrate; a column of another type must be changed by hand";
        Failure::new(Hop::ClickHouse, Kind::Schema, what, fix)
    }

    async fn insert<T>(&self, rows: Vec<T>) -> Result<(), Failure>
    where
        T: clickhouse::RowOwned + clickhouse::RowWrite + Serialize,
    {
        if rows.is_empty() {
            return Ok(());
        }
        let work = async {
            let mut insert = self
                .client
                .insert::<T>(TABLE)
                .await?
                .with_timeouts(Some(STATEMENT_TIMEOUT), Some(STATEMENT_TIMEOUT))
                // A replicated table drops a block that it has seen before; ours may recur.
                .with_setting("insert_deduplicate", "0");
            for row in &rows {
                insert.write(row).await?;
            }
            insert.end().await
        };
        let asked = tokio::time::timeout(STATEMENT_TIMEOUT * 2, work).await;
        self.outcome("inserting expenses", asked)
    }
}

fn date32(seconds: i64) -> u32 {
    u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)
}

fn row5(account: &str, entry: &Entry) -> Row5 {
    Row5 {
        cloud_account_id: account.to_owned(),
        resource_id: entry.resource_id.clone(),
        date: date32(entry.date_seconds),
        cost: entry.cost_usd,
        sign: entry.sign,
    }
}

fn row8(account: &str, entry: &Entry) -> Row8 {
    Row8 {
        cloud_account_id: account.to_owned(),
        resource_id: entry.resource_id.clone(),
        date: date32(entry.date_seconds),
        cost: entry.cost_usd,
        sign: entry.sign,
        k8s_namespace: entry.dimensions.namespace.clone(),
        k8s_node: entry.dimensions.node.clone(),
        k8s_service: entry.dimensions.service.clone(),
    }
}

#[async_trait]
impl ExpenseLedger for ClickHouseLedger {
    async fn check(&self) -> Result<(), Failure> {
        let query = self
            .client
            .query(
                "SELECT name, type AS kind FROM system.columns \
                 WHERE database = currentDatabase() AND table = ?",
            )
            .bind(TABLE);
        let columns: Vec<ColumnRow> = self.fetch("reading the schema", query).await?;
        if columns.is_empty() {
            return Err(self.schema(format!("there is no table {TABLE}")));
        }
        let mut wrong = Vec::new();
        for (name, kinds) in COLUMNS {
            let found = columns.iter().find(|column| column.name == name);
            match found.map(|column| column.kind.as_str()) {
                None => wrong.push(format!("column {name} is missing")),
                Some(kind) if fits(name, kind, kinds) => {}
                Some(kind) => wrong.push(format!("column {name} is {kind}, not {}", kinds[0])),
            }
        }
        let query = self
            .client
            .query(
                "SELECT name, engine AS kind FROM system.tables \
                 WHERE database = currentDatabase() AND name = ?",
            )
            .bind(TABLE);
        for table in self.fetch::<ColumnRow>("reading the schema", query).await? {
            let engine = table.kind.trim_start_matches("Replicated").trim_start_matches("Shared");
            if engine != "CollapsingMergeTree" && engine != "Distributed" {
                wrong.push(format!("its engine is {}, not CollapsingMergeTree", table.kind));
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(self.schema(format!("table {TABLE}: {}", wrong.join(", "))))
    }

    async fn states(&self, account: &AccountId, day: Day) -> Result<Vec<KeyState>, Failure> {
        // No alias may be named like a column: old servers would take it for one.
        let query = self
            .client
            .query(
                "SELECT resource_id, toUInt32(date) AS date_seconds, k8s_namespace, k8s_node, \
                 k8s_service, sum(cost * sign) AS cost_sum, sum(toInt64(sign)) AS sign_sum \
                 FROM expenses WHERE cloud_account_id = ? \
                 AND date >= toDateTime(?) AND date < toDateTime(?) \
                 GROUP BY resource_id, date, k8s_namespace, k8s_node, k8s_service \
                 HAVING sign_sum != 0 OR cost_sum != 0",
            )
            .bind(account.as_str())
            .bind(date32(day.start_seconds()))
            .bind(date32(day.end_seconds()));
        let rows: Vec<StateRow> = self.fetch("reading expenses", query).await?;
        let state = |row: StateRow| KeyState {
            resource_id: row.resource_id,
            date_seconds: i64::from(row.date_seconds),
            dimensions: Dimensions {
                namespace: row.k8s_namespace,
                node: row.k8s_node,
                service: row.k8s_service,
            },
            cost_usd: row.cost_sum,
            sign: row.sign_sum,
        };
        Ok(rows.into_iter().map(state).collect())
    }

    async fn collapsed(&self, account: &AccountId, day: Day) -> Result<Vec<KeyState>, Failure> {
        let query = self
            .client
            .query(
                "SELECT resource_id, toUInt32(date) AS date_seconds, \
                 sum(cost * sign) AS cost_sum, sum(toInt64(sign)) AS sign_sum \
                 FROM expenses FINAL WHERE cloud_account_id = ? \
                 AND date >= toDateTime(?) AND date < toDateTime(?) \
                 GROUP BY resource_id, date HAVING sign_sum != 0 OR cost_sum != 0",
            )
            .bind(account.as_str())
            .bind(date32(day.start_seconds()))
            .bind(date32(day.end_seconds()));
        let rows: Vec<CollapsedRow> = self.fetch("reading merged expenses", query).await?;
        let state = |row: CollapsedRow| KeyState {
            resource_id: row.resource_id,
            date_seconds: i64::from(row.date_seconds),
            dimensions: Dimensions::default(),
            cost_usd: row.cost_sum,
            sign: row.sign_sum,
        };
        Ok(rows.into_iter().map(state).collect())
    }

    async fn append(
        &self,
        account: &AccountId,
        _day: Day,
        entries: &[Entry],
    ) -> Result<(), Failure> {
        let account = account.as_str();
        for block in blocks(entries) {
            let (plain, dimensioned): (Vec<&Entry>, Vec<&Entry>) =
                block.iter().partition(|entry| entry.dimensions.is_empty());
            self.insert(plain.into_iter().map(|entry| row5(account, entry)).collect()).await?;
            self.insert(dimensioned.into_iter().map(|entry| row8(account, entry)).collect())
                .await?;
        }
        Ok(())
    }

    async fn merge(&self, day: Day) -> Result<(), Failure> {
        let query = self
            .client
            .query(
                "SELECT name, partition_key AS kind FROM system.tables \
                 WHERE database = currentDatabase() AND name = ?",
            )
            .bind(TABLE);
        let tables: Vec<ColumnRow> = self.fetch("reading the schema", query).await?;
        let is_monthly = tables.iter().any(|table| table.kind == "toYYYYMM(date)");
        let statement = if is_monthly {
            format!("OPTIMIZE TABLE {TABLE} PARTITION {} FINAL", day.month())
        } else {
            format!("OPTIMIZE TABLE {TABLE} FINAL")
        };
        let work = self.client.query(&statement).execute();
        let asked = tokio::time::timeout(STATEMENT_TIMEOUT, work).await;
        self.outcome("merging expenses", asked)
    }

    async fn resource_totals(
        &self,
        account: &AccountId,
        resource_ids: &[String],
    ) -> Result<Vec<ResourceTotal>, Failure> {
        if resource_ids.is_empty() {
            return Ok(Vec::new());
        }
        let is_listed = resource_ids.len() <= LISTED_IDS_MAX;
        let filter = if is_listed { "AND has(?, resource_id)" } else { "" };
        let statement = format!(
            "SELECT resource_id, toUInt32(date) AS date_seconds, sum(cost * sign) AS cost_sum \
             FROM expenses WHERE cloud_account_id = ? {filter} \
             GROUP BY resource_id, date HAVING sum(toInt64(sign)) > 0"
        );
        let mut query = self.client.query(&statement).bind(account.as_str());
        if is_listed {
            query = query.bind(resource_ids);
        }
        let rows: Vec<DayTotalRow> = self.fetch("adding up expenses", query).await?;
        let mut totals: BTreeMap<&str, ResourceTotal> = resource_ids
            .iter()
            .map(|id| {
                let none = ResourceTotal { resource_id: id.clone(), total_usd: 0.0, last: None };
                (id.as_str(), none)
            })
            .collect();
        for row in rows {
            let Some(total) = totals.get_mut(row.resource_id.as_str()) else { continue };
            total.total_usd += row.cost_sum;
            let date = i64::from(row.date_seconds);
            if total.last.is_none_or(|(last, _)| date > last) {
                total.last = Some((date, row.cost_sum));
            }
        }
        Ok(totals.into_values().collect())
    }

    async fn day_totals(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<Vec<DayTotal>, Failure> {
        let query = self
            .client
            .query(
                "SELECT toUInt32(date) AS date_seconds, sum(cost * sign) AS cost_sum, \
                 sum(toInt64(sign)) AS sign_sum FROM expenses WHERE cloud_account_id = ? \
                 AND date >= toDateTime(?) AND date < toDateTime(?) \
                 AND toUInt32(date) % 86400 = 0 GROUP BY date",
            )
            .bind(account.as_str())
            .bind(date32(first.start_seconds()))
            .bind(date32(last.end_seconds()));
        let rows: Vec<MidnightRow> = self.fetch("adding up days", query).await?;
        let total = |row: MidnightRow| DayTotal {
            day: Day::of_unix(i64::from(row.date_seconds)),
            total_usd: row.cost_sum,
            rows: row.sign_sum,
        };
        Ok(rows.into_iter().map(total).collect())
    }
}

fn fits(name: &str, kind: &str, kinds: &[&str]) -> bool {
    kinds.contains(&kind) || (name == "date" && kind.starts_with("DateTime('"))
}
