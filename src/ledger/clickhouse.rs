//! The ledger in ClickHouse, from 18.16 to today's.
//!
//! Old servers know no `RowBinaryWithNamesAndTypes`, so the client's validation is off and
//! [`check`](LedgerReader::check) looks at the columns' types instead.

use std::collections::BTreeMap;

use async_trait::async_trait;
use clickhouse::Row;
use clickhouse::query::Query;
use serde::Deserialize;

use crate::cost::{AccountId, Day};
use crate::service::batcher::Presence;
use crate::service::failure::{Failure, Hop, Kind};
use crate::settings::worker::CloudTunerConfig;

use super::clickhouse_batches::{Batches, date32};
use super::clickhouse_connection::{Connection, TABLE};
use super::clickhouse_topology::{LocalTable, Topology, is_collapsing, quoted};
use super::clickhouse_totals::Totals;
use super::{DayTotal, Dimensions, Entry, KeyState, LedgerReader, LedgerWriter, ResourceTotal};

pub use super::clickhouse_connection::client;

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

#[derive(Row, Deserialize)]
struct CollapsedRow {
    resource_id: String,
    date_seconds: u32,
    cost_sum: f64,
    sign_sum: i64,
}

#[derive(Row, Deserialize)]
struct OffMidnightRow {
    midnight: i64,
    cost_sum: f64,
}

#[derive(Row, Deserialize)]
struct NamespaceRow {
    namespace: String,
    cost_sum: f64,
}

#[derive(Row, Deserialize)]
struct ColumnRow {
    name: String,
    kind: String,
}

#[derive(Row, Deserialize)]
struct CountRow {
    count: u64,
}

#[derive(Row, Deserialize)]
struct EngineRow {
    engine: String,
}

/// A ClickHouse that holds `expenses`.
#[derive(Clone)]
pub struct ClickHouseLedger {
    connection: Connection,
    /// Reads and inserts of several accounts at once.
    batches: Batches,
    totals: Totals,
}

impl std::fmt::Debug for ClickHouseLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClickHouseLedger({})", self.connection.address)
    }
}

impl ClickHouseLedger {
    /// The ledger of the settings; nothing is sent yet.
    #[must_use]
    pub fn new(config: &CloudTunerConfig) -> Self {
        let connection = Connection::new(config);
        let (batches, totals) = (Batches::new(connection.clone()), Totals::new(connection.clone()));
        Self { connection, batches, totals }
    }

    async fn wrong_columns(&self) -> Result<Vec<String>, Failure> {
        let query = || {
            let sql = "SELECT name, type AS kind FROM system.columns \
                       WHERE database = currentDatabase() AND table = ?";
            self.connection.query(sql).bind(TABLE)
        };
        let columns: Vec<ColumnRow> = self.connection.fetch("reading the schema", query).await?;
        let mut wrong = Vec::new();
        for (name, kinds) in COLUMNS {
            let found = columns.iter().find(|column| column.name == name);
            match found.map(|column| column.kind.as_str()) {
                None => wrong.push(format!("column {name} is missing")),
                Some(kind) if fits(name, kind, kinds) => {}
                Some(kind) => wrong.push(format!("column {name} is {kind}, not {}", kinds[0])),
            }
        }
        Ok(wrong)
    }

    /// Sees that replicas can be asked what they lack, and that shards keep rows of a key together.
    async fn check_topology(&self) -> Result<(), Failure> {
        match &self.connection.server().await?.topology {
            Topology::Single => Ok(()),
            Topology::Replicated(table) => self.check_replicas(table).await,
            Topology::Distributed { cluster, table, .. } => self.check_shards(cluster, table).await,
        }
    }

    async fn check_replicas(&self, table: &LocalTable) -> Result<(), Failure> {
        let query = || {
            let sql = "SELECT toUInt64(count()) AS count FROM system.replicas \
                       WHERE database = ? AND table = ?";
            self.connection.query(sql).bind(&table.database).bind(&table.name)
        };
        let rows: Vec<CountRow> = self.connection.fetch("reading replicas", query).await?;
        if rows.iter().any(|row| row.count > 0) {
            return Ok(());
        }
        let what = format!("system.replicas does not show {TABLE} to the user of CLICKHOUSE_USER");
        let fix = "let the user read system.replicas: without it, a replica that is behind cannot be \
                   recognised";
        Err(Failure::new(Hop::ClickHouse, Kind::Schema, what, fix))
    }

    async fn check_shards(&self, cluster: &str, table: &LocalTable) -> Result<(), Failure> {
        let query = || {
            let sql = "SELECT toUInt64(max(shard_num)) AS count FROM system.clusters \
                       WHERE cluster = ?";
            self.connection.query(sql).bind(cluster)
        };
        let rows: Vec<CountRow> = self.connection.fetch("reading the cluster", query).await?;
        let shards = rows.first().map_or(0, |row| row.count);
        let topology = &self.connection.server().await?.topology;
        if let Some(why) = topology.scattering(shards) {
            let what = format!("table {TABLE} is Distributed over {shards} shards, and {why}");
            let fix =
                "create it with a sharding key like cityHash64(resource_id), and move its rows";
            return Err(Failure::new(Hop::ClickHouse, Kind::Schema, what, fix));
        }
        let query = || {
            let sql = format!(
                "SELECT DISTINCT engine FROM cluster({}, system, tables) \
                 WHERE database = ? AND name = ?",
                quoted(cluster).replace('?', "??")
            );
            self.connection.query(&sql).bind(&table.database).bind(&table.name)
        };
        match self.connection.fetch::<EngineRow>("reading the shards' tables", query).await {
            Ok(engines) => match engines.iter().find(|row| !is_collapsing(&row.engine)) {
                None => Ok(()),
                Some(EngineRow { engine }) => Err(self.connection.schema(format!(
                    "table {}.{} on the shards: its engine is {engine}, not CollapsingMergeTree",
                    table.database, table.name
                ))),
            },
            // Newer servers want a right for this that reading and writing do not need.
            Err(failure) if failure.kind == Kind::Denied => {
                tracing::warn!(%failure, "the shards' tables were not looked at");
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }
}

#[async_trait]
impl LedgerReader for ClickHouseLedger {
    async fn check(&self) -> Result<(), Failure> {
        let unfit_engine = self.connection.server().await?.unfit_engine.clone();
        let mut wrong = self.wrong_columns().await?;
        wrong.extend(unfit_engine);
        if !wrong.is_empty() {
            return Err(self.connection.schema(format!("table {TABLE}: {}", wrong.join(", "))));
        }
        self.check_topology().await?;
        self.connection.check_settings().await
    }

    async fn states(&self, account: &AccountId, day: Day) -> Result<Vec<KeyState>, Failure> {
        self.batches.states(account, day).await
    }

    async fn collapsed(&self, account: &AccountId, day: Day) -> Result<Vec<KeyState>, Failure> {
        let rows: Vec<CollapsedRow> = self
            .connection
            .read("reading merged expenses", |client, fresh| {
                let sql = format!(
                    "SELECT resource_id, toUInt32(date) AS date_seconds, \
                     sum(cost * sign) AS cost_sum, sum(toInt64(sign)) AS sign_sum \
                     FROM expenses FINAL WHERE {fresh} AND cloud_account_id = ? \
                     AND date >= toDateTime(?) AND date < toDateTime(?) \
                     GROUP BY resource_id, date HAVING sign_sum != 0 OR cost_sum != 0"
                );
                of_day(client.query(&sql), account, day)
            })
            .await?;
        let state = |row: CollapsedRow| KeyState {
            resource_id: row.resource_id,
            date_seconds: i64::from(row.date_seconds),
            dimensions: Dimensions::default(),
            cost_usd: row.cost_sum,
            sign_sum: row.sign_sum,
            unpaired: Vec::new(),
        };
        Ok(rows.into_iter().map(state).collect())
    }

    async fn resource_totals(
        &self,
        account: &AccountId,
        resource_ids: &[String],
    ) -> Result<Vec<ResourceTotal>, Failure> {
        self.totals.of(account, resource_ids).await
    }

    async fn day_totals(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<Vec<DayTotal>, Failure> {
        self.batches.day_totals(account, (first, last)).await
    }

    async fn off_midnight_totals(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<BTreeMap<Day, f64>, Failure> {
        let rows: Vec<OffMidnightRow> = self
            .connection
            .read("adding up rows off midnight", |client, fresh| {
                let sql = format!(
                    "SELECT toInt64(toUInt32(date) - toUInt32(date) % 86400) AS midnight, \
                     sum(cost * sign) AS cost_sum \
                     FROM expenses WHERE {fresh} AND cloud_account_id = ? \
                     AND date >= toDateTime(?) AND date < toDateTime(?) \
                     AND toUInt32(date) % 86400 != 0 GROUP BY midnight HAVING cost_sum != 0"
                );
                let query = client.query(&sql).bind(account.as_str());
                query.bind(date32(first.start_seconds())).bind(date32(last.end_seconds()))
            })
            .await?;
        let of = |row: OffMidnightRow| (Day::of_unix(row.midnight), row.cost_sum);
        Ok(rows.into_iter().map(of).collect())
    }

    async fn namespace_totals(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<BTreeMap<String, f64>, Failure> {
        let rows: Vec<NamespaceRow> = self
            .connection
            .read("adding up namespaces", |client, fresh| {
                let sql = format!(
                    "SELECT ifNull(k8s_namespace, '') AS namespace, sum(cost * sign) AS cost_sum \
                     FROM expenses WHERE {fresh} AND cloud_account_id = ? \
                     AND date >= toDateTime(?) AND date < toDateTime(?) GROUP BY namespace"
                );
                let query = client.query(&sql).bind(account.as_str());
                query.bind(date32(first.start_seconds())).bind(date32(last.end_seconds()))
            })
            .await?;
        Ok(rows.into_iter().map(|row| (row.namespace, row.cost_sum)).collect())
    }
}

#[async_trait]
impl LedgerWriter for ClickHouseLedger {
    fn announce(&self) -> Presence {
        self.batches.presence()
    }

    async fn append(
        &self,
        account: &AccountId,
        day: Day,
        entries: &[Entry],
    ) -> Result<(), Failure> {
        self.batches.append(account, day, entries.to_vec()).await
    }
}

fn of_day(query: Query, account: &AccountId, day: Day) -> Query {
    let query = query.bind(account.as_str());
    query.bind(date32(day.start_seconds())).bind(date32(day.end_seconds()))
}

fn fits(name: &str, kind: &str, kinds: &[&str]) -> bool {
    kinds.contains(&kind) || (name == "date" && kind.starts_with("DateTime('"))
}
