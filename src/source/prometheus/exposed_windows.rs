//! Which windows the exporters of an account have shown, and when.

use std::collections::{BTreeMap, BTreeSet};

use crate::cost::Day;
use crate::service::failure::Failure;

use crate::source::metric_names::{
    BUILD_INFO, CLUSTER_TOTAL, EARLIER_INFO, WINDOW_END, WINDOW_SECONDS,
};
use crate::source::prometheus::gauges::shifted;
use crate::source::prometheus::incomplete_windows;
use crate::source::prometheus::promql::{
    GRID_SECONDS, Selector, Sources, Window, minutes_present, next_grid_point,
};
use crate::source::prometheus::session::DaySession;
use crate::source::prometheus::windows::{
    self, ExposedWindow, LOOKBACK_SECONDS, Sampling, WindowSample, is_plausible,
};

/// The longest time after the end of a day at which a window of it may be shown, beside the
/// window's own length (seconds).
const SHOWN_LATE_SECONDS: i64 = 3 * 3_600;
/// The longest window that is looked for (seconds).
const LENGTH_SECONDS_MAX: i64 = 172_800;

/// A cluster whose exporter says which window its gauges are of.
#[derive(Clone, Debug)]
pub(super) struct Windowed {
    /// The windows that were shown on the day and while its last ones may be, the earliest first.
    pub(super) exposed: Vec<ExposedWindow>,
    /// Which of its gauges are of windows.
    pub(super) sources: Sources,
    /// Minutes at which gauges without a window were there too.
    pub(super) windowless_minutes: u32,
    /// Whether more than one series has its whole cost.
    pub(super) is_doubled: bool,
    /// Whether its exporter said of some window that it had only a part of it.
    pub(super) is_incomplete: bool,
}

impl Windowed {
    /// After when it shows no window any more, Unix seconds.
    fn last_minute(&self) -> i64 {
        let last = self.exposed.iter().filter_map(|one| one.minutes.last()).max();
        last.copied().unwrap_or(i64::MIN)
    }

    /// The length of its longest window, seconds.
    fn longest(&self) -> i64 {
        let lengths = self.exposed.iter().map(|one| one.window.end - one.window.start);
        lengths.max().unwrap_or(0)
    }

    /// What of a day is taken from gauges without a window: what was before this exporter's
    /// first one, and what is after it has gone.
    pub(super) fn spans_elsewhere(&self, day: Window, now_seconds: i64) -> Vec<Window> {
        let first = self.exposed.iter().map(|one| one.window.start).min().unwrap_or(i64::MAX);
        let mut spans = vec![Window { start: day.start, end: first.min(day.end) }];
        if let Some(last) = self.exposed.last().map(|one| one.window) {
            // It has gone when it was quiet for as long as two of its windows.
            let quiet_from = self.last_minute() + 2 * (last.end - last.start);
            if quiet_from < day.end.min(now_seconds) {
                spans.push(Window { start: last.end.max(day.start), end: day.end });
            }
        }
        spans.retain(|span| span.start < span.end);
        spans
    }
}

/// The clusters that show windows, by name.
pub(super) async fn windowed(
    session: &mut DaySession<'_>,
    selector: &Selector,
    day: Day,
    now_seconds: i64,
) -> Result<BTreeMap<String, Windowed>, Failure> {
    let Some((shown_in, lengths)) = lengths(session, selector, day, now_seconds).await? else {
        return Ok(BTreeMap::new());
    };
    let modes = modes(session, selector, shown_in).await?;
    let mut shown = shown(session, selector, shown_in, &lengths).await?;
    for (cluster, list) in &mut shown {
        for one in list {
            one.is_total = modes.at(cluster, one.time);
        }
        if modes.is_ambiguous(cluster) {
            session.warn(format!(
                "the exporters of cluster '{cluster}' do not agree on whether their gauges are \
                 rates or totals (METRIC_MODE): nothing is read while they do not"
            ));
        }
    }
    let mut found: BTreeMap<String, Windowed> = BTreeMap::new();
    for (cluster, list) in shown {
        warn_of_implausible(session, &cluster, &list);
        let exposed = windows::exposed_windows(&list);
        if !exposed.is_empty() {
            let new = Windowed {
                exposed,
                sources: Sources::All,
                windowless_minutes: 0,
                is_doubled: false,
                is_incomplete: false,
            };
            found.insert(cluster, new);
        }
    }
    let longest = found.iter().map(|(cluster, one)| (cluster.clone(), one.longest())).collect();
    for cluster in incomplete_windows::clusters(session, selector, shown_in, &longest).await? {
        if let Some(windowed) = found.get_mut(&cluster) {
            windowed.is_incomplete = true;
        }
    }
    separate_sources(session, selector, shown_in, &mut found).await?;
    Ok(found)
}

fn warn_of_implausible(session: &mut DaySession<'_>, cluster: &str, shown: &[WindowSample]) {
    let Some(bad) = shown.iter().find(|one| !is_plausible(one.window, one.time)) else { return };
    let days = (bad.time - bad.window.end) as f64 / 86_400.0;
    session.warn(format!(
        "cluster '{cluster}' says that its costs are of a window of {} seconds that ended {days:.0} \
         days old ({WINDOW_END}, {WINDOW_SECONDS}): that is not accepted",
        bad.window.end - bad.window.start
    ));
}

/// The lengths of clusters' windows where they do not change (`None`: they do), and the time in
/// which the day's windows are shown.
type Lengths = BTreeMap<String, Option<i64>>;

async fn lengths(
    session: &mut DaySession<'_>,
    selector: &Selector,
    day: Day,
    now_seconds: i64,
) -> Result<Option<(Window, Lengths)>, Failure> {
    let mut shown_in = shifted(day, 0, now_seconds);
    shown_in.end = (day.end_seconds() + LENGTH_SECONDS_MAX).min(now_seconds + 1);
    if shown_in.start >= shown_in.end {
        return Ok(None);
    }
    let by = |aggregate: &str, piece: Window| {
        let function = format!("{aggregate}_over_time");
        let values = selector.over_time(&function, WINDOW_SECONDS, &[], &piece.range());
        format!("{aggregate} by ({}) ({values})", selector.labels(&[]))
    };
    let most = session.extreme(shown_in, f64::max, |piece| by("max", piece)).await?;
    if most.is_empty() {
        return Ok(None);
    }
    let least = session.extreme(shown_in, f64::min, |piece| by("min", piece)).await?;
    let mut lengths = Lengths::new();
    let mut longest = 0;
    for (labels, most) in &most {
        let is_constant = least.get(labels).is_some_and(|least| least.to_bits() == most.to_bits());
        let known = seconds(*most).filter(|_| is_constant);
        longest = longest.max(seconds(*most).unwrap_or(0));
        let cluster = session.cluster(labels).to_owned();
        // One name with and without its label may have two lengths.
        lengths
            .entry(cluster)
            .and_modify(|one| *one = one.filter(|v| Some(*v) == known))
            .or_insert(known);
    }
    let latest = day.end_seconds() + longest.min(LENGTH_SECONDS_MAX) + SHOWN_LATE_SECONDS;
    shown_in.end = latest.min(now_seconds + 1);
    Ok(Some((shown_in, lengths)))
}

#[expect(clippy::cast_possible_truncation, reason = "far below 2^53")]
fn seconds(value: f64) -> Option<i64> {
    (value.is_finite() && value.abs() < 1e12).then_some(value.round() as i64)
}

/// Each minute of a window of time.
fn minutes_of(window: Window) -> Sampling {
    Sampling { first: next_grid_point(window.start), step: GRID_SECONDS, count: window.minutes() }
}

/// What clusters show from minute to minute; the mode of the gauges is left open.
async fn shown(
    session: &mut DaySession<'_>,
    selector: &Selector,
    shown_in: Window,
    lengths: &Lengths,
) -> Result<BTreeMap<String, Vec<WindowSample>>, Failure> {
    let count = lengths.len() as u64;
    // Where the labels of costs and windows do not match, the cluster has to do.
    let ends = selector.raw(WINDOW_END, &[]);
    let costs = selector.raw(CLUSTER_TOTAL, &[]);
    let with = |costs: &str| {
        selector.max_by(&[], &format!("{ends} and ignoring (currency, mode) {costs}"))
    };
    // A cost that an instant query still finds when its series has stopped is of another window.
    let fresh = format!(
        "(timestamp({costs}) >= ignoring (currency, mode) group_left () \
         max without (currency, mode) (timestamp({ends})))"
    );
    let any = format!("({} and {})", selector.max_by(&[], &ends), selector.max_by(&[], &costs));
    let query = format!("{} or ({any} unless {})", with(&fresh), with(&costs));
    let ends_shown = session.values(minutes_of(shown_in), count, |_| query.clone()).await?;
    let changing = if lengths.values().any(Option::is_none) {
        let seconds = selector.raw(WINDOW_SECONDS, &[]);
        let newest = selector.newest(&ends);
        let query = format!(
            "{} or {}",
            selector.max_by(&[], &format!("{seconds} and ({newest})")),
            selector.max_by(&[], &seconds)
        );
        session.values(minutes_of(shown_in), count, |_| query.clone()).await?
    } else {
        BTreeMap::new()
    };
    // A cluster's name may be long: one copy each.
    let mut by_time: BTreeMap<&str, BTreeMap<i64, i64>> = BTreeMap::new();
    for (labels, points) in &changing {
        let of = |(time, value): &(i64, f64)| Some((*time, seconds(*value)?));
        by_time.entry(session.cluster(labels)).or_default().extend(points.iter().filter_map(of));
    }
    let mut out: BTreeMap<String, BTreeMap<i64, Window>> = BTreeMap::new();
    for (labels, points) in ends_shown {
        let cluster = session.cluster(&labels).to_owned();
        let Some(known) = lengths.get(&cluster) else { continue };
        let of_cluster = out.entry(cluster.clone()).or_default();
        for (time, value) in points {
            let length = known.or_else(|| by_time.get(cluster.as_str())?.get(&time).copied());
            let (Some(length), Some(end)) = (length, seconds(value)) else { continue };
            let window = Window { start: end - length, end };
            let newest = of_cluster.entry(time).or_insert(window);
            if newest.end < end {
                *newest = window;
            }
        }
    }
    let list = |minutes: BTreeMap<i64, Window>| {
        minutes
            .into_iter()
            .map(|(time, window)| WindowSample { time, window, is_total: None })
            .collect()
    };
    Ok(out.into_iter().map(|(cluster, minutes)| (cluster, list(minutes))).collect())
}

/// When clusters' exporters said that their gauges are totals, and when that they are rates.
#[derive(Debug, Default)]
struct Modes {
    totals: BTreeMap<String, BTreeSet<i64>>,
    rates: BTreeMap<String, BTreeSet<i64>>,
}

impl Modes {
    /// Whether gauges are totals at a minute; `None` where exporters do not agree.
    fn at(&self, cluster: &str, time: i64) -> Option<bool> {
        let has = |of: &BTreeMap<String, BTreeSet<i64>>| {
            of.get(cluster).is_some_and(|times| times.contains(&time))
        };
        match (has(&self.totals), has(&self.rates)) {
            (true, true) => None,
            (is_total, _) => Some(is_total),
        }
    }

    /// Whether exporters disagree for longer than one takes the other's place.
    fn is_ambiguous(&self, cluster: &str) -> bool {
        const RESTART_MINUTES: usize = 10;
        let (Some(totals), Some(rates)) = (self.totals.get(cluster), self.rates.get(cluster))
        else {
            return false;
        };
        totals.intersection(rates).count() > RESTART_MINUTES
    }
}

/// Matches series that have the mode of gauges as a label: the exporters' own, or the gauges.
fn with_mode(mode: &str) -> [String; 2] {
    let names = [BUILD_INFO, EARLIER_INFO, CLUSTER_TOTAL].join("|");
    [format!("__name__=~\"{names}\""), format!("mode{mode}")]
}

/// Clusters whose gauges were totals at some time.
pub(super) async fn totals(
    session: &mut DaySession<'_>,
    selector: &Selector,
    window: Window,
) -> Result<BTreeSet<String>, Failure> {
    let any = with_mode("=\"total\"");
    let any = any.each_ref().map(String::as_str);
    let count = |piece: Window| {
        selector.max_by(&[], &selector.over_time("count_over_time", "", &any, &piece.range()))
    };
    let found = session.summed(window, 1, count).await?;
    Ok(session.by_cluster(&found).into_keys().collect())
}

/// Whether gauges are totals, from minute to minute.
async fn modes(
    session: &mut DaySession<'_>,
    selector: &Selector,
    shown_in: Window,
) -> Result<Modes, Failure> {
    let clusters = totals(session, selector, shown_in).await?;
    let mut modes = Modes::default();
    if clusters.is_empty() {
        return Ok(modes);
    }
    for (mode, of) in [("=\"total\"", &mut modes.totals), ("!~\"|total\"", &mut modes.rates)] {
        let by = selector.labels(&[]);
        let any = with_mode(mode);
        let any = any.each_ref().map(String::as_str);
        let series = selector.with_clusters(|more| selector.stored("", &[&any, more].concat()));
        let query = format!("count by ({by}) ({series})");
        let series = clusters.len() as u64;
        for (labels, points) in
            session.values(minutes_of(shown_in), series, |_| query.clone()).await?
        {
            let cluster = session.cluster(&labels).to_owned();
            of.entry(cluster).or_default().extend(points.iter().map(|(time, _)| *time));
        }
    }
    Ok(modes)
}

/// Learns which clusters have gauges without a window beside those that do, and which have
/// several exporters.
async fn separate_sources(
    session: &mut DaySession<'_>,
    selector: &Selector,
    shown_in: Window,
    found: &mut BTreeMap<String, Windowed>,
) -> Result<(), Failure> {
    if found.is_empty() {
        return Ok(());
    }
    let minutes = |sources: Sources| {
        let of = Selector { sources, ..selector.clone() };
        selector.max_by(&[], &of.raw(CLUSTER_TOTAL, &[]))
    };
    let (with, without) = (minutes(Sources::Windowed), minutes(Sources::Windowless));
    let with = session.summed(shown_in, 1, |piece| minutes_present(&with, piece)).await?;
    let without = session.summed(shown_in, 1, |piece| minutes_present(&without, piece)).await?;
    let (with, without) = (session.by_cluster(&with), session.by_cluster(&without));
    let count = |piece: Window| {
        let by = selector.labels(&[]);
        // With what is still seen of series that ended before the piece.
        let seen = Window { start: piece.start - LOOKBACK_SECONDS, ..piece };
        let samples = selector.over_time("count_over_time", CLUSTER_TOTAL, &[], &seen.range());
        format!("count by ({by}) ({samples})")
    };
    let series = session.extreme(shown_in, f64::max, count).await?;
    let series = session.by_cluster(&series);
    for (cluster, windowed) in found {
        // Where labels do not match at all (recording rules), nothing can be kept apart by them.
        let can_match = with.contains_key(cluster);
        windowed.windowless_minutes =
            without.get(cluster).copied().filter(|_| can_match).unwrap_or(0);
        windowed.is_doubled = series.get(cluster).is_some_and(|count| *count > 1)
            || selector.named_and_unnamed.is_some();
        if can_match && windowed.is_doubled {
            windowed.sources = Sources::Newest;
        }
    }
    Ok(())
}
