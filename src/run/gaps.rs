//! `GAP_POLICY=scale`: each cluster's costs, scaled up by that cluster's own coverage.

use crate::source::SourceDay;

/// How often the minutes that were covered may be counted: a cluster that has samples for less
/// than half of the day is more likely one that was made or removed during the day than one with
/// gaps, and its cost times ten would be an invention.
const FACTOR_MAX: u32 = 2;

/// Scales the costs of each cluster over its own gaps, and says so; a cluster with too few minutes
/// keeps what it has.
pub(super) fn scale_over_gaps(source: &mut SourceDay) {
    let expected = source.expected_minutes;
    let (mut scaled, mut left) = (Vec::new(), Vec::new());
    for (name, costs) in &mut source.costs.clusters {
        let covered = source.clusters.get(name).copied().unwrap_or(0);
        if covered >= expected {
            continue;
        }
        if covered.saturating_mul(FACTOR_MAX) < expected {
            left.push(format!("'{name}' ({covered} min)"));
            continue;
        }
        let factor = f64::from(expected) / f64::from(covered);
        costs.scale(factor);
        scaled.push(format!("'{name}' by {factor:.3}"));
    }
    if !scaled.is_empty() {
        let scaled = scaled.join(", ");
        source.warnings.push(format!("costs are scaled over gaps (GAP_POLICY): cluster {scaled}"));
    }
    if !left.is_empty() {
        source.warnings.push(format!(
            "costs are not scaled (GAP_POLICY) where less than half of {expected} min is covered: \
             cluster {}",
            left.join(", ")
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Phase;

    fn source(expected: u32, clusters: &[(&str, u32)]) -> SourceDay {
        let mut source = SourceDay::without_samples(Phase::Exporter, expected);
        for (name, minutes) in clusters {
            source.costs.cluster_mut(name).total_usd = Some(100.0);
            source.costs.namespace_mut(name, "shop").total_usd = Some(40.0);
            source.clusters.insert((*name).to_owned(), *minutes);
        }
        source.covered_minutes = clusters.iter().map(|(_, minutes)| *minutes).min().unwrap_or(0);
        source
    }

    fn total(source: &SourceDay, cluster: &str) -> f64 {
        let costs = &source.costs.clusters[cluster];
        let shop = costs.namespaces["shop"].total_usd.unwrap();
        assert!((shop * 2.5 - costs.total_usd.unwrap()).abs() < 1e-9, "{costs:?}");
        costs.total_usd.unwrap()
    }

    #[test]
    fn each_cluster_is_scaled_by_its_own_coverage() {
        let mut source = source(1_440, &[("full", 1_440), ("half", 720), ("most", 1_200)]);
        scale_over_gaps(&mut source);
        assert_eq!(total(&source, "full"), 100.0);
        assert_eq!(total(&source, "half"), 200.0);
        assert!((total(&source, "most") - 120.0).abs() < 1e-9);
        let said = "costs are scaled over gaps (GAP_POLICY): cluster 'half' by 2.000, 'most' by";
        assert!(source.warnings[0].starts_with(said), "{:?}", source.warnings);
        assert_eq!(source.warnings.len(), 1);
    }

    #[test]
    fn a_cluster_that_was_there_for_less_than_half_of_the_day_is_left_and_named() {
        let mut source = source(1_440, &[("new", 30), ("none", 0), ("old", 1_440)]);
        scale_over_gaps(&mut source);
        for name in ["new", "none", "old"] {
            assert_eq!(total(&source, name), 100.0, "{name}");
        }
        assert_eq!(source.warnings.len(), 1);
        for part in ["not scaled", "'new' (30 min)", "'none' (0 min)"] {
            assert!(source.warnings[0].contains(part), "{:?}", source.warnings);
        }
    }

    #[test]
    fn without_gaps_nothing_is_scaled_or_said() {
        let mut source = source(720, &[("a", 720), ("b", 725)]);
        let before = source.clone();
        scale_over_gaps(&mut source);
        assert_eq!(source, before);
    }
}
