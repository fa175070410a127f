//! Day status in MongoDB: the collection `kubecost_account_day`, `_id` "account:day"; and what is
//! kept of each account's running day, in `kubecost_account_checkpoint`, `_id` "account".
//!
//! Only operations of single documents that servers from 4.4 on have, so that a standalone server
//! will do; all look-ups go by `_id`, so no further index is needed.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use mongodb::bson::{Document, doc};
use mongodb::{Collection, Database};
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::cost::{AccountId, Day};
use crate::service::batcher::{BatchLimits, Batcher, in_order};
use crate::service::failure::{Failure, Hop, Kind};
use crate::service::off_thread::off_thread;
use crate::source::checkpoint::{Checkpoint, STORED_BYTES_MAX};
use crate::stores::mongo::{found, to_document};
use crate::stores::mongo_bulk::BulkWrites;
use crate::stores::mongo_update::{Verb, update};

use super::{DayStatus, DayStatusReader, DayStatusWriter};

/// The collection of day status.
pub const DAYS_COLLECTION: &str = "kubecost_account_day";
/// The collection of checkpoints.
const CHECKPOINTS_COLLECTION: &str = "kubecost_account_checkpoint";
/// How many statuses one find names by their ids.
const IDS_AT_ONCE: usize = 5_000;
/// How many finds are under way at a time.
const READS_AT_ONCE: usize = 2;
/// Most accounts, and statuses, that are read together.
const READ_LIMITS: BatchLimits = BatchLimits::of_reads(500, 5_000);

/// Most accounts whose checkpoints are read together: 16 MiB at the most.
const CHECKPOINT_LIMITS: BatchLimits = BatchLimits::of_reads(16, 16 * STORED_BYTES_MAX as u64);

/// Reads of the same days, first and last, of several accounts.
type Reads = Batcher<(Day, Day), AccountId, Result<Vec<DayStatus>, Failure>>;

/// Day status in a MongoDB database.
#[derive(Clone, Debug)]
pub struct MongoDayStatus {
    days: Collection<Document>,
    /// Accounts whose days are read together.
    reads: Arc<Reads>,
    writes: BulkWrites,
    checkpoints: Collection<Document>,
    /// Accounts whose checkpoints are read together.
    checkpoint_reads: Arc<Batcher<(), AccountId, Result<Option<Checkpoint>, Failure>>>,
}

impl MongoDayStatus {
    /// The day status in this database, which [`crate::stores::mongo::connect`] gave.
    #[must_use]
    pub fn new(database: &Database) -> Self {
        let reads = Batcher::new(Arc::new(Semaphore::new(READS_AT_ONCE)), READ_LIMITS);
        let days: Collection<Document> = database.collection(DAYS_COLLECTION);
        let writes = BulkWrites::new("writing the status of days", days.clone());
        let places = Arc::new(Semaphore::new(READS_AT_ONCE));
        Self {
            days,
            reads: Arc::new(reads),
            writes,
            checkpoints: database.collection(CHECKPOINTS_COLLECTION),
            checkpoint_reads: Arc::new(Batcher::new(places, CHECKPOINT_LIMITS)),
        }
    }

    /// The checkpoints of these accounts that can be read.
    async fn checkpoints_of(
        &self,
        accounts: &[AccountId],
    ) -> Result<Vec<(AccountId, Checkpoint)>, Failure> {
        let ids: Vec<&str> = accounts.iter().map(AccountId::as_str).collect();
        let filter = doc! {"_id": {"$in": ids}};
        let stored: Vec<StoredCheckpoint> =
            found(&self.checkpoints, "reading checkpoints", filter).await?;
        off_thread("unpacking checkpoints", move || {
            let read =
                |one: StoredCheckpoint| Some((one.account, Checkpoint::decoded(&one.packed)?));
            stored.into_iter().filter_map(read).collect()
        })
        .await
    }
}

/// A document of the collection of checkpoints.
#[derive(Debug, Deserialize)]
struct StoredCheckpoint {
    #[serde(rename = "_id")]
    account: AccountId,
    packed: String,
}

fn was_made_again(status: &DayStatus) -> Failure {
    let what = format!("the status of {} was made by another writer twice", status.day);
    Failure::new(Hop::MongoDb, Kind::Conflict, what, "the next run goes on")
}

fn day_id(account: &AccountId, day: Day) -> String {
    format!("{account}:{day}")
}

#[async_trait]
impl DayStatusReader for MongoDayStatus {
    async fn statuses(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<Vec<DayStatus>, Failure> {
        let days = first.through(last).count() as u64;
        let store = self.clone();
        let all = move |accounts: Vec<AccountId>| {
            let store = store.clone();
            async move {
                let mut statuses = store.statuses_of(&accounts, first, last).await?;
                statuses.sort_by_key(|status| status.day);
                let named = statuses.into_iter().map(|status| (status.account.clone(), status));
                Ok(in_order(accounts, named))
            }
        };
        self.reads.ask_all((first, last), account.clone(), days, all).await
    }

    async fn statuses_of(
        &self,
        accounts: &[AccountId],
        first: Day,
        last: Day,
    ) -> Result<Vec<DayStatus>, Failure> {
        let of_account = |account: &AccountId| {
            let account = account.clone();
            first.through(last).map(move |day| day_id(&account, day))
        };
        let ids: Vec<String> = accounts.iter().flat_map(of_account).collect();
        let mut all = Vec::new();
        for ids in ids.chunks(IDS_AT_ONCE) {
            let filter = doc! {"_id": {"$in": ids}};
            all.extend(found(&self.days, "reading the status of days", filter).await?);
        }
        Ok(all)
    }

    fn keeps_checkpoints(&self) -> bool {
        true
    }

    async fn checkpoint(&self, account: &AccountId) -> Result<Option<Checkpoint>, Failure> {
        let store = self.clone();
        let all = move |accounts: Vec<AccountId>| {
            let store = store.clone();
            async move {
                let mut read: BTreeMap<AccountId, Checkpoint> =
                    store.checkpoints_of(&accounts).await?.into_iter().collect();
                Ok(accounts.iter().map(|account| read.remove(account)).collect())
            }
        };
        self.checkpoint_reads.ask_all((), account.clone(), STORED_BYTES_MAX as u64, all).await
    }
}

#[async_trait]
impl DayStatusWriter for MongoDayStatus {
    async fn put(&self, status: &DayStatus) -> Result<(), Failure> {
        let document = to_document("writing the status of a day", status)?;
        let update = doc! {
            "q": {"_id": day_id(&status.account, status.day)},
            "u": document,
            "upsert": true,
            "multi": false,
        };
        let put = || self.writes.write(Verb::Update, vec![update.clone()], 1);
        let mut done = put().await?;
        if !done.duplicates.is_empty() {
            // Another process made it in between; now it is there to be replaced.
            done = put().await?;
        }
        match done.duplicates.first() {
            None => Ok(()),
            Some(_) => Err(was_made_again(status)),
        }
    }

    async fn put_checkpoint(
        &self,
        account: &AccountId,
        checkpoint: &Checkpoint,
    ) -> Result<(), Failure> {
        let checkpoint = checkpoint.clone();
        let packed = off_thread("packing a checkpoint", move || checkpoint.encoded()).await?;
        // The one before is of use still, where one with pods is too long and it has none.
        let Some(packed) = packed else { return Ok(()) };
        let put = doc! {
            "q": {"_id": account.as_str()},
            "u": {"packed": packed},
            "upsert": true,
            "multi": false,
        };
        update("keeping a checkpoint", &self.checkpoints, vec![put]).await.map(|_| ())
    }
}
