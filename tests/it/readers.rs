//! What the UI sees: the readers' own queries, run on the stores after the worker.
//!
//! One account over two full days at constant rates: cluster 10 USD/h, of which `shop` 6 and
//! `web` 2.5, so a day is 240 = 144 + 60 + 36 of the cluster itself. All sums are written here.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, doc};
use serde_json::Value;

use crate::support::ask::{External, ask_with, assert_live, live, usd};
use crate::support::servers::{Server, Stores};
use crate::support::worker::run;
use crate::support::world::{DAY, MARCH, constant};

const ACCOUNT: &str = "5a5a5a5a-0000-0000-0000-0000000000e1";
const DAYS: [&str; 5] = ["run", "--from", "2026-03-01", "--to", "2026-03-02"];
/// As the UI gives a range of days: from the first midnight to the last second.
const START: i64 = MARCH;
const END: i64 = MARCH + 2 * DAY - 1;

fn steady() -> Server {
    constant(ACCOUNT, (MARCH, MARCH + 2 * DAY), 10.0, &[("shop", 6.0), ("web", 2.5)])
}

/// Stores with the schema, and the settings of a worker on them.
async fn prepared(source: &Server) -> (Stores, Vec<(&'static str, String)>) {
    let stores = Stores::new("readers").await;
    let mut settings = stores.settings();
    settings.push(("PROMETHEUS_URL", source.url.clone()));
    settings.push(("ACCOUNTS", ACCOUNT.to_owned()));
    run(&settings, &["migrate"]).expect_success();
    (stores, settings)
}

/// The readers' match, which every pipeline begins with.
fn the_match() -> Document {
    doc! {
        "cloud_account_id": {"$in": [ACCOUNT]},
        "_first_seen_date": {"$lte": END - END.rem_euclid(DAY)},
        "_last_seen_date": {"$gte": START - START.rem_euclid(DAY)},
        "first_seen": {"$lte": END},
        "last_seen": {"$gte": START},
        "deleted_at": 0,
    }
}

async fn documents(stores: &Stores, filter: Document) -> Vec<Document> {
    let collection = stores.mongo().await.collection::<Document>("cloud_resource");
    collection.find(filter).await.unwrap().try_collect().await.unwrap()
}

async fn aggregated(stores: &Stores, pipeline: Vec<Document>) -> Vec<Document> {
    let collection = stores.mongo().await.collection::<Document>("cloud_resource");
    collection.aggregate(pipeline).await.unwrap().try_collect().await.unwrap()
}

fn text_id(document: &Document) -> String {
    match document.get("_id").unwrap() {
        Bson::ObjectId(id) => id.to_hex(),
        other => other.as_str().unwrap().to_owned(),
    }
}

async fn resource_id(stores: &Stores, namespace: &str) -> String {
    let filter = doc! {"k8s_namespace": namespace, "deleted_at": 0};
    text_id(&documents(stores, filter).await[0])
}

/// The first shape: ids of the matching documents, then their sums.
async fn sums_by_id(stores: &Stores) -> (BTreeMap<String, f64>, f64) {
    let ids: Vec<String> = documents(stores, the_match()).await.iter().map(text_id).collect();
    let tables = [
        External {
            name: "cloud_account_ids",
            structure: "id String",
            rows: vec![ACCOUNT.to_owned()],
        },
        External { name: "resource_ids", structure: "id String", rows: ids },
    ];
    let sql = format!(
        "SELECT cloud_account_id, resource_id, SUM(cost*sign) AS total_cost FROM expenses \
         WHERE cloud_account_id IN cloud_account_ids AND resource_id IN resource_ids \
         AND date >= toDateTime({START}) AND date <= toDateTime({END}) \
         GROUP BY cloud_account_id, resource_id WITH TOTALS HAVING SUM(sign) > 0 \
         ORDER BY total_cost DESC"
    );
    let reply = ask_with(stores, &sql, &tables).await;
    let rows = reply["data"].as_array().unwrap();
    let sums = rows
        .iter()
        .map(|row| (row["resource_id"].as_str().unwrap().to_owned(), usd(&row["total_cost"])))
        .collect();
    (sums, usd(&reply["totals"]["total_cost"]))
}

/// The second shape: sums a day by a field of the documents.
async fn sums_by_field(stores: &Stores, field: &str) -> Vec<Value> {
    let table = documents(stores, the_match()).await;
    let rows = table
        .iter()
        .map(|d| format!("{}\t{ACCOUNT}\t{}", text_id(d), d.get_str(field).unwrap_or("none")))
        .collect();
    let tables = [External {
        name: "resources",
        structure: "_id String, cloud_account_id String, group_field String",
        rows,
    }];
    let sql = format!(
        "SELECT date, group_field, cloud_account_id, SUM(cost*sign) AS total FROM expenses \
         JOIN resources ON expenses.resource_id = resources._id \
         AND expenses.cloud_account_id = resources.cloud_account_id \
         WHERE date >= toDateTime({START}) AND date <= toDateTime({END}) \
         GROUP BY date, group_field, cloud_account_id HAVING SUM(sign) > 0 \
         ORDER BY date, group_field"
    );
    ask_with(stores, &sql, &tables).await["data"].as_array().unwrap().clone()
}

fn close(got: f64, wanted: f64) -> bool {
    (got - wanted).abs() <= 1e-6
}

#[tokio::test(flavor = "multi_thread")]
async fn the_expense_queries_give_the_namespaces_their_costs() {
    let source = steady();
    let (stores, settings) = prepared(&source).await;
    run(&settings, &DAYS).expect_success();
    let (sums, total) = sums_by_id(&stores).await;
    assert_eq!(sums.len(), 3, "{sums:?}");
    let shop = resource_id(&stores, "shop").await;
    let web = resource_id(&stores, "web").await;
    assert!(close(sums[&shop], 288.0) && close(sums[&web], 120.0), "{sums:?}");
    assert!(close(total, 480.0), "{total}");
    let by_namespace = sums_by_field(&stores, "k8s_namespace").await;
    let got: Vec<(&str, f64)> = by_namespace
        .iter()
        .map(|row| (row["group_field"].as_str().unwrap(), usd(&row["total"])))
        .collect();
    let wanted = [("none", 36.0), ("shop", 144.0), ("web", 60.0)].repeat(2);
    assert_eq!(got.len(), 6, "{got:?}");
    for (got, wanted) in got.iter().zip(&wanted) {
        assert!(got.0 == wanted.0 && close(got.1, wanted.1), "{got:?} {wanted:?}");
    }
    let dates: Vec<&str> = by_namespace.iter().map(|row| row["date"].as_str().unwrap()).collect();
    assert_eq!((dates[0], dates[3]), ("2026-03-01 00:00:00", "2026-03-02 00:00:00"));
}

/// The pipeline behind the filters of the UI.
fn available_filters() -> Vec<Document> {
    let mut matched = the_match();
    matched.insert("cluster_id", Bson::Null);
    let mut group = doc! {"_id": {
        "cloud_account_id": "$cloud_account_id",
        "cluster_type_id": "$cluster_type_id",
        "is_environment": {"$ifNull": ["$is_environment", false]},
        "day": {"$trunc": {"$divide": ["$first_seen", DAY]}},
    }};
    for field in [
        "service_name",
        "pool_id",
        "employee_id",
        "k8s_node",
        "region",
        "resource_type",
        "k8s_namespace",
        "k8s_service",
        "cloud_account_id",
        "cloud_resource_id",
    ] {
        group.insert(field, doc! {"$addToSet": format!("${field}")});
    }
    for flag in ["active", "constraint_violated"] {
        let value = doc! {"$cond": {"if": {"$eq": [format!("${flag}"), true]}, "then": true, "else": false}};
        group.insert(flag, doc! {"$addToSet": value});
    }
    group.insert("tags", doc! {"$addToSet": "$tags.k"});
    group.insert("recommendations", doc! {"$addToSet": "$recommendations.run_timestamp"});
    vec![
        doc! {"$match": matched},
        doc! {"$addFields": {"tags": {"$objectToArray": "$tags"}}},
        doc! {"$unwind": {"path": "$tags", "preserveNullAndEmptyArrays": true}},
        doc! {"$group": group},
    ]
}

fn set(groups: &[Document], field: &str) -> Vec<String> {
    let all = groups.iter().flat_map(|group| group.get_array(field).unwrap());
    let mut out: Vec<String> = all.filter_map(|v| v.as_str().map(str::to_owned)).collect();
    out.sort();
    out.dedup();
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn the_filters_of_the_ui_list_the_namespaces() {
    let source = steady();
    let (stores, settings) = prepared(&source).await;
    run(&settings, &DAYS).expect_success();
    let groups = aggregated(&stores, available_filters()).await;
    assert_eq!(set(&groups, "k8s_namespace"), ["shop", "web"]);
    assert_eq!(set(&groups, "resource_type"), ["K8s Cluster", "K8s Namespace"]);
    assert_eq!(set(&groups, "service_name"), ["Kubernetes"]);
    assert_eq!(set(&groups, "cloud_account_id"), [ACCOUNT]);
    assert_eq!(set(&groups, "cloud_resource_id").len(), 3);
    let day = groups[0].get_document("_id").unwrap().get("day").unwrap();
    let day = day.as_i64().or_else(|| day.as_f64().map(|d| d as i64)).unwrap();
    assert_eq!(day, MARCH / DAY, "all were seen first on the first day");
    assert!(groups.iter().all(|g| g.get_array("constraint_violated").unwrap() == &[false.into()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clean_expenses_pipeline_finds_documents_that_its_reader_can_write_into() {
    let source = steady();
    let (stores, settings) = prepared(&source).await;
    run(&settings, &DAYS).expect_success();
    let pipeline = vec![
        doc! {"$match": the_match()},
        doc! {"$group": {
            "_id": {
                "cloud_account_id": "$cloud_account_id",
                "cluster_id": "$cluster_id",
                "day": {"$trunc": {"$divide": ["$first_seen", DAY]}},
            },
            "ids": {"$push": "$_id"},
        }},
    ];
    let groups = aggregated(&stores, pipeline).await;
    let ids: Vec<Bson> = groups.iter().flat_map(|g| g.get_array("ids").unwrap().clone()).collect();
    let found = documents(&stores, doc! {"_id": {"$in": ids}}).await;
    assert_eq!(found.len(), 3);
    for document in &found {
        assert!(document.get_document("meta").is_ok() && document.get_document("tags").is_ok());
        for field in ["name", "service_name", "resource_type"] {
            assert!(document.get_str(field).is_ok(), "{field} of {document}");
        }
        for field in ["region", "employee_id", "pool_id", "k8s_node", "k8s_service"] {
            assert!(document.contains_key(field), "{field} of {document}");
        }
        for field in ["first_seen", "last_seen", "_first_seen_date", "_last_seen_date"] {
            let kind = document.get(field).unwrap().element_type() as u8;
            assert!([0x10, 0x12].contains(&kind), "{field} is no integer: {document}");
        }
        assert!(document.get_bool("active").is_ok() && document.get_bool("is_environment").is_ok());
    }
    // What the UI shows beside a resource follows the ledger.
    let shop = documents(&stores, doc! {"k8s_namespace": "shop"}).await.remove(0);
    assert_eq!(shop.get_str("name"), Ok("Namespace: shop"));
    assert!(close(shop.get_f64("total_cost").unwrap(), 288.0), "{shop}");
    let last = shop.get_document("last_expense").unwrap();
    assert_eq!(last.get_i64("date").unwrap(), MARCH + DAY);
    assert!(close(last.get_f64("cost").unwrap(), 144.0), "{shop}");
}

/// As the REST API makes a document: an `_id` of its own, and only what its caller gave.
async fn made_by_another(stores: &Stores, id: Bson, namespace: &str) {
    let key = kubecost_worker::cost::ResourceKey::Namespace {
        cluster: "prod".to_owned(),
        namespace: namespace.to_owned(),
    };
    let account = kubecost_worker::cost::AccountId::new(ACCOUNT).unwrap();
    let document = doc! {
        "_id": id,
        "cloud_resource_id": key.id(&account),
        "cloud_account_id": ACCOUNT,
        "resource_type": "K8s Namespace",
        "service_name": "Kubernetes",
        "name": format!("what {namespace} is to us"),
        "k8s_namespace": namespace,
        "tags": {"dGVhbQ==": "checkout"},
        "pool_id": "a-pool",
        "employee_id": "an-owner",
        "meta": {"note": "kept"},
        "first_seen": MARCH + 7_200,
        "last_seen": MARCH + 7_200,
        "_first_seen_date": MARCH,
        "_last_seen_date": MARCH,
        "active": true,
        "deleted_at": 0,
        "created_at": MARCH,
    };
    let collection = stores.mongo().await.collection::<Document>("cloud_resource");
    collection.insert_one(document).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_other_makers_keep_their_ids_and_their_users_edits_over_ten_runs() {
    let source = steady();
    let (stores, settings) = prepared(&source).await;
    let uuid = "0c7e9f2e-5d0b-4f0c-9a55-6a1f2f0f9f10";
    let object_id = ObjectId::parse_str("65f0c0ffee65f0c0ffee65f0").unwrap();
    made_by_another(&stores, uuid.into(), "shop").await;
    made_by_another(&stores, object_id.into(), "web").await;
    for _ in 0..10 {
        run(&settings, &DAYS).expect_success();
    }
    let (sums, total) = sums_by_id(&stores).await;
    assert_eq!(sums.len(), 3, "{sums:?}");
    assert!(close(sums[uuid], 288.0) && close(sums[&object_id.to_hex()], 120.0), "{sums:?}");
    assert!(close(total, 480.0));
    let found = documents(&stores, doc! {"resource_type": "K8s Namespace"}).await;
    assert_eq!(found.len(), 2, "nothing stands beside what was there");
    for document in found {
        let namespace = document.get_str("k8s_namespace").unwrap();
        assert_eq!(document.get_str("name").unwrap(), format!("what {namespace} is to us"));
        assert_eq!(document.get_str("pool_id"), Ok("a-pool"));
        assert_eq!(document.get_str("employee_id"), Ok("an-owner"));
        assert_eq!(document.get_document("tags").unwrap(), &doc! {"dGVhbQ==": "checkout"});
        assert_eq!(document.get_document("meta").unwrap(), &doc! {"note": "kept"});
        let seen = (document.get("first_seen").unwrap(), document.get("last_seen").unwrap());
        assert_eq!(seen, (&Bson::Int64(MARCH), &Bson::Int64(END)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_document_with_our_id_does_not_block_and_stays_deleted() {
    let source = steady();
    let (stores, settings) = prepared(&source).await;
    run(&settings, &DAYS).expect_success();
    let old = resource_id(&stores, "shop").await;
    let collection = stores.mongo().await.collection::<Document>("cloud_resource");
    let mut deleted = documents(&stores, doc! {"_id": &old}).await.remove(0);
    deleted.insert("deleted_at", MARCH + 3 * DAY);
    // Not an update: the stand-in for MongoDB would keep the old value in its unique index.
    collection.delete_one(doc! {"_id": &old}).await.unwrap();
    collection.insert_one(deleted).await.unwrap();
    run(&settings, &DAYS).expect_success();
    let new = resource_id(&stores, "shop").await;
    assert_ne!(new, old);
    let (sums, total) = sums_by_id(&stores).await;
    assert!(close(sums[&new], 288.0) && close(total, 480.0), "{sums:?}");
    let deleted = documents(&stores, doc! {"_id": &old}).await.remove(0);
    assert_eq!(deleted.get_i64("deleted_at"), Ok(MARCH + 3 * DAY));
    // No dollar is there twice: the deleted document's rows were taken back.
    let day = |start| [(start, "", 36.0), (start, "shop", 144.0), (start, "web", 60.0)];
    let wanted: Vec<_> = day(MARCH).into_iter().chain(day(MARCH + DAY)).collect();
    assert_live(&live(&stores, ACCOUNT).await, &wanted);
    assert_eq!(run(&settings, &DAYS).expect_success().summary()["rows_written"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_cannot_be_made_fails_its_account_and_is_not_taken_for_another_worker() {
    let source = steady();
    let (stores, settings) = prepared(&source).await;
    run(&settings, &DAYS).expect_success();
    let ours = resource_id(&stores, "shop").await;
    let collection = stores.mongo().await.collection::<Document>("cloud_resource");
    let mut deleted = documents(&stores, doc! {"_id": &ours}).await.remove(0);
    collection.delete_one(doc! {"_id": &ours}).await.unwrap();
    // Every _id that a document of ours may get is held by a deleted one.
    let others = (2..10).map(|number| format!("{ours}.{number}"));
    for (index, id) in std::iter::once(ours.clone()).chain(others).enumerate() {
        deleted.insert("_id", id);
        deleted.insert("deleted_at", MARCH + 3 * DAY + i64::try_from(index).unwrap());
        collection.insert_one(&deleted).await.unwrap();
    }
    let failed = run(&settings, &DAYS);
    assert_eq!(failed.code, 1, "{}", failed.stdout);
    let summary = failed.summary();
    assert_eq!(summary["accounts_failed"], 1, "{summary}");
    assert!(summary["accounts"][0]["failure"]["what"].as_str().unwrap().contains(&ours));
}
