//! Names of the metrics that more than one place asks for.

/// The cluster's rate, USD per hour: its presence tells that an account is on Phase 2.
pub const CLUSTER_TOTAL: &str = "cloudtuner_kubecost_cluster_total_cost";
/// A namespace's rate, USD per hour.
pub const NAMESPACE_TOTAL: &str = "cloudtuner_kubecost_namespace_total_cost";
/// A pod's rate, USD per hour.
pub const POD_TOTAL: &str = "cloudtuner_kubecost_pod_total_cost";
/// A node's rate, USD per hour, idle cost included.
pub const NODE_GAUGE: &str = "cloudtuner_kubecost_node_total_cost";
/// What of it is allocated to nobody.
pub const NODE_IDLE_GAUGE: &str = "cloudtuner_kubecost_node_idle_cost";
/// What of the cluster's rate is CPU.
pub const CLUSTER_CPU: &str = "cloudtuner_kubecost_cluster_cpu_cost";
/// What of it is memory.
pub const CLUSTER_RAM: &str = "cloudtuner_kubecost_cluster_ram_cost";
/// What of it is volumes.
pub const CLUSTER_PV: &str = "cloudtuner_kubecost_cluster_pv_cost";
/// What of it is traffic.
pub const CLUSTER_NETWORK: &str = "cloudtuner_kubecost_cluster_network_cost";
/// What of it is load balancers.
pub const CLUSTER_LB: &str = "cloudtuner_kubecost_cluster_lb_cost";
/// What of a namespace's rate is CPU.
pub const NAMESPACE_CPU: &str = "cloudtuner_kubecost_namespace_cpu_cost";
/// What of it is memory.
pub const NAMESPACE_RAM: &str = "cloudtuner_kubecost_namespace_ram_cost";
/// What of it is volumes.
pub const NAMESPACE_PV: &str = "cloudtuner_kubecost_namespace_pv_cost";
/// What of a pod's rate is CPU.
pub const POD_CPU: &str = "cloudtuner_kubecost_pod_cpu_cost";
/// What of it is memory.
pub const POD_RAM: &str = "cloudtuner_kubecost_pod_ram_cost";
/// CPU used over CPU requested, per cent, of a cluster.
pub const CLUSTER_CPU_EFFICIENCY: &str = "cloudtuner_kubecost_cluster_cpu_efficiency";
/// Memory used over memory requested, per cent, of a cluster.
pub const CLUSTER_RAM_EFFICIENCY: &str = "cloudtuner_kubecost_cluster_ram_efficiency";
/// CPU used over CPU requested, per cent, of a namespace.
pub const NAMESPACE_CPU_EFFICIENCY: &str = "cloudtuner_kubecost_namespace_cpu_efficiency";
/// Memory used over memory requested, per cent, of a namespace.
pub const NAMESPACE_RAM_EFFICIENCY: &str = "cloudtuner_kubecost_namespace_ram_efficiency";

/// Seconds of CPU that a container has used, a counter of cAdvisor.
pub const CPU_USED: &str = "container_cpu_usage_seconds_total";
/// Bytes that a container uses, of cAdvisor.
pub const RAM_USED: &str = "container_memory_working_set_bytes";
/// What a container requests, by its label `resource`: cores or bytes, of kube-state-metrics.
pub const REQUESTED: &str = "kube_pod_container_resource_requests";

/// Bytes that a pod has sent, a counter of the cost model.
pub const POD_EGRESS: &str = "kubecost_pod_network_egress_bytes_total";

/// The label that names the pod that a metric's series are of, where they are of pods.
#[must_use]
pub fn pod_label(metric: &str) -> Option<&'static str> {
    match metric {
        POD_TOTAL | POD_CPU | POD_RAM | CPU_ALLOCATION | RAM_ALLOCATION | GPU_ALLOCATION
        | VOLUME_CLAIMS => Some("pod"),
        POD_EGRESS => Some("pod_name"),
        _ => None,
    }
}

/// Whether it is a gauge of cost of the exporter: its labels name currency and mode.
#[must_use]
pub fn is_cost_gauge(metric: &str) -> bool {
    metric.starts_with("cloudtuner_kubecost_") && metric.ends_with("_cost")
}

/// Whether the exporter's last poll gave a window: there as long as the exporter runs.
pub const EXPORTER_SUCCESS: &str = "cloudtuner_kubecost_exporter_scrape_success";
/// End of the window that the gauges tell about, Unix seconds.
pub const WINDOW_END: &str = "cloudtuner_kubecost_window_end_timestamp_seconds";
/// Length of that window, seconds.
pub const WINDOW_SECONDS: &str = "cloudtuner_kubecost_window_seconds";
/// How much of that window the source of the gauges had data of, seconds.
pub const WINDOW_COVERED: &str = "cloudtuner_kubecost_window_covered_seconds";
/// How many rows of that window have no cost that could be used, or only a part of it.
pub const WINDOW_UNKNOWN_ROWS: &str = "cloudtuner_kubecost_window_unknown_rows";
/// One for each exporter; its labels tell the version and the mode of the gauges.
pub const BUILD_INFO: &str = "cloudtuner_kubecost_exporter_build_info";
/// The same of the earlier exporter, whose labels also tell the length of its window.
pub const EARLIER_INFO: &str = "cloudtuner_kubecost_exporter_info";
/// When the earlier exporter last had an answer: no other exporter has this.
pub const EARLIER_SUCCESS: &str = "cloudtuner_kubecost_exporter_last_success_timestamp_seconds";
/// Cores allocated to a container: its presence shows that a pod runs.
pub const CPU_ALLOCATION: &str = "container_cpu_allocation";
/// A node's whole rate, USD per hour: its presence tells that an account has Phase 1 metrics.
pub const NODE_TOTAL: &str = "node_total_hourly_cost";
/// A node's price, USD per core and hour.
pub const CPU_PRICE: &str = "node_cpu_hourly_cost";
/// A node's price, USD per GiB and hour.
pub const RAM_PRICE: &str = "node_ram_hourly_cost";
/// Bytes allocated to a container.
pub const RAM_ALLOCATION: &str = "container_memory_allocation_bytes";
/// GPUs that a container is allocated.
pub const GPU_ALLOCATION: &str = "container_gpu_allocation";
/// A pod's share of a volume that it mounts, bytes.
pub const VOLUME_CLAIMS: &str = "pod_pvc_allocation";
/// A volume's price, USD per GiB and hour.
pub const VOLUME_PRICE: &str = "pv_hourly_cost";
