//! The earlier exporter, which does not say which window its gauges are of.
//!
//! Its rate is an average over a window that slides with the time (24 hours where it was deployed
//! by its chart): so a rate, read at the end of a stretch as long as the window, is the stretch's.
//! What belongs here: pure choices over what it showed. What does not: asking (`earlier_costs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cost::costs::is_special;
use crate::cost::day::DAY_SECONDS;

use crate::source::prometheus::promql::{GRID_SECONDS, Window};

/// A whole cost below this share of the greatest is what a window slides down to.
const FADED_SHARE: f64 = 0.05;
/// Namespaces may exceed the whole by so much for reasons of timing.
const UNEXPLAINED_SHARE: f64 = 0.01;
/// Gauges have six decimals.
const ROUNDING_USD: f64 = 1e-6;
/// Exporters of one cluster differ by less: the earlier one leaves out some of the cluster's own
/// rows, and its window slides.
const DISAGREEMENT_SHARE: f64 = 0.25;
/// Exporters are held against each other over so much time at least (seconds).
const COMPARED_SECONDS_MIN: i64 = 3 * 3_600;
/// Most gauges that stood still, of which all combinations are tried.
const COMBINED_MAX: usize = 12;

/// A stretch of a day, and when the rate that is its own is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// The stretch.
    pub(super) span: Window,
    /// When its rate is read, Unix seconds; `None`: nothing was there to be read.
    pub(super) at: Option<i64>,
}

/// The stretches of a span of which all has passed: as long as the window, the last one ending
/// with the span. Each is read when the window covers it best, among `usable` minutes.
pub(super) fn stretches(
    span: Window,
    window_seconds: i64,
    usable: &BTreeSet<i64>,
    now_seconds: i64,
) -> Vec<Stretch> {
    let length = window_seconds.clamp(GRID_SECONDS, DAY_SECONDS);
    let mut out = Vec::new();
    let mut end = span.end;
    while end > span.start {
        let start = (end - length).max(span.start);
        if end <= now_seconds {
            let span = Window { start, end };
            out.push(Stretch { span, at: best_minute(span, length, usable) });
        }
        end = start;
    }
    out.reverse();
    out
}

fn best_minute(span: Window, length: i64, usable: &BTreeSet<i64>) -> Option<i64> {
    let wanted = (span.start + span.end + length) / 2;
    let range = span.end - length / 4..=span.start + length;
    usable.range(range).min_by_key(|minute| ((*minute - wanted).abs(), **minute)).copied()
}

/// The minutes at which a whole cost can be accepted. A sliding average cannot fall to nothing at
/// once: after a full hour this exporter shows zeros until it has an answer again.
pub(super) fn usable(totals: &[(i64, f64)]) -> BTreeSet<i64> {
    let most = totals.iter().map(|(_, usd)| *usd).filter(|usd| usd.is_finite()).fold(0.0, f64::max);
    let mut before: Option<f64> = None;
    let mut out = BTreeSet::new();
    for (time, usd) in totals.iter().filter(|(_, usd)| usd.is_finite() && *usd >= 0.0) {
        if *usd > 0.0 {
            before = Some(*usd);
        } else if before.is_some_and(|before| before > most * FADED_SHARE) {
            continue;
        }
        out.insert(*time);
    }
    out
}

/// Rates of namespaces at one minute, special ones such as `__idle__` included, USD per hour.
pub(super) type Rates = BTreeMap<Arc<str>, f64>;

/// Namespaces that no longer cost anything, but whose gauges stand still: the exporter keeps them
/// until it restarts, and the cluster's total lacks them. `before` has earlier readings, the latest
/// first. `None`: more is shown than the whole, and which of it is no longer there cannot be known.
pub(super) fn gone(now: &Rates, before: &[&Rates], total: f64) -> Option<BTreeSet<String>> {
    let sum: f64 = now.values().sum();
    let tolerance = ROUNDING_USD * (now.len() as f64 + 2.0);
    let excess = sum - total;
    if excess <= tolerance {
        return Some(BTreeSet::new());
    }
    // The rows that are the cluster's own tell what the whole is made of; where they are not
    // shown, the least that brings the sum down to the whole has to do.
    let is_whole_shown = now.keys().any(|name| is_special(name));
    let off = |sum: f64| {
        let off = sum - excess;
        let fits = off >= -tolerance && (!is_whole_shown || off <= tolerance);
        fits.then_some(off.abs())
    };
    // Who stood still for longest is gone most likely.
    for count in (1..=before.len()).rev() {
        let before = &before[..count];
        let mut still: Vec<(&str, f64)> = now
            .iter()
            .filter(|(name, usd)| !is_special(name) && stood_still(name, **usd, before))
            .map(|(name, usd)| (&**name, *usd))
            .collect();
        still.sort_by(|a, b| a.1.total_cmp(&b.1));
        if let Some(gone) = combination(&still, off) {
            return Some(gone);
        }
    }
    (excess <= UNEXPLAINED_SHARE * total).then(BTreeSet::new)
}

fn stood_still(name: &str, usd: f64, before: &[&Rates]) -> bool {
    let is_same = |value: &f64| value.to_bits() == usd.to_bits();
    usd > 0.0 && before.iter().all(|rates| rates.get(name).is_some_and(is_same))
}

/// The combination that fits best; of those that fit alike, one of the fewest names.
fn combination(
    still: &[(&str, f64)],
    off: impl Fn(f64) -> Option<f64>,
) -> Option<BTreeSet<String>> {
    let masks: Box<dyn Iterator<Item = u128>> = if still.len() <= COMBINED_MAX {
        Box::new(1..1_u128 << still.len())
    } else {
        let count = still.len().min(128);
        let pairs = move |one: usize| (one..count).map(move |other| 1_u128 << one | 1 << other);
        Box::new((0..count).flat_map(pairs))
    };
    let of =
        |mask: u128| still.iter().take(128).enumerate().filter(move |(n, _)| mask >> n & 1 == 1);
    let mut best: Option<(f64, u32, u128)> = None;
    for mask in masks {
        let Some(off) = off(of(mask).map(|(_, (_, usd))| usd).sum()) else { continue };
        let is_better = best.is_none_or(|(least, count, _)| {
            let is_alike = (off - least).abs() <= ROUNDING_USD;
            if is_alike { mask.count_ones() < count } else { off < least }
        });
        if is_better {
            best = Some((off, mask.count_ones(), mask));
        }
    }
    best.map(|(_, _, mask)| of(mask).map(|(_, (name, _))| (*name).to_owned()).collect())
}

/// Costs of spans, USD.
pub(super) type Spans = Vec<(Window, f64)>;

/// What two exporters say of the stretches that both know whole, where they cannot be one
/// cluster's: USD of the earlier one and of the other.
pub(super) fn disagreement(earlier: &Spans, windows: &Spans) -> Option<(f64, f64)> {
    let mut seconds = 0;
    let (mut of_earlier, mut of_windows) = (0.0, 0.0);
    for (stretch, usd) in earlier {
        let is_within =
            |one: &&(Window, f64)| stretch.start <= one.0.start && one.0.end <= stretch.end;
        let inside: Vec<_> = windows.iter().filter(is_within).collect();
        let covered: i64 = inside.iter().map(|(span, _)| span.end - span.start).sum();
        if covered == stretch.end - stretch.start {
            seconds += covered;
            of_earlier += usd;
            of_windows += inside.iter().map(|(_, usd)| usd).sum::<f64>();
        }
    }
    let most = of_earlier.max(of_windows);
    let differ = (of_earlier - of_windows).abs() > DISAGREEMENT_SHARE * most;
    (seconds >= COMPARED_SECONDS_MIN && differ).then_some((of_earlier, of_windows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: i64 = 3_600;
    const DAY: Window = Window { start: 86_400 * 20_000, end: 86_400 * 20_001 };

    fn rates(pairs: &[(&str, f64)]) -> Rates {
        pairs.iter().map(|(name, usd)| ((*name).into(), *usd)).collect()
    }

    fn minutes(window: Window) -> BTreeSet<i64> {
        (window.start / 60..window.end / 60).map(|minute| minute * 60).collect()
    }

    fn names(found: Option<BTreeSet<String>>) -> Option<Vec<String>> {
        found.map(|names| names.into_iter().collect())
    }

    #[test]
    fn a_day_is_one_stretch_of_a_window_of_24_hours_and_24_of_one_hour() {
        let all = minutes(DAY);
        let day = stretches(DAY, 24 * HOUR, &all, DAY.end);
        assert_eq!(day, [Stretch { span: DAY, at: Some(DAY.end - 60) }]);
        let hours = stretches(DAY, HOUR, &all, DAY.end);
        assert_eq!(hours.len(), 24);
        assert_eq!(hours[4].at, Some(DAY.start + 5 * HOUR));
        assert_eq!(stretches(DAY, HOUR, &all, DAY.start + 5 * HOUR + 60).len(), 5);
        assert_eq!(stretches(DAY, 24 * HOUR, &all, DAY.end - 60), []);
    }

    #[test]
    fn a_stretch_is_read_shortly_before_its_end_where_there_is_nothing_at_the_end() {
        let zeros = |minute: &i64| minute.rem_euclid(HOUR) >= 180;
        let all: BTreeSet<i64> = minutes(DAY).into_iter().filter(zeros).collect();
        let hours = stretches(DAY, HOUR, &all, DAY.end);
        assert!(hours.iter().all(|one| one.at == Some(one.span.end - 60)), "{hours:?}");
        let down = DAY.start + 2 * HOUR..DAY.start + 3 * HOUR;
        let some: BTreeSet<i64> = all.into_iter().filter(|m| !down.contains(m)).collect();
        let hours = stretches(DAY, HOUR, &some, DAY.end);
        assert_eq!(hours.iter().filter(|one| one.at.is_none()).count(), 1);
        assert_eq!(hours[2].at, None);
    }

    #[test]
    fn what_is_left_of_a_day_before_another_exporter_is_read_as_late_as_can_be() {
        let span = Window { start: DAY.start, end: DAY.start + 10 * HOUR };
        let until = DAY.start + 12 * HOUR + 300;
        let usable = minutes(Window { start: DAY.start, end: until });
        let found = stretches(span, 24 * HOUR, &usable, DAY.end);
        assert_eq!(found, [Stretch { span, at: Some(until - 60) }]);
    }

    #[test]
    fn zeros_after_a_cost_are_no_cost_and_those_that_it_slides_down_to_are() {
        let points = [(0, 4.0), (60, 0.0), (120, 0.0), (180, 4.0), (240, 0.1), (300, 0.0)];
        assert_eq!(usable(&points).into_iter().collect::<Vec<_>>(), [0, 180, 240, 300]);
        assert_eq!(usable(&[(0, 0.0), (60, 0.0)]).len(), 2);
        assert_eq!(usable(&[(0, f64::NAN), (60, -1.0), (120, 1.0)]).len(), 1);
    }

    #[test]
    fn a_namespace_that_stands_still_and_is_not_in_the_whole_is_gone() {
        let before = rates(&[("a", 1.0), ("b", 0.25), ("old", 0.5), ("__idle__", 0.5)]);
        let now = rates(&[("a", 1.5), ("b", 0.25), ("old", 0.5), ("__idle__", 0.5)]);
        assert_eq!(names(gone(&now, &[&before], 2.25)).unwrap(), ["old"]);
        assert_eq!(names(gone(&now, &[&before], 1.75)), None, "idle is the cluster's");
        assert_eq!(names(gone(&now, &[&before], 2.75)).unwrap(), Vec::<String>::new());
        assert_eq!(names(gone(&now, &[&before], 2.0)).unwrap(), ["b", "old"]);
        // One that moved is there still: nothing explains the excess.
        assert_eq!(names(gone(&now, &[&before], 1.25)), None);
        assert_eq!(names(gone(&now, &[&before], 2.74)).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn one_that_went_a_short_time_ago_stood_still_only_since() {
        let earlier = rates(&[("a", 1.0), ("b", 0.5), ("old", 2.0), ("__idle__", 0.5)]);
        let before = rates(&[("a", 1.2), ("b", 0.5), ("old", 0.25), ("__idle__", 0.5)]);
        let now = rates(&[("a", 1.5), ("b", 0.5), ("old", 0.25), ("__idle__", 0.5)]);
        assert_eq!(names(gone(&now, &[&before, &earlier], 2.5)).unwrap(), ["old"]);
        assert_eq!(names(gone(&now, &[&before, &earlier], 2.25)).unwrap(), ["b"]);
    }

    #[test]
    fn without_the_clusters_own_rows_the_least_is_gone_that_fits_into_the_whole() {
        let before = rates(&[("a", 1.0), ("b", 0.25), ("old", 0.5)]);
        let now = rates(&[("a", 1.5), ("b", 0.25), ("old", 0.5)]);
        assert_eq!(names(gone(&now, &[&before], 1.9)).unwrap(), ["old"]);
        assert_eq!(names(gone(&now, &[&before], 5.0)).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn exporters_of_two_clusters_differ_where_both_have_costs() {
        let span = |from: i64, until: i64| Window {
            start: DAY.start + from * HOUR,
            end: DAY.start + until * HOUR,
        };
        let hours = |from: i64, until: i64, usd: f64| -> Spans {
            (from..until).map(|hour| (span(hour, hour + 1), usd)).collect()
        };
        let day = vec![(span(0, 24), 48.0)];
        assert_eq!(disagreement(&day, &hours(0, 24, 2.2)), None);
        let other = disagreement(&day, &hours(0, 24, 3.0)).unwrap();
        assert_eq!(other, (48.0, 72.0));
        // A part of the day says nothing of its average.
        assert_eq!(disagreement(&day, &hours(12, 24, 9.0)), None);
        assert_eq!(disagreement(&hours(0, 24, 1.0), &hours(12, 14, 9.0)), None);
        assert!(disagreement(&hours(0, 24, 1.0), &hours(12, 18, 9.0)).is_some());
    }

    proptest! {
        /// What is left never exceeds the whole by more than rounding.
        #[test]
        fn what_is_left_fits_into_the_whole(
            live in prop::collection::vec(0.01..5.0f64, 1..20),
            stale in prop::collection::vec(0.01..5.0f64, 0..4),
            has_idle: bool,
        ) {
            let mut now = Rates::new();
            for (n, usd) in live.iter().enumerate() {
                now.insert(format!("live-{n}").into(), *usd);
            }
            let mut before: Rates =
                now.iter().map(|(name, usd)| (name.clone(), usd + 0.001)).collect();
            let idle = if has_idle { 0.7 } else { 0.0 };
            let total: f64 = live.iter().sum::<f64>() + idle;
            for (n, usd) in stale.iter().enumerate() {
                now.insert(format!("stale-{n}").into(), *usd);
                before.insert(format!("stale-{n}").into(), *usd);
            }
            if has_idle {
                now.insert("__idle__".into(), idle);
            }
            let gone = gone(&now, &[&before], total).unwrap();
            prop_assert_eq!(gone.len(), stale.len());
            prop_assert!(gone.iter().all(|name| name.starts_with("stale-")));
        }
    }
}
