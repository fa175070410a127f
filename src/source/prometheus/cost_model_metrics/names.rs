//! The cost model's metrics, and what of them is needed.
//!
//! Units: `node_cpu_hourly_cost` USD per core and hour; `node_ram_hourly_cost` and
//! `pv_hourly_cost` USD per GiB (2^30 bytes) and hour; `node_gpu_hourly_cost` USD per GPU and hour;
//! network prices USD per GiB.

pub(super) use crate::source::metric_names::{
    CPU_ALLOCATION as CPU, CPU_PRICE, GPU_ALLOCATION as GPU, NODE_TOTAL, POD_EGRESS as EGRESS,
    RAM_ALLOCATION as RAM, RAM_PRICE, VOLUME_CLAIMS as CLAIMS, VOLUME_PRICE,
};

pub(super) const GPU_PRICE: &str = "node_gpu_hourly_cost";
pub(super) const GPU_COUNT: &str = "node_gpu_count";
pub(super) const NODE_CORES: &str = "kube_node_status_capacity_cpu_cores";
pub(super) const NODE_MEMORY: &str = "kube_node_status_capacity_memory_bytes";
/// The same of newer servers, by its label `resource`.
pub(super) const NODE_RESOURCE: &str = "kube_node_status_capacity";
pub(super) const CAPACITY: &str = "kube_persistentvolume_capacity_bytes";
pub(super) const BALANCERS: &str = "kubecost_load_balancer_cost";
pub(super) const MANAGEMENT: &str = "kubecost_cluster_management_cost";
pub(super) const INTERNET_PRICE: &str = "kubecost_network_internet_egress_cost";
pub(super) const REGION_PRICE: &str = "kubecost_network_region_egress_cost";
pub(super) const ZONE_PRICE: &str = "kubecost_network_zone_egress_cost";

/// Metrics whose samples become costs as they are: bad ones are left out.
pub(super) const GAUGES: [&str; 19] = [
    CPU,
    RAM,
    GPU,
    CPU_PRICE,
    RAM_PRICE,
    GPU_PRICE,
    GPU_COUNT,
    NODE_TOTAL,
    NODE_CORES,
    NODE_MEMORY,
    NODE_RESOURCE,
    CLAIMS,
    CAPACITY,
    VOLUME_PRICE,
    BALANCERS,
    MANAGEMENT,
    INTERNET_PRICE,
    REGION_PRICE,
    ZONE_PRICE,
];

/// Everything that is read.
pub(super) fn all() -> Vec<&'static str> {
    GAUGES.into_iter().chain([EGRESS]).collect()
}

/// Metrics of nodes, a few series each: any of them shows that a cluster has samples.
pub(super) const OF_NODES: [&str; 3] = [NODE_TOTAL, CPU_PRICE, RAM_PRICE];
/// What no cluster's costs are whole without, and what is not billed where it is missing.
pub(super) const NEEDED: [(&str, &str); 4] = [
    (CPU, "no cores of its pods are billed"),
    (RAM, "no memory of its pods is billed"),
    (CPU_PRICE, "no cores are billed"),
    (RAM_PRICE, "no memory is billed"),
];
