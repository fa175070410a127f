//! Asks MongoDB and ClickHouse.

use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::bson::{Bson, Document, doc, oid::ObjectId};

use crate::accounts::mongo::ACCOUNTS_COLLECTION;
use crate::cost::{AccountId, Day};
use crate::day_status::DayRecords;
use crate::day_status::mongo::MongoDays;
use crate::documents::ResourceStore;
use crate::documents::mongo::MongoResources;
use crate::ledger::ExpenseLedger;
use crate::ledger::clickhouse::ClickHouseLedger;
use crate::service::failure::Failure;
use crate::settings::worker::CloudTunerConfig;
use crate::stores::mongo::{bounded, connect_within};

use super::http::{PROBE_TIMEOUT, within};
use super::judge_stores::{AccountFacts, DocumentFacts, RowFacts};

/// Most documents that are looked at.
const DOCUMENTS_MAX: i64 = 2_000;

/// A handle that does not wait longer than a probe may.
pub(super) async fn connect(config: &CloudTunerConfig) -> Result<Database, Failure> {
    // A little less, so that the driver says why before the probe is cut off.
    let limit = PROBE_TIMEOUT - PROBE_TIMEOUT / 4;
    let connecting = connect_within(&config.mongo_url, &config.mongo_database, Some(limit));
    within("connecting to MongoDB", connecting).await
}

/// The server's time, Unix seconds, if it says it.
pub(super) async fn mongodb(database: &Database) -> Result<Option<i64>, Failure> {
    let ping = database.clone();
    let asked = async {
        // A read shows whether the credentials are taken; a greeting does not.
        bounded(
            "listing collections",
            async move { ping.list_collection_names().await.map(|_| ()) },
        )
        .await?;
        let hello = database.clone();
        let reply =
            bounded("greeting", async move { hello.run_command(doc! {"hello": 1}).await }).await?;
        Ok(reply.get_datetime("localTime").ok().map(|time| time.timestamp_millis() / 1_000))
    };
    within("asking MongoDB", asked).await
}

fn int(document: &Document, field: &str) -> Option<i64> {
    match document.get(field)? {
        Bson::Int32(value) => Some(i64::from(*value)),
        Bson::Int64(value) => Some(*value),
        #[expect(clippy::cast_possible_truncation, reason = "Unix seconds")]
        Bson::Double(value) => Some(*value as i64),
        _ => None,
    }
}

pub(super) async fn account(
    database: &Database,
    id: &AccountId,
) -> Result<Option<AccountFacts>, Failure> {
    let collection = database.collection::<Document>(ACCOUNTS_COLLECTION);
    let mut ids = vec![Bson::String(id.to_string())];
    ids.extend(ObjectId::parse_str(id.as_str()).ok().map(Bson::ObjectId));
    let asked = bounded("reading the account", async move {
        collection.find_one(doc! {"_id": {"$in": ids}}).await
    });
    let found = within("reading the account", asked).await?;
    Ok(found.map(|document| AccountFacts {
        kind: document.get_str("type").unwrap_or_default().to_owned(),
        deleted_at: int(&document, "deleted_at"),
    }))
}

pub(super) async fn index(database: &Database, collection: &str) -> Result<(), Failure> {
    let resources = MongoResources::new(database.clone(), collection);
    within("looking at indexes", async { resources.check().await }).await
}

/// The documents that this program made for the account, as far as there are not too many.
pub(super) async fn documents(
    database: &Database,
    collection: &str,
    id: &AccountId,
) -> Result<Vec<DocumentFacts>, Failure> {
    let collection = database.collection::<Document>(collection);
    let filter = doc! {"cloud_account_id": id.as_str()};
    let fields = doc! {
        "deleted_at": 1, "first_seen": 1, "last_seen": 1, "_first_seen_date": 1,
        "_last_seen_date": 1, "tags": 1, "meta": 1,
    };
    let asked = bounded("reading documents", async move {
        let found = collection.find(filter).projection(fields).limit(DOCUMENTS_MAX);
        found.await?.try_collect::<Vec<Document>>().await
    });
    let found = within("reading documents", asked).await?;
    let facts = |document: &Document| DocumentFacts {
        deleted_at: int(document, "deleted_at"),
        seen: (int(document, "first_seen"), int(document, "last_seen")),
        dates: (int(document, "_first_seen_date"), int(document, "_last_seen_date")),
        has_objects: document.get_document("tags").is_ok() && document.get_document("meta").is_ok(),
    };
    Ok(found.iter().map(facts).collect())
}

pub(super) async fn schema(config: &CloudTunerConfig) -> Result<(), Failure> {
    let ledger = ClickHouseLedger::new(config);
    within("reading ClickHouse's schema", async { ledger.check().await }).await
}

/// Yesterday's and today's rows, and what records say of them.
pub(super) async fn rows(
    config: &CloudTunerConfig,
    database: &Database,
    id: &AccountId,
    now: i64,
) -> Result<RowFacts, Failure> {
    let today = Day::of_unix(now);
    let asked = async {
        let ledger = ClickHouseLedger::new(config);
        let resources = MongoResources::new(database.clone(), &config.resources_collection);
        let records = MongoDays::new(database);
        let mut facts = RowFacts::default();
        let mut resource_ids = Vec::new();
        for day in [today.previous(), today] {
            let mut states = ledger.states(id, day).await?;
            facts.contradictory +=
                states.iter().filter(|s| !matches!(s.sign, 0 | 1)).count() as u64;
            states.retain(|state| state.sign > 0);
            let usd = states.iter().map(|state| state.cost_usd).sum::<f64>() + 0.0;
            facts.days.push((day, states.len() as u64, usd));
            resource_ids.extend(states.into_iter().map(|state| state.resource_id));
        }
        resource_ids.sort_unstable();
        resource_ids.dedup();
        let own = resources.own_ids(id, &resource_ids).await?;
        facts.orphans = resource_ids.iter().filter(|id| !own.contains(*id)).count() as u64;
        facts.records = records.days(id, today.previous(), today).await?;
        Ok(facts)
    };
    within("reading rows", asked).await
}
