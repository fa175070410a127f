//! Phase 2: a day's costs from the allocation exporter's gauges.
//!
//! Three kinds of exporters are met: those that say which window their gauges are of
//! (`window_costs`), the earlier one, which does not (`earlier_costs`), and rates that are none of
//! a window (`plain_costs`). Where two take turns under one name, the one that says its window is
//! taken from its first window on.

use std::collections::{BTreeMap, BTreeSet};

use crate::cost::day::DAY_SECONDS;
use crate::cost::{Day, Level};
use crate::service::failure::{Failure, Kind};

use crate::source::metric_names::{
    CLUSTER_TOTAL, CPU_PRICE, NAMESPACE_TOTAL, NODE_TOTAL, POD_TOTAL, WINDOW_END, WINDOW_SECONDS,
};
use crate::source::prometheus::cluster_names::Counted;
use crate::source::prometheus::currency;
use crate::source::prometheus::earlier_costs::{self, Earlier};
use crate::source::prometheus::efficiencies;
use crate::source::prometheus::exposed_windows::{self, Windowed};
use crate::source::prometheus::gauges::{Coverage, add_up, shifted};
use crate::source::prometheus::node_facts;
use crate::source::prometheus::plain_costs;
use crate::source::prometheus::promql::{ClusterNames, Selector, Sources, Window};
use crate::source::prometheus::session::DaySession;
use crate::source::prometheus::window_costs;
use crate::source::prometheus::windows;
use crate::source::{Phase, SourceDay};

pub(super) async fn day_costs(
    mut session: DaySession<'_>,
    day: Day,
    now_seconds: i64,
) -> Result<SourceDay, Failure> {
    let mut selector = session.selector();
    let names = session.totals();
    // The gauges of a day may be shown on the next one.
    let shown_in = Window { end: day.end_seconds() + DAY_SECONDS, ..shifted(day, 0, now_seconds) };
    let counted = session.resolve_cluster_names(&mut selector, names, shown_in).await?;
    let windowed = exposed_windows::windowed(&mut session, &selector, day, now_seconds).await?;
    let on_day = shifted(day, 0, now_seconds);
    let earlier = earlier_costs::earlier(&mut session, &selector, &windowed, on_day).await?;
    let seen = Seen { windowed, earlier };
    let others = seen.names();
    let groups = plain_costs::lag_groups(&mut session, &selector, (day, now_seconds), &others);
    let groups = groups.await?;
    let lag_seconds = groups.iter().map(|group| group.lag_seconds).max().unwrap_or(0);
    // Gauges that are shown after those of the day's last cost are of other days.
    let read_until = seen.read_until(day).max(on_day.end + lag_seconds);
    let read_in = Window { end: read_until.min(now_seconds + 1).max(on_day.end), ..on_day };
    refuse_renamed_labels(&mut session, &selector, read_in).await?;
    let mut out = SourceDay::without_samples(Phase::Exporter, 0);
    out.exchange_rates = currency::convert(&mut session, &mut selector, day, read_in).await?;
    let mut coverage = CoverageByCluster::default();
    seen.add_costs(&mut session, &selector, (day, now_seconds), &mut out, &mut coverage).await?;
    out.reading.is_of_windows = groups.is_empty() && seen.earlier.is_empty();
    if !groups.is_empty() {
        let names = groups.iter().flat_map(|group| group.clusters.iter());
        refuse_totals(&mut session, &selector, read_in, names.collect()).await?;
    }
    for group in groups {
        let lag_seconds = group.lag_seconds;
        let mut selector = selector.clone();
        selector.clusters = group.selected;
        let window = shifted(day, lag_seconds, now_seconds);
        out.lag_seconds = out.lag_seconds.max(lag_seconds);
        let found = plain_costs::group_costs(&mut session, &selector, window, &mut out).await?;
        coverage.due_at_least = coverage.due_at_least.max(window.minutes());
        for (cluster, covered) in found {
            coverage.add(&cluster, Coverage { due: window.minutes(), covered });
        }
    }
    coverage.write(&mut out, &seen, (day, now_seconds));
    // An exporter that shows no cost knows nothing of its cluster.
    let with_costs = coverage.clusters.iter().filter(|(_, one)| one.covered > 0);
    let with_costs = with_costs.map(|(name, _)| name).chain(seen.windowed.keys());
    let known: BTreeSet<String> = with_costs.cloned().collect();
    name_silent_clusters(&mut session, &selector, &known, on_day, &mut out).await?;
    if session.levels().has(Level::Node) {
        node_facts::add(&mut session, &selector, on_day, &mut out.costs).await?;
    }
    if session.levels().has_parts {
        let shown = shifted(day, out.lag_seconds, now_seconds);
        efficiencies::add(&mut session, &selector, shown, &mut out.costs).await?;
    }
    out.missing.extend(without_totals(&counted, &out));
    out.reading.cluster_label = Some(session.cluster_label().to_owned());
    out.checkpoint = session.checkpoint().await;
    out.conflicts.append(&mut session.conflicts);
    out.warnings.append(&mut session.warnings);
    out.is_partial = session.is_partial;
    Ok(out)
}

/// Without `honor_labels` a scrape renames the exporter's own namespaces and pods, and every cost
/// would land on the exporter's namespace.
async fn refuse_renamed_labels(
    session: &mut DaySession<'_>,
    selector: &Selector,
    window: Window,
) -> Result<(), Failure> {
    let names = format!("__name__=~\"{}\"", session.totals()[1..].join("|"));
    let labels = ["exported_namespace", "exported_pod"];
    for label in &labels[..if session.levels().pod { 2 } else { 1 }] {
        let stored = selector.stored("", &[&names, &format!("{label}!=\"\"")]);
        // Keeps the names of several metrics, and so their series apart.
        let last = |piece: Window| {
            selector.max_by(&[], &format!("last_over_time({stored}[{}])", piece.range()))
        };
        let found = session.summed(window, 1, last).await?;
        if let Some(labels) = found.keys().next() {
            return Err(Failure::query(
                Kind::BadData,
                format!(
                    "the gauges of cluster '{}' have the label {label}, so their label {} is that \
                     of the exporter's own pod",
                    session.cluster(labels),
                    label.trim_start_matches("exported_")
                ),
                "scrape the allocation exporter with honor_labels: true (honorLabels in a \
                 ServiceMonitor)",
            ));
        }
    }
    Ok(())
}

/// A total of a window of unknown length is no rate.
async fn refuse_totals(
    session: &mut DaySession<'_>,
    selector: &Selector,
    window: Window,
    clusters: BTreeSet<&String>,
) -> Result<(), Failure> {
    let totals = exposed_windows::totals(session, selector, window).await?;
    let Some(cluster) = totals.iter().find(|name| clusters.contains(name)) else {
        return Ok(());
    };
    Err(Failure::query(
        Kind::BadData,
        format!(
            "the gauges of cluster '{cluster}' are costs of a window (mode=\"total\"), and how \
             long that is is not known: {WINDOW_END} and {WINDOW_SECONDS} are not there"
        ),
        "keep both metrics where series are dropped on the way, or set METRIC_MODE=rate",
    ))
}

/// The clusters whose exporters say something of their windows.
struct Seen {
    windowed: BTreeMap<String, Windowed>,
    earlier: BTreeMap<String, Earlier>,
}

impl Seen {
    fn names(&self) -> BTreeSet<String> {
        self.windowed.keys().chain(self.earlier.keys()).cloned().collect()
    }

    /// The longest window of an exporter, seconds.
    fn longest_window(&self) -> i64 {
        self.earlier.values().filter_map(Earlier::window_seconds).max().unwrap_or(0)
    }

    /// After when no window of the day is read any more, Unix seconds.
    fn read_until(&self, day: Day) -> i64 {
        let day = Window { start: day.start_seconds(), end: day.end_seconds() };
        let parts = self.windowed.values().flat_map(|one| windows::choose(&one.exposed, day));
        parts
            .filter_map(|part| part.minutes.last().copied())
            .max()
            .map_or(day.start, |last| last + 1)
    }

    /// What of the day is taken from gauges without a window, by cluster.
    fn elsewhere(&self, day: Window, now_seconds: i64) -> BTreeMap<String, Vec<Window>> {
        let mut elsewhere: BTreeMap<String, Vec<Window>> = BTreeMap::new();
        for (cluster, windowed) in &self.windowed {
            if windowed.windowless_minutes > 0 {
                elsewhere.insert(cluster.clone(), windowed.spans_elsewhere(day, now_seconds));
            }
        }
        for cluster in self.earlier.keys() {
            if !self.windowed.contains_key(cluster) {
                elsewhere.insert(cluster.clone(), vec![day]);
            }
        }
        elsewhere
    }

    async fn add_costs(
        &self,
        session: &mut DaySession<'_>,
        selector: &Selector,
        (day, now_seconds): (Day, i64),
        out: &mut SourceDay,
        coverage: &mut CoverageByCluster,
    ) -> Result<(), Failure> {
        let whole = Window { start: day.start_seconds(), end: day.end_seconds() };
        let elsewhere = self.elsewhere(whole, now_seconds);
        let mut spans: Vec<(&String, Window)> = Vec::new();
        for (cluster, of_cluster) in &elsewhere {
            spans.extend(of_cluster.iter().map(|span| (cluster, *span)));
        }
        for (cluster, span) in spans {
            let covered = match self.earlier.get(cluster) {
                Some(earlier) => {
                    let when = (span, day, now_seconds);
                    earlier_costs::add_costs(session, selector, (cluster, earlier), when, out)
                        .await?
                }
                None => windowless(session, selector, cluster, span, now_seconds, out).await?,
            };
            coverage.add(cluster, covered);
        }
        let found = window_costs::add_costs(
            session,
            selector,
            &self.windowed,
            &elsewhere,
            (day, now_seconds),
            out,
        )
        .await?;
        for (cluster, covered) in found {
            coverage.add(&cluster, covered);
        }
        self.hold_against_each_other(session, selector, (day, now_seconds), out).await
    }

    /// Two clusters of one name may have an earlier exporter and one with windows.
    async fn hold_against_each_other(
        &self,
        session: &mut DaySession<'_>,
        selector: &Selector,
        (day, now_seconds): (Day, i64),
        out: &mut SourceDay,
    ) -> Result<(), Failure> {
        for (cluster, windowed) in &self.windowed {
            let Some(earlier) = self.earlier.get(cluster) else { continue };
            if windowed.windowless_minutes == 0 {
                continue;
            }
            let windowed = (cluster.as_str(), windowed);
            let costs = window_costs::window_by_window(session, selector, windowed, day).await?;
            let earlier = (cluster.as_str(), earlier);
            let when = (day, now_seconds);
            let found = earlier_costs::disagreement(session, selector, earlier, &costs, when);
            out.conflicts.extend(found.await?);
        }
        Ok(())
    }
}

/// Adds what gauges without a window cost over a span.
async fn windowless(
    session: &mut DaySession<'_>,
    selector: &Selector,
    cluster: &str,
    span: Window,
    now_seconds: i64,
    out: &mut SourceDay,
) -> Result<Coverage, Failure> {
    let mut selector = Selector { sources: Sources::Windowless, ..selector.clone() };
    selector.clusters =
        Some(ClusterNames::new(vec![cluster.to_owned()], session.default_cluster()));
    let window = Window { end: span.end.min(now_seconds + 1).max(span.start), ..span };
    let mut part = SourceDay::without_samples(Phase::Exporter, 0);
    let found = plain_costs::group_costs(session, &selector, window, &mut part).await?;
    out.conflicts.append(&mut part.conflicts);
    out.gap_causes.append(&mut part.gap_causes);
    add_up(&mut out.costs, part.costs);
    let covered = found.get(cluster).copied().unwrap_or(0);
    Ok(Coverage { due: window.minutes(), covered })
}

/// How much of a day is covered, by cluster.
#[derive(Debug, Default)]
struct CoverageByCluster {
    clusters: BTreeMap<String, Coverage>,
    /// Minutes that are due even where no cluster has any.
    due_at_least: u32,
}

impl CoverageByCluster {
    fn add(&mut self, cluster: &str, more: Coverage) {
        let known = self.clusters.entry(cluster.to_owned()).or_default();
        known.due += more.due;
        known.covered += more.covered;
    }

    /// Writes into a day what it is covered by, or what it waits for.
    fn write(&self, out: &mut SourceDay, seen: &Seen, (day, now_seconds): (Day, i64)) {
        let due = self.clusters.values().map(|one| one.due).max().unwrap_or(0);
        out.expected_minutes = due.max(self.due_at_least);
        // Minutes missing of the shortest lag count as much as those of the longest.
        let covered = |one: &Coverage| {
            out.expected_minutes.saturating_sub(one.due.saturating_sub(one.covered))
        };
        let with_costs = self.clusters.iter().filter(|(_, one)| one.covered > 0);
        let covered = with_costs.map(|(name, one)| (name.clone(), covered(one))).collect();
        out.cover(covered);
        let is_known = !seen.names().is_empty() || out.lag_seconds > 0;
        if out.clusters.is_empty() && out.expected_minutes == 0 && is_known {
            let lag = out.lag_seconds.max(seen.longest_window());
            out.lag_seconds = lag;
            out.waiting = Some(format!(
                "the source lags by {} min: the first window of {day} is not due yet",
                lag / 60
            ));
        } else if out.clusters.is_empty() {
            out.expected_minutes = out.expected_minutes.max(day.minutes_passed(now_seconds));
        }
    }
}

/// Clusters with gauges of namespaces or pods whose whole cost is not there: which minutes and
/// windows are read goes by that.
fn without_totals(counted: &[Counted], source: &SourceDay) -> Vec<String> {
    let of = |metrics: &[&str]| -> BTreeSet<&str> {
        let these = counted.iter().filter(|one| metrics.contains(&one.metric.as_str()));
        these.map(|one| one.cluster.as_str()).collect()
    };
    let (parts, wholes) = (of(&[NAMESPACE_TOTAL, POD_TOTAL]), of(&[CLUSTER_TOTAL]));
    let unread =
        parts.difference(&wholes).filter(|name| !source.costs.clusters.contains_key(**name));
    let phrase = |name: &&str| {
        format!(
            "cluster '{name}' has gauges of its parts, but no {CLUSTER_TOTAL}: it is not billed"
        )
    };
    unread.map(phrase).collect()
}

/// Names clusters that have raw metrics but no gauges: a roll-out under way, or the same cluster
/// under another name.
async fn name_silent_clusters(
    session: &mut DaySession<'_>,
    selector: &Selector,
    known: &BTreeSet<String>,
    window: Window,
    out: &mut SourceDay,
) -> Result<(), Failure> {
    if out.clusters.is_empty() {
        return Ok(());
    }
    let nodes = format!("__name__=~\"{NODE_TOTAL}|{CPU_PRICE}\"");
    let query = |piece: Window| {
        // Keeps the metrics' names, and so their series apart.
        let last = selector.over_time("last_over_time", "", &[&nodes], &piece.range());
        selector.max_by(&[], &last)
    };
    let found = session.summed(window, 1, query).await?;
    let raw: BTreeSet<String> = session.by_cluster(&found).into_keys().collect();
    for cluster in raw.difference(known) {
        session.warn(format!(
            "cluster '{cluster}' has raw metrics but no gauges, which this account's days are \
             computed from: none of its costs are stored; install the exporter there, or give it \
             the same name in both if it is one that has gauges under another name"
        ));
    }
    out.missing.extend(without_gauges(&raw, known));
    Ok(())
}

/// What is missing where clusters with raw metrics alone are more than those with gauges alone:
/// each of the latter may be one of the former under another name, but not two.
fn without_gauges(raw: &BTreeSet<String>, gauges: &BTreeSet<String>) -> Option<String> {
    let only_raw: Vec<&String> = raw.difference(gauges).collect();
    let renamed = gauges.difference(raw).count();
    let first = only_raw.first().filter(|_| only_raw.len() > renamed)?;
    Some(format!(
        "{} clusters with raw metrics have no gauges, '{first}' for one: at least {} of them are \
         not billed",
        only_raw.len(),
        only_raw.len() - renamed
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_with_raw_metrics_alone_is_missing_unless_it_may_have_another_name() {
        let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect();
        let missing = |raw: &[&str], gauges: &[&str]| without_gauges(&names(raw), &names(gauges));
        assert_eq!(missing(&["a"], &["a", "b"]), None);
        assert_eq!(missing(&["cluster-one"], &["eu-1"]), None);
        assert!(missing(&["a", "b"], &["a"]).is_some_and(|one| one.contains("'b'")));
        let of_two = missing(&["a", "b", "c"], &["a", "x"]);
        assert!(of_two.is_some_and(|one| one.contains("2 clusters") && one.contains("least 1 ")));
    }
}
