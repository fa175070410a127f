//! Efficiencies of clusters and namespaces, as the exporter shows them: means over a day.
//! Phase 1's are in `cost_model_metrics/used.rs`.

use crate::cost::{DayCosts, Level};
use crate::service::failure::Failure;
use crate::source::metric_names::{
    CLUSTER_CPU_EFFICIENCY, CLUSTER_RAM_EFFICIENCY, NAMESPACE_CPU_EFFICIENCY,
    NAMESPACE_RAM_EFFICIENCY,
};

use super::gauges::breakdown_of;
use super::promql::{Selector, Window};
use super::session::DaySession;

/// Ratios are kept to four places: what is smaller is noise.
const PLACES: f64 = 10_000.0;
const PER_CENT: f64 = 100.0;

const GAUGES: [(Level, &str, &[&str]); 4] = [
    (Level::Cluster, CLUSTER_CPU_EFFICIENCY, &[]),
    (Level::Cluster, CLUSTER_RAM_EFFICIENCY, &[]),
    (Level::Namespace, NAMESPACE_CPU_EFFICIENCY, &["namespace"]),
    (Level::Namespace, NAMESPACE_RAM_EFFICIENCY, &["namespace"]),
];

/// Adds the mean efficiencies of what has costs.
pub(super) async fn add(
    session: &mut DaySession<'_>,
    selector: &Selector,
    window: Window,
    costs: &mut DayCosts,
) -> Result<(), Failure> {
    let levels = session.levels();
    if window.minutes() == 0 {
        return Ok(());
    }
    for (level, metric, by) in GAUGES.into_iter().filter(|(level, ..)| levels.has(*level)) {
        let of = |function: &'static str| {
            move |piece: Window| {
                let range = piece.range();
                selector.max_by(by, &selector.over_time(function, metric, &[], &range))
            }
        };
        let sums = session.summed(window, 1, of("sum_over_time")).await?;
        if sums.is_empty() {
            continue;
        }
        let counts = session.summed(window, 1, of("count_over_time")).await?;
        for (labels, sum) in sums {
            let mean = counts.get(&labels).and_then(|count| ratio(sum, count * PER_CENT));
            let Some(known) = breakdown_of(session, level, &labels, costs) else { continue };
            match metric {
                CLUSTER_CPU_EFFICIENCY | NAMESPACE_CPU_EFFICIENCY => known.cpu_efficiency = mean,
                _ => known.ram_efficiency = mean,
            }
        }
    }
    Ok(())
}

/// A ratio, kept to four places; `None` where it is none.
pub(super) fn ratio(used: f64, requested: f64) -> Option<f64> {
    let ratio = used / requested;
    (ratio.is_finite() && ratio >= 0.0).then(|| (ratio * PLACES).round() / PLACES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_kept_to_four_places_and_what_is_none_is_left_out() {
        assert_eq!(ratio(150.0, 2.0 * PER_CENT), Some(0.75));
        assert_eq!(ratio(1.0, 3.0), Some(0.3333));
        assert_eq!((ratio(0.0, 0.0), ratio(-1.0, 1.0), ratio(1.0, 0.0)), (None, None, None));
    }
}
