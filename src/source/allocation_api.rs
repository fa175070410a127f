//! Days read from a Kubecost or an OpenCost directly, with exact windows.
//!
//! A day can be had as one set or as the sum of its hourly sets. Measured over a cluster whose
//! truth is known (OpenCost, the server's own grid of 5 minutes; `fixtures/README.md`):
//!
//! | day (USD less network) | truth | one set | sum of hourly sets |
//! |---|---|---|---|
//! | 2026-11-20, no gap | 65.245 | 65.247 | 65.322 |
//! | 2026-11-19, a gap of two hours | 54.530 | 59.714 | 54.125 |
//!
//! An hourly set bills each load balancer for 65 minutes, a day's set for 1445; but a set bills
//! pods and nodes straight through a gap in its data. So a day without a gap inside is read as one
//! set, and a day with one as the sum of its hours. The hours are read in both cases: they tell
//! the coverage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::accounts::Account;
use crate::allocation_api::window::HOUR_SECONDS;
use crate::allocation_api::{
    AllocationClient, AllocationSet, Faults, Idle, Refusal, Request, Row, Window, keys, verdict,
};
use crate::cost::costs::is_special;
use crate::cost::{Day, DayCosts, PodCosts};
use crate::service::failure::{Failure, Kind};
use crate::source::{
    CostSource, Phase, Presence, ReadPart, SourceDay, Warning, in_another_currency,
};

const NAMESPACES: &str = "cluster,namespace";
const PODS: &str = "namespace,pod";
const PODS_OF_CLUSTERS: &str = "cluster,namespace,pod";
/// The grid to which the server cuts times, minutes.
const GRID_MINUTES: u32 = 5;
/// Days asked for at once when only their presence is of interest.
const PRESENCE_DAYS_MAX: usize = 7;
/// Minutes missing between a day's first and last sample that are no gap: two steps of the grid
/// to which the server cuts times.
const GAP_MINUTES_LEAST: i64 = 10;

/// A query layer over the allocation API of one cluster (or one Kubecost over several).
#[derive(Debug)]
pub struct AllocationApiQuery {
    client: AllocationClient,
    default_cluster: String,
    wants_pods: bool,
    currency: String,
    /// The product's currency, as of the last check, where it says one.
    product_currency: Mutex<Option<String>>,
}

/// What the hourly sets of a day tell.
struct Hours {
    sets: Vec<AllocationSet>,
    /// By cluster.
    covered_minutes: BTreeMap<String, u32>,
    /// Whether one of the clusters has one.
    has_gap: bool,
}

impl AllocationApiQuery {
    /// A query layer that names clusters `default_cluster` where the server does not, and asks for
    /// pods only when they are wanted. `currency` is the ledger's.
    #[must_use]
    pub fn new(
        client: AllocationClient,
        default_cluster: String,
        wants_pods: bool,
        currency: String,
    ) -> Self {
        let product_currency = Mutex::default();
        Self { client, default_cluster, wants_pods, currency, product_currency }
    }

    async fn ask(
        &self,
        window: Window,
        step_hours: i64,
        aggregate: &'static str,
        faults: &mut Faults,
    ) -> Result<crate::allocation_api::Reply, Failure> {
        let step_hours = Some(step_hours);
        let idle = Idle::Separate;
        let is_idle_by_node = false;
        let request =
            Request { window, step_hours, aggregate, idle, is_idle_by_node, resolution: None };
        let mut reply = self.client.allocations(&request).await?;
        faults.merge(std::mem::take(&mut reply.faults));
        Ok(reply)
    }

    /// The rows of a window as one set, accepted.
    async fn whole(
        &self,
        window: Window,
        aggregate: &'static str,
        faults: &mut Faults,
    ) -> Result<Vec<Row>, Failure> {
        let step_hours = window.seconds() / HOUR_SECONDS;
        let reply = self.ask(window, step_hours, aggregate, faults).await?;
        let selected = verdict::select(reply, window, faults)
            .and_then(|selected| {
                if selected.window != window {
                    return Err(Refusal::WrongWindow(Some(selected.window)));
                }
                verdict::check(&selected.rows).map(|()| selected)
            })
            .map_err(|refusal| refusal.failure(window))?;
        Ok(selected.rows)
    }

    /// The hourly sets of a window, or nothing when the server has no hours of it (any more).
    async fn hours(&self, window: Window, faults: &mut Faults) -> Result<Option<Hours>, Failure> {
        let reply = self.ask(window, 1, NAMESPACES, faults).await?;
        let mut sets: Vec<_> = reply.sets.into_iter().filter(|set| !set.rows.is_empty()).collect();
        let is_hour = |set: &AllocationSet| {
            set.window.is_some_and(|w| w.seconds() == HOUR_SECONDS && window.contains(w))
        };
        if !sets.iter().all(is_hour) {
            return Ok(None);
        }
        sets.sort_by_key(|set| set.window);
        for set in &sets {
            verdict::check(&set.rows).map_err(|d| d.failure(set.window.unwrap_or(window)))?;
        }
        let (mut covered_minutes, mut has_gap) = (BTreeMap::new(), false);
        for (cluster, spans) in spans(&sets, window, &self.default_cluster) {
            let covered: i64 = spans.iter().map(|(start, end)| (end - start).max(0) / 60).sum();
            let between = match (spans.first(), spans.last()) {
                (Some((first, _)), Some((_, last))) => (last - first) / 60,
                _ => 0,
            };
            has_gap |= between - covered > GAP_MINUTES_LEAST;
            covered_minutes.insert(cluster, u32::try_from(covered).unwrap_or(0));
        }
        Ok(Some(Hours { sets, covered_minutes, has_gap }))
    }

    fn product_currency(&self) -> MutexGuard<'_, Option<String>> {
        self.product_currency.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees that costs are in the ledger's currency, as far as the product says one.
    fn check_currency(&self) -> Result<(), Failure> {
        let code = self.product_currency().clone().filter(|code| *code != self.currency);
        let Some(code) = code else { return Ok(()) };
        Err(Failure::query(
            Kind::Currency,
            in_another_currency(self.client.describe(), &code, &self.currency),
            "set CURRENCY where all costs are in that one, or read them by QUERY_LAYER=prometheus \
             with EXCHANGE_RATES_FILE",
        ))
    }

    /// Pods of a window: the hours of a day with a gap one by one, so that no reply is larger than
    /// a day's.
    async fn pods(
        &self,
        window: Window,
        by_hour: Option<&Hours>,
        aggregate: &'static str,
        faults: &mut Faults,
    ) -> Result<Vec<Row>, Failure> {
        let Some(hours) = by_hour else {
            return self.whole(window, aggregate, faults).await;
        };
        let mut sets = Vec::with_capacity(hours.sets.len());
        for hour in hours.sets.iter().filter_map(|set| set.window) {
            let rows = self.whole(hour, aggregate, faults).await?;
            sets.push(AllocationSet { window: Some(hour), rows });
        }
        Ok(verdict::sum(sets))
    }
}

#[async_trait]
impl CostSource for AllocationApiQuery {
    fn describe(&self) -> String {
        format!("allocation API at {}", self.client.describe())
    }

    fn has_history(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<(), Failure> {
        // An hour long past has no rows and costs the server nothing.
        let window = Window::new(0, HOUR_SECONDS);
        self.ask(window, 1, NAMESPACES, &mut Faults::default()).await?;
        let code = self.client.currency().await?;
        *self.product_currency() = code;
        Ok(())
    }

    async fn observe(&self, _account: &Account, _now_seconds: i64) -> Result<(), Failure> {
        Ok(())
    }

    /// The same minutes stand for both phases: the API is neither.
    async fn presence(
        &self,
        _account: &Account,
        first: Day,
        last: Day,
        now_seconds: i64,
    ) -> Result<BTreeMap<Day, Presence>, Failure> {
        let days: Vec<Day> = first.through(last).collect();
        let mut presence = BTreeMap::new();
        for days in days.chunks(PRESENCE_DAYS_MAX) {
            let (Some(first), Some(last)) = (days.first(), days.last()) else { continue };
            let window = Window::new(first.start_seconds(), last.end_seconds());
            if window.closed_part(now_seconds).is_empty() {
                continue;
            }
            let reply = self.ask(window, 24, NAMESPACES, &mut Faults::default()).await?;
            for set in reply.sets.iter().filter(|set| !set.rows.is_empty()) {
                let Some(of) = set.window else { continue };
                let span = verdict::reach(&set.rows).unwrap_or(of);
                let closed = span.closed_part(now_seconds);
                let minutes = u32::try_from(closed.seconds() / 60).unwrap_or(0);
                if minutes > 0 && window.contains(of) {
                    let day: &mut Presence = presence.entry(Day::of_unix(of.start)).or_default();
                    day.raw_minutes = (day.raw_minutes + minutes).min(1_440);
                    day.exporter_minutes = day.raw_minutes;
                }
            }
        }
        Ok(presence)
    }

    async fn day_costs(
        &self,
        _account: &Account,
        day: Day,
        phase: Phase,
        now_seconds: i64,
    ) -> Result<SourceDay, Failure> {
        let window = Window::new(day.start_seconds(), day.end_seconds()).closed_part(now_seconds);
        let expected_minutes = u32::try_from(window.seconds() / 60).unwrap_or(0);
        let mut out = SourceDay::without_samples(phase, expected_minutes);
        if window.is_empty() {
            return Ok(out);
        }
        self.check_currency()?;
        let mut faults = Faults::default();
        let hours = self.hours(window, &mut faults).await?;
        if hours.as_ref().is_some_and(|hours| hours.sets.is_empty()) {
            return Ok(out);
        }
        let by_hour = hours.as_ref().filter(|hours| hours.has_gap);
        let rows = match by_hour {
            Some(hours) => verdict::sum(hours.sets.clone()),
            None => self.whole(window, NAMESPACES, &mut faults).await?,
        };
        out.reading.step_minutes = Some(GRID_MINUTES);
        out.reading.parts = read_parts(window, by_hour);
        let clusters = add_namespaces(&mut out.costs, &rows, &self.default_cluster);
        match &hours {
            Some(hours) => {
                let minutes = |name: &String| hours.covered_minutes.get(name).copied().unwrap_or(0);
                let of = |name: &String| (name.clone(), minutes(name).min(expected_minutes));
                out.cover(clusters.iter().map(of).collect());
            }
            None => {
                out.warnings.push(format!("{day}: no hourly sets; gaps cannot be seen").into());
                let span = verdict::reach(&rows).unwrap_or(window);
                let minutes = u32::try_from(span.seconds() / 60).unwrap_or(0);
                out.cover_all(minutes.min(expected_minutes));
            }
        }
        out.warnings.extend(several(&clusters).map(Warning::from));
        if self.wants_pods {
            let is_filtered = self.client.is_of_one_cluster();
            let aggregate = if clusters.len() > 1 || is_filtered { PODS_OF_CLUSTERS } else { PODS };
            let pods = self.pods(window, by_hour, aggregate, &mut faults).await?;
            let lone = clusters.first().unwrap_or(&self.default_cluster);
            add_pods(&mut out.costs, &pods, lone);
        }
        if !faults.0.is_empty() {
            out.warnings.push(format!("{day}: odd rows: {}", faults.line()).into());
        }
        // Rows that were refused or have no cost are missing in the sums.
        out.is_partial = faults.unknown_costs() > 0;
        Ok(out)
    }
}

/// The sets that a day's costs are the sum of.
fn read_parts(window: Window, by_hour: Option<&Hours>) -> Vec<ReadPart> {
    let sets = match by_hour {
        Some(hours) => hours.sets.iter().filter_map(|set| set.window).collect(),
        None => vec![window],
    };
    let part = |set: Window| ReadPart {
        cluster: String::new(),
        start: set.start,
        end: set.end,
        at: None,
        window_seconds: None,
        is_total: true,
        left_out: Some(Vec::new()),
    };
    sets.into_iter().map(part).collect()
}

/// What an operator should know of a server that answers for several clusters.
fn several(clusters: &BTreeSet<String>) -> Option<String> {
    const NAMED_MAX: usize = 5;
    (clusters.len() > 1).then(|| {
        let named: Vec<&str> = clusters.iter().take(NAMED_MAX).map(String::as_str).collect();
        format!(
            "the server answers for {} clusters, all stored for this account: {}; CLUSTER_FILTER \
             takes one of them",
            clusters.len(),
            named.join(", ")
        )
    })
}

/// The cluster of rows that name none: the only one that is named, else the default.
fn lone_cluster<'a>(rows: impl Iterator<Item = &'a Row>, default_cluster: &'a str) -> &'a str {
    let named: BTreeSet<&str> = rows.filter_map(|row| keys::of_namespace(&row.key).0).collect();
    match (named.len(), named.first()) {
        (1, Some(cluster)) => cluster,
        _ => default_cluster,
    }
}

/// The cluster of a row keyed `cluster/namespace`.
fn cluster_of<'a>(row: &'a Row, lone: &'a str) -> &'a str {
    keys::of_namespace(&row.key).0.or(row.cluster.as_deref()).unwrap_or(lone)
}

/// By cluster, which part of each set's window its rows are of, in the order of sets.
fn spans(
    sets: &[AllocationSet],
    window: Window,
    default_cluster: &str,
) -> BTreeMap<String, Vec<(i64, i64)>> {
    let lone = lone_cluster(sets.iter().flat_map(|set| &set.rows), default_cluster);
    let mut spans: BTreeMap<String, Vec<(i64, i64)>> = BTreeMap::new();
    for set in sets {
        let mut rows: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
        for row in &set.rows {
            rows.entry(cluster_of(row, lone)).or_default().push(row);
        }
        for (cluster, rows) in rows {
            let Some(span) = verdict::reach(rows).or(set.window) else { continue };
            let span = (span.start.max(window.start), span.end.min(window.end));
            spans.entry(cluster.to_owned()).or_default().push(span);
        }
    }
    spans
}

/// Adds rows keyed `cluster/namespace`; special ones only to their cluster. Returns the clusters.
fn add_namespaces(costs: &mut DayCosts, rows: &[Row], default_cluster: &str) -> BTreeSet<String> {
    let lone = lone_cluster(rows.iter(), default_cluster);
    for row in rows {
        let (_, namespace) = keys::of_namespace(&row.key);
        let cluster = cluster_of(row, lone);
        let of_cluster = costs.cluster_mut(cluster);
        *of_cluster.total_usd.get_or_insert(0.0) += row.costs.total;
        if !is_special(namespace) {
            let of_namespace = costs.namespace_mut(cluster, namespace);
            *of_namespace.total_usd.get_or_insert(0.0) += row.costs.total;
        }
    }
    costs.clusters.keys().cloned().collect()
}

/// Adds rows keyed `namespace/pod` or `cluster/namespace/pod`. What is no pod (`__idle__`,
/// `__unmounted__`) stays in its parent's remainder.
fn add_pods(costs: &mut DayCosts, rows: &[Row], lone_cluster: &str) {
    for row in rows {
        let Some((cluster, namespace, pod)) = keys::of_pod(&row.key) else { continue };
        let cluster = cluster.or(row.cluster.as_deref()).unwrap_or(lone_cluster);
        let of_pod = PodCosts {
            total_usd: row.costs.total,
            node: row.node.as_deref().map(str::to_owned),
            service: row.service.as_deref().map(str::to_owned),
            ..PodCosts::default()
        };
        costs.namespace_mut(cluster, namespace).pods.insert(pod.to_owned(), of_pod);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocation_api::Costs;

    fn row(key: &str, total: f64) -> Row {
        let costs = Costs { total, ..Costs::default() };
        Row { key: key.into(), costs, ..Row::default() }
    }

    #[test]
    fn special_rows_are_part_of_their_cluster_only() {
        let mut costs = DayCosts::default();
        let rows = [
            row("__idle__", 4.0),
            row("one/__unmounted__", 2.0),
            row("one/shop", 1.0),
            row("/lost", 8.0),
        ];
        let clusters = add_namespaces(&mut costs, &rows, "home");
        assert_eq!(clusters.into_iter().collect::<Vec<_>>(), ["one"]);
        assert_eq!(costs.clusters["one"].total_usd, Some(15.0));
        let names: Vec<_> = costs.clusters["one"].namespaces.keys().collect();
        assert_eq!(names, ["lost", "shop"]);
    }

    #[test]
    fn arns_of_two_clusters_are_two_names() {
        const TWO: [&str; 2] = ["arn:aws:eks:eu:1:cluster/prod", "arn:aws:eks:us:1:cluster/prod"];
        let mut costs = DayCosts::default();
        let of = |more: &str| TWO.map(|arn| row(&format!("{arn}/{more}"), 1.0));
        let rows = [of("shop"), of("data"), of("__idle__")].concat();
        let clusters = add_namespaces(&mut costs, &rows, "home");
        assert_eq!(clusters.iter().map(String::as_str).collect::<Vec<_>>(), TWO);
        assert!(several(&clusters).unwrap().contains("CLUSTER_FILTER"));
        add_pods(&mut costs, &of("shop/web-0"), "home");
        for arn in TWO {
            let cluster = &costs.clusters[arn];
            assert_eq!(cluster.total_usd, Some(3.0));
            assert_eq!(cluster.namespaces.keys().collect::<Vec<_>>(), ["data", "shop"]);
            assert_eq!(cluster.namespaces["shop"].pods["web-0"].total_usd, 1.0);
        }
    }

    #[test]
    fn idle_of_several_clusters_goes_to_each_cluster() {
        let mut costs = DayCosts::default();
        let rows = [row("one/__idle__", 4.0), row("two/__idle__", 2.0), row("two/shop", 1.0)];
        let clusters = add_namespaces(&mut costs, &rows, "home");
        assert_eq!(clusters.len(), 2);
        assert_eq!(costs.clusters["one"].total_usd, Some(4.0));
        assert_eq!(costs.clusters["two"].total_usd, Some(3.0));
    }

    #[test]
    fn pods_keep_their_node_and_special_ones_are_left_to_the_remainder() {
        let mut costs = DayCosts::default();
        let on_node = Row { node: Some("n1".into()), ..row("shop/web-0", 3.0) };
        let rows = [on_node, row("__idle__", 9.0), row("__unmounted__/__unmounted__", 1.0)];
        add_pods(&mut costs, &rows, "one");
        let pods = &costs.clusters["one"].namespaces["shop"].pods;
        assert_eq!(pods["web-0"].node.as_deref(), Some("n1"));
        assert_eq!(costs.clusters["one"].namespaces.len(), 1);
    }
}
