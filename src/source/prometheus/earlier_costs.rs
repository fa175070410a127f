//! Costs from the earlier exporter, which does not say which window its gauges are of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cost::costs::is_special;
use crate::cost::{Day, Level};
use crate::service::failure::Failure;
use crate::settings::reader::parse_duration;

use crate::source::labels::Labels;
use crate::source::metric_names::{
    CLUSTER_TOTAL, EARLIER_INFO, EARLIER_SUCCESS, NAMESPACE_TOTAL, POD_TOTAL,
};
use crate::source::prometheus::earlier::{self, Rates, Spans, Stretch};
use crate::source::prometheus::exposed_windows::Windowed;
use crate::source::prometheus::gaps;
use crate::source::prometheus::gauges::{
    Coverage, REAL_PODS, add_up, record_level, set_node_and_service, shifted, without_place,
};
use crate::source::prometheus::promql::{ClusterNames, GRID_SECONDS, Selector, Sources, Window};
use crate::source::prometheus::reply::Series;
use crate::source::prometheus::session::DaySession;
use crate::source::prometheus::source_conflicts;
use crate::source::prometheus::windows::Sampling;
use crate::source::{Phase, ReadPart, SourceDay};

const HOUR_SECONDS: i64 = 3_600;
/// The window that is assumed where the exporter does not say how long it is (seconds).
const ASSUMED_SECONDS: i64 = 3_600;
/// A shorter window is not believed (seconds): a day has as many readings as windows.
const SHORTEST_SECONDS: i64 = 900;
/// How long before a reading it is looked whether gauges stand still, seconds.
const BEFORE_SECONDS: [i64; 4] = [900, 3_600, 7_200, 10_800];
/// How long before a day the whole cost is looked at: whether it fell to nothing at once (seconds).
const LEAD_SECONDS: i64 = 3_600;

/// What an earlier exporter says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Earlier {
    /// Its setting WINDOW, where known.
    window: Option<String>,
    /// Its setting METRIC_MODE is `total`.
    is_total: bool,
}

impl Earlier {
    /// The window's length, seconds, where it is known.
    pub(super) fn window_seconds(&self) -> Option<i64> {
        let duration = parse_duration(self.window.as_deref()?)?;
        i64::try_from(duration.as_secs()).ok().filter(|seconds| *seconds >= SHORTEST_SECONDS)
    }

    fn phrase(&self, cluster: &str) -> String {
        let of = match self.window.as_ref().filter(|_| self.window_seconds().is_some()) {
            Some(window) => format!("averages over a window of {window}"),
            None => "averages over a window of unknown length".to_owned(),
        };
        format!(
            "the exporter of cluster '{cluster}' is an earlier one, whose costs are {of} that does \
             not say when it ends"
        )
    }
}

/// The clusters of earlier exporters, by name, with what those say.
pub(super) async fn earlier(
    session: &mut DaySession<'_>,
    selector: &Selector,
    windowed: &BTreeMap<String, Windowed>,
    window: Window,
) -> Result<BTreeMap<String, Earlier>, Failure> {
    let count = |metric: &'static str, matchers: &'static [&'static str]| {
        move |piece: Window| selector.over_time("count_over_time", metric, matchers, &piece.range())
    };
    let infos = session.summed(window, 1, count(EARLIER_INFO, &[])).await?;
    let mut said: BTreeMap<String, (f64, Earlier)> = BTreeMap::new();
    for (labels, samples) in infos {
        let label =
            |name: &str| labels.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
        let cluster = label(session.cluster_label()).or_else(|| label("cluster_name"));
        let cluster = cluster.unwrap_or_else(|| session.default_cluster().to_owned());
        let is_total = label("mode").or_else(|| label("metric_mode")).as_deref() == Some("total");
        let earlier = Earlier { window: label("window"), is_total };
        // The settings that it had for the longest time.
        let known = said.entry(cluster).or_insert((-1.0, Earlier::default()));
        if samples > known.0 {
            *known = (samples, earlier);
        }
    }
    let success = session.summed(window, 1, count(EARLIER_SUCCESS, &[])).await?;
    // Its costs have a currency; those of later ones too, but they say which window they are of.
    let costs = count(CLUSTER_TOTAL, &["currency!=\"\""]);
    let with_currency = session.summed(window, 1, costs).await?;
    let of_windows = |labels: &&Labels| windowed.contains_key(session.cluster(labels));
    let certain = success.keys().chain(with_currency.keys().filter(|one| !of_windows(one)));
    for labels in certain {
        said.entry(session.cluster(labels).to_owned()).or_default();
    }
    if with_currency.keys().any(|labels| of_windows(&labels)) {
        let windowless = Selector { sources: Sources::Windowless, ..selector.clone() };
        let gauges = selector.max_by(&[], &windowless.raw(CLUSTER_TOTAL, &["currency!=\"\""]));
        for labels in session.minutes(&gauges, window).await?.keys() {
            said.entry(session.cluster(labels).to_owned()).or_default();
        }
    }
    Ok(said.into_iter().map(|(cluster, (_, earlier))| (cluster, earlier)).collect())
}

/// Adds the costs of one cluster over a span of a day; returns how much of it is covered.
pub(super) async fn add_costs(
    session: &mut DaySession<'_>,
    selector: &Selector,
    (cluster, earlier): (&str, &Earlier),
    (span, day, now_seconds): (Window, Day, i64),
    out: &mut SourceDay,
) -> Result<Coverage, Failure> {
    let mut selector = Selector { sources: Sources::Windowless, ..selector.clone() };
    selector.clusters =
        Some(ClusterNames::new(vec![cluster.to_owned()], session.default_cluster()));
    let length = earlier.window_seconds().unwrap_or(ASSUMED_SECONDS);
    let totals = totals(session, &selector, day, now_seconds).await?;
    let usable = earlier::usable(&totals);
    let stretches = earlier::stretches(span, length, &usable, now_seconds);
    let coverage = coverage(&stretches);
    if coverage.covered == 0 {
        if coverage.due > 0 {
            session.is_partial = true;
            session
                .warn(format!("the exporter of cluster '{cluster}' has shown no cost of this day"));
        }
        return Ok(coverage);
    }
    out.approximations.push(earlier.phrase(cluster));
    let holes: Vec<(i64, i64)> = stretches
        .iter()
        .filter(|one| one.at.is_none())
        .map(|one| (one.span.start, one.span.end))
        .collect();
    let edges = holes.iter().filter(|(start, end)| *start <= span.start || *end >= span.end);
    let edge_minutes = edges.map(|(start, end)| (end - start) / GRID_SECONDS).sum::<i64>();
    out.edge_minutes.insert(cluster.to_owned(), u32::try_from(edge_minutes).unwrap_or(0));
    if !holes.is_empty() {
        out.gap_causes.push(gaps::phrase(cluster, &holes, &BTreeSet::new()));
    }
    let read_in = shifted(day, 0, now_seconds);
    let series = session.series_count(&selector, CLUSTER_TOTAL, read_in).await?;
    let conflicts = source_conflicts::of_gauges(session, &selector, read_in, series > 1).await?;
    out.conflicts.extend(conflicts);
    let read = Reading { cluster, earlier, length, stretches: &stretches };
    let mut part = SourceDay::without_samples(Phase::Exporter, 0);
    let total_of: BTreeMap<i64, f64> = totals.into_iter().collect();
    let gone = read.wholes_and_namespaces(session, &selector, &total_of, &mut part).await?;
    out.reading.parts.extend(read.parts(&gone));
    if session.levels().pod {
        read.pods(session, &selector, &gone, &mut part).await?;
    }
    out.approximations.append(&mut part.approximations);
    out.warnings.append(&mut part.warnings);
    add_up(&mut out.costs, part.costs);
    Ok(coverage)
}

/// Why an earlier exporter and one with windows cannot be of one cluster, if they cannot.
pub(super) async fn disagreement(
    session: &mut DaySession<'_>,
    selector: &Selector,
    (cluster, earlier): (&str, &Earlier),
    windows: &Spans,
    (day, now_seconds): (Day, i64),
) -> Result<Option<String>, Failure> {
    let Some(length) = earlier.window_seconds() else { return Ok(None) };
    let mut selector = Selector { sources: Sources::Windowless, ..selector.clone() };
    selector.clusters =
        Some(ClusterNames::new(vec![cluster.to_owned()], session.default_cluster()));
    let totals = totals(session, &selector, day, now_seconds).await?;
    let usable = earlier::usable(&totals);
    let total_of: BTreeMap<i64, f64> = totals.into_iter().collect();
    let day = Window { start: day.start_seconds(), end: day.end_seconds() };
    let unit = if earlier.is_total { length as f64 } else { 3_600.0 };
    let costs: Spans = earlier::stretches(day, length, &usable, now_seconds)
        .into_iter()
        .filter_map(|one| {
            let share = (one.span.end - one.span.start) as f64 / unit;
            Some((one.span, total_of.get(&one.at?)? * share))
        })
        .collect();
    Ok(earlier::disagreement(&costs, windows).map(|(of_earlier, of_windows)| {
        format!(
            "two different sources report costs of cluster '{cluster}': an earlier exporter says \
             ${of_earlier:.4} where one that says its windows has ${of_windows:.4}"
        )
    }))
}

/// The cluster's whole from minute to minute of a day and shortly before.
async fn totals(
    session: &mut DaySession<'_>,
    selector: &Selector,
    day: Day,
    now_seconds: i64,
) -> Result<Vec<(i64, f64)>, Failure> {
    let first = day.start_seconds() - LEAD_SECONDS;
    // At the day's end too: a window that ends with the day is read there.
    let window = Window { start: first, end: (day.end_seconds() + 1).min(now_seconds + 1) };
    let sampling = Sampling { first, step: GRID_SECONDS, count: window.minutes() };
    if window.minutes() == 0 {
        return Ok(Vec::new());
    }
    let query = selector.max_by(&[], &selector.raw(CLUSTER_TOTAL, &[]));
    let found = session.values(sampling, 1, |_| query.clone()).await?;
    let mut by_time = BTreeMap::new();
    for (time, usd) in found.into_values().flatten() {
        let most = by_time.entry(time).or_insert(usd);
        *most = usd.max(*most);
    }
    Ok(by_time.into_iter().collect())
}

fn coverage(stretches: &[Stretch]) -> Coverage {
    let minutes = |of: &Stretch| u32::try_from((of.span.end - of.span.start) / 60).unwrap_or(0);
    let read = stretches.iter().filter(|one| one.at.is_some());
    Coverage { due: stretches.iter().map(minutes).sum(), covered: read.map(minutes).sum() }
}

/// One cluster's stretches, and how its gauges are to be taken.
struct Reading<'a> {
    cluster: &'a str,
    earlier: &'a Earlier,
    length: i64,
    stretches: &'a [Stretch],
}

impl Reading<'_> {
    /// Stretches that can be read: when, and by what a gauge is multiplied, USD.
    fn weights(&self) -> impl Iterator<Item = (i64, f64)> {
        self.stretches.iter().filter_map(|one| {
            let hours = (one.span.end - one.span.start) as f64 / 3_600.0;
            Some((one.at?, hours))
        })
    }

    /// The parts, for whoever reads them again.
    fn parts(&self, gone_at: &BTreeMap<i64, Option<BTreeSet<String>>>) -> Vec<ReadPart> {
        let part = |one: &Stretch| {
            let at = one.at?;
            Some(ReadPart {
                cluster: self.cluster.to_owned(),
                start: one.span.start,
                end: one.span.end,
                at: Some(at),
                window_seconds: Some(self.length),
                is_total: self.earlier.is_total,
                left_out: gone_at.get(&at).cloned().flatten().map(Vec::from_iter),
            })
        };
        self.stretches.iter().filter_map(part).collect()
    }

    /// The share of a gauge that tells USD of the window which one hour has.
    fn of_total(&self) -> f64 {
        3_600.0 / self.length as f64
    }

    /// The values of a metric's series at the readings, and at some times before them.
    async fn values(
        &self,
        session: &mut DaySession<'_>,
        (selector, metric, matchers): (&Selector, &str, &[&str]),
        labels: &[&str],
        with_before: bool,
    ) -> Result<BTreeMap<Labels, BTreeMap<i64, f64>>, Failure> {
        let before = if with_before { &BEFORE_SECONDS[..] } else { &[] };
        let times: BTreeSet<i64> = self
            .weights()
            .flat_map(|(at, _)| before.iter().map(move |seconds| at - seconds).chain([at]))
            .collect();
        let (first, last) = (times.first().copied(), times.last().copied());
        let window = Window { start: first.unwrap_or_default(), end: last.unwrap_or_default() + 1 };
        let series = session.series_count(selector, metric, window).await?;
        let mut values: BTreeMap<Labels, BTreeMap<i64, f64>> = BTreeMap::new();
        for sampling in regular(&times) {
            let expression = |offset_seconds: i64| {
                let of = Selector { offset_seconds, ..selector.clone() };
                of.max_by(labels, &of.of(metric, matchers))
            };
            for (labels, points) in session.values(sampling, series, expression).await? {
                values.entry(labels).or_default().extend(points);
            }
        }
        Ok(values)
    }

    /// Adds the cluster's whole and its namespaces'; returns the namespaces that were gone, by
    /// reading; `None` where that cannot be known.
    async fn wholes_and_namespaces(
        &self,
        session: &mut DaySession<'_>,
        selector: &Selector,
        totals: &BTreeMap<i64, f64>,
        out: &mut SourceDay,
    ) -> Result<BTreeMap<i64, Option<BTreeSet<String>>>, Failure> {
        let per_hour = if self.earlier.is_total { self.of_total() } else { 1.0 };
        let whole: f64 = self
            .weights()
            .map(|(at, hours)| totals.get(&at).copied().unwrap_or(0.0) * per_hour * hours)
            .sum();
        let slot = &mut out.costs.cluster_mut(self.cluster).total_usd;
        *slot = Some(slot.unwrap_or(0.0) + whole);
        let levels = session.levels();
        if !levels.namespace && !levels.pod {
            return Ok(BTreeMap::new());
        }
        let of = (selector, NAMESPACE_TOTAL, &[][..]);
        let values = self.values(session, of, &["namespace"], true).await?;
        let mut rates: BTreeMap<i64, Rates> = BTreeMap::new();
        let mut bad = BTreeSet::new();
        for (labels, points) in &values {
            let name = Series { labels: labels.clone(), points: Vec::new() };
            let name: Arc<str> = name.label("namespace").into();
            for (time, usd) in points {
                let is_cost = usd.is_finite() && (*usd >= 0.0 || is_special(&name));
                if is_cost {
                    rates.entry(*time).or_default().insert(Arc::clone(&name), *usd);
                } else {
                    bad.insert(Arc::clone(&name));
                }
            }
        }
        self.warn_of_bad(session, &bad);
        let mut gone_at = BTreeMap::new();
        for (at, hours) in self.weights() {
            let Some(now) = rates.get(&at) else { continue };
            let before: Vec<&Rates> =
                BEFORE_SECONDS.iter().filter_map(|seconds| rates.get(&(at - seconds))).collect();
            let total = totals.get(&at).copied().unwrap_or(0.0);
            tokio::task::yield_now().await; // Others, and the deadline, have their turn.
            let gone = earlier::gone(now, &before, total);
            if let Some(gone) = &gone {
                for (name, rate) in now.iter().filter(|(name, _)| !gone.contains(&***name)) {
                    if !is_special(name) {
                        let slot = &mut out.costs.namespace_mut(self.cluster, name).total_usd;
                        *slot = Some(slot.unwrap_or(0.0) + rate * per_hour * hours);
                    }
                }
            }
            gone_at.insert(at, gone);
        }
        self.say_what_is_gone(&gone_at, out);
        Ok(gone_at)
    }

    fn warn_of_bad(&self, session: &mut DaySession<'_>, bad: &BTreeSet<Arc<str>>) {
        if let Some(name) = bad.first() {
            session.is_partial = true;
            session.warn(format!(
                "{} namespaces of cluster '{}' have samples that are no cost (NaN, infinite or \
                 negative), the first is '{name}': those samples are left out",
                bad.len(),
                self.cluster
            ));
        }
    }

    fn say_what_is_gone(
        &self,
        gone_at: &BTreeMap<i64, Option<BTreeSet<String>>>,
        out: &mut SourceDay,
    ) {
        let names: BTreeSet<&String> = gone_at.values().flatten().flatten().collect();
        if !names.is_empty() {
            let names: Vec<&str> = names.iter().take(5).map(|name| name.as_str()).collect();
            out.warnings.push(
                format!(
                    "namespaces of cluster '{}' that its whole no longer has are not billed (the \
                 exporter shows their last gauge until it restarts): {}",
                    self.cluster,
                    names.join(", ")
                )
                .into(),
            );
        }
        let unknown = gone_at.values().filter(|gone| gone.is_none()).count();
        if unknown > 0 {
            out.approximations.push(format!(
                "{unknown} times the namespaces of cluster '{}' cost more than its whole and which \
                 of them are gone is not known: the cost is the cluster's alone then",
                self.cluster
            ));
        }
    }

    /// Adds the pods' costs: their gauges are USD of the window whatever the mode.
    async fn pods(
        &self,
        session: &mut DaySession<'_>,
        selector: &Selector,
        gone_at: &BTreeMap<i64, Option<BTreeSet<String>>>,
        out: &mut SourceDay,
    ) -> Result<(), Failure> {
        let read_in = Window {
            start: self.weights().next().map_or(0, |(at, _)| at),
            end: self.weights().last().map_or(0, |(at, _)| at + 1),
        };
        if session.series_count(selector, POD_TOTAL, read_in).await? == 0 {
            return Ok(());
        }
        if self.earlier.window_seconds().is_none() {
            out.approximations.push(format!(
                "the pods of cluster '{}' are left out: their gauges are costs of a window of \
                 unknown length",
                self.cluster
            ));
            return Ok(());
        }
        let labels = ["namespace", "pod", "node", "service"];
        let of = (selector, POD_TOTAL, REAL_PODS);
        let values = self.values(session, of, &labels, false).await?;
        for (pod, readings) in by_pod(values) {
            let mut usd = 0.0;
            let mut most = (0.0, &pod);
            let namespace = pod.get("namespace").unwrap_or_default();
            for (at, hours) in self.weights() {
                let is_there = match gone_at.get(&at) {
                    Some(Some(gone)) => !gone.contains(namespace),
                    _ => false,
                };
                let Some((gauge, labels)) = readings.get(&at).filter(|_| is_there) else {
                    continue;
                };
                usd += gauge * self.of_total() * hours;
                if *gauge > most.0 {
                    most = (*gauge, labels);
                }
            }
            if usd > 0.0 {
                record_level(session, &mut out.costs, Level::Pod, most.1, usd);
                set_node_and_service(session, most.1, &mut out.costs);
            }
        }
        Ok(())
    }
}

/// The greatest gauge of each pod at each time, with all of its labels: exporters may place one pod
/// in several ways.
fn by_pod(
    values: BTreeMap<Labels, BTreeMap<i64, f64>>,
) -> BTreeMap<Labels, BTreeMap<i64, (f64, Labels)>> {
    let mut by_pod: BTreeMap<Labels, BTreeMap<i64, (f64, Labels)>> = BTreeMap::new();
    for (labels, points) in values {
        let readings = by_pod.entry(without_place(&labels)).or_default();
        for (time, usd) in points.into_iter().filter(|(_, usd)| usd.is_finite() && *usd >= 0.0) {
            let known = readings.entry(time).or_insert((usd, labels.clone()));
            if known.0 < usd {
                *known = (usd, labels.clone());
            }
        }
    }
    by_pod
}

/// Times as few regular ones, a step of hours apart where they are at one minute of them.
fn regular(times: &BTreeSet<i64>) -> Vec<Sampling> {
    let mut by_minute: BTreeMap<i64, Vec<Sampling>> = BTreeMap::new();
    for time in times {
        let list = by_minute.entry(time.rem_euclid(HOUR_SECONDS)).or_default();
        match list.last_mut() {
            Some(last) if last.count == 1 => {
                (last.step, last.count) = (*time - last.first, 2);
            }
            Some(last) if *time == last.last() + last.step => last.count += 1,
            _ => list.push(Sampling::once(*time)),
        }
    }
    by_minute.into_values().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_few_regular_ones() {
        let times = BTreeSet::from([0, 3_600, 7_200, 60, 7_260, 3_660, 20_040]);
        let hours = Sampling { first: 0, step: 3_600, count: 3 };
        let later = Sampling { first: 60, ..hours };
        assert_eq!(regular(&times), [hours, later, Sampling::once(20_040)]);
    }

    #[test]
    fn windows_are_durations_where_they_are_known() {
        let of = |window: &str| Earlier { window: Some(window.into()), is_total: false };
        let seconds = ["24h", "1d", "today", "0", "1m"].map(|window| of(window).window_seconds());
        assert_eq!(seconds, [Some(86_400), Some(86_400), None, None, None]);
        assert!(of("1m").phrase("c").contains("unknown length"));
        assert_eq!(Earlier::default().window_seconds(), None);
        assert!(of("24h").phrase("c").contains("24h"));
    }
}
