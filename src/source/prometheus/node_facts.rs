//! What is known of nodes beside their costs: machine type, size, zone, price. Documents show it.

use std::collections::BTreeMap;

use crate::cost::{DayCosts, NodeFacts};
use crate::service::failure::Failure;
use crate::source::metric_names::{CPU_PRICE, NODE_TOTAL};

use super::promql::{Selector, Window};
use super::session::DaySession;
use crate::source::labels::Labels;

const CAPACITY: &str = "kube_node_status_capacity";
const CORES: &str = "kube_node_status_capacity_cpu_cores";
const MEMORY: &str = "kube_node_status_capacity_memory_bytes";
const SPOT: &str = "kubecost_node_is_spot";
const LABELS: &str = "kube_node_labels";
const INFO: &str = "kube_node_info";
const ZONES: [&str; 2] =
    ["label_topology_kubernetes_io_zone", "label_failure_domain_beta_kubernetes_io_zone"];
const MACHINE: [&str; 4] = ["node", "instance_type", "provider_id", "region"];
/// Facts are those of the end of a day: how far back they are looked for, seconds.
const RECENT_SECONDS: i64 = 3 * 3_600;

/// A metric that says something of nodes.
struct Source {
    metric: &'static str,
    matchers: &'static [&'static str],
    labels: &'static [&'static str],
}

const SOURCES: [Source; 8] = [
    // The first that says something is accepted.
    Source { metric: NODE_TOTAL, matchers: &[], labels: &MACHINE },
    Source { metric: CPU_PRICE, matchers: &[], labels: &MACHINE },
    Source {
        metric: CAPACITY,
        matchers: &["resource=~\"cpu|memory\""],
        labels: &["node", "resource"],
    },
    Source { metric: CORES, matchers: &[], labels: &["node"] },
    Source { metric: MEMORY, matchers: &[], labels: &["node"] },
    Source { metric: SPOT, matchers: &[], labels: &["node"] },
    Source { metric: LABELS, matchers: &[], labels: &["node", ZONES[0], ZONES[1]] },
    Source { metric: INFO, matchers: &[], labels: &["node", "provider_id"] },
];

/// Adds what is known of the nodes that have costs: one light question a metric.
pub(super) async fn add(
    session: &mut DaySession<'_>,
    selector: &Selector,
    window: Window,
    costs: &mut DayCosts,
) -> Result<(), Failure> {
    if costs.clusters.values().all(|cluster| cluster.nodes.is_empty()) {
        return Ok(());
    }
    let recent = Window { start: window.start.max(window.end - RECENT_SECONDS), ..window };
    let mut known: BTreeMap<(String, String), NodeFacts> = BTreeMap::new();
    for source in &SOURCES {
        let last = |piece: Window| {
            let of = selector.over_time(
                "last_over_time",
                source.metric,
                source.matchers,
                &piece.range(),
            );
            selector.max_by(source.labels, &of)
        };
        for (labels, value) in session.extreme(recent, f64::max, last).await? {
            let Some(node) = labels.get("node").filter(|node| !node.is_empty()) else { continue };
            let place = (session.cluster(&labels).to_owned(), node.to_owned());
            learn(known.entry(place).or_default(), source.metric, &labels, value);
        }
    }
    for (cluster, of_cluster) in &mut costs.clusters {
        for (node, of_node) in &mut of_cluster.nodes {
            if let Some(facts) = known.remove(&(cluster.clone(), node.clone())) {
                of_node.facts = facts;
            }
        }
    }
    Ok(())
}

/// Takes from one series what is not known yet. Zones are better than regions, and come last.
fn learn(facts: &mut NodeFacts, metric: &str, labels: &Labels, value: f64) {
    let text = |name: &str| labels.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let is_number = value.is_finite() && value >= 0.0;
    let number = Some(value).filter(|_| is_number);
    fn fill<T>(slot: &mut Option<T>, value: Option<T>) {
        if slot.is_none() {
            *slot = value;
        }
    }
    match metric {
        NODE_TOTAL | CPU_PRICE => {
            fill(&mut facts.instance_type, text("instance_type"));
            fill(&mut facts.provider_id, text("provider_id"));
            fill(&mut facts.region, text("region"));
            if metric == NODE_TOTAL {
                fill(&mut facts.price_usd_hourly, number);
            }
        }
        CAPACITY if labels.get("resource").is_some_and(|resource| resource == "cpu") => {
            fill(&mut facts.cores, number);
        }
        CAPACITY | MEMORY => fill(&mut facts.memory_bytes, number),
        CORES => fill(&mut facts.cores, number),
        // The machine's whole id: the cost model keeps only a part of it (`i-1` of
        // `aws:///eu-west-1a/i-1`).
        INFO => {
            if let Some(whole) = text("provider_id").filter(|id| id.contains("://")) {
                facts.provider_id = Some(whole);
            }
        }
        SPOT => fill(&mut facts.is_spot, number.map(|value| value > 0.0)),
        _ => {
            if let Some(zone) = ZONES.into_iter().find_map(text) {
                facts.region = Some(zone);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_several_metrics_say_of_a_node_is_put_together() {
        let mut facts = NodeFacts::default();
        let machine =
            labels(&[("instance_type", "m5.large"), ("region", "eu"), ("provider_id", "i-1")]);
        learn(&mut facts, NODE_TOTAL, &machine, 0.096);
        learn(&mut facts, CPU_PRICE, &labels(&[("instance_type", "other")]), 0.03);
        learn(&mut facts, CAPACITY, &labels(&[("resource", "cpu")]), 2.0);
        learn(&mut facts, CAPACITY, &labels(&[("resource", "memory")]), 8e9);
        learn(&mut facts, CORES, &labels(&[]), 99.0);
        learn(&mut facts, SPOT, &labels(&[]), 1.0);
        learn(&mut facts, LABELS, &labels(&[(ZONES[0], "eu-west-1a")]), 1.0);
        learn(&mut facts, INFO, &labels(&[("provider_id", "aws:///eu-west-1a/i-1")]), 1.0);
        learn(&mut facts, INFO, &labels(&[("provider_id", "")]), 1.0);
        let wanted = NodeFacts {
            region: Some("eu-west-1a".into()),
            instance_type: Some("m5.large".into()),
            provider_id: Some("aws:///eu-west-1a/i-1".into()),
            cores: Some(2.0),
            memory_bytes: Some(8e9),
            is_spot: Some(true),
            price_usd_hourly: Some(0.096),
        };
        assert_eq!(facts, wanted);
    }

    #[test]
    fn what_is_no_number_says_nothing() {
        let mut facts = NodeFacts::default();
        learn(&mut facts, NODE_TOTAL, &labels(&[]), f64::NAN);
        learn(&mut facts, CORES, &labels(&[]), -1.0);
        assert_eq!(facts, NodeFacts::default());
    }
}
