//! How much an account may send for a day: what customers write freely is bounded before anything
//! of it is stored.

use super::costs::{ClusterCosts, DayCosts, Level, Levels, is_special};

/// Longest name of a cluster, namespace, pod, node or service, bytes: Kubernetes' bound on names of
/// objects (RFC 1123 subdomains).
pub const NAME_BYTES_MAX: usize = 253;

/// Most resources and clusters of an account's day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most resources that have rows of their own.
    pub resources_max: usize,
    /// Most clusters.
    pub clusters_max: usize,
    /// Whether the smallest resources above the limit are left to their parents' remainders, rather
    /// than the day being refused.
    pub is_folding: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { resources_max: 50_000, clusters_max: 1_000, is_folding: false }
    }
}

/// A day has more than its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverLimit {
    /// Too many clusters, which have no parent that they could be left to.
    #[error("it has {found} clusters, more than the {max} of MAX_CLUSTERS")]
    Clusters {
        /// How many there are.
        found: usize,
        /// How many there may be.
        max: usize,
    },
    /// Too many resources.
    #[error("it has {found} clusters, namespaces and pods, more than the {max} of MAX_RESOURCES")]
    Resources {
        /// How many there are.
        found: usize,
        /// How many there may be.
        max: usize,
    },
}

/// Whether a text cannot be a name: it is too long, or has characters that are no part of any name
/// and change how it is shown. Ids are made of names joined by a control character, so one in a
/// name might give two resources one id.
#[must_use]
pub fn is_no_name(text: &str) -> bool {
    text.len() > NAME_BYTES_MAX || text.chars().any(|c| c.is_control() || is_format(c))
}

/// Characters without a shape of their own, of Unicode's category Cf and the line separators: they
/// turn or hide what stands beside them.
#[must_use]
pub fn is_format(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

impl Limits {
    /// Sees that a day is within the limits, or folds it to them. Returns how many resources were
    /// folded. Nodes and services with names that are none are left out.
    ///
    /// # Errors
    /// [`OverLimit`] where the day may not be, or cannot be, folded.
    pub fn enforce(&self, costs: &mut DayCosts, levels: Levels) -> Result<usize, OverLimit> {
        let clusters = costs.clusters.len();
        if clusters > self.clusters_max {
            return Err(OverLimit::Clusters { found: clusters, max: self.clusters_max });
        }
        leave_out_bad_dimensions(costs);
        let foldable: usize = costs.clusters.values().map(|one| children(one, levels)).sum();
        let found = clusters + nodes(costs, levels) + foldable;
        let Some(over) = found.checked_sub(self.resources_max).filter(|over| *over > 0) else {
            return Ok(0);
        };
        let has_totals = costs.clusters.values().all(|cluster| cluster.total_usd.is_some());
        if !self.is_folding || !levels.cluster || !has_totals || over > foldable {
            return Err(OverLimit::Resources { found, max: self.resources_max });
        }
        Ok(fold(costs, levels, over))
    }
}

/// How many nodes have documents of their own. They are never folded: a cluster has few.
fn nodes(costs: &DayCosts, levels: Levels) -> usize {
    let all = costs.clusters.values().map(|cluster| cluster.nodes.len()).sum();
    if levels.has(Level::Node) { all } else { 0 }
}

/// How many resources below a cluster have rows of their own.
fn children(cluster: &ClusterCosts, levels: Levels) -> usize {
    let named = cluster.namespaces.iter().filter(|(name, _)| !is_special(name));
    named
        .map(|(_, namespace)| {
            let pods = namespace.pods.keys().filter(|pod| !is_special(pod)).count();
            usize::from(levels.namespace) + if levels.pod { pods } else { 0 }
        })
        .sum()
}

fn leave_out_bad_dimensions(costs: &mut DayCosts) {
    for cluster in costs.clusters.values_mut() {
        for pod in cluster.namespaces.values_mut().flat_map(|one| one.pods.values_mut()) {
            pod.node = pod.node.take().filter(|node| !is_no_name(node));
            pod.service = pod.service.take().filter(|service| !is_no_name(service));
        }
    }
}

/// Leaves out the `over` cheapest pods, then namespaces: their costs stay with their parents, which
/// have totals of their own. Returns how many are left out.
fn fold(costs: &mut DayCosts, levels: Levels, over: usize) -> usize {
    let pods = if levels.pod { fold_pods(costs, over) } else { 0 };
    if pods < over && levels.namespace { pods + fold_namespaces(costs, over - pods) } else { pods }
}

fn fold_pods(costs: &mut DayCosts, over: usize) -> usize {
    let mut prices: Vec<f64> = Vec::new();
    for cluster in costs.clusters.values() {
        for namespace in cluster.namespaces.values().filter(|one| one.total_usd.is_some()) {
            prices.extend(namespace.pods.values().map(|pod| pod.total_usd));
        }
    }
    let Some(most_usd) = nth(&mut prices, over) else { return 0 };
    let mut folded = 0;
    for cluster in costs.clusters.values_mut() {
        for namespace in cluster.namespaces.values_mut().filter(|one| one.total_usd.is_some()) {
            namespace.pods.retain(|_, pod| {
                let is_kept = folded >= over || pod.total_usd > most_usd;
                folded += usize::from(!is_kept);
                is_kept
            });
        }
    }
    folded
}

fn fold_namespaces(costs: &mut DayCosts, over: usize) -> usize {
    let price = |usd: Option<f64>| usd.unwrap_or(f64::INFINITY);
    let namespaces = costs.clusters.values().flat_map(|cluster| cluster.namespaces.values());
    let mut prices: Vec<f64> = namespaces.map(|one| price(one.total_usd)).collect();
    let Some(most_usd) = nth(&mut prices, over) else { return 0 };
    let mut folded = 0;
    for cluster in costs.clusters.values_mut() {
        cluster.namespaces.retain(|_, namespace| {
            let is_kept = folded >= over || price(namespace.total_usd) > most_usd;
            folded += usize::from(!is_kept);
            is_kept
        });
    }
    folded
}

/// The greatest of the `count` smallest prices.
fn nth(prices: &mut [f64], count: usize) -> Option<f64> {
    let last = count.min(prices.len()).checked_sub(1)?;
    let (_, nth, _) = prices.select_nth_unstable_by(last, f64::total_cmp);
    Some(*nth)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cost::costs::NodeLevel;
    use crate::cost::{PodCosts, roll_up};

    const ALL: Levels = Levels { node: NodeLevel::Off, ..Levels::ALL };

    /// A cluster whose namespaces cost 1, 2, 3... and have as many pods, of a dollar each.
    fn costs(namespaces: usize) -> DayCosts {
        let mut costs = DayCosts::default();
        for n in 1..=namespaces {
            let namespace = costs.namespace_mut("c", &format!("n{n}"));
            namespace.total_usd = Some(n as f64);
            for p in 0..n {
                let pod = PodCosts { total_usd: 1.0, ..PodCosts::default() };
                namespace.pods.insert(format!("p{p}"), pod);
            }
        }
        costs.cluster_mut("c").total_usd = Some(100.0);
        costs
    }

    #[test]
    fn a_day_within_its_limits_is_not_changed() {
        let mut day = costs(3);
        let limits = Limits { resources_max: 10, clusters_max: 1, is_folding: true };
        assert_eq!(limits.enforce(&mut day, ALL), Ok(0));
        assert_eq!(day, costs(3));
    }

    #[test]
    fn a_day_over_a_limit_is_refused_with_both_numbers() {
        let limits = Limits { resources_max: 9, clusters_max: 1, is_folding: false };
        let error = limits.enforce(&mut costs(3), ALL).unwrap_err();
        assert_eq!(error, OverLimit::Resources { found: 10, max: 9 });
        let namespaces = Levels { pod: false, ..ALL };
        assert_eq!(
            limits.enforce(&mut costs(3), namespaces),
            Ok(0),
            "pods without rows do not count"
        );
        let mut two = costs(1);
        two.cluster_mut("d");
        let limits = Limits { is_folding: true, ..limits };
        assert_eq!(limits.enforce(&mut two, ALL), Err(OverLimit::Clusters { found: 2, max: 1 }));
    }

    #[test]
    fn nothing_is_folded_into_a_cluster_without_a_total() {
        let mut day = costs(3);
        day.cluster_mut("c").total_usd = None;
        let limits = Limits { resources_max: 3, clusters_max: 1, is_folding: true };
        assert!(limits.enforce(&mut day, ALL).is_err());
    }

    #[test]
    fn names_that_deceive_or_never_end_are_none() {
        for bad in ["a\u{1b}[2J", "a\r", "\u{202e}gpj", "a\u{200b}b", "\u{feff}a", "\u{2028}"] {
            assert!(is_no_name(bad), "{bad:?}");
        }
        assert!(is_no_name(&"x".repeat(254)) && !is_no_name(&"x".repeat(253)));
        for good in ["shop", "Größe", "arn:aws:eks:eu-west-1:1:cluster/a", "名前", "a b"] {
            assert!(!is_no_name(good), "{good:?}");
        }
    }

    #[test]
    fn nodes_and_services_with_such_names_are_left_out() {
        let mut day = costs(1);
        let pod = day.namespace_mut("c", "n1").pods.get_mut("p0").unwrap();
        (pod.node, pod.service) = (Some("n\u{7}".to_owned()), Some("s".to_owned()));
        Limits::default().enforce(&mut day, ALL).unwrap();
        let pod = &day.clusters["c"].namespaces["n1"].pods["p0"];
        assert_eq!((pod.node.as_deref(), pod.service.as_deref()), (None, Some("s")));
    }

    proptest! {
        #[test]
        fn a_folded_day_has_as_many_rows_as_it_may_and_the_same_total(
            namespaces in 1..12_usize, resources_max in 1..40_usize, pod: bool,
        ) {
            let levels = Levels { pod, ..ALL };
            let before = roll_up(&costs(namespaces), levels);
            let mut day = costs(namespaces);
            let limits = Limits { resources_max, clusters_max: 1, is_folding: true };
            let folded = limits.enforce(&mut day, levels).unwrap();
            let after = roll_up(&day, levels);
            prop_assert_eq!(after.total, before.total);
            // A namespace takes its pods along.
            prop_assert!(after.lines.len() <= resources_max);
            prop_assert!(folded == 0 || before.lines.len() > resources_max);
        }
    }
}
