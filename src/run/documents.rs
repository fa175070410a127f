//! The documents' part of a day: found or made before its rows, given their costs after them.

use std::collections::{BTreeMap, BTreeSet};

use crate::cost::{Day, RollUp};
use crate::documents::merge::DocumentUpdate;
use crate::documents::repair::{Repair, repair};
use crate::documents::{
    Change, CostSummary, DocumentInputs, LastExpense, ObservedResource, PoolOwner,
    ResourceDocument, SeenNow, StoredResource, merge, plan_changes,
};
use crate::ledger::ResourceTotal;
use crate::rest_api::NewResource;
use crate::service::failure::{Failure, Hop, Kind};

use super::day::{DayWork, DueDay};

impl DayWork<'_> {
    /// Step 2: the `_id` of each resource, and the changes to documents that this takes.
    pub(super) async fn plan_documents(
        &self,
        due: DueDay<'_>,
        now_seconds: i64,
        roll: &RollUp,
    ) -> Result<(BTreeMap<String, String>, Vec<Change>), Failure> {
        let observed = self.observed(roll);
        let resources = &self.environment.resources;
        let wanted: Vec<String> = observed.iter().map(|o| o.cloud_resource_id.clone()).collect();
        let stored = resources.find(&self.account.id, &wanted).await?;
        let known: BTreeSet<&str> = stored.iter().map(|r| r.cloud_resource_id.as_str()).collect();
        let new: Vec<String> =
            wanted.iter().filter(|id| !known.contains(id.as_str())).cloned().collect();
        let taken = self.taken_ids(&new).await?;
        let owner = self.owner(!new.is_empty() || stored.iter().any(|r| !r.has_owner)).await;
        let seen_now = self.seen_now(due, now_seconds, &stored, !new.is_empty()).await?;
        let (mut changes, ids) = plan_changes(DocumentInputs {
            account: &self.account.id,
            day: due.day,
            now_seconds,
            observed: &observed,
            stored: &stored,
            taken: &taken,
            seen_now: seen_now.as_ref(),
            owner: owner.as_ref(),
        });
        changes.extend(self.other_repairs(&stored).await?);
        Ok((ids, changes))
    }

    /// Where a document of version 0.1.0 is met, the account's others of it are repaired too:
    /// those of resources that are gone, and deleted ones, which some readers read all the same.
    async fn other_repairs(&self, met: &[StoredResource]) -> Result<Vec<Change>, Failure> {
        if !met.iter().any(|stored| repair(stored, None, None).is_of_version_0_1_0()) {
            return Ok(Vec::new());
        }
        let met: BTreeSet<&str> = met.iter().map(|stored| stored.id.as_str()).collect();
        let own = self.environment.resources.own_documents(&self.account.id).await?;
        let others = own.iter().filter(|stored| !met.contains(stored.id.as_str()));
        Ok(others.filter_map(repair_alone).collect())
    }

    fn observed(&self, roll: &RollUp) -> Vec<ObservedResource> {
        let one = |line: &crate::cost::CostLine| ObservedResource {
            cloud_resource_id: line.key.id(&self.account.id),
            key: line.key.clone(),
            node: line.node.clone(),
            service: line.service.clone(),
        };
        roll.lines.iter().map(one).collect()
    }

    /// Those `_id`s that new documents would get which other documents have.
    async fn taken_ids(&self, new: &[String]) -> Result<BTreeSet<String>, Failure> {
        let resources = &self.environment.resources;
        let account = &self.account.id;
        let first: BTreeMap<String, &String> = new
            .iter()
            .filter_map(|stable| Some((merge::candidate_ids(account, stable).next()?, stable)))
            .collect();
        let mut taken = resources.taken_ids(&first.keys().cloned().collect::<Vec<_>>()).await?;
        // Hardly ever: a deleted document holds the id, so another one is looked for.
        let others: Vec<String> = taken
            .iter()
            .filter_map(|id| first.get(id))
            .flat_map(|stable| merge::candidate_ids(account, stable))
            .collect();
        taken.extend(resources.taken_ids(&others).await?);
        Ok(taken)
    }

    /// Pool and owner of documents that have neither: as set, else as the REST API has them.
    async fn owner(&self, is_wanted: bool) -> Option<PoolOwner> {
        let settings = &self.environment.resource_settings;
        if let Some(owner) = &settings.owner {
            return Some(owner.clone());
        }
        if !is_wanted || self.request.is_dry {
            return None;
        }
        let owner = self.environment.rest.pool_owner(&self.account.id).await;
        if owner.is_none() {
            self.environment.rest.note_unowned();
        }
        owner
    }

    /// What has a sample right now, for the day that now is in; asked for only where some document
    /// is new or no document was seen within the interval.
    async fn seen_now(
        &self,
        due: DueDay<'_>,
        now_seconds: i64,
        stored: &[StoredResource],
        has_new: bool,
    ) -> Result<Option<SeenNow>, Failure> {
        let interval = self.environment.resource_settings.seen_interval.as_secs();
        let interval_seconds = i64::try_from(interval).unwrap_or(i64::MAX);
        let newest = stored.iter().filter_map(|resource| resource.last_seen).max();
        let is_stale = newest.is_none_or(|seen| seen + interval_seconds <= now_seconds);
        let Some(phase) = due.phase.filter(|_| has_new || is_stale) else { return Ok(None) };
        if due.day != Day::of_unix(now_seconds) || self.request.plan.is_some() {
            return Ok(None);
        }
        let query = &self.environment.query;
        let samples = query.last_samples(self.account, phase, now_seconds).await?;
        let at_seconds = samples.values().copied().min();
        Ok(at_seconds.map(|at_seconds| SeenNow {
            at_seconds,
            keys: samples.into_keys().collect(),
            interval_seconds,
        }))
    }

    /// Step 5: documents, before their expenses. Where the REST API makes new ones, those that it
    /// refuses, or has as deleted, are made in MongoDB, so that no cost is without a document.
    pub(super) async fn write_documents(&self, documents: &[Change]) -> Result<u64, Failure> {
        let Some(lease) = self.lease.filter(|_| !documents.is_empty()) else {
            return Ok(documents.len() as u64);
        };
        lease.keep().await?;
        let by_rest = self.create_by_rest(documents).await;
        let rest: Vec<Change> = documents
            .iter()
            .filter(|change| match change {
                Change::Insert(new) => !by_rest.contains(&new.cloud_resource_id),
                _ => true,
            })
            .cloned()
            .collect();
        let written = self.environment.resources.apply(&self.account.id, &rest).await?;
        Ok(written + by_rest.len() as u64)
    }

    /// Has the REST API make the new documents, if it is to. Returns the stable ids of those that
    /// are live there.
    async fn create_by_rest(&self, documents: &[Change]) -> BTreeSet<String> {
        if !self.environment.resource_settings.by_rest {
            return BTreeSet::new();
        }
        let items: Vec<NewResource> = documents
            .iter()
            .filter_map(|change| match change {
                Change::Insert(document) => Some(new_resource(document)),
                _ => None,
            })
            .collect();
        if items.is_empty() {
            return BTreeSet::new();
        }
        self.environment.rest.create(&self.account.id, &items).await
    }

    /// The ids as they are after the write: where somebody else made a document first, theirs.
    pub(super) async fn settled_ids(
        &self,
        documents: &[Change],
        mut ids: BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let inserted: Vec<String> = documents
            .iter()
            .filter_map(|change| match change {
                Change::Insert(document) => Some(document.cloud_resource_id.clone()),
                _ => None,
            })
            .collect();
        if self.lease.is_none() || inserted.is_empty() {
            return Ok(ids);
        }
        let found = self.environment.resources.find(&self.account.id, &inserted).await?;
        if found.len() < inserted.len() {
            return Err(Failure::new(
                Hop::MongoDb,
                Kind::Conflict,
                format!(
                    "{} documents are missing after they were written",
                    inserted.len() - found.len()
                ),
                "see whether another program deletes resources; the next run goes on",
            ));
        }
        self.complete_made_by_rest(documents, &found).await?;
        ids.extend(found.into_iter().map(|resource| (resource.cloud_resource_id, resource.id)));
        Ok(ids)
    }

    /// The REST API's bulk call refuses `k8s_cluster`, which readers look for, so it is added.
    async fn complete_made_by_rest(
        &self,
        documents: &[Change],
        found: &[StoredResource],
    ) -> Result<(), Failure> {
        let new: BTreeMap<&str, &ResourceDocument> = documents
            .iter()
            .filter_map(|change| match change {
                Change::Insert(new) => Some((new.cloud_resource_id.as_str(), new.as_ref())),
                _ => None,
            })
            .collect();
        let lacking = found.iter().filter(|resource| resource.k8s_cluster.is_none());
        let changes: Vec<Change> = lacking
            .filter_map(|resource| {
                let new = new.get(resource.cloud_resource_id.as_str())?;
                let k8s_cluster = Some(new.k8s_cluster.clone());
                Some(Change::Update(Box::new(DocumentUpdate {
                    id: resource.id.clone(),
                    first_seen: new.first_seen,
                    last_seen: new.last_seen,
                    activate: false,
                    repair: Repair { k8s_cluster, ..Repair::default() },
                })))
            })
            .collect();
        if !changes.is_empty() {
            self.environment.resources.apply(&self.account.id, &changes).await?;
        }
        Ok(())
    }

    /// Brings `total_cost` and `last_expense` of these documents to what the ledger says.
    pub(super) async fn update_costs(&self, ids: &BTreeSet<String>) -> Result<u64, Failure> {
        let ids: Vec<String> = ids.iter().cloned().collect();
        let totals = self.environment.ledger.resource_totals(&self.account.id, &ids).await?;
        let summaries: Vec<CostSummary> = totals.into_iter().map(cost_summary).collect();
        self.environment.resources.set_costs(&self.account.id, &summaries).await
    }

    /// The `_id`s of all documents with stable ids of this program's form, deleted ones included.
    pub(super) async fn all_ids(&self) -> Result<BTreeSet<String>, Failure> {
        let own = self.environment.resources.own_documents(&self.account.id).await?;
        Ok(own.into_iter().map(|resource| resource.id).collect())
    }

    /// MongoDB's side of the reconciliation: over all days, the documents' `total_cost` must sum
    /// to what the ledger has. Where it does not, the documents that differ are found one by one
    /// and put right. Returns by how much they were off, USD.
    pub(super) async fn reconcile_documents(&self) -> Result<f64, Failure> {
        let (account, ledger) = (&self.account.id, &self.environment.ledger);
        let told = self.environment.resources.total_cost(account).await?;
        let (first, last) = (Day::of_unix(0), Day::of_unix(i64::MAX));
        let days = ledger.day_totals(account, first, last).await?;
        let stored: f64 = days.iter().map(|day| day.total_usd).sum();
        if told.to_bits() == (stored + 0.0).to_bits() {
            return Ok(0.0);
        }
        let own = self.environment.resources.own_documents(account).await?;
        let ids: Vec<String> = own.iter().map(|resource| resource.id.clone()).collect();
        let totals = ledger.resource_totals(account, &ids).await?;
        let wrong = wrong_costs(&own, totals);
        let off: f64 = wrong.iter().map(|(_, off)| off.abs()).sum();
        let Some(lease) = self.lease.filter(|_| !wrong.is_empty()) else { return Ok(off) };
        tracing::error!(
            account.id = %account,
            documents = wrong.len(),
            reconciliation_difference_usd = off,
            "documents say another total_cost than the ledger: they are put right"
        );
        lease.keep().await?;
        let summaries: Vec<CostSummary> = wrong.into_iter().map(|(summary, _)| summary).collect();
        self.environment.resources.set_costs(account, &summaries).await?;
        Ok(off)
    }
}

/// A change that repairs a document and moves nothing of it, where it needs one.
pub(crate) fn repair_alone(stored: &StoredResource) -> Option<Change> {
    let repair = repair(stored, None, None);
    if repair.is_empty() {
        return None;
    }
    Some(Change::Update(Box::new(DocumentUpdate {
        id: stored.id.clone(),
        first_seen: stored.first_seen?,
        last_seen: stored.last_seen?,
        activate: false,
        repair,
    })))
}

/// A new document as the REST API takes it: its own form of the same.
fn new_resource(document: &ResourceDocument) -> NewResource {
    NewResource {
        cloud_resource_id: document.cloud_resource_id.clone(),
        name: document.name.clone(),
        resource_type: document.resource_type.clone(),
        region: document.region.clone(),
        tags: BTreeMap::new(),
        service_name: Some(document.service_name.clone()),
        first_seen: document.first_seen,
        last_seen: document.last_seen,
        active: document.active,
        k8s_namespace: document.k8s_namespace.clone(),
        k8s_node: document.k8s_node.clone(),
        k8s_service: document.k8s_service.clone(),
    }
}

/// A resource's costs as its document shall tell them.
pub(crate) fn cost_summary(total: ResourceTotal) -> CostSummary {
    CostSummary {
        id: total.resource_id,
        total_cost: total.total_usd,
        last_expense: total.last.map(|(date, cost)| LastExpense { date, cost }),
    }
}

/// The documents that do not say what the ledger says, and by how much they are off, USD.
pub(crate) fn wrong_costs(
    own: &[StoredResource],
    totals: Vec<ResourceTotal>,
) -> Vec<(CostSummary, f64)> {
    let by_id: BTreeMap<&str, &StoredResource> = own.iter().map(|r| (r.id.as_str(), r)).collect();
    totals
        .into_iter()
        .map(cost_summary)
        .filter_map(|right| {
            let told = by_id.get(right.id.as_str())?;
            let total = told.total_cost.unwrap_or_default();
            let differs = total != right.total_cost || told.last_expense != right.last_expense;
            let off = total - right.total_cost;
            differs.then_some((right, off))
        })
        .collect()
}
