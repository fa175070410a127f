//! *read*, of documents: those of the resources that a day's costs name, and what new ones need.

use std::collections::{BTreeMap, BTreeSet};

use crate::cost::AccountId;
use crate::documents::repair::repair;
use crate::documents::{ObservedResource, PoolOwner, SeenNow, StoredResource, merge};
use crate::ledger::ResourceTotal;
use crate::service::failure::Failure;

use super::day::inputs::{CostedDay, DocumentsRead, DueDay};
use super::environment::Readers;
use super::request::AccountJob;

impl Readers {
    /// The documents that a day's decision rests on.
    pub(super) async fn read_documents(
        &self,
        job: &AccountJob<'_>,
        due: &DueDay,
        costs: &CostedDay,
        now_seconds: i64,
    ) -> Result<DocumentsRead, Failure> {
        let account = &job.account.id;
        let mut observed = costs.observed(account);
        let wanted: Vec<String> = observed.iter().map(|o| o.cloud_resource_id.clone()).collect();
        let stored = self.documents.find(account, &wanted).await?;
        let known: BTreeSet<&str> = stored.iter().map(|r| r.cloud_resource_id.as_str()).collect();
        let new: Vec<String> =
            wanted.iter().filter(|id| !known.contains(id.as_str())).cloned().collect();
        let is_owner_wanted = !new.is_empty() || stored.iter().any(|r| !r.has_owner);
        let seen_now = self.read_seen_now(job, due, now_seconds, &stored, !new.is_empty()).await?;
        if seen_now.is_some() {
            self.add_kubernetes(job, now_seconds, &mut observed).await;
        }
        let taken = self.taken_ids(account, &new).await?;
        let new_ids: Vec<String> =
            new.iter().map(|stable| merge::free_id(account, stable, &taken)).collect();
        Ok(DocumentsRead {
            new_totals: self.totals_of_new(account, &new_ids).await?,
            taken,
            others: self.others_of_version_0_1_0(account, &stored).await?,
            owner: self.find_owner(account, is_owner_wanted).await,
            seen_now,
            observed,
            stored,
        })
    }

    /// Where a document of version 0.1.0 is met, the account's others are repaired too: those of
    /// resources that are gone, and deleted ones, which some readers read all the same.
    async fn others_of_version_0_1_0(
        &self,
        account: &AccountId,
        met: &[StoredResource],
    ) -> Result<Vec<StoredResource>, Failure> {
        if !met.iter().any(|stored| repair(stored, None, None).is_of_version_0_1_0()) {
            return Ok(Vec::new());
        }
        let met: BTreeSet<&str> = met.iter().map(|stored| stored.id.as_str()).collect();
        let mut own = self.documents.own_documents(account).await?;
        own.retain(|stored| !met.contains(stored.id.as_str()));
        Ok(own)
    }

    /// What the ledger has of resources whose documents are new: rows of a document that somebody
    /// removed, say.
    async fn totals_of_new(
        &self,
        account: &AccountId,
        ids: &[String],
    ) -> Result<Vec<ResourceTotal>, Failure> {
        if ids.is_empty() {
            Ok(Vec::new())
        } else {
            self.ledger.resource_totals(account, ids).await
        }
    }

    /// Those `_id`s that new documents would get which other documents have.
    async fn taken_ids(
        &self,
        account: &AccountId,
        new: &[String],
    ) -> Result<BTreeSet<String>, Failure> {
        let first: BTreeMap<String, &String> = new
            .iter()
            .filter_map(|stable| Some((merge::candidate_ids(account, stable).next()?, stable)))
            .collect();
        let ids: Vec<String> = first.keys().cloned().collect();
        let mut taken = self.documents.taken_ids(&ids).await?;
        // Hardly ever: a deleted document holds the id, so another one is looked for.
        let others: Vec<String> = taken
            .iter()
            .filter_map(|id| first.get(id))
            .flat_map(|stable| merge::candidate_ids(account, stable))
            .collect();
        taken.extend(self.documents.taken_ids(&others).await?);
        Ok(taken)
    }

    /// Pool and owner of documents that have neither: as set, else as the REST API has them.
    async fn find_owner(&self, account: &AccountId, is_wanted: bool) -> Option<PoolOwner> {
        if let Some(owner) = &self.resource_settings.owner {
            return Some(owner.clone());
        }
        if !is_wanted {
            return None;
        }
        let owner = self.rest.pool_owner(account).await;
        if owner.is_none() {
            self.rest.note_unowned();
        }
        owner
    }

    /// What has a sample right now, for the day that now is in; asked for only where some document
    /// is new or no document was seen within the interval.
    async fn read_seen_now(
        &self,
        job: &AccountJob<'_>,
        due: &DueDay,
        now_seconds: i64,
        stored: &[StoredResource],
        has_new: bool,
    ) -> Result<Option<SeenNow>, Failure> {
        let interval = self.resource_settings.seen_interval.as_secs();
        let interval_seconds = i64::try_from(interval).unwrap_or(i64::MAX);
        let newest = stored.iter().filter_map(|resource| resource.last_seen).max();
        let is_stale = newest.is_none_or(|seen| seen + interval_seconds <= now_seconds);
        let Some(phase) = due.phase.filter(|_| has_new || is_stale) else { return Ok(None) };
        if !due.day.has(now_seconds) || job.plan().is_some() {
            return Ok(None);
        }
        let samples = self.source.last_samples(job.account, phase, now_seconds).await?;
        let at_seconds = samples.values().copied().min();
        Ok(at_seconds.map(|at_seconds| SeenNow {
            at_seconds,
            keys: samples.into_keys().collect(),
            interval_seconds,
        }))
    }

    /// Adds what Kubernetes says now; costs do not wait for it.
    async fn add_kubernetes(
        &self,
        job: &AccountJob<'_>,
        now_seconds: i64,
        observed: &mut [ObservedResource],
    ) {
        let labels = &self.resource_settings.label_tags;
        match self.source.kubernetes(job.account, labels, now_seconds).await {
            Ok(mut found) => {
                for resource in observed {
                    resource.kubernetes = found.remove(&resource.key);
                }
            }
            Err(failure) => {
                let account = &job.account.id;
                tracing::warn!(account.id = %account, %failure, "labels cannot be read: tags stay");
            }
        }
    }
}
