//! The expressions of Phase 1: USD per hour from the cost model's metrics. docs/ARCHITECTURE.md
//! has them as a table.
//!
//! `max by` stands before each join, so that a doubled series does not double a cost.

use crate::source::prometheus::promql::Selector;

use super::names::{
    BALANCERS, CAPACITY, CLAIMS, CPU, CPU_PRICE, GPU, GPU_COUNT, GPU_PRICE, MANAGEMENT, NODE_CORES,
    NODE_MEMORY, NODE_RESOURCE, NODE_TOTAL, RAM, RAM_PRICE, VOLUME_PRICE,
};
use super::scrapers::Scrapers;

const GIB: &str = "1073741824";
const CONTAINER: [&str; 4] = ["node", "namespace", "pod", "container"];
const VOLUME: &str = "persistentvolume";

/// What a container is allocated, what that costs on its node, and by what to divide.
pub(super) const RESOURCES: [(&str, &str, &str); 3] =
    [(CPU, CPU_PRICE, "1"), (RAM, RAM_PRICE, GIB), (GPU, GPU_PRICE, "1")];

/// How the whole of a cluster's nodes is known, the best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NodeBasis {
    /// `node_total_hourly_cost`.
    #[default]
    Total,
    /// Where that is missing: price times capacity.
    Capacity,
    /// Where that is missing too: price times what is allocated.
    Allocated,
}

impl NodeBasis {
    /// The basis' name in explanations.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Capacity => "capacity",
            Self::Allocated => "allocated",
        }
    }
}

/// Makes expressions for one account.
#[derive(Clone, Debug, Default)]
pub(super) struct Formulas {
    pub(super) selector: Selector,
    pub(super) scrapers: Scrapers,
    /// Some volumes' prices are of another cluster's label than the volumes.
    pub(super) are_volumes_mislabelled: bool,
}

impl Formulas {
    /// A metric's series at one time, of one scraper.
    pub(super) fn of(&self, metric: &str, extra: &[&str]) -> String {
        self.scrapers.of(&self.selector, metric, extra)
    }

    /// The greatest value of a metric by labels.
    pub(super) fn max_by(&self, labels: &[&str], metric: &str) -> String {
        self.selector.max_by(labels, &self.of(metric, &[]))
    }

    fn on(&self, labels: &[&str]) -> String {
        format!("on ({})", self.selector.labels(labels))
    }

    /// What containers are allocated times its price, of one resource.
    fn containers(&self, (amount, price, divisor): (&str, &str, &str)) -> String {
        let (amounts, prices) = (self.max_by(&CONTAINER, amount), self.max_by(&["node"], price));
        format!("{amounts} / {divisor} * {} group_left () {prices}", self.on(&["node"]))
    }

    /// The cost of one resource of containers by labels.
    pub(super) fn allocated(&self, by: &[&str], resource: (&str, &str, &str)) -> String {
        self.selector.sum_by(by, &self.containers(resource))
    }

    /// Containers with an allocation of a resource that has no price on their node, counted by
    /// node.
    pub(super) fn unpriced(&self, (amount, price, _): (&str, &str, &str)) -> String {
        let used = format!("({} > 0)", self.max_by(&["node"], amount));
        format!("{used} unless {} {}", self.on(&["node"]), self.max_by(&["node"], price))
    }

    /// What of nodes is named by none of these bases before the last: how much of the whole is
    /// known from what is allocated only.
    pub(super) fn nodes_known_by_allocation(&self) -> String {
        format!(
            "{} unless {} ({} or {})",
            self.node_allocated(),
            self.on(&["node"]),
            self.max_by(&["node"], NODE_TOTAL),
            self.node_capacity()
        )
    }

    /// Nodes with a price of which this basis, one of those before the last, does not know the whole.
    pub(super) fn nodes_without(&self, basis: NodeBasis) -> String {
        let node = &["node"];
        let mut known = vec![self.max_by(node, NODE_TOTAL)];
        if basis >= NodeBasis::Capacity {
            known.push(self.node_capacity());
        }
        let priced = self.max_by(node, CPU_PRICE);
        format!("{priced} unless {} ({})", self.on(node), known.join(" or "))
    }

    /// What nodes cost by labels.
    pub(super) fn nodes(&self, by: &[&str], basis: NodeBasis) -> String {
        let mut parts = vec![self.max_by(&["node"], NODE_TOTAL)];
        if basis >= NodeBasis::Capacity {
            parts.push(self.node_capacity());
        }
        if basis >= NodeBasis::Allocated {
            parts.push(self.node_allocated());
        }
        self.selector.sum_by(by, &parts.join(" or "))
    }

    /// What each node costs: price times capacity.
    fn node_capacity(&self) -> String {
        let node = &["node"];
        let capacity = |metric: &str, resource: &str| {
            let matcher = format!("resource=\"{resource}\"");
            let by_resource = self.selector.max_by(node, &self.of(NODE_RESOURCE, &[&matcher]));
            format!("({} or {by_resource})", self.max_by(node, metric))
        };
        let priced = |amount: &str, price: &str| {
            format!("{amount} * {} {}", self.on(node), self.max_by(node, price))
        };
        let cpu = priced(&capacity(NODE_CORES, "cpu"), CPU_PRICE);
        let memory = format!("{} / {GIB}", capacity(NODE_MEMORY, "memory"));
        let machine = format!("{cpu} + {} {}", self.on(node), priced(&memory, RAM_PRICE));
        let used = self.selector.sum_by(node, &self.max_by(&CONTAINER, GPU));
        let gpus = format!("({} or {used})", self.max_by(node, GPU_COUNT));
        let gpu = priced(&gpus, GPU_PRICE);
        // Only nodes whose machine is known: GPUs alone are no whole node.
        let gpu = format!("({gpu}) and {} ({machine})", self.on(node));
        self.added_up(node, &[machine, gpu])
    }

    /// What each node costs: price times what is allocated on it.
    fn node_allocated(&self) -> String {
        self.added_up(&["node"], &RESOURCES.map(|of| self.allocated(&["node"], of)))
    }

    /// The sum of expressions by labels, in which any of them may be missing.
    fn added_up(&self, by: &[&str], parts: &[String]) -> String {
        let numbered = |(number, part): (usize, &String)| {
            format!("label_replace({part}, \"part_\", \"{number}\", \"\", \"\")")
        };
        let parts: Vec<String> = parts.iter().enumerate().map(numbered).collect();
        self.selector.sum_by(by, &parts.join(" or "))
    }

    /// Each pod's share of the volumes that it mounts, GiB: `pod_pvc_allocation` is the size
    /// divided by the pods that mount the claim, so nothing is divided again.
    fn shares(&self) -> String {
        format!("{} / {GIB}", self.max_by(&["namespace", VOLUME, "pod"], CLAIMS))
    }

    /// Sizes times prices by volume; where labels differ, a price of any cluster will do.
    fn volumes_priced(&self, sizes: &str) -> String {
        let price = self.max_by(&[VOLUME], VOLUME_PRICE);
        let on = self.on(&[VOLUME]);
        let priced = format!("{sizes} * {on} group_left () {price}");
        if !self.are_volumes_mislabelled {
            return priced;
        }
        format!("{priced} or {}", self.volumes_priced_elsewhere(sizes))
    }

    /// Sizes of volumes without a price in their cluster, times the price that another label of
    /// the cluster has for a volume of that name.
    fn volumes_priced_elsewhere(&self, sizes: &str) -> String {
        let price = self.max_by(&[VOLUME], VOLUME_PRICE);
        let lone = format!("({sizes}) unless {} {price}", self.on(&[VOLUME]));
        let (by, anywhere) = (self.volume_anywhere(), self.of(VOLUME_PRICE, &[]));
        format!("({lone}) * on ({by}) group_left () max by ({by}) ({anywhere})")
    }

    /// Labels that name a volume whatever its cluster is called.
    fn volume_anywhere(&self) -> String {
        let tenant = self.selector.tenant.iter().map(|(label, _)| label.as_str());
        tenant.chain([VOLUME]).collect::<Vec<_>>().join(", ")
    }

    /// The cost of claimed volumes by labels.
    pub(super) fn claimed_volumes(&self, by: &[&str]) -> String {
        self.selector.sum_by(by, &self.volumes_priced(&self.shares()))
    }

    /// All volumes' sizes, GiB: claimed or not.
    fn sizes(&self) -> String {
        let claimed = self.selector.sum_by(&[VOLUME], &self.shares());
        format!("({} / {GIB} or {claimed})", self.max_by(&[VOLUME], CAPACITY))
    }

    /// What all volumes of a cluster cost.
    pub(super) fn cluster_volumes(&self) -> String {
        let (sizes, on) = (self.sizes(), self.on(&[VOLUME]));
        let price = self.max_by(&[VOLUME], VOLUME_PRICE);
        let own = format!("{sizes} * {on} group_left () {price}");
        if !self.are_volumes_mislabelled {
            return self.selector.sum_by(&[], &own);
        }
        // A volume that is priced under another label is not counted there as well.
        let elsewhere = self.volumes_priced_elsewhere(&sizes);
        let by = self.volume_anywhere();
        self.selector.sum_by(&[], &format!("({own}) unless on ({by}) ({elsewhere}) or {elsewhere}"))
    }

    /// Volumes without a price in their own cluster.
    pub(super) fn volumes_without_price(&self) -> String {
        let price = self.max_by(&[VOLUME], VOLUME_PRICE);
        format!("{} unless {} {price}", self.sizes(), self.on(&[VOLUME]))
    }

    /// Volumes without a price under any label of the account.
    pub(super) fn volumes_without_any_price(&self) -> String {
        let price = self.of(VOLUME_PRICE, &[]);
        format!("{} unless on ({}) {price}", self.sizes(), self.volume_anywhere())
    }

    /// What load balancers cost by labels: one has one price, however many addresses it has.
    pub(super) fn balancers(&self, by: &[&str]) -> String {
        self.selector.sum_by(by, &self.max_by(&["namespace", "service_name"], BALANCERS))
    }

    /// What the management of a cluster costs.
    pub(super) fn management(&self) -> String {
        self.selector.sum_by(&[], &self.max_by(&["provisioner_name"], MANAGEMENT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_a_volume_is_divided_by_nothing_but_its_unit() {
        let rate = Formulas::default().claimed_volumes(&["namespace"]);
        assert_eq!(
            rate,
            "sum by (cluster, namespace) (max by (cluster, namespace, persistentvolume, pod) \
             (pod_pvc_allocation{}) / 1073741824 * on (cluster, persistentvolume) group_left () \
             max by (cluster, persistentvolume) (pv_hourly_cost{}))"
        );
    }

    #[test]
    fn nodes_are_asked_for_no_more_than_is_needed() {
        let formulas = Formulas::default();
        let total = formulas.nodes(&[], NodeBasis::Total);
        assert_eq!(total, "sum by (cluster) (max by (cluster, node) (node_total_hourly_cost{}))");
        let capacity = formulas.nodes(&[], NodeBasis::Capacity);
        assert!(capacity.contains(NODE_RESOURCE) && !capacity.contains(RAM), "{capacity}");
        assert!(formulas.nodes(&[], NodeBasis::Allocated).contains(RAM));
    }

    #[test]
    fn a_price_of_another_label_is_looked_for_only_where_labels_differ() {
        let mut formulas = Formulas::default();
        assert!(!formulas.cluster_volumes().contains("unless"));
        formulas.are_volumes_mislabelled = true;
        let volumes = formulas.cluster_volumes();
        assert!(volumes.contains("unless on (persistentvolume)"), "{volumes}");
    }
}
