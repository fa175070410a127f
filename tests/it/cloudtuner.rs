//! A run beside CloudTuner's REST API: documents made by its bulk call, pool and owner, import
//! status, the time of the last discovery; and which collections hold resources and accounts.

use std::sync::Arc;

use futures_util::TryStreamExt;
use kubecost_worker::documents::bson_form::whole;
use mongodb::Collection;
use mongodb::bson::{Bson, Document, doc};
use serde_json::{Value, json};

use crate::rest_api::{FakeRestApi, Fault, SECRET, World};
use crate::support::ask::{ask, usd};
use crate::support::rest_documents::MongoDocuments;
use crate::support::small::{ACCOUNT, AT, START, Small};
use crate::support::worker::run;

const DAY: i64 = 86_400;
/// `AT` as Unix seconds.
const NOW: i64 = START + DAY + 43_230;

struct Cloud {
    small: Small,
    fake: FakeRestApi,
    settings: Vec<(&'static str, String)>,
    /// Pool and owner that the API's rule gives the account's resources.
    made: (String, String),
    discovery: String,
}

impl Cloud {
    async fn new(name: &str, more: &[(&'static str, &str)]) -> Self {
        let small = Small::new(name).await;
        let mut world = World::at(NOW);
        world.add_organization("o");
        let made = world.add_account("o", ACCOUNT, "kubernetes_cnr");
        world.accounts.get_mut(ACCOUNT).unwrap().insert("auto_import".into(), json!(false));
        let discovery = world.add_discovery(ACCOUNT, "k8s_pod");
        let collection = small.stores.mongo().await.collection("cloud_resource");
        let fake = FakeRestApi::start(world, Arc::new(MongoDocuments(collection))).await;
        let mut settings = small.settings.clone();
        settings.push(("REST_URL", fake.url.clone()));
        settings.push(("CLUSTER_SECRET", SECRET.to_owned()));
        settings.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        Self { small, fake, settings, made: (made.pool_id, made.owner_id), discovery }
    }

    async fn resources(&self) -> Collection<Document> {
        self.small.stores.mongo().await.collection("cloud_resource")
    }

    async fn documents(&self) -> Vec<Document> {
        let resources = self.resources().await;
        let sorted = resources.find(doc! {}).sort(doc! {"cloud_resource_id": 1});
        sorted.await.unwrap().try_collect().await.unwrap()
    }

    fn run_at(&self, at: &str) -> (i32, Value) {
        let finished = run(&self.settings, &["--at", at, "run"]);
        assert!(!finished.stderr.contains(SECRET), "{}", finished.stderr);
        (finished.code, finished.summary())
    }

    fn account(&self) -> Value {
        Value::Object(self.fake.world().accounts[ACCOUNT].clone())
    }

    fn calls(&self, method: &str, part: &str) -> usize {
        let asked = self.fake.asked();
        asked.iter().filter(|a| a.method == method && a.path.contains(part)).count()
    }

    /// What is stored under documents that are live, USD.
    async fn live_usd(&self) -> f64 {
        let live: Vec<String> = self
            .documents()
            .await
            .iter()
            .filter(|d| whole(d.get("deleted_at")) == Some(0))
            .map(|d| d.get_str("_id").unwrap().to_owned())
            .collect();
        let sql = "SELECT resource_id, sum(cost * sign) AS usd FROM expenses \
                   GROUP BY resource_id HAVING sum(sign) > 0";
        let rows = ask(&self.small.stores, sql).await;
        let live = |row: &&Value| live.iter().any(|id| *id == row["resource_id"]);
        rows.iter().filter(live).map(|row| usd(&row["usd"])).sum()
    }
}

/// A day, and half of the next with the minute that has begun, at 10 USD an hour; each of the six
/// rows is rounded to 2^-24 USD.
fn is_all(usd: f64) -> bool {
    (usd - 10.0 * f64::from(1_440 + 721) / 60.0).abs() < 6.0 / 16_777_216.0
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bulk_call_makes_new_documents_and_its_ids_hold_the_rows() {
    let cloud = Cloud::new("cloud_bulk", &[("RESOURCES", "rest")]).await;
    let (code, summary) = cloud.run_at(AT);
    assert_eq!((code, &summary["rest_api_failures"]), (0, &json!(0)), "{summary:#}");
    assert_eq!(summary["warnings"], json!([]), "everybody has a pool and an owner");
    let documents = cloud.documents().await;
    assert_eq!(documents.len(), 3);
    for document in &documents {
        assert_eq!(document.get_str("pool_id"), Ok(cloud.made.0.as_str()), "{document}");
        assert_eq!(document.get_str("employee_id"), Ok(cloud.made.1.as_str()));
        assert_eq!(document.get_str("k8s_cluster"), Ok("c"));
        assert!(matches!(document.get("_last_seen_date"), Some(Bson::DateTime(_))));
    }
    assert!(is_all(cloud.live_usd().await));
    let (_, again) = cloud.run_at(AT);
    assert_eq!((&again["rows_written"], &again["documents_written"]), (&json!(0), &json!(0)));
    assert_eq!(cloud.calls("POST", "cloud_resources/bulk"), 1, "all are new on the first day only");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_importer_of_the_platform_that_is_on_is_warned_of_until_it_is_switched_off() {
    let cloud = Cloud::new("cloud_auto_import", &[]).await;
    cloud.fake.world().accounts.get_mut(ACCOUNT).unwrap().insert("auto_import".into(), json!(true));
    let command = format!("accounts --disable-auto-import {ACCOUNT}");
    let (code, summary) = cloud.run_at(AT);
    let warning = summary["warnings"][0].as_str().unwrap();
    assert!(code == 0 && warning.contains(&command), "{summary:#}");
    let switch_off = ["accounts", "--disable-auto-import", ACCOUNT];
    let done = run(&cloud.settings, &switch_off).expect_success();
    assert!(done.stdout.contains("is off now"), "{}", done.stdout);
    assert_eq!(cloud.account()["auto_import"], false);
    let (_, summary) = cloud.run_at("2026-03-02T12:05:30Z");
    assert_eq!(summary["warnings"], json!([]));
    let patches = cloud.calls("PATCH", ACCOUNT);
    let again = run(&cloud.settings, &switch_off).expect_success();
    assert!(again.stdout.contains("was off already"), "{}", again.stdout);
    assert_eq!(cloud.calls("PATCH", ACCOUNT), patches, "nothing is written twice");
    let unknown = run(&cloud.settings, &["accounts", "--disable-auto-import", "nobody"]);
    assert_ne!(unknown.code, 0, "{}", unknown.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_bulk_call_refuses_or_has_as_deleted_is_made_in_mongodb() {
    let cloud = Cloud::new("cloud_refused", &[("RESOURCES", "rest")]).await;
    let stable = |namespace: &str| {
        let [cluster, namespace] = ["c", namespace].map(str::to_owned);
        let account = kubecost_worker::cost::AccountId::new(ACCOUNT).unwrap();
        kubecost_worker::cost::ResourceKey::Namespace { cluster, namespace }.id(&account)
    };
    cloud.fake.world().refused_ids.insert(stable("pay"));
    let gone = doc! {
        "_id": "gone", "cloud_resource_id": stable("shop"), "cloud_account_id": ACCOUNT,
        "deleted_at": 99, "first_seen": 1, "last_seen": 5,
    };
    cloud.resources().await.insert_one(gone).await.unwrap();
    let (code, summary) = cloud.run_at(AT);
    assert_eq!(code, 0, "{summary:#}");
    assert!(is_all(cloud.live_usd().await), "no dollar lies under a deleted document");
    let documents = cloud.documents().await;
    let of = |namespace: &str| {
        let id = stable(namespace);
        let mine = documents.iter().filter(|d| d.get_str("cloud_resource_id") == Ok(&id));
        mine.filter(|d| d.get_str("_id") != Ok("gone")).cloned().collect::<Vec<_>>()
    };
    for namespace in ["pay", "shop"] {
        let [one] = &of(namespace)[..] else { panic!("{documents:?}") };
        assert!(uuid::Uuid::parse_str(one.get_str("_id").unwrap()).is_ok(), "{one}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rest_api_that_fails_costs_a_warning_and_a_count_and_no_dollar() {
    for (index, fault) in
        [Fault::Status(401), Fault::Status(403), Fault::Status(404), Fault::Status(500), Fault::Cut]
            .into_iter()
            .enumerate()
    {
        let more = [("RESOURCES", "rest")];
        let cloud = Cloud::new(&format!("cloud_fault_{index}"), &more).await;
        cloud.fake.fail(fault, "", None);
        let (code, summary) = cloud.run_at(AT);
        assert_eq!(code, 0, "{index}: {summary:#}");
        assert!(summary["rest_api_failures"].as_u64().unwrap() > 0, "{index}: {summary:#}");
        assert!(is_all(cloud.live_usd().await), "{index}");
        // Pool and owner are filled in once the API answers.
        cloud.fake.recover();
        let (code, summary) = cloud.run_at("2026-03-02T12:05:30Z");
        assert_eq!((code, &summary["rest_api_failures"]), (0, &json!(0)), "{index}: {summary:#}");
        let documents = cloud.documents().await;
        let has_pool = |d: &Document| d.get_str("pool_id") == Ok(cloud.made.0.as_str());
        assert!(documents.iter().all(has_pool), "{index}: {documents:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rest_api_that_is_down_costs_no_dollar() {
    let mut cloud = Cloud::new("cloud_down", &[("RESOURCES", "rest")]).await;
    cloud.fake.stop().await;
    let (code, summary) = cloud.run_at(AT);
    assert_eq!(code, 0, "{summary:#}");
    assert_eq!(summary["rest_api_failures"], 1, "it is not asked again in the run: {summary:#}");
    assert!(is_all(cloud.live_usd().await));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_import_status_is_reported_at_most_once_an_interval_where_nothing_changed() {
    let cloud = Cloud::new("cloud_status", &[]).await;
    cloud.run_at(AT);
    let account = cloud.account();
    assert_eq!(account["last_import_at"], NOW);
    assert_eq!(account["last_import_attempt_at"], NOW, "both times are one value");
    assert_eq!(cloud.calls("PATCH", ACCOUNT), 1);
    cloud.run_at("2026-03-02T12:05:30Z");
    assert_eq!(cloud.calls("PATCH", ACCOUNT), 1, "nothing changed within 15 minutes");
    cloud.run_at("2026-03-02T12:15:30Z");
    assert_eq!(cloud.calls("PATCH", ACCOUNT), 2);
    // The pods' observer clears `active` on all documents seen before this time, and where it is 0.
    let discovery = cloud.fake.world().discovery[&cloud.discovery]["last_discovery_at"].clone();
    assert_eq!(discovery, START, "yesterday's midnight");

    let mut broken = cloud.settings.clone();
    broken.retain(|(name, _)| *name != "PROMETHEUS_URL");
    broken.push(("PROMETHEUS_URL", format!("{}/nowhere", cloud.fake.url)));
    // A query layer that is down ends the run before any account: the status stays.
    assert_eq!(run(&broken, &["--at", "2026-03-02T12:20:30Z", "run"]).code, 3);
    assert_eq!(cloud.calls("PATCH", ACCOUNT), 2);
    // Days later the source has nothing at all: the account's page says so, and keeps the time of
    // the last success.
    let (_, summary) = cloud.run_at("2026-06-20T12:00:30Z");
    let account = cloud.account();
    let error = account["last_import_attempt_error"].as_str().unwrap();
    assert!(error.contains("no sample"), "{error} {summary:#}");
    assert_eq!(account["last_import_at"], NOW + 900);
}

#[tokio::test(flavor = "multi_thread")]
async fn last_seen_follows_the_last_sample_in_one_update_an_interval() {
    let small = Small::new("cloud_seen").await;
    let resources = small.stores.mongo().await.collection::<Document>("cloud_resource");
    let last_seen = async || {
        let found: Vec<Document> =
            resources.find(doc! {}).await.unwrap().try_collect().await.unwrap();
        let seen = found.iter().map(|d| d.get_i64("last_seen").unwrap());
        (seen.clone().min().unwrap(), seen.max().unwrap())
    };
    let at = |at: &str| run(&small.settings, &["--at", at, "run"]).expect_success().summary();
    at("2026-03-02T10:00:30Z");
    let ten = START + DAY + 36_000;
    // The history has a sample a minute, some seconds after it.
    let (first, last) = last_seen().await;
    assert!(first == last && (ten - 60..=ten + 30).contains(&first), "{first} {ten}");
    at("2026-03-02T10:20:30Z");
    assert_eq!(last_seen().await, (first, last), "within the interval");
    at("2026-03-02T10:40:30Z");
    let (moved, also) = last_seen().await;
    assert!(moved == also && (ten + 2_340..=ten + 2_430).contains(&moved), "{moved} {ten}");
    // The history ends at noon: hours later nothing has been seen since.
    at("2026-03-02T18:00:30Z");
    assert_eq!(last_seen().await, (moved, also), "never beyond the last sample");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collection_of_resources_is_found_out() {
    let small = Small::new("cloud_collection").await;
    let mongo = small.stores.mongo().await;
    let other = doc! {"_id": "x", "cloud_account_id": "aws", "cloud_resource_id": "i-1",
    "deleted_at": 0, "_first_seen_date": 5};
    mongo.collection::<Document>("resources").insert_one(&other).await.unwrap();
    run(&small.settings, &["migrate"]).expect_success();
    run(&small.settings, &["--at", AT, "run"]).expect_success();
    let count = async |name: &str| {
        mongo.collection::<Document>(name).count_documents(doc! {}).await.unwrap()
    };
    assert_eq!((count("resources").await, count("cloud_resource").await), (4, 0));
    mongo.collection::<Document>("cloud_resource").insert_one(&other).await.unwrap();
    let refused = run(&small.settings, &["--at", AT, "run"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.stdout.contains("RESOURCES_COLLECTION"), "{}", refused.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_found_out() {
    let small = Small::new("cloud_accounts").await;
    let mut settings = small.settings.clone();
    settings.retain(|(name, _)| *name != "ACCOUNTS");
    let none = run(&settings, &["accounts"]);
    assert_eq!(none.code, 2, "{}", none.stdout);
    for part in ["cloud_account", "cloudaccount", "REST_URL"] {
        assert!(none.stderr.contains(part), "{part}: {}", none.stderr);
    }
    let account = doc! {"_id": ACCOUNT, "type": "kubernetes_cnr", "deleted_at": 0};
    let mongo = small.stores.mongo().await;
    mongo.collection::<Document>("cloudaccount").insert_one(account).await.unwrap();
    let found = run(&settings, &["accounts", "--output", "json"]).expect_success();
    assert!(found.stdout.contains(ACCOUNT), "{}", found.stdout);
    let cloud = Cloud::new("cloud_accounts_rest", &[]).await;
    let mut settings = cloud.settings.clone();
    settings.retain(|(name, _)| *name != "ACCOUNTS" && *name != "MONGO_URL");
    let found = run(&settings, &["accounts", "--output", "json"]).expect_success();
    assert!(found.stdout.contains(ACCOUNT), "{}", found.stdout);
    assert!(cloud.calls("GET", "organizations") > 0);
}
