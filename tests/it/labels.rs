//! `TAGS_FROM_LABELS`: tags of namespaces and pods follow their labels, and a user's stay.

use std::sync::Arc;

use mongodb::bson::{Document, doc};

use crate::rest_api::world::{Condition, Rule};
use crate::rest_api::{FakeRestApi, SECRET, World as RestWorld};
use crate::support::metrics::History;
use crate::support::readers::{Filter, Readers};
use crate::support::rest_documents::MongoDocuments;
use crate::support::servers::{Server, Stores};
use crate::support::worker::run;
use crate::support::world::{DAY, HOUR, MARCH, gauges, source};

const ACCOUNT: &str = "1abe15e1-0000-4000-8000-0000000000a1";
const LIFE: (i64, i64) = (MARCH, MARCH + DAY);

/// At noon `shop` goes from team blue to team green, and loses its label `tier`.
fn history() -> History {
    let mut history = History::default();
    gauges(&mut history, ACCOUNT, LIFE, |_| Some(8.0), &[("shop", 4.0), ("pay", 1.0)]);
    let base = format!("tenant_id=\"{ACCOUNT}\",cluster=\"prod\"");
    let noon = MARCH + 12 * HOUR;
    let mut put = |metric: &str, labels: &str, life: (i64, i64), value: f64| {
        history.every_minute(metric, &format!("{base},{labels}"), 0, life, |_| Some(value));
    };
    let shop = "namespace=\"shop\",label_kubernetes_io_metadata_name=\"shop\"";
    let before = format!("{shop},label_team=\"blue\",label_tier=\"gold\"");
    put("kube_namespace_labels", &before, (MARCH, noon), 1.0);
    put("kube_namespace_labels", &format!("{shop},label_team=\"green\""), (noon, LIFE.1), 1.0);
    let pod = "namespace=\"shop\",pod=\"web-1\"";
    put("kube_pod_labels", &format!("{pod},label_app=\"web\""), LIFE, 1.0);
    let owner =
        format!("{pod},owner_kind=\"ReplicaSet\",owner_name=\"web\",owner_is_controller=\"true\"");
    put("kube_pod_owner", &owner, LIFE, 1.0);
    put("cloudtuner_kubecost_pod_total_cost", pod, LIFE, 2.0);
    history
}

struct World {
    stores: Stores,
    settings: Vec<(&'static str, String)>,
    _source: Server,
}

impl World {
    async fn new(name: &str, labels: &str) -> Self {
        let source = source(&[history()]);
        let stores = Stores::new(name).await;
        let mut settings = stores.settings();
        settings.push(("PROMETHEUS_URL", source.url.clone()));
        settings.push(("ACCOUNTS", ACCOUNT.to_owned()));
        settings.push(("LEVELS", "cluster,namespace,pod".to_owned()));
        settings.push(("TAGS_FROM_LABELS", labels.to_owned()));
        run(&settings, &["migrate"]).expect_success();
        Self { stores, settings, _source: source }
    }

    fn run_at(&self, time: &str) {
        let at = format!("2026-03-01T{time}:30Z");
        run(&self.settings, &["run", "--at", &at]).expect_success();
    }

    async fn collection(&self) -> mongodb::Collection<Document> {
        self.stores.mongo().await.collection("cloud_resource")
    }

    async fn document(&self, name: &str) -> Document {
        self.collection().await.find_one(doc! {"name": name}).await.unwrap().unwrap()
    }

    /// How many resources the readers find by a filter.
    async fn count(&self, filter: Filter) -> usize {
        let readers = Readers::new(&self.stores, &[ACCOUNT]);
        readers.clean_expenses(&filter).await.total_count
    }
}

fn day() -> Filter {
    Filter::days(MARCH, MARCH + DAY - 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_follow_labels_and_what_a_user_gave_stays() {
    let world = World::new("labels", "team,tier,app").await;
    world.run_at("10:00");
    assert_eq!(world.count(day().tag(&["team"])).await, 1);
    assert_eq!(world.count(day().tag(&["app"])).await, 1);
    assert_eq!(world.count(day().tag(&["kubernetes_io_metadata_name"])).await, 0);
    let shop = world.document("Namespace: shop").await;
    let tags = shop.get_document("tags").unwrap();
    // `printf team | base64`, `printf tier | base64`.
    assert_eq!((tags.get_str("dGVhbQ=="), tags.get_str("dGllcg==")), (Ok("blue"), Ok("gold")));
    assert_eq!(shop.get_document("meta").unwrap().get_i64("pod_count"), Ok(1), "{shop}");
    let pod = world.document("web-1").await;
    let meta = pod.get_document("meta").unwrap();
    assert_eq!(meta.get_str("created_by_kind"), Ok("ReplicaSet"));
    assert_eq!(meta.get_str("created_by_name"), Ok("web"));
    let keys: Vec<_> = meta.keys().map(String::as_str).collect();
    let allowed = ["name", "k8s_cluster", "k8s_namespace", "created_by_kind", "created_by_name"];
    assert!(keys.iter().all(|key| allowed.contains(key)), "{keys:?}");

    // A user's own tag, and a user's word on one that came from a label of the pod.
    let edit = doc! {"$set": {"tags.b3du": "mine"}};
    world.collection().await.update_one(doc! {"name": "Namespace: shop"}, edit).await.unwrap();
    let edit = doc! {"$set": {"tags.YXBw": "ours"}};
    world.collection().await.update_one(doc! {"name": "web-1"}, edit).await.unwrap();
    world.run_at("13:00");
    let shop = world.document("Namespace: shop").await;
    let wanted = doc! {"dGVhbQ==": "green", "b3du": "mine"};
    let tags = shop.get_document("tags").unwrap();
    assert_eq!(tags.len(), wanted.len(), "{tags}");
    assert!(wanted.iter().all(|(key, value)| tags.get(key) == Some(value)), "{tags}");
    let pod = world.document("web-1").await;
    assert_eq!(pod.get_document("tags").unwrap().get_str("YXBw"), Ok("ours"));
    assert_eq!(world.count(day().tag(&["tier"])).await, 0);
    assert_eq!(world.count(day().tag(&["own"])).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_no_tag_is_written() {
    let world = World::new("labels_off", "").await;
    world.run_at("10:00");
    let shop = world.document("Namespace: shop").await;
    assert!(shop.get_document("tags").unwrap().is_empty() && !shop.contains_key("label_tags"));
    assert!(!shop.get_document("meta").unwrap().contains_key("pod_count"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_by_the_value_of_a_tag_finds_the_labels_of_new_resources() {
    let mut world = World::new("labels_rules", "team,tier,app").await;
    let mut rest = RestWorld::at(MARCH + 10 * HOUR);
    rest.add_organization("o");
    rest.add_account("o", ACCOUNT, "kubernetes_cnr");
    let of_account = rest.rules[0].clone();
    let rule = |pool_id: &str, key: &str, value: &str| Rule {
        pool_id: pool_id.to_owned(),
        conditions: vec![Condition::TagIs(key.to_owned(), value.to_owned())],
        ..of_account.clone()
    };
    rest.rules =
        vec![rule("blues", "team", "blue"), rule("webs", "app", "web"), of_account.clone()];
    let documents = Arc::new(MongoDocuments(world.collection().await));
    let fake = FakeRestApi::start(rest, documents).await;
    world.settings.push(("REST_URL", fake.url.clone()));
    world.settings.push(("CLUSTER_SECRET", SECRET.to_owned()));
    world.settings.push(("RESOURCES", "rest".to_owned()));
    world.run_at("10:00");
    for (name, pool) in [
        ("Namespace: shop", "blues"),
        ("web-1", "webs"),
        ("Namespace: pay", of_account.pool_id.as_str()),
    ] {
        assert_eq!(world.document(name).await.get_str("pool_id"), Ok(pool), "{name}");
    }
    // The tags are the program's own, though the REST API wrote them: they follow their labels.
    world.run_at("13:00");
    let shop = world.document("Namespace: shop").await;
    assert_eq!(shop.get_document("tags").unwrap(), &doc! {"dGVhbQ==": "green"});
    assert_eq!(shop.get_str("pool_id"), Ok("blues"), "a rule is asked once");
}
