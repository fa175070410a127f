//! Which of the cost model's metrics an account has, and what cannot be billed without the others.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::prometheus::cluster_names::Counted;

use super::formulas::NodeBasis;
use super::names::{
    BALANCERS, CAPACITY, CLAIMS, CPU, CPU_PRICE, EGRESS, GPU, NEEDED, NODE_CORES, NODE_MEMORY,
    NODE_RESOURCE, NODE_TOTAL, OF_NODES, RAM, RAM_PRICE, VOLUME_PRICE,
};

/// A metric may be missing for so many minutes of a cluster's day: it starts and ends with others
/// within a few scrapes.
pub(super) const TRANSIENT_MINUTES: u32 = 15;

/// How many series each metric has, by cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Inventory {
    series: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Inventory {
    pub(super) fn of(counted: &[Counted]) -> Self {
        let mut out = Self::default();
        for one in counted {
            let of_metric = out.series.entry(one.metric.clone()).or_default();
            *of_metric.entry(one.cluster.clone()).or_default() += one.series;
        }
        out
    }

    /// Whether any cluster has the metric.
    pub(super) fn has(&self, metric: &str) -> bool {
        self.series.contains_key(metric)
    }

    /// Whether a cluster has the metric.
    pub(super) fn has_in(&self, cluster: &str, metric: &str) -> bool {
        self.series.get(metric).is_some_and(|of| of.contains_key(cluster))
    }

    /// The clusters that have a metric.
    pub(super) fn clusters_with(&self, metric: &str) -> impl Iterator<Item = &str> {
        self.series.get(metric).into_iter().flat_map(|of| of.keys().map(String::as_str))
    }

    /// Series of a metric, of all clusters together.
    pub(super) fn count(&self, metric: &str) -> u64 {
        self.series.get(metric).map_or(0, |of| of.values().sum())
    }

    /// The metrics that there are.
    pub(super) fn metrics(&self) -> impl Iterator<Item = &str> {
        self.series.keys().map(String::as_str)
    }

    /// Clusters that have nodes or containers; all that there are where none has.
    pub(super) fn clusters(&self) -> BTreeSet<&str> {
        let with = |metrics: &[&str]| -> BTreeSet<&str> {
            let of = |metric: &&str| self.series.get(*metric);
            metrics.iter().filter_map(of).flat_map(|of| of.keys().map(String::as_str)).collect()
        };
        let with_nodes = with(&[OF_NODES.as_slice(), &[CPU, RAM, GPU]].concat());
        if !with_nodes.is_empty() {
            return with_nodes;
        }
        with(&self.metrics().collect::<Vec<_>>())
    }

    /// The metrics that show that clusters have samples: nodes', and containers' and volumes' only
    /// where a cluster has none of nodes, for they have many series.
    pub(super) fn presence_metrics(&self) -> Vec<&'static str> {
        let mut left = self.clusters();
        let mut wanted = Vec::new();
        for metrics in [OF_NODES.as_slice(), &[CPU], &[RAM, CLAIMS, VOLUME_PRICE, BALANCERS]] {
            if left.is_empty() {
                break;
            }
            let there: Vec<&'static str> =
                metrics.iter().copied().filter(|metric| self.has(metric)).collect();
            left.retain(|cluster| !there.iter().any(|metric| self.has_in(cluster, metric)));
            wanted.extend(there);
        }
        wanted
    }

    /// By what the whole of nodes has to be known, where `node_total_hourly_cost` is there for so
    /// many minutes and any metric of nodes for so many.
    pub(super) fn node_basis(
        &self,
        total: &BTreeMap<String, u32>,
        present: &BTreeMap<String, u32>,
    ) -> NodeBasis {
        let minutes = |of: &BTreeMap<String, u32>, cluster: &str| of.get(cluster).copied();
        let lacks_total = |cluster: &&str| {
            let has = minutes(total, cluster).unwrap_or(0);
            has + TRANSIENT_MINUTES < minutes(present, cluster).unwrap_or(0)
        };
        let has_capacity = |cluster: &&str| {
            let has = |metric| self.has_in(cluster, metric);
            has(NODE_RESOURCE) || has(NODE_CORES) && has(NODE_MEMORY)
        };
        let clusters = self.clusters();
        let lacking: Vec<&str> = clusters.into_iter().filter(lacks_total).collect();
        match () {
            () if lacking.is_empty() => NodeBasis::Total,
            () if lacking.iter().all(has_capacity) => NodeBasis::Capacity,
            () => NodeBasis::Allocated,
        }
    }

    /// What is not billed because a metric is missing all day, a phrase each that names it.
    pub(super) fn missing(&self) -> Vec<String> {
        let mut out = Vec::new();
        for cluster in self.clusters() {
            for (metric, effect) in NEEDED {
                if !self.has_in(cluster, metric) {
                    out.push(format!("cluster '{cluster}' has no {metric}: {effect}"));
                }
            }
        }
        let has = |metric: &str| self.has(metric);
        if !has(VOLUME_PRICE) && (has(CLAIMS) || has(CAPACITY)) {
            let there = if has(CLAIMS) { CLAIMS } else { CAPACITY };
            out.push(format!("there is {there}, but no {VOLUME_PRICE}: no volumes are billed"));
        }
        if has(VOLUME_PRICE) && !has(CLAIMS) && !has(CAPACITY) {
            out.push(format!("there is {VOLUME_PRICE}, but no {CLAIMS}: no volumes are billed"));
        }
        if has(VOLUME_PRICE) && (has(CLAIMS) || has(CAPACITY)) {
            out.extend(self.clusters_without_volumes());
        }
        out
    }

    /// Clusters whose volumes cannot be billed, although those of others can.
    fn clusters_without_volumes(&self) -> Vec<String> {
        let clusters = self.clusters();
        // Prices and volumes may have the label of no cluster: then they are joined without it.
        let is_elsewhere = |metric: &str| {
            let labels = self.series.get(metric).into_iter().flat_map(BTreeMap::keys);
            labels.into_iter().any(|label| !clusters.contains(label.as_str()))
        };
        let lacking = |cluster: &&str| {
            let has = |metric: &str| self.has_in(cluster, metric);
            let may_have = |metric: &str| has(metric) || is_elsewhere(metric);
            let volumes = [CLAIMS, CAPACITY].into_iter().find(|metric| has(metric));
            let (there, lacks) = match volumes {
                Some(volumes) if !may_have(VOLUME_PRICE) => (volumes, VOLUME_PRICE),
                None if has(VOLUME_PRICE) && !may_have(CLAIMS) && !may_have(CAPACITY) => {
                    (VOLUME_PRICE, CLAIMS)
                }
                _ => return None,
            };
            Some(format!("cluster '{cluster}' has {there}, but no {lacks}: no volumes are billed"))
        };
        clusters.iter().filter_map(lacking).collect()
    }

    /// What an operator should know of metrics that are missing without a dollar being lost.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut out = Vec::new();
        if self.has(VOLUME_PRICE) && !self.has(CLAIMS) && self.has(CAPACITY) {
            out.push(format!(
                "there is no {CLAIMS}: volumes are the cluster's, no namespace's or pod's"
            ));
        }
        if self.has(CLAIMS) && self.has(VOLUME_PRICE) && !self.has(CAPACITY) {
            out.push(format!(
                "there is no {CAPACITY}: of volumes, only those that pods claim are billed"
            ));
        }
        out
    }

    /// What is not billed because a metric is missing for a part of the day.
    pub(super) fn missing_partly(
        &self,
        metric: &str,
        effect: &str,
        minutes: &BTreeMap<String, u32>,
        present: &BTreeMap<String, u32>,
    ) -> Vec<String> {
        let mut out = Vec::new();
        for (cluster, wanted) in present {
            let has = minutes.get(cluster).copied().unwrap_or(0);
            let lacking = wanted.saturating_sub(has);
            if self.has_in(cluster, metric) && lacking > TRANSIENT_MINUTES {
                out.push(format!(
                    "cluster '{cluster}' has no {metric} for about {lacking} min: {effect} then"
                ));
            }
        }
        out
    }

    /// Whether both metrics of a join are there.
    pub(super) fn can_join(&self, amount: &str, price: &str) -> bool {
        self.has(amount) && self.has(price)
    }

    /// Whether nodes have anything by which their whole is known.
    pub(super) fn has_nodes(&self) -> bool {
        self.has(NODE_TOTAL) || self.has(CPU_PRICE) || self.has(RAM_PRICE)
    }

    /// Whether traffic is metered.
    pub(super) fn has_traffic(&self) -> bool {
        self.has(EGRESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inventory(rows: &[(&str, &str)]) -> Inventory {
        let mut out = Inventory::default();
        for (cluster, metric) in rows {
            out.series.entry((*metric).into()).or_default().insert((*cluster).into(), 1);
        }
        out
    }

    const SIX: [&str; 6] = [CPU, RAM, CLAIMS, CPU_PRICE, RAM_PRICE, VOLUME_PRICE];

    #[test]
    fn the_six_metrics_are_enough_and_each_that_is_missing_is_named() {
        let six = SIX.map(|metric| ("c", metric));
        assert_eq!(inventory(&six).missing(), Vec::<String>::new());
        for lacking in SIX {
            let rest: Vec<_> = six.iter().copied().filter(|(_, m)| *m != lacking).collect();
            let missing = inventory(&rest).missing();
            assert!(missing.len() == 1 && missing[0].contains(lacking), "{lacking}: {missing:?}");
        }
    }

    #[test]
    fn a_cluster_without_volumes_lacks_nothing() {
        let four = NEEDED.map(|(metric, _)| ("c", metric));
        assert!(inventory(&four).missing().is_empty());
        assert!(inventory(&[]).missing().is_empty());
    }

    #[test]
    fn each_cluster_is_looked_at_and_a_label_that_only_volumes_have_is_no_cluster() {
        let mut rows: Vec<_> = NEEDED.map(|(metric, _)| ("a", metric)).to_vec();
        rows.extend([("b", CPU), ("", VOLUME_PRICE), ("a", CLAIMS)]);
        let missing = inventory(&rows).missing();
        assert_eq!(missing.len(), 3, "{missing:?}");
        assert!(missing.iter().all(|one| one.starts_with("cluster 'b'")), "{missing:?}");
    }

    #[test]
    fn a_cluster_whose_volumes_cannot_be_billed_is_named_beside_one_whose_can() {
        let needed = |cluster| NEEDED.map(|(metric, _)| (cluster, metric));
        let with = |more: &[(&'static str, &'static str)]| {
            let rows: Vec<_> = [&needed("a")[..], &needed("b"), more].concat();
            inventory(&rows).missing()
        };
        let whole = [("a", CLAIMS), ("a", VOLUME_PRICE)];
        assert!(with(&whole).is_empty());
        let lacks = |more, metric: &str| {
            let missing = with(&[&whole[..], &[("b", more)]].concat());
            let (one, is_one) = (missing.concat(), missing.len() == 1);
            assert!(is_one && one.contains("'b'") && one.contains(metric), "{missing:?}");
        };
        lacks(CLAIMS, VOLUME_PRICE);
        lacks(CAPACITY, VOLUME_PRICE);
        lacks(VOLUME_PRICE, CLAIMS);
        let elsewhere = [("b", CLAIMS), ("", VOLUME_PRICE), ("a", CLAIMS)];
        assert!(with(&elsewhere).is_empty(), "{:?}", with(&elsewhere));
    }

    #[test]
    fn presence_is_asked_of_nodes_and_of_containers_only_where_there_are_no_nodes() {
        assert_eq!(inventory(&[("c", CPU), ("c", CPU_PRICE)]).presence_metrics(), [CPU_PRICE]);
        assert_eq!(inventory(&[("c", CPU), ("c", CLAIMS)]).presence_metrics(), [CPU]);
        let two = [("a", NODE_TOTAL), ("b", CPU), ("a", CPU)];
        assert_eq!(inventory(&two).presence_metrics(), [NODE_TOTAL, CPU]);
        let both = [("a", NODE_TOTAL), ("a", CPU_PRICE), ("a", CPU)];
        assert_eq!(inventory(&both).presence_metrics(), [NODE_TOTAL, CPU_PRICE]);
    }

    #[test]
    fn the_basis_of_nodes_is_the_best_that_all_clusters_have() {
        let minutes = |n: u32| BTreeMap::from([("c".to_owned(), n)]);
        let all = inventory(&[("c", NODE_TOTAL), ("c", NODE_RESOURCE)]);
        assert_eq!(all.node_basis(&minutes(60), &minutes(60)), NodeBasis::Total);
        assert_eq!(all.node_basis(&minutes(10), &minutes(60)), NodeBasis::Capacity);
        let half = inventory(&[("c", CPU_PRICE), ("c", NODE_CORES)]);
        assert_eq!(half.node_basis(&minutes(0), &minutes(60)), NodeBasis::Allocated);
    }

    #[test]
    fn minutes_that_a_metric_lacks_are_named_beyond_a_few() {
        let minutes = |n: u32| BTreeMap::from([("c".to_owned(), n)]);
        let of = |n| inventory(&[("c", RAM)]).missing_partly(RAM, "x", &minutes(n), &minutes(60));
        assert!(of(45).is_empty());
        assert!(of(44)[0].contains("container_memory_allocation_bytes for about 16 min"));
    }
}
