//! What a day's sightings change about the stored documents.
//!
//! Skip-existing: a document that exists keeps its `_id` and everything a user may have edited;
//! only its times and its `active` flag move. Nothing is written where nothing moves.

use std::collections::{BTreeMap, BTreeSet};

use crate::cost::{AccountId, Day, ResourceKey};

use super::StoredResource;
use super::document::{Document, Meta, SERVICE_NAME, display_name, resource_type};

/// A resource that a day's costs name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Which.
    pub key: ResourceKey,
    /// Its stable id.
    pub cloud_resource_id: String,
    /// Its node, for pods.
    pub node: Option<String>,
    /// Its service, for pods where known.
    pub service: Option<String>,
}

/// A change to make to the store.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Insert a document unless one with its stable id appears first.
    Insert(Box<Document>),
    /// Move the times of the document with this `_id`.
    Touch(Touch),
}

/// New times of an existing document: earliest and latest are kept (`$min`, `$max`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touch {
    /// `_id`.
    pub id: String,
    /// Unix seconds.
    pub first_seen: i64,
    /// Unix seconds.
    pub last_seen: i64,
    /// Set to true where it was not and the day is recent.
    pub activate: bool,
}

/// When a resource seen on a day was seen first and last, as far as days tell: from its midnight
/// to its last second, or, for the running day, its midnight alone. Times of the day itself would
/// make every run write every document.
#[must_use]
pub fn seen_on(day: Day, now_seconds: i64) -> (i64, i64) {
    let start = day.start_seconds();
    let last = day.end_seconds() - 1;
    (start, if last < now_seconds { last } else { start })
}

/// Midnight of a Unix time.
#[must_use]
pub fn midnight(seconds: i64) -> i64 {
    Day::of_unix(seconds).start_seconds()
}

/// The changes that make the store know of `sightings` on `day`, and the `_id` of each stable id.
///
/// `taken` holds those ids of not yet stored sightings that other documents (deleted ones, say)
/// already have as their `_id`.
#[must_use]
pub fn plan_changes(
    account: &AccountId,
    day: Day,
    now_seconds: i64,
    sightings: &[Sighting],
    stored: &[StoredResource],
    taken: &BTreeSet<String>,
) -> (Vec<Change>, BTreeMap<String, String>) {
    let by_id: BTreeMap<&str, &StoredResource> =
        stored.iter().map(|r| (r.cloud_resource_id.as_str(), r)).collect();
    let (first_seen, last_seen) = seen_on(day, now_seconds);
    let is_recent = day >= Day::of_unix(now_seconds).previous();
    let mut changes = Vec::new();
    let mut ids = BTreeMap::new();
    for sighting in sightings {
        if let Some(existing) = by_id.get(sighting.cloud_resource_id.as_str()) {
            ids.insert(sighting.cloud_resource_id.clone(), existing.id.clone());
            let activate = is_recent && existing.active != Some(true);
            if activate || moves(existing, first_seen, last_seen) {
                let id = existing.id.clone();
                changes.push(Change::Touch(Touch { id, first_seen, last_seen, activate }));
            }
        } else {
            let id = free_id(&sighting.cloud_resource_id, taken);
            ids.insert(sighting.cloud_resource_id.clone(), id.clone());
            let times = (first_seen, last_seen, now_seconds);
            let document = document(account, sighting, id, times, is_recent);
            changes.push(Change::Insert(Box::new(document)));
        }
    }
    (changes, ids)
}

fn moves(existing: &StoredResource, first_seen: i64, last_seen: i64) -> bool {
    existing.first_seen.is_none_or(|stored| first_seen < stored)
        || existing.last_seen.is_none_or(|stored| last_seen > stored)
        || existing.first_seen_date.is_none_or(|stored| midnight(first_seen) < stored)
        || existing.last_seen_date.is_none_or(|stored| midnight(last_seen) > stored)
}

/// The stable id itself, or with a number after it when a deleted document holds that `_id`.
fn free_id(cloud_resource_id: &str, taken: &BTreeSet<String>) -> String {
    candidate_ids(cloud_resource_id)
        .find(|id| !taken.contains(id))
        .unwrap_or_else(|| cloud_resource_id.to_owned())
}

/// The `_id`s that a new document of this stable id may get, best first.
pub fn candidate_ids(cloud_resource_id: &str) -> impl Iterator<Item = String> {
    const CANDIDATES: u32 = 9;
    (1..=CANDIDATES).map(move |number| {
        if number == 1 {
            cloud_resource_id.to_owned()
        } else {
            format!("{cloud_resource_id}.{number}")
        }
    })
}

fn document(
    account: &AccountId,
    sighting: &Sighting,
    id: String,
    (first_seen, last_seen, now_seconds): (i64, i64, i64),
    active: bool,
) -> Document {
    let key = &sighting.key;
    Document {
        id,
        cloud_resource_id: sighting.cloud_resource_id.clone(),
        cloud_account_id: account.clone(),
        name: display_name(key),
        resource_type: resource_type(key.level()).to_owned(),
        service_name: SERVICE_NAME.to_owned(),
        region: None,
        tags: BTreeMap::new(),
        meta: Meta {
            cluster: key.cluster().to_owned(),
            namespace: key.namespace().map(str::to_owned),
            pod: key.pod().map(str::to_owned),
        },
        k8s_namespace: key.namespace().map(str::to_owned),
        k8s_node: sighting.node.clone(),
        k8s_service: sighting.service.clone(),
        pool_id: None,
        employee_id: None,
        first_seen,
        last_seen,
        first_seen_date: midnight(first_seen),
        last_seen_date: midnight(last_seen),
        active,
        deleted_at: 0,
        cluster_id: None,
        cluster_type_id: None,
        is_environment: false,
        constraint_violated: false,
        created_at: now_seconds,
        total_cost: 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> AccountId {
        AccountId::new("a").unwrap()
    }

    fn day() -> Day {
        "2026-11-20".parse().unwrap()
    }

    fn sighting(id: &str) -> Sighting {
        Sighting {
            key: ResourceKey::Namespace { cluster: "c".into(), namespace: "shop".into() },
            cloud_resource_id: id.into(),
            node: None,
            service: None,
        }
    }

    fn stored(first: Day, last_seen: i64) -> StoredResource {
        StoredResource {
            id: "uuid".into(),
            cloud_resource_id: "x".into(),
            first_seen: Some(first.start_seconds()),
            last_seen: Some(last_seen),
            first_seen_date: Some(first.start_seconds()),
            last_seen_date: Some(midnight(last_seen)),
            active: Some(true),
            total_cost: None,
            last_expense: None,
        }
    }

    fn plan(now: i64, stored: &[StoredResource]) -> (Vec<Change>, BTreeMap<String, String>) {
        plan_changes(&account(), day(), now, &[sighting("x")], stored, &BTreeSet::new())
    }

    #[test]
    fn an_existing_document_keeps_its_id_and_nothing_is_written_twice() {
        let now = day().start_seconds() + 3_600;
        let (changes, ids) = plan(now, &[stored(day(), day().start_seconds())]);
        assert_eq!(ids["x"], "uuid");
        assert_eq!(changes, []);
    }

    #[test]
    fn an_earlier_day_moves_first_seen_only() {
        let now = day().end_seconds() + 86_400;
        let later = stored(day().next(), now);
        let (changes, _) = plan(now, &[later]);
        let [Change::Touch(touch)] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!(touch.first_seen, day().start_seconds());
        assert_eq!(touch.last_seen, day().end_seconds() - 1);
    }

    #[test]
    fn a_new_document_has_midnights_and_is_active_only_when_recent() {
        let (changes, ids) = plan(day().end_seconds() + 10 * 86_400, &[]);
        let [Change::Insert(document)] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!(ids["x"], "x");
        assert!(!document.active);
        assert_eq!(document.first_seen_date, day().start_seconds());
        assert_eq!(document.last_seen_date, day().start_seconds());
        assert_eq!(document.name, "Namespace: shop");
    }

    #[test]
    fn an_id_that_a_deleted_document_holds_is_not_used_again() {
        let taken = BTreeSet::from(["x".to_owned(), "x.2".to_owned()]);
        let now = day().start_seconds();
        let (_, ids) = plan_changes(&account(), day(), now, &[sighting("x")], &[], &taken);
        assert_eq!(ids["x"], "x.3");
    }
}
