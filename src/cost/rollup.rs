//! From totals by level to rows in which each dollar stands once.
//!
//! Pods are leaves. A namespace's row is its total less its pods' rows; the cluster's row is its
//! total less everything beneath it (idle, unallocated, management). So the rows of an account,
//! of a namespace or of all accounts can be added up without counting anything twice.
//!
//! A parent's total is the source's whole: its children's rows never cost more. What rounding and
//! timing explain is taken off them; beyond that the source contradicts itself, and the parent
//! carries the whole alone.

use super::costs::{ClusterCosts, DayCosts, Level, Levels, NamespaceCosts, is_special};
use super::limits::{NAME_BYTES_MAX, is_no_name};
use super::money::{BadCost, Cost};
use super::resource_id::ResourceKey;

/// By which share of a parent its children may exceed it through rounding and timing.
const EXCESS_SHARE: f64 = 0.01;
/// By how much they always may, USD.
const EXCESS_USD: f64 = 0.001;

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

/// A parent whose children cost a little more than itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Excess {
    /// The parent.
    pub key: ResourceKey,
    /// By how much, USD.
    pub usd: f64,
}

/// A parent whose children cost more than rounding and timing explain: their costs are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Contradiction {
    /// The parent.
    pub key: ResourceKey,
    /// What it costs, USD.
    pub parent_usd: f64,
    /// What its children cost together, USD.
    pub children_usd: f64,
    /// The level whose costs, and those of what is below it, are left out.
    pub left_out: Level,
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
    /// Its name is none: too long, or with control or formatting characters.
    #[error("its name has control or formatting characters, or over {NAME_BYTES_MAX} bytes")]
    Name,
}

/// The rows of a day, and what is odd about its source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RollUp {
    /// One line per resource, those without cost included: they name what exists.
    pub lines: Vec<CostLine>,
    /// The sum of all lines, exact.
    pub total: Cost,
    /// Where children exceeded their parent by no more than rounding and timing explain: that much
    /// was taken off them.
    pub excess: Vec<Excess>,
    /// Where they exceeded it by more: the source contradicts itself.
    pub contradictions: Vec<Contradiction>,
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
        let first = self.lines.len();
        let mut beneath = Cost::ZERO;
        for (namespace, namespace_costs) in &costs.namespaces {
            if !is_special(namespace) {
                beneath += self.namespace(name, namespace, namespace_costs, levels);
            }
        }
        let total = self.rounded(&key, costs.total_usd);
        let child = if levels.namespace { Level::Namespace } else { Level::Pod };
        let beneath = self.held(&key, total, beneath, (first, child));
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
        let first = self.lines.len();
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
        let beneath = self.held(&key, total, beneath, (first, Level::Pod));
        if !levels.namespace {
            return beneath;
        }
        beneath + self.remainder(key, total, beneath)
    }

    /// Holds the children of a parent, the lines from `first` on, to its total; returns their sum.
    fn held(
        &mut self,
        key: &ResourceKey,
        total: Option<Cost>,
        beneath: Cost,
        (first, child): (usize, Level),
    ) -> Cost {
        let Some(total) = total.filter(|total| *total < beneath) else { return beneath };
        let excess_usd = (beneath - total).usd();
        let children = &mut self.lines[first..];
        if excess_usd > EXCESS_USD && excess_usd > EXCESS_SHARE * total.usd() {
            children.iter_mut().for_each(|line| line.cost = Cost::ZERO);
            self.contradictions.push(Contradiction {
                key: key.clone(),
                parent_usd: total.usd(),
                children_usd: beneath.usd(),
                left_out: child,
            });
            return Cost::ZERO;
        }
        children.iter_mut().for_each(|line| line.cost = line.cost.times(total, beneath));
        let sum: Cost = children.iter().map(|line| line.cost).sum();
        if let Some(largest) = children.iter_mut().max_by_key(|line| line.cost) {
            largest.cost += total - sum;
        }
        self.excess.push(Excess { key: key.clone(), usd: excess_usd });
        total
    }

    /// Adds the line of a parent whose children's lines sum to `beneath`; returns its cost.
    fn remainder(&mut self, key: ResourceKey, total: Option<Cost>, beneath: Cost) -> Cost {
        let cost = total.map_or(Cost::ZERO, |total| total - beneath);
        self.lines.push(CostLine { key, cost, node: None, service: None });
        cost
    }

    /// Whether a name cannot be one: its cost stays with its parent, or is left out with its
    /// cluster.
    fn refuses_name(&mut self, key: &ResourceKey, name: &str) -> bool {
        let is_refused = is_no_name(name);
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
mod tests;
