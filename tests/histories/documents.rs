//! Whatever documents a run finds, afterwards CloudTuner's readers see every one that it has costs
//! for, and nothing that a user may have edited has changed.
//!
//! Each case fills the store with documents of random making: this program's, those of version
//! 0.1.0, the REST API's, edited ones, deleted ones, with dates that are numbers, dates or missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kubecost_worker::cost::resource_id::document_id;
use kubecost_worker::cost::{Day, ResourceKey};
use mongodb::bson::{Bson, DateTime, Document, doc};

use crate::chance::Chance;
use crate::counts::Counts;
use crate::source::Source;
use crate::{Hops, account, hops, setting, work};

/// Cases without a setting.
const CASES: u64 = 10_000;
/// 2026-11-20 12:00:00 UTC.
const NOON: i64 = 1_795_176_000;

fn keys() -> Vec<ResourceKey> {
    let cluster = || "c".to_owned();
    let mut keys = vec![ResourceKey::Cluster { cluster: cluster() }];
    for name in ["cart", "pay", "shop"] {
        keys.push(ResourceKey::Namespace { cluster: cluster(), namespace: name.to_owned() });
    }
    let (namespace, pod) = ("cart".to_owned(), "cart-0".to_owned());
    keys.push(ResourceKey::Pod { cluster: cluster(), namespace, pod });
    keys
}

fn kind(key: &ResourceKey) -> &'static str {
    match key {
        ResourceKey::Cluster { .. } => "K8s Cluster",
        ResourceKey::Node { .. } => "K8s Node",
        ResourceKey::Namespace { .. } => "K8s Namespace",
        ResourceKey::Pod { .. } => "K8s Pod",
    }
}

fn date(seconds: i64) -> Bson {
    Bson::DateTime(DateTime::from_millis(Day::of_unix(seconds).start_seconds() * 1_000))
}

/// A date field's value in one of the forms that writers left behind; `None`: no such key.
fn stored_date(seconds: i64, chance: &mut Chance) -> Option<Bson> {
    let midnight = Day::of_unix(seconds).start_seconds();
    match chance.below(6) {
        0 => Some(Bson::Int64(midnight)),
        1 => Some(Bson::Int32(i32::try_from(midnight).unwrap())),
        2 => Some(Bson::Double(midnight as f64)),
        3 => None,
        // A partial rerun left a date of two days later.
        4 => Some(date(seconds + 2 * 86_400)),
        _ => Some(date(seconds)),
    }
}

/// A document as some writer made it, or none.
fn random_document(key: &ResourceKey, chance: &mut Chance) -> Option<Document> {
    let stable = key.id(&account());
    let first_seen = NOON - i64::from(chance.below(10)) * 86_400 - i64::from(chance.below(40_000));
    let last_seen = (first_seen + i64::from(chance.below(5)) * 86_400).min(NOON);
    let id = match chance.below(4) {
        0 => return None,
        1 => stable.clone(),
        2 => document_id(&account(), &stable, 1),
        _ => format!("00000000-0000-4000-8000-{:012}", chance.below(1_000_000)),
    };
    let mut document = doc! {
        "_id": id,
        "cloud_resource_id": stable,
        "cloud_account_id": account().as_str(),
        "name": format!("name {}", chance.below(9)),
        "resource_type": kind(key),
        "service_name": "Kubernetes",
        "tags": {},
        "meta": {},
        "first_seen": first_seen,
        "last_seen": last_seen,
        "active": chance.happens(500),
        "deleted_at": if chance.happens(100) { 99_i64 } else { 0 },
    };
    for (field, seconds) in [("_first_seen_date", first_seen), ("_last_seen_date", last_seen)] {
        if let Some(value) = stored_date(seconds, chance) {
            document.insert(field, value);
        }
    }
    for field in ["cluster_id", "cluster_type_id", "pool_id", "employee_id"] {
        if chance.happens(300) {
            document.insert(field, Bson::Null);
        }
    }
    if chance.happens(300) {
        document.insert("pool_id", "a pool");
        document.insert("employee_id", "an owner");
        document.insert("tags", doc! { "dGVhbQ==": "blue" });
    }
    if chance.happens(300) {
        document.insert("is_environment", chance.happens(200));
    }
    if chance.happens(400) {
        document.insert("meta", doc! { "cluster": "c", "namespace": "cart", "pod": "cart-0" });
    }
    Some(document)
}

/// What of a document a user may have edited.
fn edits(document: &Document) -> Vec<Option<Bson>> {
    let fields = ["name", "pool_id", "employee_id", "tags", "deleted_at", "is_environment"];
    // A false there is what this program wrote; users set it to true.
    let value = |field: &str| {
        document.get(field).filter(|v| !matches!(v, Bson::Null | Bson::Boolean(false))).cloned()
    };
    fields.map(value).into()
}

/// What every read of CloudTuner asks of a document, for one day.
fn is_seen(document: &Document, day: Day) -> bool {
    let (start, end) = (day.start_seconds(), day.end_seconds() - 1);
    let seconds = |field: &str| match document.get(field) {
        Some(Bson::Int64(number)) => *number,
        other => panic!("{field} is {other:?}"),
    };
    let date = |field: &str| match document.get(field) {
        Some(Bson::DateTime(date)) => Some(date.timestamp_millis() / 1_000),
        _ => None,
    };
    document.get("deleted_at") == Some(&Bson::Int64(0))
        && date("_first_seen_date").is_some_and(|date| date <= start)
        && date("_last_seen_date").is_some_and(|date| date >= start)
        && seconds("first_seen") <= end
        && seconds("last_seen") >= start
        && !document.contains_key("cluster_id")
        && !document.contains_key("cluster_type_id")
        && document.get("pool_id") != Some(&Bson::Null)
        && document.get("employee_id") != Some(&Bson::Null)
        && document.get("is_environment") != Some(&Bson::Boolean(false))
        && pod_meta_fits(document)
}

/// CloudTuner's class for pods takes no other keys in `meta`.
fn pod_meta_fits(document: &Document) -> bool {
    const KEYS: [&str; 5] = ["name", "k8s_cluster", "k8s_namespace", "k8s_node", "k8s_service"];
    document.get_str("resource_type") != Ok("K8s Pod")
        || document.get_document("meta").unwrap().keys().all(|key| KEYS.contains(&key.as_str()))
}

fn check(hops: &Hops, before: &BTreeMap<String, Document>) {
    let documents: BTreeMap<String, Document> = hops
        .resources
        .documents()
        .into_iter()
        .map(|document| (document.get_str("_id").unwrap().to_owned(), document))
        .collect();
    for (id, old) in before {
        let (old, new) = (edits(old), edits(&documents[id]));
        assert_eq!(old, new, "a user's fields of {id}");
    }
    let mut seen = BTreeSet::new();
    for row in hops.ledger.rows().iter().filter(|row| row.sign > 0) {
        let document = documents.get(&row.resource_id).unwrap();
        let day = Day::of_unix(row.date_seconds);
        assert!(is_seen(document, day), "{day}: {document}");
        seen.insert(document.get_str("cloud_resource_id").unwrap().to_owned());
    }
    assert!(!seen.is_empty(), "a case without a cost shows nothing");
    let live = documents.values().filter(|one| one.get("deleted_at") == Some(&Bson::Int64(0)));
    let stable: Vec<_> = live.map(|one| one.get_str("cloud_resource_id").unwrap()).collect();
    let once: BTreeSet<_> = stable.iter().collect();
    assert_eq!(stable.len(), once.len(), "one live document a resource");
}

async fn case(seed: u64) {
    let mut chance = Chance::new(seed);
    let today = Day::of_unix(NOON);
    let hops = hops(Arc::new(Source::new(today.previous(), &mut chance)), NOON);
    hops.source.complete();
    let mut before = BTreeMap::new();
    for key in keys() {
        if let Some(document) = random_document(&key, &mut chance) {
            before.insert(document.get_str("_id").unwrap().to_owned(), document.clone());
            hops.resources.insert_raw(document);
        }
    }
    let counts = Arc::new(Counts::default());
    for _ in 0..2 {
        work(&hops, &counts, &mut chance).await;
        check(&hops, &before);
    }
    let third = work(&hops, &counts, &mut chance).await;
    assert_eq!(third.documents_written, 0, "a run that changes nothing writes nothing");
}

#[test]
fn after_a_run_readers_see_every_document_with_costs_and_no_edit_is_lost() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    if let Some(seed) = setting("DOCUMENT_CASE") {
        return runtime.block_on(case(seed));
    }
    for seed in 0..setting("DOCUMENT_CASES").unwrap_or(CASES) {
        let work = std::panic::AssertUnwindSafe(|| runtime.block_on(case(seed)));
        let done = std::panic::catch_unwind(work);
        assert!(done.is_ok(), "DOCUMENT_CASE={seed} repeats it");
    }
}
