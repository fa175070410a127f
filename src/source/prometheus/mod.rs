//! Costs from a server that understands PromQL: Prometheus, Thanos Query, Mimir, VictoriaMetrics.
//!
//! The exact layer: any past day can be integrated, on the server, minute by minute. Which
//! expressions make up a day is said by `exporter_metrics` (the exporter's) and `cost_model_metrics` (the cost
//! model's); `session` puts them in pieces that the server accepts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::accounts::Account;
use crate::cost::day::DAY_SECONDS;
use crate::cost::{AccountId, Day, KubernetesFacts, ResourceKey};
use crate::service::failure::{Failure, Kind};
use crate::settings::worker::LabelTags;

use crate::source::metric_names::{
    CLUSTER_TOTAL, CPU_ALLOCATION, CPU_PRICE, NODE_TOTAL, RAM_ALLOCATION, RAM_PRICE, VOLUME_CLAIMS,
    VOLUME_PRICE,
};
use crate::source::{CostSource, Phase, Presence, Running, SourceDay};
use client::{NoAnswer, PromClient};
use promql::GRID_SECONDS;
use questions::{Questions, Times};
use session::{DaySession, PrometheusSettings};
use stores::StoreAway;

pub use questions::BatchSettings;

pub mod client;
mod cluster_names;
pub mod cost_model_metrics;
mod currency;
mod dedup;
mod earlier;
mod earlier_costs;
mod efficiencies;
pub mod exporter_metrics;
mod exposed_windows;
mod gaps;
pub(in crate::source) mod gauges;
mod kubernetes;
mod last_samples;
mod node_facts;
mod plain_costs;
pub mod promql;
mod questions;
mod refusal;
pub mod reply;
mod sample_counts;
mod series_parts;
pub mod session;
pub(crate) mod source_conflicts;
mod stores;
mod window_costs;
mod windows;

/// A day less half a second, so that a midnight is in one day only.
const DAY_RANGE: &str = "86399500ms";
/// From midnight to a day's last grid point: a later sample is seen on the next day only.
const SAMPLED_RANGE: &str = "86340500ms";
/// Five minutes up to a second before a grid point: with the second's offset, a sample on the grid
/// point itself belongs to the slot that it begins.
const SLOT_RANGE: &str = "299500ms";

/// Raw metrics with a few series a node, any of which shows that a day has samples.
const OF_NODES: [&str; 3] = [NODE_TOTAL, CPU_PRICE, RAM_PRICE];
/// Raw metrics that show it where there are none of nodes.
const OF_ALLOCATIONS: [&str; 4] = [CPU_ALLOCATION, RAM_ALLOCATION, VOLUME_CLAIMS, VOLUME_PRICE];

/// What a day has of a metric.
#[derive(Clone, Copy, Debug, Default)]
struct SamplesOfDay {
    /// Minutes with samples, in steps of five, of the cluster that has most.
    minutes: u32,
    /// Samples of all series.
    samples: u64,
}

/// Costs from a PromQL server.
#[derive(Clone, Debug)]
pub struct PrometheusQuery {
    questions: Questions,
    settings: PrometheusSettings,
    /// Thanos' stores that were away when the server was last checked.
    stores_away: Arc<Mutex<Vec<StoreAway>>>,
}

impl PrometheusQuery {
    /// An adapter for the server that `client` asks.
    #[must_use]
    pub fn new(client: PromClient, settings: PrometheusSettings) -> Self {
        let questions = Questions::new(client, settings.tenant_label.clone(), settings.batches);
        Self { questions, settings, stores_away: Arc::default() }
    }
}

/// The days without any presence, as stretches of days that follow each other.
fn days_without(known: &BTreeMap<Day, Presence>, first: Day, last: Day) -> Vec<(Day, Day)> {
    let is_known = |day: &Day| known.get(day).is_some_and(|p| *p != Presence::default());
    let mut out: Vec<(Day, Day)> = Vec::new();
    for day in first.through(last).filter(|day| !is_known(day)) {
        match out.last_mut() {
            Some((_, end)) if end.next() == day => *end = day,
            _ => out.push((day, day)),
        }
    }
    out
}

#[async_trait]
impl CostSource for PrometheusQuery {
    fn describe(&self) -> String {
        format!("prometheus at {}", self.questions.client().address())
    }

    fn has_history(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<(), Failure> {
        self.questions.begin();
        let client = self.questions.client();
        let away = client.stores_away().await;
        *self.stores_away.lock().unwrap_or_else(PoisonError::into_inner) = away;
        let asked = client.instant("vector(1)", 1).await;
        match asked.map_err(NoAnswer::into_failure) {
            // There is no account yet whose id could be in the headers.
            Err(failure) if failure.kind == Kind::Denied && client.is_per_account() => Ok(()),
            asked => asked.map(|_| ()),
        }
    }

    async fn observe(&self, _account: &Account, _now_seconds: i64) -> Result<(), Failure> {
        Ok(())
    }

    async fn presence(
        &self,
        account: &Account,
        first: Day,
        last: Day,
        _now_seconds: i64,
    ) -> Result<BTreeMap<Day, Presence>, Failure> {
        let mut out: BTreeMap<Day, Presence> = BTreeMap::new();
        for (day, samples) in
            self.samples_by_day(account, &[CLUSTER_TOTAL], (first, last), last).await?
        {
            let presence = out.entry(day).or_default();
            presence.exporter_minutes = samples.minutes;
            presence.exporter_samples = samples.samples;
        }
        self.raw_presence(account, &OF_NODES, ((first, last), last), &mut out).await?;
        // Containers have many series: they are asked for where nothing else shows a sample.
        for days in days_without(&out, first, last) {
            self.raw_presence(account, &OF_ALLOCATIONS, (days, last), &mut out).await?;
        }
        Ok(out)
    }

    async fn all_samples(
        &self,
        account: &Account,
        day: Day,
        phase: Phase,
        now_seconds: i64,
    ) -> Result<Option<u64>, Failure> {
        let session = DaySession::new(&self.questions, &self.settings, account);
        let metrics = match phase {
            Phase::Exporter => gauges::all_metrics(self.settings.levels),
            Phase::Raw => cost_model_metrics::all_metrics(),
        };
        sample_counts::all_samples(session, &metrics, day, now_seconds).await
    }

    async fn kubernetes(
        &self,
        account: &Account,
        labels: &LabelTags,
        now_seconds: i64,
    ) -> Result<BTreeMap<ResourceKey, KubernetesFacts>, Failure> {
        let session = DaySession::new(&self.questions, &self.settings, account);
        kubernetes::facts(session, labels, now_seconds).await
    }

    async fn last_samples(
        &self,
        account: &Account,
        phase: Phase,
        now_seconds: i64,
    ) -> Result<BTreeMap<ResourceKey, i64>, Failure> {
        let session = DaySession::new(&self.questions, &self.settings, account);
        last_samples::last_samples(session, phase, now_seconds).await
    }

    async fn day_costs(
        &self,
        account: &Account,
        day: Day,
        phase: Phase,
        now_seconds: i64,
    ) -> Result<SourceDay, Failure> {
        let session = DaySession::new(&self.questions, &self.settings, account);
        self.costs(session, day, phase, now_seconds).await
    }

    fn takes_checkpoints(&self) -> bool {
        true
    }

    async fn running_day_costs(
        &self,
        account: &Account,
        day: Day,
        phase: Phase,
        now_seconds: i64,
        Running { known, without_pods }: Running,
    ) -> Result<SourceDay, Failure> {
        let mut session = DaySession::new(&self.questions, &self.settings, account);
        if without_pods {
            session = session.without_pods();
        }
        // Of gauges the cluster's is the whole; a whole of raw metrics is made of all of them.
        let counted = match phase {
            Phase::Exporter => vec![CLUSTER_TOTAL],
            Phase::Raw => cost_model_metrics::all_metrics(),
        };
        // What a store that is away has of the day is missing, and would be later too.
        if !self.are_stores_away(day) {
            session.keep_answers(counted, (day, now_seconds), known).await;
        }
        self.costs(session, day, phase, now_seconds).await
    }

    async fn pod_costs(
        &self,
        account: &Account,
        (namespace, pod): (&str, &str),
        day: Day,
        phase: Phase,
        now_seconds: i64,
    ) -> Result<Option<SourceDay>, Failure> {
        let session =
            DaySession::new(&self.questions, &self.settings, account).of_pod(namespace, pod);
        let mut costs = self.costs(session, day, phase, now_seconds).await?;
        // A pod that did not run all day is no metric that was missing.
        costs.missing.clear();
        Ok(Some(costs))
    }
}

impl PrometheusQuery {
    fn are_stores_away(&self, day: Day) -> bool {
        let away = self.stores_away.lock().unwrap_or_else(PoisonError::into_inner);
        away.iter().any(|store| store.may_have(day))
    }

    async fn costs(
        &self,
        session: DaySession<'_>,
        day: Day,
        phase: Phase,
        now_seconds: i64,
    ) -> Result<SourceDay, Failure> {
        let mut costs = match phase {
            Phase::Exporter => exporter_metrics::day_costs(session, day, now_seconds).await?,
            Phase::Raw => cost_model_metrics::day_costs(session, day, now_seconds).await?,
        };
        let away = self.stores_away.lock().unwrap_or_else(PoisonError::into_inner);
        for store in away.iter().filter(|store| store.may_have(day)) {
            costs.is_partial = true;
            costs.warnings.push(store.warning().into());
        }
        Ok(costs)
    }
}

impl PrometheusQuery {
    /// Adds what days have of raw metrics.
    async fn raw_presence(
        &self,
        account: &Account,
        metrics: &[&str],
        (days, newest): ((Day, Day), Day),
        out: &mut BTreeMap<Day, Presence>,
    ) -> Result<(), Failure> {
        for (day, samples) in self.samples_by_day(account, metrics, days, newest).await? {
            let presence = out.entry(day).or_default();
            presence.raw_minutes = samples.minutes;
            presence.raw_samples = samples.samples;
        }
        Ok(())
    }

    /// What there is of metrics, by day: range queries of daily steps over as many days at once as
    /// the server accepts. Only samples of the day count, not what an earlier one still stands
    /// for; of a cluster that has several of the metrics, those of the first.
    async fn samples_by_day(
        &self,
        account: &Account,
        metrics: &[&str],
        days: (Day, Day),
        newest: Day,
    ) -> Result<BTreeMap<Day, SamplesOfDay>, Failure> {
        let selector = self.settings.selector(account);
        let any = |of: &dyn Fn(String) -> String| {
            let parts = metrics.iter().map(|metric| of(selector.stored(metric, &[])));
            parts.collect::<Vec<_>>().join(" or ")
        };
        let samples = any(&|stored| {
            // Not asked for a minute earlier: caches move what begins at no multiple of its step.
            let of_day = format!("{stored}[{SAMPLED_RANGE}] offset {GRID_SECONDS}s");
            selector.sum_by(&[], &format!("count_over_time({of_day})"))
        });
        let in_slots = any(&|stored| {
            let in_slot = format!("count_over_time({stored}[{SLOT_RANGE}] offset 1s)");
            selector.max_by(&[], &in_slot)
        });
        // One number a day comes back, however many clusters there are.
        let samples = selector.over_clusters("sum", &samples);
        let slots = selector
            .over_clusters("max", &format!("count_over_time(({in_slots})[{DAY_RANGE}:5m])"));
        let mut by_day: BTreeMap<Day, SamplesOfDay> = BTreeMap::new();
        for (day, count) in self.by_day(&account.id, &samples, (days, newest)).await? {
            by_day.entry(day).or_default().samples += count;
        }
        for (day, count) in self.by_day(&account.id, &slots, (days, newest)).await? {
            let minutes = u32::try_from(count * 5).unwrap_or(u32::MAX);
            if let Some(of_day) = by_day.get_mut(&day) {
                of_day.minutes = of_day.minutes.max(minutes);
            }
        }
        Ok(by_day)
    }

    /// The values of a query at the ends of days. Days before yesterday that the server refuses
    /// alone are left out: they cannot be known, and are no reason to leave the others undone.
    async fn by_day(
        &self,
        account: &AccountId,
        query: &str,
        (days, newest): ((Day, Day), Day),
    ) -> Result<Vec<(Day, u64)>, Failure> {
        let mut open = vec![days];
        let mut found = Vec::new();
        while let Some((first, last)) = open.pop() {
            let (start, end) = (first.end_seconds(), last.end_seconds());
            let times = Times::Steps { first: start, last: end, step: DAY_SECONDS };
            let series = match self.questions.ask(account, query, times, 0).await {
                Ok(answer) => answer.series,
                Err(
                    too_much @ (NoAnswer::TooMuch(_) | NoAnswer::Busy(_) | NoAnswer::OutOfReach(_)),
                ) if first < last => {
                    let failure = too_much.into_failure();
                    tracing::debug!(%failure, %first, %last, "asking about fewer days");
                    let length = (last.start_seconds() - first.start_seconds()) / DAY_SECONDS;
                    let middle = Day::of_unix(first.start_seconds() + length / 2 * DAY_SECONDS);
                    open.extend([(first, middle), (middle.next(), last)]);
                    continue;
                }
                Err(
                    too_much @ (NoAnswer::TooMuch(_) | NoAnswer::Busy(_) | NoAnswer::OutOfReach(_)),
                ) if first < newest.previous() => {
                    let failure = too_much.into_failure();
                    tracing::warn!(%failure, day = %first, "the query layer refuses this day");
                    continue;
                }
                Err(no_answer) => return Err(no_answer.into_failure()),
            };
            for (time, value) in series.iter().flat_map(|one| &one.points) {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a count at a whole second"
                )]
                found.push((Day::of_unix(*time as i64 - 1), value.max(0.0) as u64));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_without_samples_are_asked_about_in_stretches() {
        let day = |text: &str| -> Day { text.parse().unwrap() };
        let some = Presence { raw_minutes: 5, ..Presence::default() };
        let known = [(day("2026-03-03"), some), (day("2026-03-05"), Presence::default())].into();
        let (first, last) = (day("2026-03-01"), day("2026-03-05"));
        assert_eq!(
            days_without(&known, first, last),
            [(day("2026-03-01"), day("2026-03-02")), (day("2026-03-04"), day("2026-03-05"))]
        );
    }
}
