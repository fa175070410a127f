//! All that can be switched on at once: nodes, pods, services, labels, parts, pool and owner, after
//! each thing that happens to an account.
//!
//! `prod` costs 12 USD/h for two days. `n1` is 5 USD/h (`cart` 2.5, `front` 2, idle 0.5); `n2` is
//! 4 USD/h (`api` 0.5, idle 3.5). `shop` is 5 USD/h, `web` 2.5, and 0.5 is beside them. At the second
//! midnight `api` moves to `n1`, `shop` goes from team blue to green, and the label `app` of `cart` is
//! renamed to `k8s_app`.

use std::collections::BTreeMap;

use kubecost_worker::cost::{AccountId, ResourceKey};
use mongodb::bson::{DateTime, Document, doc};

use crate::support::metrics::History;
use crate::support::readers::{Filter, Readers};
use crate::support::servers::{Server, Stores};
use crate::support::worker::run;
use crate::support::world::{DAY, HOUR, MARCH, gauges, source};

const ACCOUNT: &str = "a11a11a1-0000-4000-8000-0000000000a1";
/// The organization's, and those that a user chose.
const POOLS: [&str; 2] =
    ["50015001-0000-4000-8000-0000000000b1", "50015001-0000-4000-8000-0000000000b2"];
const OWNERS: [&str; 2] =
    ["0a0a0a0a-0000-4000-8000-0000000000c1", "0a0a0a0a-0000-4000-8000-0000000000c2"];
/// The document of `front`, which the REST API made before.
const FRONT: &str = "7e57b01c-0000-4000-8000-0000000000d1";
const LIFE: (i64, i64) = (MARCH, MARCH + 2 * DAY);
const SECOND: i64 = MARCH + DAY;

fn history() -> History {
    let mut history = History::default();
    gauges(&mut history, ACCOUNT, LIFE, |_| Some(12.0), &[("shop", 5.0), ("web", 2.5)]);
    let base = format!("tenant_id=\"{ACCOUNT}\",cluster=\"prod\"");
    let mut put = |metric: &str, labels: &str, life: (i64, i64), value: f64| {
        history.every_minute(metric, &format!("{base},{labels}"), 0, life, |_| Some(value));
    };
    for (node, total, idle) in [("n1", 5.0, 0.5), ("n2", 4.0, 3.5)] {
        let label = format!("node=\"{node}\"");
        put("cloudtuner_kubecost_node_total_cost", &label, LIFE, total);
        put("cloudtuner_kubecost_node_idle_cost", &label, LIFE, idle);
        let zone = format!("{label},label_topology_kubernetes_io_zone=\"eu-west-1a\"");
        put("kube_node_labels", &zone, LIFE, 1.0);
    }
    for (namespace, pod, place, rate, life) in [
        ("shop", "cart", "node=\"n1\",service=\"cart-svc\"", 2.5, LIFE),
        ("web", "front", "node=\"n1\"", 2.0, LIFE),
        ("shop", "api", "node=\"n2\"", 0.5, (MARCH, SECOND)),
        ("shop", "api", "node=\"n1\"", 0.5, (SECOND, LIFE.1)),
    ] {
        let labels = format!("namespace=\"{namespace}\",pod=\"{pod}\",{place}");
        put("cloudtuner_kubecost_pod_total_cost", &labels, life, rate);
        put("cloudtuner_kubecost_pod_cpu_cost", &labels, life, rate / 2.0);
    }
    for (namespace, cpu) in [("shop", 3.0), ("web", 1.0)] {
        let label = format!("namespace=\"{namespace}\"");
        put("cloudtuner_kubecost_namespace_cpu_cost", &label, LIFE, cpu);
    }
    for (metric, labels, life) in [
        ("kube_namespace_labels", "namespace=\"shop\",label_team=\"blue\"", (MARCH, SECOND)),
        ("kube_namespace_labels", "namespace=\"shop\",label_team=\"green\"", (SECOND, LIFE.1)),
        ("kube_pod_labels", "namespace=\"shop\",pod=\"cart\",label_app=\"a\"", (MARCH, SECOND)),
        (
            "kube_pod_labels",
            "namespace=\"shop\",pod=\"cart\",label_k8s_app=\"a\"",
            (SECOND, LIFE.1),
        ),
        (
            "kube_pod_owner",
            "namespace=\"shop\",pod=\"cart\",owner_kind=\"A\",owner_name=\"b\"",
            LIFE,
        ),
    ] {
        put(metric, labels, life, 1.0);
    }
    history
}

/// What the REST API's bulk call made.
fn front() -> Document {
    let pod = ResourceKey::Pod {
        cluster: "prod".to_owned(),
        namespace: "web".to_owned(),
        pod: "front".to_owned(),
    };
    let (seen, midnight) = (MARCH + 2 * HOUR, DateTime::from_millis(MARCH * 1_000));
    doc! {
        "_id": FRONT,
        "cloud_resource_id": pod.id(&AccountId::new(ACCOUNT).unwrap()),
        "cloud_account_id": ACCOUNT,
        "deleted_at": 0_i32,
        "first_seen": seen, "_first_seen_date": midnight,
        "last_seen": seen, "_last_seen_date": midnight,
        "service_name": "Kubernetes", "resource_type": "K8s Pod", "name": "made by a rule",
        "active": true, "created_at": seen, "tags": {},
        "pool_id": POOLS[1], "employee_id": OWNERS[1],
        "k8s_namespace": "web", "k8s_node": "n1",
    }
}

struct World {
    stores: Stores,
    settings: Vec<(&'static str, String)>,
    _source: Server,
}

impl World {
    async fn new() -> Self {
        let source = source(&[history()]);
        let stores = Stores::new("readers_everything").await;
        let mut settings = stores.settings();
        let more = [
            ("PROMETHEUS_URL", source.url.as_str()),
            ("ACCOUNTS", ACCOUNT),
            ("LEVELS", "cluster,node,namespace,pod"),
            ("TAGS_FROM_LABELS", "team,app,k8s_app"),
            ("COST_PARTS", "true"),
            ("DEFAULT_POOL_ID", POOLS[0]),
            ("DEFAULT_EMPLOYEE_ID", OWNERS[0]),
        ];
        settings.extend(more.map(|(name, value)| (name, value.to_owned())));
        run(&settings, &["migrate"]).expect_success();
        let world = Self { stores, settings, _source: source };
        world.collection().await.insert_one(front()).await.unwrap();
        world
    }

    async fn collection(&self) -> mongodb::Collection<Document> {
        self.stores.mongo().await.collection("cloud_resource")
    }

    fn run_at(&self, time: &str) {
        run(&self.settings, &["run", "--at", time]).expect_success();
    }

    fn readers(&self) -> Readers<'_> {
        Readers::new(&self.stores, &[ACCOUNT]).with_people(&POOLS, &OWNERS)
    }

    /// Names of resources that a filter finds, with what they cost.
    async fn list(&self, filter: Filter) -> BTreeMap<String, f64> {
        let page = self.readers().clean_expenses(&filter).await;
        let costs: BTreeMap<String, f64> =
            page.rows.iter().map(|row| (row.text("name").unwrap(), row.cost)).collect();
        assert_eq!(costs.values().sum::<f64>(), page.total_cost, "exact, whatever the order");
        costs
    }

    async fn names(&self, filter: Filter) -> Vec<String> {
        self.list(filter).await.into_keys().collect()
    }

    async fn document(&self, filter: Document) -> Document {
        self.collection().await.find_one(filter).await.unwrap().unwrap()
    }

    /// What is so after each run: a pod's `meta` fits its class, and parts add up to the last row.
    async fn hold(&self) {
        const POD_KEYS: [&str; 7] = [
            "name",
            "created_by_kind",
            "created_by_name",
            "k8s_node",
            "k8s_namespace",
            "k8s_service",
            "k8s_cluster",
        ];
        for row in self.readers().clean_expenses(&both_days()).await.rows {
            let (name, document) = (row.text("name").unwrap(), row.document);
            if document.get_str("resource_type") == Ok("K8s Pod") {
                let meta = document.get_document("meta").cloned().unwrap_or_default();
                assert!(meta.keys().all(|key| POD_KEYS.contains(&key.as_str())), "{name}: {meta}");
            }
            let Ok(parts) = document.get_document("cost_parts") else { continue };
            let last = document.get_document("last_expense").unwrap();
            let parts = parts.get_document("last_day").unwrap();
            assert_eq!(parts.get("date"), last.get("date"), "{name}");
            let sum: f64 = parts.iter().filter_map(|(_, usd)| usd.as_f64()).sum();
            assert_eq!(sum.to_bits(), last.get_f64("cost").unwrap().to_bits(), "{name}");
        }
    }
}

fn both_days() -> Filter {
    Filter::days(MARCH, MARCH + 2 * DAY - 1)
}

fn by(field: &str, value: &str) -> Filter {
    both_days().by(field, &[value])
}

async fn after_a_first_run_and_a_second(world: &World) {
    for _ in 0..2 {
        world.run_at("2026-03-01T22:00:30Z");
        world.hold().await;
        assert_eq!(world.names(by("k8s_node", "n1")).await, ["cart", "made by a rule", "n1"]);
        assert_eq!(world.names(by("k8s_node", "n2")).await, ["api", "n2"]);
        assert_eq!(world.names(by("k8s_service", "cart-svc")).await, ["cart"]);
        let shop = ["Namespace: shop", "api", "cart"];
        assert_eq!(world.names(by("k8s_namespace", "shop")).await, shop);
        assert_eq!(world.names(by("resource_type", "K8s Node:regular")).await, ["n1", "n2"]);
        assert_eq!(world.names(by("pool_id", POOLS[1])).await, ["made by a rule"]);
        assert_eq!(world.names(both_days().tag(&["team"])).await, ["Namespace: shop"]);
        assert_eq!(world.names(both_days().tag(&["app"])).await, ["cart"]);
        let tags = world.document(doc! {"name": "Namespace: shop"}).await;
        assert_eq!(tags.get_document("tags").unwrap().get_str("dGVhbQ=="), Ok("blue"));
    }
}

async fn edit(world: &World) {
    let edit = doc! {"$set": {
        "name": "My shop", "pool_id": POOLS[1], "employee_id": OWNERS[1], "tags.b3du": "mine",
    }};
    let filter = doc! {"name": "Namespace: shop"};
    world.collection().await.update_one(filter, edit).await.unwrap();
}

/// Pods that moved, renamed labels, edits: what each filter gives over both days, to the last bit.
async fn in_the_end(world: &World) {
    world.hold().await;
    let [cart, api, front, shop, web] = [120.0, 24.0, 96.0, 96.0, 24.0];
    // On the first day 0.5 USD/h of n1 are idle, and 3.5 of n2; then all of n1 is used, none of n2.
    let (n1, n2, cluster) = (12.0, 84.0 + 96.0, 24.0);
    let list = |costs: &[(&str, f64)]| -> BTreeMap<String, f64> {
        costs.iter().map(|(name, usd)| ((*name).to_owned(), *usd)).collect()
    };
    let rule = "made by a rule";
    for (filter, wanted) in [
        (by("k8s_node", "n1"), list(&[("cart", cart), ("api", api), (rule, front), ("n1", n1)])),
        (by("k8s_node", "n2"), list(&[("n2", n2)])),
        (by("k8s_namespace", "shop"), list(&[("cart", cart), ("api", api), ("My shop", shop)])),
        (by("k8s_namespace", "web"), list(&[(rule, front), ("Namespace: web", web)])),
        (by("k8s_service", "cart-svc"), list(&[("cart", cart)])),
        (
            by("resource_type", "K8s Pod:regular"),
            list(&[("cart", cart), ("api", api), (rule, front)]),
        ),
        (by("resource_type", "K8s Node:regular"), list(&[("n1", n1), ("n2", n2)])),
        (by("resource_type", "K8s Cluster:regular"), list(&[("Cluster: prod", cluster)])),
        (by("region", "eu-west-1a"), list(&[("n1", n1), ("n2", n2)])),
        (by("pool_id", POOLS[1]), list(&[(rule, front), ("My shop", shop)])),
        (by("employee_id", OWNERS[1]), list(&[(rule, front), ("My shop", shop)])),
        (both_days().tag(&["own"]), list(&[("My shop", shop)])),
        (both_days().tag(&["team"]), list(&[("My shop", shop)])),
        (both_days().tag(&["k8s_app"]), list(&[("cart", cart)])),
        (both_days().tag(&["app"]), list(&[])),
        (both_days().name_like("my shop"), list(&[("My shop", shop)])),
    ] {
        assert_eq!(world.list(filter.clone()).await, wanted, "{filter:?}");
    }
    let all = world.list(both_days()).await;
    assert_eq!((all.len(), all.values().sum::<f64>()), (8, 576.0));
    for field in ["k8s_node", "k8s_namespace", "resource_type", "pool_id", "employee_id"] {
        let sums = world.readers().breakdown(&both_days(), Some(field)).await.by_value();
        assert_eq!(sums.values().sum::<f64>(), 576.0, "{field}: {sums:?}");
    }
    let tags = world.document(doc! {"name": "My shop"}).await;
    let tags = tags.get_document("tags").unwrap();
    assert_eq!((tags.get_str("dGVhbQ=="), tags.get_str("b3du")), (Ok("green"), Ok("mine")));
    assert_eq!(world.document(doc! {"_id": FRONT}).await.get_str("name"), Ok(rule));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_gives_its_resources_whatever_happens_to_an_account() {
    let world = World::new().await;
    after_a_first_run_and_a_second(&world).await;
    edit(&world).await;
    world.run_at("2026-03-02T22:00:30Z");
    world.hold().await;
    for _ in 0..2 {
        world.run_at("2026-03-03T00:20:00Z");
        in_the_end(&world).await;
    }
}
