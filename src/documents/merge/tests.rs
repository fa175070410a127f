//! What days change about documents, one rule at a time.

use super::*;
use crate::documents::StoredDate;

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
    ObservedResource {
        key,
        cloud_resource_id: stable,
        node,
        service: None,
        facts,
        kubernetes: None,
    }
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
    let new = &new.document;
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
    assert_eq!(update.repair.set_meta, [("hourly_price_usd".to_owned(), MetaValue::Number(0.5))]);
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
    let [Change::Insert(new)] = changes.as_slice() else { panic!("{changes:?}") };
    let document = &new.document;
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
    let at =
        |at_seconds: i64| SeenNow { at_seconds, keys: [shop()].into(), interval_seconds: 1_800 };
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
    let [Change::Insert(new)] = new.as_slice() else { panic!("{new:?}") };
    assert_eq!(new.document.last_seen, start + 36_000);
}

#[test]
fn numbers_in_place_of_dates_are_replaced_by_the_dates_of_the_moved_times() {
    let broken = StoredResource {
        first_seen_date: StoredDate::NotADate,
        last_seen_date: StoredDate::NotADate,
        ..stored(day().next(), day().next().start_seconds())
    };
    let (changes, _) = plan(day().end_seconds() + 86_400, &[broken]);
    let [Change::Update(update)] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!(update.repair.first_seen_date, Some(day()));
    assert_eq!(update.repair.last_seen_date, Some(day().next()));
}
