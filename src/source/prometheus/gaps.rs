//! Where a day has no samples, and why: what an operator reads of a day that is not whole.

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;

use crate::service::failure::Failure;

use crate::source::prometheus::promql::{GRID_SECONDS, Selector, Window, next_grid_point};
use crate::source::prometheus::session::DaySession;

/// Most holes of a cluster that are named, and most windows that lack something.
pub(super) const NAMED_MAX: usize = 3;

/// The metrics that show when a cluster has costs, and when their source is alive.
#[derive(Clone, Copy, Debug)]
pub(super) struct CoverageMetrics<'a> {
    /// The metric of the costs.
    pub(super) costs: &'a str,
    /// A metric of the same source that is there even when it has no costs to tell.
    pub(super) alive: Option<&'a str>,
}

/// The window's holes, a phrase a cluster that is known and has some.
pub(super) async fn described(
    session: &mut DaySession<'_>,
    selector: &Selector,
    coverage: CoverageMetrics<'_>,
    window: Window,
) -> Vec<String> {
    let costs = minutes(session, selector, coverage.costs, window).await;
    let alive = match coverage.alive {
        Some(metric) => minutes(session, selector, metric, window).await,
        None => BTreeMap::new(),
    };
    let nothing = BTreeSet::new();
    let phrase = |(cluster, seen): (&String, &BTreeSet<i64>)| {
        let holes = holes(seen, window);
        let alive = alive.get(cluster).unwrap_or(&nothing);
        (!holes.is_empty()).then(|| phrase(cluster, &holes, alive))
    };
    costs.iter().filter_map(phrase).collect()
}

/// The minutes of the window before the first and after the last one in which an expression has a
/// value, by cluster.
pub(super) async fn edges(
    session: &mut DaySession<'_>,
    expression: &str,
    window: Window,
) -> Result<BTreeMap<String, u32>, Failure> {
    let times = |function: &'static str| {
        move |piece: Window| {
            let range = piece.range();
            format!("{function}((({expression}) * 0 + time())[{range}:{GRID_SECONDS}s])")
        }
    };
    let firsts = session.extreme(window, f64::min, times("min_over_time")).await?;
    let lasts = session.extreme(window, f64::max, times("max_over_time")).await?;
    let mut edges: BTreeMap<String, u32> = BTreeMap::new();
    for (labels, first) in &firsts {
        let cluster = session.cluster(labels).to_owned();
        let minutes = edge_minutes((*first, lasts.get(labels).copied().unwrap_or(*first)), window);
        let known = edges.entry(cluster).or_insert(minutes);
        *known = minutes.min(*known);
    }
    Ok(edges)
}

/// The minutes of a window before the first and after the last time (Unix seconds) with a sample.
fn edge_minutes((first, last): (f64, f64), window: Window) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "whole seconds")]
    let (first, last) = (first as i64, last as i64);
    let before = Window { end: first, ..window };
    let after = Window { start: last + 1, ..window };
    before.minutes() + after.minutes()
}

/// The minutes of the window in which a metric has a value, by cluster.
pub(super) async fn minutes(
    session: &mut DaySession<'_>,
    selector: &Selector,
    metric: &str,
    window: Window,
) -> BTreeMap<String, BTreeSet<i64>> {
    let first = next_grid_point(window.start);
    let query = selector.max_by(&[], &selector.raw(metric, &[]));
    // Only a phrase for people depends on it.
    let asked = session.range(&query, first, window.evaluation_time(), GRID_SECONDS).await;
    let found = asked.unwrap_or_else(|failure| {
        tracing::debug!(%failure, "where samples are missing is not known");
        Vec::new()
    });
    let mut seen: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for series in found {
        let cluster = session.cluster(&series.labels).to_owned();
        #[expect(clippy::cast_possible_truncation, reason = "whole seconds")]
        let times = series.points.iter().map(|(time, _)| *time as i64);
        seen.entry(cluster).or_default().extend(times);
    }
    seen
}

/// The stretches `start..end` (Unix seconds) of a window's grid points that were not seen.
fn holes(seen: &BTreeSet<i64>, window: Window) -> Vec<(i64, i64)> {
    let mut out: Vec<(i64, i64)> = Vec::new();
    let mut time = next_grid_point(window.start);
    while time < window.end {
        if !seen.contains(&time) {
            match out.last_mut() {
                Some((_, end)) if *end == time => *end = time + GRID_SECONDS,
                _ => out.push((time, time + GRID_SECONDS)),
            }
        }
        time += GRID_SECONDS;
    }
    out
}

/// By how much the distances of holes may differ that a scrape interval makes, seconds.
const JITTER_SECONDS: i64 = 60;
/// How many holes it takes to tell a scrape interval from outages.
const REGULAR_MIN: usize = 6;

/// The scrape interval (seconds) that most holes come from: a sample stands for five minutes, so
/// rarer ones leave holes at equal distances.
fn scrape_interval(holes: &[(i64, i64)]) -> Option<i64> {
    let distances: Vec<i64> = holes.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    let mut sorted = distances.clone();
    sorted.sort_unstable();
    let middle = *sorted.get(sorted.len() / 2)?;
    let is_regular = |distance: &&i64| (**distance - middle).abs() <= JITTER_SECONDS;
    let regular = distances.iter().filter(is_regular).count();
    let is_rule = holes.len() >= REGULAR_MIN && regular * 10 >= distances.len() * 9;
    // Outages at equal distances leave longer stretches of samples between them.
    (is_rule && middle <= 2 * 3_600 && stands_for(holes) <= STANDS_SECONDS_MAX).then_some(middle)
}

/// How long one sample stands for (seconds): in Prometheus the five minutes of its look-back.
const STANDS_SECONDS_MAX: i64 = 360;

/// The middle length of what lies between holes, seconds.
fn stands_for(holes: &[(i64, i64)]) -> i64 {
    let mut between: Vec<i64> = holes.windows(2).map(|pair| pair[1].0 - pair[0].1).collect();
    between.sort_unstable();
    between.get(between.len() / 2).copied().unwrap_or(0)
}

/// A cluster's holes `start..end`, and why they are there: whether the exporter was alive.
pub(super) fn phrase(cluster: &str, holes: &[(i64, i64)], alive: &BTreeSet<i64>) -> String {
    if let Some(seconds) = scrape_interval(holes) {
        return format!(
            "cluster '{cluster}' has a sample every {} min only, and a sample stands for 5 min: \
             set its scrape_interval to 1m, or GAP_POLICY=scale",
            (seconds + 30) / 60
        );
    }
    let named: Vec<String> = holes
        .iter()
        .take(NAMED_MAX)
        .map(|(start, end)| {
            let minutes = (end - start) / GRID_SECONDS;
            let shown = i64::try_from(alive.range(start..end).count()).unwrap_or(0);
            let why = if shown * 2 > minutes {
                "the exporter ran, but had no fresh costs from Kubecost"
            } else {
                "nothing arrived: the exporter, its scrape or the remote write was down, or there \
                 was no cluster"
            };
            format!("{} to {} UTC ({why})", clock(*start), clock(*end))
        })
        .collect();
    let more = match holes.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(", and {more} more holes"),
    };
    format!("cluster '{cluster}' has none {}{more}", named.join(", "))
}

/// `05-13 09:05`: a shifted day reaches into the next one.
pub(super) fn clock(seconds: i64) -> String {
    let time = DateTime::from_timestamp(seconds, 0);
    time.map_or_else(|| seconds.to_string(), |time| time.format("%m-%d %H:%M").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_the_minutes_between_and_at_both_ends() {
        let window = Window { start: 30, end: 601 };
        let seen = BTreeSet::from([120, 180, 420]);
        assert_eq!(holes(&seen, window), [(60, 120), (240, 420), (480, 660)]);
        let all: BTreeSet<i64> = (0..20).map(|minute| minute * 60).collect();
        assert!(holes(&all, window).is_empty());
        assert_eq!(holes(&BTreeSet::new(), Window { start: 0, end: 60 }), [(0, 60)]);
    }

    #[test]
    fn edges_are_what_lies_before_the_first_and_after_the_last_sample() {
        let window = Window { start: 0, end: 3_600 };
        assert_eq!(edge_minutes((0.0, 3_540.0), window), 0);
        assert_eq!(edge_minutes((600.0, 3_540.0), window), 10);
        assert_eq!(edge_minutes((600.0, 600.0), window), 59);
        assert_eq!(edge_minutes((0.0, 1_740.0), window), 30);
    }

    #[test]
    fn a_hole_says_whether_its_source_was_alive() {
        let nine = 9 * 3_600;
        let holes = [(nine, nine + 600), (2 * nine, 2 * nine + 60)];
        let alive: BTreeSet<i64> = (0..6).map(|minute| nine + minute * 60).collect();
        assert_eq!(
            phrase("c", &holes, &alive),
            "cluster 'c' has none 01-01 09:00 to 01-01 09:10 UTC (the exporter ran, but had no \
             fresh costs from Kubecost), 01-01 18:00 to 01-01 18:01 UTC (nothing arrived: the \
             exporter, its scrape or the remote write was down, or there was no cluster)"
        );
        let many: Vec<_> = (0..9).map(|n| (n * n * 600, n * n * 600 + 60)).collect();
        assert!(phrase("c", &many, &alive).ends_with("and 6 more holes"));
    }

    #[test]
    fn regular_holes_are_a_scrape_interval_and_others_are_outages() {
        let every = |period: i64, hole: i64, count: i64| -> Vec<(i64, i64)> {
            (0..count).map(|n| (n * period, n * period + hole)).collect()
        };
        assert_eq!(scrape_interval(&every(600, 300, 144)), Some(600));
        assert_eq!(scrape_interval(&every(900, 600, 96)), Some(900));
        assert_eq!(scrape_interval(&every(600, 60, 144)), None, "nine of ten minutes are there");
        assert_eq!(scrape_interval(&every(600, 300, 5)), None, "too few to tell");
        let irregular: Vec<_> = (0..20).map(|n| (n * n * 600, n * n * 600 + 300)).collect();
        assert_eq!(scrape_interval(&irregular), None);
        let text = phrase("c", &every(600, 300, 144), &BTreeSet::new());
        assert!(text.contains("every 10 min") && !text.contains("holes"), "{text}");
        // An outage of an hour amid them.
        let mut with_outage = every(600, 300, 144);
        with_outage.drain(20..26);
        assert_eq!(scrape_interval(&with_outage), Some(600));
    }

    #[test]
    fn an_exporter_ran_in_a_hole_when_it_was_alive_for_most_of_it() {
        let of_ten_minutes = |alive: i64| {
            let alive: BTreeSet<i64> = (0..alive).map(|minute| minute * 60).collect();
            phrase("c", &[(0, 600)], &alive).contains("the exporter ran")
        };
        assert_eq!([1, 5, 6].map(of_ten_minutes), [false, false, true]);
    }
}
