//! What a day's observed resources change about the stored documents.
//!
//! Skip-existing: a document that exists keeps its `_id` and everything a user may have edited;
//! only its times, its `active` flag and what readers cannot use change. Nothing is written where
//! nothing changes.

use std::collections::{BTreeMap, BTreeSet};

use crate::cost::resource_id::document_id;
use crate::cost::{AccountId, Day, NodeFacts, ResourceKey};

use super::document::{
    MetaValue, PoolOwner, ResourceDocument, SERVICE_NAME, display_name, meta, node_meta,
    resource_type,
};
use super::repair::{KnownNames, Repair, repair};
use super::stored::StoredResource;

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
}

/// A change to make to the store.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Insert a document unless one with its stable id appears first.
    Insert(Box<ResourceDocument>),
    /// Change one document.
    Update(Box<DocumentUpdate>),
    /// Move `last_seen` of many documents to one time, where it is earlier.
    Seen(SeenUpdate),
    /// Give a document what a user gave to a document of earlier software.
    Adopt(Box<AdoptUpdate>),
    /// Mark a document as deleted.
    Delete(DeleteUpdate),
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
            changes.push(Change::Insert(Box::new(document)));
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
        repair.set_meta.extend(changed_facts(existing, &observed.facts));
        if existing.last_seen.is_none_or(|seen| midnight(seen) <= inputs.day.start_seconds()) {
            follow_node(existing, observed, &mut repair);
        }
    }
    let is_earlier = existing.first_seen != Some(first);
    let later_day = existing.last_seen.is_none_or(|stored| midnight(stored) < midnight(last));
    if activate || is_earlier || later_day || !repair.is_empty() {
        let id = existing.id.clone();
        let update = DocumentUpdate { id, first_seen: first, last_seen: last, activate, repair };
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

/// What is known of a node and is not what its document says.
fn changed_facts(existing: &StoredResource, facts: &NodeFacts) -> Vec<(String, MetaValue)> {
    let mut known = node_meta(facts);
    known.retain(|key, value| existing.meta_text(key) != Some(value.to_string()));
    known.into_iter().collect()
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
        activate: false,
        repair,
    })))
}

/// The first `_id` of a stable id that no other document holds.
fn free_id(account: &AccountId, cloud_resource_id: &str, taken: &BTreeSet<String>) -> String {
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
    ResourceDocument {
        id,
        cloud_resource_id: observed.cloud_resource_id.clone(),
        cloud_account_id: inputs.account.clone(),
        name: display_name(key),
        resource_type: resource_type(key.level()).to_owned(),
        service_name: SERVICE_NAME.to_owned(),
        region: observed.facts.region.clone(),
        tags: BTreeMap::new(),
        meta: meta(key, observed.node.as_deref(), observed.service.as_deref())
            .into_iter()
            .chain(node_meta(&observed.facts))
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
mod tests {
    use super::super::stored::StoredDate;
    use super::*;

    fn account() -> AccountId {
        AccountId::new("a").unwrap()
    }

    fn day() -> Day {
        "2026-11-20".parse().unwrap()
    }

    fn shop() -> ResourceKey {
        ResourceKey::Namespace { cluster: "c".into(), namespace: "shop".into() }
    }

    fn stable_id() -> String {
        shop().id(&account())
    }

    fn stored(first: Day, last_seen: i64) -> StoredResource {
        StoredResource {
            id: "uuid".into(),
            cloud_resource_id: stable_id(),
            resource_type: Some("K8s Namespace".into()),
            first_seen: Some(first.start_seconds()),
            last_seen: Some(last_seen),
            first_seen_date: StoredDate::Date(first.start_seconds()),
            last_seen_date: StoredDate::Date(midnight(last_seen)),
            active: Some(true),
            has_owner: true,
            k8s_cluster: Some("c".into()),
            ..StoredResource::default()
        }
    }

    fn plan_with(
        now_seconds: i64,
        stored: &[StoredResource],
        taken: &BTreeSet<String>,
        seen_now: Option<&SeenNow>,
    ) -> (Vec<Change>, BTreeMap<String, String>) {
        let cloud_resource_id = stable_id();
        let observed = [observed(shop(), cloud_resource_id, NodeFacts::default())];
        plan_changes(DocumentInputs {
            account: &account(),
            day: day(),
            now_seconds,
            observed: &observed,
            stored,
            taken,
            seen_now,
            owner: None,
        })
    }

    fn observed(key: ResourceKey, stable: String, facts: NodeFacts) -> ObservedResource {
        let node = key.node().map(str::to_owned);
        ObservedResource { key, cloud_resource_id: stable, node, service: None, facts }
    }

    #[test]
    fn a_pods_document_names_the_node_where_it_is_now() {
        let [cluster, namespace, pod] = ["c", "n", "p"].map(str::to_owned);
        let key = ResourceKey::Pod { cluster, namespace, pod };
        let stable = key.id(&account());
        let moved = ObservedResource {
            node: Some("m2".into()),
            ..observed(key, stable.clone(), NodeFacts::default())
        };
        let of = |last_seen: i64| {
            let known = StoredResource {
                cloud_resource_id: stable.clone(),
                resource_type: Some("K8s Pod".into()),
                k8s_node: Some("m1".into()),
                meta: [("k8s_node".to_owned(), Some("m1".to_owned()))].into(),
                ..stored(day(), last_seen)
            };
            let (changes, _) = plan_changes(DocumentInputs {
                account: &account(),
                day: day(),
                now_seconds: day().end_seconds() + 60,
                observed: std::slice::from_ref(&moved),
                stored: &[known],
                taken: &BTreeSet::new(),
                seen_now: None,
                owner: None,
            });
            changes
        };
        let changes = of(day().start_seconds() + 5);
        let [Change::Update(update)] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!(update.repair.k8s_node.as_deref(), Some("m2"));
        assert_eq!(update.repair.set_meta, [("k8s_node".to_owned(), MetaValue::from("m2"))]);
        assert_eq!(of(day().end_seconds()), [], "an older day says where it was");
    }

    #[test]
    fn what_a_nodes_document_says_of_the_machine_follows_what_is_known_of_it() {
        let key = ResourceKey::Node { cluster: "c".into(), node: "m1".into() };
        let of = |price: f64, stored: &[StoredResource], now_seconds: i64| {
            let facts = NodeFacts { price_usd_hourly: Some(price), ..NodeFacts::default() };
            let stable = key.id(&account());
            let (changes, _) = plan_changes(DocumentInputs {
                account: &account(),
                day: day(),
                now_seconds,
                observed: &[observed(key.clone(), stable, facts)],
                stored,
                taken: &BTreeSet::new(),
                seen_now: None,
                owner: None,
            });
            changes
        };
        let now = day().start_seconds() + 60;
        let [Change::Insert(new)] = &of(0.25, &[], now)[..] else { panic!("no insert") };
        assert_eq!((new.resource_type.as_str(), new.k8s_node.as_deref()), ("K8s Node", Some("m1")));
        assert_eq!(new.meta["hourly_price_usd"], MetaValue::Number(0.25));
        let known = StoredResource {
            cloud_resource_id: key.id(&account()),
            resource_type: Some("K8s Node".into()),
            k8s_node: Some("m1".into()),
            meta: [("hourly_price_usd".to_owned(), Some("0.25".to_owned()))].into(),
            ..stored(day(), day().start_seconds())
        };
        assert_eq!(of(0.25, std::slice::from_ref(&known), now), []);
        let later = of(0.5, std::slice::from_ref(&known), now);
        let [Change::Update(update)] = later.as_slice() else { panic!("{later:?}") };
        assert_eq!(
            update.repair.set_meta,
            [("hourly_price_usd".to_owned(), MetaValue::Number(0.5))]
        );
        let long_after = now + 9 * 86_400;
        assert_eq!(of(0.5, &[known], long_after), [], "what a machine cost once is no news");
    }

    fn plan(now: i64, stored: &[StoredResource]) -> (Vec<Change>, BTreeMap<String, String>) {
        plan_with(now, stored, &BTreeSet::new(), None)
    }

    #[test]
    fn an_existing_document_keeps_its_id_and_nothing_is_written_twice() {
        let now = day().start_seconds() + 3_600;
        let (changes, ids) = plan(now, &[stored(day(), day().start_seconds())]);
        assert_eq!(ids[&stable_id()], "uuid");
        assert_eq!(changes, []);
    }

    #[test]
    fn an_earlier_day_moves_first_seen_only() {
        let now = day().end_seconds() + 86_400;
        let (changes, _) = plan(now, &[stored(day().next(), now)]);
        let [Change::Update(update)] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!((update.first_seen, update.last_seen), (day().start_seconds(), now));
        assert_eq!(update.repair.lower_first_seen_date, Some(day()));
        assert_eq!(update.repair.raise_last_seen_date, None);
    }

    #[test]
    fn a_new_document_has_a_uuid_and_midnights_and_is_active_only_when_recent() {
        let (changes, ids) = plan(day().end_seconds() + 10 * 86_400, &[]);
        let [Change::Insert(document)] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!(ids[&stable_id()], document.id);
        assert_eq!(document.id, document_id(&account(), &stable_id(), 1));
        assert!(!document.active);
        assert_eq!((document.first_seen_date, document.last_seen_date), (day(), day()));
        assert_eq!(document.name, "Namespace: shop");
        assert_eq!((document.pool_id.as_ref(), document.k8s_cluster.as_str()), (None, "c"));
    }

    #[test]
    fn an_id_that_a_deleted_document_holds_is_not_used_again() {
        let taken = (1..=2).map(|attempt| document_id(&account(), &stable_id(), attempt));
        let (_, ids) = plan_with(day().start_seconds(), &[], &taken.collect(), None);
        assert_eq!(ids[&stable_id()], document_id(&account(), &stable_id(), 3));
    }

    #[test]
    fn last_seen_moves_to_the_last_sample_once_an_interval() {
        let start = day().start_seconds();
        let at = |at_seconds: i64| SeenNow {
            at_seconds,
            keys: [shop()].into(),
            interval_seconds: 1_800,
        };
        let changes = |last_seen: i64, now: &SeenNow| {
            plan_with(start + 40_000, &[stored(day(), last_seen)], &BTreeSet::new(), Some(now)).0
        };
        let late = at(start + 36_000);
        assert_eq!(changes(start + 34_300, &late), []);
        let update = SeenUpdate { ids: vec!["uuid".into()], last_seen: start + 36_000 };
        assert_eq!(changes(start + 34_200, &late), [Change::Seen(update)]);
        let other = SeenNow { keys: BTreeSet::new(), ..late.clone() };
        assert_eq!(changes(start, &other), [], "it has no sample now");
        let next_day = at(day().end_seconds() + 60);
        assert_eq!(changes(start, &next_day), [], "the sample is another day's");
        let (new, _) = plan_with(start + 40_000, &[], &BTreeSet::new(), Some(&late));
        let [Change::Insert(document)] = new.as_slice() else { panic!("{new:?}") };
        assert_eq!(document.last_seen, start + 36_000);
    }

    #[test]
    fn numbers_in_place_of_dates_are_replaced_by_the_dates_of_the_moved_times() {
        let broken = StoredResource {
            first_seen_date: StoredDate::NoDate,
            last_seen_date: StoredDate::NoDate,
            ..stored(day().next(), day().next().start_seconds())
        };
        let (changes, _) = plan(day().end_seconds() + 86_400, &[broken]);
        let [Change::Update(update)] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!(update.repair.first_seen_date, Some(day()));
        assert_eq!(update.repair.last_seen_date, Some(day().next()));
    }
}
