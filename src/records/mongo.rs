//! Records, leases and the rate journal in MongoDB.
//!
//! Collections `kubecost_account_day` (`_id` "account:day"), `kubecost_lease` (`_id` the account)
//! and `kubecost_rate_journal` (`_id` "account:slot", with a date `expires_at` for a TTL index).
//! Only operations of single documents that servers from 4.4 on have, so that a standalone server
//! will do; all look-ups go by `_id`, so no index of ours is needed.

use async_trait::async_trait;
use futures_util::TryStreamExt;
use mongodb::bson::{self, Bson, DateTime, Document, doc};
use mongodb::options::ReturnDocument;
use mongodb::{Collection, Database};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::allocation::{AccountId, Day};
use crate::failure::{Failure, Hop, Kind};
use crate::mongo::{bounded, is_duplicate_key};

use super::{
    AccountDay, Acquired, DayRecords, Lease, Leases, RateJournal, SLOT_KEPT_SECONDS, SlotRates,
};

/// The collection of the records of days.
pub const DAYS_COLLECTION: &str = "kubecost_account_day";
/// The collection of leases.
pub const LEASES_COLLECTION: &str = "kubecost_lease";
/// The collection of the rate journal.
pub const JOURNAL_COLLECTION: &str = "kubecost_rate_journal";
/// The journal's field that its TTL index (`expireAfterSeconds: 0`) goes by.
pub const JOURNAL_EXPIRY_FIELD: &str = "expires_at";

/// How often a lease is asked for when it changes hands while being looked at.
const ACQUIRE_ATTEMPTS: u32 = 5;

/// Records in a MongoDB database.
#[derive(Clone, Debug)]
pub struct MongoRecords {
    days: Collection<Document>,
    leases: Collection<Document>,
    journal: Collection<Document>,
}

impl MongoRecords {
    /// The records in this database, which [`crate::mongo::connect`] gave.
    #[must_use]
    pub fn new(database: &Database) -> Self {
        Self {
            days: database.collection(DAYS_COLLECTION),
            leases: database.collection(LEASES_COLLECTION),
            journal: database.collection(JOURNAL_COLLECTION),
        }
    }
}

fn day_id(account: &AccountId, day: Day) -> String {
    format!("{account}:{day}")
}

/// Ten digits, so that the order of ids is that of slots.
fn slot_id(account: &AccountId, slot_seconds: i64) -> String {
    format!("{account}:{slot_seconds:010}")
}

fn to_document<T: Serialize>(what: &str, value: &T) -> Result<Document, Failure> {
    bson::to_document(value).map_err(|error| {
        let what = format!("{what}: it has no form that can be stored: {error}");
        Failure::new(Hop::MongoDb, Kind::Internal, what, "report it")
    })
}

fn from_document<T: DeserializeOwned>(of: &str, document: Document) -> Result<T, Failure> {
    let id = document.get("_id").cloned().unwrap_or(Bson::Null);
    bson::from_document(document).map_err(|error| {
        let what = format!("the document {id} of {of} cannot be read: {error}");
        let fix = format!("delete the document {id} of {of}; it was changed by something else");
        Failure::new(Hop::MongoDb, Kind::BadData, what, fix)
    })
}

/// All documents that match, in the order of their ids.
async fn found<T: DeserializeOwned>(
    collection: &Collection<Document>,
    what: &str,
    filter: Document,
) -> Result<Vec<T>, Failure> {
    let reading = collection.clone();
    let documents: Vec<Document> = bounded(what, async move {
        reading.find(filter).sort(doc! {"_id": 1}).await?.try_collect().await
    })
    .await?;
    documents.into_iter().map(|document| from_document(collection.name(), document)).collect()
}

#[async_trait]
impl DayRecords for MongoRecords {
    async fn days(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<Vec<AccountDay>, Failure> {
        let filter = doc! {
            "_id": {"$gte": day_id(account, first), "$lte": day_id(account, last)},
            // Ids of another account may lie between: "a:2026-11-20:2026-11-21" between "a"'s.
            "account": account.as_str(),
        };
        found(&self.days, "reading the records of days", filter).await
    }

    async fn put(&self, record: &AccountDay) -> Result<(), Failure> {
        let what = "writing the record of a day";
        let document = to_document(what, record)?;
        let filter = doc! {"_id": day_id(&record.account, record.day)};
        let days = self.days.clone();
        bounded(what, async move {
            let put = || days.replace_one(filter.clone(), &document).upsert(true);
            match put().await {
                // Another process made it in between; now it is there to be replaced.
                Err(error) if is_duplicate_key(&error) => put().await,
                other => other,
            }
        })
        .await
        .map(|_| ())
    }
}

/// A lease's document without the driver's own types.
#[derive(serde::Deserialize)]
struct LeaseDocument {
    _id: AccountId,
    holder: String,
    token: i64,
    expires_at: i64,
}

fn lease(document: Document) -> Result<Lease, Failure> {
    let LeaseDocument { _id: account, holder, token, expires_at } =
        from_document(LEASES_COLLECTION, document)?;
    Ok(Lease { account, holder, token, expires_at })
}

/// The lease if it could be taken: an expired one is found and changed, a missing one is made,
/// and one that somebody holds is not found, so that making it fails on its `_id`.
async fn take(
    leases: Collection<Document>,
    account: String,
    holder: String,
    now_seconds: i64,
    expires_at: i64,
) -> mongodb::error::Result<Option<Document>> {
    let filter = doc! {"_id": account, "expires_at": {"$lte": now_seconds}};
    let update =
        doc! {"$set": {"holder": holder, "expires_at": expires_at}, "$inc": {"token": 1_i64}};
    let taken = leases
        .find_one_and_update(filter, update)
        .upsert(true)
        .return_document(ReturnDocument::After)
        .await;
    match taken {
        Err(error) if is_duplicate_key(&error) => Ok(None),
        other => other,
    }
}

#[async_trait]
impl Leases for MongoRecords {
    async fn acquire(
        &self,
        account: &AccountId,
        holder: &str,
        now_seconds: i64,
        seconds: i64,
    ) -> Result<Acquired, Failure> {
        let what = "taking a lease";
        for _ in 0..ACQUIRE_ATTEMPTS {
            let (leases, id) = (self.leases.clone(), account.as_str().to_owned());
            let expires_at = now_seconds + seconds;
            let taking = take(leases, id, holder.to_owned(), now_seconds, expires_at);
            if let Some(document) = bounded(what, taking).await? {
                return lease(document).map(Acquired::Granted);
            }
            let (leases, filter) = (self.leases.clone(), doc! {"_id": account.as_str()});
            let held = bounded(what, async move { leases.find_one(filter).await }).await?;
            match held.map(lease).transpose()? {
                Some(held) if held.expires_at > now_seconds => return Ok(Acquired::HeldBy(held)),
                // Given back while being looked at: ask again.
                _ => {}
            }
        }
        let what = format!("{what}: that of {account} changed hands {ACQUIRE_ATTEMPTS} times");
        Err(Failure::new(Hop::MongoDb, Kind::Conflict, what, "wait; the next run goes on"))
    }

    async fn renew(&self, lease: &Lease, now_seconds: i64, seconds: i64) -> Result<bool, Failure> {
        let filter = doc! {
            "_id": lease.account.as_str(),
            "token": lease.token,
            "holder": &lease.holder,
            "expires_at": {"$gt": now_seconds},
        };
        let update = doc! {"$set": {"expires_at": now_seconds + seconds}};
        let leases = self.leases.clone();
        let renewed =
            bounded("renewing a lease", async move { leases.update_one(filter, update).await });
        Ok(renewed.await?.matched_count == 1)
    }

    async fn release(&self, lease: &Lease) -> Result<(), Failure> {
        let filter = doc! {
            "_id": lease.account.as_str(),
            "token": lease.token,
            "holder": &lease.holder,
        };
        // The document stays, for its token must go on growing.
        let update = doc! {"$set": {"expires_at": 0_i64}};
        let leases = self.leases.clone();
        let released =
            bounded("giving a lease back", async move { leases.update_one(filter, update).await });
        released.await.map(|_| ())
    }
}

#[async_trait]
impl RateJournal for MongoRecords {
    async fn note(&self, slot: &SlotRates) -> Result<(), Failure> {
        let what = "noting rates";
        let mut document = to_document(what, slot)?;
        let expires_at = (slot.slot_seconds + SLOT_KEPT_SECONDS).saturating_mul(1_000);
        document.insert(JOURNAL_EXPIRY_FIELD, DateTime::from_millis(expires_at));
        let filter = doc! {"_id": slot_id(&slot.account, slot.slot_seconds)};
        let journal = self.journal.clone();
        bounded(what, async move {
            let noted = journal.update_one(filter, doc! {"$setOnInsert": document}).upsert(true);
            match noted.await {
                // Another process was first, and its note stands.
                Err(error) if is_duplicate_key(&error) => Ok(()),
                other => other.map(|_| ()),
            }
        })
        .await
    }

    async fn slots(
        &self,
        account: &AccountId,
        from_seconds: i64,
        until_seconds: i64,
    ) -> Result<Vec<SlotRates>, Failure> {
        let filter = doc! {
            "_id": {
                "$gte": slot_id(account, from_seconds),
                "$lt": slot_id(account, until_seconds),
            },
            "account": account.as_str(),
        };
        found(&self.journal, "reading the rate journal", filter).await
    }
}
