//! The documents' part of a day: found or made before its rows, given their costs after them.

use std::collections::{BTreeMap, BTreeSet};

use crate::cost::{Day, RollUp};
use crate::documents::{
    Change, CostSummary, LastExpense, Sighting, StoredResource, merge, plan_changes,
};
use crate::ledger::ResourceTotal;
use crate::service::failure::{Failure, Hop, Kind};

use super::day::DayWork;

impl DayWork<'_> {
    /// Step 2: the `_id` of each resource, and the changes to documents that this takes.
    pub(super) async fn plan_documents(
        &self,
        day: Day,
        now_seconds: i64,
        roll: &RollUp,
    ) -> Result<(BTreeMap<String, String>, Vec<Change>), Failure> {
        let sightings: Vec<Sighting> = roll
            .lines
            .iter()
            .map(|line| Sighting {
                cloud_resource_id: line.key.id(&self.account.id),
                key: line.key.clone(),
                node: line.node.clone(),
                service: line.service.clone(),
            })
            .collect();
        let resources = &self.environment.resources;
        let wanted: Vec<String> = sightings.iter().map(|s| s.cloud_resource_id.clone()).collect();
        let stored = resources.find(&self.account.id, &wanted).await?;
        let known: BTreeSet<&str> = stored.iter().map(|r| r.cloud_resource_id.as_str()).collect();
        let new = wanted.iter().filter(|id| !known.contains(id.as_str())).cloned();
        let mut taken = resources.taken_ids(&new.collect::<Vec<_>>()).await?;
        // Hardly ever: a deleted document holds the id, so another one is looked for.
        let others: Vec<String> = taken.iter().flat_map(|id| merge::candidate_ids(id)).collect();
        taken.extend(resources.taken_ids(&others).await?);
        let (changes, ids) =
            plan_changes(&self.account.id, day, now_seconds, &sightings, &stored, &taken);
        Ok((ids, changes))
    }

    /// Step 5: documents, before their expenses.
    pub(super) async fn write_documents(&self, documents: &[Change]) -> Result<u64, Failure> {
        let Some(lease) = self.lease.filter(|_| !documents.is_empty()) else {
            return Ok(documents.len() as u64);
        };
        lease.keep().await?;
        self.environment.resources.apply(&self.account.id, documents).await
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
                Change::Touch(_) => None,
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
        ids.extend(found.into_iter().map(|resource| (resource.cloud_resource_id, resource.id)));
        Ok(ids)
    }

    /// Brings `total_cost` and `last_expense` of these documents to what the ledger says.
    pub(super) async fn update_costs(&self, ids: &BTreeSet<String>) -> Result<u64, Failure> {
        let ids: Vec<String> = ids.iter().cloned().collect();
        let totals = self.environment.ledger.resource_totals(&self.account.id, &ids).await?;
        let summaries: Vec<CostSummary> = totals.into_iter().map(cost_summary).collect();
        self.environment.resources.set_costs(&self.account.id, &summaries).await
    }

    /// The `_id`s of all documents of ours, deleted ones included.
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
