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
/// All gauges of cost: their labels name currency and mode.
pub const COST_GAUGES: [&str; 5] =
    [CLUSTER_TOTAL, NAMESPACE_TOTAL, POD_TOTAL, NODE_GAUGE, NODE_IDLE_GAUGE];
/// Whether the exporter's last poll gave a window: there as long as the exporter runs.
pub const EXPORTER_SUCCESS: &str = "cloudtuner_kubecost_exporter_scrape_success";
/// End of the window that the gauges tell about, Unix seconds.
pub const WINDOW_END: &str = "cloudtuner_kubecost_window_end_timestamp_seconds";
/// Length of that window, seconds.
pub const WINDOW_SECONDS: &str = "cloudtuner_kubecost_window_seconds";
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
/// A pod's share of a volume that it mounts, bytes.
pub const VOLUME_CLAIMS: &str = "pod_pvc_allocation";
/// A volume's price, USD per GiB and hour.
pub const VOLUME_PRICE: &str = "pv_hourly_cost";
