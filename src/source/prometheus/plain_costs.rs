//! Costs from gauges without a window (recording rules): rates, integrated over time.
//!
//! A gauge whose exporter says when its window ended, but not how long that is, is looked at that
//! much later, so that a cost lands on the day that caused it.

use std::collections::{BTreeMap, BTreeSet};

use crate::cost::{Day, DayCosts, Level};
use crate::service::failure::Failure;

use crate::source::SourceDay;
use crate::source::labels::Labels;
use crate::source::metric_names::{CLUSTER_TOTAL, EXPORTER_SUCCESS, POD_TOTAL, WINDOW_END};
use crate::source::prometheus::dedup::{self, Metric};
use crate::source::prometheus::gaps::{self, CoverageMetrics};
use crate::source::prometheus::gauges::{
    self, REAL_PODS, set_node_and_service, shifted, without_place,
};
use crate::source::prometheus::promql::{
    ClusterNames, GRID_SECONDS, Selector, Window, next_grid_point,
};
use crate::source::prometheus::session::DaySession;
use crate::source::prometheus::source_conflicts;

/// A lag beyond two days is no lag: the clock or the gauge is wrong (seconds).
const LAG_SECONDS_MAX: f64 = 172_800.0;

/// Clusters that lag alike behind the cost.
#[derive(Clone, Debug)]
pub(super) struct LagGroup {
    /// By how much, seconds.
    pub(super) lag_seconds: i64,
    /// Selects them; `None`: there are no others.
    pub(super) selected: Option<ClusterNames>,
    /// Their names.
    pub(super) clusters: Vec<String>,
}

/// Clusters by lag: one group without a matcher when all of the account's clusters are in it.
pub(super) async fn lag_groups(
    session: &mut DaySession<'_>,
    selector: &Selector,
    (day, now_seconds): (Day, i64),
    others: &BTreeSet<String>,
) -> Result<Vec<LagGroup>, Failure> {
    let mut lags = others.iter().map(|cluster| (cluster.clone(), 0)).collect();
    learn_lags(session, selector, shifted(day, 0, now_seconds), &mut lags).await?;
    // A cluster whose first gauge comes after midnight tells of the hour before it.
    let greatest = lags.values().copied().max().unwrap_or(0);
    let (start, end) = (day.end_seconds(), day.end_seconds() + greatest);
    learn_lags(session, selector, Window { start, end: end.min(now_seconds + 1) }, &mut lags)
        .await?;
    let mut groups: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for (cluster, lag) in lags.into_iter().filter(|(name, _)| !others.contains(name)) {
        groups.entry(lag).or_default().push(cluster);
    }
    let is_one = groups.len() == 1 && others.is_empty();
    Ok(groups
        .into_iter()
        .map(|(lag_seconds, clusters)| {
            let selected = || ClusterNames::new(clusters.clone(), session.default_cluster());
            LagGroup { lag_seconds, selected: (!is_one).then(selected), clusters }
        })
        .collect())
}

/// Notes by how much clusters lag that have samples in the window, in whole minutes of seconds:
/// between grid points nothing is counted. Clusters that are known already stay as they are.
async fn learn_lags(
    session: &mut DaySession<'_>,
    selector: &Selector,
    window: Window,
    known: &mut BTreeMap<String, i64>,
) -> Result<(), Failure> {
    if window.minutes() == 0 {
        return Ok(());
    }
    let present = selector.max_by(&[], &selector.raw(CLUSTER_TOTAL, &[]));
    let minutes = session.minutes(&present, window).await?;
    let mut clusters = session.by_cluster(&minutes);
    clusters.retain(|cluster, _| !known.contains_key(cluster));
    if clusters.is_empty() {
        return Ok(());
    }
    let ends = selector.max_by(&[], &selector.raw(WINDOW_END, &[]));
    let age = |piece: Window| {
        format!("min_over_time((time() - {ends})[{}:{GRID_SECONDS}s])", piece.range())
    };
    let ages = session.extreme(window, f64::min, age).await?;
    for cluster in clusters.into_keys() {
        let find = |list: &BTreeMap<Labels, f64>| {
            let of = |(labels, _): &(&Labels, &f64)| session.cluster(labels) == cluster;
            list.iter().find(of).map(|(_, value)| *value).filter(|value| value.is_finite())
        };
        let lag = find(&ages).unwrap_or(0.0);
        let is_plausible = lag <= LAG_SECONDS_MAX;
        if !is_plausible {
            session.warn(format!(
                "cluster '{cluster}' says that its costs are {:.0} days old ({WINDOW_END}): that \
                 is not accepted, and they are taken for those of the time when they were told",
                lag / 86_400.0
            ));
        }
        #[expect(clippy::cast_possible_truncation, reason = "bounded by two days")]
        let seconds = if is_plausible { lag.max(0.0).ceil() as i64 } else { 0 };
        known.insert(cluster, next_grid_point(seconds));
    }
    Ok(())
}

/// Adds the costs of the selected clusters; returns the minutes that each one's source covers.
pub(super) async fn group_costs(
    session: &mut DaySession<'_>,
    selector: &Selector,
    window: Window,
    out: &mut SourceDay,
) -> Result<BTreeMap<String, u32>, Failure> {
    if window.minutes() == 0 {
        return Ok(BTreeMap::new());
    }
    let present = selector.max_by(&[], &selector.raw(CLUSTER_TOTAL, &[]));
    let covered = session.minutes(&present, window).await?;
    let named = session.by_cluster(&covered);
    if named.values().any(|minutes| *minutes < window.minutes()) {
        let coverage = CoverageMetrics { costs: CLUSTER_TOTAL, alive: Some(EXPORTER_SUCCESS) };
        out.gap_causes.extend(gaps::described(session, selector, coverage, window).await);
        out.edge_minutes.extend(gaps::edges(session, &present, window).await?);
    }
    let mut counts: BTreeMap<Level, u64> = BTreeMap::new();
    for gauge in gauges::gauges_for(session.levels()) {
        let mut selector = selector.clone();
        let series = match counts.get(&gauge.level).filter(|_| gauge.is_part()) {
            Some(of_level) => *of_level,
            None => session.series_at_most(&selector, gauge.metric, window).await?,
        };
        counts.insert(gauge.level, series);
        if !gauge.is_part() {
            let metric = [(gauge.metric, gauge.matchers)];
            session.filter_bad_samples(&mut selector, &metric, window, series).await?;
        }
        let metric = Metric { name: gauge.metric, matchers: gauge.matchers, labels: gauge.labels };
        let found = dedup::integrate(session, &selector, metric, window, series).await?;
        if gauge.metric == CLUSTER_TOTAL {
            let is_doubled = found.doubled.is_some();
            out.conflicts
                .extend(source_conflicts::of_gauges(session, &selector, window, is_doubled).await?);
        }
        for (labels, usd) in found.costs {
            gauge.record(session, &mut out.costs, &labels, usd);
        }
        if gauge.metric == POD_TOTAL {
            for labels in found.single.values() {
                set_node_and_service(session, labels, &mut out.costs);
            }
            if let Some(doubled) = found.doubled {
                pod_places(session, &doubled, &found.single, window, series, &mut out.costs)
                    .await?;
            }
        }
    }
    Ok(named)
}

/// Gives pods of several series the node and the service that they had for most of the window.
async fn pod_places(
    session: &mut DaySession<'_>,
    selector: &Selector,
    single: &BTreeMap<Labels, Labels>,
    window: Window,
    series: u64,
    costs: &mut DayCosts,
) -> Result<(), Failure> {
    let by = ["namespace", "pod", "node", "service"];
    let counts = session
        .summed(window, series, |piece| {
            let range = piece.range();
            let samples = selector.over_time("count_over_time", POD_TOTAL, REAL_PODS, &range);
            selector.max_by(&by, &samples)
        })
        .await?;
    let mut most: BTreeMap<Labels, f64> = BTreeMap::new();
    for (labels, samples) in counts {
        let name = without_place(&labels);
        let best = most.entry(name.clone()).or_insert(-1.0);
        if samples <= *best || single.contains_key(&name) {
            continue;
        }
        *best = samples;
        set_node_and_service(session, &labels, costs);
    }
    Ok(())
}
