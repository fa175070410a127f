//! What rows are made of.
//!
//! A source says of a resource's whole what it is made of. A row is what the levels below leave of
//! that, and so are its parts: they add up to the row's cost, to the last unit. What no part
//! explains is [`Part::Other`]; parts that exceed the cost are scaled down to it. Where a source does
//! not say what a cost is made of, nothing is said of it.

use std::collections::BTreeMap;

use super::breakdown::{Breakdown, Part, Parts, add_known_parts};
use super::costs::{ClusterCosts, DayCosts, Level, Levels};
use super::money::Cost;
use super::resource_id::ResourceKey;
use super::rollup::{CostLine, RollUp};

/// What a row's cost is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowParts {
    /// Exact USD by part, none of them zero; they add up to the row's cost.
    pub parts: Parts,
    /// CPU used over CPU requested, of the resource as a whole.
    pub cpu_efficiency: Option<f64>,
    /// Memory used over memory requested, of the resource as a whole.
    pub ram_efficiency: Option<f64>,
}

/// What each line's cost is made of, for those of which the source says it.
#[must_use]
pub fn row_parts(
    costs: &DayCosts,
    roll: &RollUp,
    levels: Levels,
) -> BTreeMap<ResourceKey, RowParts> {
    let mut out = BTreeMap::new();
    let mut lines: BTreeMap<&str, Vec<&CostLine>> = BTreeMap::new();
    for line in &roll.lines {
        lines.entry(line.key.cluster()).or_default().push(line);
    }
    for (name, lines) in lines {
        if let Some(costs) = costs.clusters.get(name) {
            OfCluster { costs, levels, lines }.add_to(&mut out);
        }
    }
    out
}

/// The lines of a cluster, and what the source says of it.
struct OfCluster<'a> {
    costs: &'a ClusterCosts,
    levels: Levels,
    lines: Vec<&'a CostLine>,
}

/// What children of a parent are made of together; `None` where one with a cost does not say.
type PartsBelow = Option<Parts>;

fn add(to: &mut PartsBelow, parts: &Parts, cost: Cost) {
    if cost.is_zero() {
        return;
    }
    add_known_parts(to, Some(parts).filter(|parts| !parts.is_empty()), 1.0);
}

impl OfCluster<'_> {
    fn add_to(&self, out: &mut BTreeMap<ResourceKey, RowParts>) {
        let mut of_pods: BTreeMap<&str, PartsBelow> = BTreeMap::new();
        let mut on_nodes: BTreeMap<&str, PartsBelow> = BTreeMap::new();
        let mut of_cluster: PartsBelow = Some(Parts::new());
        // A namespace's whole: its own line and its pods'.
        let mut namespaces: BTreeMap<&str, Cost> = BTreeMap::new();
        for line in &self.lines {
            let Some(namespace) = line.key.namespace() else { continue };
            *namespaces.entry(namespace).or_default() += line.cost;
            if line.key.level() == Level::Pod {
                let whole = self.whole(&line.key).divided();
                let new = || Some(Parts::new());
                add(of_pods.entry(namespace).or_insert_with(new), &whole, line.cost);
                if let Some(node) = &line.node {
                    add(on_nodes.entry(node).or_insert_with(new), &whole, line.cost);
                }
                if !self.levels.namespace {
                    add(&mut of_cluster, &whole, line.cost);
                }
            }
        }
        for (namespace, cost) in &namespaces {
            if self.levels.namespace {
                let known = self.costs.namespaces.get(*namespace);
                let whole = known.map(|one| one.breakdown.divided()).unwrap_or_default();
                add(&mut of_cluster, &whole, *cost);
            }
        }
        let below = |of: &BTreeMap<&str, PartsBelow>, name: &str| {
            of.get(name).cloned().unwrap_or_else(|| Some(Parts::new()))
        };
        for line in self.lines.iter().filter(|line| line.key.level() != Level::Cluster) {
            let is_idle = self.levels.namespace && !self.levels.pod;
            let row = match &line.key {
                ResourceKey::Node { .. } if is_idle => {
                    self.row(line, &Parts::from([(Part::Idle, line.cost.usd())]), &Parts::new())
                }
                ResourceKey::Node { node, .. } => self.left(line, &below(&on_nodes, node)),
                ResourceKey::Namespace { namespace, .. } => {
                    self.left(line, &below(&of_pods, namespace))
                }
                _ => self.left(line, &Some(Parts::new())),
            };
            if let ResourceKey::Node { .. } = &line.key {
                let parts = row.as_ref().map(|row| row.parts.clone()).unwrap_or_default();
                add(&mut of_cluster, &parts, line.cost);
            }
            out.extend(row.map(|row| (line.key.clone(), row)));
        }
        for line in self.lines.iter().filter(|line| line.key.level() == Level::Cluster) {
            out.extend(self.left(line, &of_cluster).map(|row| (line.key.clone(), row)));
        }
    }

    fn whole(&self, key: &ResourceKey) -> &Breakdown {
        static NOTHING: Breakdown = Breakdown {
            parts: Parts::new(),
            idle_of: Parts::new(),
            cpu_efficiency: None,
            ram_efficiency: None,
        };
        let namespace = |name: &str| self.costs.namespaces.get(name);
        let found = match key {
            ResourceKey::Cluster { .. } => Some(&self.costs.breakdown),
            ResourceKey::Node { node, .. } => self.costs.nodes.get(node).map(|one| &one.breakdown),
            ResourceKey::Namespace { namespace: name, .. } => {
                namespace(name).map(|one| &one.breakdown)
            }
            ResourceKey::Pod { namespace: name, pod, .. } => {
                namespace(name).and_then(|one| one.pods.get(pod)).map(|one| &one.breakdown)
            }
        };
        found.unwrap_or(&NOTHING)
    }

    /// What a line is made of: its whole less what is beneath it.
    fn left(&self, line: &CostLine, beneath: &PartsBelow) -> Option<RowParts> {
        let beneath = beneath.as_ref()?;
        let mut own = self.whole(&line.key).divided();
        for (part, usd) in &mut own {
            *usd -= beneath.get(part).copied().unwrap_or(0.0);
        }
        self.row(line, &own, beneath)
    }

    fn row(&self, line: &CostLine, own: &Parts, beneath: &Parts) -> Option<RowParts> {
        let whole = self.whole(&line.key);
        if whole.divided().is_empty() || line.cost.is_zero() {
            return None;
        }
        Some(RowParts {
            parts: held_to(own, beneath, line.cost),
            cpu_efficiency: whole.cpu_efficiency,
            ram_efficiency: whole.ram_efficiency,
        })
    }
}

/// Parts that add up to a cost. What is too much is taken first from the parts that nothing beneath
/// names: they may be part of what is not divided there.
fn held_to(parts: &Parts, beneath: &Parts, cost: Cost) -> Parts {
    let exact = |usd: &f64| Cost::from_usd(usd.max(0.0)).unwrap_or_default();
    let (mut loose, mut fixed) = (BTreeMap::new(), BTreeMap::new());
    for (part, usd) in parts {
        let of = if beneath.contains_key(part) { &mut fixed } else { &mut loose };
        of.insert(*part, exact(usd));
    }
    let (of_loose, of_fixed) = (sum(&loose), sum(&fixed));
    if of_fixed > cost {
        scale(&mut fixed, cost);
        loose.clear();
    } else if of_fixed + of_loose > cost {
        scale(&mut loose, cost - of_fixed);
    }
    fixed.append(&mut loose);
    let left = cost - sum(&fixed);
    *fixed.entry(Part::Other).or_default() += left;
    fixed.retain(|_, cost| !cost.is_zero());
    fixed.into_iter().map(|(part, cost)| (part, cost.usd())).collect()
}

fn sum(parts: &BTreeMap<Part, Cost>) -> Cost {
    parts.values().copied().sum()
}

/// Scales parts down to a lower sum, to the last unit.
fn scale(parts: &mut BTreeMap<Part, Cost>, to: Cost) {
    let from = sum(parts);
    parts.values_mut().for_each(|one| *one = one.times(to, from));
    let left = to - sum(parts);
    if let Some(largest) = parts.values_mut().max_by_key(|one| **one) {
        *largest += left;
    }
}

#[cfg(test)]
mod tests;
