//! The exporter's gauges: what they are called, and where what they cost belongs.

use crate::cost::costs::is_special;
use crate::cost::{Breakdown, Day, DayCosts, Level, Levels, Part, PodCosts};

use crate::source::labels::Labels;
use crate::source::metric_names::{
    CLUSTER_CPU, CLUSTER_LB, CLUSTER_NETWORK, CLUSTER_PV, CLUSTER_RAM, CLUSTER_TOTAL,
    NAMESPACE_CPU, NAMESPACE_PV, NAMESPACE_RAM, NAMESPACE_TOTAL, NODE_GAUGE, NODE_IDLE_GAUGE,
    POD_CPU, POD_RAM, POD_TOTAL, WINDOW_COVERED, WINDOW_END, WINDOW_SECONDS, WINDOW_UNKNOWN_ROWS,
};
use crate::source::prometheus::promql::Window;
use crate::source::prometheus::session::DaySession;

/// Rows that belong to the cluster are not asked for.
const REAL_NODES: &[&str] = &["node!~\"__.*__\""];
const REAL_NAMESPACES: &[&str] = &["namespace!~\"__.*__\""];
pub(super) const REAL_PODS: &[&str] = &["namespace!~\"__.*__\"", "pod!~\"__.*__\""];

/// What a cluster has idle.
const IDLE: &[&str] = &["namespace=\"__idle__\""];

/// What a gauge measures of a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measures {
    /// All of it, or what of a node is idle.
    Cost,
    /// A part of it.
    Part(Part),
    /// What of a part of it is idle.
    IdleOf(Part),
}

/// A level's gauge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gauge {
    /// The level.
    pub(super) level: Level,
    /// What it measures.
    pub(super) measures: Measures,
    /// The gauge's name.
    pub(super) metric: &'static str,
    /// Matchers that leave out what is not wanted.
    pub(super) matchers: &'static [&'static str],
    /// Labels that name what a series is of, beside tenant and cluster.
    pub(super) labels: &'static [&'static str],
}

const fn of_cluster(metric: &'static str, measures: Measures) -> Gauge {
    Gauge { level: Level::Cluster, measures, metric, matchers: &[], labels: &[] }
}

const fn of_node(metric: &'static str) -> Gauge {
    let measures = Measures::Cost;
    Gauge { level: Level::Node, measures, metric, matchers: REAL_NODES, labels: &["node"] }
}

const fn of_namespace(metric: &'static str, measures: Measures) -> Gauge {
    let level = Level::Namespace;
    Gauge { level, measures, metric, matchers: REAL_NAMESPACES, labels: &["namespace"] }
}

const fn of_pod(metric: &'static str, measures: Measures) -> Gauge {
    Gauge {
        level: Level::Pod,
        measures,
        metric,
        matchers: REAL_PODS,
        labels: &["namespace", "pod"],
    }
}

/// The gauges, the cluster's first; those of parts after what they are parts of.
const GAUGES: [Gauge; 17] = [
    of_cluster(CLUSTER_TOTAL, Measures::Cost),
    of_node(NODE_GAUGE),
    of_node(NODE_IDLE_GAUGE),
    of_namespace(NAMESPACE_TOTAL, Measures::Cost),
    of_pod(POD_TOTAL, Measures::Cost),
    of_cluster(CLUSTER_CPU, Measures::Part(Part::Cpu)),
    of_cluster(CLUSTER_RAM, Measures::Part(Part::Ram)),
    of_cluster(CLUSTER_PV, Measures::Part(Part::Pv)),
    of_cluster(CLUSTER_NETWORK, Measures::Part(Part::Network)),
    of_cluster(CLUSTER_LB, Measures::Part(Part::LoadBalancer)),
    Gauge { matchers: IDLE, ..of_cluster(NAMESPACE_CPU, Measures::IdleOf(Part::Cpu)) },
    Gauge { matchers: IDLE, ..of_cluster(NAMESPACE_RAM, Measures::IdleOf(Part::Ram)) },
    of_namespace(NAMESPACE_CPU, Measures::Part(Part::Cpu)),
    of_namespace(NAMESPACE_RAM, Measures::Part(Part::Ram)),
    of_namespace(NAMESPACE_PV, Measures::Part(Part::Pv)),
    of_pod(POD_CPU, Measures::Part(Part::Cpu)),
    of_pod(POD_RAM, Measures::Part(Part::Ram)),
];

/// The gauges that are asked for.
pub(super) fn gauges_for(levels: Levels) -> impl Iterator<Item = Gauge> {
    GAUGES.into_iter().filter(move |one| one.is_wanted(levels))
}

impl Gauge {
    /// Whether rows of these levels need the gauge: a level's row is its total less what is below.
    fn is_wanted(self, levels: Levels) -> bool {
        if self.is_part() {
            return levels.has_parts && levels.has(self.level);
        }
        match self.level {
            Level::Cluster => true,
            Level::Node => levels.has(Level::Node),
            Level::Namespace => levels.namespace || levels.pod,
            Level::Pod => levels.pod,
        }
    }

    /// Whether it measures a part only.
    pub(super) fn is_part(self) -> bool {
        self.measures != Measures::Cost
    }

    /// Puts a cost where it belongs.
    pub(super) fn record(
        self,
        session: &mut DaySession<'_>,
        costs: &mut DayCosts,
        labels: &Labels,
        usd: f64,
    ) {
        let node = labels.get("node").filter(|node| !node.is_empty());
        if self.is_part() {
            if let Some(known) = breakdown_of(session, self.level, labels, costs) {
                self.put(known, usd);
            }
        } else if let (NODE_IDLE_GAUGE, Some(node)) = (self.metric, node) {
            let cluster = session.cluster(labels).to_owned();
            let known = costs.node_mut(&cluster, node);
            keep_max(&mut known.idle_usd, usd);
            if session.levels().has_parts {
                known.breakdown.parts.extend(known.idle_usd.map(|idle| (Part::Idle, idle)));
            }
        } else {
            record_level(session, costs, self.level, labels, usd);
        }
    }
}

impl Gauge {
    /// Notes a part; what is no number is not known.
    fn put(self, known: &mut Breakdown, usd: f64) {
        let (parts, part) = match self.measures {
            Measures::Cost => return,
            Measures::Part(part) => (&mut known.parts, part),
            Measures::IdleOf(part) => (&mut known.idle_of, part),
        };
        if usd.is_finite() {
            let slot = parts.entry(part).or_insert(usd);
            *slot = slot.max(usd);
        }
    }
}

/// What the parts of a cost are, of which the cost is known.
pub(super) fn breakdown_of<'c>(
    session: &DaySession<'_>,
    level: Level,
    labels: &Labels,
    costs: &'c mut DayCosts,
) -> Option<&'c mut Breakdown> {
    if level == Level::Pod {
        return Some(&mut pod_of(session, labels, costs)?.breakdown);
    }
    let cluster = costs.clusters.get_mut(session.cluster(labels))?;
    match level {
        Level::Cluster => Some(&mut cluster.breakdown),
        Level::Node => Some(&mut cluster.nodes.get_mut(labels.get("node")?)?.breakdown),
        Level::Namespace => {
            Some(&mut cluster.namespaces.get_mut(labels.get("namespace")?)?.breakdown)
        }
        Level::Pod => None,
    }
}

/// All metrics that costs of these levels come from.
pub(super) fn all_metrics(levels: Levels) -> Vec<&'static str> {
    let mut all: Vec<_> = gauges_for(levels).map(|one| one.metric).collect();
    all.extend([WINDOW_END, WINDOW_SECONDS, WINDOW_COVERED, WINDOW_UNKNOWN_ROWS]);
    all.sort_unstable();
    all.dedup();
    all
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
        costs.cluster_mut(&cluster).breakdown.add_up(&of_cluster.breakdown);
        for (node, of_node) in of_cluster.nodes {
            let known = costs.node_mut(&cluster, &node);
            add(&mut known.total_usd, of_node.total_usd);
            add(&mut known.idle_usd, of_node.idle_usd);
            known.breakdown.add_up(&of_node.breakdown);
        }
        for (namespace, of_namespace) in of_cluster.namespaces {
            let known = costs.namespace_mut(&cluster, &namespace);
            add(&mut known.total_usd, of_namespace.total_usd);
            known.breakdown.add_up(&of_namespace.breakdown);
            for (name, pod) in of_namespace.pods {
                let known = known.pods.entry(name).or_default();
                known.total_usd += pod.total_usd;
                known.breakdown.add_up(&pod.breakdown);
                (known.node, known.service) = (pod.node, pod.service);
            }
        }
    }
}

/// Notes a cost of the level.
pub(super) fn record_level(
    session: &mut DaySession<'_>,
    costs: &mut DayCosts,
    level: Level,
    labels: &Labels,
    usd: f64,
) {
    let cluster = session.cluster(labels).to_owned();
    let label = |name: &str| labels.get(name).unwrap_or_default().to_owned();
    let (namespace, pod) = (label("namespace"), label("pod"));
    let lacks = |name: &str| format!("a series of cluster '{cluster}' has no label {name}");
    match level {
        Level::Cluster => keep_max(&mut costs.cluster_mut(&cluster).total_usd, usd),
        Level::Node if label("node").is_empty() => {
            session.is_partial = true;
            session.warn(lacks("node"));
        }
        Level::Node => keep_max(&mut costs.node_mut(&cluster, &label("node")).total_usd, usd),
        _ if namespace.is_empty() => {
            session.is_partial = true;
            session.warn(lacks("namespace"));
        }
        _ if is_special(&namespace) => {}
        Level::Namespace => {
            keep_max(&mut costs.namespace_mut(&cluster, &namespace).total_usd, usd);
        }
        Level::Pod if pod.is_empty() => {
            session.is_partial = true;
            session.warn(lacks("pod"));
        }
        Level::Pod => {
            let pods = &mut costs.namespace_mut(&cluster, &namespace).pods;
            let entry = pods.entry(pod).or_default();
            entry.total_usd = if usd.is_nan() { usd } else { entry.total_usd.max(usd) };
        }
    }
}

/// One cluster with and without its label is one cluster, not two.
pub(in crate::source) fn keep_max(slot: &mut Option<f64>, usd: f64) {
    *slot = Some(slot.map_or(usd, |other| if usd.is_nan() { usd } else { other.max(usd) }));
}

/// The pod of a day's costs that labels name.
fn pod_of<'c>(
    session: &DaySession<'_>,
    labels: &Labels,
    costs: &'c mut DayCosts,
) -> Option<&'c mut PodCosts> {
    let cluster = costs.clusters.get_mut(session.cluster(labels))?;
    cluster.namespaces.get_mut(labels.get("namespace")?)?.pods.get_mut(labels.get("pod")?)
}

/// A pod's labels without those of its place: its node and its service.
pub(super) fn without_place(labels: &Labels) -> Labels {
    labels.iter().filter(|(name, _)| !matches!(*name, "node" | "service")).collect()
}

/// Gives the pod that labels name the node and the service that they name.
pub(super) fn set_node_and_service(
    session: &DaySession<'_>,
    labels: &Labels,
    costs: &mut DayCosts,
) {
    let label = |name: &str| labels.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
    if let Some(pod) = pod_of(session, labels, costs) {
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
    fn the_greatest_of_two_costs_stands() {
        let mut slot = None;
        for usd in [1.0, 3.0, 2.0] {
            keep_max(&mut slot, usd);
        }
        assert_eq!(slot, Some(3.0));
    }
}
