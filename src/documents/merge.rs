//! What a day's observed resources change about the stored documents.
//!
//! Skip-existing: a document that exists keeps its `_id` and everything a user may have edited;
//! only its times, its `active` flag and what readers cannot use change. Nothing is written where
//! nothing changes.

use std::collections::{BTreeMap, BTreeSet};

use crate::cost::resource_id::document_id;
use crate::cost::{AccountId, Day, KubernetesFacts, Level, NodeFacts, ResourceKey};

use super::cost_parts::PartsUpdate;
use super::document::{
    LastExpense, MetaValue, PoolOwner, ResourceDocument, SERVICE_NAME, display_name, meta,
    node_meta, resource_type,
};
use super::repair::{KnownNames, Repair, repair};
use super::stored::StoredResource;
use super::tags::{TagUpdate, of_labels, tag_update};

/// How many `_id`s are tried for a new document before the first one is taken again.
const ID_ATTEMPTS: u32 = 9;

/// A resource that a day's costs name.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedResource {
    /// Which.
    pub key: ResourceKey,
    /// Its stable id.
    pub cloud_resource_id: String,
    /// Its node, for pods; for a node itself.
    pub node: Option<String>,
    /// Its service, for pods where known.
    pub service: Option<String>,
    /// What is known of it, for nodes.
    pub facts: NodeFacts,
    /// What its labels and its owner are, where that was asked for.
    pub kubernetes: Option<KubernetesFacts>,
}

/// A change to make to the store.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Insert a document unless one with its stable id appears first.
    Insert(Box<NewDocument>),
    /// Change one document.
    Update(Box<DocumentUpdate>),
    /// Move `last_seen` of many documents to one time, where it is earlier.
    Seen(SeenUpdate),
    /// Give a document what a user gave to a document of earlier software.
    Adopt(Box<AdoptUpdate>),
    /// Mark a document as deleted.
    Delete(DeleteUpdate),
}

impl Change {
    /// How many documents it is to insert or change.
    #[must_use]
    pub fn documents(&self) -> u64 {
        match self {
            Self::Seen(update) => update.ids.len() as u64,
            Self::Insert(_) | Self::Update(_) | Self::Adopt(_) | Self::Delete(_) => 1,
        }
    }
}

/// A document's costs as the ledger has them.
#[derive(Clone, Debug, PartialEq)]
pub struct CostSummary {
    /// `_id`.
    pub id: String,
    /// USD over all days.
    pub total_cost: f64,
    /// The last day's cost, if any.
    pub last_expense: Option<LastExpense>,
    /// What they are made of.
    pub parts: PartsUpdate,
    /// What else changes in the document, in the same update.
    pub document_update: Option<Box<DocumentUpdate>>,
}

impl CostSummary {
    /// Whether a stored document shows these costs.
    #[must_use]
    pub fn is_shown(&self, stored: &StoredResource) -> bool {
        let has_parts = match &self.parts {
            PartsUpdate::Keep => true,
            PartsUpdate::Unset => stored.cost_parts.is_none(),
            PartsUpdate::Set(parts) => stored.cost_parts.as_ref() == Some(parts),
        };
        has_parts
            && stored.total_cost == Some(self.total_cost)
            && stored.last_expense == self.last_expense
    }
}

/// A document to insert.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDocument {
    /// The document, without costs.
    pub document: ResourceDocument,
    /// The costs to insert it with, where they are known before its rows are written.
    pub costs: Option<CostSummary>,
}

/// What goes over to a document from one of earlier software.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdoptUpdate {
    /// `_id` of the document that gets it.
    pub id: String,
    /// Pool and owner to set, if any.
    pub owner: Option<PoolOwner>,
    /// Tags to set, by their encoded keys.
    pub tags: BTreeMap<String, String>,
    /// Whether the document has no object of tags yet.
    pub makes_tags: bool,
}

impl AdoptUpdate {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.owner.is_none() && self.tags.is_empty()
    }
}

/// A document to mark as deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteUpdate {
    /// `_id`.
    pub id: String,
    /// When, Unix seconds.
    pub at_seconds: i64,
}

/// New times of an existing document, the earliest and latest are kept (`$min`, `$max`), and its
/// repair.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DocumentUpdate {
    /// `_id`.
    pub id: String,
    /// Unix seconds.
    pub first_seen: i64,
    /// Unix seconds.
    pub last_seen: i64,
    /// Set to true where it was not and the day is recent.
    pub activate: bool,
    /// What readers cannot use.
    pub repair: Repair,
    /// Tags that follow labels.
    pub tags: TagUpdate,
}

impl DocumentUpdate {
    /// Nothing but a later `last_seen`, Unix seconds.
    #[must_use]
    pub fn seen(id: &str, last_seen: i64) -> Self {
        // The earlier one of two stays the first.
        Self { id: id.to_owned(), first_seen: last_seen, last_seen, ..Self::default() }
    }
}

/// Documents that were all seen at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenUpdate {
    /// `_id`s.
    pub ids: Vec<String>,
    /// Unix seconds.
    pub last_seen: i64,
}

/// The resources that the source has a sample of right now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenNow {
    /// The earliest of their last samples, Unix seconds: no `last_seen` goes beyond it.
    pub at_seconds: i64,
    /// Which they are.
    pub keys: BTreeSet<ResourceKey>,
    /// How far `last_seen` may fall behind before it is moved, seconds.
    pub interval_seconds: i64,
}

/// What a day's documents are decided from.
#[derive(Clone, Copy, Debug)]
pub struct DocumentInputs<'a> {
    /// The account.
    pub account: &'a AccountId,
    /// The day.
    pub day: Day,
    /// Unix seconds.
    pub now_seconds: i64,
    /// The resources that the day's costs name.
    pub observed: &'a [ObservedResource],
    /// Those of their documents that are stored.
    pub stored: &'a [StoredResource],
    /// `_id`s that other documents (deleted ones, say) already have.
    pub taken: &'a BTreeSet<String>,
    /// What has a sample right now, where that was asked for.
    pub seen_now: Option<&'a SeenNow>,
    /// Pool and owner of new documents, and of those that have neither.
    pub owner: Option<&'a PoolOwner>,
}

/// When a resource with costs on a day was seen first and last. A day's costs say that it was there
/// at some time of the day, not when: both are the midnight, unless the source has a sample of it
/// right now.
#[must_use]
pub fn seen_on(day: Day, key: &ResourceKey, seen_now: Option<&SeenNow>) -> (i64, i64) {
    let start = day.start_seconds();
    let now = seen_now.filter(|now| Day::of_unix(now.at_seconds) == day && now.keys.contains(key));
    (start, now.map_or(start, |now| now.at_seconds.max(start)))
}

/// Midnight of a Unix time.
#[must_use]
pub fn midnight(seconds: i64) -> i64 {
    Day::of_unix(seconds).start_seconds()
}

/// The changes that make the store know of a day's resources, and the `_id` of each stable id.
#[must_use]
pub fn plan_changes(inputs: DocumentInputs<'_>) -> (Vec<Change>, BTreeMap<String, String>) {
    let by_id: BTreeMap<&str, &StoredResource> =
        inputs.stored.iter().map(|r| (r.cloud_resource_id.as_str(), r)).collect();
    let is_recent = inputs.day >= Day::of_unix(inputs.now_seconds).previous();
    let mut changes = Vec::new();
    let mut seen = Vec::new();
    let mut ids = BTreeMap::new();
    for observed in inputs.observed {
        let times = seen_on(inputs.day, &observed.key, inputs.seen_now);
        let stable_id = observed.cloud_resource_id.clone();
        if let Some(existing) = by_id.get(stable_id.as_str()) {
            ids.insert(stable_id, existing.id.clone());
            let activate = is_recent && existing.active != Some(true);
            match existing_change(existing, observed, times, activate, inputs) {
                ExistingChange::None => {}
                ExistingChange::Update(update) => changes.push(Change::Update(update)),
                ExistingChange::Seen => seen.push(existing.id.clone()),
            }
        } else {
            let id = free_id(inputs.account, &stable_id, inputs.taken);
            ids.insert(stable_id, id.clone());
            let document = document(inputs, observed, id, times, is_recent);
            changes.push(Change::Insert(Box::new(NewDocument { document, costs: None })));
        }
    }
    if let (Some(now), false) = (inputs.seen_now, seen.is_empty()) {
        changes.push(Change::Seen(SeenUpdate { ids: seen, last_seen: now.at_seconds }));
    }
    (changes, ids)
}

enum ExistingChange {
    None,
    Update(Box<DocumentUpdate>),
    /// Nothing but `last_seen`, which many documents have in common.
    Seen,
}

fn existing_change(
    existing: &StoredResource,
    observed: &ObservedResource,
    (first_seen, last_seen): (i64, i64),
    activate: bool,
    inputs: DocumentInputs<'_>,
) -> ExistingChange {
    let first = existing.first_seen.map_or(first_seen, |stored| stored.min(first_seen));
    let last = existing.last_seen.map_or(last_seen, |stored| stored.max(last_seen));
    // Dates are repaired to what the times are after the update.
    let moved =
        StoredResource { first_seen: Some(first), last_seen: Some(last), ..existing.clone() };
    let names = KnownNames {
        key: &observed.key,
        node: observed.node.as_deref(),
        service: observed.service.as_deref(),
    };
    let mut repair = repair(&moved, Some(names), inputs.owner);
    // An older day says what was, not what is.
    if inputs.day >= Day::of_unix(inputs.now_seconds).previous() {
        repair.set_meta.extend(changed_meta(existing, observed));
        if existing.last_seen.is_none_or(|seen| midnight(seen) <= inputs.day.start_seconds()) {
            follow_node(existing, observed, &mut repair);
        }
    }
    repair.makes_meta = existing.has_odd_meta && !repair.set_meta.is_empty();
    let tags = wanted_tags(observed).map_or_else(TagUpdate::default, |wanted| {
        tag_update(existing.tags.as_ref(), &existing.label_tags, &wanted)
    });
    let is_earlier = existing.first_seen != Some(first);
    let later_day = existing.last_seen.is_none_or(|stored| midnight(stored) < midnight(last));
    if activate || is_earlier || later_day || !repair.is_empty() || !tags.is_empty() {
        let id = existing.id.clone();
        let update =
            DocumentUpdate { id, first_seen: first, last_seen: last, activate, repair, tags };
        return ExistingChange::Update(Box::new(update));
    }
    let is_stale = |now: &SeenNow| {
        existing.last_seen.is_none_or(|stored| stored + now.interval_seconds <= last_seen)
    };
    match inputs.seen_now {
        Some(now) if now.at_seconds == last_seen && is_stale(now) => ExistingChange::Seen,
        _ => ExistingChange::None,
    }
}

/// A pod that moved: its document names the node where it is now.
fn follow_node(existing: &StoredResource, observed: &ObservedResource, repair: &mut Repair) {
    let Some(node) = observed.node.as_ref().filter(|node| existing.k8s_node.as_ref() != Some(node))
    else {
        return;
    };
    repair.k8s_node = Some(node.clone());
    if observed.key.pod().is_some() && existing.meta_text("k8s_node").as_ref() != Some(node) {
        repair.set_meta.retain(|(key, _)| key != "k8s_node");
        repair.set_meta.push(("k8s_node".to_owned(), MetaValue::Text(node.clone())));
    }
}

/// What is known of a resource beside its names, by the keys of `meta`.
fn known_meta(observed: &ObservedResource) -> BTreeMap<String, MetaValue> {
    let mut known = node_meta(&observed.facts);
    let Some(kubernetes) = &observed.kubernetes else { return known };
    if let (Some((kind, name)), Some(_)) = (&kubernetes.created_by, observed.key.pod()) {
        known.insert("created_by_kind".to_owned(), MetaValue::from(kind.as_str()));
        known.insert("created_by_name".to_owned(), MetaValue::from(name.as_str()));
    }
    if let (Some(count), Level::Namespace) = (kubernetes.pod_count, observed.key.level()) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        known.insert("pod_count".to_owned(), MetaValue::Whole(count));
    }
    known
}

/// What of it is not what the document says.
fn changed_meta(
    existing: &StoredResource,
    observed: &ObservedResource,
) -> Vec<(String, MetaValue)> {
    let mut known = known_meta(observed);
    known.retain(|key, value| existing.meta_text(key) != Some(value.to_string()));
    known.into_iter().collect()
}

/// The tags of a resource's labels, where they were had.
fn wanted_tags(observed: &ObservedResource) -> Option<BTreeMap<String, String>> {
    observed.kubernetes.as_ref()?.labels.as_ref().map(of_labels)
}

/// A change that repairs a document and moves nothing of it, where it needs one.
#[must_use]
pub fn repair_alone(stored: &StoredResource) -> Option<Change> {
    let repair = repair(stored, None, None);
    if repair.is_empty() {
        return None;
    }
    Some(Change::Update(Box::new(DocumentUpdate {
        id: stored.id.clone(),
        first_seen: stored.first_seen?,
        last_seen: stored.last_seen?,
        repair,
        ..DocumentUpdate::default()
    })))
}

/// The first `_id` of a stable id that no other document holds.
#[must_use]
pub fn free_id(account: &AccountId, cloud_resource_id: &str, taken: &BTreeSet<String>) -> String {
    candidate_ids(account, cloud_resource_id)
        .find(|id| !taken.contains(id))
        .unwrap_or_else(|| document_id(account, cloud_resource_id, 1))
}

/// The `_id`s that a new document of this stable id may get, best first.
pub fn candidate_ids(account: &AccountId, cloud_resource_id: &str) -> impl Iterator<Item = String> {
    (1..=ID_ATTEMPTS).map(move |attempt| document_id(account, cloud_resource_id, attempt))
}

fn document(
    inputs: DocumentInputs<'_>,
    observed: &ObservedResource,
    id: String,
    (first_seen, last_seen): (i64, i64),
    active: bool,
) -> ResourceDocument {
    let key = &observed.key;
    let tags = wanted_tags(observed).unwrap_or_default();
    ResourceDocument {
        id,
        cloud_resource_id: observed.cloud_resource_id.clone(),
        cloud_account_id: inputs.account.clone(),
        name: display_name(key),
        resource_type: resource_type(key.level()).to_owned(),
        service_name: SERVICE_NAME.to_owned(),
        region: observed.facts.region.clone(),
        label_tags: tags.clone(),
        tags,
        meta: meta(key, observed.node.as_deref(), observed.service.as_deref())
            .into_iter()
            .chain(known_meta(observed))
            .collect(),
        k8s_cluster: key.cluster().to_owned(),
        k8s_namespace: key.namespace().map(str::to_owned),
        k8s_node: observed.node.clone(),
        k8s_service: observed.service.clone(),
        pool_id: inputs.owner.map(|owner| owner.pool_id.clone()),
        employee_id: inputs.owner.map(|owner| owner.employee_id.clone()),
        first_seen,
        last_seen,
        first_seen_date: Day::of_unix(first_seen),
        last_seen_date: Day::of_unix(last_seen),
        active,
        deleted_at: 0,
        constraint_violated: false,
        created_at: inputs.now_seconds,
        total_cost: 0.0,
    }
}

#[cfg(test)]
mod tests;
