//! Leases in MongoDB: the collection `kubecost_lease`, `_id` the account.
//!
//! The time is the server's, as its reply to `hello` states it. It is read before each change, so
//! it may be a little old when the change is made. That is safe: an old time never takes a lease
//! that has not expired, and only makes the caller's own lease shorter than from the change on,
//! which [`HeldLease`](super::HeldLease) counts from before the time was asked for. Every server
//! answers `hello`, while `$$NOW` in an update is not in all that speak MongoDB's protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use mongodb::{Collection, Database};

use crate::cost::AccountId;
use crate::service::failure::{Failure, Hop, Kind};
use crate::stores::mongo::{bounded, from_document, server_seconds};
use crate::stores::mongo_update::update;

use super::{Acquired, Lease, Leases, expiry};

/// The collection of leases.
pub const LEASES_COLLECTION: &str = "kubecost_lease";

/// How often leases are asked for that change hands while being looked at.
const ACQUIRE_ATTEMPTS: u32 = 5;

/// Leases in a MongoDB database.
#[derive(Clone, Debug)]
pub struct MongoLeases {
    database: Database,
    leases: Collection<Document>,
}

/// A lease's document without the driver's own types.
#[derive(serde::Deserialize)]
struct LeaseDocument {
    _id: AccountId,
    holder: String,
    token: i64,
    expires_at: i64,
}

impl MongoLeases {
    /// The leases in this database, which [`crate::stores::mongo::connect`] gave.
    #[must_use]
    pub fn new(database: &Database) -> Self {
        Self { database: database.clone(), leases: database.collection(LEASES_COLLECTION) }
    }

    /// The leases of these accounts and when they expire, Unix seconds.
    async fn stored<'a>(
        &self,
        accounts: impl Iterator<Item = &'a AccountId>,
    ) -> Result<BTreeMap<AccountId, (Lease, i64)>, Failure> {
        let ids: Vec<&str> = accounts.map(AccountId::as_str).collect();
        let (leases, filter) = (self.leases.clone(), doc! { "_id": { "$in": ids } });
        let found: Vec<Document> =
            bounded(
                "reading leases",
                async move { leases.find(filter).await?.try_collect().await },
            )
            .await?;
        let lease = |document| {
            let LeaseDocument { _id: account, holder, token, expires_at } =
                from_document(LEASES_COLLECTION, document)?;
            Ok((account.clone(), (Lease { account, holder, token }, expires_at)))
        };
        found.into_iter().map(lease).collect()
    }

    /// One attempt: which of these accounts' leases were taken, and who holds the others.
    async fn take(
        &self,
        accounts: &BTreeSet<AccountId>,
        holder: &str,
        length: Duration,
    ) -> Result<Vec<Acquired>, Failure> {
        let now = server_seconds(&self.database).await?;
        // An expired lease is found and changed, a missing one is made, and one that somebody
        // holds is not found, so that making it fails on its `_id`.
        let updates = accounts.iter().map(|account| {
            doc! {
                "q": { "_id": account.as_str(), "expires_at": { "$lte": now } },
                "u": {
                    "$set": { "holder": holder, "expires_at": expiry(now, length) },
                    "$inc": { "token": 1_i64 },
                },
                "upsert": true,
                "multi": false,
            }
        });
        let updated = update("taking leases", &self.leases, updates.collect()).await?;
        let refused: BTreeSet<usize> = updated.duplicates.into_iter().collect();
        let stored = self.stored(accounts.iter()).await?;
        let answers = accounts.iter().enumerate().filter_map(|(index, account)| {
            let (lease, expires_at) = stored.get(account)?.clone();
            if !refused.contains(&index) && lease.holder == holder {
                return Some(Acquired::Granted(lease));
            }
            // One that was given back while being looked at is asked for again.
            let seconds_left = expires_at - now;
            (seconds_left > 0).then_some(Acquired::HeldBy { lease, seconds_left })
        });
        Ok(answers.collect())
    }
}

#[async_trait]
impl Leases for MongoLeases {
    async fn acquire(
        &self,
        accounts: &[AccountId],
        holder: &str,
        length: Duration,
    ) -> Result<Vec<Acquired>, Failure> {
        let mut answers = BTreeMap::new();
        let mut open: BTreeSet<AccountId> = accounts.iter().cloned().collect();
        for _ in 0..ACQUIRE_ATTEMPTS {
            if open.is_empty() {
                break;
            }
            for answer in self.take(&open, holder, length).await? {
                let (Acquired::Granted(lease) | Acquired::HeldBy { lease, .. }) = &answer;
                open.remove(&lease.account);
                answers.insert(lease.account.clone(), answer);
            }
        }
        if let Some(account) = open.first() {
            let what = format!("the lease of {account} changed hands {ACQUIRE_ATTEMPTS} times");
            return Err(Failure::new(Hop::MongoDb, Kind::Conflict, what, "the next run goes on"));
        }
        Ok(accounts.iter().filter_map(|account| answers.get(account).cloned()).collect())
    }

    async fn renew(&self, leases: &[Lease], length: Duration) -> Result<Vec<bool>, Failure> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        let now = server_seconds(&self.database).await?;
        let updates = leases.iter().map(|lease| {
            doc! {
                "q": {
                    "_id": lease.account.as_str(),
                    "token": lease.token,
                    "holder": &lease.holder,
                    "expires_at": { "$gt": now },
                },
                // A renewal that was under way for long must not take back a later one.
                "u": { "$max": { "expires_at": expiry(now, length) } },
                "multi": false,
            }
        });
        let updated = update("renewing leases", &self.leases, updates.collect()).await?;
        if updated.matched == leases.len() as u64 {
            return Ok(vec![true; leases.len()]);
        }
        let stored = self.stored(leases.iter().map(|lease| &lease.account)).await?;
        let is_held = |lease: &Lease| {
            stored
                .get(&lease.account)
                .is_some_and(|(now_held, expires_at)| now_held == lease && *expires_at > now)
        };
        Ok(leases.iter().map(is_held).collect())
    }

    async fn release(&self, leases: &[Lease]) -> Result<(), Failure> {
        if leases.is_empty() {
            return Ok(());
        }
        // The documents stay, for their tokens must go on growing.
        let updates = leases.iter().map(|lease| {
            doc! {
                "q": {
                    "_id": lease.account.as_str(),
                    "token": lease.token,
                    "holder": &lease.holder,
                },
                "u": { "$set": { "expires_at": 0_i64 } },
                "multi": false,
            }
        });
        update("releasing leases", &self.leases, updates.collect()).await.map(|_| ())
    }
}
