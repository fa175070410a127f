//! Which windows of an exporter make up a day, and when each of them is read.
//!
//! A gauge of a closed window says what that window cost, however long it is shown. So each
//! window counts once, for its own length, on the day that it covers. What belongs here: pure
//! choices over what was shown. What does not: asking the server (`window_costs`).

use std::collections::{BTreeMap, BTreeSet};

use crate::source::prometheus::promql::{GRID_SECONDS, Sources, Window, next_grid_point};

/// A window that is further away than this is none: the clock or the gauge is wrong (seconds).
const DISTANCE_SECONDS_MAX: i64 = 172_800;
/// By how much an exporter's clock may be ahead (seconds).
const AHEAD_SECONDS_MAX: i64 = 300;
/// An instant query finds samples that are this old (seconds): series of the window before.
pub(super) const LOOKBACK_SECONDS: i64 = 300;
/// How much later than usual a window may be shown: exporters look again at one that seems half
/// computed (seconds).
const LATE_SECONDS: i64 = 1_200;

/// What a cluster's newest exporter showed at one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WindowSample {
    /// The minute, Unix seconds.
    pub(super) time: i64,
    /// The window.
    pub(super) window: Window,
    /// Whether gauges are USD per window and not per hour; `None`: that cannot be known.
    pub(super) is_total: Option<bool>,
}

/// A window, and where it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExposedWindow {
    /// The window.
    pub(super) window: Window,
    /// The first minute at which it was shown, Unix seconds.
    pub(super) first: i64,
    /// The minutes at which its gauges can be read, Unix seconds.
    pub(super) minutes: BTreeSet<i64>,
    /// Whether its gauges are USD per window and not per hour.
    pub(super) is_total: bool,
}

/// Whether a window that is shown at a time can be what the gauges are of.
pub(super) fn is_plausible(window: Window, time: i64) -> bool {
    let length = window.end - window.start;
    (1..=DISTANCE_SECONDS_MAX).contains(&length)
        && window.end <= time + AHEAD_SECONDS_MAX
        && time - window.end <= DISTANCE_SECONDS_MAX
}

/// The windows that were shown, the earliest first.
pub(super) fn exposed_windows(shown: &[WindowSample]) -> Vec<ExposedWindow> {
    let mut by_window: BTreeMap<(i64, i64, bool), ExposedWindow> = BTreeMap::new();
    let plausible = shown.iter().filter(|one| is_plausible(one.window, one.time));
    for one in plausible {
        let Some(is_total) = one.is_total else { continue };
        let (window, first) = (one.window, one.time);
        let new = || ExposedWindow { window, first, minutes: BTreeSet::new(), is_total };
        let key = (window.end, window.start, is_total);
        by_window.entry(key).or_insert_with(new).minutes.insert(one.time);
    }
    let mut out: Vec<ExposedWindow> = Vec::new();
    for exposed in by_window.into_values() {
        match out.last_mut() {
            // The mode was changed while the window was shown: the one shown longer is read.
            Some(last) if last.window == exposed.window => {
                if last.minutes.len() < exposed.minutes.len() {
                    *last = exposed;
                }
            }
            _ => out.push(exposed),
        }
    }
    for exposed in &mut out {
        let settled = exposed.minutes.split_off(&(exposed.first + LOOKBACK_SECONDS));
        if !settled.is_empty() {
            exposed.minutes = settled;
        } else if let Some(last) = exposed.minutes.pop_last() {
            exposed.minutes = BTreeSet::from([last]);
        }
    }
    out
}

/// A window's part of a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WindowSlice {
    /// What of the window lies in the day.
    pub(super) span: Window,
    /// The window.
    pub(super) window: Window,
    /// The minutes at which its gauges can be read, Unix seconds.
    pub(super) minutes: BTreeSet<i64>,
    /// Whether its gauges are USD per window and not per hour.
    pub(super) is_total: bool,
}

impl WindowSlice {
    /// What its gauges are multiplied with to be the cost of this part, USD.
    fn weight(&self) -> f64 {
        let unit = if self.is_total { self.window.end - self.window.start } else { 3_600 };
        (self.span.end - self.span.start) as f64 / unit as f64
    }
}

/// The windows that cover most of a day without overlapping in it: an exporter may show windows
/// that overlap, such as the last 24 hours at each full hour. Of several such choices the one that
/// reaches least into other days.
pub(super) fn choose(exposed: &[ExposedWindow], day: Window) -> Vec<WindowSlice> {
    let mut parts: Vec<WindowSlice> = exposed.iter().filter_map(|one| part(one, day)).collect();
    parts.sort_by_key(|part| (part.span.end, part.span.start, part.window.end));
    // best[i]: covered seconds, and those outside of the day (negative), of the first i parts.
    let mut best = vec![(0_i64, 0_i64)];
    let mut taken = Vec::with_capacity(parts.len());
    for part in &parts {
        let before = parts.partition_point(|other| other.span.end <= part.span.start);
        let covered = part.span.end - part.span.start;
        let outside = part.window.end - part.window.start - covered;
        let with = (best[before].0 + covered, best[before].1 - outside);
        let without = best[taken.len()];
        let is_taken = with > without;
        taken.push(is_taken.then_some(before));
        best.push(if is_taken { with } else { without });
    }
    let mut chosen = Vec::new();
    let mut count = parts.len();
    while count > 0 {
        match taken[count - 1] {
            Some(before) => {
                chosen.push(parts[count - 1].clone());
                count = before;
            }
            None => count -= 1,
        }
    }
    chosen.reverse();
    chosen
}

fn part(exposed: &ExposedWindow, day: Window) -> Option<WindowSlice> {
    let window = exposed.window;
    let span = Window { start: window.start.max(day.start), end: window.end.min(day.end) };
    (span.start < span.end).then(|| WindowSlice {
        span,
        window,
        minutes: exposed.minutes.clone(),
        is_total: exposed.is_total,
    })
}

/// How late a source shows its windows, seconds after they end: the least that was seen.
fn delay(exposed: &[ExposedWindow]) -> i64 {
    exposed.iter().map(|one| one.first - one.window.end).min().unwrap_or(0).max(0)
}

/// By how much a source lags behind the cost: a window and how late it is shown, seconds.
pub(super) fn lag(exposed: &[ExposedWindow]) -> i64 {
    let length = exposed.last().map_or(0, |last| last.window.end - last.window.start);
    next_grid_point(length + delay(exposed))
}

/// Up to when windows should have been shown by now, Unix seconds; `None` without any window.
pub(super) fn due_end(exposed: &[ExposedWindow], now_seconds: i64) -> Option<i64> {
    let last = exposed.last()?.window;
    let length = last.end - last.start;
    let waited = now_seconds - LATE_SECONDS - delay(exposed) - last.end;
    Some(last.end + waited.div_euclid(length).max(0) * length)
}

/// What of a span is in none of the others, the earliest first.
pub(super) fn uncovered(span: Window, covered: &[Window]) -> Vec<Window> {
    let mut covered = covered.to_vec();
    covered.sort_by_key(|one| one.start);
    let mut out = Vec::new();
    let mut start = span.start;
    for one in covered {
        if one.start > start {
            out.push(Window { start, end: one.start.min(span.end) });
        }
        start = start.max(one.end);
    }
    out.push(Window { start, end: span.end });
    out.retain(|one| one.start < one.end);
    out
}

/// Clusters that can be read at the same minutes, and what is read.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// The clusters.
    pub(super) clusters: Vec<String>,
    /// Which exporters' gauges are taken.
    pub(super) sources: Sources,
    /// The parts, with minutes that are good for all clusters.
    pub(super) parts: Vec<WindowSlice>,
}

/// Groups clusters, so that one question is asked for many of them.
pub(super) fn groups(clusters: Vec<(String, Sources, Vec<WindowSlice>)>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (cluster, sources, parts) in clusters {
        let joined = groups.iter_mut().find_map(|group| {
            let common = (group.sources == sources).then(|| common(&group.parts, &parts))??;
            Some((group, common))
        });
        match joined {
            Some((group, common)) => {
                group.clusters.push(cluster);
                group.parts = common;
            }
            None => groups.push(Group { clusters: vec![cluster], sources, parts }),
        }
    }
    groups
}

/// Parts of the same windows, at the minutes that both have; `None` where they have none.
fn common(some: &[WindowSlice], others: &[WindowSlice]) -> Option<Vec<WindowSlice>> {
    let pairs = some.iter().zip(others);
    let common = pairs.map(|(one, other)| {
        let is_same = one.window == other.window && one.is_total == other.is_total;
        let minutes: BTreeSet<i64> = one.minutes.intersection(&other.minutes).copied().collect();
        (is_same && !minutes.is_empty()).then(|| WindowSlice { minutes, ..one.clone() })
    });
    if some.len() == others.len() { common.collect() } else { None }
}

/// Evaluation times at a fixed step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sampling {
    /// The first, Unix seconds.
    pub(super) first: i64,
    /// Their distance, seconds.
    pub(super) step: i64,
    /// How many.
    pub(super) count: u32,
}

impl Sampling {
    /// One time.
    pub(super) fn once(time: i64) -> Self {
        Self { first: time, step: GRID_SECONDS, count: 1 }
    }

    /// The last time, Unix seconds.
    pub(super) fn last(self) -> i64 {
        self.first + self.step * i64::from(self.count.saturating_sub(1))
    }

    /// Minutes from the first to the last time.
    pub(super) fn minutes(self) -> u32 {
        u32::try_from((self.last() - self.first) / GRID_SECONDS).unwrap_or(u32::MAX)
    }

    /// The times.
    pub(super) fn times(self) -> impl Iterator<Item = i64> {
        (0..i64::from(self.count)).map(move |number| self.first + self.step * number)
    }

    /// By how much later a grid of multiples of the step lies: servers put the points of
    /// subqueries there, and caches those of range queries (seconds).
    pub(super) fn offset(self) -> i64 {
        (-self.first).rem_euclid(self.step)
    }

    /// The same times in two halves; `None` where there is only one.
    pub(super) fn halves(self) -> Option<[Self; 2]> {
        let half = self.count / 2;
        let rest = Self {
            first: self.first + self.step * i64::from(half),
            count: self.count - half,
            ..self
        };
        (half > 0).then_some([Self { count: half, ..self }, rest])
    }

    /// A query of the sum over these times of an expression whose series are looked at so many
    /// seconds earlier; and the time of the query.
    pub(super) fn sum(self, expression: impl Fn(i64) -> String) -> (String, i64) {
        if self.count == 1 {
            return (expression(0), self.first);
        }
        // The left bound lies between grid points: whether it belongs to a range depends on the
        // server's version.
        let range = (self.last() - self.first) * 1_000 + 500;
        let query =
            format!("sum_over_time(({})[{range}ms:{}s])", expression(self.offset()), self.step);
        (query, self.last() + self.offset())
    }
}

/// Times to read parts at, and the weight of what is read: few where windows are shown regularly.
pub(super) fn samplings(parts: &[WindowSlice]) -> Vec<(Sampling, f64)> {
    let mut out = Vec::new();
    let mut rest = parts;
    while let [first, ..] = rest {
        let (count, step, starts) = regular(rest);
        if let Some(start) = starts.last() {
            let sampling = Sampling { first: *start, step, count };
            out.push((sampling, first.weight()));
        }
        rest = &rest[count as usize..];
    }
    out
}

/// How many of the first parts can be read in regular steps, those steps, and when to begin.
fn regular(parts: &[WindowSlice]) -> (u32, i64, BTreeSet<i64>) {
    let [first, rest @ ..] = parts else { return (0, GRID_SECONDS, BTreeSet::new()) };
    let step = rest.first().map_or(0, |next| next.window.end - first.window.end);
    let mut starts = first.minutes.clone();
    let mut count = 1;
    if step < GRID_SECONDS || step % GRID_SECONDS != 0 {
        return (count, GRID_SECONDS, starts);
    }
    for (part, number) in rest.iter().zip(1_i64..) {
        let is_next = part.window.end == first.window.end + step * number
            && part.weight().to_bits() == first.weight().to_bits();
        let is_good = |start: &&i64| part.minutes.contains(&(**start + step * number));
        let still: BTreeSet<i64> = starts.iter().filter(is_good).copied().collect();
        if !is_next || still.is_empty() {
            break;
        }
        (starts, count) = (still, count + 1);
    }
    (count, if count == 1 { GRID_SECONDS } else { step }, starts)
}

#[cfg(test)]
mod tests;
