//! What earlier software left: its documents hand pool, owner and tags on, its rows are taken back.

use mongodb::bson::{DateTime, Document, doc};

use crate::support::readers::{Filter, Readers};
use crate::support::small::{ACCOUNT, AT, START, Small};
use crate::support::worker::{Finished, run};

const DAY: i64 = 86_400;
const POOL: &str = "50015001-0000-4000-8000-000000000001";
const OWNER: &str = "0a0a0a0a-0000-4000-8000-000000000002";
/// `k8s-ns-` and the first 16 digits of `printf %s namespace-shop | md5sum`.
const SHOP: &str = "k8s-ns-683a5a0d78aec59f";
/// The same of a namespace that was gone before this program came.
const GONE: &str = "k8s-ns-be278305c5270b56";
const IDS: [&str; 3] = [
    "7e57b01c-0000-4000-8000-000000000001",
    "7e57b01c-0000-4000-8000-000000000002",
    "7e57b01c-0000-4000-8000-000000000003",
];

/// A document as the bulk call made it for earlier software.
fn earlier(index: usize, stable: &str, kind: &str, namespace: Option<&str>) -> Document {
    let seconds = i32::try_from(START + 3_600).unwrap();
    let midnight = DateTime::from_millis(START * 1_000);
    let mut document = doc! {
        "_id": IDS[index], "cloud_resource_id": stable, "cloud_account_id": ACCOUNT,
        "deleted_at": 0_i32, "first_seen": seconds, "_first_seen_date": midnight,
        "last_seen": seconds, "_last_seen_date": midnight, "service_name": "Kubernetes",
        "resource_type": kind, "name": format!("old {stable}"), "active": true,
        "pool_id": POOL, "employee_id": OWNER, "tags": {"dGVhbQ==": "checkout"},
    };
    if let Some(namespace) = namespace {
        document.insert("k8s_namespace", namespace);
    }
    document
}

struct World {
    small: Small,
}

impl World {
    async fn new(name: &str) -> Self {
        let small = Small::new(name).await;
        let world = Self { small };
        let documents = [
            earlier(0, "cluster", "K8s Cluster", None),
            earlier(1, SHOP, "K8s Namespace", Some("shop")),
            earlier(2, GONE, "K8s Namespace", Some("gone")),
        ];
        world.collection().await.insert_many(documents).await.unwrap();
        // An importer spread the period's total over its days; the earlier worker wrote rates, under
        // the stable id, at the time of its run.
        for day in [0, DAY] {
            world.small.insert_raw(IDS[0], day, 200.0, 1).await;
        }
        world.small.insert_raw(SHOP, 7_777, 6.0, 1).await;
        world.small.insert_raw(IDS[1], 0, 6.0, 1).await;
        world
    }

    async fn collection(&self) -> mongodb::Collection<Document> {
        self.small.stores.mongo().await.collection("cloud_resource")
    }

    async fn document(&self, filter: Document) -> Document {
        self.collection().await.find_one(filter).await.unwrap().unwrap()
    }

    fn audit(&self, days: (&str, &str), more: &[&str]) -> Finished {
        let words = ["--at", AT, "audit", "--output", "json", "--from", days.0, "--to", days.1];
        run(&self.small.settings, &[&words[..], more].concat())
    }

    async fn shown_usd(&self) -> f64 {
        let readers = Readers::new(&self.small.stores, &[ACCOUNT]).with_people(&[POOL], &[OWNER]);
        readers.clean_expenses(&Filter::days(START, START + 2 * DAY - 1)).await.total_cost
    }
}

const BOTH: (&str, &str) = ("2026-03-01", "2026-03-02");

#[tokio::test(flavor = "multi_thread")]
async fn what_earlier_software_left_is_adopted_and_no_dollar_is_shown_twice() {
    let world = World::new("adopt").await;
    let settings = &world.small.settings;
    let ran = run(settings, &["--at", AT, "run"]).expect_success();
    let summary = ran.summary();
    let first = summary["accounts"][0]["days"].as_array().unwrap();
    let warnings: Vec<String> = first
        .iter()
        .flat_map(|day| day["warnings"].as_array().unwrap())
        .map(|warning| warning.as_str().unwrap().to_owned())
        .collect();
    let command = "audit --from 2026-03-01 --to 2026-03-01 --adopt --dry-run";
    for part in ["belong to no resource", "are off midnight"] {
        let named = warnings.iter().any(|w| w.contains(part) && w.contains(command));
        assert!(named, "{part}: {warnings:?}");
    }
    let right = 10.0 * f64::from(1_440 + 721) / 60.0;
    let twice = world.shown_usd().await;
    assert!((twice - right - 406.0).abs() < 1e-6, "{twice}: both are shown");

    let before = world.small.stored().await;
    let planned = world.audit(BOTH, &["--adopt", "--dry-run"]).summary();
    let what: Vec<&str> = planned["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["what"].as_str().unwrap())
        .collect();
    let goes =
        format!("its pool {POOL} and owner {OWNER} and 1 of its tags go over to 1 documents");
    assert_eq!(what.iter().filter(|what| what.contains(&goes)).count(), 2, "{what:?}");
    assert!(what.iter().any(|what| what.contains("no document of this program")), "{what:?}");
    assert_eq!(world.small.stored().await, before);

    // A document whose rows lie outside of the days that were asked for stays.
    let half = world.audit(("2026-03-01", "2026-03-01"), &["--adopt"]);
    assert_eq!((half.code, &half.summary()["mended"]["documents_retired"]), (1, &2.into()));
    // Of the second day, which goes on, this program has stored a part only: its row stays too.
    let whole = world.audit(BOTH, &["--adopt"]);
    let summary = whole.summary();
    assert_eq!((whole.code, &summary["mended"]["documents_retired"]), (1, &0.into()), "{summary}");
    assert_eq!(summary["mended"]["usd_taken_back"], 0.0);
    assert!(whole.stdout.contains("has stored only a part of the day"), "{summary}");
    run(settings, &["--at", AT, "run"]).expect_success();
    let shown = world.shown_usd().await;
    assert!((shown - right - 200.0).abs() < 1e-6, "{shown} {right}");
    let cluster = doc! {"resource_type": "K8s Cluster", "cloud_resource_id": {"$ne": "cluster"}};
    for filter in [doc! {"_id": Small::id("shop")}, cluster] {
        let document = world.document(filter).await;
        assert_eq!(document.get_str("pool_id"), Ok(POOL), "{document}");
        assert_eq!(document.get_str("employee_id"), Ok(OWNER));
        let tags = document.get_document("tags").unwrap();
        assert_eq!(tags.get_str("dGVhbQ=="), Ok("checkout"));
    }
    let pay = world.document(doc! {"_id": Small::id("pay")}).await;
    assert!(pay.get_str("pool_id").is_err() && pay.get_document("tags").unwrap().is_empty());
    assert_eq!(world.audit(BOTH, &["--adopt"]).code, 1);
    let again = run(settings, &["--at", AT, "run"]).expect_success().summary();
    assert_eq!((&again["rows_written"], &again["documents_written"]), (&0.into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_edit_of_the_new_document_survives_an_adoption() {
    let world = World::new("adopt_edited").await;
    run(&world.small.settings, &["--at", AT, "run"]).expect_success();
    let edit = doc! {"$set": {"pool_id": "mine", "employee_id": "me", "name": "Our shop",
    "tags": {"dGVhbQ==": "blue"}}};
    let shop = doc! {"_id": Small::id("shop")};
    world.collection().await.update_one(shop.clone(), edit).await.unwrap();
    assert_eq!(world.audit(BOTH, &["--adopt"]).code, 1);
    let document = world.document(shop).await;
    for (field, value) in [("pool_id", "mine"), ("employee_id", "me"), ("name", "Our shop")] {
        assert_eq!(document.get_str(field), Ok(value));
    }
    assert_eq!(document.get_document("tags").unwrap().get_str("dGVhbQ=="), Ok("blue"));
    let old = world.document(doc! {"_id": IDS[1]}).await;
    assert!(old.get("deleted_at").and_then(seconds) > Some(0), "{old}");
}

fn seconds(value: &mongodb::bson::Bson) -> Option<i64> {
    kubecost_worker::documents::bson_form::whole(Some(value))
}
