//! Parts of rows, against sums of whole numbers.

use super::*;
use crate::cost::costs::{NodeLevel, PodCosts};
use crate::cost::roll_up;
use proptest::prelude::*;

fn made_of(parts: &[(Part, f64)]) -> Breakdown {
    Breakdown { parts: parts.iter().copied().collect(), ..Breakdown::default() }
}

/// A cluster of 20: `shop` 12 (a pod on `n1` 8), `web` 3 without pods, idle 4, 1 beside them.
fn sample() -> DayCosts {
    let mut costs = DayCosts::default();
    let cluster = costs.cluster_mut("c");
    cluster.total_usd = Some(20.0);
    cluster.breakdown = made_of(&[(Part::Cpu, 12.0), (Part::Ram, 4.0), (Part::Pv, 3.0)]);
    cluster.breakdown.idle_of = [(Part::Cpu, 3.0), (Part::Ram, 1.0)].into();
    let node = costs.node_mut("c", "n1");
    (node.total_usd, node.idle_usd) = (Some(10.0), Some(2.0));
    node.breakdown = made_of(&[(Part::Idle, 2.0)]);
    let shop = costs.namespace_mut("c", "shop");
    shop.total_usd = Some(12.0);
    shop.breakdown = made_of(&[(Part::Cpu, 7.0), (Part::Ram, 2.0), (Part::Pv, 3.0)]);
    shop.breakdown.cpu_efficiency = Some(0.5);
    let pod = PodCosts {
        total_usd: 8.0,
        node: Some("n1".into()),
        breakdown: made_of(&[(Part::Cpu, 6.0), (Part::Ram, 1.0)]),
        ..PodCosts::default()
    };
    shop.pods.insert("cart".into(), pod);
    let web = costs.namespace_mut("c", "web");
    web.total_usd = Some(3.0);
    web.breakdown = made_of(&[(Part::Cpu, 2.0), (Part::Ram, 1.0)]);
    costs
}

fn levels(node: NodeLevel, namespace: bool, pod: bool) -> Levels {
    Levels { cluster: true, node, namespace, pod, has_parts: true }
}

fn rows(costs: &DayCosts, levels: Levels) -> BTreeMap<String, Parts> {
    let rows = row_parts(costs, &roll_up(costs, levels), levels);
    let name = |key: &ResourceKey| {
        key.pod().or(key.node()).or(key.namespace()).unwrap_or(key.cluster()).to_owned()
    };
    rows.iter().map(|(key, row)| (name(key), row.parts.clone())).collect()
}

#[test]
fn a_row_is_made_of_what_the_levels_below_leave() {
    let rows = rows(&sample(), levels(NodeLevel::Rows, true, true));
    let of = |name: &str| -> Vec<(Part, f64)> { rows[name].clone().into_iter().collect() };
    // What the pod does not divide is its own.
    assert_eq!(of("cart"), [(Part::Cpu, 6.0), (Part::Ram, 1.0), (Part::Other, 1.0)]);
    // 4 of the namespace's 12: of its volumes of 3 the pod has what it does not divide.
    assert_eq!(of("shop"), [(Part::Cpu, 1.0), (Part::Ram, 1.0), (Part::Pv, 2.0)]);
    assert_eq!(of("n1"), [(Part::Idle, 2.0)]);
    assert_eq!(of("web"), [(Part::Cpu, 2.0), (Part::Ram, 1.0)]);
    // Of 4 that are idle the node has 2; the cluster's own 3 are the rest and what nothing explains.
    assert_eq!(of("c"), [(Part::Idle, 2.0), (Part::Other, 1.0)]);
}

#[test]
fn a_node_is_made_of_what_its_pods_leave_and_without_pods_it_is_idle() {
    let mut costs = sample();
    let node = costs.node_mut("c", "n1");
    node.breakdown = made_of(&[(Part::Cpu, 8.0), (Part::Ram, 1.0), (Part::Idle, 1.0)]);
    let of_node = |pod: bool| rows(&costs, levels(NodeLevel::Rows, true, pod))["n1"].clone();
    // Of 2 that the pod leaves, its CPU is known to be 2.
    assert_eq!(of_node(true), [(Part::Cpu, 2.0)].into());
    assert_eq!(of_node(false), [(Part::Idle, 2.0)].into());
}

#[test]
fn without_rows_for_namespaces_a_cluster_is_made_of_what_its_pods_leave() {
    let rows = rows(&sample(), levels(NodeLevel::Off, false, true));
    let wanted = [(Part::Cpu, 3.0), (Part::Ram, 2.0), (Part::Pv, 3.0), (Part::Idle, 4.0)];
    assert_eq!(rows["c"], wanted.into());
}

#[test]
fn nothing_is_said_of_what_a_source_does_not_divide() {
    let mut costs = sample();
    costs.cluster_mut("c").namespaces.get_mut("web").unwrap().breakdown = Breakdown::default();
    let rows = rows(&costs, levels(NodeLevel::Off, true, false));
    assert_eq!(rows.keys().collect::<Vec<_>>(), ["shop"], "not of web, and so not of the rest");
    assert!(super::row_parts(&DayCosts::default(), &RollUp::default(), Levels::ALL).is_empty());
}

#[test]
fn an_efficiency_is_that_of_the_resource_as_a_whole() {
    let costs = sample();
    let levels = levels(NodeLevel::Off, true, true);
    let rows = row_parts(&costs, &roll_up(&costs, levels), levels);
    let shop = ResourceKey::Namespace { cluster: "c".into(), namespace: "shop".into() };
    assert_eq!((rows[&shop].cpu_efficiency, rows[&shop].ram_efficiency), (Some(0.5), None));
}

#[test]
fn numbers_that_are_none_are_no_parts() {
    let mut costs = sample();
    costs.namespace_mut("c", "web").breakdown.parts.insert(Part::Cpu, f64::NAN);
    let rows = rows(&costs, levels(NodeLevel::Off, true, false));
    assert_eq!(rows["web"], [(Part::Ram, 1.0), (Part::Other, 2.0)].into());
}

fn parts() -> impl Strategy<Value = Breakdown> {
    let parts = prop::collection::btree_map(
        prop::sample::select(Part::ALL.to_vec()),
        0.0..1_000.0f64,
        0..8,
    );
    let idle = prop::collection::btree_map(
        prop::sample::select(vec![Part::Cpu, Part::Ram]),
        -5.0..500.0f64,
        0..3,
    );
    (parts, idle).prop_map(|(parts, idle_of)| Breakdown { parts, idle_of, ..Breakdown::default() })
}

proptest! {
    /// Whatever a source says: parts are never negative and add up to their row, bit for bit.
    #[test]
    fn parts_add_up_to_their_row(
        of in prop::collection::vec(parts(), 5),
        usd in prop::collection::vec(0.0..1_000.0f64, 5),
        node in prop_oneof![
            Just(NodeLevel::Off), Just(NodeLevel::Documents), Just(NodeLevel::Rows)],
        bits in 0u8..4,
        folded in 0usize..4,
    ) {
        let mut costs = sample();
        let cluster = costs.cluster_mut("c");
        (cluster.total_usd, cluster.breakdown) = (Some(usd[0]), of[0].clone());
        let node_costs = costs.node_mut("c", "n1");
        (node_costs.total_usd, node_costs.breakdown) = (Some(usd[1]), of[1].clone());
        let shop = costs.namespace_mut("c", "shop");
        (shop.total_usd, shop.breakdown) = (Some(usd[2]), of[2].clone());
        let pod = shop.pods.get_mut("cart").unwrap();
        (pod.total_usd, pod.breakdown) = (usd[3], of[3].clone());
        let web = costs.namespace_mut("c", "web");
        (web.total_usd, web.breakdown) = (Some(usd[4]), of[4].clone());
        let levels = levels(node, bits & 1 != 0, bits & 2 != 0);
        let mut roll = roll_up(&costs, levels);
        roll.fold(levels, folded);
        for (key, row) in row_parts(&costs, &roll, levels) {
            let line = roll.lines.iter().find(|line| line.key == key).unwrap();
            let sum: f64 = row.parts.values().sum();
            prop_assert_eq!(sum.to_bits(), line.cost.usd().to_bits(), "{:?}", key);
            prop_assert!(row.parts.values().all(|usd| *usd > 0.0));
        }
    }
}
