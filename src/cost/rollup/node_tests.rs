//! Rows of nodes, against sums of whole numbers.

use super::*;
use crate::cost::costs::PodCosts;
use crate::cost::money::UNITS_PER_USD;
use proptest::prelude::*;

fn usd(units: u64) -> f64 {
    units as f64 / UNITS_PER_USD as f64
}

fn units(cost: Cost) -> u64 {
    (cost.usd() * UNITS_PER_USD as f64) as u64
}

/// A node of the property: what of it is idle, and its pods: namespace and cost.
type Machine = (u32, Vec<(u8, u32)>);

fn of_pods(pods: &[(u8, u32)]) -> u64 {
    pods.iter().map(|(_, cost)| u64::from(*cost)).sum()
}

/// A cluster of these nodes, whose namespaces cost `own` more each than their pods, and which costs
/// `overhead` beside them.
fn cluster_of(machines: &[Machine], own: &[u32], overhead: u32) -> DayCosts {
    let mut costs = DayCosts::default();
    let mut whole = u64::from(overhead);
    let mut namespaces: BTreeMap<usize, u64> = BTreeMap::new();
    for (number, (idle, pods)) in machines.iter().enumerate() {
        let node = format!("node-{number}");
        for (index, (namespace, cost)) in pods.iter().enumerate() {
            let namespace = usize::from(*namespace) % own.len();
            *namespaces.entry(namespace).or_default() += u64::from(*cost);
            let total_usd = usd((*cost).into());
            let pod = PodCosts { total_usd, node: Some(node.clone()), ..PodCosts::default() };
            let of = costs.namespace_mut("c", &format!("ns-{namespace}"));
            of.pods.insert(format!("pod-{number}-{index}"), pod);
        }
        let total = u64::from(*idle) + of_pods(pods);
        whole += total;
        let made = costs.node_mut("c", &node);
        made.total_usd = Some(usd(total));
        made.idle_usd = Some(usd((*idle).into()));
    }
    for (index, own) in own.iter().enumerate() {
        let total = namespaces.get(&index).copied().unwrap_or(0) + u64::from(*own);
        whole += u64::from(*own);
        costs.namespace_mut("c", &format!("ns-{index}")).total_usd = Some(usd(total));
    }
    costs.cluster_mut("c").total_usd = Some(usd(whole));
    costs
}

fn sum(roll: &RollUp, is: impl Fn(&CostLine) -> bool) -> u64 {
    roll.lines.iter().filter(|line| is(line)).map(|line| units(line.cost)).sum()
}

proptest! {
    #[test]
    fn sums_by_node_and_by_namespace_and_the_whole_agree_for_all_levels(
        machines in prop::collection::vec(
            (any::<u32>(), prop::collection::vec((any::<u8>(), any::<u32>()), 0..6)), 0..5),
        own in prop::collection::vec(any::<u32>(), 1..4),
        overhead in any::<u32>(),
        bits in 0u8..8,
        node in prop_oneof![
            Just(NodeLevel::Off), Just(NodeLevel::Documents), Just(NodeLevel::Rows)],
    ) {
        let levels = Levels {
            cluster: bits & 1 != 0, namespace: bits & 2 != 0, pod: bits & 4 != 0, node,
            has_parts: false,
        };
        let costs = cluster_of(&machines, &own, overhead);
        let roll = roll_up(&costs, levels);
        let without = roll_up(&costs, Levels { node: NodeLevel::Off, ..levels });
        prop_assert!(roll.contradictions.is_empty() && roll.excess.is_empty());
        let has_rows = node == NodeLevel::Rows;
        for (number, (idle, pods)) in machines.iter().enumerate() {
            let name = format!("node-{number}");
            let of_node = |line: &CostLine| line.node.as_ref() == Some(&name);
            let wanted = match (levels.pod, levels.namespace) {
                (true, _) if has_rows => u64::from(*idle) + of_pods(pods),
                (true, _) => of_pods(pods),
                (false, true) if has_rows => u64::from(*idle),
                (false, false) if has_rows => u64::from(*idle) + of_pods(pods),
                _ => 0,
            };
            prop_assert_eq!(sum(&roll, of_node), wanted);
            let lines = roll.lines.iter().filter(|line| line.key.node() == Some(&name)).count();
            prop_assert_eq!(lines, usize::from(node != NodeLevel::Off));
        }
        for index in 0..own.len() {
            let name = format!("ns-{index}");
            let of = |line: &CostLine| line.key.namespace() == Some(&name);
            prop_assert_eq!(sum(&roll, of), sum(&without, of), "a sum by namespace is unchanged");
        }
        if levels.cluster {
            let whole = costs.clusters["c"].total_usd.unwrap();
            prop_assert_eq!(roll.total.usd().to_bits(), whole.to_bits());
        }
        let with_node = sum(&roll, |line| line.node.is_some());
        let others = sum(&roll, |line| line.node.is_none());
        prop_assert_eq!(with_node + others, units(roll.total));
    }

    /// However much nodes and their pods contradict the whole: it is stored, to the last unit.
    #[test]
    fn rows_of_nodes_never_cost_more_than_the_whole(
        machines in prop::collection::vec(
            (any::<u32>(), prop::collection::vec((any::<u8>(), any::<u32>()), 0..4)), 1..5),
        own in prop::collection::vec(any::<u32>(), 1..3),
        share in 0.0..1.2f64,
        has_pods in any::<bool>(),
    ) {
        let mut costs = cluster_of(&machines, &own, 0);
        let cluster = costs.cluster_mut("c");
        cluster.total_usd = cluster.total_usd.map(|usd| usd * share);
        let levels = Levels { pod: has_pods, ..Levels::ALL };
        let roll = roll_up(&costs, levels);
        let whole = Cost::from_usd(costs.clusters["c"].total_usd.unwrap()).unwrap();
        prop_assert_eq!(roll.total, whole);
        prop_assert!(roll.lines.iter().all(|line| !line.cost.is_negative()));
    }
}

#[test]
fn a_pod_that_uses_more_than_its_node_has_leaves_nothing_of_it() {
    let mut costs = cluster_of(&[(0, vec![(0, 8 << 24)]), (4 << 24, vec![])], &[0], 0);
    costs.node_mut("c", "node-0").total_usd = Some(5.0);
    costs.cluster_mut("c").total_usd = Some(9.0);
    let roll = roll_up(&costs, Levels::ALL);
    let cost = |node: &str| {
        roll.lines.iter().find(|line| line.key.node() == Some(node)).unwrap().cost.usd()
    };
    // 8 of pods and 4 idle are more than the 9 of the whole: the idle part gives way.
    assert_eq!((cost("node-0"), cost("node-1"), roll.total.usd()), (0.0, 1.0, 9.0));
}

#[test]
fn a_node_has_a_row_where_it_has_a_name_that_may_be_shown() {
    let mut costs = cluster_of(&[(1 << 24, vec![])], &[0], 0);
    for name in ["", "a\u{1b}b"] {
        costs.node_mut("c", name).total_usd = Some(1.0);
    }
    let roll = roll_up(&costs, Levels::ALL);
    let nodes: Vec<_> = roll.lines.iter().filter_map(|line| line.key.node()).collect();
    assert_eq!((nodes, roll.refused.len()), (vec!["node-0"], 1));
}

#[test]
fn a_node_of_which_the_idle_part_alone_is_known_carries_that_part() {
    let mut costs = cluster_of(&[(2 << 24, vec![(0, 1 << 24)])], &[0], 0);
    costs.node_mut("c", "node-0").total_usd = None;
    let roll = roll_up(&costs, Levels::ALL);
    let line = roll.lines.iter().find(|line| line.key.node() == Some("node-0")).unwrap();
    assert_eq!((line.cost.usd(), roll.total.usd()), (2.0, 3.0));
}

#[test]
fn nodes_carry_nothing_where_pods_are_left_out_as_a_contradiction() {
    let mut costs = cluster_of(&[(1 << 24, vec![(0, 8 << 24)])], &[0], 0);
    costs.namespace_mut("c", "ns-0").total_usd = Some(2.0);
    let roll = roll_up(&costs, Levels::ALL);
    assert_eq!(roll.contradictions.len(), 1);
    assert!(roll.lines.iter().filter(|l| l.key.node().is_some()).all(|l| l.cost.is_zero()));
    assert_eq!(roll.total.usd(), 9.0);
}
