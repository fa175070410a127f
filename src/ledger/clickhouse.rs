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
use crate::service::failure::{Failure, Hop, Kind};
use crate::settings::worker::CloudTunerConfig;

use super::clickhouse_batches::{Batches, date32};
use super::clickhouse_connection::{Connection, TABLE};
use super::clickhouse_topology::{LocalTable, Topology, is_collapsing, quoted};
use super::{DayTotal, Dimensions, Entry, KeyState, LedgerReader, LedgerWriter, ResourceTotal};

pub use super::clickhouse_connection::client;

/// How many resource ids one statement names, and how many bytes of them: a server parses at most
/// 256 KiB of a statement.
const LISTED_IDS_MAX: usize = 4_000;
const LISTED_BYTES_MAX: usize = 160_000;
/// How many keys, resources times dates, one statement adds up: about 100 bytes of the server's
/// memory each.
const SUMMED_KEYS_MAX: usize = 250_000;

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
struct ResourceTotalRow {
    id: String,
    total_usd: f64,
    is_live: u8,
    last_date: u32,
    last_usd: f64,
}

#[derive(Row, Deserialize)]
struct CollapsedRow {
    resource_id: String,
    date_seconds: u32,
    cost_sum: f64,
    sign_sum: i64,
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
        Self { batches: Batches::new(connection.clone()), connection }
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

    /// About how many dates the account's rows have.
    async fn date_count(&self, account: &AccountId) -> Result<usize, Failure> {
        let rows: Vec<CountRow> = self
            .connection
            .read("counting days", |client, fresh| {
                let sql = format!(
                    "SELECT toUInt64(uniq(date)) AS count FROM expenses \
                     WHERE {fresh} AND cloud_account_id = ?"
                );
                client.query(&sql).bind(account.as_str())
            })
            .await?;
        let count = rows.first().map_or(0, |row| row.count);
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    async fn totals_of(
        &self,
        account: &AccountId,
        ids: &[String],
    ) -> Result<Vec<ResourceTotalRow>, Failure> {
        // A list, not external tables: 18.16 fails with those over HTTP. One row a resource comes
        // back, however long its history.
        let listed = vec!["?"; ids.len()].join(",");
        self.connection
            .read("adding up expenses", |client, fresh| {
                let sql = format!(
                    "SELECT resource_id AS id, sum(cost_sum) AS total_usd, \
                     toUInt8(max(sign_sum > 0)) AS is_live, \
                     max(if(sign_sum > 0, date_seconds, toUInt32(0))) AS last_date, \
                     argMax(cost_sum, if(sign_sum > 0, date_seconds, toUInt32(0))) AS last_usd \
                     FROM (SELECT resource_id, toUInt32(date) AS date_seconds, \
                     sum(cost * sign) AS cost_sum, sum(toInt64(sign)) AS sign_sum FROM expenses \
                     WHERE {fresh} AND cloud_account_id = ? AND resource_id IN ({listed}) \
                     GROUP BY resource_id, date) GROUP BY resource_id"
                );
                let query = client.query(&sql).bind(account.as_str());
                ids.iter().fold(query, |query, id| query.bind(id))
            })
            .await
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
            sign: row.sign_sum,
            unpaired: Vec::new(),
        };
        Ok(rows.into_iter().map(state).collect())
    }

    async fn resource_totals(
        &self,
        account: &AccountId,
        resource_ids: &[String],
    ) -> Result<Vec<ResourceTotal>, Failure> {
        let mut totals: BTreeMap<&str, ResourceTotal> = BTreeMap::new();
        for id in resource_ids {
            let none = ResourceTotal { resource_id: id.clone(), total_usd: 0.0, last: None };
            totals.insert(id, none);
        }
        if resource_ids.is_empty() {
            return Ok(Vec::new());
        }
        // The longer the history, the fewer resources at once: memory does not grow with it.
        let ids_max = SUMMED_KEYS_MAX / self.date_count(account).await?.max(1);
        for ids in lists(resource_ids, ids_max) {
            for row in self.totals_of(account, ids).await? {
                let Some(total) = totals.get_mut(row.id.as_str()) else { continue };
                total.total_usd = row.total_usd + 0.0;
                let last = (i64::from(row.last_date), row.last_usd);
                total.last = (row.is_live == 1).then_some(last);
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
        self.batches.day_totals(account, (first, last)).await
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
                     AND date >= toDateTime(?) AND date < toDateTime(?) \
                     AND toUInt32(date) % 86400 = 0 GROUP BY namespace"
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

/// Cuts ids into lists that a statement may name, each of `ids_max` at most, but of one at least.
fn lists(ids: &[String], ids_max: usize) -> Vec<&[String]> {
    let ids_max = ids_max.clamp(1, LISTED_IDS_MAX);
    let mut lists = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, id) in ids.iter().enumerate() {
        // Quoted, each byte may take two.
        let length = 2 * id.len() + 3;
        if at > start && (bytes + length > LISTED_BYTES_MAX || at - start == ids_max) {
            lists.push(&ids[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += length;
    }
    if start < ids.len() {
        lists.push(&ids[start..]);
    }
    lists
}

fn fits(name: &str, kind: &str, kinds: &[&str]) -> bool {
    kinds.contains(&kind) || (name == "date" && kind.starts_with("DateTime('"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_listed_within_what_a_server_parses() {
        let ids = |count: usize, length: usize| vec!["x".repeat(length); count];
        let sizes = |ids: &[String], ids_max| {
            lists(ids, ids_max).iter().map(|list| list.len()).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[], 9_999), [] as [usize; 0]);
        assert_eq!(sizes(&ids(4_001, 10), 9_999), [4_000, 1]);
        assert_eq!(sizes(&ids(5, 39_998), 9_999), [2, 2, 1]);
        assert_eq!(sizes(&ids(2, 200_000), 9_999), [1, 1], "one alone is asked for, however long");
        assert_eq!(sizes(&ids(5, 10), 2), [2, 2, 1]);
        assert_eq!(sizes(&ids(2, 10), 0), [1, 1], "one alone is asked for, however old");
    }
}
