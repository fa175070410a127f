//! Phase 1 on what customers really forward: few metrics, shared volumes, pairs of replicas, and
//! clusters that are named by other labels.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::embedded::SqliteStore;
use crate::support::metrics::History;
use crate::support::servers::Server;
use crate::support::world::{DAY, HOUR, MARCH, source};

mod clusters;
mod scrapers;

const ACCOUNT: &str = "b1b1b1b1-0000-0000-0000-0000000000b1";
const WHOLE: (i64, i64) = (MARCH, MARCH + DAY);
const GIB: f64 = 1_073_741_824.0;
const RUN: [&str; 5] = ["run", "--from", "2026-03-01", "--to", "2026-03-01"];
const SIX: [&str; 6] = [
    "container_cpu_allocation",
    "container_memory_allocation_bytes",
    "pod_pvc_allocation",
    "node_cpu_hourly_cost",
    "node_ram_hourly_cost",
    "pv_hourly_cost",
];

/// Series of one account: metric, labels beside the tenant's and the cluster's, life, value.
type Series<'s> = (&'s str, String, (i64, i64), f64);

fn put(history: &mut History, cluster: &str, series: &[Series<'_>]) {
    for (metric, labels, life, value) in series {
        let comma = if cluster.is_empty() { "" } else { "," };
        let labels = format!("tenant_id=\"{ACCOUNT}\"{comma}{cluster},{labels}");
        history.every_minute(metric, &labels, 0, *life, |_| Some(*value));
    }
}

/// A node of 4 cores at $0.25 and 16 GiB at $0.125 ($3 an hour), in prices only.
fn node(name: &str, life: (i64, i64)) -> Vec<Series<'static>> {
    let labels = format!("node=\"{name}\",provider_id=\"{name}\"");
    vec![
        ("node_cpu_hourly_cost", labels.clone(), life, 0.25),
        ("node_ram_hourly_cost", labels, life, 0.125),
    ]
}

/// A pod of 2 cores and 4 GiB: $1 an hour on such a node.
fn pod(node: &str, namespace: &str, name: &str, life: (i64, i64)) -> Vec<Series<'static>> {
    let labels =
        format!("node=\"{node}\",namespace=\"{namespace}\",pod=\"{name}\",container=\"main\"");
    vec![
        ("container_cpu_allocation", labels.clone(), life, 2.0),
        ("container_memory_allocation_bytes", labels, life, 4.0 * GIB),
    ]
}

/// A volume of `gib` that costs `usd` an hour, in equal shares of these pods.
fn volume(
    name: &str,
    gib: f64,
    usd: f64,
    pods: &[(&str, &str)],
    life: (i64, i64),
) -> Vec<Series<'static>> {
    let labels = format!("persistentvolume=\"{name}\"");
    let mut out = vec![("pv_hourly_cost", labels, life, usd / gib)];
    for (namespace, pod) in pods {
        let labels = format!("namespace=\"{namespace}\",pod=\"{pod}\",persistentvolume=\"{name}\"");
        out.push(("pod_pvc_allocation", labels, life, gib * GIB / pods.len() as f64));
    }
    out
}

struct Done {
    store: SqliteStore,
    code: i32,
    day: Value,
}

impl Done {
    /// Runs the first day over a source.
    fn over(source: &Server, more: &[(&'static str, &str)]) -> Self {
        let mut settings = vec![("PROMETHEUS_URL", source.url.as_str()), ("PHASE", "1")];
        settings.extend(more);
        let store = SqliteStore::new(&[ACCOUNT], &settings);
        let ran = store.run(&RUN);
        let summary = ran.summary();
        let day = summary["accounts"][0]["days"][0].clone();
        assert!(day.is_object(), "{}\n{}", ran.stdout, ran.stderr);
        Self { store, code: ran.code, day }
    }

    /// USD by resource: `NAMESPACE/POD`, `NAMESPACE/` and `CLUSTER` for remainders.
    fn usd(&self) -> BTreeMap<String, f64> {
        let sql = "SELECT r.resource_type, r.name, coalesce(e.k8s_namespace, ''), \
                   sum(e.cost * e.sign) FROM expenses e JOIN cloud_resource r \
                   ON r._id = e.resource_id GROUP BY e.resource_id HAVING sum(e.sign) > 0";
        let store = self.store.open();
        let mut statement = store.prepare(sql).unwrap();
        let row = |row: &rusqlite::Row<'_>| {
            let (kind, name): (String, String) = (row.get(0)?, row.get(1)?);
            let (namespace, usd): (String, f64) = (row.get(2)?, row.get(3)?);
            Ok(match kind.as_str() {
                "K8s Pod" => (format!("{namespace}/{name}"), usd),
                "K8s Namespace" => (format!("{namespace}/"), usd),
                _ => (name.trim_start_matches("Cluster: ").to_owned(), usd),
            })
        };
        let mut out = BTreeMap::new();
        for found in statement.query_map([], row).unwrap() {
            let (name, usd) = found.unwrap();
            *out.entry(name).or_insert(0.0) += usd;
        }
        out
    }

    fn total(&self) -> f64 {
        self.usd().values().sum()
    }

    /// Asserts what the day's resources cost, to a millionth of a dollar; those of nothing apart.
    fn expect(&self, wanted: &[(&str, f64)]) {
        let mut found = self.usd();
        found.retain(|_, usd| *usd != 0.0);
        let names: Vec<_> = found.keys().map(String::as_str).collect();
        let mut wanted: Vec<_> = wanted.to_vec();
        wanted.sort_by(|a, b| a.0.cmp(b.0));
        assert_eq!(names, wanted.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "{found:?}");
        for (name, usd) in wanted {
            assert!((found[name] - usd).abs() < 1e-6, "{name}: {found:?}");
        }
    }

    fn cause(&self) -> &str {
        self.day["cause"].as_str().unwrap()
    }

    fn warnings(&self) -> String {
        self.day["warnings"].to_string()
    }
}

const PODS: (&str, &str) = ("LEVELS", "cluster,namespace,pod");
const C: &str = "cluster=\"c\"";

/// One node, a pod in `shop` and one in `data` with a volume of $0.50 an hour: the six metrics.
fn six() -> Vec<Series<'static>> {
    let mut series = node("n1", WHOLE);
    series.extend(pod("n1", "shop", "web-1", WHOLE));
    series.extend(pod("n1", "data", "db-1", WHOLE));
    series.extend(volume("v1", 100.0, 0.5, &[("data", "db-1")], WHOLE));
    series
}

#[tokio::test(flavor = "multi_thread")]
async fn the_six_metrics_alone_are_enough() {
    let mut history = History::default();
    put(&mut history, C, &six());
    let done = Done::over(&source(&[history]), &[("PHASE", "auto"), PODS]);
    assert_eq!((done.code, done.day["state"].as_str()), (0, Some("ok")), "{}", done.day);
    assert_eq!(done.day["covered_minutes"], 1_440);
    done.expect(&[("shop/web-1", 24.0), ("data/db-1", 36.0)]);
    for part in ["'c'", "node_total_hourly_cost", "allocated", "kube_persistentvolume_capacity"] {
        assert!(done.warnings().contains(part), "{part}: {}", done.warnings());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_one_of_the_six_that_is_missing_is_named_as_the_cause() {
    for missing in SIX {
        let mut series = six();
        series.retain(|(metric, ..)| *metric != missing);
        let mut history = History::default();
        put(&mut history, C, &series);
        let done = Done::over(&source(&[history]), &[("PHASE", "auto")]);
        assert_eq!(done.day["state"], "partial", "{missing}: {}", done.day);
        assert!(done.cause().contains(missing), "{missing}: {}", done.cause());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn allocations_without_any_price_are_no_day_without_samples() {
    let mut history = History::default();
    put(&mut history, C, &pod("n1", "shop", "web-1", WHOLE));
    let done = Done::over(&source(&[history]), &[("PHASE", "auto")]);
    for missing in ["node_cpu_hourly_cost", "node_ram_hourly_cost"] {
        assert!(done.cause().contains(missing), "{}", done.cause());
    }
    assert!(!done.cause().contains("no sample"), "{}", done.cause());
    assert_eq!(done.total(), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metric_that_ends_at_noon_is_named_as_the_cause() {
    let mut series = six();
    series[1].2 = (MARCH, MARCH + DAY / 2);
    let mut history = History::default();
    put(&mut history, C, &series);
    let done = Done::over(&source(&[history]), &[]);
    assert_eq!(done.day["state"], "partial", "{}", done.day);
    assert!(done.cause().contains("node_ram_hourly_cost for about 7"), "{}", done.cause());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_totals_nodes_cost_price_times_capacity() {
    for is_old in [false, true] {
        let mut series = six();
        for (resource, old, amount) in [
            ("cpu", "kube_node_status_capacity_cpu_cores", 4.0),
            ("memory", "kube_node_status_capacity_memory_bytes", 16.0 * GIB),
        ] {
            let (metric, more) = match is_old {
                true => (old, String::new()),
                false => ("kube_node_status_capacity", format!(",resource=\"{resource}\"")),
            };
            series.push((metric, format!("node=\"n1\"{more}"), WHOLE, amount));
        }
        let gpus = "node=\"n1\"".to_owned();
        series.push(("node_gpu_count", gpus.clone(), WHOLE, 2.0));
        series.push(("node_gpu_hourly_cost", gpus, WHOLE, 0.5));
        let mut history = History::default();
        put(&mut history, C, &series);
        let done = Done::over(&source(&[history]), &[]);
        assert_eq!(done.day["state"], "ok", "{}", done.day);
        done.expect(&[("shop/", 24.0), ("data/", 36.0), ("c", 48.0)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hours_in_which_no_nodes_capacity_is_known_are_not_free() {
    let mut series = six();
    let evening = (WHOLE.0, MARCH + 18 * HOUR);
    for (resource, amount) in [("cpu", 4.0), ("memory", 16.0 * GIB)] {
        let labels = format!("node=\"n1\",resource=\"{resource}\"");
        series.push(("kube_node_status_capacity", labels, evening, amount));
    }
    let mut history = History::default();
    put(&mut history, C, &series);
    let done = Done::over(&source(&[history]), &[]);
    assert_eq!(done.day["state"], "partial", "{}", done.day);
    let warnings = done.day["warnings"].to_string();
    assert!(warnings.contains("kube_node_status_capacity"), "{}", done.day);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_of_three_pods_is_shared_by_what_the_cost_model_says() {
    let sharers = [("data", "a"), ("data", "b"), ("reports", "c")];
    for has_capacity in [false, true] {
        let mut series = node("n1", WHOLE);
        series.push(("node_total_hourly_cost", "node=\"n1\"".into(), WHOLE, 3.0));
        for (namespace, name) in sharers {
            series.extend(pod("n1", namespace, name, WHOLE));
        }
        series.extend(volume("v1", 300.0, 1.5, &sharers, WHOLE));
        if has_capacity {
            let labels = "persistentvolume=\"v1\"".to_owned();
            series.push(("kube_persistentvolume_capacity_bytes", labels, WHOLE, 300.0 * GIB));
        }
        let mut history = History::default();
        put(&mut history, C, &series);
        let source = source(&[history]);
        let done = Done::over(&source, &[PODS]);
        assert_eq!(done.day["state"], "ok", "{}", done.day);
        done.expect(&[("data/a", 36.0), ("data/b", 36.0), ("reports/c", 36.0)]);
        let done = Done::over(&source, &[]);
        done.expect(&[("data/", 72.0), ("reports/", 36.0)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_no_pod_mounts_is_its_namespaces_and_an_unclaimed_volume_the_clusters() {
    let mut series = node("n1", WHOLE);
    series.push(("node_total_hourly_cost", "node=\"n1\"".into(), WHOLE, 3.0));
    series.extend(volume("idle", 100.0, 0.25, &[("data", "unmounted-pvs")], WHOLE));
    series.extend(volume("released", 100.0, 0.5, &[], WHOLE));
    for name in ["idle", "released"] {
        let labels = format!("persistentvolume=\"{name}\"");
        series.push(("kube_persistentvolume_capacity_bytes", labels, WHOLE, 100.0 * GIB));
    }
    series.extend(pod("n1", "shop", "web-1", WHOLE));
    let mut history = History::default();
    put(&mut history, C, &series);
    let done = Done::over(&source(&[history]), &[PODS]);
    done.expect(&[("data/", 6.0), ("shop/web-1", 24.0), ("c", 48.0 + 12.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_whose_price_has_another_clusters_label_are_billed_once() {
    for price_label in ["", ",cluster=\"c-volumes\""] {
        let mut series = node("n1", WHOLE);
        series.push(("node_total_hourly_cost", "node=\"n1\"".into(), WHOLE, 3.0));
        series.extend(pod("n1", "data", "db-1", WHOLE));
        let (claim, price): (Vec<_>, Vec<_>) = volume("v1", 100.0, 0.5, &[("data", "db-1")], WHOLE)
            .into_iter()
            .partition(|(metric, ..)| *metric == "pod_pvc_allocation");
        series.extend(claim);
        let mut history = History::default();
        put(&mut history, C, &series);
        put(&mut history, price_label.trim_start_matches(','), &price);
        let size = vec![(
            "kube_persistentvolume_capacity_bytes",
            "persistentvolume=\"v1\"".to_owned(),
            WHOLE,
            100.0 * GIB,
        )];
        put(&mut history, price_label.trim_start_matches(','), &size);
        let done = Done::over(&source(&[history]), &[PODS]);
        assert_eq!(done.day["state"], "ok", "{}", done.day);
        done.expect(&[("data/db-1", 36.0), ("c", 48.0)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_is_billed_to_who_sent_it_by_where_it_went() {
    for (region, zone) in [("same_region", "same_zone"), ("sameRegion", "sameZone")] {
        let mut series = six();
        let prices = [("internet", 0.5), ("region", 0.25), ("zone", 0.125)];
        for (to, usd) in prices {
            let metric = match to {
                "internet" => "kubecost_network_internet_egress_cost",
                "region" => "kubecost_network_region_egress_cost",
                _ => "kubecost_network_zone_egress_cost",
            };
            series.push((metric, "job=\"kubecost\"".into(), WHOLE, usd));
        }
        let mut history = History::default();
        put(&mut history, C, &series);
        // A GiB a day each; the daemon starts anew at noon, and two jobs scrape it.
        for (namespace, name, labels) in [
            ("shop", "web-1", [true, false, false]),
            ("data", "db-1", [false, false, false]),
            ("data", "db-1", [false, true, false]),
            ("data", "db-1", [false, true, true]),
        ] {
            for job in ["a", "b"] {
                let [internet, same_region, same_zone] = labels;
                let labels = format!(
                    "tenant_id=\"{ACCOUNT}\",{C},namespace=\"{namespace}\",pod_name=\"{name}\",\
                     internet=\"{internet}\",{region}=\"{same_region}\",{zone}=\"{same_zone}\",\
                     job=\"{job}\""
                );
                let noon = MARCH + DAY / 2;
                let bytes = |t: i64| {
                    let since = if t >= noon { noon } else { MARCH - HOUR };
                    Some((t - since) as f64 / DAY as f64 * GIB)
                };
                let metric = "kubecost_pod_network_egress_bytes_total";
                history.every_minute(metric, &labels, 0, WHOLE, bytes);
            }
        }
        let done = Done::over(&source(&[history]), &[PODS]);
        assert_eq!(done.day["state"], "ok", "{}", done.day);
        let usd = done.usd();
        for (name, wanted) in [("shop/web-1", 24.5), ("data/db-1", 36.375)] {
            assert!((usd[name] - wanted).abs() < 0.002, "{name}: {usd:?}");
        }
        assert!((done.total() - 60.875).abs() < 0.004, "{usd:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_without_a_price_is_named() {
    let mut history = History::default();
    put(&mut history, C, &six());
    let labels = format!(
        "tenant_id=\"{ACCOUNT}\",{C},namespace=\"shop\",pod_name=\"web-1\",internet=\"true\""
    );
    let metric = "kubecost_pod_network_egress_bytes_total";
    history.every_minute(metric, &labels, 0, WHOLE, |t| Some((t - MARCH) as f64 * 1e6));
    let done = Done::over(&source(&[history]), &[]);
    assert_eq!(done.day["state"], "partial", "{}", done.day);
    assert!(done.cause().contains("kubecost_network_internet_egress_cost"), "{}", done.cause());
}
