//! Costs through Metroculus, CloudTuner's metrics service.
//!
//! It answers instant vectors: one reply is a rate, not a cost. Each run therefore notes what it
//! sees in a journal, one entry per account and slot of five minutes, and a day's costs are the
//! sum over its slots of rate times slot length. The first note of a slot stands, so two runs in
//! one slot agree. Slots never seen are gaps. Where a reply is a matrix or a list of points, it
//! holds history: it is integrated minute by minute instead, and the journal is not needed.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::accounts::Account;
use crate::cost::costs::is_special;
use crate::cost::day::DAY_SECONDS;
use crate::cost::{Day, DayCosts, Level, Levels, ResourceKey};
use crate::rate_journal::{RateJournal, SLOT_SECONDS, SeenRate, SlotRates};
use crate::service::failure::Failure;

use crate::source::metric_names::{
    CLUSTER_TOTAL, NAMESPACE_TOTAL, POD_TOTAL, WINDOW_END, WINDOW_SECONDS,
};
use crate::source::prometheus::promql::next_grid_point;
use crate::source::prometheus::reply::Series;
use crate::source::{CostSource, Phase, Presence, SourceDay, Warning};
use client::{MetroculusClient, MetroculusMetric};
use slots::{conflicts, covered, put, slot_minutes, summed};

pub mod client;
pub mod reply;
mod slots;

/// For how long a sample stands when no newer one follows (seconds): Prometheus' own look-back.
const LOOKBACK_SECONDS: f64 = 300.0;
/// The longest distance of points that stand for the time until the next one, seconds.
const STEP_SECONDS_MAX: f64 = 3_600.0;

/// Costs through Metroculus.
pub struct MetroculusQuery {
    client: MetroculusClient,
    journal: Arc<dyn RateJournal>,
    default_cluster: String,
    levels: Levels,
    phase: Option<Phase>,
}

impl MetroculusQuery {
    /// An adapter that keeps its journal in `journal`; `phase` forces one of them.
    #[must_use]
    pub fn new(
        client: MetroculusClient,
        journal: Arc<dyn RateJournal>,
        default_cluster: String,
        levels: Levels,
        phase: Option<Phase>,
    ) -> Self {
        Self { client, journal, default_cluster, levels, phase }
    }

    fn metrics(&self) -> Vec<&'static str> {
        let mut metrics = vec![CLUSTER_TOTAL, WINDOW_END, WINDOW_SECONDS];
        if self.levels.namespace || self.levels.pod {
            metrics.push(NAMESPACE_TOTAL);
        }
        if self.levels.pod {
            metrics.push(POD_TOTAL);
        }
        metrics
    }

    /// The rates of now, as the journal keeps them; `None` when the service answers matrices.
    async fn seen(
        &self,
        account: &Account,
        now_seconds: i64,
    ) -> Result<Option<SlotRates>, Failure> {
        let slot_seconds = now_seconds - now_seconds.rem_euclid(SLOT_SECONDS);
        let mut slot = SlotRates {
            account: account.id.clone(),
            slot_seconds,
            phase: Phase::Exporter.number(),
            lag_seconds: None,
            refused: 0,
            rates: Vec::new(),
        };
        // The rate does not depend on the span asked for; a whole day keeps its rounding small.
        let (start, end) = (now_seconds - DAY_SECONDS, now_seconds);
        if self.phase == Some(Phase::Raw) {
            slot.phase = Phase::Raw.number();
            slot.rates.extend(self.cluster_rate(account, start, end).await?);
            return Ok(Some(slot));
        }
        let metrics = self.client.metrics(&account.id, &self.metrics(), start, end).await?;
        if metrics.values().any(|metric| metric.is_history) {
            return Ok(None);
        }
        for (name, metric) in metrics.iter().filter(|(_, metric)| metric.without_tenant > 0) {
            let warning = without_tenant(name, metric.without_tenant);
            tracing::warn!(account.id = %account.id, "{warning}");
        }
        let series = |metric: &str| metrics.get(metric).map_or(&[][..], |m| m.series.as_slice());
        for (level, metric) in LEVELS {
            for one in series(metric) {
                match self.rate(level, one) {
                    RateReading::Rate(rate) => slot.rates.push(rate),
                    RateReading::Refused => slot.refused += 1,
                    RateReading::Other => {}
                }
            }
        }
        if slot.rates.is_empty() && slot.refused == 0 && self.phase.is_none() {
            slot.phase = Phase::Raw.number();
            slot.rates.extend(self.cluster_rate(account, start, end).await?);
            return Ok(Some(slot));
        }
        slot.lag_seconds = lag(series(WINDOW_END), series(WINDOW_SECONDS), now_seconds);
        Ok(Some(slot))
    }

    /// Without the exporter's gauges: the cluster's rate alone.
    async fn cluster_rate(
        &self,
        account: &Account,
        start: i64,
        end: i64,
    ) -> Result<Option<SeenRate>, Failure> {
        let rate = self.client.cluster_rate(&account.id, start, end).await?;
        Ok(rate.map(|usd_per_hour| SeenRate {
            cluster: self.default_cluster.clone(),
            namespace: None,
            pod: None,
            node: None,
            service: None,
            usd_per_hour,
        }))
    }

    fn rate(&self, level: Level, series: &Series) -> RateReading {
        let label =
            |name: &str| Some(series.label(name).to_owned()).filter(|text| !text.is_empty());
        let (namespace, pod) = (label("namespace"), label("pod"));
        let has_names = match level {
            // Metroculus has no nodes.
            Level::Cluster | Level::Node => true,
            Level::Namespace => namespace.as_deref().is_some_and(|n| !is_special(n)),
            Level::Pod => {
                namespace.as_deref().is_some_and(|n| !is_special(n))
                    && pod.as_deref().is_some_and(|p| !is_special(p))
            }
        };
        let Some(usd_per_hour) = series.value().filter(|_| has_names) else {
            return RateReading::Other;
        };
        if !usd_per_hour.is_finite() || usd_per_hour < 0.0 {
            tracing::warn!(series = series.shown(), usd_per_hour, "a rate is refused");
            return RateReading::Refused;
        }
        RateReading::Rate(SeenRate {
            cluster: cluster_of(series).unwrap_or(&self.default_cluster).to_owned(),
            namespace: namespace.filter(|_| level != Level::Cluster),
            pod: pod.filter(|_| level == Level::Pod),
            node: label("node").filter(|_| level == Level::Pod),
            service: label("service").filter(|_| level == Level::Pod),
            usd_per_hour,
        })
    }

    async fn day_slots(
        &self,
        account: &Account,
        (day, phase): (Day, Phase),
        now_seconds: i64,
    ) -> Result<(Vec<SlotRates>, i64), Failure> {
        // A lag is at most a day here: the slots whose rates may be of this day are two days long.
        let (start, end) = (day.start_seconds(), day.end_seconds() + DAY_SECONDS);
        let end = end.min(now_seconds + 1);
        let mut slots = self.journal.slots(&account.id, start, end).await?;
        slots.retain(|slot| slot.phase == phase.number());
        let of_day = |slot: &&SlotRates| slot.slot_seconds < day.end_seconds();
        let lag =
            slots.iter().filter(of_day).filter_map(|slot| slot.lag_seconds).min().unwrap_or(0);
        let shifted = day.start_seconds() + lag..day.end_seconds() + lag;
        slots.retain(|slot| shifted.contains(&slot.slot_seconds));
        Ok((slots, lag))
    }

    /// Minutes with samples by day, the newest first, as long as the service answers matrices.
    async fn matrix_presence(
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
                    out.entry(day).or_default().exporter_minutes = source.covered_minutes
                }
                None => break,
            }
        }
        Ok(())
    }

    /// The costs of a day whose replies are matrices; `None` when they are not.
    async fn matrix_day(
        &self,
        account: &Account,
        day: Day,
        now_seconds: i64,
    ) -> Result<Option<SourceDay>, Failure> {
        let (start, end) = (day.start_seconds(), day.end_seconds().min(now_seconds + 1));
        let metrics = self.client.metrics(&account.id, &self.metrics(), start, end).await?;
        let has_any = |of: fn(&MetroculusMetric) -> bool| metrics.values().any(of);
        if !has_any(|m| m.is_history) && (has_any(|m| m.is_now) || metrics.is_empty()) {
            return Ok(None);
        }
        let mut warnings = Vec::new();
        let mut refused = 0;
        let mut costs = DayCosts::default();
        let mut clusters = BTreeMap::new();
        for (level, metric) in LEVELS {
            let Some(answered) = metrics.get(metric) else { continue };
            if answered.without_tenant > 0 {
                warnings.push(without_tenant(metric, answered.without_tenant));
            }
            let stands_seconds = stands_seconds(&answered.series);
            let mut of_name: BTreeMap<_, Vec<&Series>> = BTreeMap::new();
            for one in &answered.series {
                let name = (cluster_of(one), one.label("namespace"), one.label("pod"));
                of_name.entry(name).or_default().push(one);
                refused += one.points.iter().filter(|(_, rate)| !is_rate(*rate)).count();
            }
            for doubled in of_name.values() {
                let (usd, minutes) = integrated(doubled, (start, end), stands_seconds);
                let labels = doubled.last().map(|one| one.labels.clone()).unwrap_or_default();
                let point = Series { labels, points: vec![(0.0, usd)] };
                let RateReading::Rate(rate) = self.rate(level, &point) else { continue };
                put(&mut costs, &rate);
                let most: &mut u32 = clusters.entry(rate.cluster).or_default();
                *most = minutes.max(*most);
            }
        }
        let mut source = source_day(costs, Phase::Exporter, clusters, day, 0, now_seconds);
        source.is_partial = refused > 0;
        if refused > 0 {
            warnings.push(format!(
                "{refused} rates that are no cost (NaN, infinite or negative) are left out"
            ));
        }
        source.warnings = warnings.into_iter().map(Warning::from).collect();
        Ok(Some(source))
    }
}

/// How a series is read.
enum RateReading {
    /// A rate of a cluster, a namespace or a pod.
    Rate(SeenRate),
    /// A number that is no rate.
    Refused,
    /// Nothing of its own: a row of the cluster's, or a series without names or points.
    Other,
}

const LEVELS: [(Level, &str); 3] =
    [(Level::Cluster, CLUSTER_TOTAL), (Level::Namespace, NAMESPACE_TOTAL), (Level::Pod, POD_TOTAL)];

/// By how much the source lags: the window plus the age of its end, if it shows both.
fn lag(ends: &[Series], windows: &[Series], now_seconds: i64) -> Option<i64> {
    let greatest = |list: &[Series]| list.iter().filter_map(Series::value).max_by(f64::total_cmp);
    let (end, window) = (greatest(ends)?, greatest(windows)?);
    let lag = now_seconds as f64 - end + window;
    if lag.is_nan() || lag > 86_400.0 {
        tracing::warn!(window_end = end, "a window that ended days ago is not plausible");
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "at most a day")]
    Some(lag.max(0.0) as i64)
}

/// The cluster that a series names: by `cluster`, or by `cluster_id` in earlier versions.
fn cluster_of(series: &Series) -> Option<&str> {
    ["cluster", "cluster_id"].map(|name| series.label(name)).into_iter().find(|n| !n.is_empty())
}

/// What an operator should know of series that name no tenant.
fn without_tenant(metric: &str, count: usize) -> String {
    format!(
        "{count} series of {metric} have no label tenant_id: they are taken to be this account's; \
         see that Metroculus asks for one tenant"
    )
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
fn integrated(series: &[&Series], (start, end): (i64, i64), stands_seconds: f64) -> (f64, u32) {
    let (mut usd, mut minutes) = (0.0, 0);
    for minute in (next_grid_point(start)..end).step_by(60) {
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

fn source_day(
    costs: DayCosts,
    phase: Phase,
    clusters: BTreeMap<String, u32>,
    day: Day,
    lag_seconds: i64,
    now_seconds: i64,
) -> SourceDay {
    let most = clusters.values().copied().max().unwrap_or(0);
    let expected = day.minutes_passed(now_seconds - lag_seconds);
    let unknown = SourceDay::without_samples(phase, expected.max(most));
    let mut source = SourceDay { costs, lag_seconds, ..unknown };
    source.cover(clusters);
    source
}

#[async_trait]
impl CostSource for MetroculusQuery {
    fn describe(&self) -> String {
        format!("metroculus at {}", self.client.address())
    }

    fn has_history(&self) -> bool {
        false
    }

    async fn check(&self) -> Result<(), Failure> {
        self.client.check().await
    }

    async fn observe(&self, account: &Account, now_seconds: i64) -> Result<(), Failure> {
        match self.seen(account, now_seconds).await? {
            Some(slot) if !slot.rates.is_empty() => self.journal.note(&slot).await,
            _ => Ok(()),
        }
    }

    async fn presence(
        &self,
        account: &Account,
        first: Day,
        last: Day,
        now_seconds: i64,
    ) -> Result<BTreeMap<Day, Presence>, Failure> {
        let (start, end) = (first.start_seconds(), last.end_seconds());
        let mut out: BTreeMap<Day, Presence> = BTreeMap::new();
        for slot in self.journal.slots(&account.id, start, end).await? {
            let presence = out.entry(Day::of_unix(slot.slot_seconds)).or_default();
            if slot.phase == Phase::Exporter.number() {
                presence.exporter_minutes += slot_minutes(1);
            } else {
                presence.raw_minutes += slot_minutes(1);
            }
        }
        if out.is_empty() {
            self.matrix_presence(account, first, last, now_seconds, &mut out).await?;
        }
        Ok(out)
    }

    async fn last_samples(
        &self,
        account: &Account,
        _phase: Phase,
        now_seconds: i64,
    ) -> Result<BTreeMap<ResourceKey, i64>, Failure> {
        let from = now_seconds - 2 * SLOT_SECONDS;
        let slots = self.journal.slots(&account.id, from, now_seconds + 1).await?;
        let Some(last) = slots.into_iter().next_back() else { return Ok(BTreeMap::new()) };
        let at_seconds = last.slot_seconds;
        Ok(last.rates.into_iter().map(|rate| (slots::key(rate), at_seconds)).collect())
    }

    async fn day_costs(
        &self,
        account: &Account,
        day: Day,
        phase: Phase,
        now_seconds: i64,
    ) -> Result<SourceDay, Failure> {
        let (slots, lag) = self.day_slots(account, (day, phase), now_seconds).await?;
        if slots.is_empty()
            && let Some(source) = self.matrix_day(account, day, now_seconds).await?
        {
            return Ok(source);
        }
        let covered = covered(&slots);
        let mut source = source_day(summed(&slots), phase, covered, day, lag, now_seconds);
        source.reading.step_minutes = Some(slot_minutes(1));
        source.conflicts = conflicts(&slots);
        let refused: u32 = slots.iter().map(|slot| slot.refused).sum();
        if refused > 0 {
            source.is_partial = true;
            source.warnings.push(
                format!(
                    "{refused} rates that are no cost (NaN, infinite or negative) are left out"
                )
                .into(),
            );
        }
        Ok(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::labels::Labels;

    #[test]
    fn a_sample_stands_for_five_minutes_at_most() {
        let of = |points: &[(f64, f64)], end| {
            let series = Series { labels: Labels::default(), points: points.to_vec() };
            integrated(&[&series], (0, end), LOOKBACK_SECONDS)
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
        assert_eq!(integrated(&[&one, &other], (0, 120), LOOKBACK_SECONDS), (2.5, 2));
    }

    #[test]
    fn hourly_points_stand_for_an_hour_and_a_missing_one_is_a_gap() {
        let hours = |of: &[i64]| Series {
            labels: Labels::default(),
            points: of.iter().map(|hour| ((hour * 3_600) as f64, 2.0)).collect(),
        };
        let whole = hours(&(0..24).collect::<Vec<_>>());
        let stands = stands_seconds(std::slice::from_ref(&whole));
        let (usd, minutes) = integrated(&[&whole], (0, 86_400), stands);
        assert!((usd - 48.0).abs() < 1e-9 && minutes == 1_440, "{usd} {minutes}");
        let with_gap = hours(&(0..24).filter(|hour| *hour != 7).collect::<Vec<_>>());
        let stands = stands_seconds(std::slice::from_ref(&with_gap));
        assert_eq!(integrated(&[&with_gap], (0, 86_400), stands).1, 1_380);
        let daily = hours(&[0, 24, 48]);
        assert_eq!(stands_seconds(&[daily]), LOOKBACK_SECONDS);
    }

    #[test]
    fn a_cluster_is_named_by_either_label() {
        let of = |pairs: &[(&str, &str)]| {
            let own = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            cluster_of(&Series { labels: own, points: Vec::new() }).map(str::to_owned)
        };
        assert_eq!(of(&[("cluster_id", "x")]).as_deref(), Some("x"));
        assert_eq!(of(&[("cluster", "c"), ("cluster_id", "x")]).as_deref(), Some("c"));
        assert_eq!(of(&[("cluster", "")]), None);
    }

    #[test]
    fn the_lag_is_the_window_and_its_age() {
        let one = |value| vec![Series { labels: Labels::default(), points: vec![(0.0, value)] }];
        assert_eq!(lag(&one(7_200.0), &one(3_600.0), 7_500), Some(3_900));
        assert_eq!(lag(&[], &one(3_600.0), 7_500), None);
        assert_eq!(lag(&one(0.0), &one(3_600.0), 1_795_000_000), None);
        assert_eq!(lag(&one(9_000.0), &one(600.0), 7_500), Some(0));
    }
}
