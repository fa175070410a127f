//! From totals by level to rows in which each dollar stands once.
//!
//! Pods are leaves. A namespace's row is its total less its pods' rows; the cluster's row is its
//! total less everything beneath it (idle, unallocated, management). So the rows of an account,
//! of a namespace or of all accounts can be added up without counting anything twice.
//!
//! A node's row is what its pods' rows leave of it; without pods, what of the machine is allocated
//! to nobody, and without namespaces too, all of it. So rows with a node add up to the whole node
//! where its pods have rows, and no sum by namespace knows whether nodes have rows.
//!
//! A parent's total is the source's whole: its children's rows never cost more. What rounding and
//! timing explain is taken off them; beyond that the source contradicts itself, and the parent
//! carries the whole alone.

use std::collections::BTreeMap;

use super::costs::{
    ClusterCosts, DayCosts, Level, Levels, NamespaceCosts, NodeCosts, NodeLevel, is_special,
};
use super::money::{BadCost, Cost};
use super::names::{NAME_BYTES_MAX, is_no_name};
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
    /// The node itself, or the pod's.
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

impl Excess {
    /// Whether it is more than the rounding of many children can make.
    #[must_use]
    pub fn is_beyond_rounding(&self) -> bool {
        self.usd >= EXCESS_USD
    }
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

/// Scales lines that sum to `sum` down to a lower `total`, to the last unit.
fn spread(lines: &mut [CostLine], sum: Cost, total: Cost) {
    lines.iter_mut().for_each(|line| line.cost = line.cost.times(total, sum));
    let scaled: Cost = lines.iter().map(|line| line.cost).sum();
    if let Some(largest) = lines.iter_mut().max_by_key(|line| line.cost) {
        largest.cost += total - scaled;
    }
}

/// The row above one.
fn parent(key: &ResourceKey, levels: Levels) -> ResourceKey {
    let cluster = key.cluster().to_owned();
    match key {
        ResourceKey::Pod { namespace, .. } if levels.namespace => {
            ResourceKey::Namespace { cluster, namespace: namespace.clone() }
        }
        _ => ResourceKey::Cluster { cluster },
    }
}

impl RollUp {
    /// How many rows can be folded into rows above them. Nodes are not: a cluster has few.
    #[must_use]
    pub fn foldable(&self) -> usize {
        let is_foldable =
            |line: &&CostLine| matches!(line.key.level(), Level::Namespace | Level::Pod);
        self.lines.iter().filter(is_foldable).count()
    }

    /// Adds the `count` cheapest rows of pods, and then of namespaces, to the rows above them, which
    /// are to have rows. Returns how many were folded.
    pub fn fold(&mut self, levels: Levels, count: usize) -> usize {
        let pods = self.fold_level(Level::Pod, levels, count);
        pods + self.fold_level(Level::Namespace, levels, count - pods)
    }

    fn fold_level(&mut self, level: Level, levels: Levels, count: usize) -> usize {
        let of_level = self.lines.iter().filter(|line| line.key.level() == level);
        let mut costs: Vec<Cost> = of_level.map(|line| line.cost).collect();
        let count = count.min(costs.len());
        let Some(last) = count.checked_sub(1) else { return 0 };
        let (cheaper, dearest, _) = costs.select_nth_unstable(last);
        // Of those that cost as much as the dearest one that is folded, so many are.
        let mut alike = count - cheaper.iter().filter(|cost| *cost < dearest).count();
        let mut moved: BTreeMap<ResourceKey, Cost> = BTreeMap::new();
        self.lines.retain(|line| {
            let is_alike = line.cost == *dearest;
            let is_cheap = line.cost < *dearest || is_alike && alike > 0;
            if line.key.level() != level || !is_cheap {
                return true;
            }
            alike -= usize::from(is_alike);
            *moved.entry(parent(&line.key, levels)).or_default() += line.cost;
            false
        });
        for line in &mut self.lines {
            line.cost += moved.remove(&line.key).unwrap_or_default();
        }
        count
    }

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
        let left = total.map(|total| total - beneath);
        let nodes = self.nodes((name, &costs.nodes), levels, first, left);
        if levels.cluster {
            self.remainder(key, total, beneath + nodes);
        }
    }

    /// Adds the lines of a cluster's nodes, of which no more than `left` may cost something, and
    /// returns their sum. `first` is where the cluster's lines begin.
    fn nodes(
        &mut self,
        (cluster, nodes): (&str, &BTreeMap<String, NodeCosts>),
        levels: Levels,
        first: usize,
        left: Option<Cost>,
    ) -> Cost {
        if levels.node == NodeLevel::Off {
            return Cost::ZERO;
        }
        // Where pods are left out, what they leave of a node is not known.
        let is_contradictory = self.contradictions.iter().any(|one| one.key.cluster() == cluster);
        let mut of_pods: BTreeMap<String, Cost> = BTreeMap::new();
        for line in &self.lines[first..] {
            if let Some(node) = &line.node {
                *of_pods.entry(node.clone()).or_default() += line.cost;
            }
        }
        let start = self.lines.len();
        let mut sum = Cost::ZERO;
        for (node, costs) in nodes {
            let key = ResourceKey::Node { cluster: cluster.to_owned(), node: node.clone() };
            if node.is_empty() || self.refuses_name(&key, node) {
                continue;
            }
            let mut cost = Cost::ZERO;
            if levels.node == NodeLevel::Rows && !is_contradictory {
                let pods = of_pods.get(node).copied().unwrap_or_default();
                cost = self.node_share(&key, costs, levels, pods);
            }
            sum += cost;
            self.lines.push(CostLine { key, cost, node: Some(node.clone()), service: None });
        }
        match left.filter(|left| *left < sum) {
            None => sum,
            Some(left) => {
                spread(&mut self.lines[start..], sum, left);
                left
            }
        }
    }

    /// What the levels below leave of a node. Never negative: pods that use more than their node
    /// has, or that were on another one for a while, leave nothing of it.
    fn node_share(
        &mut self,
        key: &ResourceKey,
        costs: &NodeCosts,
        levels: Levels,
        of_pods: Cost,
    ) -> Cost {
        let is_whole = levels.pod || !levels.namespace;
        let usd = if is_whole { costs.total_usd.or(costs.idle_usd) } else { costs.idle_usd };
        let cost = self.rounded(key, usd).unwrap_or_default();
        if !levels.pod || costs.total_usd.is_none() {
            return cost;
        }
        (cost - of_pods).max(Cost::ZERO)
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
                let named = |name: &Option<String>| name.clone().filter(|name| !is_no_name(name));
                let (node, service) = (named(&pod_costs.node), named(&pod_costs.service));
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
        spread(children, beneath, total);
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
mod fold_tests;
#[cfg(test)]
mod node_tests;
#[cfg(test)]
mod tests;
