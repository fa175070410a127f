//! Phase 1: a day's costs from the raw metrics of the cost model.
//!
//! Allocation times price, joined on cluster and node, minute by minute. `max by` stands before
//! each join, so that doubled scrapes do not double costs. Formulas: docs/ARCHITECTURE.md. Units:
//! `node_cpu_hourly_cost` USD per core and hour; `node_ram_hourly_cost` and `pv_hourly_cost` USD
//! per GiB (2^30 bytes) and hour; `node_gpu_hourly_cost` USD per GPU and hour.

use std::collections::BTreeMap;

use crate::cost::{Day, DayCosts, PodCosts};
use crate::service::failure::{Failure, Kind};

use crate::source::metric_names::{CPU_ALLOCATION, NODE_TOTAL};
use crate::source::prometheus::exporter_metrics::{put_greatest, shifted};
use crate::source::prometheus::gaps::{self, Teller};
use crate::source::prometheus::promql::{Selector, Window};
use crate::source::prometheus::reply::Labels;
use crate::source::prometheus::session::Asking;
use crate::source::prometheus::source_conflicts::{self, Claim};
use crate::source::{Phase, SourceDay};

const CPU: &str = CPU_ALLOCATION;
const RAM: &str = "container_memory_allocation_bytes";
const GPU: &str = "container_gpu_allocation";
const CPU_PRICE: &str = "node_cpu_hourly_cost";
const RAM_PRICE: &str = "node_ram_hourly_cost";
const GPU_PRICE: &str = "node_gpu_hourly_cost";
const CLAIMS: &str = "pod_pvc_allocation";
const CAPACITY: &str = "kube_persistentvolume_capacity_bytes";
const VOLUME_PRICE: &str = "pv_hourly_cost";
const BALANCERS: &str = "kubecost_load_balancer_cost";
const MANAGEMENT: &str = "kubecost_cluster_management_cost";
const GIB: &str = "1073741824";
/// The cost model's name for the mount of a claim that no pod mounts: it is no pod.
const UNMOUNTED_POD: &str = "unmounted-pvs";

/// What only one cluster may tell of under one name.
const CLAIMED_ONCE: &[Claim<'_>] = &[
    Claim { metric: NODE_TOTAL, labels: &["node"], identity: Some("provider_id") },
    Claim { metric: MANAGEMENT, labels: &["provisioner_name"], identity: None },
];

/// Metrics whose bad samples would become costs.
const CHECKED: [(&str, &[&str]); 12] = [
    (CPU, &[]),
    (RAM, &[]),
    (GPU, &[]),
    (CPU_PRICE, &[]),
    (RAM_PRICE, &[]),
    (GPU_PRICE, &[]),
    (NODE_TOTAL, &[]),
    (CLAIMS, &[]),
    (CAPACITY, &[]),
    (VOLUME_PRICE, &[]),
    (BALANCERS, &[]),
    (MANAGEMENT, &[]),
];

pub(super) async fn day_costs(
    mut asking: Asking<'_>,
    day: Day,
    now_seconds: i64,
) -> Result<SourceDay, Failure> {
    let mut selector = asking.selector();
    let window = shifted(day, 0, now_seconds);
    asking.unite_default_cluster(&mut selector, &CHECKED.map(|(name, _)| name), window).await?;
    let mut out = SourceDay::without_samples(Phase::Raw, window.minutes());
    if window.minutes() > 0 {
        let present = selector.max_by(&[], &selector.raw(NODE_TOTAL, &[]));
        let covered = asking.minutes(&present, window).await?;
        out.cover(asking.by_cluster(&covered));
    }
    if out.covered_minutes > 0 && out.covered_minutes < window.minutes() {
        let teller = Teller { costs: NODE_TOTAL, alive: None };
        out.holes = gaps::told(&mut asking, &selector, teller, window).await;
    }
    if out.covered_minutes > 0 {
        let costs = &mut out.costs;
        refuse_renamed_labels(&mut asking, &selector, window).await?;
        for claim in CLAIMED_ONCE {
            let series = asking.series_count(&selector, claim.metric, window).await?;
            let found =
                source_conflicts::of_claim(&mut asking, &selector, *claim, window, series).await?;
            out.conflicts.extend(found);
        }
        let series = asking.series_count(&selector, CPU, window).await?;
        asking.filter_bad_samples(&mut selector, &CHECKED, window, series).await?;
        warn_of_unpriced_nodes(&mut asking, &selector, window, series).await?;
        containers(&mut asking, &selector, window, series, costs).await?;
        volumes(&mut asking, &selector, window, costs).await?;
        balancers(&mut asking, &selector, window, costs).await?;
        cluster_totals(&mut asking, &selector, window, costs).await?;
    }
    out.warnings = asking.warnings;
    out.is_partial = asking.is_partial;
    Ok(out)
}

/// Without `honor_labels` a scrape renames the containers' own namespace and pod, and every cost
/// would land on the exporter's namespace.
async fn refuse_renamed_labels(
    asking: &mut Asking<'_>,
    selector: &Selector,
    window: Window,
) -> Result<(), Failure> {
    let renamed = |piece: Window| selector.series_count(CPU, &["exported_namespace!=\"\""], piece);
    if asking.summed(window, 1, renamed).await?.is_empty() {
        return Ok(());
    }
    Err(Failure::query(
        Kind::BadData,
        format!("{CPU} has the label exported_namespace, so its label namespace is the scraper's"),
        "scrape the cost model with honor_labels: true",
    ))
}

/// Allocations on nodes without a price drop out of the join: say so.
async fn warn_of_unpriced_nodes(
    asking: &mut Asking<'_>,
    selector: &Selector,
    window: Window,
    series: u64,
) -> Result<(), Failure> {
    let used = selector.max_by(&["node"], &selector.of(CPU, &[]));
    let priced = selector.max_by(&["node"], &selector.of(CPU_PRICE, &[]));
    let on = selector.labels(&["node"]);
    let lacking = format!("{used} unless on ({on}) {priced}");
    let query = |piece: Window| format!("count_over_time(({lacking})[{}:5m])", piece.range());
    for (labels, points) in asking.summed(window, series / 5, query).await? {
        asking.is_partial = true;
        let node = labels.get("node").cloned().unwrap_or_default();
        let minutes = points * 5.0;
        asking.warn(format!(
            "node '{node}' has allocations but no price ({CPU_PRICE}) for about {minutes} minutes: \
             they cost nothing"
        ));
    }
    Ok(())
}

/// CPU, RAM and GPU of pods, or of namespaces when no pods are wanted.
async fn containers(
    asking: &mut Asking<'_>,
    selector: &Selector,
    window: Window,
    series: u64,
    namespaces: &mut DayCosts,
) -> Result<(), Failure> {
    let wants_pods = asking.levels().pod;
    let by: &[&str] = if wants_pods { &["namespace", "pod", "node"] } else { &["namespace"] };
    let mut on_nodes: BTreeMap<(String, String, String), BTreeMap<String, f64>> = BTreeMap::new();
    for (amount, price, divisor) in
        [(CPU, CPU_PRICE, "1"), (RAM, RAM_PRICE, GIB), (GPU, GPU_PRICE, "1")]
    {
        let container = ["node", "namespace", "pod", "container"];
        let amounts = selector.max_by(&container, &selector.of(amount, &[]));
        let prices = selector.max_by(&["node"], &selector.of(price, &[]));
        let on = selector.labels(&["node"]);
        let rate = selector
            .sum_by(by, &format!("{amounts} / {divisor} * on ({on}) group_left () {prices}"));
        for (labels, usd) in asking.integrate(&rate, window, series).await? {
            let Some((cluster, namespace)) = place(asking, &labels) else { continue };
            *namespaces.namespace_mut(&cluster, &namespace).total_usd.get_or_insert(0.0) += usd;
            if wants_pods {
                let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
                let pod = on_nodes.entry((cluster, namespace, label("pod"))).or_default();
                *pod.entry(label("node")).or_insert(0.0) += usd;
            }
        }
    }
    for ((cluster, namespace, pod), nodes) in on_nodes {
        // The node where most of the cost arose; the first by name when equal.
        let node = nodes
            .iter()
            .rev()
            .max_by(|a, b| a.1.total_cmp(b.1))
            .map(|(node, _)| node.clone())
            .filter(|node| !node.is_empty());
        let total_usd = nodes.values().sum();
        let costs = PodCosts { total_usd, node, service: None };
        namespaces.namespace_mut(&cluster, &namespace).pods.insert(pod, costs);
    }
    Ok(())
}

fn place(asking: &mut Asking<'_>, labels: &Labels) -> Option<(String, String)> {
    let cluster = asking.cluster(labels).to_owned();
    match labels.get("namespace") {
        Some(namespace) if !namespace.is_empty() => Some((cluster, namespace.clone())),
        _ => {
            asking.is_partial = true;
            asking.warn(format!("a series of cluster '{cluster}' has no label namespace"));
            None
        }
    }
}

/// Claimed volumes: each once per namespace, shared equally by the pods that mount it.
async fn volumes(
    asking: &mut Asking<'_>,
    selector: &Selector,
    window: Window,
    costs: &mut DayCosts,
) -> Result<(), Failure> {
    let series = asking.series_count(selector, CLAIMS, window).await?;
    if series == 0 {
        return Ok(());
    }
    let claims = selector.of(CLAIMS, &[]);
    let price = selector.max_by(&["persistentvolume"], &selector.of(VOLUME_PRICE, &[]));
    let on = selector.labels(&["persistentvolume"]);
    let priced = format!("/ {GIB} * on ({on}) group_left () {price}");
    let claimed = selector.max_by(&["namespace", "persistentvolume"], &claims);
    let rate = selector.sum_by(&["namespace"], &format!("{claimed} {priced}"));
    for (labels, usd) in asking.integrate(&rate, window, series).await? {
        let Some((cluster, namespace)) = place(asking, &labels) else { continue };
        *costs.namespace_mut(&cluster, &namespace).total_usd.get_or_insert(0.0) += usd;
    }
    if !asking.levels().pod {
        return Ok(());
    }
    let mounts = selector.max_by(&["namespace", "persistentvolume", "pod"], &claims);
    let mounted =
        format!("count by ({}) ({mounts})", selector.labels(&["namespace", "persistentvolume"]));
    let shared = selector.labels(&["namespace", "persistentvolume"]);
    let rate = selector.sum_by(
        &["namespace", "pod"],
        &format!("{mounts} / on ({shared}) group_left () {mounted} {priced}"),
    );
    for (labels, usd) in asking.integrate(&rate, window, series).await? {
        let Some((cluster, namespace)) = place(asking, &labels) else { continue };
        let pod = labels.get("pod").cloned().unwrap_or_default();
        if pod.is_empty() || pod == UNMOUNTED_POD {
            continue;
        }
        let pods = &mut costs.namespace_mut(&cluster, &namespace).pods;
        pods.entry(pod).or_default().total_usd += usd;
    }
    Ok(())
}

/// Load balancers: the cost model names their namespace, not the pods behind them.
async fn balancers(
    asking: &mut Asking<'_>,
    selector: &Selector,
    window: Window,
    costs: &mut DayCosts,
) -> Result<(), Failure> {
    let each = selector.max_by(&["namespace", "service_name"], &selector.of(BALANCERS, &[]));
    let rate = selector.sum_by(&["namespace"], &each);
    for (labels, usd) in asking.integrate(&rate, window, 1).await? {
        let Some((cluster, namespace)) = place(asking, &labels) else { continue };
        *costs.namespace_mut(&cluster, &namespace).total_usd.get_or_insert(0.0) += usd;
    }
    Ok(())
}

/// Nodes, all volumes (claimed or not), load balancers and the management fee.
async fn cluster_totals(
    asking: &mut Asking<'_>,
    selector: &Selector,
    window: Window,
    costs: &mut DayCosts,
) -> Result<(), Failure> {
    let nodes = selector.max_by(&["node"], &selector.of(NODE_TOTAL, &[]));
    let volume = ["persistentvolume"];
    let capacity = selector.max_by(&volume, &selector.of(CAPACITY, &[]));
    let claimed = selector.max_by(&volume, &selector.of(CLAIMS, &[]));
    let price = selector.max_by(&volume, &selector.of(VOLUME_PRICE, &[]));
    let on = selector.labels(&volume);
    let volumes = format!("({capacity} or {claimed}) / {GIB} * on ({on}) group_left () {price}");
    let balancers = selector.max_by(&["namespace", "service_name"], &selector.of(BALANCERS, &[]));
    let management = selector.max_by(&["provisioner_name"], &selector.of(MANAGEMENT, &[]));
    let mut totals: BTreeMap<String, f64> = BTreeMap::new();
    for part in [nodes, volumes, balancers, management] {
        let rate = selector.sum_by(&[], &part);
        for (labels, usd) in asking.integrate(&rate, window, 1).await? {
            *totals.entry(asking.cluster(&labels).to_owned()).or_insert(0.0) += usd;
        }
    }
    for (cluster, usd) in totals {
        put_greatest(&mut costs.cluster_mut(&cluster).total_usd, usd);
    }
    Ok(())
}
