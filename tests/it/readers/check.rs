//! All pages against the costs that are written down in `support::three_accounts`.

use std::collections::{BTreeMap, BTreeSet};

use mongodb::bson::Document;
use mongodb::bson::spec::ElementType;

use crate::support::bulk_made::Belongs;
use crate::support::readers::{BREAKDOWNS, Filter, NOT_SET, Readers};
use crate::support::three_accounts::{ACCOUNTS, ALPHA, Expected, RANGE, costs, expected};
use crate::support::world::{DAY, MARCH};

/// Who resources belong to, by stable id; the others belong to nobody.
pub(super) type People = BTreeMap<String, Belongs>;

pub(super) const POOL: &str = "50015001-0000-4000-8000-000000000001";
pub(super) const OWNER: &str = "0a0a0a0a-0000-4000-8000-000000000002";

/// The readers of the three accounts' organization, with one pool and one employee.
pub(super) fn readers(stores: &crate::support::servers::Stores) -> Readers<'_> {
    Readers::new(stores, &ACCOUNTS).with_people(&[POOL], &[OWNER])
}

/// The value that a resource's document has in a field.
fn value(resource: &Expected, field: &str, people: &People) -> Option<String> {
    let belongs = people.get(&resource.cloud_resource_id());
    let value = match field {
        "employee_id" => belongs.map(|belongs| belongs.owner),
        "pool_id" => belongs.map(|belongs| belongs.pool),
        "cloud_account_id" => Some(resource.account),
        "service_name" => Some("Kubernetes"),
        "region" => None,
        "resource_type" => Some(resource.resource_type),
        "k8s_node" => resource.node,
        "k8s_namespace" => resource.namespace(),
        "k8s_service" => resource.service,
        other => panic!("no field {other}"),
    };
    value.map(str::to_owned)
}

/// Every page, to the last bit.
pub(super) async fn every_page(readers: &Readers<'_>, people: &People) {
    the_list_of_expenses(readers).await;
    the_list_by_each_filter(readers, people).await;
    the_filters(readers, people).await;
    the_breakdowns(readers, people).await;
    the_counts(readers, people).await;
    the_pods(readers).await;
    the_home_page(readers, people).await;
}

async fn list(readers: &Readers<'_>, filter: Filter) -> BTreeMap<String, f64> {
    let page = readers.clean_expenses(&filter).await;
    let by_id: BTreeMap<String, f64> =
        page.rows.iter().map(|row| (row.text("cloud_resource_id").unwrap(), row.cost)).collect();
    assert_eq!(by_id.len(), page.rows.len(), "a resource is there twice: {:?}", page.rows);
    assert_eq!(page.total_count, page.rows.len());
    assert_eq!(page.total_cost, by_id.values().sum::<f64>(), "{by_id:?}");
    assert_eq!(readers.summary(&filter).await, (by_id.len(), page.total_cost), "{by_id:?}");
    by_id
}

fn all_days() -> Filter {
    Filter::days(RANGE.0, RANGE.1)
}

async fn the_list_of_expenses(readers: &Readers<'_>) {
    assert_eq!(list(readers, all_days()).await, costs(|_| true, 0..3));
    let second = Filter::days(MARCH + DAY, MARCH + 2 * DAY - 1);
    assert_eq!(list(readers, second).await, costs(|e| e.days[1] > 0.0, 1..2));
    for row in readers.clean_expenses(&all_days()).await.rows {
        has_the_readers_types(&row.document);
    }
}

async fn the_list_by_each_filter(readers: &Readers<'_>, people: &People) {
    let fields = [
        ("k8s_namespace", vec!["shop", NOT_SET]),
        ("k8s_node", vec!["n1", "n9"]),
        ("k8s_service", vec!["cart"]),
        ("pool_id", vec![POOL]),
        ("employee_id", vec![OWNER]),
        ("pool_id", vec![NOT_SET]),
        ("cloud_account_id", vec![ALPHA]),
        ("service_name", vec!["Kubernetes"]),
        ("region", vec![NOT_SET]),
    ];
    for (field, values) in fields {
        let wanted = costs(
            |e| values.contains(&value(e, field, people).as_deref().unwrap_or(NOT_SET)),
            0..3,
        );
        let got = list(readers, all_days().by(field, &values)).await;
        assert_eq!(got, wanted, "{field} {values:?}");
    }
    for name in ["K8s Pod", "K8s Namespace", "K8s Cluster"] {
        let of = |identity: &str| all_days().by("resource_type", &[&format!("{name}:{identity}")]);
        let wanted = costs(|e| e.resource_type == name, 0..3);
        assert_eq!(list(readers, of("regular")).await, wanted, "{name}");
        assert_eq!(list(readers, of("cluster")).await, BTreeMap::new(), "{name}");
        assert_eq!(list(readers, of("environment")).await, BTreeMap::new(), "{name}");
    }
    for is_active in [true, false] {
        let got = list(readers, all_days().active(is_active)).await;
        assert_eq!(got, costs(|e| e.is_active() == is_active, 0..3), "active: {is_active}");
    }
    assert_eq!(list(readers, all_days().constraint_violated(true)).await, BTreeMap::new());
    let gone = all_days().seen("last_seen", "$lte", MARCH + DAY - 1);
    assert_eq!(list(readers, gone).await, costs(|e| !e.is_active(), 0..3));
}

async fn the_filters(readers: &Readers<'_>, people: &People) {
    let offered = readers.available_filters(&all_days()).await;
    let all = expected();
    for field in BREAKDOWNS {
        let wanted: BTreeSet<_> = all.iter().map(|e| value(e, field, people)).collect();
        assert_eq!(offered.fields[field], wanted, "{field}");
    }
    let types: Vec<&str> = offered.resource_types.iter().map(String::as_str).collect();
    assert_eq!(types, ["K8s Cluster:regular", "K8s Namespace:regular", "K8s Pod:regular"]);
    assert_eq!(offered.active, BTreeSet::from([false, true]));
    assert_eq!(offered.constraint_violated, BTreeSet::from([false]));
    let ids: BTreeSet<String> = all.iter().map(Expected::cloud_resource_id).collect();
    assert_eq!(offered.cloud_resource_ids, ids);
    let of_edge = readers.available_filters(&all_days().by("k8s_node", &["e1"])).await;
    assert_eq!(of_edge.texts("k8s_namespace"), ["shop"]);
    assert_eq!(of_edge.active, BTreeSet::from([true]));
}

async fn the_breakdowns(readers: &Readers<'_>, people: &People) {
    // The last two days, so that the first one is in the range before them.
    let filter = Filter::days(MARCH + DAY, RANGE.1);
    for by in BREAKDOWNS.map(Some).into_iter().chain([None]) {
        let got = readers.breakdown(&filter, by).await;
        let mut wanted: BTreeMap<(i64, Option<String>), f64> = BTreeMap::new();
        for resource in expected() {
            let value = by.and_then(|field| value(&resource, field, people));
            for (day, usd) in (0_i64..).zip(resource.days).skip(1).filter(|(_, usd)| *usd > 0.0) {
                *wanted.entry((MARCH + day * DAY, value.clone())).or_default() += usd;
            }
        }
        assert_eq!(got.days, wanted, "{by:?}");
        let of_days = |days| costs(|_| true, days).values().sum::<f64>();
        assert_eq!((got.total, got.previous_total), (of_days(1..3), of_days(0..1)), "{by:?}");
    }
}

async fn the_counts(readers: &Readers<'_>, people: &People) {
    for by in BREAKDOWNS {
        let got = readers.resource_count(&all_days(), by).await;
        assert_eq!(got.total, i64::try_from(expected().len()).unwrap(), "{by}");
        let (mut wanted, mut last_day) = (BTreeMap::new(), BTreeMap::new());
        for resource in expected() {
            let value = value(&resource, by, people);
            *wanted.entry(value.clone()).or_default() += 1;
            *last_day.entry(value).or_default() += i64::from(resource.is_active());
        }
        assert_eq!(got.by_value, wanted, "{by}");
        let start = MARCH + 2 * DAY;
        let of_last_day: BTreeMap<_, i64> = got
            .by_day
            .into_iter()
            .filter(|((day, _), _)| *day == start)
            .map(|((_, v), n)| (v, n))
            .collect();
        assert_eq!(of_last_day, last_day, "{by}");
    }
    let pods = all_days().by("resource_type", &["K8s Pod:regular"]);
    assert_eq!(readers.resource_count(&pods, "k8s_namespace").await.total, 5);
}

async fn the_pods(readers: &Readers<'_>) {
    let got: BTreeSet<String> = readers
        .pods(MARCH + 2 * DAY)
        .await
        .iter()
        .map(|pod| pod.get_str("cloud_resource_id").unwrap().to_owned())
        .collect();
    let wanted = costs(|e| e.resource_type == "K8s Pod", 0..3).into_keys().collect();
    assert_eq!(got, wanted);
}

async fn the_home_page(readers: &Readers<'_>, people: &People) {
    for (field, of, by) in [
        ("pool_id", POOL, "pool_id"),
        ("employee_id", OWNER, "employee_id"),
        ("cloud_account_id", ALPHA, "pool_id"),
    ] {
        let got = readers.expenses_of((field, &[of]), RANGE, by).await;
        let mut wanted: BTreeMap<(i64, Option<String>), f64> = BTreeMap::new();
        for resource in expected().iter().filter(|e| value(e, field, people).as_deref() == Some(of))
        {
            for (day, usd) in (0_i64..).zip(resource.days).filter(|(_, usd)| *usd > 0.0) {
                *wanted.entry((MARCH + day * DAY, value(resource, by, people))).or_default() += usd;
            }
        }
        assert_eq!(got, wanted, "{field}");
    }
}

/// The kinds of values that readers compare with, whoever made the document.
fn has_the_readers_types(document: &Document) {
    for field in ["_first_seen_date", "_last_seen_date"] {
        let date =
            document.get_datetime(field).unwrap_or_else(|e| panic!("{field}: {e}: {document}"));
        assert_eq!(date.timestamp_millis() % 86_400_000, 0, "{field} is no midnight: {document}");
        let of = document.get(&field[1..field.len() - "_date".len()]).unwrap();
        let seconds = of.as_i64().or_else(|| of.as_i32().map(i64::from)).unwrap();
        assert_eq!(date.timestamp_millis() / 1_000, seconds - seconds % DAY, "{document}");
    }
    for field in ["cluster_id", "cluster_type_id"] {
        assert!(!document.contains_key(field), "{field} is there: {document}");
    }
    let is = |field: &str, kind| document.get(field).is_none_or(|v| v.element_type() == kind);
    assert!(is("meta", ElementType::EmbeddedDocument), "{document}");
    assert!(is("tags", ElementType::EmbeddedDocument), "{document}");
    for field in ["pool_id", "employee_id", "name", "service_name", "resource_type"] {
        assert!(is(field, ElementType::String), "{field}: {document}");
    }
    assert_eq!(
        document.get("deleted_at").and_then(|v| v.as_i64().or(v.as_i32().map(i64::from))),
        Some(0)
    );
    if let Ok(last) = document.get_document("last_expense") {
        assert!(last.get_f64("cost").is_ok(), "{document}");
    }
    assert!(document.get("last_expense").is_none_or(|l| l.as_document().is_some()), "{document}");
}
