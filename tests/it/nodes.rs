//! `LEVELS` with `node`: documents and rows of nodes, by the readers' own queries.
//!
//! `prod` costs 12 USD/h for two days. `n1` is 5 USD/h, of which pods have 4.5 and 0.5 is idle; `n2`
//! is 4 USD/h, of which a pod has 0.5 and 3.5 is idle. `shop` is 5 USD/h, `web` 2.5. So the cluster
//! itself has 12 - 7.5 - 4 = 0.5 beside them.

use std::collections::BTreeMap;
use std::sync::Arc;

use mongodb::bson::{Document, doc};
use serde_json::json;

use crate::rest_api::documents::MemoryDocuments;
use crate::rest_api::{FakeRestApi, Fault, SECRET};

use crate::support::ask::{ask, usd};
use crate::support::metrics::History;
use crate::support::readers::{Filter, NOT_SET, Readers};
use crate::support::servers::{Server, Stores};
use crate::support::worker::{Finished, run};
use crate::support::world::{DAY, MARCH, gauges, source};

const ACCOUNT: &str = "0de50de5-0000-4000-8000-0000000000a1";
const RUN: [&str; 7] =
    ["run", "--from", "2026-03-01", "--to", "2026-03-02", "--at", "2026-03-03T00:20:00Z"];
const ALL: &str = "cluster,node,namespace,pod";

fn history() -> History {
    let mut history = History::default();
    let life = (MARCH, MARCH + 2 * DAY);
    gauges(&mut history, ACCOUNT, life, |_| Some(12.0), &[("shop", 5.0), ("web", 2.5)]);
    let base = format!("tenant_id=\"{ACCOUNT}\",cluster=\"prod\"");
    let mut put = |metric: &str, labels: &str, rate: &dyn Fn(i64) -> Option<f64>| {
        history.every_minute(metric, &format!("{base},{labels}"), 0, life, rate);
    };
    for (node, total, idle) in [("n1", 5.0, 0.5), ("n2", 4.0, 3.5)] {
        let label = format!("node=\"{node}\"");
        put("cloudtuner_kubecost_node_total_cost", &label, &|_| Some(total));
        put("cloudtuner_kubecost_node_idle_cost", &label, &|_| Some(idle));
        let machine = format!("{label},instance_type=\"m5.large\",provider_id=\"aws:///{node}\"");
        put("node_total_hourly_cost", &machine, &|_| Some(total));
        for (resource, amount) in [("cpu", 2.0), ("memory", 8_589_934_592.0)] {
            let label = format!("{label},resource=\"{resource}\"");
            put("kube_node_status_capacity", &label, &|_| Some(amount));
        }
        put("kubecost_node_is_spot", &label, &|_| Some(if node == "n2" { 1.0 } else { 0.0 }));
        let zone = format!("{label},label_topology_kubernetes_io_zone=\"eu-west-1a\"");
        put("kube_node_labels", &zone, &|_| Some(1.0));
    }
    // `api` moves from n2 to n1 at the second midnight.
    for (namespace, pod, place, rate, days) in [
        ("shop", "cart", "node=\"n1\"", 2.5, 0..2),
        ("web", "front", "node=\"n1\"", 2.0, 0..2),
        ("shop", "api", "node=\"n2\"", 0.5, 0..1),
        ("shop", "api", "node=\"n1\"", 0.5, 1..2),
    ] {
        let labels = format!("namespace=\"{namespace}\",pod=\"{pod}\",{place}");
        let days = days.start * DAY..days.end * DAY;
        let on = move |time: i64| days.contains(&(time - MARCH)).then_some(rate);
        put("cloudtuner_kubecost_pod_total_cost", &labels, &on);
    }
    history
}

struct World {
    stores: Stores,
    settings: Vec<(&'static str, String)>,
    _source: Server,
}

impl World {
    async fn new(name: &str) -> Self {
        let source = source(&[history()]);
        let stores = Stores::new(name).await;
        let mut settings = stores.settings();
        settings.push(("PROMETHEUS_URL", source.url.clone()));
        settings.push(("ACCOUNTS", ACCOUNT.to_owned()));
        run(&settings, &["migrate"]).expect_success();
        Self { stores, settings, _source: source }
    }

    fn run(&self, levels: &str, more: &[(&'static str, &str)]) -> Finished {
        let mut settings = self.settings.clone();
        settings.push(("LEVELS", levels.to_owned()));
        settings.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        run(&settings, &RUN)
    }

    fn readers(&self) -> Readers<'_> {
        Readers::new(&self.stores, &[ACCOUNT])
    }

    /// USD of a day by a field of the documents, as the breakdown of expenses shows it: without the
    /// zeros of rows that were taken back and are not merged yet.
    async fn by(&self, field: &str, day: i64) -> BTreeMap<Option<String>, f64> {
        let start = MARCH + day * DAY;
        let filter = Filter::days(start, start + DAY - 1);
        let mut values = self.readers().breakdown(&filter, Some(field)).await.by_value();
        values.retain(|_, usd| *usd != 0.0);
        values
    }

    /// The same by the rows' own column.
    async fn rows_by_node(&self, day: i64) -> BTreeMap<Option<String>, f64> {
        let sql = format!(
            "SELECT ifNull(k8s_node, '') AS node, sum(cost * sign) AS usd FROM expenses \
             WHERE toUInt32(date) = {} GROUP BY node HAVING sum(sign) > 0",
            MARCH + day * DAY
        );
        let rows = ask(&self.stores, &sql).await;
        let one = |row: &serde_json::Value| {
            let node = row["node"].as_str().unwrap();
            (Some(node.to_owned()).filter(|node| !node.is_empty()), usd(&row["usd"]))
        };
        rows.iter().map(one).collect()
    }

    async fn document(&self, filter: Document) -> Document {
        let collection = self.stores.mongo().await.collection::<Document>("cloud_resource");
        collection.find_one(filter).await.unwrap().unwrap()
    }
}

fn some(name: &str) -> Option<String> {
    Some(name.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sum_by_node_is_the_whole_node_and_a_sum_by_namespace_knows_nothing_of_nodes() {
    let world = World::new("nodes").await;
    for _ in 0..2 {
        world.run("cluster,namespace,pod", &[]).expect_success();
        let without = world.by("k8s_namespace", 0).await;
        assert_eq!(without[&None], 108.0);
        world.run(ALL, &[]).expect_success();
        let by_node = world.rows_by_node(0).await;
        // What has no node: namespaces' own parts and the cluster's.
        let wanted = [(None, 72.0), (some("n1"), 120.0), (some("n2"), 96.0)];
        assert_eq!(by_node, wanted.into());
        let by_namespace = world.by("k8s_namespace", 0).await;
        assert_eq!(by_namespace, without);
        assert_eq!(by_node.values().sum::<f64>(), 288.0);
        // The day after, `api` is on the other node; its document names where it is now.
        for moved in [world.by("k8s_node", 1).await, world.rows_by_node(1).await] {
            assert_eq!((moved[&some("n1")], moved[&some("n2")]), (120.0, 96.0));
        }
    }
    let again = world.run(ALL, &[]).expect_success().summary();
    assert_eq!((&again["rows_written"], &again["documents_written"]), (&0.into(), &0.into()));
    let all = || Filter::days(MARCH, MARCH + 2 * DAY - 1);
    let of_type = all().by("resource_type", &["K8s Node:regular"]);
    let nodes = world.readers().clean_expenses(&of_type).await;
    let costs: BTreeMap<_, _> =
        nodes.rows.iter().map(|row| (row.text("name").unwrap(), row.cost)).collect();
    // Idle: 0.5 an hour of n1, and nothing on the day when `api` is there too; n2 is 3.5, then 4.
    assert_eq!(costs, [("n1".to_owned(), 12.0), ("n2".to_owned(), 84.0 + 96.0)].into());
    let of_zone = world.readers().clean_expenses(&all().by("region", &["eu-west-1a"])).await;
    assert_eq!(of_zone.total_count, 2);
    let no_node = world.readers().clean_expenses(&all().by("k8s_node", &[NOT_SET])).await;
    assert!(no_node.rows.iter().all(|row| row.text("resource_type") != some("K8s Node")));
    let offered = world.readers().available_filters(&all()).await;
    assert!(offered.resource_types.contains("K8s Node:regular"));
    let known = world.document(doc! {"name": "n2"}).await;
    let meta = known.get_document("meta").unwrap();
    assert_eq!(meta.get_str("instance_type"), Ok("m5.large"), "{meta}");
    assert_eq!(meta.get_str("provider_id"), Ok("aws:///n2"));
    assert_eq!(meta.get_f64("cpu_cores"), Ok(2.0));
    assert_eq!(meta.get_i64("memory_bytes"), Ok(8_589_934_592));
    assert_eq!(meta.get_bool("is_spot"), Ok(true));
    assert_eq!(meta.get_f64("hourly_price_usd"), Ok(4.0));
    assert_eq!(known.get_str("k8s_node"), Ok("n2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_pods_nodes_are_documents_unless_their_rows_are_asked_for() {
    let world = World::new("nodes_documents").await;
    let levels = "cluster,node,namespace";
    world.run(levels, &[]).expect_success();
    assert_eq!(world.by("k8s_node", 0).await, [(None, 288.0)].into());
    let node = world.document(doc! {"name": "n1"}).await;
    assert_eq!(
        (node.get_str("resource_type"), node.get_f64("total_cost")),
        (Ok("K8s Node"), Ok(0.0))
    );
    let before = world.by("k8s_namespace", 0).await;
    world.run(levels, &[("NODE_ROWS", "always")]).expect_success();
    let by_node = world.by("k8s_node", 0).await;
    assert_eq!(by_node, [(None, 192.0), (some("n1"), 12.0), (some("n2"), 84.0)].into());
    assert_eq!(world.by("k8s_namespace", 0).await, before);
    // And back: what the rows of nodes had is the cluster's again.
    world.run(levels, &[]).expect_success();
    assert_eq!(world.by("k8s_node", 0).await, [(None, 288.0)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_tab_of_the_account_has_its_nodes_after_each_import() {
    let world = World::new("nodes_tab").await;
    let noon = MARCH + DAY + 12 * 3_600;
    let mut rest = crate::rest_api::World::at(noon);
    rest.add_organization("o");
    rest.add_account("o", ACCOUNT, "kubernetes_cnr");
    let documents: Arc<MemoryDocuments> = Arc::default();
    let fake = FakeRestApi::start(rest, documents).await;
    let mut settings = world.settings.clone();
    settings.push(("LEVELS", ALL.to_owned()));
    settings.push(("REST_URL", fake.url.clone()));
    settings.push(("CLUSTER_SECRET", SECRET.to_owned()));
    for at in ["2026-03-02T12:00:30Z", "2026-03-02T14:00:30Z"] {
        let finished = run(&settings, &["--at", at, "run"]).expect_success();
        assert_eq!(finished.summary()["rest_api_failures"], 0, "{}", finished.stderr);
        let imported = fake.world().accounts[ACCOUNT]["last_import_at"].clone();
        let mut nodes: Vec<_> = fake.world().nodes.values().cloned().collect();
        nodes.sort_by_key(|node| node["name"].as_str().unwrap().to_owned());
        let [first, second] = &nodes[..] else { panic!("{nodes:?}") };
        assert_eq!((&first["name"], &second["name"]), (&json!("n1"), &json!("n2")));
        for node in &nodes {
            assert_eq!(node["last_seen"], imported, "the page hides what is older");
            assert_eq!((&node["cpu"], &node["memory"]), (&json!(2), &json!(8)));
            assert_eq!(node["flavor"], "m5.large");
        }
        assert_eq!((&first["hourly_price"], &second["hourly_price"]), (&json!(5.0), &json!(4.0)));
        assert_eq!(second["provider_id"], "aws:///n2");
    }
    // A tab that cannot be kept is a count and a warning, and costs no status.
    fake.fail(Fault::Status(500), "nodes", None);
    let finished = run(&settings, &["--at", "2026-03-02T16:00:30Z", "run"]).expect_success();
    assert_eq!(finished.summary()["rest_api_failures"], 1);
    let imported = fake.world().accounts[ACCOUNT]["last_import_at"].as_i64().unwrap();
    assert!(imported >= noon + 4 * 3_600, "{imported}");
}
