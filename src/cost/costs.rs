//! A day's costs as a query layer tells them, before rounding and remainders.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::breakdown::Breakdown;

/// One of the levels at which costs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// A whole cluster.
    Cluster,
    /// A node of a cluster.
    Node,
    /// A namespace.
    Namespace,
    /// A pod.
    Pod,
}

impl Level {
    /// All levels, from the root to the leaves.
    pub const ALL: [Self; 4] = [Self::Cluster, Self::Node, Self::Namespace, Self::Pod];

    /// `cluster`, `node`, `namespace` or `pod`: as settings, metric names and ids spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Node => "node",
            Self::Namespace => "namespace",
            Self::Pod => "pod",
        }
    }
}

/// What nodes get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeLevel {
    /// Nothing.
    #[default]
    Off,
    /// Documents, which show their prices; their cost stays in the cluster's row.
    Documents,
    /// Documents, and rows of what the levels below leave of them.
    Rows,
}

/// Which levels get rows of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// Rows for clusters (their remainder).
    pub cluster: bool,
    /// What nodes get.
    pub node: NodeLevel,
    /// Rows for namespaces.
    pub namespace: bool,
    /// Rows for pods.
    pub pod: bool,
    /// Whether documents show what their costs are made of.
    pub has_parts: bool,
}

impl Levels {
    /// Clusters and namespaces: the default.
    pub const DEFAULT: Self =
        Self { cluster: true, node: NodeLevel::Off, namespace: true, pod: false, has_parts: false };
    /// All levels.
    pub const ALL: Self = Self { node: NodeLevel::Rows, pod: true, ..Self::DEFAULT };

    /// Whether this level is there at all.
    #[must_use]
    pub fn has(self, level: Level) -> bool {
        match level {
            Level::Cluster => self.cluster,
            Level::Node => self.node != NodeLevel::Off,
            Level::Namespace => self.namespace,
            Level::Pod => self.pod,
        }
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> =
            Level::ALL.into_iter().filter(|l| self.has(*l)).map(Level::as_str).collect();
        f.write_str(&names.join(","))
    }
}

/// The costs of one account on one day, by cluster. USD, integrated over the day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DayCosts {
    /// Clusters by name.
    pub clusters: BTreeMap<String, ClusterCosts>,
}

/// A cluster's costs on a day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterCosts {
    /// What the whole cluster costs, its namespaces and all overhead included; `None` when the
    /// source does not say.
    pub total_usd: Option<f64>,
    /// Namespaces by name; names like `__idle__` belong to the cluster and are left out by
    /// [`roll_up`](super::roll_up).
    pub namespaces: BTreeMap<String, NamespaceCosts>,
    /// What the total is made of, where that is read.
    #[serde(default, skip_serializing_if = "Breakdown::is_empty")]
    pub breakdown: Breakdown,
    /// Nodes by name, where they are read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nodes: BTreeMap<String, NodeCosts>,
}

/// A node's costs on a day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeCosts {
    /// The machine, and what its pods cost beside it (volumes, traffic); `None` when the source
    /// does not say.
    pub total_usd: Option<f64>,
    /// What of the machine is allocated to nobody.
    pub idle_usd: Option<f64>,
    /// What the total is made of, where that is read.
    #[serde(default, skip_serializing_if = "Breakdown::is_empty")]
    pub breakdown: Breakdown,
    /// What is known of the machine.
    #[serde(default)]
    pub facts: NodeFacts,
}

/// What is known of a node beside its cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// The zone, or the region where only that is known.
    pub region: Option<String>,
    /// Such as `m5.2xlarge`.
    pub instance_type: Option<String>,
    /// The cloud's name of the machine.
    pub provider_id: Option<String>,
    /// CPU cores.
    pub cores: Option<f64>,
    /// Bytes of memory.
    pub memory_bytes: Option<f64>,
    /// Whether it may be taken away at any time.
    pub is_spot: Option<bool>,
    /// USD per hour.
    pub price_usd_hourly: Option<f64>,
}

/// A namespace's costs on a day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NamespaceCosts {
    /// What the whole namespace costs, its pods included; `None` when the source does not say.
    pub total_usd: Option<f64>,
    /// What the total is made of, where that is read.
    #[serde(default, skip_serializing_if = "Breakdown::is_empty")]
    pub breakdown: Breakdown,
    /// Pods by name.
    pub pods: BTreeMap<String, PodCosts>,
}

/// A pod's costs on a day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PodCosts {
    /// What the pod costs.
    pub total_usd: f64,
    /// The node where it caused most of its cost.
    pub node: Option<String>,
    /// The service it stands behind, where the source says so.
    pub service: Option<String>,
    /// What the cost is made of, where that is read.
    #[serde(default, skip_serializing_if = "Breakdown::is_empty")]
    pub breakdown: Breakdown,
}

impl DayCosts {
    /// Leaves out pods; what is above them stays.
    pub fn clear_pods(&mut self) {
        for cluster in self.clusters.values_mut() {
            cluster.namespaces.values_mut().for_each(|namespace| namespace.pods.clear());
        }
    }

    /// How many clusters, namespaces and pods there are.
    #[must_use]
    pub fn resources(&self) -> usize {
        let namespaces = self.clusters.values().flat_map(|cluster| cluster.namespaces.values());
        self.clusters.len() + namespaces.map(|namespace| 1 + namespace.pods.len()).sum::<usize>()
    }

    /// Whether the source said nothing at all about the day.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clusters.is_empty()
    }

    /// The cluster of this name, made when missing.
    pub fn cluster_mut(&mut self, cluster: &str) -> &mut ClusterCosts {
        self.clusters.entry(cluster.to_owned()).or_default()
    }

    /// The node of these names, made when missing.
    pub fn node_mut(&mut self, cluster: &str, node: &str) -> &mut NodeCosts {
        self.cluster_mut(cluster).nodes.entry(node.to_owned()).or_default()
    }

    /// The namespace of these names, made when missing.
    pub fn namespace_mut(&mut self, cluster: &str, namespace: &str) -> &mut NamespaceCosts {
        self.cluster_mut(cluster).namespaces.entry(namespace.to_owned()).or_default()
    }
}

impl ClusterCosts {
    /// Takes every cost times `factor`: how a gap is filled when the operator asks for it
    /// (`GAP_POLICY=scale`).
    pub fn scale(&mut self, factor: f64) {
        self.total_usd = self.total_usd.map(|usd| usd * factor);
        self.breakdown.scale(factor);
        for node in self.nodes.values_mut() {
            node.total_usd = node.total_usd.map(|usd| usd * factor);
            node.idle_usd = node.idle_usd.map(|usd| usd * factor);
            node.breakdown.scale(factor);
        }
        for namespace in self.namespaces.values_mut() {
            namespace.total_usd = namespace.total_usd.map(|usd| usd * factor);
            namespace.breakdown.scale(factor);
            for pod in namespace.pods.values_mut() {
                pod.total_usd *= factor;
                pod.breakdown.scale(factor);
            }
        }
    }
}

/// Whether a row name stands for a part of the cluster's own cost (`__idle__`, `__unallocated__`,
/// `__unmounted__`, `__other__` and their like) and not for a namespace or a pod.
#[must_use]
pub fn is_special(name: &str) -> bool {
    name.is_empty() || (name.starts_with("__") && name.ends_with("__"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_that_are_switched_on() {
        let has = |levels: Levels| Level::ALL.map(|level| levels.has(level));
        assert_eq!(has(Levels::ALL), [true; 4]);
        assert_eq!(has(Levels::DEFAULT), [true, false, true, false]);
        let pods = Levels { cluster: false, namespace: false, pod: true, ..Levels::DEFAULT };
        assert_eq!(has(pods), [false, false, false, true]);
        assert!(Levels { node: NodeLevel::Documents, ..pods }.has(Level::Node));
        assert_eq!(
            [Levels::ALL, Levels::DEFAULT, pods].map(|levels| levels.to_string()),
            ["cluster,node,namespace,pod", "cluster,namespace", "pod"]
        );
    }

    #[test]
    fn names_between_two_underscores_are_the_clusters_own() {
        for name in ["", "__idle__", "__unallocated__", "____"] {
            assert!(is_special(name), "{name}");
        }
        for name in ["shop", "__idle", "idle__", "_idle_"] {
            assert!(!is_special(name), "{name}");
        }
    }

    fn sample() -> DayCosts {
        let mut costs = DayCosts::default();
        costs.namespace_mut("c", "shop").total_usd = Some(3.5);
        let pod = PodCosts { total_usd: 2.0, ..PodCosts::default() };
        costs.namespace_mut("c", "shop").pods.insert("p".into(), pod);
        costs.cluster_mut("c").total_usd = Some(4.0);
        costs.node_mut("c", "n").total_usd = Some(3.0);
        costs.node_mut("c", "n").idle_usd = Some(1.0);
        costs
    }

    #[test]
    fn clusters_and_namespaces_are_made_once_and_found_again() {
        assert!(DayCosts::default().is_empty());
        let costs = sample();
        assert!(!costs.is_empty());
        assert_eq!(costs.clusters["c"].total_usd, Some(4.0));
        assert_eq!(costs.clusters["c"].namespaces["shop"].total_usd, Some(3.5));
    }

    #[test]
    fn scaling_takes_every_cost_times_the_factor_and_invents_none() {
        let mut costs = sample();
        costs.namespace_mut("c", "no-total").pods.clear();
        costs.cluster_mut("c").scale(1.5);
        let cluster = &costs.clusters["c"];
        assert_eq!(cluster.total_usd, Some(6.0));
        assert_eq!(cluster.namespaces["shop"].total_usd, Some(5.25));
        assert_eq!(cluster.namespaces["shop"].pods["p"].total_usd, 3.0);
        assert_eq!(cluster.namespaces["no-total"].total_usd, None);
        let node = &cluster.nodes["n"];
        assert_eq!((node.total_usd, node.idle_usd), (Some(4.5), Some(1.5)));
    }
}
