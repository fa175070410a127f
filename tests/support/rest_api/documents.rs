//! Where the API keeps resource documents.

use std::cmp::Ordering;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use mongodb::bson::{Bson, Document};

/// A collection of documents, as the API uses it.
#[async_trait]
pub(crate) trait Documents: Send + Sync {
    /// All documents of an account with these `cloud_resource_id`s, deleted ones too, in the order
    /// they were made.
    async fn find(&self, account: &str, cloud_resource_ids: &[String]) -> Vec<Document>;

    /// Updates the first document that has the filter's values, or makes one.
    async fn upsert(&self, filter: &Document, update: &Document);
}

/// Documents in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryDocuments(Mutex<Vec<Document>>);

impl MemoryDocuments {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<Document>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Document> {
        self.with(|documents| documents.clone())
    }

    /// Adds one as another writer would.
    pub(crate) fn put(&self, document: Document) {
        self.with(|documents| documents.push(document));
    }
}

#[async_trait]
impl Documents for MemoryDocuments {
    async fn find(&self, account: &str, cloud_resource_ids: &[String]) -> Vec<Document> {
        let is_wanted = |document: &Document| {
            document.get_str("cloud_account_id") == Ok(account)
                && document
                    .get_str("cloud_resource_id")
                    .is_ok_and(|id| cloud_resource_ids.iter().any(|wanted| wanted == id))
        };
        let mut found = self.all();
        found.retain(is_wanted);
        found
    }

    async fn upsert(&self, filter: &Document, update: &Document) {
        self.with(|documents| {
            let fits =
                |d: &&mut Document| filter.iter().all(|(key, value)| d.get(key) == Some(value));
            if let Some(found) = documents.iter_mut().find(fits) {
                apply(found, update, false);
            } else {
                let mut new = filter.clone();
                apply(&mut new, update, true);
                documents.push(new);
            }
        });
    }
}

/// An update, as MongoDB makes it.
fn apply(document: &mut Document, update: &Document, is_insert: bool) {
    for (operator, fields) in update {
        for (key, value) in fields.as_document().unwrap() {
            let stored = document.get(key);
            let is_set = match operator.as_str() {
                "$set" => true,
                "$setOnInsert" => is_insert,
                "$min" => stored.is_none_or(|stored| order(value, stored).is_lt()),
                "$max" => stored.is_none_or(|stored| order(value, stored).is_gt()),
                other => panic!("the operator {other} is not known here"),
            };
            if is_set {
                document.insert(key, value.clone());
            }
        }
    }
}

/// MongoDB's order of values: null, then numbers, then dates.
fn order(one: &Bson, other: &Bson) -> Ordering {
    let rank = |value: &Bson| match value {
        Bson::Null => (0, 0),
        Bson::Int32(number) => (1, i64::from(*number)),
        Bson::Int64(number) => (1, *number),
        Bson::DateTime(date) => (2, date.timestamp_millis()),
        other => panic!("{other} is not ordered here"),
    };
    rank(one).cmp(&rank(other))
}
