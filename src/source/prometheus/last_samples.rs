//! Which resources have a sample right now, and when it was taken: the freshness of documents.

use std::collections::BTreeMap;

use crate::cost::costs::is_special;
use crate::cost::{Level, Levels, ResourceKey};
use crate::service::failure::Failure;
use crate::source::Phase;
use crate::source::metric_names::{
    CLUSTER_TOTAL, CPU_ALLOCATION, CPU_PRICE, NAMESPACE_TOTAL, NODE_GAUGE, NODE_TOTAL, POD_TOTAL,
};
use crate::source::prometheus::promql::{Selector, Window};
use crate::source::prometheus::reply::Series;
use crate::source::prometheus::session::DaySession;

/// For how long a sample stands, seconds.
const LOOK_BACK_SECONDS: i64 = 300;

/// The last sample of each resource that an instant query at `now_seconds` finds, Unix seconds.
pub(super) async fn last_samples(
    mut session: DaySession<'_>,
    phase: Phase,
    now_seconds: i64,
) -> Result<BTreeMap<ResourceKey, i64>, Failure> {
    let levels = session.levels();
    let now = Window { start: now_seconds, end: now_seconds + 1 };
    let mut selector = session.selector();
    if session.learns_cluster_labels() {
        let names: &[&str] = match phase {
            Phase::Raw => &[CPU_ALLOCATION, NODE_TOTAL, CPU_PRICE],
            Phase::Exporter => &[CLUSTER_TOTAL, NAMESPACE_TOTAL, POD_TOTAL, NODE_GAUGE],
        };
        let recent = Window { start: now_seconds - LOOK_BACK_SECONDS, ..now };
        session.resolve_cluster_names(&mut selector, names, recent).await?;
    }
    // In parts, what is not parted comes back with each of them: the latest stands.
    let query = query(&selector.in_parts(), phase, levels);
    let mut found = BTreeMap::new();
    for series in session.at(&query, now).await? {
        let cluster = session.cluster(&series.labels).to_owned();
        let Some(at_seconds) = sampled_at(&series, now_seconds) else { continue };
        for key in keys(cluster, &series, levels) {
            let last = found.entry(key).or_insert(at_seconds);
            *last = at_seconds.max(*last);
        }
    }
    Ok(found)
}

/// One question: the time of the last sample of each series, replicas as one.
fn query(selector: &Selector, phase: Phase, levels: Levels) -> String {
    let latest =
        |metric: &str, labels: &[&str]| selector.max_by(labels, &selector.timestamps(metric));
    let names: &[&str] = if levels.pod { &["namespace", "pod"] } else { &["namespace"] };
    let has_nodes = levels.has(Level::Node);
    match phase {
        Phase::Raw if has_nodes => {
            let nodes = [NODE_TOTAL, CPU_PRICE].map(|metric| latest(metric, &["node"]));
            format!("{} or {}", latest(CPU_ALLOCATION, names), nodes.join(" or "))
        }
        Phase::Raw => latest(CPU_ALLOCATION, names),
        Phase::Exporter => {
            let mut parts = vec![latest(CLUSTER_TOTAL, &[]), latest(NAMESPACE_TOTAL, &names[..1])];
            if levels.pod {
                parts.push(latest(POD_TOTAL, names));
            }
            if has_nodes {
                parts.push(latest(NODE_GAUGE, &["node"]));
            }
            parts.join(" or ")
        }
    }
}

/// The time of a sample; one after now is a clock that is ahead, and says no more than now.
fn sampled_at(series: &Series, now_seconds: i64) -> Option<i64> {
    let (_, value) = series.points.last()?;
    let is_time = value.is_finite() && *value > 0.0;
    #[expect(clippy::cast_possible_truncation, reason = "whole seconds are enough")]
    is_time.then_some((*value as i64).min(now_seconds))
}

/// The resources that a series is a sample of: its own, and those above it.
fn keys(cluster: String, series: &Series, levels: Levels) -> Vec<ResourceKey> {
    let name = |label: &str| Some(series.label(label).to_owned()).filter(|name| !is_special(name));
    let mut keys = vec![ResourceKey::Cluster { cluster: cluster.clone() }];
    let Some(namespace) = name("namespace") else {
        if let (true, Some(node)) = (levels.has(Level::Node), name("node")) {
            keys.push(ResourceKey::Node { cluster, node });
        }
        return keys;
    };
    if let (true, Some(pod)) = (levels.pod, name("pod")) {
        let (cluster, namespace) = (cluster.clone(), namespace.clone());
        keys.push(ResourceKey::Pod { cluster, namespace, pod });
    }
    keys.push(ResourceKey::Namespace { cluster, namespace });
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::NodeLevel;
    use crate::source::labels::Labels;

    #[test]
    fn one_question_asks_for_all_levels() {
        let selector =
            Selector { tenant: Some(("tenant_id".into(), "a".into())), ..Selector::default() };
        let all = Levels { node: NodeLevel::Off, ..Levels::ALL };
        let wanted = "max by (tenant_id, cluster, namespace, pod) \
                      (timestamp(container_cpu_allocation{tenant_id=\"a\"}))";
        assert_eq!(query(&selector, Phase::Raw, all), wanted);
        let gauges = query(&selector, Phase::Exporter, Levels::DEFAULT);
        assert_eq!(gauges.matches("timestamp(").count(), 2, "{gauges}");
        assert!(!gauges.contains("pod") && !gauges.contains("node"), "{gauges}");
        for phase in [Phase::Raw, Phase::Exporter] {
            let with_nodes = query(&selector, phase, Levels::ALL);
            assert!(with_nodes.contains("by (tenant_id, cluster, node)"), "{with_nodes}");
        }
    }

    #[test]
    fn a_sample_is_one_of_its_resource_and_of_those_above_it() {
        let labels = [("namespace", "shop"), ("pod", "web-1")];
        let series = Series { labels: Labels::from_iter(labels), points: vec![(1_000.0, 940.5)] };
        let all = Levels::ALL;
        assert_eq!(keys("c".into(), &series, all).len(), 3);
        let node = Labels::from_iter([("node", "n")]);
        let node = Series { labels: node, points: vec![] };
        let of_node = ResourceKey::Node { cluster: "c".into(), node: "n".into() };
        assert!(keys("c".into(), &node, all).contains(&of_node));
        assert_eq!(keys("c".into(), &series, Levels::DEFAULT).len(), 2);
        assert_eq!(sampled_at(&series, 1_000), Some(940));
        assert_eq!(sampled_at(&series, 900), Some(900), "a clock that is ahead");
    }
}
