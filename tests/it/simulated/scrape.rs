//! What the cost model of a made-up cluster shows, and how scrapers see it: the cost model sets
//! its values anew in a loop of its own, once a minute, and each scraper looks at its own second.

use super::world::{Cluster, Direction, MINUTE, Node, Pod};

const GIB: f64 = 1_073_741_824.0;

/// How a customer's metrics reach the query layer.
#[derive(Clone)]
pub(super) struct Wiring {
    /// Labels on everything: the tenant's, the cluster's.
    pub(super) labels: String,
    /// The same for volumes' prices.
    pub(super) volume_price_labels: String,
    /// Whether the cost model says what a node costs in all, and the size of volumes.
    pub(super) has_totals: bool,
    /// The second of the minute in which the cost model's loop runs.
    pub(super) loop_second: i64,
}

/// Series as `name{a="b"}`, and their values.
type Shown = Vec<(String, f64)>;

/// What a scrape at a time sees.
pub(super) fn shown(cluster: &Cluster, wiring: &Wiring, time: i64) -> Shown {
    let looped = (time - wiring.loop_second).div_euclid(MINUTE) * MINUTE + wiring.loop_second;
    let mut out = Shown::new();
    for node in cluster.nodes.iter().filter(|node| node.life.has(looped)) {
        nodes(node, wiring, looped, &mut out);
    }
    for pod in cluster.pods.iter().filter(|pod| pod.life.has(looped)) {
        containers(cluster, pod, wiring, looped, &mut out);
    }
    // The daemons are scraped themselves, without the loop in between.
    for pod in cluster.pods.iter().filter(|pod| pod.life.has(time)) {
        traffic(cluster, pod, wiring, time, &mut out);
    }
    volumes(cluster, wiring, looped, &mut out);
    let base = &wiring.labels;
    for (namespace, usd) in &cluster.balancers {
        let name = format!("namespace=\"{namespace}\",service_name=\"front\"");
        out.push((format!("kubecost_load_balancer_cost{{{base},{name}}}"), *usd));
    }
    let management = "kubecost_cluster_management_cost";
    out.push((format!("{management}{{{base},provisioner_name=\"EKS\"}}"), cluster.management));
    for (to, usd) in ["internet", "region", "zone"].iter().zip(cluster.egress_usd) {
        out.push((format!("kubecost_network_{to}_egress_cost{{{base}}}"), usd));
    }
    out
}

fn nodes(node: &Node, wiring: &Wiring, time: i64, out: &mut Shown) {
    let kind = if node.relabelled.is_some_and(|at| at <= time) { "m6i" } else { "m5" };
    let (base, name) = (&wiring.labels, &node.name);
    let labels = format!(
        "{base},node=\"{name}\",instance=\"{name}\",instance_type=\"{kind}.2xlarge\",\
         provider_id=\"aws:///i-{name}\""
    );
    let (core, gib, gpu) = (node.core_usd.at(time), node.gib_usd.at(time), node.gpu_usd.at(time));
    let mut put = |metric: &str, value: f64| out.push((format!("{metric}{{{labels}}}"), value));
    put("node_cpu_hourly_cost", core);
    put("node_ram_hourly_cost", gib);
    put("node_gpu_hourly_cost", gpu);
    put("node_gpu_count", node.gpus);
    if wiring.has_totals {
        let whole = node.cores * core + node.gib * gib + node.gpus * gpu;
        put("node_total_hourly_cost", whole);
        return;
    }
    let capacity = [("cpu", node.cores), ("memory", node.gib * GIB), ("pods", 110.0)];
    for (resource, amount) in capacity {
        let labels = format!("{base},node=\"{name}\",resource=\"{resource}\"");
        out.push((format!("kube_node_status_capacity{{{labels}}}"), amount));
    }
}

fn containers(cluster: &Cluster, pod: &Pod, wiring: &Wiring, time: i64, out: &mut Shown) {
    let (base, node) = (&wiring.labels, &cluster.nodes[pod.node].name);
    for container in pod.containers.iter().filter(|container| container.life.has(time)) {
        let labels = format!(
            "{base},node=\"{node}\",instance=\"{node}\",namespace=\"{}\",pod=\"{}\",\
             container=\"{}\"",
            pod.namespace, pod.name, container.name
        );
        let mut put = |metric: &str, value: f64| out.push((format!("{metric}{{{labels}}}"), value));
        put("container_cpu_allocation", container.cores.at(time));
        put("container_memory_allocation_bytes", container.gib.at(time) * GIB);
        put("container_gpu_allocation", container.gpus);
    }
}

fn traffic(cluster: &Cluster, pod: &Pod, wiring: &Wiring, time: i64, out: &mut Shown) {
    let reset = cluster.resets.iter().copied().filter(|reset| *reset <= time).max();
    let since = reset.map_or(pod.life.from, |reset| reset.max(pod.life.from));
    let (region, zone) = match cluster.is_camel {
        true => ("sameRegion", "sameZone"),
        false => ("same_region", "same_zone"),
    };
    let (base, node) = (&wiring.labels, &cluster.nodes[pod.node].name);
    for (direction, rate) in &pod.traffic {
        let (internet, same_region, same_zone) = match direction {
            Direction::Internet => (true, false, false),
            Direction::Region => (false, false, false),
            Direction::Zone => (false, true, false),
            Direction::Near => (false, true, true),
        };
        let labels = format!(
            "{base},instance=\"{node}\",namespace=\"{}\",pod_name=\"{}\",internet=\"{internet}\",\
             {region}=\"{same_region}\",{zone}=\"{same_zone}\"",
            pod.namespace, pod.name
        );
        let bytes = (time - since) as f64 * rate;
        out.push((format!("kubecost_pod_network_egress_bytes_total{{{labels}}}"), bytes));
    }
}

fn volumes(cluster: &Cluster, wiring: &Wiring, time: i64, out: &mut Shown) {
    for volume in &cluster.volumes {
        let name = &volume.name;
        let mounting: Vec<&Pod> = volume
            .pods
            .iter()
            .map(|index| &cluster.pods[*index])
            .filter(|pod| pod.life.has(time))
            .collect();
        let size = volume.gib * GIB;
        let mut claim = |namespace: &str, pod: &str, bytes: f64| {
            let labels = format!(
                "{},namespace=\"{namespace}\",pod=\"{pod}\",persistentvolume=\"{name}\",\
                 persistentvolumeclaim=\"claim-{name}\"",
                wiring.labels
            );
            out.push((format!("pod_pvc_allocation{{{labels}}}"), bytes));
        };
        for pod in &mounting {
            claim(pod.namespace, &pod.name, size / mounting.len() as f64);
        }
        if mounting.is_empty() {
            claim(volume.namespace, "unmounted-pvs", size);
        }
        let labels = format!("{},persistentvolume=\"{name}\"", wiring.volume_price_labels);
        out.push((format!("pv_hourly_cost{{{labels}}}"), volume.usd));
        if wiring.has_totals {
            let labels = format!("{},persistentvolume=\"{name}\"", wiring.labels);
            out.push((format!("kube_persistentvolume_capacity_bytes{{{labels}}}"), size));
        }
    }
}
