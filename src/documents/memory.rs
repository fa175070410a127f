//! The documents in memory, under the same contract as the real store: it holds documents in
//! MongoDB's types and carries the real store's updates out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use mongodb::bson::{Bson, Document as Bdoc};

use crate::cost::resource_id::has_own_form;
use crate::cost::{AccountId, Day};
use crate::service::failure::{Failure, Hop, Kind};

use super::bson_form::{self, UpdateStatement, id_text, stored};
use super::earlier::{is_earlier, is_own};
use super::memory_update::{apply_change, matches};
use super::mongo::OWN_FORM;
use super::{
    Change, CostSummary, DocumentReader, DocumentWriter, ResourceDocument, StoredResource, Written,
};

/// A store that forgets when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryResources {
    /// By `_id`.
    documents: Mutex<BTreeMap<String, Bdoc>>,
}

impl MemoryResources {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Bdoc>> {
        self.documents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of all documents, in the order of their ids.
    #[must_use]
    pub fn documents(&self) -> Vec<Bdoc> {
        self.lock().values().cloned().collect()
    }

    /// Writes a document in the place of the one with its `_id`, as another writer would.
    pub fn insert_raw(&self, document: Bdoc) {
        if let Some(id) = id_text(document.get("_id")) {
            self.lock().insert(id, document);
        }
    }

    /// The same for a document of this program's form.
    ///
    /// # Errors
    /// When it has no form in MongoDB's types.
    pub fn insert_document(&self, document: &ResourceDocument) -> Result<(), String> {
        self.insert_raw(bson_form::to_bson(document)?);
        Ok(())
    }

    fn own(&self, account: &AccountId) -> Vec<StoredResource> {
        let documents = self.lock();
        let of_account = documents.values().filter(|document| is_of(document, account));
        of_account.filter_map(stored).filter(is_own).collect()
    }
}

fn is_of(document: &Bdoc, account: &AccountId) -> bool {
    document.get_str("cloud_account_id") == Ok(account.as_str())
}

fn is_live(document: &Bdoc, account: &AccountId) -> bool {
    is_of(document, account) && bson_form::whole(document.get("deleted_at")) == Some(0)
}

/// Carries one statement out; returns how many documents were inserted or changed.
fn execute(
    documents: &mut BTreeMap<String, Bdoc>,
    statement: &UpdateStatement,
) -> Result<u64, Failure> {
    if let Some(Bson::String(id)) = statement.filter.get("_id") {
        let found = documents.get_mut(id).filter(|one| matches(&statement.filter, one));
        let Some(found) = found else { return Ok(0) };
        return Ok(u64::from(apply_change(&statement.change, found, false)?));
    }
    let mut changed = 0;
    let mut is_found = false;
    for document in documents.values_mut().filter(|one| matches(&statement.filter, one)) {
        is_found = true;
        changed += u64::from(apply_change(&statement.change, document, false)?);
        if !statement.is_multi {
            break;
        }
    }
    if is_found || !statement.is_upsert {
        return Ok(changed);
    }
    let mut new = statement.filter.clone();
    apply_change(&statement.change, &mut new, true)?;
    let id = id_text(new.get("_id")).unwrap_or_default();
    if documents.contains_key(&id) {
        let what = format!("writing documents: another one has the _id {id}");
        return Err(Failure::new(Hop::MongoDb, Kind::Conflict, what, "run again"));
    }
    documents.insert(id, new);
    Ok(1)
}

fn statement(account: &AccountId, change: &Change) -> Result<UpdateStatement, Failure> {
    match change {
        Change::Insert(new) => bson_form::insert(new)
            .map_err(|error| Failure::new(Hop::MongoDb, Kind::Internal, error, "report it")),
        Change::Update(update) => Ok(bson_form::update(account, update)),
        Change::Seen(update) => Ok(bson_form::seen(account, &update.ids, update)),
        Change::Adopt(update) => Ok(bson_form::adopt(account, update)),
        Change::Delete(update) => Ok(bson_form::delete(account, update)),
    }
}

#[async_trait]
impl DocumentReader for MemoryResources {
    async fn check(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn find(
        &self,
        account: &AccountId,
        cloud_resource_ids: &[String],
    ) -> Result<Vec<StoredResource>, Failure> {
        let wanted: BTreeSet<&str> = cloud_resource_ids.iter().map(String::as_str).collect();
        let documents = self.lock();
        let is_wanted = |document: &&Bdoc| {
            document.get_str("cloud_resource_id").is_ok_and(|id| wanted.contains(id))
        };
        let live = documents.values().filter(is_wanted).filter(|one| is_live(one, account));
        Ok(live.filter_map(stored).collect())
    }

    async fn taken_ids(&self, ids: &[String]) -> Result<BTreeSet<String>, Failure> {
        let documents = self.lock();
        Ok(ids.iter().filter(|id| documents.contains_key(*id)).cloned().collect())
    }

    async fn own_ids(
        &self,
        account: &AccountId,
        ids: &[String],
    ) -> Result<BTreeSet<String>, Failure> {
        let documents = self.lock();
        let is_of_us = |document: &Bdoc| {
            is_of(document, account) && stored(document).is_some_and(|stored| is_own(&stored))
        };
        let own = ids.iter().filter(|id| documents.get(*id).is_some_and(is_of_us));
        Ok(own.cloned().collect())
    }

    async fn own_documents(&self, account: &AccountId) -> Result<Vec<StoredResource>, Failure> {
        Ok(self.own(account))
    }

    async fn earlier_documents(&self, account: &AccountId) -> Result<Vec<StoredResource>, Failure> {
        let documents = self.lock();
        let live = documents.values().filter(|one| is_live(one, account));
        Ok(live.filter_map(stored).filter(is_earlier).collect())
    }

    async fn total_cost(&self, account: &AccountId) -> Result<f64, Failure> {
        let documents = self.lock();
        let own = documents
            .values()
            .filter(|one| is_of(one, account))
            .filter(|one| one.get_str("cloud_resource_id").is_ok_and(has_own_form));
        let costs = own.filter_map(|one| bson_form::number(one.get("total_cost")));
        Ok(costs.sum::<f64>() + 0.0)
    }
}

#[async_trait]
impl DocumentWriter for MemoryResources {
    async fn apply(&self, account: &AccountId, changes: &[Change]) -> Result<Written, Failure> {
        let mut documents = self.lock();
        let mut written = Written::default();
        for change in changes {
            let count = documents.len();
            written.changed += execute(&mut documents, &statement(account, change)?)?;
            // No other change adds a document.
            written.inserted += (documents.len() - count) as u64;
        }
        Ok(written)
    }

    async fn set_costs(
        &self,
        account: &AccountId,
        summaries: &[CostSummary],
    ) -> Result<u64, Failure> {
        let mut documents = self.lock();
        let mut changed = 0;
        for summary in summaries {
            changed += execute(&mut documents, &bson_form::costs(account, summary))?;
        }
        Ok(changed)
    }

    async fn retire(&self, account: &AccountId, last_seen_before: Day) -> Result<u64, Failure> {
        let mut statement = bson_form::retire(account, OWN_FORM, last_seen_before);
        // A regular expression is no part of the operators that the store in memory knows.
        statement.filter.remove("cloud_resource_id");
        let mut documents = self.lock();
        let mut retired = 0;
        for document in documents.values_mut() {
            let is_own = document.get_str("cloud_resource_id").is_ok_and(has_own_form);
            if is_own && matches(&statement.filter, document) {
                retired += u64::from(apply_change(&statement.change, document, false)?);
            }
        }
        Ok(retired)
    }
}

/// The `total_cost` of each document, by `_id`.
#[must_use]
pub fn total_costs(documents: &[Bdoc]) -> BTreeMap<String, f64> {
    let one = |document: &Bdoc| {
        let cost = document.get("total_cost").cloned().unwrap_or(Bson::Double(0.0));
        Some((id_text(document.get("_id"))?, bson_form::number(Some(&cost))?))
    };
    documents.iter().filter_map(one).collect()
}
