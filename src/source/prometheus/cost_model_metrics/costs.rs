//! What is billed to pods, namespaces and clusters.

use std::collections::BTreeMap;

use crate::cost::{Breakdown, Level, Part, PodCosts};
use crate::service::failure::Failure;

use crate::source::labels::Labels;
use crate::source::prometheus::node_facts;
use crate::source::prometheus::promql::{Window, minutes_present};

use super::formulas::{Formulas, NodeBasis, RESOURCES};
use super::inventory::TRANSIENT_MINUTES;
use super::names::{
    BALANCERS, CLAIMS, CPU, CPU_PRICE, MANAGEMENT, NODE_TOTAL, OF_NODES, VOLUME_PRICE,
};
use super::{NAMED_MAX, RawDay, STEP_MINUTES, network};

/// What the resources of containers are parts of.
const PARTS: [Part; 3] = [Part::Cpu, Part::Ram, Part::Gpu];
/// The cost model's name for the mount of a claim that no pod mounts: it is no pod.
const UNMOUNTED_POD: &str = "unmounted-pvs";

impl RawDay<'_, '_> {
    /// CPU, RAM and GPU of pods, or of namespaces when no pods are wanted.
    pub(super) async fn containers(&mut self, formulas: &Formulas) -> Result<(), Failure> {
        let levels = self.session.levels();
        let wants_pods = levels.pod;
        let by: &[&str] = match (wants_pods, levels.has(Level::Node)) {
            (true, _) => &["namespace", "pod", "node"],
            (false, true) => &["namespace", "node"],
            (false, false) => &["namespace"],
        };
        let mut on_nodes: BTreeMap<(String, String, String), BTreeMap<String, f64>> =
            BTreeMap::new();
        let formulas = Formulas { selector: formulas.selector.in_parts(), ..formulas.clone() };
        let mut pod_parts: BTreeMap<(String, String, String), Breakdown> = BTreeMap::new();
        for (resource, part) in RESOURCES.into_iter().zip(PARTS) {
            let (amount, price, _) = resource;
            if !self.inventory.can_join(amount, price) {
                continue;
            }
            let rate = formulas.allocated(by, resource);
            let series = self.inventory.count(amount);
            for (labels, usd) in self.session.integrate(&rate, self.window, series).await? {
                let Some((cluster, namespace)) = self.add_to_namespace(&labels, part, usd) else {
                    continue;
                };
                if let Some(node) = labels.get("node") {
                    self.nodes.allocate((&cluster, node), part, usd);
                }
                if wants_pods {
                    let label = |name: &str| labels.get(name).unwrap_or_default().to_owned();
                    let name = (cluster, namespace, label("pod"));
                    if levels.has_parts {
                        pod_parts.entry(name.clone()).or_default().add(part, usd);
                    }
                    let pod = on_nodes.entry(name).or_default();
                    *pod.entry(label("node")).or_insert(0.0) += usd;
                }
            }
        }
        for (name, nodes) in on_nodes {
            // The node where most of the cost arose; the first by name when equal.
            let node = nodes
                .iter()
                .rev()
                .max_by(|a, b| a.1.total_cmp(b.1))
                .map(|(node, _)| node.clone())
                .filter(|node| !node.is_empty());
            let total_usd = nodes.values().sum();
            let breakdown = pod_parts.remove(&name).unwrap_or_default();
            let (cluster, namespace, pod) = name;
            let costs = PodCosts { total_usd, node, service: None, breakdown };
            self.out.costs.namespace_mut(&cluster, &namespace).pods.insert(pod, costs);
        }
        Ok(())
    }

    /// Adds a cost to the namespace that labels name.
    fn add_to_namespace(
        &mut self,
        labels: &Labels,
        part: Part,
        usd: f64,
    ) -> Option<(String, String)> {
        let cluster = self.session.cluster(labels).to_owned();
        let Some(namespace) = labels.get("namespace").filter(|name| !name.is_empty()) else {
            self.session.is_partial = true;
            let what = format!("a series of cluster '{cluster}' has no label namespace");
            self.session.warn(what);
            return None;
        };
        let costs = self.out.costs.namespace_mut(&cluster, namespace);
        *costs.total_usd.get_or_insert(0.0) += usd;
        if self.session.levels().has_parts {
            costs.breakdown.add(part, usd);
            // The cluster's volumes and load balancers are more than those of namespaces.
            if !matches!(part, Part::Pv | Part::LoadBalancer) {
                self.out.costs.cluster_mut(&cluster).breakdown.add(part, usd);
            }
        }
        Some((cluster, namespace.to_owned()))
    }

    fn add_to_pod(
        &mut self,
        (cluster, namespace): (&str, &str),
        pod: Option<&str>,
        part: Part,
        usd: f64,
    ) {
        if let Some(pod) = pod.filter(|pod| !pod.is_empty() && *pod != UNMOUNTED_POD) {
            let pods = &mut self.out.costs.namespace_mut(cluster, namespace).pods;
            let costs = pods.entry(pod.to_owned()).or_default();
            costs.total_usd += usd;
            if self.session.levels().has_parts {
                costs.breakdown.add(part, usd);
            }
            if let Some(node) = &costs.node {
                self.nodes.add_beside((cluster, node), part, usd);
            }
        }
    }

    /// Claimed volumes: a namespace's are the sum of the shares of the pods that mount them.
    pub(super) async fn volumes(&mut self, formulas: &mut Formulas) -> Result<(), Failure> {
        if !self.inventory.has(VOLUME_PRICE) {
            return Ok(());
        }
        let series = self.inventory.count(CLAIMS) + self.inventory.count(VOLUME_PRICE);
        let lone = formulas.volumes_without_price();
        formulas.are_volumes_mislabelled = !self.rough_minutes(&lone, series).await?.is_empty();
        if formulas.are_volumes_mislabelled {
            self.warn_of_unpriced_volumes(formulas, series).await?;
        }
        if !self.inventory.has(CLAIMS) {
            return Ok(());
        }
        let wants_pods = self.session.levels().pod;
        let by: &[&str] = if wants_pods { &["namespace", "pod"] } else { &["namespace"] };
        let rate = formulas.claimed_volumes(by);
        for (labels, usd) in self.session.integrate(&rate, self.window, series).await? {
            let part = Part::Pv;
            if let Some((cluster, namespace)) = self.add_to_namespace(&labels, part, usd) {
                self.add_to_pod((&cluster, &namespace), labels.get("pod"), part, usd);
            }
        }
        Ok(())
    }

    /// Names volumes that no price fits, under whatever label.
    pub(super) async fn warn_of_unpriced_volumes(
        &mut self,
        formulas: &Formulas,
        series: u64,
    ) -> Result<(), Failure> {
        let lone = formulas.volumes_without_any_price();
        let query =
            |piece: Window| format!("count_over_time(({lone})[{}:{STEP_MINUTES}m])", piece.range());
        let found = self.session.summed(self.window, series, query).await?;
        for (labels, points) in found.into_iter().take(NAMED_MAX) {
            self.session.is_partial = true;
            let volume = labels.get("persistentvolume").unwrap_or_default();
            let minutes = points * f64::from(STEP_MINUTES);
            self.session.warn(format!(
                "volume '{volume}' has a size but no price ({VOLUME_PRICE}) for about {minutes} \
                 minutes: it costs nothing"
            ));
        }
        Ok(())
    }

    /// Traffic of pods and namespaces; returns what it adds to each cluster's whole.
    pub(super) async fn network(
        &mut self,
        formulas: &Formulas,
    ) -> Result<BTreeMap<String, f64>, Failure> {
        let mut totals = BTreeMap::new();
        if !self.inventory.has_traffic() {
            return Ok(totals);
        }
        let missing = &mut self.out.missing;
        let (inventory, window) = (&self.inventory, self.window);
        let traffic = network::traffic(self.session, formulas, inventory, window, missing).await?;
        for (labels, usd) in traffic {
            if usd == 0.0 {
                continue;
            }
            let part = Part::Network;
            let Some((cluster, namespace)) = self.add_to_namespace(&labels, part, usd) else {
                continue;
            };
            *totals.entry(cluster.clone()).or_insert(0.0) += usd;
            if self.session.levels().pod {
                self.add_to_pod((&cluster, &namespace), labels.get("pod_name"), part, usd);
            }
        }
        Ok(totals)
    }

    /// Load balancers: the cost model names their namespace, not the pods behind them.
    pub(super) async fn balancers(&mut self, formulas: &Formulas) -> Result<(), Failure> {
        if !self.inventory.has(BALANCERS) {
            return Ok(());
        }
        let rate = formulas.balancers(&["namespace"]);
        for (labels, usd) in self.session.integrate(&rate, self.window, 1).await? {
            self.add_to_namespace(&labels, Part::LoadBalancer, usd);
        }
        Ok(())
    }

    /// By what the whole of the nodes is known; says where it is what is allocated.
    pub(super) async fn node_basis(
        &mut self,
        formulas: &Formulas,
        present: &BTreeMap<String, u32>,
    ) -> Result<NodeBasis, Failure> {
        let any = formulas.selector.max_by(&[], &formulas.selector.raw(NODE_TOTAL, &[]));
        let total = self.session.summed(self.window, 1, |p| minutes_present(&any, p)).await?;
        let total = self.session.by_cluster(&total);
        let count =
            |nodes: String| format!("count by ({}) ({nodes})", formulas.selector.labels(&[]));
        let prices = self.inventory.count(CPU_PRICE);
        let mut lacking = BTreeMap::new();
        let mut basis = self.inventory.node_basis(&total, present);
        // It was chosen by what a cluster has on the day; a node, or an hour, may lack it.
        while basis < NodeBasis::Allocated {
            lacking = self.rough_minutes(&count(formulas.nodes_without(basis)), prices).await?;
            lacking.retain(|_, minutes| *minutes > TRANSIENT_MINUTES);
            basis = match basis {
                _ if lacking.is_empty() => return Ok(basis),
                NodeBasis::Total => NodeBasis::Capacity,
                _ => NodeBasis::Allocated,
            };
        }
        let allocated = count(formulas.nodes_known_by_allocation());
        let minutes = self.rough_minutes(&allocated, self.inventory.count(CPU)).await?;
        for (cluster, minutes) in minutes {
            let known = lacking.entry(cluster).or_default();
            *known = minutes.max(*known);
        }
        for (cluster, minutes) in lacking {
            // All day it is how the cluster is known; for a part of it, something went away.
            let of_day = present.get(&cluster).copied().unwrap_or(0);
            self.session.is_partial |= minutes + TRANSIENT_MINUTES < of_day;
            self.session.warn(format!(
                "cluster '{cluster}' has neither {NODE_TOTAL} nor the capacity of its nodes \
                 (kube_node_status_capacity) for about {minutes} min: its whole is what is \
                 allocated, without idle costs"
            ));
        }
        Ok(basis)
    }

    /// Nodes, all volumes (claimed or not), load balancers and the management fee.
    pub(super) async fn wholes(
        &mut self,
        formulas: &Formulas,
        basis: NodeBasis,
        totals: &mut BTreeMap<String, f64>,
    ) -> Result<(), Failure> {
        let inventory = &self.inventory;
        let containers = if basis == NodeBasis::Allocated { inventory.count(CPU) } else { 0 };
        let nodes = OF_NODES.map(|metric| inventory.count(metric)).into_iter().max().unwrap_or(0);
        let mut parts = Vec::new();
        if inventory.has_nodes() {
            parts.push((formulas.nodes(&[], basis), containers.max(nodes), Some(Part::Idle)));
        }
        if inventory.has(VOLUME_PRICE) {
            let series = inventory.count(VOLUME_PRICE);
            parts.push((formulas.cluster_volumes(), series, Some(Part::Pv)));
        }
        if inventory.has(BALANCERS) {
            let series = inventory.count(BALANCERS);
            parts.push((formulas.balancers(&[]), series, Some(Part::LoadBalancer)));
        }
        if inventory.has(MANAGEMENT) {
            parts.push((formulas.management(), 1, None));
        }
        for (rate, series, part) in parts {
            for (labels, usd) in self.session.integrate(&rate, self.window, series).await? {
                let cluster = self.session.cluster(&labels).to_owned();
                if let (Some(part), true) = (part, self.session.levels().has_parts) {
                    self.add_to_cluster(&cluster, part, usd);
                }
                *totals.entry(cluster).or_insert(0.0) += usd;
            }
        }
        Ok(())
    }

    /// Adds a part to a cluster; of its machines what is allocated to nobody.
    fn add_to_cluster(&mut self, cluster: &str, part: Part, usd: f64) {
        let known = &mut self.out.costs.cluster_mut(cluster).breakdown;
        let of = |part: &Part| known.parts.get(part).copied().unwrap_or(0.0);
        let allocated = if part == Part::Idle { PARTS.iter().map(of).sum() } else { 0.0 };
        known.add(part, (usd - allocated).max(0.0));
    }

    /// Each node's whole and idle cost, and what is known of the machine.
    pub(super) async fn node_costs(
        &mut self,
        formulas: &Formulas,
        basis: NodeBasis,
    ) -> Result<(), Failure> {
        if !self.session.levels().has(Level::Node) || !self.inventory.has_nodes() {
            return Ok(());
        }
        let containers = if basis == NodeBasis::Allocated { self.inventory.count(CPU) } else { 0 };
        let count = |metric: &str| self.inventory.count(metric);
        let series = OF_NODES.map(count).into_iter().max().unwrap_or(0).max(containers);
        let rate = formulas.nodes(&["node"], basis);
        for (labels, usd) in self.session.integrate(&rate, self.window, series).await? {
            let cluster = self.session.cluster(&labels).to_owned();
            let Some(node) = labels.get("node").filter(|node| !node.is_empty()) else { continue };
            let place = (cluster, node.to_owned());
            let (total, idle) = self.nodes.of_machine(&place, usd);
            let costs = self.out.costs.node_mut(&place.0, &place.1);
            (costs.total_usd, costs.idle_usd) = (Some(total), Some(idle));
            if self.session.levels().has_parts {
                costs.breakdown = self.nodes.breakdown(&place, idle);
            }
        }
        let selector = &formulas.selector;
        node_facts::add(self.session, selector, self.window, &mut self.out.costs).await
    }
}
