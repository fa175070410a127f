//! Phase 2: a day's costs from the allocation exporter's gauges.
//!
//! A gauge tells the rate of the last complete window, so it lags behind the cost. The exporter
//! says by how much (`..._window_end_timestamp_seconds`, `..._window_seconds`): the lag is the
//! window plus the least age of its end seen over the day, and the bounds of the integration are
//! shifted by it, so that a cost lands on the day that caused it.

use std::collections::BTreeMap;

use crate::cost::costs::is_special;
use crate::cost::day::DAY_SECONDS;
use crate::cost::{Day, DayCosts, Level, PodCosts};
use crate::service::failure::Failure;

use crate::source::metric_names::{
    CLUSTER_TOTAL, EXPORTER_SUCCESS, NAMESPACE_TOTAL, NODE_TOTAL, POD_TOTAL, WINDOW_END,
    WINDOW_SECONDS,
};
use crate::source::prometheus::dedup::{self, Metric};
use crate::source::prometheus::gaps::{self, Teller};
use crate::source::prometheus::promql::{
    GRID_SECONDS, Selector, Window, next_grid_point, quoted, regex_escaped,
};
use crate::source::prometheus::reply::Labels;
use crate::source::prometheus::session::Asking;
use crate::source::prometheus::source_conflicts;
use crate::source::{Phase, SourceDay};

/// A lag beyond two days is no lag: the clock or the gauge is wrong (seconds).
const LAG_SECONDS_MAX: f64 = 172_800.0;

/// Rows that belong to the cluster are not asked for.
const REAL_NAMESPACES: &[&str] = &["namespace!~\"__.*__\""];
const REAL_PODS: &[&str] = &["namespace!~\"__.*__\"", "pod!~\"__.*__\""];

/// The grid points that tell about the day's costs: the day shifted by the lag, as far as it has
/// passed.
pub(super) fn shifted(day: Day, lag_seconds: i64, now_seconds: i64) -> Window {
    let start = day.start_seconds() + lag_seconds;
    let end = (day.end_seconds() + lag_seconds).min(now_seconds + 1);
    Window { start, end: end.max(start) }
}

pub(super) async fn day_costs(
    mut asking: Asking<'_>,
    day: Day,
    now_seconds: i64,
) -> Result<SourceDay, Failure> {
    let mut selector = asking.selector();
    let names = [CLUSTER_TOTAL, NAMESPACE_TOTAL, POD_TOTAL];
    // The gauges that tell about a day may come on the next one.
    let told = Window { end: day.end_seconds() + DAY_SECONDS, ..shifted(day, 0, now_seconds) };
    asking.unite_default_cluster(&mut selector, &names, told).await?;
    let mut out = SourceDay::without_samples(Phase::Exporter, 0);
    let mut missing: BTreeMap<String, u32> = BTreeMap::new();
    for (lag_seconds, matcher) in lag_groups(&mut asking, &selector, day, now_seconds).await? {
        let mut selector = selector.clone();
        selector.matchers.extend(matcher);
        let window = shifted(day, lag_seconds, now_seconds);
        out.lag_seconds = out.lag_seconds.max(lag_seconds);
        out.expected_minutes = out.expected_minutes.max(window.minutes());
        for (cluster, covered) in group_costs(&mut asking, &selector, window, &mut out).await? {
            // Minutes missing of the shortest lag count as much as those of the longest.
            missing.insert(cluster, window.minutes().saturating_sub(covered));
        }
    }
    let covered = |minutes: u32| out.expected_minutes.saturating_sub(minutes);
    out.cover(missing.into_iter().map(|(name, minutes)| (name, covered(minutes))).collect());
    if out.clusters.is_empty() {
        out.expected_minutes = out.expected_minutes.max(day.minutes_passed(now_seconds));
    }
    warn_of_silent_clusters(&mut asking, &selector, &out.clusters, shifted(day, 0, now_seconds))
        .await?;
    out.warnings = asking.warnings;
    out.is_partial = asking.is_partial;
    Ok(out)
}

/// Clusters that have raw metrics but no gauges: a roll-out under way, or the same cluster under
/// another name, which cannot be told apart from here.
async fn warn_of_silent_clusters(
    asking: &mut Asking<'_>,
    selector: &Selector,
    told: &BTreeMap<String, u32>,
    window: Window,
) -> Result<(), Failure> {
    if told.is_empty() {
        return Ok(());
    }
    let stored = selector.stored(NODE_TOTAL, &[]);
    let query = |piece: Window| {
        selector.max_by(&[], &format!("count_over_time({stored}[{}])", piece.range()))
    };
    let found = asking.summed(window, 1, query).await?;
    for cluster in asking.by_cluster(&found).into_keys() {
        if !told.contains_key(&cluster) {
            asking.warn(format!(
                "cluster '{cluster}' has raw metrics but no gauges, which this account's days are \
                 computed from: none of its costs are stored; install the exporter there, or give \
                 it the same name in both if it is one that has gauges under another name"
            ));
        }
    }
    Ok(())
}

/// Clusters by lag: one group without a matcher when all clusters lag alike.
async fn lag_groups(
    asking: &mut Asking<'_>,
    selector: &Selector,
    day: Day,
    now_seconds: i64,
) -> Result<Vec<(i64, Option<String>)>, Failure> {
    let mut lags = BTreeMap::new();
    learn_lags(asking, selector, shifted(day, 0, now_seconds), &mut lags).await?;
    // A cluster whose first gauge comes after midnight tells of the hour before it.
    let greatest = lags.values().copied().max().unwrap_or(0);
    let (start, end) = (day.end_seconds(), day.end_seconds() + greatest);
    learn_lags(asking, selector, Window { start, end: end.min(now_seconds + 1) }, &mut lags)
        .await?;
    let mut groups: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for (cluster, lag) in lags {
        groups.entry(lag).or_default().push(cluster);
    }
    let is_one = groups.len() == 1;
    Ok(groups
        .into_iter()
        .map(|(lag, clusters)| {
            (lag, (!is_one).then(|| cluster_matcher(&clusters, asking.default_cluster())))
        })
        .collect())
}

/// Notes by how much clusters lag that have samples in the window, in whole minutes of seconds:
/// between grid points nothing is counted. Clusters that are known already stay as they are.
async fn learn_lags(
    asking: &mut Asking<'_>,
    selector: &Selector,
    window: Window,
    known: &mut BTreeMap<String, i64>,
) -> Result<(), Failure> {
    if window.minutes() == 0 {
        return Ok(());
    }
    let present = selector.max_by(&[], &selector.raw(CLUSTER_TOTAL, &[]));
    let minutes = asking.minutes(&present, window).await?;
    let mut clusters = asking.by_cluster(&minutes);
    clusters.retain(|cluster, _| !known.contains_key(cluster));
    if clusters.is_empty() {
        return Ok(());
    }
    let ends = selector.max_by(&[], &selector.raw(WINDOW_END, &[]));
    let age = |piece: Window| {
        format!("min_over_time((time() - {ends})[{}:{GRID_SECONDS}s])", piece.range())
    };
    let ages = asking.extreme(window, f64::min, age).await?;
    let stored = selector.stored(WINDOW_SECONDS, &[]);
    let length = |piece: Window| {
        selector.max_by(&[], &format!("max_over_time({stored}[{}])", piece.range()))
    };
    let lengths = asking.extreme(window, f64::max, length).await?;
    for cluster in clusters.into_keys() {
        let find = |list: &BTreeMap<Labels, f64>| {
            let of = |(labels, _): &(&Labels, &f64)| asking.cluster(labels) == cluster;
            list.iter().find(of).map(|(_, value)| *value).filter(|value| value.is_finite())
        };
        let lag = find(&ages).map_or(0.0, |age| age + find(&lengths).unwrap_or(0.0));
        let is_believable = lag <= LAG_SECONDS_MAX;
        if !is_believable {
            asking.warn(format!(
                "cluster '{cluster}' says that its costs are {:.0} days old ({WINDOW_END}): that \
                 is not believed, and they are taken for those of the time when they were told",
                lag / 86_400.0
            ));
        }
        #[expect(clippy::cast_possible_truncation, reason = "bounded by two days")]
        let seconds = if is_believable { lag.max(0.0).ceil() as i64 } else { 0 };
        known.insert(cluster, next_grid_point(seconds));
    }
    Ok(())
}

fn cluster_matcher(clusters: &[String], default_cluster: &str) -> String {
    let mut words: Vec<_> = clusters.iter().map(|cluster| regex_escaped(cluster)).collect();
    if !default_cluster.is_empty() && clusters.iter().any(|cluster| cluster == default_cluster) {
        words.push(String::new());
    }
    format!("cluster=~{}", quoted(&words.join("|")))
}

/// Adds the costs of the selected clusters; returns the minutes that each one's source covers.
async fn group_costs(
    asking: &mut Asking<'_>,
    selector: &Selector,
    window: Window,
    out: &mut SourceDay,
) -> Result<BTreeMap<String, u32>, Failure> {
    if window.minutes() == 0 {
        return Ok(BTreeMap::new());
    }
    let present = selector.max_by(&[], &selector.raw(CLUSTER_TOTAL, &[]));
    let covered = asking.minutes(&present, window).await?;
    let named = asking.by_cluster(&covered);
    if named.values().any(|minutes| *minutes < window.minutes()) {
        let teller = Teller { costs: CLUSTER_TOTAL, alive: Some(EXPORTER_SUCCESS) };
        out.holes.extend(gaps::told(asking, selector, teller, window).await);
    }
    let costs = &mut out.costs;
    let levels = asking.levels();
    let levels_asked: [(Level, &str, &[&str], &[&str]); 3] = [
        (Level::Cluster, CLUSTER_TOTAL, &[], &[]),
        (Level::Namespace, NAMESPACE_TOTAL, REAL_NAMESPACES, &["namespace"]),
        (Level::Pod, POD_TOTAL, REAL_PODS, &["namespace", "pod"]),
    ];
    for (level, metric, extra, labels) in levels_asked {
        if level == Level::Pod && !levels.pod
            || level == Level::Namespace && is_cluster_only(levels)
        {
            continue;
        }
        let mut selector = selector.clone();
        let series = asking.series_count(&selector, metric, window).await?;
        asking.filter_bad_samples(&mut selector, &[(metric, extra)], window, series).await?;
        let metric = Metric { name: metric, matchers: extra, labels };
        let found = dedup::integrate(asking, &selector, metric, window, series).await?;
        if level == Level::Cluster {
            let is_doubled = found.doubled.is_some();
            out.conflicts
                .extend(source_conflicts::of_gauges(asking, &selector, window, is_doubled).await?);
        }
        for (labels, usd) in found.costs {
            place(asking, costs, level, &labels, usd);
        }
        if level == Level::Pod {
            single_places(asking, &found.single, costs);
            if let Some(doubled) = found.doubled {
                pod_places(asking, &doubled, &found.single, window, series, costs).await?;
            }
        }
    }
    Ok(named)
}

fn is_cluster_only(levels: crate::cost::Levels) -> bool {
    !levels.namespace && !levels.pod
}

fn place(asking: &mut Asking<'_>, costs: &mut DayCosts, level: Level, labels: &Labels, usd: f64) {
    let cluster = asking.cluster(labels).to_owned();
    let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
    let (namespace, pod) = (label("namespace"), label("pod"));
    let lacks = |name: &str| format!("a series of cluster '{cluster}' has no label {name}");
    match level {
        Level::Cluster => put_greatest(&mut costs.cluster_mut(&cluster).total_usd, usd),
        _ if namespace.is_empty() => {
            asking.is_partial = true;
            asking.warn(lacks("namespace"));
        }
        _ if is_special(&namespace) => {}
        Level::Namespace => {
            put_greatest(&mut costs.namespace_mut(&cluster, &namespace).total_usd, usd);
        }
        Level::Pod if pod.is_empty() => {
            asking.is_partial = true;
            asking.warn(lacks("pod"));
        }
        Level::Pod => {
            let pods = &mut costs.namespace_mut(&cluster, &namespace).pods;
            let entry = pods.entry(pod).or_default();
            entry.total_usd = if usd.is_nan() { usd } else { entry.total_usd.max(usd) };
        }
    }
}

/// One cluster told of with and without its label is one cluster, not two.
pub(in crate::source) fn put_greatest(slot: &mut Option<f64>, usd: f64) {
    *slot = Some(slot.map_or(usd, |other| if usd.is_nan() { usd } else { other.max(usd) }));
}

/// The pod of a day's costs that labels name.
fn pod_of<'c>(
    asking: &Asking<'_>,
    labels: &Labels,
    costs: &'c mut DayCosts,
) -> Option<&'c mut PodCosts> {
    let cluster = costs.clusters.get_mut(asking.cluster(labels))?;
    cluster.namespaces.get_mut(labels.get("namespace")?)?.pods.get_mut(labels.get("pod")?)
}

fn set_place(pod: &mut PodCosts, labels: &Labels) {
    let label = |name: &str| labels.get(name).filter(|text| !text.is_empty()).cloned();
    (pod.node, pod.service) = (label("node"), label("service"));
}

/// Gives pods of one series the node and the service that it names.
fn single_places(asking: &Asking<'_>, single: &BTreeMap<Labels, Labels>, costs: &mut DayCosts) {
    for labels in single.values() {
        if let Some(pod) = pod_of(asking, labels, costs) {
            set_place(pod, labels);
        }
    }
}

/// Gives pods of several series the node and the service that they had for most of the window.
async fn pod_places(
    asking: &mut Asking<'_>,
    selector: &Selector,
    single: &BTreeMap<Labels, Labels>,
    window: Window,
    series: u64,
    costs: &mut DayCosts,
) -> Result<(), Failure> {
    let by = ["namespace", "pod", "node", "service"];
    let counts = asking
        .summed(window, series, |piece| {
            let stored = selector.stored(POD_TOTAL, REAL_PODS);
            selector.max_by(&by, &format!("count_over_time({stored}[{}])", piece.range()))
        })
        .await?;
    let mut most: BTreeMap<Labels, f64> = BTreeMap::new();
    for (labels, samples) in counts {
        let mut name = labels.clone();
        name.retain(|label, _| label != "node" && label != "service");
        let best = most.entry(name.clone()).or_insert(-1.0);
        if samples <= *best || single.contains_key(&name) {
            continue;
        }
        *best = samples;
        if let Some(pod) = pod_of(asking, &labels, costs) {
            set_place(pod, &labels);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_looked_at_by_its_lag_later_and_never_beyond_now() {
        let day: Day = "2026-11-20".parse().unwrap();
        let start = day.start_seconds();
        let long_after = start + 10 * 86_400;
        assert_eq!(
            shifted(day, 3_900, long_after),
            Window { start: start + 3_900, end: start + 86_400 + 3_900 }
        );
        assert_eq!(shifted(day, 0, start + 59).minutes(), 1);
        assert_eq!(shifted(day, 3_900, start + 60).minutes(), 0);
    }

    #[test]
    fn clusters_are_matched_literally() {
        let matcher = cluster_matcher(&["a.b".to_owned(), String::new()], "");
        assert_eq!(matcher, r#"cluster=~"a\\.b|""#);
        let matcher = cluster_matcher(&["a".to_owned(), "b".to_owned()], "b");
        assert_eq!(matcher, r#"cluster=~"a|b|""#);
    }

    #[test]
    fn the_greatest_of_two_tellings_stands() {
        let mut slot = None;
        for usd in [1.0, 3.0, 2.0] {
            put_greatest(&mut slot, usd);
        }
        assert_eq!(slot, Some(3.0));
    }
}
