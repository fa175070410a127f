//! A bound on series: the smallest are summed as `__other__`, so that no cost is lost.

use super::snapshot::{Efficiencies, Namespace, Node, OTHER, Pod, Snapshot, other_pod};
use crate::allocation_api::Costs;
use crate::cost::costs::is_special;

/// Cost and efficiency gauges of the cluster, of a namespace and of a pod.
pub(super) const CLUSTER_SERIES: usize = 9;
pub(super) const NAMESPACE_SERIES: usize = 7;
pub(super) const POD_SERIES: usize = 3;
pub(super) const NODE_SERIES: usize = 4;

impl Snapshot {
    /// Adds pods and nodes and folds what is beyond `series_max` series.
    #[must_use]
    pub fn bounded(mut self, pods: Vec<Pod>, nodes: Vec<Node>, series_max: usize) -> Self {
        (self.pods, self.nodes) = (pods, nodes);
        fold(&mut self, series_max);
        self
    }
}

/// Folds namespaces and pods until there are at most `series_max` series. Namespaces come first:
/// they are what most readers sum. Special rows are never folded; they are few.
pub(super) fn fold(snapshot: &mut Snapshot, series_max: usize) {
    let mut room = series_max.saturating_sub(CLUSTER_SERIES);
    fold_nodes(snapshot, room / 2 / NODE_SERIES);
    room = room.saturating_sub(snapshot.nodes.len() * NODE_SERIES);
    fold_namespaces(snapshot, room / NAMESPACE_SERIES);
    let left = room.saturating_sub(snapshot.namespaces.len() * NAMESPACE_SERIES);
    fold_pods(snapshot, left / POD_SERIES);
}

fn fold_namespaces(snapshot: &mut Snapshot, most: usize) {
    if snapshot.namespaces.len() <= most {
        return;
    }
    let all = std::mem::take(&mut snapshot.namespaces);
    let (mut kept, mut plain): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|namespace| is_special(&namespace.name));
    let other = kept.iter().position(|namespace| &*namespace.name == OTHER);
    let mut costs = other.map_or_else(Costs::default, |at| kept.swap_remove(at).costs);
    plain.sort_by(|a, b| largest_first(a.costs.total, b.costs.total, &a.name, &b.name));
    let room = most.saturating_sub(kept.len() + 1).min(plain.len());
    for namespace in plain.drain(room..) {
        costs.add(&namespace.costs);
        snapshot.folded += 1;
    }
    kept.append(&mut plain);
    kept.push(Namespace { name: OTHER.into(), costs, efficiencies: Efficiencies::default() });
    kept.sort_by(|a, b| a.name.cmp(&b.name));
    snapshot.namespaces = kept;
}

fn fold_pods(snapshot: &mut Snapshot, most: usize) {
    if snapshot.pods.len() <= most {
        return;
    }
    let mut pods = std::mem::take(&mut snapshot.pods);
    let other = pods.iter().position(|pod| &*pod.name == OTHER);
    let mut costs = other.map_or_else(Costs::default, |at| pods.swap_remove(at).costs);
    pods.sort_by(|a, b| largest_first(a.costs.total, b.costs.total, &a.name, &b.name));
    for pod in pods.drain(most.saturating_sub(1).min(pods.len())..) {
        costs.add(&pod.costs);
        snapshot.folded += 1;
    }
    pods.push(other_pod(costs));
    pods.sort_by(|a: &Pod, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    pods.shrink_to_fit();
    snapshot.pods = pods;
}

fn fold_nodes(snapshot: &mut Snapshot, most: usize) {
    if snapshot.nodes.len() <= most {
        return;
    }
    let mut nodes = std::mem::take(&mut snapshot.nodes);
    nodes.sort_by(|a, b| largest_first(a.costs.total, b.costs.total, &a.name, &b.name));
    let mut other = Node { name: OTHER.into(), costs: Costs::default(), idle: None };
    for node in nodes.drain(most.saturating_sub(1).min(nodes.len())..) {
        other.costs.add(&node.costs);
        other.idle = node.idle.map(|idle| idle + other.idle.unwrap_or(0.0)).or(other.idle);
        snapshot.folded += 1;
    }
    nodes.push(other);
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    snapshot.nodes = nodes;
}

/// By size, then by name: the same input always folds the same.
fn largest_first(a: f64, b: f64, a_name: &str, b_name: &str) -> std::cmp::Ordering {
    b.abs().total_cmp(&a.abs()).then_with(|| a_name.cmp(b_name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::allocation_api::Window;

    fn snapshot(totals: &[f64], pods: &[f64]) -> Snapshot {
        let costs = |total| Costs { total, ..Costs::default() };
        let namespace = |name: String, total| Namespace {
            name: name.into(),
            costs: costs(total),
            efficiencies: Efficiencies::default(),
        };
        let mut namespaces: Vec<_> = totals
            .iter()
            .enumerate()
            .map(|(at, total)| namespace(format!("ns-{at}"), *total))
            .collect();
        namespaces.push(namespace("__idle__".to_owned(), -0.001));
        let pod = |at, total| Pod { name: format!("p-{at}").into(), ..other_pod(costs(total)) };
        Snapshot {
            window: Window { start: 0, end: 3_600 },
            cluster: Costs::default(),
            efficiencies: Efficiencies::default(),
            namespaces,
            pods: pods.iter().enumerate().map(|(at, total)| pod(at, *total)).collect(),
            nodes: Vec::new(),
            folded: 0,
        }
    }

    fn series(snapshot: &Snapshot) -> usize {
        CLUSTER_SERIES
            + snapshot.namespaces.len() * NAMESPACE_SERIES
            + snapshot.pods.len() * POD_SERIES
    }

    #[test]
    fn the_smallest_are_folded_and_idle_is_kept() {
        let mut folded = snapshot(&[1.0, 5.0, 2.0, 4.0], &[]);
        fold(&mut folded, CLUSTER_SERIES + 3 * NAMESPACE_SERIES);
        let names: Vec<_> = folded.namespaces.iter().map(|n| &*n.name).collect();
        assert_eq!(names, ["__idle__", "__other__", "ns-1"]);
        assert_eq!((folded.namespaces[1].costs.total, folded.folded), (7.0, 3));
    }

    #[test]
    fn the_smallest_nodes_are_folded_with_what_is_idle_of_them() {
        let node = |at: usize| Node {
            name: format!("n-{at}").into(),
            costs: Costs { total: at as f64, ..Costs::default() },
            idle: Some(0.5),
        };
        let mut folded = snapshot(&[], &[]);
        folded.nodes = (1..=8).map(node).collect();
        fold(&mut folded, CLUSTER_SERIES + 2 * 3 * NODE_SERIES);
        let found: Vec<_> =
            folded.nodes.iter().map(|n| (&*n.name, n.costs.total, n.idle)).collect();
        let wanted =
            [("__other__", 21.0, Some(3.0)), ("n-7", 7.0, Some(0.5)), ("n-8", 8.0, Some(0.5))];
        assert_eq!((found, folded.folded), (wanted.to_vec(), 6));
    }

    proptest! {
        #[test]
        fn sums_are_kept_at_any_cap(
            totals in prop::collection::vec(0u32..1_000, 0..60),
            pods in prop::collection::vec(0u32..1_000, 0..60),
            series_max in 40usize..400,
        ) {
            let usd = |list: &[u32]| list.iter().map(|n| f64::from(*n)).collect::<Vec<_>>();
            let mut folded = snapshot(&usd(&totals), &usd(&pods));
            let sum = |s: &Snapshot| {
                (s.namespaces.iter().map(|n| n.costs.total).sum::<f64>(),
                 s.pods.iter().map(|p| p.costs.total).sum::<f64>())
            };
            let before = sum(&folded);
            let was_within = series(&folded) <= series_max;
            fold(&mut folded, series_max);
            let after = sum(&folded);
            prop_assert!((before.0 - after.0).abs() < 1e-9 && before.1 == after.1);
            // One pod `__other__` may be more than no room at all.
            prop_assert!(series(&folded) <= series_max + POD_SERIES);
            prop_assert_eq!(was_within, folded.folded == 0);
        }
    }
}
