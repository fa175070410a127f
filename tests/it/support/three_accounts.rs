//! Three accounts over three days whose costs are known to the last bit.
//!
//! Every rate is a sum of a few powers of two, so each cost written here is exact in Float64, and
//! so are all sums of them. `ALPHA` has the exporter's gauges of a cluster with pods, and a
//! namespace that ends at noon of the first day; `BETA` raw metrics only; `GAMMA` gauges that are
//! silent for two hours of the second day. Samples lie on the minute and stand for five minutes.

use std::collections::BTreeMap;

use kubecost_worker::cost::{AccountId, ResourceKey};

use super::metrics::History;
use super::servers::{Server, Stores};
use super::worker::{Finished, run};
use super::world::{DAY, HOUR, MARCH, gauges, source};

pub(crate) const ALPHA: &str = "a1a1a1a1-0000-4000-8000-0000000000a1";
pub(crate) const BETA: &str = "b2b2b2b2-0000-4000-8000-0000000000b2";
pub(crate) const GAMMA: &str = "c3c3c3c3-0000-4000-8000-0000000000c3";
pub(crate) const ACCOUNTS: [&str; 3] = [ALPHA, BETA, GAMMA];
/// The three days, as the UI gives them: from the first midnight to the last second.
pub(crate) const RANGE: (i64, i64) = (MARCH, MARCH + 3 * DAY - 1);
/// The run of all three days, on the morning after them.
pub(crate) const RUN: [&str; 7] =
    ["run", "--from", "2026-03-01", "--to", "2026-03-03", "--at", "2026-03-04T00:20:00Z"];
/// A run of the last day only.
pub(crate) const LAST_DAY: [&str; 7] =
    ["run", "--from", "2026-03-03", "--to", "2026-03-03", "--at", "2026-03-04T00:40:00Z"];

/// A resource, and what it costs by itself (without what is in it), USD a day.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) account: &'static str,
    pub(crate) key: ResourceKey,
    pub(crate) resource_type: &'static str,
    pub(crate) node: Option<&'static str>,
    pub(crate) service: Option<&'static str>,
    pub(crate) days: [f64; 3],
}

impl Expected {
    /// Its stable id.
    pub(crate) fn cloud_resource_id(&self) -> String {
        self.key.id(&AccountId::new(self.account).unwrap())
    }

    /// Its namespace, if it has one.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.key.namespace()
    }

    /// USD of all three days.
    pub(crate) fn total(&self) -> f64 {
        self.days.iter().sum()
    }

    /// Whether it was there on the last day.
    pub(crate) fn is_active(&self) -> bool {
        self.days[2] > 0.0
    }
}

fn cluster(account: &'static str, name: &str, days: [f64; 3]) -> Expected {
    let key = ResourceKey::Cluster { cluster: name.to_owned() };
    Expected { account, key, resource_type: "K8s Cluster", node: None, service: None, days }
}

fn namespace(account: &'static str, (cluster, name): (&str, &str), days: [f64; 3]) -> Expected {
    let key = ResourceKey::Namespace { cluster: cluster.to_owned(), namespace: name.to_owned() };
    Expected { account, key, resource_type: "K8s Namespace", node: None, service: None, days }
}

fn pod(
    account: &'static str,
    (cluster, namespace, name): (&str, &str, &str),
    (node, service): (&'static str, Option<&'static str>),
    days: [f64; 3],
) -> Expected {
    let (cluster, namespace) = (cluster.to_owned(), namespace.to_owned());
    let key = ResourceKey::Pod { cluster, namespace, pod: name.to_owned() };
    Expected { account, key, resource_type: "K8s Pod", node: Some(node), service, days }
}

/// All resources with all levels on.
///
/// `prod` is 12 USD/h: 288 a day, of which `shop` 144 (pods 60 and 36) and `web` 60 (a pod 48);
/// `brief` is 3 USD/h for 725 minutes. `raw` is a node of 2 USD/h, a volume of 0.0625 and a load
/// balancer of 0.125, of which `web` has 1.4375 (its pod all but the balancer). `edge` is 1.5
/// USD/h, of which `shop` 0.75 (its pod half): 24 hours, but 1325 minutes of the second day.
pub(crate) fn expected() -> Vec<Expected> {
    let steady = |usd: f64| [usd; 3];
    let gap = |hourly: f64| [24.0 * hourly, 1_325.0 * hourly / 60.0, 24.0 * hourly];
    vec![
        cluster(ALPHA, "prod", [47.75, 84.0, 84.0]),
        namespace(ALPHA, ("prod", "shop"), steady(48.0)),
        namespace(ALPHA, ("prod", "web"), steady(12.0)),
        namespace(ALPHA, ("prod", "brief"), [36.25, 0.0, 0.0]),
        pod(ALPHA, ("prod", "shop", "cart"), ("n1", Some("cart")), steady(60.0)),
        pod(ALPHA, ("prod", "shop", "api"), ("n2", Some("api")), steady(36.0)),
        pod(ALPHA, ("prod", "web", "front"), ("n1", None), steady(48.0)),
        cluster(BETA, "raw", steady(18.0)),
        namespace(BETA, ("raw", "web"), steady(3.0)),
        pod(BETA, ("raw", "web", "w-1"), ("n9", None), steady(31.5)),
        cluster(GAMMA, "edge", gap(0.75)),
        namespace(GAMMA, ("edge", "shop"), gap(0.375)),
        pod(GAMMA, ("edge", "shop", "batch"), ("e1", None), gap(0.375)),
    ]
}

/// USD by stable id, of what a test chooses and of the chosen days.
pub(crate) fn costs(
    chosen: impl Fn(&Expected) -> bool,
    days: std::ops::Range<usize>,
) -> BTreeMap<String, f64> {
    let cost = |e: Expected| (e.cloud_resource_id(), e.days[days.clone()].iter().sum());
    expected().into_iter().filter(|e| chosen(e)).map(cost).collect()
}

fn pod_gauge(
    history: &mut History,
    (account, cluster, namespace, pod): (&str, &str, &str, &str),
    place: &str,
    rate: impl Fn(i64) -> Option<f64>,
) {
    let labels = format!(
        "tenant_id=\"{account}\",cluster=\"{cluster}\",namespace=\"{namespace}\",\
         pod=\"{pod}\",{place}"
    );
    let life = (MARCH, MARCH + 3 * DAY);
    history.every_minute("cloudtuner_kubecost_pod_total_cost", &labels, 0, life, rate);
}

fn alpha(history: &mut History) {
    let whole = (MARCH, MARCH + 3 * DAY);
    gauges(history, ALPHA, whole, |_| Some(12.0), &[("shop", 6.0), ("web", 2.5)]);
    let noon = (MARCH, MARCH + 12 * HOUR);
    let labels = format!("tenant_id=\"{ALPHA}\",cluster=\"prod\",namespace=\"brief\"");
    let metric = "cloudtuner_kubecost_namespace_total_cost";
    history.every_minute(metric, &labels, 0, noon, |_| Some(3.0));
    let mut put = |namespace, pod, place, rate: f64| {
        pod_gauge(history, (ALPHA, "prod", namespace, pod), place, |_| Some(rate));
    };
    put("shop", "cart", "node=\"n1\",service=\"cart\"", 2.5);
    put("shop", "api", "node=\"n2\",service=\"api\"", 1.5);
    put("web", "front", "node=\"n1\"", 2.0);
}

fn beta(history: &mut History) {
    const GIB: f64 = 1_073_741_824.0;
    let base = format!("tenant_id=\"{BETA}\",cluster=\"raw\"");
    let mut put = |metric: &str, labels: &str, value: f64| {
        let labels = format!("{base},{labels}");
        history.every_minute(metric, &labels, 0, (MARCH, MARCH + 3 * DAY), |_| Some(value));
    };
    put("node_total_hourly_cost", "node=\"n9\"", 2.0);
    put("node_cpu_hourly_cost", "node=\"n9\"", 0.5);
    put("node_ram_hourly_cost", "node=\"n9\"", 0.0625);
    let container = "node=\"n9\",namespace=\"web\",pod=\"w-1\",container=\"main\"";
    put("container_cpu_allocation", container, 2.0);
    put("container_memory_allocation_bytes", container, 4.0 * GIB);
    put("pv_hourly_cost", "persistentvolume=\"v1\"", 1.0 / 256.0);
    let claim = "persistentvolume=\"v1\",namespace=\"web\",pod=\"w-1\",persistentvolumeclaim=\"c\"";
    put("pod_pvc_allocation", claim, 16.0 * GIB);
    put("kubecost_load_balancer_cost", "namespace=\"web\",service_name=\"lb\"", 0.125);
}

fn gamma(history: &mut History) {
    let silent = MARCH + DAY + 9 * HOUR..MARCH + DAY + 11 * HOUR;
    let of = |rate: f64| {
        let silent = silent.clone();
        move |t: i64| (!silent.contains(&t)).then_some(rate)
    };
    let whole = (MARCH, MARCH + 3 * DAY);
    let base = format!("tenant_id=\"{GAMMA}\",cluster=\"edge\"");
    history.every_minute("cloudtuner_kubecost_cluster_total_cost", &base, 0, whole, of(1.5));
    let labels = format!("{base},namespace=\"shop\"");
    history.every_minute("cloudtuner_kubecost_namespace_total_cost", &labels, 0, whole, of(0.75));
    pod_gauge(history, (GAMMA, "edge", "shop", "batch"), "node=\"e1\"", of(0.375));
}

/// A Prometheus that holds the three accounts' history.
pub(crate) fn prometheus_of_three() -> Server {
    let mut history = History::default();
    alpha(&mut history);
    beta(&mut history);
    gamma(&mut history);
    source(&[history])
}

/// The servers, and what leads to them.
pub(crate) struct ThreeAccounts {
    pub(crate) stores: Stores,
    pub(crate) settings: Vec<(&'static str, String)>,
    _source: Server,
}

impl ThreeAccounts {
    /// Stores without a schema, and a worker's settings with all levels on.
    pub(crate) async fn new(name: &str) -> Self {
        let source = prometheus_of_three();
        let stores = Stores::new(name).await;
        let mut settings = stores.settings();
        settings.push(("PROMETHEUS_URL", source.url.clone()));
        settings.push(("ACCOUNTS", ACCOUNTS.join(",")));
        settings.push(("LEVELS", "cluster,namespace,pod".to_owned()));
        Self { stores, settings, _source: source }
    }

    /// Runs the worker.
    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        run(&self.settings, arguments)
    }
}
