//! `COST_PARTS`: what documents show of what their costs are made of.
//!
//! `prod` costs 12 USD/h: `shop` 6 (its pod `cart` 4), `web` 2, idle 3, and 1 beside them.

use mongodb::bson::{Bson, Document, doc};

use crate::support::ask::{ask, usd};
use crate::support::metrics::History;
use crate::support::readers::POD_KEYS;
use crate::support::servers::{Server, Stores};
use crate::support::worker::{Finished, run};
use crate::support::world::{DAY, MARCH, gauges, source};

const ACCOUNT: &str = "9a275000-0000-4000-8000-0000000000a1";
const LIFE: (i64, i64) = (MARCH, MARCH + 2 * DAY);
const PARTS: [&str; 8] = ["cpu", "ram", "gpu", "pv", "network", "lb", "idle", "other"];

fn history(has_parts: bool) -> History {
    let mut history = History::default();
    gauges(&mut history, ACCOUNT, LIFE, |_| Some(12.0), &[("shop", 6.0), ("web", 2.0)]);
    let base = format!("tenant_id=\"{ACCOUNT}\",cluster=\"prod\"");
    let mut put = |metric: &str, labels: &str, rate: f64| {
        let metric = format!("cloudtuner_kubecost_{metric}");
        history.every_minute(&metric, &format!("{base}{labels}"), 0, LIFE, |_| Some(rate));
    };
    let pod = ",namespace=\"shop\",pod=\"cart\"";
    put("pod_total_cost", pod, 4.0);
    if !has_parts {
        return history;
    }
    for (metric, rate) in [
        ("cluster_cpu_cost", 6.5),
        ("cluster_ram_cost", 3.0),
        ("cluster_pv_cost", 1.0),
        ("cluster_lb_cost", 0.5),
        ("cluster_cpu_efficiency", 40.0),
    ] {
        put(metric, "", rate);
    }
    for (namespace, cpu, ram, pv) in
        [("shop", 3.5, 1.0, 1.0), ("web", 1.0, 1.0, 0.0), ("__idle__", 2.0, 1.0, 0.0)]
    {
        let label = format!(",namespace=\"{namespace}\"");
        put("namespace_cpu_cost", &label, cpu);
        put("namespace_ram_cost", &label, ram);
        put("namespace_pv_cost", &label, pv);
    }
    put("namespace_cpu_efficiency", ",namespace=\"shop\"", 25.0);
    put("namespace_ram_efficiency", ",namespace=\"shop\"", 120.0);
    put("pod_cpu_cost", pod, 3.0);
    put("pod_ram_cost", pod, 0.5);
    history
}

struct World {
    stores: Stores,
    settings: Vec<(&'static str, String)>,
    _source: Server,
}

impl World {
    async fn new(name: &str, has_parts: bool) -> Self {
        let source = source(&[history(has_parts)]);
        let stores = Stores::new(name).await;
        let mut settings = stores.settings();
        settings.push(("PROMETHEUS_URL", source.url.clone()));
        settings.push(("ACCOUNTS", ACCOUNT.to_owned()));
        settings.push(("LEVELS", "cluster,namespace,pod".to_owned()));
        run(&settings, &["migrate"]).expect_success();
        Self { stores, settings, _source: source }
    }

    fn run(&self, parts: &str, last: &str) -> Finished {
        let mut settings = self.settings.clone();
        settings.push(("COST_PARTS", parts.to_owned()));
        let at = "2026-03-03T00:20:00Z";
        run(&settings, &["run", "--from", "2026-03-01", "--to", last, "--at", at])
    }

    async fn document(&self, name: &str) -> Document {
        let collection = self.stores.mongo().await.collection::<Document>("cloud_resource");
        collection.find_one(doc! {"name": name}).await.unwrap().unwrap()
    }

    /// USD of a document's rows, of so many days.
    async fn rows(&self, document: &Document, first_day: i64) -> f64 {
        let sql = format!(
            "SELECT sum(cost * sign) AS usd FROM expenses WHERE resource_id = '{}' \
             AND toUInt32(date) >= {}",
            document.get_str("_id").unwrap(),
            MARCH + first_day * DAY
        );
        usd(&ask(&self.stores, &sql).await[0]["usd"])
    }
}

fn parts(document: &Document, of: &str) -> Vec<(String, f64)> {
    let found = document.get_document("cost_parts").unwrap().get_document(of).unwrap();
    let usd = |part: &&str| Some(((*part).to_owned(), found.get(*part)?.as_f64().unwrap()));
    PARTS.iter().filter_map(usd).collect()
}

fn sum(parts: &[(String, f64)]) -> f64 {
    parts.iter().map(|(_, usd)| usd).sum()
}

fn wanted(parts: &[(&str, f64)], days: f64) -> Vec<(String, f64)> {
    parts.iter().map(|(part, rate)| ((*part).to_owned(), rate * 24.0 * days)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_add_up_to_the_rows_of_the_last_day_and_of_the_month() {
    let world = World::new("parts", true).await;
    world.run("true", "2026-03-01").expect_success();
    world.run("true", "2026-03-02").expect_success();
    let made_of: [(&str, &[(&str, f64)]); 4] = [
        ("cart", &[("cpu", 3.0), ("ram", 0.5), ("other", 0.5)]),
        // 2 of the namespace's 6: of its volumes of 1 the pod has a part that it does not divide.
        ("Namespace: shop", &[("cpu", 0.5), ("ram", 0.5), ("pv", 1.0)]),
        ("Namespace: web", &[("cpu", 1.0), ("ram", 1.0)]),
        ("Cluster: prod", &[("lb", 0.5), ("idle", 3.0), ("other", 0.5)]),
    ];
    for (name, rates) in made_of {
        let document = world.document(name).await;
        let (last, month) = (parts(&document, "last_day"), parts(&document, "month_to_date"));
        assert_eq!(last, wanted(rates, 1.0), "{name}");
        assert_eq!(month, wanted(rates, 2.0), "{name}");
        assert_eq!(sum(&last).to_bits(), world.rows(&document, 1).await.to_bits());
        assert_eq!(sum(&month).to_bits(), world.rows(&document, 0).await.to_bits());
        let known = document.get_document("cost_parts").unwrap();
        let date = |of: &str, key: &str| known.get_document(of).unwrap().get_i64(key).unwrap();
        assert_eq!(date("last_day", "date"), MARCH + DAY);
        assert_eq!(date("month_to_date", "since"), MARCH);
        let cpu = rates.iter().find(|(part, _)| *part == "cpu").map_or(0.0, |(_, usd)| usd * 24.0);
        assert_eq!(document.get_f64("cpu_cost"), Ok(cpu), "{name}");
    }
    let shop = world.document("Namespace: shop").await;
    assert_eq!(shop.get_f64("cpu_efficiency"), Ok(0.25));
    assert_eq!(shop.get_f64("ram_efficiency"), Ok(1.2));
    let cluster = world.document("Cluster: prod").await;
    assert_eq!(cluster.get_f64("cpu_efficiency"), Ok(0.4));
    assert!(!cluster.contains_key("ram_efficiency"), "the exporter does not say it");
    let meta = world.document("cart").await.get_document("meta").unwrap().clone();
    assert!(meta.keys().all(|key| POD_KEYS.contains(&key.as_str())), "{meta}");

    let again = world.run("true", "2026-03-02").expect_success().summary();
    assert_eq!((&again["rows_written"], &again["documents_written"]), (&0.into(), &0.into()));
    // Switched off: what was shown would not follow the rows any more.
    world.run("false", "2026-03-02").expect_success();
    for (name, _) in made_of {
        assert_eq!(keys_of_parts(&world.document(name).await), Vec::<String>::new());
    }
}

fn keys_of_parts(document: &Document) -> Vec<String> {
    let is_part = |key: &&String| {
        key.ends_with("_efficiency")
            || ["cost_parts", "cpu_cost", "ram_cost", "pv_cost"].contains(&key.as_str())
    };
    document.keys().filter(is_part).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_gauges_of_parts_nothing_is_said_of_them() {
    let world = World::new("parts_without", false).await;
    world.run("true", "2026-03-02").expect_success();
    for name in ["cart", "Namespace: shop", "Namespace: web", "Cluster: prod"] {
        let document = world.document(name).await;
        assert_eq!(keys_of_parts(&document), Vec::<String>::new());
        assert_ne!(document.get("total_cost"), Some(&Bson::Double(0.0)));
    }
}
