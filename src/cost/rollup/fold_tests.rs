//! Rows that are folded into those above them.

use super::*;
use crate::cost::PodCosts;
use proptest::prelude::*;

fn pod(usd: f64, node: &str) -> PodCosts {
    PodCosts { total_usd: usd, node: Some(node.to_owned()), ..PodCosts::default() }
}

/// A cluster of 20: `dev` 2 without pods, `shop` 7 with pods of 6 and 1 on a node of 10.
fn sample() -> DayCosts {
    let mut costs = DayCosts::default();
    costs.cluster_mut("c").total_usd = Some(20.0);
    costs.node_mut("c", "a").total_usd = Some(10.0);
    costs.namespace_mut("c", "dev").total_usd = Some(2.0);
    let shop = costs.namespace_mut("c", "shop");
    shop.total_usd = Some(7.0);
    shop.pods.insert("cart".into(), pod(6.0, "a"));
    shop.pods.insert("pay".into(), pod(1.0, "a"));
    costs
}

/// Each line's finest name, and USD.
fn lines(roll: &RollUp) -> Vec<(&str, f64)> {
    let mut out = Vec::new();
    for CostLine { key, cost, .. } in &roll.lines {
        let name = key.pod().or(key.node()).or(key.namespace()).unwrap_or(key.cluster());
        out.push((name, cost.usd()));
    }
    out
}

fn folded(count: usize, levels: Levels) -> (usize, RollUp) {
    let mut roll = roll_up(&sample(), levels);
    (roll.fold(levels, count), roll)
}

#[test]
fn the_cheapest_pods_are_added_to_their_namespaces_and_nodes_stay_as_they_are() {
    let (count, roll) = folded(1, Levels::ALL);
    assert_eq!(count, 1);
    let wanted = [("dev", 2.0), ("cart", 6.0), ("shop", 1.0), ("a", 3.0), ("c", 8.0)];
    assert_eq!(lines(&roll), wanted);
}

#[test]
fn after_all_pods_come_the_cheapest_namespaces() {
    let (count, roll) = folded(3, Levels::ALL);
    assert_eq!((count, lines(&roll)), (3, vec![("shop", 7.0), ("a", 3.0), ("c", 10.0)]));
    let (count, roll) = folded(9, Levels::ALL);
    assert_eq!((count, lines(&roll)), (4, vec![("a", 3.0), ("c", 17.0)]));
    assert_eq!(folded(0, Levels::ALL), (0, roll_up(&sample(), Levels::ALL)));
}

#[test]
fn without_rows_for_namespaces_pods_are_added_to_their_cluster() {
    let levels = Levels { namespace: false, node: NodeLevel::Off, ..Levels::ALL };
    let (count, roll) = folded(1, levels);
    assert_eq!((count, lines(&roll)), (1, vec![("cart", 6.0), ("c", 14.0)]));
}

#[test]
fn only_pods_and_namespaces_can_be_folded() {
    assert_eq!(roll_up(&sample(), Levels::ALL).foldable(), 4);
    assert_eq!(roll_up(&sample(), Levels { namespace: false, ..Levels::ALL }).foldable(), 2);
}

#[test]
fn what_is_odd_about_a_day_is_said_of_a_folded_one_too() {
    let mut costs = sample();
    let shop = costs.namespace_mut("c", "shop");
    shop.pods.insert("odd".into(), pod(-1.0, "a"));
    shop.pods.insert("pay".into(), pod(4.0, "a"));
    // A total that is no cost leaves the cluster without one; nothing below it is lost with it.
    costs.cluster_mut("c").total_usd = Some(f64::INFINITY);
    let mut roll = roll_up(&costs, Levels::ALL);
    let before = roll.clone();
    assert_eq!((roll.refused.len(), roll.contradictions.len()), (2, 1));
    roll.fold(Levels::ALL, 4);
    let sum: Cost = roll.lines.iter().map(|line| line.cost).sum();
    assert_eq!((sum, roll.total), (before.total, before.total));
    assert_eq!(roll.refused, before.refused);
    assert_eq!(roll.contradictions, before.contradictions);
}

proptest! {
    /// Whatever is folded: each cluster costs what it did, and nothing dearer than what stays is
    /// folded.
    #[test]
    fn folding_moves_the_cheapest_and_loses_nothing(
        pods in prop::collection::vec((0usize..2, 0usize..3, 0u8..9), 0..20),
        count in 0usize..30,
        namespace: bool,
    ) {
        let mut costs = DayCosts::default();
        for (index, (cluster, name, usd)) in pods.iter().enumerate() {
            let cluster = format!("c{cluster}");
            let pods = &mut costs.namespace_mut(&cluster, &format!("n{name}")).pods;
            pods.insert(format!("p{index}"), pod(f64::from(*usd), "a"));
            costs.cluster_mut(&cluster).total_usd = Some(500.0);
        }
        for cluster in costs.clusters.values_mut() {
            for one in cluster.namespaces.values_mut() {
                one.total_usd = Some(one.pods.values().map(|pod| pod.total_usd).sum::<f64>() + 1.0);
            }
        }
        let levels = Levels { namespace, ..Levels::ALL };
        let before = roll_up(&costs, levels);
        let mut after = before.clone();
        let folded = after.fold(levels, count);
        prop_assert_eq!(folded, count.min(before.foldable()));
        prop_assert_eq!(after.lines.len(), before.lines.len() - folded);
        for cluster in ["c0", "c1"] {
            let sum = |roll: &RollUp| -> Cost {
                let own = roll.lines.iter().filter(|line| line.key.cluster() == cluster);
                own.map(|line| line.cost).sum()
            };
            prop_assert_eq!(sum(&after), sum(&before));
        }
        let of_pods = |roll: &RollUp| -> Vec<Cost> {
            let pods = roll.lines.iter().filter(|line| line.key.level() == Level::Pod);
            let mut costs: Vec<Cost> = pods.map(|line| line.cost).collect();
            costs.sort_unstable();
            costs
        };
        let (all, left) = (of_pods(&before), of_pods(&after));
        prop_assert_eq!(&left[..], &all[all.len() - left.len()..], "the cheapest are gone");
    }
}
