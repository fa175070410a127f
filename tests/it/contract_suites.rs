//! The stores' contracts, on the servers.

use std::sync::Arc;

use async_trait::async_trait;
use clickhouse::{Client, Row};
use kubecost_worker::cost::{AccountId, Cost};
use kubecost_worker::documents::ResourceDocument;
use kubecost_worker::documents::bson_form;
use kubecost_worker::documents::mongo::MongoResources;
use kubecost_worker::ledger::clickhouse::ClickHouseLedger;
use kubecost_worker::ledger::memory::StoredRow;
use kubecost_worker::ledger::{
    Dimensions, Entry, ExpenseLedger, KeyState, LedgerReader, LedgerWriter, ReadBack, WantedRow,
    append_visible, difference,
};
use kubecost_worker::settings::Secret;
use kubecost_worker::stores::mongo::connect;
use kubecost_worker::stores::mongo_update::update;
use mongodb::Collection;
use mongodb::bson::{Bson, doc};
use serde::Serialize;

use crate::contract::ledger::{RawLedgerAccess, expense_ledger_contract};
use crate::contract::resources::{RawDocumentAccess, resource_store_contract};
use crate::contract::{account, day};
use crate::mongo_contract::{mongo_accounts_contract, mongo_records_contract};
use crate::support::servers::{Server, Stores, clickhouse};

struct Table {
    client: Client,
    database: String,
}

#[derive(Row, Serialize)]
struct RawRow {
    cloud_account_id: String,
    resource_id: String,
    date: u32,
    cost: f64,
    sign: i8,
    k8s_namespace: Option<String>,
    k8s_node: Option<String>,
    k8s_service: Option<String>,
}

impl Table {
    async fn insert(&self, rows: &[StoredRow]) {
        let mut insert = self.client.insert::<RawRow>("expenses").await.unwrap();
        for row in rows {
            let row = row.clone();
            let raw_row = RawRow {
                cloud_account_id: row.account.to_string(),
                resource_id: row.resource_id,
                date: u32::try_from(row.date_seconds).unwrap(),
                cost: row.cost_usd,
                sign: row.sign,
                k8s_namespace: row.dimensions.namespace,
                k8s_node: row.dimensions.node,
                k8s_service: row.dimensions.service,
            };
            insert.write(&raw_row).await.unwrap();
        }
        insert.end().await.unwrap();
    }

    /// Adds the first row of each of `keys` keys, whose rows follow each other, then the second.
    async fn plant_in_turn(&self, rows: Vec<StoredRow>, keys: usize) {
        let rows_of_key = rows.len() / keys;
        for turn in 0..rows_of_key {
            let of_turn = rows.iter().skip(turn).step_by(rows_of_key);
            self.insert(&of_turn.cloned().collect::<Vec<_>>()).await;
        }
    }
}

#[async_trait]
impl RawLedgerAccess for Table {
    async fn insert_raw(&self, rows: Vec<StoredRow>) {
        // One insert a row, so that no server collapses them on their way in.
        for row in rows {
            self.insert(&[row]).await;
        }
    }

    async fn hold_merges(&self, is_held: bool) {
        let word = if is_held { "STOP" } else { "START" };
        let statement = format!("SYSTEM {word} MERGES {}.expenses", self.database);
        self.client.query(&statement).execute().await.unwrap();
        // A merge that has begun is cancelled, or ends, a moment later.
        let running = "SELECT count() FROM system.merges WHERE database = currentDatabase()";
        while is_held && self.client.query(running).fetch_one::<u64>().await.unwrap() > 0 {
            tokio::task::yield_now().await;
        }
    }

    async fn merge(&self) -> bool {
        // A server that is merging some parts already leaves those out, and says nothing.
        let most = "SELECT toUInt64(max(parts)) FROM (SELECT count() AS parts FROM system.parts \
                    WHERE active AND database = currentDatabase() AND table = 'expenses' \
                    GROUP BY partition)";
        for _ in 0..100 {
            self.client.query("OPTIMIZE TABLE expenses FINAL").execute().await.unwrap();
            if self.client.query(most).fetch_one::<u64>().await.unwrap() <= 1 {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("the parts were not merged");
    }
}

async fn ledger_suite(clickhouse: Arc<Server>, sort_order: &str, partition: &str) {
    let stores = Stores::on(clickhouse, "ledger_contract").await;
    stores.create_expenses(sort_order, partition).await;
    let ledger = ClickHouseLedger::new(&stores.config());
    expense_ledger_contract(
        &ledger,
        &Table { client: stores.client(), database: stores.database.clone() },
        "clickhouse",
    )
    .await;
    keeps_each_row_of_one_call(&stores, &ledger).await;
    heals_while_parts_merge(&stores, &ledger).await;
}

/// Rows of a key that contradict each other, and runs between merges of some parts: each run makes
/// the key right, and merges of all parts end in the wanted row.
async fn heals_while_parts_merge(stores: &Stores, ledger: &ClickHouseLedger) {
    let table = Table { client: stores.client(), database: stores.database.clone() };
    let ours = account("clickhouse", "healing");
    let row = |number: u32, sign: i8, cost_usd: f64| StoredRow {
        account: ours.clone(),
        resource_id: format!("r{number}"),
        date_seconds: day().start_seconds(),
        cost_usd,
        sign,
        dimensions: Dimensions::default(),
    };
    // Every sequence of three rows of two costs and both signs.
    let rows: Vec<StoredRow> = (0..64)
        .flat_map(|number: u32| {
            (0..3).map(move |at| {
                let kind = number >> (2 * at) & 3;
                (number, if kind & 1 == 0 { 1 } else { -1 }, if kind & 2 == 0 { 5.0 } else { 7.0 })
            })
        })
        .map(|(number, sign, cost_usd)| row(number, sign, cost_usd))
        .collect();
    table.hold_merges(true).await;
    table.plant_in_turn(rows, 64).await;
    let wanted: Vec<WantedRow> = (0..32)
        .map(|number| WantedRow {
            resource_id: format!("r{number}"),
            cost: Cost::from_usd(3.0).unwrap(),
            dimensions: Dimensions::default(),
        })
        .collect();
    let mut healed = Vec::new();
    for _ in 0..4 {
        healed.push(heal(ledger, &ours, &wanted).await);
        assert_eq!(heal(ledger, &ours, &wanted).await, 0, "once is enough");
        table.hold_merges(false).await;
        // The engine chooses the parts; whether there were any to merge does not matter.
        table.client.query("OPTIMIZE TABLE expenses").execute().await.unwrap();
        table.hold_merges(true).await;
    }
    assert!(healed[0] > 40, "{healed:?}");
    for _ in 0..3 {
        table.hold_merges(false).await;
        table.merge().await;
        table.hold_merges(true).await;
        healed.push(heal(ledger, &ours, &wanted).await);
    }
    table.hold_merges(false).await;
    table.merge().await;
    let states = ledger.states(&ours, day()).await.unwrap();
    assert!(states.iter().all(KeyState::is_healthy) && states.len() == 32, "{states:?}");
    assert_eq!(heal(ledger, &ours, &wanted).await, 0, "{healed:?}");
}

/// Writes the difference to what is wanted; how many keys it changed.
async fn heal(ledger: &ClickHouseLedger, ours: &AccountId, wanted: &[WantedRow]) -> usize {
    let before = ledger.states(ours, day()).await.unwrap();
    let change = difference(day(), &before, wanted);
    if !change.is_empty() {
        let read_back = ReadBack::DEFAULT;
        append_visible(ledger, ours, day(), &before, &change.entries, read_back).await.unwrap();
    }
    change.changed_keys
}

/// Costs that go to and fro: each change is the same block again, and a table that remembers blocks
/// drops what it has seen, unless a setting forbids it.
pub(crate) async fn stores_equal_blocks_again(ledger: &dyn ExpenseLedger) {
    let ours = account("clickhouse", "to-and-fro");
    for usd in [1.0, 2.0, 1.0, 2.0, 1.0] {
        let wanted = WantedRow {
            resource_id: "r".to_owned(),
            cost: Cost::from_usd(usd).unwrap(),
            dimensions: Dimensions::default(),
        };
        let before = ledger.states(&ours, day()).await.unwrap();
        let change = difference(day(), &before, &[wanted]).entries;
        let read_back = ReadBack::DEFAULT;
        let after =
            append_visible(ledger, &ours, day(), &before, &change, read_back).await.unwrap();
        assert_eq!(after.iter().map(|s| (s.cost_usd, s.sign_sum)).collect::<Vec<_>>(), [(usd, 1)]);
    }
}

/// Newer servers merge a block's rows on their way in, unless a setting forbids it.
async fn keeps_each_row_of_one_call(stores: &Stores, ledger: &ClickHouseLedger) {
    let ours = account("clickhouse", "one-call");
    let entry = |cost_usd, sign| Entry {
        resource_id: "x".to_owned(),
        date_seconds: day().start_seconds(),
        cost_usd,
        sign,
        dimensions: Dimensions::default(),
    };
    // A merge would collapse them too, and may come at any moment.
    stores.execute(&format!("SYSTEM STOP MERGES {}.expenses", stores.database)).await;
    let twice = [entry(1.0, 1), entry(2.0, 1)];
    ledger.append(&ours, day(), &twice).await.unwrap();
    let states = ledger.states(&ours, day()).await.unwrap();
    assert_eq!(states.iter().map(|s| (s.cost_usd, s.sign_sum)).collect::<Vec<_>>(), [(3.0, 2)]);
    let healed = [entry(1.0, -1), entry(2.0, -1), entry(4.0, 1)];
    ledger.append(&ours, day(), &healed).await.unwrap();
    let states = ledger.states(&ours, day()).await.unwrap();
    assert_eq!(states.iter().map(|s| (s.cost_usd, s.sign_sum)).collect::<Vec<_>>(), [(4.0, 1)]);
    stores.execute(&format!("SYSTEM START MERGES {}.expenses", stores.database)).await;
}

/// In upstream's order, by months.
pub(crate) async fn ledger_suite_as_upstream(clickhouse: Arc<Server>) {
    let order = "(cloud_account_id, date, resource_id)";
    ledger_suite(clickhouse, order, "PARTITION BY toYYYYMM(date)").await;
}

/// In the fork's order, without partitions.
pub(crate) async fn ledger_suite_as_the_fork(clickhouse: Arc<Server>) {
    ledger_suite(clickhouse, "(cloud_account_id, resource_id, date)", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_keeps_the_ledgers_contract_in_upstreams_order() {
    ledger_suite_as_upstream(clickhouse()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_keeps_the_ledgers_contract_in_the_forks_order_without_partitions() {
    ledger_suite_as_the_fork(clickhouse()).await;
}

struct Documents(Collection<mongodb::bson::Document>);

#[async_trait]
impl RawDocumentAccess for Documents {
    async fn put(&self, document: ResourceDocument) {
        let id = document.id.clone();
        let body = bson_form::to_bson(&document).unwrap();
        self.0.replace_one(doc! { "_id": id }, body).upsert(true).await.unwrap();
    }

    async fn get(&self, id: &str) -> Option<ResourceDocument> {
        let mut found = self.0.find_one(doc! { "_id": id }).await.unwrap()?;
        found.retain_known();
        Some(bson_form::from_bson(found).unwrap())
    }

    async fn put_meta(&self, id: &str, meta: serde_json::Value) {
        let meta = mongodb::bson::to_bson(&meta).unwrap();
        let change = doc! { "$set": { "meta": meta } };
        self.0.update_one(doc! { "_id": id }, change).await.unwrap();
    }
}

trait RetainKnown {
    fn retain_known(&mut self);
}

impl RetainKnown for mongodb::bson::Document {
    /// Numbers may come back as another type than they were written in.
    fn retain_known(&mut self) {
        if let Some(Bson::Int64(total)) = self.get("total_cost").cloned() {
            self.insert("total_cost", total as f64);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_keeps_the_resource_stores_contract() {
    let stores = Stores::new("resources_contract").await;
    let database = stores.mongo().await;
    kubecost_worker::migrate::mongo::migrate(&database, "cloud_resource", false).await.unwrap();
    let store = MongoResources::new(database.clone(), "cloud_resource");
    let raw = Documents(database.collection("cloud_resource"));
    resource_store_contract(&store, &raw, "mongodb").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_keeps_the_records_contracts() {
    let stores = Stores::new("records_contract").await;
    mongo_records_contract(&stores.mongo().await, "mongodb").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_tells_of_its_accounts() {
    let stores = Stores::new("accounts_contract").await;
    mongo_accounts_contract(&stores.mongo().await).await;
}

/// A standalone server has no second member that could have the write.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_whose_write_concern_is_not_met_is_a_failure() {
    let stores = Stores::new("concern").await;
    let update_at = async |url: &str| {
        let database = connect(&Secret::new(url), &stores.database).await.unwrap();
        let collection = database.collection("anything");
        let one = doc! { "q": { "_id": 1 }, "u": { "$inc": { "n": 1 } }, "upsert": true };
        update("writing", &collection, vec![one]).await
    };
    let url = &stores.mongodb.url;
    assert_eq!(update_at(url).await.map(|updated| updated.changed), Ok(1));
    let failure = update_at(&format!("{url}?w=2")).await.unwrap_err();
    assert!(failure.what.contains("writing"), "{failure}");
}
