//! Leases in MongoDB: the collection `kubecost_lease`, `_id` the account.

use async_trait::async_trait;
use mongodb::bson::{Document, doc};
use mongodb::options::ReturnDocument;
use mongodb::{Collection, Database};

use crate::cost::AccountId;
use crate::service::failure::{Failure, Hop, Kind};
use crate::stores::mongo::{bounded, from_document, is_duplicate_key};

use super::{Acquired, Lease, Leases};

/// The collection of leases.
pub const LEASES_COLLECTION: &str = "kubecost_lease";

/// How often a lease is asked for when it changes hands while being looked at.
const ACQUIRE_ATTEMPTS: u32 = 5;

/// Leases in a MongoDB database.
#[derive(Clone, Debug)]
pub struct MongoLeases {
    leases: Collection<Document>,
}

impl MongoLeases {
    /// The leases in this database, which [`crate::stores::mongo::connect`] gave.
    #[must_use]
    pub fn new(database: &Database) -> Self {
        Self { leases: database.collection(LEASES_COLLECTION) }
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
impl Leases for MongoLeases {
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
