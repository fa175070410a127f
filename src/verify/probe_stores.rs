//! Asks MongoDB and ClickHouse.

use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::bson::{Document, doc};

use crate::accounts::mongo::ACCOUNTS_COLLECTIONS;
use crate::cost::{AccountId, Day};
use crate::day_status::DayStatusReader;
use crate::day_status::mongo::MongoDayStatus;
use crate::documents::DocumentReader;
use crate::documents::bson_form::{STORED_FIELDS, in_list, whole};
use crate::documents::mongo::MongoResources;
use crate::ledger::LedgerReader;
use crate::ledger::clickhouse::ClickHouseLedger;
use crate::service::failure::Failure;
use crate::settings::worker::CloudTunerConfig;
use crate::stores::mongo::{bounded, connect_within};

use super::http::{PROBE_TIMEOUT, within};
use super::judge_documents::{DocumentFacts, facts};
use super::judge_stores::{AccountFacts, RowFacts};

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

pub(super) async fn account(
    database: &Database,
    id: &AccountId,
) -> Result<Option<AccountFacts>, Failure> {
    let mut found = None;
    for name in ACCOUNTS_COLLECTIONS {
        let collection = database.collection::<Document>(name);
        let filter = doc! { "_id": in_list(&[id.to_string()]) };
        let asked =
            bounded("reading the account", async move { collection.find_one(filter).await });
        found = found.or(within("reading the account", asked).await?);
    }
    Ok(found.map(|document| AccountFacts {
        kind: document.get_str("type").unwrap_or_default().to_owned(),
        deleted_at: whole(document.get("deleted_at")),
    }))
}

pub(super) async fn index(database: &Database, collection: &str) -> Result<(), Failure> {
    let resources = MongoResources::new(database.clone(), collection);
    within("looking at indexes", async { resources.check().await }).await
}

/// The account's documents, as far as there are not too many.
pub(super) async fn documents(
    database: &Database,
    collection: &str,
    id: &AccountId,
    today: Day,
) -> Result<DocumentFacts, Failure> {
    let collection = database.collection::<Document>(collection);
    let filter = doc! {"cloud_account_id": id.as_str()};
    let mut fields: Document =
        STORED_FIELDS.iter().map(|field| ((*field).to_owned(), 1.into())).collect();
    fields.extend(doc! { "deleted_at": 1, "tags": 1 });
    let asked = bounded("reading documents", async move {
        let found = collection.find(filter).projection(fields).limit(DOCUMENTS_MAX);
        found.await?.try_collect::<Vec<Document>>().await
    });
    let found = within("reading documents", asked).await?;
    Ok(facts(&found, today))
}

pub(super) async fn schema(config: &CloudTunerConfig) -> Result<(), Failure> {
    let ledger = ClickHouseLedger::new(config);
    within("reading ClickHouse's schema", async { ledger.check().await }).await
}

/// Yesterday's and today's rows, and what records say of them.
pub(super) async fn rows(
    config: &CloudTunerConfig,
    database: &Database,
    collection: &str,
    id: &AccountId,
    now: i64,
) -> Result<RowFacts, Failure> {
    let today = Day::of_unix(now);
    let asked = async {
        let ledger = ClickHouseLedger::new(config);
        let resources = MongoResources::new(database.clone(), collection);
        let statuses = MongoDayStatus::new(database);
        let mut facts = RowFacts::default();
        let mut resource_ids = Vec::new();
        for day in [today.previous(), today] {
            let mut states = ledger.states(id, day).await?;
            facts.contradictory +=
                states.iter().filter(|s| !matches!(s.sign_sum, 0 | 1)).count() as u64;
            // Those that another program dated otherwise are in no day's record: `audit` names them.
            states.retain(|one| one.sign_sum > 0 && one.date_seconds == day.start_seconds());
            let usd = states.iter().map(|state| state.cost_usd).sum::<f64>() + 0.0;
            facts.days.push((day, states.len() as u64, usd));
            resource_ids.extend(states.into_iter().map(|state| state.resource_id));
        }
        resource_ids.sort_unstable();
        resource_ids.dedup();
        let own = resources.own_ids(id, &resource_ids).await?;
        facts.orphans = resource_ids.iter().filter(|id| !own.contains(*id)).count() as u64;
        facts.statuses = statuses.statuses(id, today.previous(), today).await?;
        Ok(facts)
    };
    within("reading rows", asked).await
}
