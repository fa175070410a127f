//! The stores' contracts, on the servers.

use std::sync::Arc;

use async_trait::async_trait;
use clickhouse::{Client, Row};
use kubecost_worker::documents::ResourceDocument;
use kubecost_worker::documents::bson_form;
use kubecost_worker::documents::mongo::MongoResources;
use kubecost_worker::ledger::clickhouse::ClickHouseLedger;
use kubecost_worker::ledger::memory::StoredRow;
use kubecost_worker::ledger::{Dimensions, Entry, ExpenseLedger};
use mongodb::Collection;
use mongodb::bson::{Bson, doc};
use serde::Serialize;

use crate::contract::ledger::{LedgerDoor, expense_ledger_contract};
use crate::contract::resources::{DocumentDoor, resource_store_contract};
use crate::contract::{account, day};
use crate::mongo_contract::{mongo_accounts_contract, mongo_records_contract};
use crate::support::servers::{Server, Stores, clickhouse};

struct Table(Client);

#[derive(Row, Serialize)]
struct PlantedRow {
    cloud_account_id: String,
    resource_id: String,
    date: u32,
    cost: f64,
    sign: i8,
    k8s_namespace: Option<String>,
    k8s_node: Option<String>,
    k8s_service: Option<String>,
}

#[async_trait]
impl LedgerDoor for Table {
    async fn plant(&self, rows: Vec<StoredRow>) {
        // One insert a row, so that no server collapses them on their way in.
        for row in rows {
            let mut insert = self.0.insert::<PlantedRow>("expenses").await.unwrap();
            let planted = PlantedRow {
                cloud_account_id: row.account.to_string(),
                resource_id: row.resource_id,
                date: u32::try_from(row.date_seconds).unwrap(),
                cost: row.cost_usd,
                sign: row.sign,
                k8s_namespace: row.dimensions.namespace,
                k8s_node: row.dimensions.node,
                k8s_service: row.dimensions.service,
            };
            insert.write(&planted).await.unwrap();
            insert.end().await.unwrap();
        }
    }
}

async fn ledger_suite(clickhouse: Arc<Server>, sort_order: &str, partition: &str) {
    let stores = Stores::on(clickhouse, "ledger_contract").await;
    stores.create_expenses(sort_order, partition).await;
    let ledger = ClickHouseLedger::new(&stores.config());
    expense_ledger_contract(&ledger, &Table(stores.client()), "clickhouse").await;
    keeps_each_row_of_one_call(&stores, &ledger).await;
}

/// Newer servers collapse a block's rows on their way in; no row that is written may go so.
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
    assert_eq!(states.iter().map(|s| (s.cost_usd, s.sign)).collect::<Vec<_>>(), [(3.0, 2)]);
    let healed = [entry(1.0, -1), entry(2.0, -1), entry(4.0, 1)];
    ledger.append(&ours, day(), &healed).await.unwrap();
    let states = ledger.states(&ours, day()).await.unwrap();
    assert_eq!(states.iter().map(|s| (s.cost_usd, s.sign)).collect::<Vec<_>>(), [(4.0, 1)]);
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
impl DocumentDoor for Documents {
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
    let door = Documents(database.collection("cloud_resource"));
    resource_store_contract(&store, &door, "mongodb").await;
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
