//! What the MongoDB implementations of records and accounts must do on a real server, beside the
//! suites of `contract`, which the including test declares as `crate::contract`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kubecost_worker::accounts::AccountSource;
use kubecost_worker::accounts::mongo::{ACCOUNTS_COLLECTIONS, MongoAccounts};
use kubecost_worker::day_status::DayStatusReader;
use kubecost_worker::day_status::mongo::{DAYS_COLLECTION, MongoDayStatus};
use kubecost_worker::lease::Leases;
use kubecost_worker::lease::mongo::{LEASES_COLLECTION, MongoLeases};
use kubecost_worker::rate_journal::mongo::{
    JOURNAL_COLLECTION, JOURNAL_EXPIRY_FIELD, MongoJournal,
};
use kubecost_worker::rate_journal::{RateJournal, SLOT_KEPT_SECONDS, SLOT_SECONDS, SlotRates};
use kubecost_worker::service::failure::{Hop, Kind};
use mongodb::Database;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, Document, doc};

use crate::contract::leases::{StoreClock, leases_contract, leases_race_contract};
use crate::contract::records::{checkpoint_contract, day_status_contract, rate_journal_contract};
use crate::contract::{account, day};

/// Runs everything on a database that may hold other things; accounts need one of their own.
pub(crate) async fn mongo_records_contract(database: &Database, tag: &str) {
    day_status_contract(&MongoDayStatus::new(database), tag).await;
    checkpoint_contract(&MongoDayStatus::new(database), tag).await;
    let clock = LeasesOf(database.clone());
    leases_contract(&MongoLeases::new(database), &clock, tag).await;
    rate_journal_contract(&MongoJournal::new(database), tag).await;
    let contender = || Arc::new(MongoLeases::new(database)) as Arc<dyn Leases>;
    leases_race_contract((0..8).map(|_| contender()).collect(), &clock, tag).await;
    writes_documents_that_people_and_indexes_understand(database, tag).await;
    names_a_damaged_document(database, tag).await;
}

/// Time passes by turning back the ends of all leases.
struct LeasesOf(Database);

#[async_trait]
impl StoreClock for LeasesOf {
    async fn pass(&self, seconds: i64) {
        let leases = self.0.collection::<Document>(LEASES_COLLECTION);
        let back = doc! { "$inc": { "expires_at": -seconds } };
        leases.update_many(doc! {}, back).await.unwrap();
    }
}

async fn one(database: &Database, collection: &str, id: &str) -> Document {
    let collection = database.collection::<Document>(collection);
    collection.find_one(doc! {"_id": id}).await.unwrap().unwrap()
}

async fn writes_documents_that_people_and_indexes_understand(database: &Database, tag: &str) {
    let ours = account(tag, "form");
    let slot_seconds = day().start_seconds() + SLOT_SECONDS;
    let slot = SlotRates {
        account: ours.clone(),
        slot_seconds,
        phase: 1,
        lag_seconds: None,
        refused: 0,
        is_approximate: false,
        windows: Vec::new(),
        rates: Vec::new(),
    };
    MongoJournal::new(database).note(&slot).await.unwrap();
    let noted = one(database, JOURNAL_COLLECTION, &format!("{ours}:{slot_seconds}")).await;
    let expiry = DateTime::from_millis((slot_seconds + SLOT_KEPT_SECONDS) * 1_000);
    assert_eq!(noted.get_datetime(JOURNAL_EXPIRY_FIELD), Ok(&expiry));
    let asked = [ours.clone()];
    MongoLeases::new(database).acquire(&asked, "me", Duration::from_secs(60)).await.unwrap();
    let held = one(database, LEASES_COLLECTION, ours.as_str()).await;
    let wanted = doc! {"_id": ours.as_str(), "holder": "me", "token": 1_i64};
    for (field, value) in &wanted {
        assert_eq!(held.get(field), Some(value), "{field}");
    }
    let hello = database.run_command(doc! { "hello": 1 }).await.unwrap();
    let now = hello.get_datetime("localTime").unwrap().timestamp_millis() / 1_000;
    let left = held.get_i64("expires_at").unwrap() - now;
    assert!((-600..=61).contains(&left), "Unix seconds of the server's clock: {left}");
}

async fn names_a_damaged_document(database: &Database, tag: &str) {
    let ours = account(tag, "damaged");
    let id = format!("{ours}:{}", day());
    let damaged = doc! {"_id": &id, "account": ours.as_str(), "state": "green"};
    database.collection(DAYS_COLLECTION).insert_one(damaged).await.unwrap();
    let failure = MongoDayStatus::new(database).statuses(&ours, day(), day()).await.unwrap_err();
    assert_eq!((failure.hop, failure.kind), (Hop::MongoDb, Kind::BadData));
    assert!(failure.what.contains(&id), "{failure}");
}

/// Runs the suite of accounts, on a database of its own.
pub(crate) async fn mongo_accounts_contract(database: &Database) {
    let source = MongoAccounts::new(database);
    assert_eq!(source.accounts().await, Ok(Vec::new()), "no collection is no account");
    let object_id = ObjectId::parse_str("65f0c0ffee65f0c0ffee65f0").unwrap();
    let collection = database.collection::<Document>(ACCOUNTS_COLLECTIONS[0]);
    let documents = [
        doc! {"_id": "b", "name": "B", "type": "kubernetes_cnr", "deleted_at": 0},
        doc! {"_id": object_id, "type": "kubernetes_cnr", "deleted_at": 0_i64},
        doc! {"_id": "a", "name": Bson::Null, "type": "kubernetes_cnr", "deleted_at": 0.0},
        doc! {"_id": "gone", "type": "kubernetes_cnr", "deleted_at": 99},
        doc! {"_id": "aws", "type": "aws_cnr", "deleted_at": 0},
    ];
    collection.insert_many(documents).await.unwrap();
    let accounts = source.accounts().await.unwrap();
    let shown: Vec<_> = accounts.iter().map(|a| (a.id.as_str(), a.name.as_deref())).collect();
    assert_eq!(shown, [("65f0c0ffee65f0c0ffee65f0", None), ("a", None), ("b", Some("B"))]);
    let bad = doc! {"_id": 42, "type": "kubernetes_cnr", "deleted_at": 0};
    collection.insert_one(bad).await.unwrap();
    assert_eq!(source.accounts().await.unwrap(), accounts, "one that is none is left out");
}
