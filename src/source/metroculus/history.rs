//! Replies that hold history: matrices and lists of points, integrated minute by minute.

use std::collections::{BTreeMap, BTreeSet};

use crate::accounts::Account;
use crate::cost::day::DAY_SECONDS;
use crate::cost::{Day, DayCosts, Level};
use crate::rate_journal::SLOT_SECONDS;
use crate::service::failure::Failure;

use crate::source::metric_names::{
    WINDOW_COVERED, WINDOW_END, WINDOW_SECONDS, WINDOW_UNKNOWN_ROWS,
};
use crate::source::prometheus::promql::next_grid_point;
use crate::source::prometheus::reply::Series;
use crate::source::{Phase, Presence, SourceDay};

use super::client::{Metrics, MetroculusMetric, series};
use super::exporters::is_earlier;
use super::query::{
    LEVELS, MetroculusQuery, RateReading, cluster_of, note_lacks, source_day, without_tenant,
};
use super::slots::{LATE_SLOTS_MAX, put};

/// For how long a sample stands when no newer one follows (seconds): Prometheus' own look-back.
const LOOKBACK_SECONDS: f64 = 300.0;
/// The longest distance of points that stand for the time until the next one, seconds.
const STEP_SECONDS_MAX: f64 = 3_600.0;

impl MetroculusQuery {
    /// Minutes with samples by day, the newest first, as long as the service answers matrices.
    pub(super) async fn matrix_presence(
        &self,
        account: &Account,
        first: Day,
        last: Day,
        now_seconds: i64,
        out: &mut BTreeMap<Day, Presence>,
    ) -> Result<(), Failure> {
        let mut days: Vec<Day> = first.through(last).collect();
        while let Some(day) = days.pop() {
            match self.matrix_day(account, day, now_seconds).await? {
                Some(source) => {
                    // Gauges that show nothing of the day yet are there: the day waits.
                    let is_waiting = u32::from(source.expected_minutes == 0);
                    out.entry(day).or_default().exporter_minutes =
                        source.covered_minutes.max(is_waiting);
                }
                None => break,
            }
        }
        Ok(())
    }

    /// The costs of a day whose replies are matrices; `None` when they are not.
    pub(super) async fn matrix_day(
        &self,
        account: &Account,
        day: Day,
        now_seconds: i64,
    ) -> Result<Option<SourceDay>, Failure> {
        let Some(history) = self.history(account, day, now_seconds).await? else { return Ok(None) };
        let History { metrics, lag, .. } = &history;
        self.check_gauges(metrics)?;
        let is_approximate = is_earlier(metrics);
        let stale = self.stale(metrics);
        let (mut sums, mut warnings) = (HistorySums::default(), Vec::new());
        for (level, metric) in LEVELS {
            let Some(answered) = metrics.get(metric) else { continue };
            // The earlier exporter's pods are USD per window, of a length that it need not say.
            if level == Level::Pod && is_approximate {
                continue;
            }
            if answered.without_tenant > 0 {
                warnings.push(without_tenant(metric, answered.without_tenant).into());
            }
            self.add(&mut sums, (level, &answered.series), history.span, &stale);
        }
        let HistorySums { costs, clusters, refused } = sums;
        let mut source = source_day(costs, Phase::Exporter, clusters, day, *lag, now_seconds);
        source.warnings = warnings;
        note_lacks(&mut source, refused, self.incomplete(metrics), is_approximate);
        Ok(Some(source))
    }

    /// What is answered about a day; `None` where it is no history.
    async fn history(
        &self,
        account: &Account,
        day: Day,
        now_seconds: i64,
    ) -> Result<Option<History>, Failure> {
        let (start, end) = (day.start_seconds(), day.end_seconds().min(now_seconds + 1));
        let metrics = self.client.metrics(&account.id, &self.metrics(), start, end).await?;
        let has_any = |of: fn(&MetroculusMetric) -> bool| metrics.values().any(of);
        if !has_any(|m| m.is_history) && (has_any(|m| m.is_now) || metrics.is_empty()) {
            return Ok(None);
        }
        // A gauge is of the window before it: what is shown later is the day's.
        let lag = history_lag(&metrics);
        let (start, end) = (start + lag, (day.end_seconds() + lag).min(now_seconds + 1));
        let metrics = if lag == 0 {
            metrics
        } else if start < end {
            self.client.metrics(&account.id, &self.metrics(), start, end).await?
        } else {
            // Nothing of the day is shown yet.
            Metrics::new()
        };
        Ok(Some(History { metrics, lag, span: (start, end) }))
    }

    /// Adds the costs of a level's series.
    fn add(
        &self,
        sums: &mut HistorySums,
        (level, all): (Level, &[Series]),
        span: (i64, i64),
        stale: &BTreeMap<&str, Vec<(f64, f64)>>,
    ) {
        let stands_seconds = stands_seconds(all);
        let mut of_name: BTreeMap<_, Vec<&Series>> = BTreeMap::new();
        for one in all {
            let name = (cluster_of(one), one.label("namespace"), one.label("pod"));
            of_name.entry(name).or_default().push(one);
            let refused = one.points.iter().filter(|(_, rate)| !is_rate(*rate)).count();
            sums.refused += refused as u64;
        }
        for doubled in of_name.values() {
            let cluster = doubled.first().map_or("", |one| self.cluster(one));
            let stale = stale.get(cluster).map_or(&[][..], Vec::as_slice);
            let (usd, minutes) = integrated(doubled, span, stands_seconds, stale);
            let labels = doubled.last().map(|one| one.labels.clone()).unwrap_or_default();
            let point = Series { labels, points: vec![(0.0, usd)] };
            let RateReading::Rate(rate) = self.rate(level, &point) else { continue };
            put(&mut sums.costs, &rate);
            let most = sums.clusters.entry(rate.cluster).or_default();
            *most = minutes.max(*most);
        }
    }

    /// Clusters whose exporters had only a part of a window, or rows without a cost.
    fn incomplete<'a>(&'a self, metrics: &'a Metrics) -> BTreeSet<&'a str> {
        let lengths = self.greatest(metrics, WINDOW_SECONDS);
        let has = |one: &Series, is: &dyn Fn(f64) -> bool| one.points.iter().any(|(_, v)| is(*v));
        let unknown = series(metrics, WINDOW_UNKNOWN_ROWS).iter();
        let unknown = unknown.filter(|one| has(one, &|rows| rows > 0.0));
        let short = series(metrics, WINDOW_COVERED).iter().filter(|one| {
            let length = lengths.get(self.cluster(one));
            length.is_some_and(|length| has(one, &|covered| covered < *length))
        });
        unknown.chain(short).map(|one| self.cluster(one)).collect()
    }

    /// By cluster, in which stretches of time a window was shown that had been shown for its length;
    /// in the order of time, and none overlaps another.
    fn stale<'a>(&'a self, metrics: &'a Metrics) -> BTreeMap<&'a str, Vec<(f64, f64)>> {
        let lengths = self.greatest(metrics, WINDOW_SECONDS);
        let mut stale: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
        for one in series(metrics, WINDOW_END) {
            let cluster = self.cluster(one);
            let Some(length) = lengths.get(cluster) else { continue };
            let shown_max = length + (LATE_SLOTS_MAX * SLOT_SECONDS) as f64;
            for shown in one.points.chunk_by(|a, b| a.1 == b.1) {
                if let (Some((first, _)), Some((last, _))) = (shown.first(), shown.last())
                    && last - first >= shown_max
                {
                    stale.entry(cluster).or_default().push((first + shown_max, *last));
                }
            }
        }
        stale.into_iter().map(|(cluster, stretches)| (cluster, joined(stretches))).collect()
    }
}

/// What is answered about a day.
struct History {
    metrics: Metrics,
    /// By how much the gauges lag, seconds.
    lag: i64,
    /// From when until when they are of the day, Unix seconds.
    span: (i64, i64),
}

/// What its series add up to.
#[derive(Default)]
struct HistorySums {
    costs: DayCosts,
    /// Minutes with rates, by cluster.
    clusters: BTreeMap<String, u32>,
    /// Numbers that are no rates.
    refused: u64,
}

/// The same stretches in the order of time, of those that overlap one.
fn joined(mut stretches: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    stretches.sort_by(|one, other| one.0.total_cmp(&other.0));
    stretches.dedup_by(|next, last| {
        let overlaps = next.0 <= last.1;
        if overlaps {
            last.1 = last.1.max(next.1);
        }
        overlaps
    });
    stretches
}

/// By how much gauges of a history lag: the least time from a window's beginning until it is shown,
/// in minutes.
fn history_lag(metrics: &Metrics) -> i64 {
    let points = |name: &str| series(metrics, name).iter().flat_map(|one| &one.points);
    let window = points(WINDOW_SECONDS).map(|(_, length)| *length).max_by(f64::total_cmp);
    let age = points(WINDOW_END).map(|(shown, end)| shown - end).min_by(f64::total_cmp);
    let Some(lag) = window.zip(age).map(|(window, age)| age + window) else { return 0 };
    if !(0.0..=DAY_SECONDS as f64).contains(&lag) {
        return 0;
    }
    #[expect(clippy::cast_possible_truncation, reason = "at most a day")]
    let lag = lag as i64;
    lag - lag.rem_euclid(60)
}

/// For how long a sample of these series stands (seconds): until the next one is due, where they
/// come at a regular distance that is longer than a look-back.
fn stands_seconds(series: &[Series]) -> f64 {
    let pairs = series.iter().flat_map(|one| one.points.windows(2));
    let mut distances: Vec<f64> = pairs.map(|pair| pair[1].0 - pair[0].0).collect();
    distances.sort_by(f64::total_cmp);
    let middle = distances.get(distances.len() / 2).copied().unwrap_or(0.0);
    if middle > STEP_SECONDS_MAX { LOOKBACK_SECONDS } else { middle.max(LOOKBACK_SECONDS) }
}

/// The integral of the greatest of some series over `start..end` on the minute grid, USD, and the
/// minutes that have a value. Samples are `(Unix seconds, USD per hour)` in the order of time.
fn integrated(
    series: &[&Series],
    (start, end): (i64, i64),
    stands_seconds: f64,
    stale: &[(f64, f64)],
) -> (f64, u32) {
    let (mut usd, mut minutes) = (0.0, 0);
    let is_stale = |minute: f64| {
        let begun = stale.partition_point(|(from, _)| *from <= minute);
        begun.checked_sub(1).is_some_and(|last| minute <= stale[last].1)
    };
    let grid = (next_grid_point(start)..end).step_by(60);
    for minute in grid.filter(|minute| !is_stale(*minute as f64)) {
        let at = |one: &&Series| rate_at(&one.points, minute as f64, stands_seconds);
        if let Some(rate) = series.iter().filter_map(at).max_by(f64::total_cmp) {
            usd += rate / 60.0;
            minutes += 1;
        }
    }
    (usd, minutes)
}

fn is_rate(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

/// What an instant query at that time returns, if it is a rate.
fn rate_at(points: &[(f64, f64)], time: f64, stands_seconds: f64) -> Option<f64> {
    let next = points.partition_point(|(sampled, _)| *sampled <= time);
    let (sampled, rate) = points.get(next.checked_sub(1)?)?;
    (time - sampled < stands_seconds && is_rate(*rate)).then_some(*rate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::labels::Labels;

    #[test]
    fn a_sample_stands_for_five_minutes_at_most() {
        let of = |points: &[(f64, f64)], end| {
            let series = Series { labels: Labels::default(), points: points.to_vec() };
            integrated(&[&series], (0, end), LOOKBACK_SECONDS, &[])
        };
        assert_eq!(of(&[(0.0, 60.0)], 3_600), (5.0, 5));
        assert_eq!(of(&[(0.0, 60.0), (60.0, 0.0)], 120), (1.0, 2));
        assert_eq!(of(&[], 3_600), (0.0, 0));
        assert_eq!(of(&[(0.0, f64::NAN)], 3_600), (0.0, 0));
    }

    #[test]
    fn doubled_series_are_integrated_once_the_greater_one_minute_by_minute() {
        let series =
            |points: &[(f64, f64)]| Series { labels: Labels::default(), points: points.to_vec() };
        let (one, other) = (series(&[(0.0, 60.0), (60.0, 30.0)]), series(&[(60.0, 90.0)]));
        assert_eq!(integrated(&[&one, &other], (0, 120), LOOKBACK_SECONDS, &[]), (2.5, 2));
        let stale = [(60.0, 60.0)];
        assert_eq!(integrated(&[&one, &other], (0, 120), LOOKBACK_SECONDS, &stale), (1.0, 1));
    }

    #[test]
    fn hourly_points_stand_for_an_hour_and_a_missing_one_is_a_gap() {
        let hours = |of: &[i64]| Series {
            labels: Labels::default(),
            points: of.iter().map(|hour| ((hour * 3_600) as f64, 2.0)).collect(),
        };
        let whole = hours(&(0..24).collect::<Vec<_>>());
        let stands = stands_seconds(std::slice::from_ref(&whole));
        let (usd, minutes) = integrated(&[&whole], (0, 86_400), stands, &[]);
        assert!((usd - 48.0).abs() < 1e-9 && minutes == 1_440, "{usd} {minutes}");
        let with_gap = hours(&(0..24).filter(|hour| *hour != 7).collect::<Vec<_>>());
        let stands = stands_seconds(std::slice::from_ref(&with_gap));
        assert_eq!(integrated(&[&with_gap], (0, 86_400), stands, &[]).1, 1_380);
        let daily = hours(&[0, 24, 48]);
        assert_eq!(stands_seconds(&[daily]), LOOKBACK_SECONDS);
    }

    #[test]
    fn stretches_that_overlap_are_one() {
        let of = |stretches: &[(f64, f64)]| joined(stretches.to_vec());
        assert_eq!(of(&[(5.0, 6.0), (0.0, 3.0), (1.0, 2.0), (3.0, 4.0)]), [(0.0, 4.0), (5.0, 6.0)]);
        assert_eq!(of(&[]), []);
    }

    #[test]
    fn a_history_lags_by_the_window_and_the_least_time_until_it_is_shown() {
        let metric = |points: &[(f64, f64)]| MetroculusMetric {
            series: vec![Series { labels: Labels::default(), points: points.to_vec() }],
            ..MetroculusMetric::default()
        };
        let ends = metric(&[(3_930.0, 3_600.0), (7_140.0, 3_600.0), (7_600.0, 7_200.0)]);
        let lengths = metric(&[(3_930.0, 3_600.0)]);
        let both = BTreeMap::from([(WINDOW_END.to_owned(), ends.clone())]);
        assert_eq!(history_lag(&both), 0, "a window of unknown length");
        let both =
            BTreeMap::from([(WINDOW_END.to_owned(), ends), (WINDOW_SECONDS.to_owned(), lengths)]);
        assert_eq!(history_lag(&both), 3_600 + 300);
    }
}
