//! The contracts on the twins in memory.

use std::sync::Arc;

use async_trait::async_trait;
use kubecost_worker::day_status::memory::MemoryDayStatus;
use kubecost_worker::documents::ResourceDocument;
use kubecost_worker::documents::bson_form::from_bson;
use kubecost_worker::documents::memory::MemoryResources;
use kubecost_worker::lease::Leases;
use kubecost_worker::lease::memory::MemoryLeases;
use kubecost_worker::ledger::memory::{MemoryLedger, StoredRow};
use kubecost_worker::rate_journal::memory::MemoryJournal;
use kubecost_worker::service::clock::{Clock, FixedClock};

use crate::contract::leases::{StoreClock, leases_contract, leases_race_contract};
use crate::contract::ledger::{RawLedgerAccess, expense_ledger_contract};
use crate::contract::records::{checkpoint_contract, day_status_contract, rate_journal_contract};
use crate::contract::resources::{RawDocumentAccess, resource_store_contract};

struct ResourcesRawAccess(Arc<MemoryResources>);

#[async_trait]
impl RawDocumentAccess for ResourcesRawAccess {
    async fn put(&self, document: ResourceDocument) {
        self.0.insert_document(&document).unwrap();
    }

    async fn get(&self, id: &str) -> Option<ResourceDocument> {
        let found = self.0.documents().into_iter().find(|one| one.get_str("_id") == Ok(id));
        found.map(|found| from_bson(found).unwrap())
    }

    async fn put_meta(&self, id: &str, meta: serde_json::Value) {
        let found = self.0.documents().into_iter().find(|one| one.get_str("_id") == Ok(id));
        let mut document = found.unwrap();
        document.insert("meta", mongodb::bson::to_bson(&meta).unwrap());
        self.0.insert_raw(document);
    }
}

struct RowsRawAccess(Arc<MemoryLedger>);

#[async_trait]
impl RawLedgerAccess for RowsRawAccess {
    async fn insert_raw(&self, rows: Vec<StoredRow>) {
        rows.into_iter().for_each(|row| self.0.insert_raw(row));
    }

    async fn hold_merges(&self, _is_held: bool) {
        // They happen when `merge` is called, and never else.
    }

    async fn merge(&self) -> bool {
        self.0.merge_some(0, usize::MAX);
        true
    }
}

#[tokio::test]
async fn resources_in_memory_keep_the_contract() {
    let store = Arc::new(MemoryResources::default());
    resource_store_contract(store.as_ref(), &ResourcesRawAccess(store.clone()), "t").await;
}

#[tokio::test]
async fn the_ledger_in_memory_keeps_the_contract() {
    let ledger = Arc::new(MemoryLedger::default());
    expense_ledger_contract(ledger.as_ref(), &RowsRawAccess(ledger.clone()), "t").await;
}

#[tokio::test]
async fn records_in_memory_keep_the_contract() {
    day_status_contract(&MemoryDayStatus::default(), "t").await;
    checkpoint_contract(&MemoryDayStatus::default(), "t").await;
    rate_journal_contract(&MemoryJournal::default(), "t").await;
}

/// The clock that leases in memory go by.
struct MemoryTime(Arc<FixedClock>);

#[async_trait]
impl StoreClock for MemoryTime {
    async fn pass(&self, seconds: i64) {
        self.0.set(self.0.now_seconds() + seconds);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_in_memory_keep_the_contract() {
    let clock = Arc::new(FixedClock::at(1_000_000));
    let leases: Arc<dyn Leases> = Arc::new(MemoryLeases::new(clock.clone()));
    let time = MemoryTime(clock);
    leases_contract(leases.as_ref(), &time, "t").await;
    leases_race_contract(vec![leases; 8], &time, "t").await;
}
