//! The exporter's gauges: what they are called, and where what they cost belongs.

use crate::cost::costs::is_special;
use crate::cost::{Day, DayCosts, Level, Levels, PodCosts};

use crate::source::metric_names::{
    CLUSTER_TOTAL, NAMESPACE_TOTAL, NODE_GAUGE, NODE_IDLE_GAUGE, POD_TOTAL,
};
use crate::source::prometheus::promql::{Window, quoted, regex_escaped};
use crate::source::prometheus::reply::Labels;
use crate::source::prometheus::session::Asking;

/// Rows that belong to the cluster are not asked for.
const REAL_NODES: &[&str] = &["node!~\"__.*__\""];
const REAL_NAMESPACES: &[&str] = &["namespace!~\"__.*__\""];
pub(super) const REAL_PODS: &[&str] = &["namespace!~\"__.*__\"", "pod!~\"__.*__\""];

/// A level's gauge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// The level.
    pub(super) level: Level,
    /// The gauge's name.
    pub(super) metric: &'static str,
    /// Matchers that leave out what is not wanted.
    pub(super) matchers: &'static [&'static str],
    /// Labels that name what a series is of, beside tenant and cluster.
    pub(super) labels: &'static [&'static str],
}

/// The gauges, the cluster's first.
pub(super) const LEVELS: [Wanted; 5] = [
    Wanted { level: Level::Cluster, metric: CLUSTER_TOTAL, matchers: &[], labels: &[] },
    Wanted { level: Level::Node, metric: NODE_GAUGE, matchers: REAL_NODES, labels: &["node"] },
    Wanted { level: Level::Node, metric: NODE_IDLE_GAUGE, matchers: REAL_NODES, labels: &["node"] },
    Wanted {
        level: Level::Namespace,
        metric: NAMESPACE_TOTAL,
        matchers: REAL_NAMESPACES,
        labels: &["namespace"],
    },
    Wanted {
        level: Level::Pod,
        metric: POD_TOTAL,
        matchers: REAL_PODS,
        labels: &["namespace", "pod"],
    },
];

impl Wanted {
    /// Whether rows of these levels need the gauge: a level's row is its total less what is below.
    pub(super) fn is_wanted(self, levels: Levels) -> bool {
        match self.level {
            Level::Cluster => true,
            Level::Node => levels.has(Level::Node),
            Level::Namespace => levels.namespace || levels.pod,
            Level::Pod => levels.pod,
        }
    }

    /// Puts a cost where it belongs.
    pub(super) fn place(
        self,
        asking: &mut Asking<'_>,
        costs: &mut DayCosts,
        labels: &Labels,
        usd: f64,
    ) {
        let node = labels.get("node").filter(|node| !node.is_empty());
        if let (NODE_IDLE_GAUGE, Some(node)) = (self.metric, node) {
            let cluster = asking.cluster(labels).to_owned();
            put_greatest(&mut costs.node_mut(&cluster, node).idle_usd, usd);
        } else {
            place(asking, costs, self.level, labels, usd);
        }
    }
}

/// The grid points that show the day's costs: the day shifted by the lag, as far as it has
/// passed.
pub(super) fn shifted(day: Day, lag_seconds: i64, now_seconds: i64) -> Window {
    let start = day.start_seconds() + lag_seconds;
    let end = (day.end_seconds() + lag_seconds).min(now_seconds + 1);
    Window { start, end: end.max(start) }
}

/// Minutes of a day that could be covered, and those that are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Coverage {
    /// Those that could be.
    pub(super) due: u32,
    /// Those that are.
    pub(super) covered: u32,
}

/// Adds costs of one part of a day to those of another.
pub(super) fn add_up(costs: &mut DayCosts, more: DayCosts) {
    let add = |slot: &mut Option<f64>, usd: Option<f64>| {
        if let Some(usd) = usd {
            *slot = Some(slot.unwrap_or(0.0) + usd);
        }
    };
    for (cluster, of_cluster) in more.clusters {
        add(&mut costs.cluster_mut(&cluster).total_usd, of_cluster.total_usd);
        for (node, of_node) in of_cluster.nodes {
            let known = costs.node_mut(&cluster, &node);
            add(&mut known.total_usd, of_node.total_usd);
            add(&mut known.idle_usd, of_node.idle_usd);
        }
        for (namespace, of_namespace) in of_cluster.namespaces {
            let known = costs.namespace_mut(&cluster, &namespace);
            add(&mut known.total_usd, of_namespace.total_usd);
            for (name, pod) in of_namespace.pods {
                let known = known.pods.entry(name).or_default();
                known.total_usd += pod.total_usd;
                (known.node, known.service) = (pod.node, pod.service);
            }
        }
    }
}

/// Selects the clusters of these names.
pub(super) fn cluster_matcher(label: &str, clusters: &[String], default_cluster: &str) -> String {
    let mut words: Vec<_> = clusters.iter().map(|cluster| regex_escaped(cluster)).collect();
    if !default_cluster.is_empty() && clusters.iter().any(|cluster| cluster == default_cluster) {
        words.push(String::new());
    }
    format!("{label}=~{}", quoted(&words.join("|")))
}

/// Notes a cost of the level.
pub(super) fn place(
    asking: &mut Asking<'_>,
    costs: &mut DayCosts,
    level: Level,
    labels: &Labels,
    usd: f64,
) {
    let cluster = asking.cluster(labels).to_owned();
    let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
    let (namespace, pod) = (label("namespace"), label("pod"));
    let lacks = |name: &str| format!("a series of cluster '{cluster}' has no label {name}");
    match level {
        Level::Cluster => put_greatest(&mut costs.cluster_mut(&cluster).total_usd, usd),
        Level::Node if label("node").is_empty() => {
            asking.is_partial = true;
            asking.warn(lacks("node"));
        }
        Level::Node => put_greatest(&mut costs.node_mut(&cluster, &label("node")).total_usd, usd),
        _ if namespace.is_empty() => {
            asking.is_partial = true;
            asking.warn(lacks("namespace"));
        }
        _ if is_special(&namespace) => {}
        Level::Namespace => {
            put_greatest(&mut costs.namespace_mut(&cluster, &namespace).total_usd, usd);
        }
        Level::Pod if pod.is_empty() => {
            asking.is_partial = true;
            asking.warn(lacks("pod"));
        }
        Level::Pod => {
            let pods = &mut costs.namespace_mut(&cluster, &namespace).pods;
            let entry = pods.entry(pod).or_default();
            entry.total_usd = if usd.is_nan() { usd } else { entry.total_usd.max(usd) };
        }
    }
}

/// One cluster with and without its label is one cluster, not two.
pub(in crate::source) fn put_greatest(slot: &mut Option<f64>, usd: f64) {
    *slot = Some(slot.map_or(usd, |other| if usd.is_nan() { usd } else { other.max(usd) }));
}

/// The pod of a day's costs that labels name.
fn pod_of<'c>(
    asking: &Asking<'_>,
    labels: &Labels,
    costs: &'c mut DayCosts,
) -> Option<&'c mut PodCosts> {
    let cluster = costs.clusters.get_mut(asking.cluster(labels))?;
    cluster.namespaces.get_mut(labels.get("namespace")?)?.pods.get_mut(labels.get("pod")?)
}

/// Gives the pod that labels name the node and the service that they name.
pub(super) fn set_place(asking: &Asking<'_>, labels: &Labels, costs: &mut DayCosts) {
    let label = |name: &str| labels.get(name).filter(|text| !text.is_empty()).cloned();
    if let Some(pod) = pod_of(asking, labels, costs) {
        (pod.node, pod.service) = (label("node"), label("service"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_looked_at_by_its_lag_later_and_never_beyond_now() {
        let day: Day = "2026-11-20".parse().unwrap();
        let start = day.start_seconds();
        let long_after = start + 10 * 86_400;
        assert_eq!(
            shifted(day, 3_900, long_after),
            Window { start: start + 3_900, end: start + 86_400 + 3_900 }
        );
        assert_eq!(shifted(day, 0, start + 59).minutes(), 1);
        assert_eq!(shifted(day, 3_900, start + 60).minutes(), 0);
    }

    #[test]
    fn clusters_are_matched_literally() {
        let matcher = cluster_matcher("cluster", &["a.b".to_owned(), String::new()], "");
        assert_eq!(matcher, r#"cluster=~"a\\.b|""#);
        let matcher = cluster_matcher("cluster", &["a".to_owned(), "b".to_owned()], "b");
        assert_eq!(matcher, r#"cluster=~"a|b|""#);
    }

    #[test]
    fn the_greatest_of_two_costs_stands() {
        let mut slot = None;
        for usd in [1.0, 3.0, 2.0] {
            put_greatest(&mut slot, usd);
        }
        assert_eq!(slot, Some(3.0));
    }
}
