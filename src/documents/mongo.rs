//! Resource documents in MongoDB.
//!
//! Writes go through the `update` command with an array of updates, unordered: every server
//! version has it, while the driver's bulk write wants 8.0.

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document as Bdoc, doc, to_document};
use mongodb::{Collection, Database};

use crate::cost::resource_id::has_own_form;
use crate::cost::{AccountId, Day, Level};
use crate::service::failure::{Failure, Hop, Kind, excerpt};
use crate::stores::mongo::{bounded, indexes, ping};

use super::document::resource_type;
use super::merge::{Touch, midnight};
use super::{Change, CostSummary, Document, LastExpense, ResourceStore, StoredResource};

/// Updates in one command: far below the limit of 100 000, and about 1 MB.
const UPDATES_MAX: usize = 1_000;
/// Ids in one `$in`.
const IDS_MAX: usize = 5_000;
/// The index that keeps a resource from being stored twice; made by `kubecost-worker migrate`.
pub const UNIQUE_INDEX: &str = "OptResourceUnique";
/// MongoDB's code for a second document under a unique key.
const DUPLICATE_KEY: i32 = 11_000;

/// What [`stored`] reads of a document.
const STORED_FIELDS: [&str; 8] = [
    "cloud_resource_id",
    "first_seen",
    "last_seen",
    "_first_seen_date",
    "_last_seen_date",
    "active",
    "total_cost",
    "last_expense",
];
/// Stable ids of our form.
const OWN_FORM: &str = "^k8s-(cluster|ns|pod)-[0-9a-f]{16}$";

/// Documents in a MongoDB collection.
#[derive(Clone, Debug)]
pub struct MongoResources {
    database: Database,
    collection: Collection<Bdoc>,
}

impl MongoResources {
    /// The store in a collection (`cloud_resource`, or `resources` upstream).
    #[must_use]
    pub fn new(database: Database, collection: &str) -> Self {
        let collection = database.collection(collection);
        Self { database, collection }
    }

    fn failure(&self, kind: Kind, what: String, fix: &str) -> Failure {
        let what = format!("collection {}: {what}", self.collection.name());
        Failure::new(Hop::MongoDb, kind, what, fix)
    }

    async fn find_all(&self, filter: Bdoc, fields: &[&str]) -> Result<Vec<Bdoc>, Failure> {
        let collection = self.collection.clone();
        let projection: Bdoc =
            fields.iter().map(|field| ((*field).to_owned(), Bson::Int32(1))).collect();
        bounded("reading resources", async move {
            collection.find(filter).projection(projection).await?.try_collect().await
        })
        .await
    }

    /// Sends one batch of updates; returns how many documents were inserted or changed, and which
    /// updates met a document with the same unique key.
    ///
    /// Callers make updates batch by batch: all of a large account's at once would take more
    /// memory than everything else of a run.
    async fn update(&self, batch: Vec<Bdoc>) -> Result<(u64, Vec<usize>), Failure> {
        let command = doc! {
            "update": self.collection.name(),
            "updates": batch,
            "ordered": false,
        };
        let database = self.database.clone();
        let reply =
            bounded("writing resources", async move { database.run_command(command).await })
                .await?;
        let mut doubled = Vec::new();
        let changed = self.outcome(&reply, &mut doubled)?;
        Ok((changed, doubled))
    }

    fn outcome(&self, reply: &Bdoc, doubled: &mut Vec<usize>) -> Result<u64, Failure> {
        let errors = reply.get_array("writeErrors").map(Vec::as_slice).unwrap_or_default();
        for error in errors.iter().filter_map(Bson::as_document) {
            if int(error.get("code")) == Some(i64::from(DUPLICATE_KEY)) {
                let index = int(error.get("index")).and_then(|index| usize::try_from(index).ok());
                doubled.push(index.unwrap_or(0));
            } else {
                let said = excerpt(error.get_str("errmsg").unwrap_or("no reason given"));
                let what = format!("a write was refused: {said}");
                return Err(self.failure(Kind::BadReply, what, "see MongoDB's log"));
            }
        }
        let upserted = reply.get_array("upserted").map_or(0, Vec::len) as u64;
        let modified = int(reply.get("nModified")).unwrap_or(0);
        Ok(upserted + u64::try_from(modified).unwrap_or(0))
    }

    /// Somebody who made the same document at the same time is no error: theirs is kept. But an
    /// `_id` that another document holds leaves ours unwritten.
    async fn see_twins(
        &self,
        account: &AccountId,
        changes: &[Change],
        doubled: &[usize],
    ) -> Result<(), Failure> {
        let wanted: Vec<String> = doubled
            .iter()
            .filter_map(|index| match changes.get(*index) {
                Some(Change::Insert(document)) => Some(document.cloud_resource_id.clone()),
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

    fn insert(&self, document: &Document) -> Result<Bdoc, Failure> {
        let mut fields = to_document(document).map_err(|error| {
            self.failure(Kind::Internal, format!("a document is no BSON: {error}"), "")
        })?;
        let mut key = Bdoc::new();
        for name in ["cloud_resource_id", "cloud_account_id", "deleted_at"] {
            if let Some(value) = fields.remove(name) {
                key.insert(name, value);
            }
        }
        let mut times = Bdoc::new();
        for name in ["first_seen", "last_seen", "_first_seen_date", "_last_seen_date"] {
            if let Some(value) = fields.remove(name) {
                times.insert(name, value);
            }
        }
        let pick = |names: [&str; 2]| -> Bdoc {
            names
                .iter()
                .filter_map(|n| times.get(n).map(|v| ((*n).to_owned(), v.clone())))
                .collect()
        };
        let change = doc! {
            "$setOnInsert": fields,
            "$min": pick(["first_seen", "_first_seen_date"]),
            "$max": pick(["last_seen", "_last_seen_date"]),
        };
        Ok(doc! { "q": key, "u": change, "upsert": true, "multi": false })
    }
}

fn touch(account: &AccountId, touch: &Touch) -> Bdoc {
    let mut change = doc! {
        "$min": {
            "first_seen": touch.first_seen,
            "_first_seen_date": midnight(touch.first_seen),
        },
        "$max": {
            "last_seen": touch.last_seen,
            "_last_seen_date": midnight(touch.last_seen),
        },
    };
    if touch.activate {
        change.insert("$set", doc! { "active": true });
    }
    let key = doc! { "_id": id_of(&touch.id), "cloud_account_id": account.as_str() };
    doc! { "q": key, "u": change, "multi": false }
}

fn cost_update(account: &AccountId, summary: &CostSummary) -> Bdoc {
    let change = match summary.last_expense {
        Some(last) => {
            let last = doc! { "date": last.date, "cost": last.cost };
            doc! { "$set": { "total_cost": summary.total_cost, "last_expense": last } }
        }
        None => doc! {
            "$set": { "total_cost": summary.total_cost },
            "$unset": { "last_expense": "" },
        },
    };
    let key = doc! { "_id": id_of(&summary.id), "cloud_account_id": account.as_str() };
    doc! { "q": key, "u": change, "multi": false }
}

/// `_id`s are texts; those of other importers may be ObjectIds, which we know by their hex form.
fn id_of(id: &str) -> Bson {
    match mongodb::bson::oid::ObjectId::parse_str(id) {
        Ok(object_id) => Bson::ObjectId(object_id),
        Err(_) => Bson::String(id.to_owned()),
    }
}

fn text_of(id: Option<&Bson>) -> Option<String> {
    match id? {
        Bson::String(text) => Some(text.clone()),
        Bson::ObjectId(object_id) => Some(object_id.to_hex()),
        _ => None,
    }
}

/// A whole number, of whichever of BSON's types a writer chose.
fn int(value: Option<&Bson>) -> Option<i64> {
    match value? {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        #[expect(clippy::cast_possible_truncation, reason = "times and counts")]
        Bson::Double(number) => Some(*number as i64),
        _ => None,
    }
}

fn float(value: Option<&Bson>) -> Option<f64> {
    match value? {
        Bson::Double(number) => Some(*number),
        other => int(Some(other)).map(|number| number as f64),
    }
}

fn stored(found: &Bdoc) -> Option<StoredResource> {
    let last_expense = found.get_document("last_expense").ok().and_then(|last| {
        Some(LastExpense { date: int(last.get("date"))?, cost: float(last.get("cost"))? })
    });
    Some(StoredResource {
        id: text_of(found.get("_id"))?,
        cloud_resource_id: found.get_str("cloud_resource_id").ok()?.to_owned(),
        first_seen: int(found.get("first_seen")),
        last_seen: int(found.get("last_seen")),
        first_seen_date: int(found.get("_first_seen_date")),
        last_seen_date: int(found.get("_last_seen_date")),
        active: found.get_bool("active").ok(),
        total_cost: float(found.get("total_cost")),
        last_expense,
    })
}

/// Documents of ours, deleted ones included.
fn own_of(account: &AccountId) -> Bdoc {
    doc! {
        "cloud_account_id": account.as_str(),
        "cloud_resource_id": { "$regex": OWN_FORM },
    }
}

fn in_list(ids: &[String]) -> Bdoc {
    doc! { "$in": ids.iter().map(|id| id_of(id)).collect::<Vec<_>>() }
}

#[async_trait]
impl ResourceStore for MongoResources {
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
        let mut out = Vec::with_capacity(cloud_resource_ids.len());
        for ids in cloud_resource_ids.chunks(IDS_MAX) {
            let filter = doc! {
                "cloud_resource_id": { "$in": ids },
                "cloud_account_id": account.as_str(),
                "deleted_at": 0,
            };
            for found in self.find_all(filter, &STORED_FIELDS).await? {
                out.push(stored(&found).ok_or_else(|| {
                    let what =
                        format!("a document has an _id of another type: {:?}", found.get("_id"));
                    self.failure(Kind::BadData, what, "give it a text as its _id")
                })?);
            }
        }
        Ok(out)
    }

    async fn taken_ids(&self, ids: &[String]) -> Result<BTreeSet<String>, Failure> {
        let mut out = BTreeSet::new();
        for ids in ids.chunks(IDS_MAX) {
            let found = self.find_all(doc! { "_id": in_list(ids) }, &["_id"]).await?;
            out.extend(found.iter().filter_map(|document| text_of(document.get("_id"))));
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
            for found in self.find_all(filter, &["cloud_resource_id"]).await? {
                let is_own = found.get_str("cloud_resource_id").is_ok_and(has_own_form);
                out.extend(text_of(found.get("_id")).filter(|_| is_own));
            }
        }
        Ok(out)
    }

    async fn own_documents(&self, account: &AccountId) -> Result<Vec<StoredResource>, Failure> {
        let found = self.find_all(own_of(account), &STORED_FIELDS).await?;
        Ok(found.iter().filter_map(stored).collect())
    }

    async fn total_cost(&self, account: &AccountId) -> Result<f64, Failure> {
        let sum = doc! { "_id": null, "total": { "$sum": "$total_cost" } };
        let pipeline = vec![doc! { "$match": own_of(account) }, doc! { "$group": sum }];
        let collection = self.collection.clone();
        let found: Vec<Bdoc> = bounded("adding up resources", async move {
            collection.aggregate(pipeline).await?.try_collect().await
        })
        .await?;
        Ok(found.first().and_then(|sum| float(sum.get("total"))).unwrap_or_default() + 0.0)
    }

    async fn apply(&self, account: &AccountId, changes: &[Change]) -> Result<u64, Failure> {
        let mut changed = 0;
        for batch in changes.chunks(UPDATES_MAX) {
            let updates: Result<Vec<_>, _> = batch
                .iter()
                .map(|change| match change {
                    Change::Insert(document) => self.insert(document),
                    Change::Touch(times) => Ok(touch(account, times)),
                })
                .collect();
            let (of_batch, doubled) = self.update(updates?).await?;
            changed += of_batch;
            self.see_twins(account, batch, &doubled).await?;
        }
        Ok(changed)
    }

    async fn set_costs(
        &self,
        account: &AccountId,
        summaries: &[CostSummary],
    ) -> Result<u64, Failure> {
        let mut changed = 0;
        for batch in summaries.chunks(UPDATES_MAX) {
            let updates = batch.iter().map(|summary| cost_update(account, summary)).collect();
            changed += self.update(updates).await?.0;
        }
        Ok(changed)
    }

    async fn retire(&self, account: &AccountId, last_seen_before: Day) -> Result<u64, Failure> {
        let types: Vec<_> = Level::ALL.into_iter().map(resource_type).collect();
        let key = doc! {
            "cloud_account_id": account.as_str(),
            "deleted_at": 0,
            "active": true,
            "resource_type": { "$in": types },
            "cloud_resource_id": { "$regex": OWN_FORM },
            "_last_seen_date": { "$lt": last_seen_before.start_seconds() },
        };
        let change = doc! { "$set": { "active": false } };
        let updates = vec![doc! { "q": key, "u": change, "multi": true }];
        self.update(updates).await.map(|(changed, _)| changed)
    }
}
