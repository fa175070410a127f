//! Leases in MongoDB: the collection `kubecost_lease`, `_id` the account.
//!
//! The time is the server's, as its reply to `hello` states it. It is read before each change, so
//! it may be a little old when the change is made. That is safe: an old time never takes a lease
//! that has not expired, and only makes the caller's own lease shorter than from the change on,
//! which [`HeldLease`](super::HeldLease) counts from before the time was asked for. Every server
//! answers `hello`, while `$$NOW` in an update is not in all that speak MongoDB's protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use mongodb::bson::{Document, doc};
use mongodb::{Collection, Database};
use tokio::sync::Semaphore;

use crate::cost::AccountId;
use crate::service::batcher::{Asked, BatchLimits, Batcher, no_answer};
use crate::service::failure::{Failure, Hop, Kind};
use crate::stores::mongo::{bounded, from_document, server_seconds};
use crate::stores::mongo_update::update_each;

use super::{Acquired, Lease, Leases, expiry};

/// The collection of leases.
pub const LEASES_COLLECTION: &str = "kubecost_lease";

/// How often leases are asked for that change hands while being looked at.
const ACQUIRE_ATTEMPTS: u32 = 5;

/// How many changes are under way at a time: leases never wait long for a place.
const CHANGES_AT_ONCE: usize = 100;
/// Leases that are changed together.
const LIMITS: BatchLimits = BatchLimits::of_reads(500, 500);

/// Puts the leases of accounts together that are asked for, renewed or given back at one time.
type Together<K, Q, A> = Arc<Batcher<K, Q, Result<A, Failure>>>;

/// Leases in a MongoDB database.
#[derive(Clone, Debug)]
pub struct MongoLeases {
    database: Database,
    leases: Collection<Document>,
    /// By holder and length.
    acquired: Together<(String, Duration), AccountId, Acquired>,
    /// By length.
    renewed: Together<Duration, Lease, bool>,
    released: Together<(), Lease, ()>,
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
        let places = || Arc::new(Semaphore::new(CHANGES_AT_ONCE));
        Self {
            database: database.clone(),
            leases: database.collection(LEASES_COLLECTION),
            acquired: Arc::new(Batcher::new(places(), LIMITS)),
            renewed: Arc::new(Batcher::new(places(), LIMITS)),
            released: Arc::new(Batcher::new(places(), LIMITS)),
        }
    }

    /// The leases of these accounts and when they expire, Unix seconds; a failure for one whose
    /// document has another form.
    async fn stored<'a>(
        &self,
        accounts: impl Iterator<Item = &'a AccountId>,
    ) -> Result<BTreeMap<String, Result<(Lease, i64), Failure>>, Failure> {
        let ids: Vec<&str> = accounts.map(AccountId::as_str).collect();
        let (leases, filter) = (self.leases.clone(), doc! { "_id": { "$in": ids } });
        let found: Vec<Document> =
            bounded(
                "reading leases",
                async move { leases.find(filter).await?.try_collect().await },
            )
            .await?;
        let lease = |document: Document| {
            let id = document.get_str("_id").unwrap_or_default().to_owned();
            let lease = from_document(LEASES_COLLECTION, document).map(|found: LeaseDocument| {
                let LeaseDocument { _id: account, holder, token, expires_at } = found;
                (Lease { account, holder, token }, expires_at)
            });
            (id, lease)
        };
        Ok(found.into_iter().map(lease).collect())
    }

    /// One attempt: which of these accounts' leases were taken, and who holds the others. Those
    /// that changed hands meanwhile are left out.
    async fn take(
        &self,
        accounts: &BTreeSet<AccountId>,
        holder: &str,
        length: Duration,
    ) -> Result<Vec<(AccountId, Result<Acquired, Failure>)>, Failure> {
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
        let updated = update_each("taking leases", &self.leases, updates.collect()).await?;
        let held_by_others: BTreeSet<usize> = updated.duplicates.into_iter().collect();
        let mut refused: BTreeMap<usize, Failure> = updated.refused.into_iter().collect();
        let mut stored = self.stored(accounts.iter()).await?;
        let answers = accounts.iter().enumerate().filter_map(|(index, account)| {
            if let Some(failure) = refused.remove(&index) {
                return Some((account.clone(), Err(failure)));
            }
            let (lease, expires_at) = match stored.remove(account.as_str())? {
                Ok(found) => found,
                Err(failure) => return Some((account.clone(), Err(failure))),
            };
            if !held_by_others.contains(&index) && lease.holder == holder {
                return Some((account.clone(), Ok(Acquired::Granted(lease))));
            }
            // One that was given back while being looked at is asked for again.
            let seconds_left = expires_at - now;
            let held = Acquired::HeldBy { lease, seconds_left };
            (seconds_left > 0).then_some((account.clone(), Ok(held)))
        });
        Ok(answers.collect())
    }

    /// Takes leases; one answer an account, in their order.
    async fn acquire_all(
        &self,
        accounts: &[AccountId],
        holder: &str,
        length: Duration,
    ) -> Vec<Result<Acquired, Failure>> {
        let mut answers: BTreeMap<AccountId, Result<Acquired, Failure>> = BTreeMap::new();
        let mut open: BTreeSet<AccountId> = accounts.iter().cloned().collect();
        for _ in 0..ACQUIRE_ATTEMPTS {
            if open.is_empty() {
                break;
            }
            match self.take(&open, holder, length).await {
                Ok(taken) => {
                    for (account, answer) in taken {
                        open.remove(&account);
                        answers.insert(account, answer);
                    }
                }
                Err(failure) => {
                    let failed = |account| (account, Err(failure.clone()));
                    answers.extend(std::mem::take(&mut open).into_iter().map(failed));
                }
            }
        }
        let changes_hands = |account: &AccountId| {
            let what = format!("the lease of {account} changed hands {ACQUIRE_ATTEMPTS} times");
            Err(Failure::new(Hop::MongoDb, Kind::Conflict, what, "the next run goes on"))
        };
        let answer = |account| answers.get(account).cloned();
        accounts.iter().map(|one| answer(one).unwrap_or_else(|| changes_hands(one))).collect()
    }

    /// Renews leases; one answer a lease, in their order.
    async fn renew_all(&self, leases: &[Lease], length: Duration) -> Vec<Result<bool, Failure>> {
        match self.try_renew_all(leases, length).await {
            Ok(answers) => answers,
            Err(failure) => leases.iter().map(|_| Err(failure.clone())).collect(),
        }
    }

    async fn try_renew_all(
        &self,
        leases: &[Lease],
        length: Duration,
    ) -> Result<Vec<Result<bool, Failure>>, Failure> {
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
        let updated = update_each("renewing leases", &self.leases, updates.collect()).await?;
        if updated.matched == leases.len() as u64 {
            return Ok(vec![Ok(true); leases.len()]);
        }
        let mut refused: BTreeMap<usize, Failure> = updated.refused.into_iter().collect();
        let stored = self.stored(leases.iter().map(|lease| &lease.account)).await?;
        let is_held = |(index, lease): (usize, &Lease)| match refused.remove(&index) {
            Some(failure) => Err(failure),
            None => match stored.get(lease.account.as_str()) {
                Some(Ok((now_held, expires_at))) => Ok(now_held == lease && *expires_at > now),
                Some(Err(failure)) => Err(failure.clone()),
                None => Ok(false),
            },
        };
        Ok(leases.iter().enumerate().map(is_held).collect())
    }

    async fn release_all(&self, leases: &[Lease]) -> Vec<Result<(), Failure>> {
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
        match update_each("releasing leases", &self.leases, updates.collect()).await {
            Ok(updated) => {
                let mut refused: BTreeMap<usize, Failure> = updated.refused.into_iter().collect();
                let places = 0..leases.len();
                places.map(|place| refused.remove(&place).map_or(Ok(()), Err)).collect()
            }
            Err(failure) => leases.iter().map(|_| Err(failure.clone())).collect(),
        }
    }
}

/// Sends each of those who asked together its answer.
async fn answer_each<Q, A, Fut: Future<Output = Vec<Result<A, Failure>>>>(
    asked: Asked<Q, Result<A, Failure>>,
    answers: impl FnOnce(Vec<Q>) -> Fut,
) {
    let (questions, replies): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
    for (reply, answer) in replies.into_iter().zip(answers(questions).await) {
        reply.send(answer);
    }
}

/// All answers, or the first failure.
async fn all_of<A>(
    answers: impl Iterator<Item = impl Future<Output = Option<Result<A, Failure>>>>,
) -> Result<Vec<A>, Failure> {
    let answers = join_all(answers).await;
    answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(no_answer()))).collect()
}

#[async_trait]
impl Leases for MongoLeases {
    async fn acquire(
        &self,
        accounts: &[AccountId],
        holder: &str,
        length: Duration,
    ) -> Result<Vec<Acquired>, Failure> {
        let unique: BTreeSet<&AccountId> = accounts.iter().collect();
        let ask = |account: &AccountId| {
            let (store, holder) = (self.clone(), holder.to_owned());
            let key = (holder.clone(), length);
            self.acquired.ask(key, account.clone(), 1, move |asked| async move {
                answer_each(asked, |accounts: Vec<AccountId>| async move {
                    store.acquire_all(&accounts, &holder, length).await
                })
                .await;
            })
        };
        let answers = all_of(unique.iter().map(|account| ask(account))).await?;
        let by_account: BTreeMap<&AccountId, Acquired> = unique.into_iter().zip(answers).collect();
        Ok(accounts.iter().filter_map(|account| by_account.get(account).cloned()).collect())
    }

    async fn renew(&self, leases: &[Lease], length: Duration) -> Result<Vec<bool>, Failure> {
        let ask = |lease: &Lease| {
            let store = self.clone();
            self.renewed.ask(length, lease.clone(), 1, move |asked| async move {
                answer_each(asked, |leases: Vec<Lease>| async move {
                    store.renew_all(&leases, length).await
                })
                .await;
            })
        };
        all_of(leases.iter().map(ask)).await
    }

    async fn release(&self, leases: &[Lease]) -> Result<(), Failure> {
        let ask = |lease: &Lease| {
            let store = self.clone();
            self.released.ask((), lease.clone(), 1, move |asked| async move {
                answer_each(
                    asked,
                    |leases: Vec<Lease>| async move { store.release_all(&leases).await },
                )
                .await;
            })
        };
        all_of(leases.iter().map(ask)).await.map(|_| ())
    }
}
