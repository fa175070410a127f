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
    CLUSTER_TOTAL, NAMESPACE_TOTAL, NODE_TOTAL, POD_TOTAL, WINDOW_END, WINDOW_SECONDS,
};
use crate::source::prometheus::currency;
use crate::source::prometheus::earlier_costs::{self, Earlier};
use crate::source::prometheus::efficiencies;
use crate::source::prometheus::exposed_windows::{self, Windowed};
use crate::source::prometheus::gauges::{Coverage, add_up, cluster_matcher, shifted};
use crate::source::prometheus::node_facts;
use crate::source::prometheus::plain_costs;
use crate::source::prometheus::promql::{Selector, Sources, Window};
use crate::source::prometheus::session::DaySession;
use crate::source::prometheus::window_costs;
use crate::source::{Phase, SourceDay};

pub(super) async fn day_costs(
    mut session: DaySession<'_>,
    day: Day,
    now_seconds: i64,
) -> Result<SourceDay, Failure> {
    let mut selector = session.selector();
    let names = [CLUSTER_TOTAL, NAMESPACE_TOTAL, POD_TOTAL];
    // The gauges of a day may be shown on the next one.
    let shown_in = Window { end: day.end_seconds() + DAY_SECONDS, ..shifted(day, 0, now_seconds) };
    session.resolve_cluster_names(&mut selector, &names, shown_in).await?;
    refuse_renamed_labels(&mut session, &selector, shown_in).await?;
    let mut out = SourceDay::without_samples(Phase::Exporter, 0);
    out.exchange_rates = currency::convert(&mut session, &mut selector, day, shown_in).await?;
    let windowed = exposed_windows::windowed(&mut session, &selector, day, now_seconds).await?;
    let on_day = shifted(day, 0, now_seconds);
    let earlier = earlier_costs::earlier(&mut session, &selector, &windowed, on_day).await?;
    let seen = Seen { windowed, earlier };
    let mut coverage = CoverageByCluster::default();
    seen.add_costs(&mut session, &selector, (day, now_seconds), &mut out, &mut coverage).await?;
    let others = seen.names();
    let groups = plain_costs::lag_groups(&mut session, &selector, (day, now_seconds), &others);
    let groups = groups.await?;
    out.reading.is_of_windows = groups.is_empty() && seen.earlier.is_empty();
    if !groups.is_empty() {
        let names = groups.iter().flat_map(|group| group.clusters.iter());
        refuse_totals(&mut session, &selector, shown_in, names.collect()).await?;
    }
    for group in groups {
        let lag_seconds = group.lag_seconds;
        let mut selector = selector.clone();
        selector.matchers.extend(group.matcher);
        let window = shifted(day, lag_seconds, now_seconds);
        out.lag_seconds = out.lag_seconds.max(lag_seconds);
        let found = plain_costs::group_costs(&mut session, &selector, window, &mut out).await?;
        coverage.due_at_least = coverage.due_at_least.max(window.minutes());
        for (cluster, covered) in found {
            coverage.add(&cluster, Coverage { due: window.minutes(), covered });
        }
    }
    coverage.write(&mut out, &seen, (day, now_seconds));
    warn_of_silent_clusters(&mut session, &selector, &out.clusters, shifted(day, 0, now_seconds))
        .await?;
    if session.levels().has(Level::Node) {
        let on_day = shifted(day, 0, now_seconds);
        node_facts::add(&mut session, &selector, on_day, &mut out.costs).await?;
    }
    if session.levels().has_parts {
        let shown = shifted(day, out.lag_seconds, now_seconds);
        efficiencies::add(&mut session, &selector, shown, &mut out.costs).await?;
    }
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
    let names = format!("__name__=~\"{NAMESPACE_TOTAL}|{POD_TOTAL}\"");
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
    selector.matchers.push(cluster_matcher(
        session.cluster_label(),
        &[cluster.to_owned()],
        session.default_cluster(),
    ));
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

/// Clusters that have raw metrics but no gauges: a roll-out under way, or the same cluster under
/// another name, which cannot be told apart from here.
async fn warn_of_silent_clusters(
    session: &mut DaySession<'_>,
    selector: &Selector,
    known: &BTreeMap<String, u32>,
    window: Window,
) -> Result<(), Failure> {
    if known.is_empty() {
        return Ok(());
    }
    let stored = selector.stored(NODE_TOTAL, &[]);
    let query = |piece: Window| {
        selector.max_by(&[], &format!("count_over_time({stored}[{}])", piece.range()))
    };
    let found = session.summed(window, 1, query).await?;
    for cluster in session.by_cluster(&found).into_keys() {
        if !known.contains_key(&cluster) {
            session.warn(format!(
                "cluster '{cluster}' has raw metrics but no gauges, which this account's days are \
                 computed from: none of its costs are stored; install the exporter there, or give \
                 it the same name in both if it is one that has gauges under another name"
            ));
        }
    }
    Ok(())
}
