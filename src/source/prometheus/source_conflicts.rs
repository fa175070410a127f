//! Whether what claims to be one cluster is one.
//!
//! Scrape replicas and HA pairs of one cluster report the same costs, and `max by` merges them. Two
//! clusters under one name look alike, but `max by` would drop the cheaper one's dollars. Sources
//! that agree are replicas. Sources that keep disagreeing are different clusters, and which one is
//! meant cannot be known. A lagging replica also disagrees, but about another window: minutes in
//! which sources report different windows are not compared.

use std::collections::{BTreeMap, BTreeSet};

use crate::service::failure::Failure;

use crate::source::labels::Labels;
use crate::source::metric_names::{CLUSTER_TOTAL, NAMESPACE_TOTAL, WINDOW_END};
use crate::source::prometheus::promql::{Selector, Window, minutes_present};
use crate::source::prometheus::reply::{Series, shown_labels};
use crate::source::prometheus::session::DaySession;

/// Sources that differ by less report the same: two polls of one window while its data come in.
pub(in crate::source) const TOLERANCE: f64 = 0.01;
/// Minutes of disagreement that a replica's restart may cause.
const TRANSIENT_MINUTES: f64 = 10.0;
/// Of the minutes in which sources can be compared, they must differ in at least this share.
const CONFLICT_SHARE: f64 = 0.5;
/// Over this span the samples of one exporter change once or twice, and those of two writers of
/// one series with every sample.
const INTERLEAVED_SPAN: &str = "30m";
/// Spans that have to alternate before two writers are suspected.
const INTERLEAVED_SPANS_MIN: f64 = 3.0;
/// Minutes after which sources that never report one window are compared after all.
const DISJOINT_WINDOWS_MINUTES: f64 = 180.0;
/// By how much the averages of one cluster's exporters may differ when they report different
/// windows.
const DISJOINT_WINDOWS_TOLERANCE: f64 = 0.1;
/// Most conflicts that are named.
const NAMED_MAX: usize = 5;

/// A rate that all sources of one cluster must agree on.
#[derive(Clone, Copy, Debug)]
pub(super) struct ComparedRate<'a> {
    /// The metric.
    pub(super) metric: &'a str,
    /// Labels that name what the rate is of, beside tenant and cluster.
    pub(super) labels: &'a [&'a str],
    /// A label that no two things of one name share at one time, if there is one.
    pub(super) identity: Option<&'a str>,
}

/// Conflicts between exporters: two that claim one cluster, or two that write one series.
pub(super) async fn of_gauges(
    session: &mut DaySession<'_>,
    selector: &Selector,
    window: Window,
    is_doubled: bool,
) -> Result<Vec<String>, Failure> {
    let mut found = interleaved_writers(session, selector, window).await?;
    if !is_doubled {
        return Ok(found);
    }
    let totals = selector.raw(CLUSTER_TOTAL, &[]);
    // Two clusters of the same nodes cost the same, but not for the same namespaces.
    let namespaces = format!("sum without (namespace) ({})", selector.raw(NAMESPACE_TOTAL, &[]));
    let ends = selector.raw(WINDOW_END, &[]);
    let (last, first) = (selector.max_by(&[], &ends), min_by(selector, &[], &ends));
    let same_window = |expression: &str| format!("({expression}) unless ({last} != {first})");
    let at_once = same_window(&has_several_query(selector, &[], &totals));
    let comparable = session.minutes(&at_once, window).await?;
    let series = session.series_at_most(selector, NAMESPACE_TOTAL, window).await?;
    for sources in [&totals, &namespaces] {
        if comparable.is_empty() {
            break;
        }
        let differing = same_window(&differing_query(selector, &[], sources));
        let minutes = session.summed(window, series, |p| minutes_present(&differing, p)).await?;
        let conflicts = lasting_conflicts(&minutes, &comparable);
        for group in conflicts.into_iter().take(NAMED_MAX) {
            found.push(describe(session, sources, &group, window).await);
        }
        if !found.is_empty() {
            break;
        }
    }
    if found.is_empty() {
        let at_once = has_several_query(selector, &[], &totals);
        let together = session.minutes(&at_once, window).await?;
        found = of_disjoint_windows(session, &totals, (&together, &comparable), window).await;
    }
    Ok(found)
}

/// Sources that never report one window at one time, as exporters with other WINDOWs: one cluster's
/// differ by a little over hours, two clusters' by what they cost.
async fn of_disjoint_windows(
    session: &mut DaySession<'_>,
    sources: &str,
    (together, comparable): (&BTreeMap<Labels, f64>, &BTreeMap<Labels, f64>),
    window: Window,
) -> Vec<String> {
    let mut found = Vec::new();
    let of = |group: &Labels| comparable.get(group).copied().unwrap_or(0.0);
    let never = |(group, minutes): &(&Labels, &f64)| {
        **minutes >= DISJOINT_WINDOWS_MINUTES && of(group) <= TRANSIENT_MINUTES
    };
    for (group, _) in together.iter().filter(never).take(NAMED_MAX) {
        let rates = average_rates(session, sources, group, window).await;
        let usd = |one: Option<&Series>| one.and_then(Series::value).unwrap_or(0.0);
        let (least, most) = (usd(rates.first()), usd(rates.last()));
        if most - least > DISJOINT_WINDOWS_TOLERANCE * most {
            found.push(conflict_message(session, &rates, group));
        }
    }
    found
}

/// Conflicts over a rate that several sources may report.
pub(super) async fn of_rate(
    session: &mut DaySession<'_>,
    selector: &Selector,
    rate: ComparedRate<'_>,
    window: Window,
    series: u64,
) -> Result<Vec<String>, Failure> {
    let sources = selector.raw(rate.metric, &[]);
    let several = has_several_query(selector, rate.labels, &sources);
    let comparable = session.summed(window, series, |p| minutes_present(&several, p)).await?;
    if comparable.is_empty() {
        return Ok(Vec::new());
    }
    let mut differing = differing_query(selector, rate.labels, &sources);
    if let Some(identity) = rate.identity {
        let finer: Vec<_> = rate.labels.iter().copied().chain([identity]).collect();
        let known = format!("{identity}!=\"\"");
        let identities = selector.max_by(&finer, &selector.raw(rate.metric, &[&known]));
        let by = selector.labels(rate.labels);
        differing = format!("({differing}) or (count by ({by}) ({identities}) > 1)");
    }
    let minutes = session.summed(window, series, |p| minutes_present(&differing, p)).await?;
    let mut found = Vec::new();
    for group in lasting_conflicts(&minutes, &comparable).into_iter().take(NAMED_MAX) {
        found.push(describe(session, &sources, &group, window).await);
    }
    Ok(found)
}

fn min_by(selector: &Selector, labels: &[&str], sources: &str) -> String {
    format!("min by ({}) ({sources})", selector.labels(labels))
}

fn has_several_query(selector: &Selector, labels: &[&str], sources: &str) -> String {
    format!("count by ({}) ({sources}) > 1", selector.labels(labels))
}

fn differing_query(selector: &Selector, labels: &[&str], sources: &str) -> String {
    let (most, least) = (selector.max_by(labels, sources), min_by(selector, labels, sources));
    format!("{most} - {least} > {TOLERANCE} * {most}")
}

/// The `max by` groups whose sources differ in most of the minutes in which they can be compared.
fn lasting_conflicts(
    differing: &BTreeMap<Labels, f64>,
    comparable: &BTreeMap<Labels, f64>,
) -> Vec<Labels> {
    let lasts = |(group, minutes): &(&Labels, &f64)| {
        let of = comparable.get(*group).copied().unwrap_or(0.0);
        **minutes > TRANSIENT_MINUTES && **minutes >= CONFLICT_SHARE * of
    };
    differing.iter().filter(lasts).map(|(group, _)| group.clone()).collect()
}

/// Names the two sources of a group that differ most.
async fn describe(
    session: &mut DaySession<'_>,
    sources: &str,
    group: &Labels,
    window: Window,
) -> String {
    let rates = average_rates(session, sources, group, window).await;
    conflict_message(session, &rates, group)
}

/// What the sources of a group say on average, the least first; nothing where that cannot be asked:
/// that they differ is known without it.
async fn average_rates(
    session: &mut DaySession<'_>,
    sources: &str,
    group: &Labels,
    window: Window,
) -> Vec<Series> {
    let average = format!("avg_over_time(({sources})[{}:5m])", window.range());
    let mut rates = session.at(&average, window).await.unwrap_or_default();
    let label = session.cluster_label().to_owned();
    rates.retain(|one| is_of_group(one, group, &label));
    rates.sort_by(|a, b| a.value().unwrap_or(0.0).total_cmp(&b.value().unwrap_or(0.0)));
    rates
}

fn conflict_message(session: &DaySession<'_>, rates: &[Series], group: &Labels) -> String {
    let shown = |one: &Series| {
        let labels = shown_labels(&differing_labels(one, rates));
        format!("{labels} says ${:.4} an hour", one.value().unwrap_or(0.0))
    };
    let cluster = session.cluster(group);
    let of = group.get("node").map(|node| format!(" node '{node}' of")).unwrap_or_default();
    let [first, .., last] = rates else {
        return format!("different sources report costs of{of} cluster '{cluster}'");
    };
    format!(
        "two different sources report costs of{of} cluster '{cluster}': {} and {}",
        shown(last),
        shown(first)
    )
}

fn is_of_group(series: &Series, group: &Labels, cluster_label: &str) -> bool {
    let cluster = group.get(cluster_label).unwrap_or_default();
    series.label(cluster_label) == cluster
        && group.iter().all(|(label, value)| series.label(label) == value)
}

/// The labels by which a series differs from the others.
fn differing_labels(of: &Series, all: &[Series]) -> Labels {
    let labels = all.iter().flat_map(|one| one.labels.iter());
    let names: BTreeSet<&str> = labels.map(|(name, _)| name).collect();
    let differs = |name: &&str| all.iter().any(|one| one.label(name) != of.label(name));
    let differing = names.into_iter().filter(differs).filter(|name| *name != "__name__");
    differing.map(|name| (name, of.label(name))).collect()
}

/// Series whose samples go to and fro between two costs: two sources with the same labels.
async fn interleaved_writers(
    session: &mut DaySession<'_>,
    selector: &Selector,
    window: Window,
) -> Result<Vec<String>, Failure> {
    let span = format!("{}[{INTERLEAVED_SPAN}]", selector.stored(CLUSTER_TOTAL, &[]));
    let (least, most) = (format!("min_over_time({span})"), format!("max_over_time({span})"));
    let count = format!("count_over_time({span})");
    let near = 1e-9;
    let alternates = format!(
        "{count} >= 12 and changes({span}) >= 0.4 * {count} \
         and {most} > {} * {least} \
         and quantile_over_time(0.3, {span}) <= {least} * {} \
         and quantile_over_time(0.7, {span}) >= {most} * {}",
        1.0 + TOLERANCE,
        1.0 + near,
        1.0 - near,
    );
    let count = |piece: Window| {
        format!("count_over_time(({alternates})[{}:{INTERLEAVED_SPAN}])", piece.range())
    };
    let mut found = session.summed(window, 1, count).await?;
    // A cost that went to and fro for an hour is a cost; two writers go on.
    found.retain(|_, spans| *spans >= INTERLEAVED_SPANS_MIN);
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let bound = |function: &str, of: &str| {
        let (function, of) = (function.to_owned(), of.to_owned());
        move |piece: Window| format!("{function}({of}[{}:{INTERLEAVED_SPAN}])", piece.range())
    };
    let lows = session.extreme(window, f64::max, bound("max_over_time", &least)).await?;
    let highs = session.extreme(window, f64::max, bound("max_over_time", &most)).await?;
    let usd =
        |list: &BTreeMap<Labels, f64>, labels: &Labels| list.get(labels).copied().unwrap_or(0.0);
    let sentence = |labels: &Labels| {
        format!(
            "two sources write one series of cluster '{}' by turns, {}: one says ${:.4} an hour \
             and one ${:.4}",
            session.cluster(labels),
            shown_labels(labels),
            usd(&lows, labels),
            usd(&highs, labels)
        )
    };
    Ok(found.keys().map(sentence).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn minutes(of: f64) -> BTreeMap<Labels, f64> {
        [(labels(&[("cluster", "c")]), of)].into()
    }

    #[test]
    fn only_a_lasting_difference_is_a_conflict() {
        assert!(lasting_conflicts(&minutes(10.0), &minutes(12.0)).is_empty());
        assert_eq!(lasting_conflicts(&minutes(11.0), &minutes(12.0)).len(), 1);
        assert!(lasting_conflicts(&minutes(60.0), &minutes(121.0)).is_empty());
        assert_eq!(lasting_conflicts(&minutes(60.0), &minutes(120.0)).len(), 1);
    }

    #[test]
    fn sources_are_named_by_what_tells_them_apart() {
        let series = |pairs| Series { labels: labels(pairs), points: vec![(0.0, 1.0)] };
        let one = series(&[("cluster", "c"), ("instance", "a"), ("job", "j")]);
        let other = series(&[("cluster", "c"), ("instance", "b"), ("job", "j"), ("zone", "z")]);
        let all = [one.clone(), other.clone()];
        assert_eq!(differing_labels(&one, &all), labels(&[("instance", "a"), ("zone", "")]));
        assert_eq!(differing_labels(&other, &all), labels(&[("instance", "b"), ("zone", "z")]));
    }

    #[test]
    fn sources_are_compared_by_what_they_are_of() {
        let selector = Selector { tenant: Some(("t".into(), "a".into())), ..Selector::default() };
        assert_eq!(
            has_several_query(&selector, &["node"], "m"),
            "count by (t, cluster, node) (m) > 1"
        );
        assert_eq!(
            differing_query(&selector, &[], "m"),
            "max by (t, cluster) (m) - min by (t, cluster) (m) > 0.01 * max by (t, cluster) (m)"
        );
    }

    #[test]
    fn a_series_is_of_its_cluster_and_of_all_labels_of_the_group() {
        let series = |pairs| Series { labels: labels(pairs), points: vec![(0.0, 1.0)] };
        let one = series(&[("cluster", "c"), ("node", "n"), ("instance", "i")]);
        let is = |pairs| is_of_group(&one, &labels(pairs), "cluster");
        assert!(is(&[("cluster", "c"), ("node", "n")]));
        assert!(!is(&[("cluster", "c"), ("node", "other")]));
        assert!(!is(&[("node", "n")]), "a group without a cluster is of series without one");
    }

    #[test]
    fn a_metrics_own_name_is_no_label_that_tells_sources_apart() {
        let series = |pairs| Series { labels: labels(pairs), points: vec![(0.0, 1.0)] };
        let one = series(&[("__name__", "m"), ("job", "a")]);
        let all = [one.clone(), series(&[("__name__", "n"), ("job", "b")])];
        assert_eq!(differing_labels(&one, &all), labels(&[("job", "a")]));
    }
}
