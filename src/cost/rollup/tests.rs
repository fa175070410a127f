//! Rows of days of all kinds, against sums of whole numbers.

use super::*;
use crate::cost::costs::{Level, PodCosts};
use crate::cost::money::UNITS_PER_USD;
use proptest::prelude::*;

fn pod(usd: f64) -> PodCosts {
    PodCosts { total_usd: usd, ..PodCosts::default() }
}

fn sample() -> DayCosts {
    let mut costs = DayCosts::default();
    costs.cluster_mut("c").total_usd = Some(10.0);
    let shop = costs.namespace_mut("c", "shop");
    shop.total_usd = Some(4.0);
    shop.pods.insert("cart-1".into(), pod(1.5));
    shop.pods.insert("cart-2".into(), pod(1.0));
    costs.namespace_mut("c", "dev").total_usd = Some(2.0);
    costs.namespace_mut("c", "__idle__").total_usd = Some(-3.0);
    costs
}

fn cost_of(roll: &RollUp, namespace: Option<&str>, pod: Option<&str>) -> Option<f64> {
    roll.lines
        .iter()
        .find(|line| line.key.namespace() == namespace && line.key.pod() == pod)
        .map(|line| line.cost.usd())
}

#[test]
fn an_excess_is_beyond_rounding_from_a_tenth_of_a_cent_on() {
    let excess = |usd| Excess { key: ResourceKey::Cluster { cluster: "c".into() }, usd };
    assert!(!excess(0.000_999).is_beyond_rounding());
    assert!(excess(0.001).is_beyond_rounding());
}

#[test]
fn children_that_cost_what_their_parent_does_are_no_excess() {
    let mut costs = sample();
    costs.namespace_mut("c", "shop").total_usd = Some(2.5);
    let roll = roll_up(&costs, Levels::ALL);
    assert_eq!(cost_of(&roll, Some("shop"), None), Some(0.0));
    assert!(roll.excess.is_empty());
}

#[test]
fn children_may_cost_a_hundredth_more_than_their_parent() {
    let excess = |pods_usd| {
        let mut costs = DayCosts::default();
        costs.cluster_mut("c").total_usd = Some(60.0);
        let shop = costs.namespace_mut("c", "shop");
        shop.total_usd = Some(50.0);
        shop.pods.insert("cart".into(), pod(pods_usd));
        let roll = roll_up(&costs, Levels::ALL);
        (roll.excess.len(), roll.contradictions.len())
    };
    assert_eq!((excess(50.5), excess(50.500_001)), ((1, 0), (0, 1)));
}

#[test]
fn each_row_is_what_its_children_leave() {
    let roll = roll_up(&sample(), Levels::ALL);
    assert_eq!(cost_of(&roll, Some("shop"), Some("cart-1")), Some(1.5));
    assert_eq!(cost_of(&roll, Some("shop"), None), Some(1.5));
    assert_eq!(cost_of(&roll, Some("dev"), None), Some(2.0));
    assert_eq!(cost_of(&roll, None, None), Some(4.0));
    assert_eq!(roll.total.usd(), 10.0);
    assert!(roll.refused.is_empty() && roll.excess.is_empty());
}

#[test]
fn with_pods_off_namespaces_carry_their_totals() {
    let roll = roll_up(&sample(), Levels::DEFAULT);
    assert_eq!(cost_of(&roll, Some("shop"), None), Some(4.0));
    assert_eq!(cost_of(&roll, None, None), Some(4.0));
    assert_eq!(roll.lines.len(), 3);
    assert_eq!(roll.total.usd(), 10.0);
}

#[test]
fn with_only_clusters_the_cluster_carries_everything() {
    let levels = Levels { namespace: false, ..Levels::DEFAULT };
    let roll = roll_up(&sample(), levels);
    assert_eq!(roll.lines.len(), 1);
    assert_eq!(roll.total.usd(), 10.0);
}

#[test]
fn children_that_cost_more_than_the_whole_are_left_out_and_named() {
    let mut costs = sample();
    costs.cluster_mut("c").total_usd = Some(5.5);
    let roll = roll_up(&costs, Levels::ALL);
    assert_eq!(cost_of(&roll, None, None), Some(5.5));
    assert_eq!(cost_of(&roll, Some("shop"), Some("cart-1")), Some(0.0));
    assert_eq!((roll.total.usd(), roll.lines.len()), (5.5, 5));
    let found = Contradiction {
        key: ResourceKey::Cluster { cluster: "c".into() },
        parent_usd: 5.5,
        children_usd: 6.0,
        left_out: Level::Namespace,
    };
    assert_eq!(roll.contradictions, [found]);
}

#[test]
fn pods_that_cost_more_than_their_namespace_leave_it_its_own_cost() {
    let mut costs = sample();
    costs.namespace_mut("c", "shop").pods.insert("cart-3".into(), pod(2.0));
    let roll = roll_up(&costs, Levels::ALL);
    assert_eq!(cost_of(&roll, Some("shop"), None), Some(4.0));
    assert_eq!(cost_of(&roll, Some("shop"), Some("cart-3")), Some(0.0));
    assert_eq!(cost_of(&roll, Some("dev"), None), Some(2.0));
    assert_eq!(roll.total.usd(), 10.0);
    assert_eq!(roll.contradictions.len(), 1);
    assert_eq!(roll.contradictions[0].left_out, Level::Pod);
}

#[test]
fn negative_idle_stays_in_the_whole() {
    let mut costs = DayCosts::default();
    costs.cluster_mut("c").total_usd = Some(240.0);
    for (name, usd) in [("shop", 192.0), ("data", 96.0), ("__idle__", -48.0)] {
        costs.namespace_mut("c", name).total_usd = Some(usd);
    }
    let roll = roll_up(&costs, Levels::DEFAULT);
    assert_eq!(roll.total.usd(), 240.0);
    assert_eq!(roll.contradictions.len(), 1);
}

#[test]
fn what_rounding_and_timing_explain_is_taken_off_the_children() {
    for whole in [5.95, 5.9995, 5.999_999_9] {
        let mut costs = sample();
        costs.cluster_mut("c").total_usd = Some(whole);
        let roll = roll_up(&costs, Levels::ALL);
        let rounded = Cost::from_usd(whole).unwrap();
        assert_eq!((roll.total, roll.excess.len()), (rounded, 1));
        assert!(roll.contradictions.is_empty());
        let dev = cost_of(&roll, Some("dev"), None).unwrap();
        assert!((dev - 2.0 * whole / 6.0).abs() < 1e-6, "{dev}");
        assert_eq!(cost_of(&roll, None, None), Some(0.0));
    }
    // A tenth of a cent, however small the whole.
    let mut costs = DayCosts::default();
    costs.cluster_mut("c").total_usd = Some(0.0);
    costs.namespace_mut("c", "shop").total_usd = Some(0.0009);
    let roll = roll_up(&costs, Levels::DEFAULT);
    assert_eq!((roll.total, roll.contradictions.len()), (Cost::ZERO, 0));
}

#[test]
fn an_unknown_total_is_not_a_zero_of_its_children() {
    let mut costs = sample();
    costs.cluster_mut("c").total_usd = None;
    let roll = roll_up(&costs, Levels::ALL);
    assert_eq!(roll.total.usd(), 6.0);
    assert!(roll.excess.is_empty());
}

#[test]
fn a_refused_number_is_named_and_its_dollars_stay_with_the_parent() {
    let mut costs = sample();
    costs.namespace_mut("c", "dev").total_usd = Some(f64::NAN);
    let roll = roll_up(&costs, Levels::ALL);
    assert_eq!(roll.refused.len(), 1);
    assert_eq!(roll.refused[0].key.namespace(), Some("dev"));
    assert_eq!(cost_of(&roll, None, None), Some(6.0));
    assert_eq!(roll.total.usd(), 10.0);
}

#[test]
fn a_namespaces_name_matters_where_it_or_its_pods_have_rows() {
    let mut costs = DayCosts::default();
    costs.cluster_mut("c").total_usd = Some(3.0);
    costs.namespace_mut("c", "d\u{1f}ev").pods.insert("p".into(), pod(1.0));
    let refused = |namespace, pod| {
        roll_up(&costs, Levels { namespace, pod, ..Levels::DEFAULT }).refused.len()
    };
    assert_eq!([refused(true, false), refused(false, true), refused(false, false)], [1, 1, 0]);
}

#[test]
fn nodes_and_services_with_such_names_are_left_out() {
    let mut costs = sample();
    let (bad, good) = (Some("n\u{7}".to_owned()), Some("n".to_owned()));
    let shop = costs.namespace_mut("c", "shop");
    let mut set = |name: &str, node: &Option<String>, service: &Option<String>| {
        let pod = shop.pods.get_mut(name).unwrap();
        (pod.node, pod.service) = (node.clone(), service.clone());
    };
    set("cart-1", &bad, &good);
    set("cart-2", &good, &bad);
    let roll = roll_up(&costs, Levels::ALL);
    let of = |pod: &str| {
        let line = roll.lines.iter().find(|line| line.key.pod() == Some(pod)).unwrap();
        (line.node.clone(), line.service.clone())
    };
    assert_eq!([of("cart-1"), of("cart-2")], [(None, good.clone()), (good, None)]);
}

#[test]
fn a_name_with_a_control_character_is_refused_and_its_dollars_stay_with_the_parent() {
    let mut costs = sample();
    let shop = costs.namespace_mut("c", "shop");
    shop.pods.insert("cart\u{1f}3".into(), pod(0.25));
    costs.namespace_mut("c", "d\u{1f}ev").total_usd = Some(1.0);
    costs.namespace_mut("c", "d\u{1f}ev").pods.insert("p".into(), pod(0.5));
    costs.cluster_mut("c\u{1f}d").total_usd = Some(7.0);
    costs.namespace_mut("c\u{1f}d", "ev").total_usd = Some(2.0);
    let roll = roll_up(&costs, Levels::ALL);
    assert!(roll.refused.iter().all(|refusal| refusal.reason == Refused::Name));
    let names = |of: &Refusal| {
        (of.key.cluster().to_owned(), of.key.namespace().map(str::to_owned), of.key.level())
    };
    let dev = Some("d\u{1f}ev".to_owned());
    let mut refused: Vec<_> = roll.refused.iter().map(names).collect();
    refused.sort();
    let wanted = [
        ("c".to_owned(), dev, Level::Namespace),
        ("c".to_owned(), Some("shop".to_owned()), Level::Pod),
        ("c\u{1f}d".to_owned(), None, Level::Cluster),
    ];
    assert_eq!(refused, wanted);
    // What the sample has, and no line of the refused: one id would stand for two.
    assert_eq!(cost_of(&roll, Some("shop"), None), Some(1.5));
    assert_eq!(cost_of(&roll, None, None), Some(4.0));
    assert_eq!(roll.total.usd(), 10.0);
    // Where namespaces have no rows their names do not matter.
    let levels = Levels { namespace: false, ..Levels::DEFAULT };
    assert_eq!(roll_up(&costs, levels).refused.len(), 1);
}

/// A namespace of the property: its own cost and its pods', in units of exact money.
type Space = (u32, Vec<u32>);

fn usd(units: i64) -> f64 {
    units as f64 / UNITS_PER_USD as f64
}

fn units(cost: Cost) -> i64 {
    (cost.usd() * UNITS_PER_USD as f64) as i64
}

/// A cluster whose total is `overhead` more than its namespaces' (less, when negative).
fn cluster_of(spaces: &[Space], overhead: i64) -> DayCosts {
    let mut costs = DayCosts::default();
    for (index, (own, pods)) in spaces.iter().enumerate() {
        let namespace = costs.namespace_mut("c", &format!("ns-{index}"));
        for (number, cost) in pods.iter().enumerate() {
            namespace.pods.insert(format!("pod-{number}"), pod(usd((*cost).into())));
        }
        namespace.total_usd = Some(usd(space_units(own, pods)));
    }
    costs.cluster_mut("c").total_usd = Some(usd((whole(spaces) + overhead).max(0)));
    costs
}

fn space_units(own: &u32, pods: &[u32]) -> i64 {
    i64::from(*own) + pods.iter().copied().map(i64::from).sum::<i64>()
}

fn whole(spaces: &[Space]) -> i64 {
    spaces.iter().map(|(own, pods)| space_units(own, pods)).sum()
}

fn lines_of(roll: &RollUp, is: impl Fn(&ResourceKey) -> bool) -> i64 {
    roll.lines.iter().filter(|line| is(&line.key)).map(|line| units(line.cost)).sum()
}

proptest! {
    /// Against sums of whole numbers, which no rounding touches.
    #[test]
    fn no_dollar_is_lost_or_doubled_at_any_level(
        spaces in prop::collection::vec(
            (any::<u32>(), prop::collection::vec(any::<u32>(), 0..8)), 0..8),
        overhead in any::<u32>(),
        bits in 1u8..8,
    ) {
        let levels = Levels {
            cluster: bits & 1 != 0,
            namespace: bits & 2 != 0,
            pod: bits & 4 != 0,
            ..Levels::DEFAULT
        };
        let roll = roll_up(&cluster_of(&spaces, overhead.into()), levels);
        prop_assert!(roll.excess.is_empty() && roll.refused.is_empty());
        for (index, (own, pods)) in spaces.iter().enumerate() {
            let name = format!("ns-{index}");
            let pods_units = space_units(&0, pods);
            let wanted = match (levels.namespace, levels.pod) {
                (true, _) => space_units(own, pods),
                (false, true) => pods_units,
                (false, false) => 0,
            };
            prop_assert_eq!(lines_of(&roll, |key| key.namespace() == Some(&name)), wanted);
            let of_pods =
                lines_of(&roll, |key| key.namespace() == Some(&name) && key.pod().is_some());
            prop_assert_eq!(of_pods, if levels.pod { pods_units } else { 0 });
        }
        let all = whole(&spaces) + i64::from(overhead);
        let wanted = match (levels.cluster, levels.namespace) {
            (true, _) => all,
            (false, true) => whole(&spaces),
            (false, false) => spaces.iter().map(|(_, pods)| space_units(&0, pods)).sum(),
        };
        prop_assert_eq!(units(roll.total), wanted);
        prop_assert_eq!(lines_of(&roll, |_| true), wanted);
    }

    /// However much children exceed their parent: the whole is stored, to the last unit.
    #[test]
    fn rows_never_cost_more_than_the_whole(
        spaces in prop::collection::vec(
            (any::<u32>(), prop::collection::vec(any::<u32>(), 0..4)), 1..6),
        missing in prop_oneof![1u32..100_000, 1u32..],
    ) {
        let children = whole(&spaces);
        let parent = (children - i64::from(missing)).max(0);
        let roll = roll_up(&cluster_of(&spaces, -i64::from(missing)), Levels::ALL);
        prop_assert_eq!(units(roll.total), parent);
        prop_assert!(roll.lines.iter().all(|line| !line.cost.is_negative()));
        let found = roll.excess.len() + roll.contradictions.len();
        prop_assert_eq!(found, usize::from(children > parent));
        let excess = usd(children - parent);
        let is_explained = excess <= EXCESS_USD || excess <= EXCESS_SHARE * usd(parent);
        prop_assert_eq!(roll.contradictions.is_empty(), is_explained);
    }

    /// Rates times hours are no whole units: each number that was rounded is off by half of
    /// one at most.
    #[test]
    fn rounding_moves_a_total_by_half_a_unit_for_each_number(
        spaces in prop::collection::vec((0.0..50.0f64, 0usize..8), 0..8),
        overhead in 0.0..100.0f64,
    ) {
        let mut costs = DayCosts::default();
        let mut total = overhead;
        let mut numbers = 1.0;
        for (index, (each, pods)) in spaces.iter().enumerate() {
            let namespace = costs.namespace_mut("c", &format!("ns-{index}"));
            for number in 0..*pods {
                namespace.pods.insert(format!("pod-{number}"), pod(*each));
            }
            let sum = each * (*pods as f64 + 1.0);
            namespace.total_usd = Some(sum);
            total += sum;
            numbers += *pods as f64 + 1.0;
        }
        costs.cluster_mut("c").total_usd = Some(total);
        let roll = roll_up(&costs, Levels::ALL);
        // Where nothing is left for a parent, rounding may make it an excess.
        let excess: f64 = roll.excess.iter().map(|excess| excess.usd).sum();
        let most = numbers * 0.5 / UNITS_PER_USD as f64 + excess + 1e-9;
        prop_assert!((roll.total.usd() - total).abs() <= most, "{} {total}", roll.total.usd());
    }
}
