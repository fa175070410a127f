//! Sums over all days of resources, of several accounts at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use clickhouse::Row;
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::cost::AccountId;
use crate::service::batcher::{BatchLimits, Batcher, in_order};
use crate::service::failure::Failure;

use super::ResourceTotal;
use super::clickhouse_batches::{bind_accounts, of_accounts};
use super::clickhouse_connection::Connection;

/// How many resource ids one statement names, and how many bytes of them: a server parses at most
/// 256 KiB of a statement.
const LISTED_IDS_MAX: usize = 4_000;
const LISTED_BYTES_MAX: usize = 160_000;
/// How many keys, resources times dates, one statement adds up: about 100 bytes of the server's
/// memory each.
const SUMMED_KEYS_MAX: usize = 250_000;

const READS_AT_ONCE: usize = 4;
/// What a statement may take, in shares of it.
const SHARES_MAX: u64 = 1_000;
const DATE_LIMITS: BatchLimits = BatchLimits::of_reads(200, u64::MAX);
const SUM_LIMITS: BatchLimits = BatchLimits::of_reads(200, SHARES_MAX);

#[derive(Clone, Row, Deserialize)]
struct ResourceTotalRow {
    account: String,
    id: String,
    total_usd: f64,
    is_live: u8,
    last_date: u32,
    last_usd: f64,
}

#[derive(Row, Deserialize)]
struct DatesRow {
    account: String,
    count: u64,
}

/// Resources of an account.
type Resources = (AccountId, Vec<String>);

/// Adds up what resources cost.
#[derive(Clone)]
pub(super) struct Totals {
    connection: Connection,
    dates: Arc<Batcher<(), AccountId, Result<usize, Failure>>>,
    sums: Arc<Batcher<(), Resources, Result<Vec<ResourceTotalRow>, Failure>>>,
}

impl Totals {
    pub(super) fn new(connection: Connection) -> Self {
        let places = Arc::new(Semaphore::new(READS_AT_ONCE));
        Self {
            connection,
            dates: Arc::new(Batcher::new(Arc::clone(&places), DATE_LIMITS)),
            sums: Arc::new(Batcher::new(places, SUM_LIMITS)),
        }
    }

    /// The sums of an account's resources; zero for those without rows.
    pub(super) async fn of(
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
        let dates = self.date_count(account).await?.max(1);
        for ids in lists(resource_ids, SUMMED_KEYS_MAX / dates) {
            for row in self.sums_of(account, ids, dates).await? {
                let Some(total) = totals.get_mut(row.id.as_str()) else { continue };
                total.total_usd = row.total_usd + 0.0;
                let last = (i64::from(row.last_date), row.last_usd);
                total.last = (row.is_live == 1).then_some(last);
            }
        }
        Ok(totals.into_values().collect())
    }

    /// About how many dates the account's rows have.
    async fn date_count(&self, account: &AccountId) -> Result<usize, Failure> {
        let connection = self.connection.clone();
        let all = move |accounts: Vec<AccountId>| {
            let connection = connection.clone();
            async move {
                let rows = read_dates(&connection, &accounts).await?;
                let count =
                    |row: DatesRow| (row.account, usize::try_from(row.count).unwrap_or(usize::MAX));
                let counts = rows.into_iter().map(count);
                let of_accounts = in_order(accounts.iter().map(ToString::to_string), counts);
                Ok(of_accounts.iter().map(|one| one.first().copied().unwrap_or(0)).collect())
            }
        };
        self.dates.ask_all((), account.clone(), 1, all).await
    }

    async fn sums_of(
        &self,
        account: &AccountId,
        ids: &[String],
        dates: usize,
    ) -> Result<Vec<ResourceTotalRow>, Failure> {
        let connection = self.connection.clone();
        let all = move |asked: Vec<Resources>| {
            let connection = connection.clone();
            async move {
                let rows = read_sums(&connection, &asked).await?;
                let named = rows.into_iter().map(|row| (row.account.clone(), row));
                Ok(in_order(asked.iter().map(|(account, _)| account.to_string()), named))
            }
        };
        let shares = shares(ids, dates);
        self.sums.ask_all((), (account.clone(), ids.to_vec()), shares, all).await
    }
}

/// How much of a statement's bounds a list of resources takes.
fn shares(ids: &[String], dates: usize) -> u64 {
    let share = |taken: usize, max: usize| (taken as u64 * SHARES_MAX).div_ceil(max as u64);
    let bytes: usize = ids.iter().map(|id| listed_bytes(id)).sum();
    share(bytes, LISTED_BYTES_MAX)
        .max(share(ids.len(), LISTED_IDS_MAX))
        .max(share(ids.len().saturating_mul(dates), SUMMED_KEYS_MAX))
}

async fn read_dates(
    connection: &Connection,
    accounts: &[AccountId],
) -> Result<Vec<DatesRow>, Failure> {
    connection
        .read("counting days", |client, fresh| {
            let sql = format!(
                "SELECT cloud_account_id AS account, toUInt64(uniq(date)) AS count FROM expenses \
                 WHERE {fresh} AND {} GROUP BY cloud_account_id",
                of_accounts(accounts)
            );
            bind_accounts(client.query(&sql), accounts)
        })
        .await
}

async fn read_sums(
    connection: &Connection,
    asked: &[Resources],
) -> Result<Vec<ResourceTotalRow>, Failure> {
    let accounts: Vec<AccountId> = asked.iter().map(|(account, _)| account.clone()).collect();
    let ids: Vec<&String> = asked.iter().flat_map(|(_, ids)| ids).collect();
    // A list, not external tables: 18.16 fails with those over HTTP. One row a resource comes
    // back, however long its history.
    let listed = vec!["?"; ids.len()].join(",");
    connection
        .read("adding up expenses", |client, fresh| {
            let sql = format!(
                "SELECT account_id AS account, resource_id AS id, sum(cost_sum) AS total_usd, \
                 toUInt8(max(sign_sum > 0)) AS is_live, \
                 max(if(sign_sum > 0, date_seconds, toUInt32(0))) AS last_date, \
                 argMax(cost_sum, if(sign_sum > 0, date_seconds, toUInt32(0))) AS last_usd \
                 FROM (SELECT cloud_account_id AS account_id, resource_id, \
                 toUInt32(date) AS date_seconds, sum(cost * sign) AS cost_sum, \
                 sum(toInt64(sign)) AS sign_sum FROM expenses \
                 WHERE {fresh} AND {} AND resource_id IN ({listed}) \
                 GROUP BY cloud_account_id, resource_id, date) GROUP BY account_id, resource_id",
                of_accounts(&accounts)
            );
            let query = bind_accounts(client.query(&sql), &accounts);
            ids.iter().fold(query, |query, id| query.bind(id.as_str()))
        })
        .await
}

/// Quoted, each byte may take two.
fn listed_bytes(id: &str) -> usize {
    2 * id.len() + 3
}

/// Cuts ids into lists that a statement may name, each of `ids_max` at most, but of one at least.
fn lists(ids: &[String], ids_max: usize) -> Vec<&[String]> {
    let ids_max = ids_max.clamp(1, LISTED_IDS_MAX);
    let mut lists = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, id) in ids.iter().enumerate() {
        let length = listed_bytes(id);
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

    #[test]
    fn a_list_takes_its_share_of_what_a_statement_may_name_and_add_up() {
        let ids = |count: usize, length: usize| vec!["x".repeat(length); count];
        assert_eq!(shares(&ids(4, 10), 1), 1);
        assert_eq!(shares(&ids(1_000, 10), 1), 250);
        assert_eq!(shares(&ids(1_000, 77), 1), 982);
        assert_eq!(shares(&ids(1_000, 10), 125), 500);
    }
}
