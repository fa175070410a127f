//! What each node costs, and what of it is allocated to nobody.

use std::collections::BTreeMap;

use crate::cost::{Breakdown, Part};

/// A node's cluster and name.
type Place = (String, String);

/// What of nodes' costs is known from their pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Nodes {
    /// What of the machine is allocated, USD.
    allocated: BTreeMap<Place, f64>,
    /// What its pods cost beside the machine, USD: volumes and traffic.
    beside: BTreeMap<Place, f64>,
    /// Both, by part.
    parts: BTreeMap<Place, Breakdown>,
}

impl Nodes {
    /// Adds what of the machine is allocated to somebody.
    pub(super) fn allocate(&mut self, (cluster, node): (&str, &str), part: Part, usd: f64) {
        let place = (cluster.to_owned(), node.to_owned());
        self.parts.entry(place.clone()).or_default().add(part, usd);
        *self.allocated.entry(place).or_insert(0.0) += usd;
    }

    /// Adds what a pod of the node costs beside the machine.
    pub(super) fn add_beside(&mut self, (cluster, node): (&str, &str), part: Part, usd: f64) {
        let place = (cluster.to_owned(), node.to_owned());
        self.parts.entry(place.clone()).or_default().add(part, usd);
        *self.beside.entry(place).or_insert(0.0) += usd;
    }

    /// What a node of which so much is idle is made of.
    pub(super) fn breakdown(&self, place: &Place, idle_usd: f64) -> Breakdown {
        let mut known = self.parts.get(place).cloned().unwrap_or_default();
        known.add(Part::Idle, idle_usd);
        known
    }

    /// The whole and the idle part of a node whose machine costs so much.
    pub(super) fn of_machine(&self, place: &Place, machine_usd: f64) -> (f64, f64) {
        let known = |of: &BTreeMap<Place, f64>| of.get(place).copied().unwrap_or(0.0);
        let idle = (machine_usd - known(&self.allocated)).max(0.0);
        (machine_usd + known(&self.beside), idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_its_machine_and_what_its_pods_cost_beside_it() {
        let place = |node: &str| ("c".to_owned(), node.to_owned());
        let mut nodes = Nodes::default();
        nodes.allocate(("c", "n"), Part::Cpu, 2.0);
        nodes.allocate(("c", "n"), Part::Ram, 1.0);
        nodes.add_beside(("c", "n"), Part::Pv, 0.5);
        let parts = nodes.breakdown(&place("n"), 1.0).parts;
        let wanted = [(Part::Cpu, 2.0), (Part::Ram, 1.0), (Part::Pv, 0.5), (Part::Idle, 1.0)];
        assert_eq!(parts, wanted.into());
        assert_eq!(nodes.of_machine(&place("n"), 4.0), (4.5, 1.0));
        assert_eq!(nodes.of_machine(&place("n"), 2.5), (3.0, 0.0), "overcommitted");
        assert_eq!(nodes.of_machine(&place("m"), 4.0), (4.0, 4.0));
    }
}
