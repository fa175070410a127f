//! From totals by level to rows in which each dollar stands once.
//!
//! Pods are leaves. A namespace's row is its total less its pods' rows; the cluster's row is its
//! total less everything beneath it (idle, unallocated, management). So the rows of an account,
//! of a namespace or of all accounts can be added up without counting anything twice.

use super::costs::{ClusterCosts, DayCosts, Levels, NamespaceCosts, is_special};
use super::money::{BadCost, Cost};
use super::resource_id::ResourceKey;

/// A row to be: what a resource's own share of the day costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostLine {
    /// Of what.
    pub key: ResourceKey,
    /// The remainder (see the module's text) or, for a pod, all of its cost. Never negative.
    pub cost: Cost,
    /// The pod's node.
    pub node: Option<String>,
    /// The pod's service.
    pub service: Option<String>,
}

/// A parent whose children cost more than itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Excess {
    /// The parent.
    pub key: ResourceKey,
    /// By how much, USD.
    pub usd: f64,
}

/// What of the source is not taken, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// Of what.
    pub key: ResourceKey,
    /// Why it is refused.
    pub reason: Refused,
}

/// Why something of the source is not taken.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Refused {
    /// Its number is no cost.
    #[error(transparent)]
    Cost(#[from] BadCost),
    /// Its name has a character that no name has: ids are made of names joined by such a one, so
    /// two resources might be given one id.
    #[error("its name has a control character")]
    Name,
}

/// The rows of a day, and what is odd about its source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RollUp {
    /// One line per resource, those without cost included: they name what exists.
    pub lines: Vec<CostLine>,
    /// The sum of all lines, exact.
    pub total: Cost,
    /// Where children exceed their parent: the children stand.
    pub excess: Vec<Excess>,
    /// Numbers and names that were not taken.
    pub refused: Vec<Refusal>,
}

/// Rounds a day's costs to exact money and takes remainders, for the `levels` that have rows.
#[must_use]
pub fn roll_up(costs: &DayCosts, levels: Levels) -> RollUp {
    let mut out = RollUp::default();
    for (name, cluster) in &costs.clusters {
        out.cluster(name, cluster, levels);
    }
    out.total = out.lines.iter().map(|line| line.cost).sum();
    out
}

impl RollUp {
    fn cluster(&mut self, name: &str, costs: &ClusterCosts, levels: Levels) {
        let key = ResourceKey::Cluster { cluster: name.to_owned() };
        if self.refuses_name(&key, name) {
            return;
        }
        let mut beneath = Cost::ZERO;
        for (namespace, namespace_costs) in &costs.namespaces {
            if !is_special(namespace) {
                beneath += self.namespace(name, namespace, namespace_costs, levels);
            }
        }
        let total = self.rounded(&key, costs.total_usd);
        if levels.cluster {
            self.remainder(key, total, beneath);
        }
    }

    /// Adds a namespace's lines and returns their sum.
    fn namespace(
        &mut self,
        cluster: &str,
        name: &str,
        costs: &NamespaceCosts,
        levels: Levels,
    ) -> Cost {
        let key =
            ResourceKey::Namespace { cluster: cluster.to_owned(), namespace: name.to_owned() };
        if (levels.namespace || levels.pod) && self.refuses_name(&key, name) {
            return Cost::ZERO;
        }
        let mut beneath = Cost::ZERO;
        for (pod, pod_costs) in &costs.pods {
            if levels.pod && !is_special(pod) {
                let key = ResourceKey::Pod {
                    cluster: cluster.to_owned(),
                    namespace: name.to_owned(),
                    pod: pod.clone(),
                };
                if self.refuses_name(&key, pod) {
                    continue;
                }
                let Some(cost) = self.rounded(&key, Some(pod_costs.total_usd)) else { continue };
                beneath += cost;
                let (node, service) = (pod_costs.node.clone(), pod_costs.service.clone());
                self.lines.push(CostLine { key, cost, node, service });
            }
        }
        let total = self.rounded(&key, costs.total_usd);
        if !levels.namespace {
            return beneath;
        }
        beneath + self.remainder(key, total, beneath)
    }

    /// Adds the line of a parent whose children's lines sum to `beneath`; returns its cost.
    fn remainder(&mut self, key: ResourceKey, total: Option<Cost>, beneath: Cost) -> Cost {
        let mut cost = total.map_or(Cost::ZERO, |total| total - beneath);
        if cost.is_negative() {
            self.excess.push(Excess { key: key.clone(), usd: -cost.usd() });
            cost = Cost::ZERO;
        }
        self.lines.push(CostLine { key, cost, node: None, service: None });
        cost
    }

    /// Whether a name cannot be one: its cost stays with its parent, or is left out with its
    /// cluster.
    fn refuses_name(&mut self, key: &ResourceKey, name: &str) -> bool {
        let is_refused = name.contains(char::is_control);
        if is_refused {
            self.refused.push(Refusal { key: key.clone(), reason: Refused::Name });
        }
        is_refused
    }

    fn rounded(&mut self, key: &ResourceKey, usd: Option<f64>) -> Option<Cost> {
        match Cost::from_usd(usd?) {
            Ok(cost) => Some(cost),
            Err(reason) => {
                self.refused.push(Refusal { key: key.clone(), reason: reason.into() });
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::costs::{Level, PodCosts};
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
        let levels = Levels { cluster: true, namespace: false, pod: false };
        let roll = roll_up(&sample(), levels);
        assert_eq!(roll.lines.len(), 1);
        assert_eq!(roll.total.usd(), 10.0);
    }

    #[test]
    fn children_that_exceed_their_parent_stand_and_are_reported() {
        let mut costs = sample();
        costs.cluster_mut("c").total_usd = Some(5.5);
        let roll = roll_up(&costs, Levels::ALL);
        assert_eq!(cost_of(&roll, None, None), Some(0.0));
        assert_eq!(roll.total.usd(), 6.0);
        assert_eq!(roll.excess.len(), 1);
        assert_eq!(roll.excess[0].usd, 0.5);
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
        let levels = Levels { cluster: true, namespace: false, pod: false };
        assert_eq!(roll_up(&costs, levels).refused.len(), 1);
    }

    prop_compose! {
        fn any_costs()(
            spaces in prop::collection::vec(
                (0.0..50.0f64, prop::collection::vec(0.0..5.0f64, 0..8)), 0..8),
            overhead in 0.0..100.0f64,
        ) -> DayCosts {
            let mut costs = DayCosts::default();
            let mut total = overhead;
            for (index, (own, pods)) in spaces.iter().enumerate() {
                let namespace = costs.namespace_mut("c", &format!("ns-{index}"));
                for (number, usd) in pods.iter().enumerate() {
                    namespace.pods.insert(format!("pod-{number}"), pod(*usd));
                }
                let sum = own + pods.iter().sum::<f64>();
                namespace.total_usd = Some(sum);
                total += sum;
            }
            costs.cluster_mut("c").total_usd = Some(total);
            costs
        }
    }

    proptest! {
        #[test]
        fn no_dollar_is_lost_or_doubled_at_any_level(costs in any_costs(), bits in 1u8..8) {
            let levels =
                Levels { cluster: bits & 1 != 0, namespace: bits & 2 != 0, pod: bits & 4 != 0 };
            let roll = roll_up(&costs, levels);
            prop_assert!(roll.lines.iter().all(|line| !line.cost.is_negative()));
            let lines: Cost = roll.lines.iter().map(|line| line.cost).sum();
            prop_assert_eq!(lines, roll.total);
            if levels.cluster {
                let excess: f64 = roll.excess.iter().map(|e| e.usd).sum();
                let total = costs.clusters["c"].total_usd.unwrap();
                // Rounding: half a unit for each number that was rounded.
                prop_assert!((roll.total.usd() - total).abs() <= excess + 1e-5);
            }
        }
    }
}
