//! The contracts on the twins in memory.

use std::sync::Arc;

use async_trait::async_trait;
use kubecost_worker::day_status::memory::MemoryDays;
use kubecost_worker::documents::ResourceDocument;
use kubecost_worker::documents::bson_form::from_bson;
use kubecost_worker::documents::memory::MemoryResources;
use kubecost_worker::lease::Leases;
use kubecost_worker::lease::memory::MemoryLeases;
use kubecost_worker::ledger::memory::{MemoryLedger, StoredRow};
use kubecost_worker::rate_journal::memory::MemoryJournal;

use crate::contract::ledger::{LedgerDoor, expense_ledger_contract};
use crate::contract::records::{
    day_records_contract, leases_contract, leases_race_contract, rate_journal_contract,
};
use crate::contract::resources::{DocumentDoor, resource_store_contract};

struct ResourcesDoor(Arc<MemoryResources>);

#[async_trait]
impl DocumentDoor for ResourcesDoor {
    async fn put(&self, document: ResourceDocument) {
        self.0.insert_document(&document).unwrap();
    }

    async fn get(&self, id: &str) -> Option<ResourceDocument> {
        let found = self.0.documents().into_iter().find(|one| one.get_str("_id") == Ok(id));
        found.map(|found| from_bson(found).unwrap())
    }
}

struct RowsDoor(Arc<MemoryLedger>);

#[async_trait]
impl LedgerDoor for RowsDoor {
    async fn plant(&self, rows: Vec<StoredRow>) {
        rows.into_iter().for_each(|row| self.0.plant(row));
    }
}

#[tokio::test]
async fn resources_in_memory_keep_the_contract() {
    let store = Arc::new(MemoryResources::default());
    resource_store_contract(store.as_ref(), &ResourcesDoor(store.clone()), "t").await;
}

#[tokio::test]
async fn the_ledger_in_memory_keeps_the_contract() {
    let ledger = Arc::new(MemoryLedger::default());
    expense_ledger_contract(ledger.as_ref(), &RowsDoor(ledger.clone()), "t").await;
}

#[tokio::test]
async fn records_in_memory_keep_the_contract() {
    day_records_contract(&MemoryDays::default(), "t").await;
    leases_contract(&MemoryLeases::default(), "t").await;
    rate_journal_contract(&MemoryJournal::default(), "t").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_ask_memory_for_a_lease_one_gets_it() {
    let records: Arc<dyn Leases> = Arc::new(MemoryLeases::default());
    leases_race_contract(vec![records; 8], "t").await;
}
