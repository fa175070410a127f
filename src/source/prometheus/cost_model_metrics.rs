//! Phase 1: a day's costs from the raw metrics of the cost model.
//!
//! Allocation times price, joined on cluster and node, minute by minute (`formulas`). Which metrics
//! there are decides what can be billed and by what the whole of a cluster is known (`inventory`);
//! of several scrapers of one cost model one counts at a time (`scrapers`).

use std::collections::BTreeMap;

use crate::cost::Day;
use crate::service::failure::{Failure, Kind};

use crate::source::labels::Labels;
use crate::source::prometheus::gaps::{self, CoverageMetrics};
use crate::source::prometheus::promql::{Selector, Window};
use crate::source::prometheus::session::DaySession;
use crate::source::prometheus::source_conflicts::{self, ComparedRate};
use crate::source::{Phase, SourceDay};
use formulas::{Formulas, RESOURCES};
use inventory::Inventory;
use names::{CPU, CPU_PRICE, EGRESS, GAUGES, MANAGEMENT, NEEDED, NODE_TOTAL, RAM_PRICE};
use nodes::Nodes;
use scrapers::{Life, Scrapers};

mod costs;
mod formulas;
mod inventory;
mod names;
mod network;
mod nodes;
mod scrapers;
mod used;

/// Distance of the points at which presence is looked at, minutes: a sample stands for as long.
const STEP_MINUTES: u32 = 5;
/// Most resources that a warning names.
const NAMED_MAX: usize = 5;

/// All metrics that costs come from.
pub(super) fn all_metrics() -> Vec<&'static str> {
    names::all()
}

/// The grid points of a day that have passed.
fn passed(day: Day, now_seconds: i64) -> Window {
    let start = day.start_seconds();
    Window { start, end: day.end_seconds().min(now_seconds + 1).max(start) }
}

pub(super) async fn day_costs(
    mut session: DaySession<'_>,
    day: Day,
    now_seconds: i64,
) -> Result<SourceDay, Failure> {
    let window = passed(day, now_seconds);
    let mut out = SourceDay::without_samples(Phase::Raw, window.minutes());
    if window.minutes() > 0 {
        let mut selector = session.selector();
        let counted = session.resolve_cluster_names(&mut selector, &names::all(), window).await?;
        let inventory = Inventory::of(&counted);
        let nodes = Nodes::default();
        let mut work = RawDay { session: &mut session, inventory, window, nodes, out: &mut out };
        work.compute(selector).await?;
    }
    out.reading.cluster_label = Some(session.cluster_label().to_owned());
    out.checkpoint = session.checkpoint().await;
    // Clusters that cannot be told apart explain every other conflict.
    out.conflicts.splice(0..0, session.conflicts);
    out.warnings = session.warnings;
    out.is_partial = session.is_partial;
    Ok(out)
}

/// A day as far as it is computed.
struct RawDay<'d, 'a> {
    session: &'d mut DaySession<'a>,
    inventory: Inventory,
    window: Window,
    nodes: Nodes,
    out: &'d mut SourceDay,
}

impl RawDay<'_, '_> {
    async fn compute(&mut self, selector: Selector) -> Result<(), Failure> {
        let present = self.coverage(&selector).await?;
        if self.out.covered_minutes == 0 {
            return Ok(());
        }
        self.out.missing = self.inventory.missing();
        for note in self.inventory.notes() {
            self.session.warn(note);
        }
        self.refuse_renamed_labels(&selector).await?;
        self.conflicts(&selector).await?;
        let mut formulas = Formulas { selector, ..Formulas::default() };
        self.leave_out_bad_samples(&mut formulas.selector).await?;
        formulas.scrapers = self.scrapers(&formulas.selector).await?;
        self.out.reading.scrapers = formulas.scrapers.as_read();
        self.missing_parts(&formulas, &present).await?;
        self.warn_of_unpriced_nodes(&formulas).await?;
        self.containers(&formulas).await?;
        let basis = self.node_basis(&formulas, &present).await?;
        self.out.reading.node_basis = Some(basis.as_str().to_owned());
        self.volumes(&mut formulas).await?;
        let mut totals = self.network(&formulas).await?;
        self.balancers(&formulas).await?;
        self.wholes(&formulas, basis, &mut totals).await?;
        self.node_costs(&formulas, basis).await?;
        for (cluster, usd) in totals {
            self.out.costs.cluster_mut(&cluster).total_usd = Some(usd);
        }
        self.efficiencies(&formulas.selector).await;
        Ok(())
    }

    /// For how many minutes each cluster has samples; also where it has none.
    async fn coverage(&mut self, selector: &Selector) -> Result<BTreeMap<String, u32>, Failure> {
        let metrics = self.inventory.presence_metrics();
        if metrics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let of = |metric: &&str| selector.max_by(&[], &selector.raw(metric, &[]));
        let present: Vec<String> = metrics.iter().map(of).collect();
        let present = present.join(" or ");
        let minutes = self.session.minutes(&present, self.window).await?;
        self.out.cover(self.session.by_cluster(&minutes));
        let covered = self.out.covered_minutes;
        if covered > 0 && covered < self.window.minutes() {
            let edges = gaps::edges(self.session, &present, self.window).await?;
            self.out.edge_minutes.extend(edges);
            let coverage = CoverageMetrics { costs: metrics[0], alive: None };
            self.out.gap_causes =
                gaps::described(self.session, selector, coverage, self.window).await;
        }
        Ok(self.out.clusters.clone())
    }

    /// Without `honor_labels` a scrape renames the containers' own namespace and pod, and every
    /// cost would land on the exporter's namespace.
    async fn refuse_renamed_labels(&mut self, selector: &Selector) -> Result<(), Failure> {
        for metric in [CPU, EGRESS] {
            let matcher = &["exported_namespace!=\"\""];
            let renamed = |piece: Window| selector.series_count(metric, matcher, piece);
            if self.inventory.has(metric)
                && !self.session.summed(self.window, 1, renamed).await?.is_empty()
            {
                return Err(Failure::query(
                    Kind::BadData,
                    format!(
                        "{metric} has the label exported_namespace, so its label namespace is the \
                         scraper's"
                    ),
                    "scrape the cost model with honor_labels: true",
                ));
            }
        }
        Ok(())
    }

    /// What only one cluster may say under one name.
    async fn conflicts(&mut self, selector: &Selector) -> Result<(), Failure> {
        let node = if self.inventory.has(NODE_TOTAL) { NODE_TOTAL } else { CPU_PRICE };
        let rates = [
            ComparedRate { metric: node, labels: &["node"], identity: Some("provider_id") },
            ComparedRate { metric: MANAGEMENT, labels: &["provisioner_name"], identity: None },
        ];
        for rate in rates {
            if self.inventory.has(rate.metric) {
                let series = self.inventory.count(rate.metric);
                let found =
                    source_conflicts::of_rate(self.session, selector, rate, self.window, series);
                self.out.conflicts.extend(found.await?);
            }
        }
        Ok(())
    }

    async fn leave_out_bad_samples(&mut self, selector: &mut Selector) -> Result<(), Failure> {
        let is_there = |metric: &&str| self.inventory.has(metric);
        for metric in GAUGES.into_iter().filter(is_there) {
            let series = self.inventory.count(metric);
            let none: &[&str] = &[];
            let checked = [(metric, none)];
            self.session.filter_bad_samples(selector, &checked, self.window, series).await?;
        }
        Ok(())
    }

    /// Which scrapers there are of the same nodes, and for which metrics one is chosen.
    async fn scrapers(&mut self, selector: &Selector) -> Result<Scrapers, Failure> {
        let is_there = |metric: &&str| self.inventory.has(metric);
        let Some(alive) = [CPU_PRICE, RAM_PRICE, NODE_TOTAL].into_iter().find(is_there) else {
            return Ok(Scrapers::default());
        };
        let times = |function: &'static str| {
            let stored = selector.raw(alive, &[]);
            move |piece: Window| {
                format!("{function}(timestamp({stored})[{}:{STEP_MINUTES}m])", piece.range())
            }
        };
        let window = self.window;
        let firsts = self.session.extreme(window, f64::min, times("min_over_time")).await?;
        let lasts = self.session.extreme(window, f64::max, times("max_over_time")).await?;
        let life = |(labels, first): (Labels, f64)| {
            let last = lasts.get(&labels).copied().unwrap_or(first);
            Life { labels, first, last }
        };
        let lives: Vec<Life> = firsts.into_iter().map(life).collect();
        let labels = scrapers::differing_labels(&lives, self.session.cluster_label());
        if labels.is_empty() {
            return Ok(Scrapers::default());
        }
        let mut scrapers = Scrapers::ranked(alive, labels.clone(), &lives);
        if scrapers.are_too_many() {
            self.session.warn(format!(
                "the cost model's scrapers differ by {} in too many ways to choose one: of several \
                 that differ in a minute, the greatest counts",
                labels.join(", ")
            ));
            return Ok(scrapers);
        }
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        for metric in names::all() {
            if !self.inventory.has(metric) {
                continue;
            }
            let count = |piece: Window| {
                let range = piece.range();
                let seen = selector.over_time("count_over_time", metric, &[], &range);
                format!("count by ({}) ({seen})", selector.labels(&labels))
            };
            let counts = self.session.extreme(window, f64::max, count).await?;
            let counts: Vec<_> = counts.iter().map(|(labels, n)| (labels, *n)).collect();
            scrapers.choose_for(metric, &counts, self.session.cluster_label());
        }
        Ok(scrapers)
    }

    /// Minutes of an expression by cluster, to five minutes.
    async fn rough_minutes(
        &mut self,
        expression: &str,
        series: u64,
    ) -> Result<BTreeMap<String, u32>, Failure> {
        let query = |piece: Window| {
            format!("count_over_time(({expression})[{}:{STEP_MINUTES}m])", piece.range())
        };
        let series = series / u64::from(STEP_MINUTES);
        let steps = self.session.summed(self.window, series, query).await?;
        let steps = self.session.by_cluster(&steps);
        Ok(steps.into_iter().map(|(name, count)| (name, count * STEP_MINUTES)).collect())
    }

    /// Names metrics that a cluster lacks for a part of the day.
    async fn missing_parts(
        &mut self,
        formulas: &Formulas,
        present: &BTreeMap<String, u32>,
    ) -> Result<(), Failure> {
        for (metric, effect) in NEEDED {
            if self.inventory.has(metric) {
                // Of the scraper that was chosen: what another one has is not billed.
                let any = formulas.max_by(&[], metric);
                let series = self.inventory.count(metric);
                let minutes = self.rough_minutes(&any, series).await?;
                let missing = self.inventory.missing_partly(metric, effect, &minutes, present);
                self.out.missing.extend(missing);
            }
        }
        Ok(())
    }

    /// Allocations on nodes without a price drop out of the join: say so.
    async fn warn_of_unpriced_nodes(&mut self, formulas: &Formulas) -> Result<(), Failure> {
        for resource in RESOURCES {
            let (amount, price, _) = resource;
            let is_missing = NEEDED.iter().any(|(metric, _)| *metric == price);
            if !self.inventory.has(amount) || (is_missing && !self.inventory.has(price)) {
                continue;
            }
            let lacking = formulas.unpriced(resource);
            let query = |piece: Window| {
                format!("count_over_time(({lacking})[{}:{STEP_MINUTES}m])", piece.range())
            };
            let series = self.inventory.count(amount) / u64::from(STEP_MINUTES);
            let found = self.session.summed(self.window, series, query).await?;
            for (labels, points) in found.into_iter().take(NAMED_MAX) {
                self.session.is_partial = true;
                let node = labels.get("node").unwrap_or_default();
                let minutes = points * f64::from(STEP_MINUTES);
                self.session.warn(format!(
                    "node '{node}' has {amount} but no price ({price}) for about {minutes} \
                     minutes: they cost nothing"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_looked_at_as_far_as_it_has_passed() {
        let day: Day = "2026-11-20".parse().unwrap();
        let start = day.start_seconds();
        assert_eq!(passed(day, start + 10 * 86_400).minutes(), 1_440);
        assert_eq!(passed(day, start).minutes(), 1);
        assert_eq!(passed(day, start - 1).minutes(), 0);
        assert_eq!(passed(day, start + 179).minutes(), 3);
    }
}
