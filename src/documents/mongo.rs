//! Resource documents in MongoDB.
//!
//! Writes go through the commands `insert` and `update` with many elements, unordered, and reads by
//! `$in`: those of accounts that are worked on side by side go together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document as Bdoc, doc};
use mongodb::{Collection, Database};
use tokio::sync::Semaphore;

use crate::cost::{AccountId, Day};
use crate::service::batcher::{BatchLimits, Batcher};
use crate::service::failure::{Failure, Hop, Kind};
use crate::stores::mongo::{bounded, indexes, ping};
use crate::stores::mongo_bulk::{BulkWrites, UPDATES_MAX};
use crate::stores::mongo_update::{Updated, Verb, update};

use super::bson_form::{self, STORED_FIELDS, UpdateStatement, id_text, in_list, number, stored};
use super::collection::COLLECTIONS;
use super::earlier::{EARLIER_FORM, is_earlier, is_own};
use super::{Change, CostSummary, DocumentReader, DocumentWriter, StoredResource, Written};

/// How many documents a reply may hold: all of an `$in`, else a server sends 101 first.
const BATCH_DOCUMENTS: u32 = 2_000;
/// Ids in one `$in`.
const IDS_MAX: usize = BATCH_DOCUMENTS as usize;
/// How many reads are under way at a time.
const READS_AT_ONCE: usize = 4;
const READ_LIMITS: BatchLimits = BatchLimits::of_reads(500, IDS_MAX as u64);
/// The index that keeps a resource from being stored twice; made by `kubecost-worker migrate`.
pub const UNIQUE_INDEX: &str = "OptResourceUnique";
/// The field with the account.
const ACCOUNT_FIELD: &str = "cloud_account_id";
/// Stable ids of this program's form.
pub(crate) const OWN_FORM: &str = "^k8s-(cluster|node|ns|pod)-[0-9a-f]{16}$";

/// Reads of accounts that go together.
type Reads<Q, A> = Arc<Batcher<(), Q, Result<A, Failure>>>;

/// Documents in a MongoDB collection.
#[derive(Clone, Debug)]
pub struct MongoResources {
    database: Database,
    collection: Collection<Bdoc>,
    writes: BulkWrites,
    finds: Reads<(AccountId, Vec<String>), Vec<StoredResource>>,
    takens: Reads<Vec<String>, BTreeSet<String>>,
}

impl MongoResources {
    /// The store in a collection (`cloud_resource`, or `resources` upstream).
    #[must_use]
    pub fn new(database: Database, collection: &str) -> Self {
        let collection: Collection<Bdoc> = database.collection(collection);
        let writes = BulkWrites::new("writing resources", collection.clone());
        let places = Arc::new(Semaphore::new(READS_AT_ONCE));
        let finds = Arc::new(Batcher::new(Arc::clone(&places), READ_LIMITS));
        let takens = Arc::new(Batcher::new(places, READ_LIMITS));
        Self { database, collection, writes, finds, takens }
    }

    fn failure(&self, kind: Kind, what: String, fix: &str) -> Failure {
        let what = format!("collection {}: {what}", self.collection.name());
        Failure::new(Hop::MongoDb, kind, what, fix)
    }

    pub(super) async fn find_all(
        &self,
        filter: Bdoc,
        fields: &[&str],
    ) -> Result<Vec<Bdoc>, Failure> {
        let collection = self.collection.clone();
        let projection: Bdoc =
            fields.iter().map(|field| ((*field).to_owned(), Bson::Int32(1))).collect();
        bounded("reading resources", async move {
            let found = collection.find(filter).projection(projection).batch_size(BATCH_DOCUMENTS);
            found.await?.try_collect().await
        })
        .await
    }

    /// The live documents of accounts with these stable ids, of each account in their order.
    async fn find_of(
        &self,
        asked: Vec<(AccountId, Vec<String>)>,
    ) -> Result<Vec<Vec<StoredResource>>, Failure> {
        let mut places: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
        for (index, (account, ids)) in asked.iter().enumerate() {
            for id in ids {
                places.entry((account.as_str(), id.as_str())).or_default().push(index);
            }
        }
        let accounts: BTreeSet<&str> = asked.iter().map(|(one, _)| one.as_str()).collect();
        let accounts: Vec<&str> = accounts.into_iter().collect();
        let ids: Vec<&str> = places.keys().map(|(_, id)| *id).collect();
        let fields: Vec<&str> = STORED_FIELDS.into_iter().chain([ACCOUNT_FIELD]).collect();
        let mut out = vec![Vec::new(); asked.len()];
        for ids in ids.chunks(IDS_MAX) {
            let filter = doc! {
                "cloud_resource_id": { "$in": ids },
                ACCOUNT_FIELD: { "$in": &accounts },
                "deleted_at": 0,
            };
            for found in self.find_all(filter, &fields).await? {
                let one = stored(&found).ok_or_else(|| {
                    let what =
                        format!("a document has an _id of another type: {:?}", found.get("_id"));
                    self.failure(Kind::BadData, what, "give it a text as its _id")
                })?;
                let account = found.get_str(ACCOUNT_FIELD).unwrap_or_default();
                let key = (account, one.cloud_resource_id.as_str());
                for place in places.get(&key).into_iter().flatten() {
                    out[*place].push(one.clone());
                }
            }
        }
        Ok(out)
    }

    async fn taken_of(&self, ids: &[String]) -> Result<BTreeSet<String>, Failure> {
        let mut out = BTreeSet::new();
        for ids in ids.chunks(IDS_MAX) {
            let found = self.find_all(doc! { "_id": in_list(ids) }, &["_id"]).await?;
            out.extend(found.iter().filter_map(|document| id_text(document.get("_id"))));
        }
        Ok(out)
    }

    /// Somebody who made the same document at the same time is no error: theirs is kept. But an
    /// `_id` that another document holds leaves ours unwritten.
    async fn reject_id_collisions(
        &self,
        account: &AccountId,
        changes: &[&Change],
        duplicates: &[usize],
    ) -> Result<(), Failure> {
        let wanted: Vec<String> = duplicates
            .iter()
            .filter_map(|index| match changes.get(*index) {
                Some(Change::Insert(new)) => Some(new.document.cloud_resource_id.clone()),
                _ => None,
            })
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let found = self.find(account, &wanted).await?;
        let known: BTreeSet<&str> = found.iter().map(|r| r.cloud_resource_id.as_str()).collect();
        match wanted.iter().find(|id| !known.contains(id.as_str())) {
            None => Ok(()),
            Some(id) => {
                let what = format!("another document has the _id of {id}");
                Err(self.failure(Kind::Conflict, what, "run again: another _id is taken then"))
            }
        }
    }

    /// Inserts new documents: a server does that several times faster than it upserts them. Those
    /// whose stable id or `_id` is taken are among the duplicates.
    async fn insert(&self, inserts: &[&Change]) -> Result<Updated, Failure> {
        if inserts.is_empty() {
            return Ok(Updated::default());
        }
        let document = |change: &&Change| match change {
            Change::Insert(new) => Some(bson_form::new_document(new)),
            _ => None,
        };
        let documents: Result<Vec<Bdoc>, String> = inserts.iter().filter_map(document).collect();
        let documents = documents.map_err(|error| self.no_form(&error))?;
        self.writes.write(Verb::Insert, documents, inserts.len() as u64).await
    }

    /// Carries out changes by updates. Returns how many documents changed.
    async fn update(&self, account: &AccountId, changes: &[&Change]) -> Result<u64, Failure> {
        let (mut updates, mut sources) = (Vec::new(), Vec::new());
        let mut documents = 0;
        for change in changes {
            documents += change.documents();
            for statement in self.statements(account, change)? {
                updates.push(statement.into_element());
                sources.push(*change);
            }
        }
        if updates.is_empty() {
            return Ok(0);
        }
        let updated = self.writes.write(Verb::Update, updates, documents).await?;
        self.reject_id_collisions(account, &sources, &updated.duplicates).await?;
        Ok(updated.changed)
    }

    fn no_form(&self, error: &str) -> Failure {
        let what = format!("a document has no form in MongoDB's types: {error}");
        self.failure(Kind::Internal, what, "report it")
    }

    /// The updates that a change takes.
    fn statements(
        &self,
        account: &AccountId,
        change: &Change,
    ) -> Result<Vec<UpdateStatement>, Failure> {
        Ok(match change {
            Change::Insert(new) => vec![bson_form::insert(new).map_err(|e| self.no_form(&e))?],
            Change::Update(update) => vec![bson_form::update(account, update)],
            Change::Adopt(update) => vec![bson_form::adopt(account, update)],
            Change::Delete(update) => vec![bson_form::delete(account, update)],
            Change::Seen(update) => {
                let of_ids = |ids: &[String]| bson_form::seen(account, ids, update);
                update.ids.chunks(IDS_MAX).map(of_ids).collect()
            }
        })
    }
}

/// The documents of an account whose stable ids are of this program's form, deleted ones included,
/// and few others, which callers leave out or bear. Ids of pods, nodes and clusters are told by their
/// order: a regular expression on each of an account's pods takes a server longer than all else.
fn own_of(account: &AccountId) -> Bdoc {
    let digits =
        |kind: &str| doc! { "$gte": format!("k8s-{kind}-0"), "$lt": format!("k8s-{kind}-g") };
    let mut of_namespaces = digits("ns");
    of_namespaces.insert("$regex", OWN_FORM);
    let by_order = ["pod", "node", "cluster"].map(digits).into_iter();
    let all = by_order.chain([of_namespaces]).map(|ids| doc! { "cloud_resource_id": ids });
    doc! { "cloud_account_id": account.as_str(), "$or": all.collect::<Vec<_>>() }
}

#[async_trait]
impl DocumentReader for MongoResources {
    async fn check(&self) -> Result<(), Failure> {
        ping(&self.database).await?;
        let fix = "run kubecost-worker migrate";
        let lacks = || self.failure(Kind::Schema, format!("no unique index {UNIQUE_INDEX}"), fix);
        let listed = indexes(&self.collection).await?;
        let fits = listed.iter().any(|index| {
            let is_unique = index.options.as_ref().and_then(|o| o.unique).unwrap_or(false);
            let keys = &index.keys;
            is_unique
                && keys.contains_key("cloud_resource_id")
                && keys.contains_key("cloud_account_id")
        });
        if fits { Ok(()) } else { Err(lacks()) }
    }

    async fn find(
        &self,
        account: &AccountId,
        cloud_resource_ids: &[String],
    ) -> Result<Vec<StoredResource>, Failure> {
        if cloud_resource_ids.is_empty() {
            return Ok(Vec::new());
        }
        let store = self.clone();
        let all = move |asked| {
            let store = store.clone();
            async move { store.find_of(asked).await }
        };
        let weight = cloud_resource_ids.len() as u64;
        let question = (account.clone(), cloud_resource_ids.to_vec());
        self.finds.ask_all((), question, weight, all).await
    }

    async fn taken_ids(&self, ids: &[String]) -> Result<BTreeSet<String>, Failure> {
        if ids.is_empty() {
            return Ok(BTreeSet::new());
        }
        let store = self.clone();
        let all = move |asked: Vec<Vec<String>>| {
            let store = store.clone();
            async move {
                let taken = store.taken_of(&asked.concat()).await?;
                let of = |ids: &Vec<String>| -> BTreeSet<String> {
                    ids.iter().filter(|id| taken.contains(*id)).cloned().collect()
                };
                Ok(asked.iter().map(of).collect())
            }
        };
        self.takens.ask_all((), ids.to_vec(), ids.len() as u64, all).await
    }

    async fn known_ids(&self, ids: &[String]) -> Result<BTreeSet<String>, Failure> {
        let mut out = self.taken_ids(ids).await?;
        // One that does not exist has no documents.
        for name in COLLECTIONS.into_iter().filter(|name| *name != self.collection.name()) {
            let other = Self::new(self.database.clone(), name);
            out.extend(other.taken_of(ids).await?);
        }
        Ok(out)
    }

    async fn own_ids(
        &self,
        account: &AccountId,
        ids: &[String],
    ) -> Result<BTreeSet<String>, Failure> {
        let mut out = BTreeSet::new();
        for ids in ids.chunks(IDS_MAX) {
            let filter = doc! {
                "_id": in_list(ids),
                "cloud_account_id": account.as_str(),
            };
            let fields = ["cloud_resource_id", "k8s_namespace", "meta"];
            let found = self.find_all(filter, &fields).await?;
            let own = found.iter().filter_map(stored).filter(is_own);
            out.extend(own.map(|stored| stored.id));
        }
        Ok(out)
    }

    async fn own_documents(&self, account: &AccountId) -> Result<Vec<StoredResource>, Failure> {
        let found = self.find_all(own_of(account), &STORED_FIELDS).await?;
        Ok(found.iter().filter_map(stored).filter(is_own).collect())
    }

    async fn earlier_documents(&self, account: &AccountId) -> Result<Vec<StoredResource>, Failure> {
        let filter = doc! {
            "cloud_account_id": account.as_str(),
            "cloud_resource_id": { "$regex": EARLIER_FORM },
            "deleted_at": 0,
        };
        let found = self.find_all(filter, &STORED_FIELDS).await?;
        Ok(found.iter().filter_map(stored).filter(is_earlier).collect())
    }

    async fn total_cost(&self, account: &AccountId) -> Result<f64, Failure> {
        let sum = doc! { "_id": null, "total": { "$sum": "$total_cost" } };
        let pipeline = vec![doc! { "$match": own_of(account) }, doc! { "$group": sum }];
        let collection = self.collection.clone();
        let found: Vec<Bdoc> = bounded("adding up resources", async move {
            collection.aggregate(pipeline).await?.try_collect().await
        })
        .await?;
        Ok(found.first().and_then(|sum| number(sum.get("total"))).unwrap_or_default() + 0.0)
    }
}

#[async_trait]
impl DocumentWriter for MongoResources {
    async fn apply(&self, account: &AccountId, changes: &[Change]) -> Result<Written, Failure> {
        let mut written = Written::default();
        for batch in changes.chunks(UPDATES_MAX) {
            let (inserts, mut left): (Vec<&Change>, Vec<&Change>) =
                batch.iter().partition(|change| matches!(change, Change::Insert(_)));
            let inserted = match self.insert(&inserts).await {
                Err(failure) if !failure.says_nothing_was_written() => return Err(failure),
                outcome => outcome,
            };
            let taken = inserted.iter().flat_map(|done| &done.duplicates);
            left.extend(taken.filter_map(|index| inserts.get(*index)));
            // What is refused of the new ones holds up none of the others.
            written.changed += self.update(account, &left).await?;
            let inserted = inserted?.changed;
            written.inserted += inserted;
            written.changed += inserted;
        }
        Ok(written)
    }

    async fn set_costs(
        &self,
        account: &AccountId,
        summaries: &[CostSummary],
    ) -> Result<u64, Failure> {
        let mut changed = 0;
        for batch in summaries.chunks(UPDATES_MAX) {
            let updates = batch.iter().map(|one| bson_form::costs(account, one).into_element());
            let updated = self.writes.write(Verb::Update, updates, batch.len() as u64).await?;
            changed += updated.changed;
        }
        Ok(changed)
    }

    async fn retire(&self, account: &AccountId, last_seen_before: Day) -> Result<u64, Failure> {
        let statement = bson_form::retire(account, OWN_FORM, last_seen_before);
        // How many these are is not known before, so that they are not written with others'.
        let updates = vec![statement.into_element()];
        let updated = update("writing resources", &self.collection, updates).await?;
        Ok(updated.changed)
    }
}
