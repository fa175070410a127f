//! Statements to ClickHouse about several accounts at once: accounts that are worked on side by
//! side read the same days, and insert at about the same time.

use std::sync::Arc;
use std::time::Duration;

use clickhouse::Row;
use clickhouse::query::Query;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::cost::{AccountId, Day};
use crate::service::batcher::{
    Asked, BatchLimits, Batcher, Linger, Presence, answer_in_order, in_order, no_answer,
};
use crate::service::failure::Failure;
use crate::settings::worker::LEASE_MIN;
use crate::stores::WRITE_TIMEOUT;

use super::blocks::blocks;
use super::clickhouse_connection::Connection;
use super::{DayTotal, Dimensions, Entry, KeyState, SignedCost};

/// How many reads are under way at a time.
const READS_AT_ONCE: usize = 4;
const READ_LIMITS: BatchLimits = BatchLimits::of_reads(200, u64::MAX);
/// Inserts do not wait for a place: their accounts' leases have just been renewed.
const INSERTS_AT_ONCE: usize = 1_000;
/// How long rows wait for others at the most.
const WAIT_MAX: Duration = Duration::from_secs(7);
// A lease that was renewed before the wait outlives the insert, even if its holder died then.
const _: () = assert!(WAIT_MAX.as_secs() + WRITE_TIMEOUT.as_secs() < LEASE_MIN.as_secs());
/// Rows of an insert: below the number at which servers cut one in two. Few large inserts make few
/// parts, so rows wait for those that other accounts are about to add.
const INSERT_LIMITS: BatchLimits = BatchLimits {
    questions_max: 500,
    weight_max: 400_000,
    linger: Linger::ForThePresent { for_each: Duration::from_millis(70), total_max: WAIT_MAX },
    place_wait_max: None,
};

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
    account: String,
    resource_id: String,
    date_seconds: u32,
    k8s_namespace: Option<String>,
    k8s_node: Option<String>,
    k8s_service: Option<String>,
    cost_sum: f64,
    /// Of all rows of a group that does not cancel out to one live row; else empty.
    costs: Vec<f64>,
    signs: Vec<i8>,
}

#[derive(Row, Deserialize)]
struct MidnightRow {
    account: String,
    date_seconds: u32,
    cost_sum: f64,
    sign_sum: i64,
}

type Answer<T> = Result<Vec<T>, Failure>;

/// Rows of an account that are to be inserted.
type Rows = (AccountId, Vec<Entry>);

/// Reads and inserts of several accounts at once.
#[derive(Clone)]
pub(super) struct Batches {
    connection: Connection,
    states: Arc<Batcher<Day, AccountId, Answer<KeyState>>>,
    totals: Arc<Batcher<(Day, Day), AccountId, Answer<DayTotal>>>,
    /// By month: an insert into two of them makes two parts.
    inserts: Arc<Batcher<u32, Rows, Result<(), Failure>>>,
}

impl Batches {
    pub(super) fn new(connection: Connection) -> Self {
        let reads = Arc::new(Semaphore::new(READS_AT_ONCE));
        let inserts = Arc::new(Semaphore::new(INSERTS_AT_ONCE));
        Self {
            connection,
            states: Arc::new(Batcher::new(Arc::clone(&reads), READ_LIMITS)),
            totals: Arc::new(Batcher::new(reads, READ_LIMITS)),
            inserts: Arc::new(Batcher::new(inserts, INSERT_LIMITS)),
        }
    }

    /// What is stored of an account's day.
    pub(super) async fn states(&self, account: &AccountId, day: Day) -> Answer<KeyState> {
        let connection = self.connection.clone();
        let all = move |accounts: Vec<AccountId>| {
            let connection = connection.clone();
            async move {
                let rows = read_states(&connection, &accounts, day).await?;
                let named = rows.into_iter().filter_map(|row| {
                    let account = row.account.clone();
                    key_state(row).map(|state| (account, state))
                });
                Ok(in_order(accounts.iter().map(ToString::to_string), named))
            }
        };
        self.states.ask_all(day, account.clone(), 1, all).await
    }

    /// What is stored at the midnights of an account's days.
    pub(super) async fn day_totals(
        &self,
        account: &AccountId,
        days: (Day, Day),
    ) -> Answer<DayTotal> {
        let connection = self.connection.clone();
        let all = move |accounts: Vec<AccountId>| {
            let connection = connection.clone();
            async move {
                let rows = read_totals(&connection, &accounts, days).await?;
                let named = rows.into_iter().map(|row| (row.account.clone(), day_total(&row)));
                Ok(in_order(accounts.iter().map(ToString::to_string), named))
            }
        };
        self.totals.ask_all(days, account.clone(), 1, all).await
    }

    pub(super) fn presence(&self) -> Presence {
        self.inserts.presence()
    }

    /// Inserts rows of an account's day together with those of others.
    pub(super) async fn append(
        &self,
        account: &AccountId,
        day: Day,
        entries: Vec<Entry>,
    ) -> Result<(), Failure> {
        let connection = self.connection.clone();
        let answer = move |asked: Asked<Rows, Result<(), Failure>>| async move {
            answer_in_order(asked, |all| insert(&connection, all)).await;
        };
        let weight = entries.len() as u64;
        let asked = self.inserts.ask(day.month(), (account.clone(), entries), weight, answer).await;
        asked.unwrap_or_else(|| Err(no_answer()))
    }
}

async fn read_states(
    connection: &Connection,
    accounts: &[AccountId],
    day: Day,
) -> Result<Vec<StateRow>, Failure> {
    // Rows cancel out when the sum of their costs' hashes is that of one live row, or nothing.
    // No alias may be named like a column: old servers would take it for one.
    let hash = "sum(toInt64(sign) * toInt64(cityHash64(cost)))";
    let signs = "sum(toInt64(sign))";
    let is_live = format!("({signs} = 1 AND {hash} = toInt64(cityHash64(cost_sum)))");
    connection
        .read("reading expenses", |client, fresh| {
            let sql = format!(
                "SELECT cloud_account_id AS account, resource_id, toUInt32(date) AS date_seconds, \
                 k8s_namespace, k8s_node, k8s_service, sum(cost * sign) AS cost_sum, \
                 if({is_live}, emptyArrayFloat64(), groupArray(cost)) AS costs, \
                 if({is_live}, emptyArrayInt8(), groupArray(sign)) AS signs \
                 FROM expenses WHERE {fresh} AND {} \
                 AND date >= toDateTime(?) AND date < toDateTime(?) \
                 GROUP BY cloud_account_id, resource_id, date, k8s_namespace, k8s_node, k8s_service \
                 HAVING {signs} != 0 OR cost_sum != 0 OR {hash} != 0",
                of_accounts(accounts)
            );
            let query = bind_accounts(client.query(&sql), accounts);
            query.bind(date32(day.start_seconds())).bind(date32(day.end_seconds()))
        })
        .await
}

async fn read_totals(
    connection: &Connection,
    accounts: &[AccountId],
    (first, last): (Day, Day),
) -> Result<Vec<MidnightRow>, Failure> {
    connection
        .read("adding up days", |client, fresh| {
            let sql = format!(
                "SELECT cloud_account_id AS account, toUInt32(date) AS date_seconds, \
                 sum(cost * sign) AS cost_sum, sum(toInt64(sign)) AS sign_sum FROM expenses \
                 WHERE {fresh} AND {} AND date >= toDateTime(?) AND date < toDateTime(?) \
                 AND toUInt32(date) % 86400 = 0 GROUP BY cloud_account_id, date",
                of_accounts(accounts)
            );
            let query = bind_accounts(client.query(&sql), accounts);
            query.bind(date32(first.start_seconds())).bind(date32(last.end_seconds()))
        })
        .await
}

/// Selects accounts; each question mark stands for one.
pub(super) fn of_accounts(accounts: &[AccountId]) -> String {
    match accounts.len() {
        1 => "cloud_account_id = ?".to_owned(),
        count => format!("cloud_account_id IN ({})", vec!["?"; count].join(",")),
    }
}

pub(super) fn bind_accounts(query: Query, accounts: &[AccountId]) -> Query {
    accounts.iter().fold(query, |query, account| query.bind(account.as_str()))
}

/// Inserts the rows of accounts, one insert a shape of rows and layer of blocks. A failure is all
/// accounts': an insert that is refused may be stored in part, on another shard or before a
/// materialized view was written, so no row of it is sent again before it was looked for. All inserts
/// together have [`WRITE_TIMEOUT`]: none of them begins once a lease may have ended.
async fn insert(connection: &Connection, all: Vec<Rows>) -> Vec<Result<(), Failure>> {
    let outcome = connection.within_write_timeout(insert_layers(connection, &all)).await;
    all.iter().map(|_| outcome.clone()).collect()
}

async fn insert_layers(connection: &Connection, all: &[Rows]) -> Result<(), Failure> {
    let layered: Vec<(&str, Vec<Vec<Entry>>)> =
        all.iter().map(|(account, entries)| (account.as_str(), blocks(entries))).collect();
    let layers = layered.iter().map(|(_, blocks)| blocks.len()).max().unwrap_or(0);
    for layer in 0..layers {
        let (mut plain, mut dimensioned) = (Vec::new(), Vec::new());
        for (account, blocks) in &layered {
            for entry in blocks.get(layer).into_iter().flatten() {
                if entry.dimensions.is_empty() {
                    plain.push(row5(account, entry));
                } else {
                    dimensioned.push(row8(account, entry));
                }
            }
        }
        connection.insert(plain).await?;
        connection.insert(dimensioned).await?;
    }
    Ok(())
}

pub(super) fn date32(seconds: i64) -> u32 {
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

fn day_total(row: &MidnightRow) -> DayTotal {
    DayTotal {
        day: Day::of_unix(i64::from(row.date_seconds)),
        total_usd: row.cost_sum,
        rows: row.sign_sum,
    }
}

fn key_state(row: StateRow) -> Option<KeyState> {
    let dimensions =
        Dimensions { namespace: row.k8s_namespace, node: row.k8s_node, service: row.k8s_service };
    let rows: Vec<SignedCost> = if row.costs.is_empty() {
        vec![SignedCost { sign: 1, cost_usd: row.cost_sum }]
    } else {
        let costs = row.costs.into_iter().zip(row.signs);
        costs.map(|(cost_usd, sign)| SignedCost { sign, cost_usd }).collect()
    };
    KeyState::of_rows(row.resource_id, i64::from(row.date_seconds), dimensions, &rows)
}
