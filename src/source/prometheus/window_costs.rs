//! Costs from exporters that say which window their gauges are of: each window once.

use std::collections::{BTreeMap, BTreeSet};

use crate::cost::{Day, DayCosts, Level};
use crate::service::failure::Failure;

use crate::source::SourceDay;
use crate::source::labels::Labels;
use crate::source::metric_names::{CLUSTER_TOTAL, EXPORTER_SUCCESS};
use crate::source::prometheus::exposed_windows::Windowed;
use crate::source::prometheus::gaps;
use crate::source::prometheus::gauges::{
    self, Coverage, Gauge, add_up, record_level, set_node_and_service, without_place,
};
use crate::source::prometheus::incomplete_windows::{self, Lack};
use crate::source::prometheus::promql::{ClusterNames, GRID_SECONDS, Selector, Sources, Window};
use crate::source::prometheus::session::DaySession;
use crate::source::prometheus::source_conflicts;
use crate::source::prometheus::windows::{self, Group, Sampling, WindowSlice};

fn minutes_long(window: Window) -> u32 {
    u32::try_from((window.end - window.start).max(0) / GRID_SECONDS).unwrap_or(0)
}

/// Adds the costs of the clusters that show windows; returns how much of the day is covered.
/// `elsewhere` is what of the day is taken from other gauges of a cluster.
pub(super) async fn add_costs(
    session: &mut DaySession<'_>,
    selector: &Selector,
    clusters: &BTreeMap<String, Windowed>,
    elsewhere: &BTreeMap<String, Vec<Window>>,
    (day, now_seconds): (Day, i64),
    out: &mut SourceDay,
) -> Result<BTreeMap<String, Coverage>, Failure> {
    let whole = Window { start: day.start_seconds(), end: day.end_seconds() };
    let taken = |cluster: &String| elsewhere.get(cluster).map_or(&[][..], Vec::as_slice);
    let chosen = clusters.iter().map(|(cluster, windowed)| {
        let mut parts = windows::choose(&windowed.exposed, whole);
        parts.retain(|part| taken(cluster).iter().all(|one| !overlaps(*one, part.span)));
        (cluster.clone(), windowed.sources, parts)
    });
    let chosen: Vec<_> = chosen.collect();
    let to_read = chosen.iter().filter(|(_, _, parts)| !parts.is_empty()).cloned().collect();
    let mut lacks: BTreeMap<String, Vec<Lack>> = BTreeMap::new();
    for group in windows::groups(to_read) {
        let mut selector = Selector { sources: group.sources, ..selector.clone() };
        selector.clusters =
            Some(ClusterNames::new(group.clusters.clone(), session.default_cluster()));
        let conflicts = conflicts(session, &selector, &group, clusters).await?;
        out.conflicts.extend(conflicts);
        if group.clusters.iter().filter_map(|name| clusters.get(name)).any(|one| one.is_incomplete)
        {
            lacks.append(&mut incomplete_windows::lacks(session, &selector, &group.parts).await?);
        }
        add_up(&mut out.costs, group_costs(session, &selector, &group.parts).await?);
    }
    let mut coverage = BTreeMap::new();
    for (cluster, _, parts) in &chosen {
        let Some(windowed) = clusters.get(cluster) else { continue };
        let spans = Spans {
            parts: parts.iter().map(|part| part.span).collect(),
            elsewhere: taken(cluster),
            lacks: lacks.get(cluster).map_or(&[][..], Vec::as_slice),
        };
        let due_end = windows::due_end(&windowed.exposed, now_seconds).unwrap_or(whole.start);
        let shown_end = spans.parts.last().map_or(whole.start, |last| last.end);
        let due = Window { end: due_end.max(shown_end).clamp(whole.start, whole.end), ..whole };
        let of_cluster = covered(session, selector, (cluster, windowed), &spans, due, out).await;
        coverage.insert(cluster.clone(), of_cluster);
    }
    Ok(coverage)
}

/// What a cluster has of a day.
struct Spans<'a> {
    /// What its windows are of, the earliest first.
    parts: Vec<Window>,
    /// What is taken from other gauges.
    elsewhere: &'a [Window],
    /// What its windows lack.
    lacks: &'a [Lack],
}

/// How much of what is due of a day a cluster's windows cover, and says what they lack.
async fn covered(
    session: &mut DaySession<'_>,
    selector: &Selector,
    (cluster, windowed): (&str, &Windowed),
    spans: &Spans<'_>,
    due: Window,
    out: &mut SourceDay,
) -> Coverage {
    out.lag_seconds = out.lag_seconds.max(windows::lag(&windowed.exposed));
    let known: Vec<Window> = spans.parts.iter().chain(spans.elsewhere).copied().collect();
    let holes = windows::uncovered(due, &known);
    let missing: u32 = holes.iter().map(|hole| minutes_long(*hole)).sum();
    let shown: u32 = spans.parts.iter().map(|span| minutes_long(*span)).sum();
    let lacking: u32 = spans.lacks.iter().map(|lack| lack.minutes).sum();
    // A cluster that has costs of the day has some of its minutes.
    let lacking = lacking.min(shown.saturating_sub(1));
    let at_edges = holes.iter().filter(|hole| hole.start <= due.start || hole.end >= due.end);
    let edges = at_edges.map(|hole| minutes_long(*hole)).sum::<u32>();
    // A cluster may have been made in its first window, and be gone since its last one.
    let outermost = [spans.parts.first(), spans.parts.last()];
    let short_edges = spans.lacks.iter().filter(|lack| outermost.contains(&Some(&lack.span)));
    let short_edges: u32 = short_edges.map(|lack| lack.minutes).sum();
    out.edge_minutes.insert(cluster.to_owned(), edges + short_edges.min(lacking));
    if shown > 0 && missing > 0 {
        let phrase = hole_phrase(session, selector, (cluster, windowed), &holes).await;
        out.gap_causes.push(phrase);
    } else if shown == 0 && missing > 0 && spans.elsewhere.is_empty() {
        session.is_partial = true;
        session.warn(format!("cluster '{cluster}' has shown no window of this day"));
    }
    out.gap_causes.extend(incomplete_windows::short_windows(cluster, spans.lacks));
    if let Some(warning) = incomplete_windows::unknown_rows(cluster, spans.lacks) {
        session.is_partial = true;
        session.warn(warning);
    }
    Coverage { due: shown + missing, covered: shown - lacking }
}

/// What each of a cluster's windows costs on a day, USD.
pub(super) async fn window_by_window(
    session: &mut DaySession<'_>,
    selector: &Selector,
    (cluster, windowed): (&str, &Windowed),
    day: Day,
) -> Result<Vec<(Window, f64)>, Failure> {
    let whole = Window { start: day.start_seconds(), end: day.end_seconds() };
    let mut selector = Selector { sources: windowed.sources, ..selector.clone() };
    selector.clusters =
        Some(ClusterNames::new(vec![cluster.to_owned()], session.default_cluster()));
    let parts = windows::choose(&windowed.exposed, whole);
    let mut spans = parts.iter().map(|part| part.span);
    let mut costs = Vec::new();
    for (sampling, weight) in windows::samplings(&parts) {
        let expression = |offset_seconds: i64| {
            let of = Selector { offset_seconds, ..selector.in_parts() };
            of.max_by(&[], &of.of(CLUSTER_TOTAL, &[]))
        };
        let values = session.values(sampling, 1, expression).await?;
        let values: BTreeMap<i64, f64> = values.into_values().flatten().collect();
        for time in sampling.times() {
            let Some(span) = spans.next() else { break };
            costs.extend(values.get(&time).map(|value| (span, value * weight)));
        }
    }
    Ok(costs)
}

fn overlaps(one: Window, other: Window) -> bool {
    one.start < other.end && other.start < one.end
}

async fn hole_phrase(
    session: &mut DaySession<'_>,
    selector: &Selector,
    (cluster, windowed): (&str, &Windowed),
    holes: &[Window],
) -> String {
    let lag = windows::lag(&windowed.exposed);
    let (start, end) = (holes[0].start + lag, holes[holes.len() - 1].end + lag);
    let mut alive = gaps::minutes(session, selector, EXPORTER_SUCCESS, Window { start, end }).await;
    // What should have been shown at a time is of a window before it.
    let alive = alive.remove(cluster).unwrap_or_default();
    let alive: BTreeSet<i64> = alive.into_iter().map(|time| time - lag).collect();
    let holes: Vec<(i64, i64)> = holes.iter().map(|hole| (hole.start, hole.end)).collect();
    gaps::phrase(cluster, &holes, &alive)
}

/// The time in which parts can be read.
fn read_in(parts: &[WindowSlice]) -> Window {
    let minutes = || parts.iter().flat_map(|part| &part.minutes);
    let first = minutes().min().copied().unwrap_or(0);
    Window { start: first, end: minutes().max().copied().unwrap_or(first) + 1 }
}

async fn conflicts(
    session: &mut DaySession<'_>,
    selector: &Selector,
    group: &Group,
    clusters: &BTreeMap<String, Windowed>,
) -> Result<Vec<String>, Failure> {
    let of = |name: &String| clusters.get(name);
    let is_doubled = group.clusters.iter().filter_map(of).any(|one| one.is_doubled);
    let is_mixed = group.clusters.iter().filter_map(of).any(|one| one.windowless_minutes > 0);
    let sources = if is_mixed { Sources::Windowed } else { Sources::All };
    let selector = Selector { sources, ..selector.clone() };
    source_conflicts::of_gauges(session, &selector, read_in(&group.parts), is_doubled).await
}

/// The costs of the selected clusters, whose windows are shown at the same minutes.
async fn group_costs(
    session: &mut DaySession<'_>,
    selector: &Selector,
    parts: &[WindowSlice],
) -> Result<DayCosts, Failure> {
    let mut costs = DayCosts::default();
    let read_in = read_in(parts);
    let samplings = windows::samplings(parts);
    let mut counts: BTreeMap<Level, u64> = BTreeMap::new();
    for gauge in gauges::gauges_for(session.levels()) {
        let mut selector = selector.clone();
        let series = match counts.get(&gauge.level).filter(|_| gauge.is_part()) {
            Some(of_level) => *of_level,
            None => session.series_at_most(&selector, gauge.metric, read_in).await?,
        };
        counts.insert(gauge.level, series);
        if series == 0 {
            continue;
        }
        if gauge.is_part() {
            let labels = gauge.labels;
            for (labels, usd) in
                weighed(session, &selector, gauge, labels, &samplings, series).await?
            {
                gauge.record(session, &mut costs, &labels, usd);
            }
            continue;
        }
        let metric = [(gauge.metric, gauge.matchers)];
        session.filter_bad_samples(&mut selector, &metric, read_in, series).await?;
        let places = ["namespace", "pod", "node", "service"];
        let labels = if gauge.level == Level::Pod { &places[..] } else { gauge.labels };
        let found = weighed(session, &selector, gauge, labels, &samplings, series).await?;
        if gauge.level != Level::Pod {
            for (labels, usd) in found {
                gauge.record(session, &mut costs, &labels, usd);
            }
            continue;
        }
        let by_pod = pods(found);
        // A pod with several places may have had them at once, by different exporters.
        let of_pods = if by_pod.values().any(|places| places.len() > 1) {
            weighed(session, &selector, gauge, gauge.labels, &samplings, series).await?
        } else {
            by_pod.iter().map(|(pod, places)| (pod.clone(), places[0].1)).collect()
        };
        for (labels, usd) in of_pods {
            record_level(session, &mut costs, Level::Pod, &labels, usd);
        }
        for places in by_pod.values() {
            let longest = places.iter().max_by(|a, b| a.1.total_cmp(&b.1));
            if let Some((labels, _)) = longest {
                set_node_and_service(session, labels, &mut costs);
            }
        }
    }
    Ok(costs)
}

/// A metric's costs by labels, USD, each window once.
async fn weighed(
    session: &mut DaySession<'_>,
    selector: &Selector,
    gauge: Gauge,
    labels: &[&str],
    samplings: &[(Sampling, f64)],
    series: u64,
) -> Result<BTreeMap<Labels, f64>, Failure> {
    let mut costs: BTreeMap<Labels, f64> = BTreeMap::new();
    for (sampling, weight) in samplings {
        let expression = |offset_seconds: i64| {
            let of = Selector { offset_seconds, ..selector.in_parts() };
            of.max_by(labels, &of.of(gauge.metric, gauge.matchers))
        };
        for (labels, sum) in session.sampled(*sampling, series, expression).await? {
            *costs.entry(labels).or_insert(0.0) += sum * weight;
        }
    }
    Ok(costs)
}

/// Costs of pods by place: the labels that name the pod, and then those that name the place.
fn pods(found: BTreeMap<Labels, f64>) -> BTreeMap<Labels, Vec<(Labels, f64)>> {
    let mut by_pod: BTreeMap<Labels, Vec<(Labels, f64)>> = BTreeMap::new();
    for (labels, usd) in found {
        by_pod.entry(without_place(&labels)).or_default().push((labels, usd));
    }
    by_pod
}
