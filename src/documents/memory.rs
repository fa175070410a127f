//! The documents in memory: the twin of the real store, for tests of everything around it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::cost::resource_id::has_own_form;
use crate::cost::{AccountId, Day};
use crate::service::failure::{Failure, Hop, Kind};

use super::merge::{Touch, midnight};
use super::{Change, CostSummary, Document, LastExpense, ResourceStore, StoredResource};

/// A store that forgets when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryResources {
    documents: Mutex<BTreeMap<String, (Document, Option<LastExpense>)>>,
}

impl MemoryResources {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Document, Option<LastExpense>)>> {
        self.documents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of all documents, in the order of their ids.
    #[must_use]
    pub fn documents(&self) -> Vec<Document> {
        self.lock().values().map(|(document, _)| document.clone()).collect()
    }

    /// Adds a document as another writer would.
    pub fn plant(&self, document: Document) {
        self.lock().insert(document.id.clone(), (document, None));
    }
}

fn is_live(document: &Document, account: &AccountId) -> bool {
    document.deleted_at == 0 && document.cloud_account_id == *account
}

fn stored((document, last_expense): &(Document, Option<LastExpense>)) -> StoredResource {
    StoredResource {
        id: document.id.clone(),
        cloud_resource_id: document.cloud_resource_id.clone(),
        first_seen: Some(document.first_seen),
        last_seen: Some(document.last_seen),
        first_seen_date: Some(document.first_seen_date),
        last_seen_date: Some(document.last_seen_date),
        active: Some(document.active),
        total_cost: Some(document.total_cost),
        last_expense: *last_expense,
    }
}

/// Moves a document's times; whether anything changed.
fn touch(document: &mut Document, touch: &Touch) -> bool {
    let before = document.clone();
    document.first_seen = document.first_seen.min(touch.first_seen);
    document.last_seen = document.last_seen.max(touch.last_seen);
    document.first_seen_date = document.first_seen_date.min(midnight(touch.first_seen));
    document.last_seen_date = document.last_seen_date.max(midnight(touch.last_seen));
    document.active |= touch.activate;
    *document != before
}

#[async_trait]
impl ResourceStore for MemoryResources {
    async fn check(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn find(
        &self,
        account: &AccountId,
        cloud_resource_ids: &[String],
    ) -> Result<Vec<StoredResource>, Failure> {
        let wanted: BTreeSet<&String> = cloud_resource_ids.iter().collect();
        let documents = self.lock();
        let found = documents.values().filter(|(document, _)| {
            is_live(document, account) && wanted.contains(&document.cloud_resource_id)
        });
        Ok(found.map(stored).collect())
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
        let own = ids.iter().filter(|id| {
            documents.get(*id).is_some_and(|(document, _)| {
                document.cloud_account_id == *account && has_own_form(&document.cloud_resource_id)
            })
        });
        Ok(own.cloned().collect())
    }

    async fn own_documents(&self, account: &AccountId) -> Result<Vec<StoredResource>, Failure> {
        let documents = self.lock();
        let own = documents.values().filter(|(document, _)| {
            document.cloud_account_id == *account && has_own_form(&document.cloud_resource_id)
        });
        Ok(own.map(stored).collect())
    }

    async fn total_cost(&self, account: &AccountId) -> Result<f64, Failure> {
        let own = self.own_documents(account).await?;
        Ok(own.iter().filter_map(|resource| resource.total_cost).sum::<f64>() + 0.0)
    }

    async fn apply(&self, account: &AccountId, changes: &[Change]) -> Result<u64, Failure> {
        let mut documents = self.lock();
        let mut changed = 0;
        for change in changes {
            match change {
                Change::Insert(new) => {
                    let exists = documents.values().any(|(document, _)| {
                        is_live(document, account)
                            && document.cloud_resource_id == new.cloud_resource_id
                    });
                    if exists {
                        continue;
                    }
                    if documents.contains_key(&new.id) {
                        let what = format!("writing documents: another one has the _id {}", new.id);
                        return Err(Failure::new(Hop::MongoDb, Kind::Conflict, what, "run again"));
                    }
                    documents.insert(new.id.clone(), (new.as_ref().clone(), None));
                    changed += 1;
                }
                Change::Touch(times) => {
                    if let Some((document, _)) = documents.get_mut(&times.id) {
                        changed += u64::from(touch(document, times));
                    }
                }
            }
        }
        Ok(changed)
    }

    async fn set_costs(
        &self,
        _account: &AccountId,
        summaries: &[CostSummary],
    ) -> Result<u64, Failure> {
        let mut documents = self.lock();
        let mut changed = 0;
        for summary in summaries {
            if let Some((document, last_expense)) = documents.get_mut(&summary.id)
                && (document.total_cost, *last_expense)
                    != (summary.total_cost, summary.last_expense)
            {
                document.total_cost = summary.total_cost;
                *last_expense = summary.last_expense;
                changed += 1;
            }
        }
        Ok(changed)
    }

    async fn retire(&self, account: &AccountId, last_seen_before: Day) -> Result<u64, Failure> {
        let mut retired = 0;
        for (document, _) in self.lock().values_mut() {
            let unseen = document.last_seen_date < last_seen_before.start_seconds();
            let ours = has_own_form(&document.cloud_resource_id);
            if is_live(document, account) && ours && unseen && document.active {
                document.active = false;
                retired += 1;
            }
        }
        Ok(retired)
    }
}
