//! How much an account may send for a day: what customers write freely is bounded before anything
//! of it is stored.

use super::costs::{DayCosts, Levels};
use super::rollup::RollUp;

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

impl Limits {
    /// Sees that a day has no more rows than it may, or folds the cheapest into those above them.
    /// Returns how many were folded.
    ///
    /// # Errors
    /// [`OverLimit`] where the day may not be, or cannot be, folded.
    pub fn enforce(&self, roll: &mut RollUp, levels: Levels) -> Result<usize, OverLimit> {
        let found = roll.lines.len();
        let Some(over) = found.checked_sub(self.resources_max).filter(|over| *over > 0) else {
            return Ok(0);
        };
        if !self.is_folding || !levels.cluster || over > roll.foldable() {
            return Err(OverLimit::Resources { found, max: self.resources_max });
        }
        Ok(roll.fold(levels, over))
    }

    /// Sees that a day has no more clusters than it may.
    ///
    /// # Errors
    /// [`OverLimit::Clusters`] where it has more.
    pub fn enforce_clusters(&self, costs: &DayCosts) -> Result<(), OverLimit> {
        let (found, max) = (costs.clusters.len(), self.clusters_max);
        if found > max { Err(OverLimit::Clusters { found, max }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::costs::NodeLevel;
    use crate::cost::{Level, PodCosts, roll_up};

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

    fn limits(resources_max: usize, is_folding: bool) -> Limits {
        Limits { resources_max, clusters_max: 1, is_folding }
    }

    #[test]
    fn a_day_within_its_limits_is_not_changed() {
        let roll = roll_up(&costs(3), ALL);
        for is_folding in [false, true] {
            let mut day = roll.clone();
            assert_eq!(limits(10, is_folding).enforce(&mut day, ALL), Ok(0));
            assert_eq!(day, roll);
        }
    }

    #[test]
    fn a_day_over_a_limit_is_refused_with_both_numbers() {
        let enforced = |limits: Limits, levels: Levels| {
            limits.enforce(&mut roll_up(&costs(3), levels), levels)
        };
        let refused = |found, max| Err(OverLimit::Resources { found, max });
        assert_eq!(enforced(limits(9, false), ALL), refused(10, 9));
        let namespaces = Levels { pod: false, ..ALL };
        assert_eq!(enforced(limits(9, false), namespaces), Ok(0), "pods without rows do not count");
        assert_eq!(enforced(limits(0, true), ALL), refused(10, 0), "a cluster is in nothing");
        let without_clusters = Levels { cluster: false, ..ALL };
        assert_eq!(enforced(limits(8, true), without_clusters), refused(9, 8));
    }

    #[test]
    fn a_day_with_too_many_clusters_is_refused() {
        let mut two = costs(1);
        assert_eq!(limits(9, true).enforce_clusters(&two), Ok(()));
        two.cluster_mut("d");
        let over = OverLimit::Clusters { found: 2, max: 1 };
        assert_eq!(limits(9, true).enforce_clusters(&two), Err(over));
    }

    #[test]
    fn a_folded_day_has_as_many_rows_as_it_may() {
        let mut day = roll_up(&costs(3), ALL);
        assert_eq!(limits(7, true).enforce(&mut day, ALL), Ok(3));
        assert_eq!(day.lines.len(), 7);
        assert!(day.lines.iter().any(|line| line.key.level() == Level::Pod));
        assert_eq!(limits(1, true).enforce(&mut day, ALL), Ok(6));
        assert_eq!(day.lines.len(), 1);
    }
}
