//! `GAP_POLICY=scale`: each cluster's costs, scaled up over the gaps between its samples.

use crate::source::SourceDay;

/// The largest scaling factor: a cluster that has samples for less
/// than half of its time is more likely one that comes and goes than one with gaps, and its cost
/// times ten would be an invention.
const FACTOR_MAX: u32 = 2;

/// Scales the costs of each cluster over its own gaps, and warns of it. What is missing before a
/// cluster's first sample of the day and after its last is no gap: it was not there yet, or no
/// longer. A cluster with too few minutes keeps what it has.
pub(in crate::run) fn scale_over_gaps(source: &mut SourceDay) {
    let expected = source.expected_minutes;
    let (mut scaled, mut left) = (Vec::new(), Vec::new());
    for (name, costs) in &mut source.costs.clusters {
        let covered = source.clusters.get(name).copied().unwrap_or(0);
        if covered >= expected {
            continue;
        }
        let Some(edges) = source.edge_minutes.get(name) else {
            left.push(format!("'{name}' ({covered} min, it is not known where its gaps are)"));
            continue;
        };
        let lived = expected.saturating_sub(*edges);
        if covered >= lived {
            continue;
        }
        if covered.saturating_mul(FACTOR_MAX) < lived {
            left.push(format!("'{name}' ({covered} of {lived} min)"));
            continue;
        }
        let factor = f64::from(lived) / f64::from(covered);
        costs.scale(factor);
        source.reading.scaled_by.insert(name.clone(), factor);
        scaled.push(format!("'{name}' by {factor:.3}"));
    }
    if !scaled.is_empty() {
        let scaled = scaled.join(", ");
        source
            .warnings
            .push(format!("costs are scaled over gaps (GAP_POLICY): cluster {scaled}").into());
    }
    if !left.is_empty() {
        source.warnings.push(
            format!(
                "costs are not scaled (GAP_POLICY) where less than half of a cluster's time is \
             covered: cluster {}",
                left.join(", ")
            )
            .into(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Phase;

    /// Clusters by name, covered minutes and minutes at the day's edges.
    fn source(expected: u32, clusters: &[(&str, u32, u32)]) -> SourceDay {
        let mut source = SourceDay::without_samples(Phase::Exporter, expected);
        for (name, minutes, edges) in clusters {
            source.costs.cluster_mut(name).total_usd = Some(100.0);
            source.costs.namespace_mut(name, "shop").total_usd = Some(40.0);
            source.clusters.insert((*name).to_owned(), *minutes);
            source.edge_minutes.insert((*name).to_owned(), *edges);
        }
        source.covered_minutes = clusters.iter().map(|(_, minutes, _)| *minutes).min().unwrap_or(0);
        source
    }

    fn total(source: &SourceDay, cluster: &str) -> f64 {
        let costs = &source.costs.clusters[cluster];
        let shop = costs.namespaces["shop"].total_usd.unwrap();
        assert!((shop * 2.5 - costs.total_usd.unwrap()).abs() < 1e-9, "{costs:?}");
        costs.total_usd.unwrap()
    }

    #[test]
    fn each_cluster_is_scaled_by_its_own_gaps() {
        let clusters = [("full", 1_440, 0), ("half", 720, 0), ("most", 1_200, 0)];
        let mut source = source(1_440, &clusters);
        scale_over_gaps(&mut source);
        assert_eq!(total(&source, "full"), 100.0);
        assert_eq!(total(&source, "half"), 200.0);
        assert!((total(&source, "most") - 120.0).abs() < 1e-9);
        let warning = "costs are scaled over gaps (GAP_POLICY): cluster 'half' by 2.000, 'most' by";
        assert!(source.warnings[0].starts_with(warning), "{:?}", source.warnings);
        assert_eq!(source.warnings.len(), 1);
    }

    #[test]
    fn the_hours_before_a_clusters_birth_and_after_its_end_are_no_gaps() {
        let mut source = source(1_440, &[("born", 1_128, 312), ("gone", 300, 1_110)]);
        scale_over_gaps(&mut source);
        assert_eq!(total(&source, "born"), 100.0);
        assert!((total(&source, "gone") - 110.0).abs() < 1e-9, "30 minutes of 330 are missing");
        assert_eq!(source.warnings.len(), 1, "{:?}", source.warnings);
    }

    #[test]
    fn a_cluster_that_has_samples_for_less_than_half_of_its_time_is_left_and_named() {
        let clusters = [("flaky", 30, 0), ("none", 0, 1_440), ("old", 1_440, 0)];
        let mut source = source(1_440, &clusters);
        scale_over_gaps(&mut source);
        for name in ["flaky", "none", "old"] {
            assert_eq!(total(&source, name), 100.0, "{name}");
        }
        assert_eq!(source.warnings.len(), 1);
        for part in ["not scaled", "'flaky' (30 of 1440 min)"] {
            assert!(source.warnings[0].contains(part), "{:?}", source.warnings);
        }
    }

    #[test]
    fn nothing_is_scaled_where_it_is_not_known_where_the_gaps_are() {
        let mut source = source(1_440, &[("a", 1_200, 0)]);
        source.edge_minutes.clear();
        scale_over_gaps(&mut source);
        assert_eq!(total(&source, "a"), 100.0);
        assert!(source.warnings[0].contains("'a'"), "{:?}", source.warnings);
    }

    #[test]
    fn without_gaps_nothing_is_scaled_and_no_warning_given() {
        let mut source = source(720, &[("a", 720, 0), ("b", 725, 0)]);
        let before = source.clone();
        scale_over_gaps(&mut source);
        assert_eq!(source, before);
    }
}
