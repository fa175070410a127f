//! Costs from a server that understands PromQL: Prometheus, Thanos Query, Mimir, VictoriaMetrics.
//!
//! The exact layer: any past day can be integrated, on the server, minute by minute. Which
//! expressions make up a day is told by `exporter_metrics` (the exporter's) and `cost_model_metrics` (the cost
//! model's); `session` puts them in pieces that the server can bear.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::accounts::Account;
use crate::cost::day::DAY_SECONDS;
use crate::cost::{Day, ResourceKey};
use crate::service::failure::Failure;
use crate::settings::Endpoint;
use crate::settings::worker::Auth;

use crate::source::metric_names::{CLUSTER_TOTAL, NODE_TOTAL};
use crate::source::{CostSource, Phase, Presence, SourceDay};
use client::{NoAnswer, PromClient};
use promql::{GRID_SECONDS, Selector};
use session::{Asking, PrometheusSettings};

pub mod client;
pub mod cost_model_metrics;
mod dedup;
pub mod exporter_metrics;
mod gaps;
mod last_samples;
pub mod promql;
pub mod reply;
pub mod session;
pub(crate) mod source_conflicts;

/// A day less half a second, so that a midnight is in one day only.
const DAY_RANGE: &str = "86399500ms";
/// From midnight to a day's last grid point: a later sample is seen on the next day only.
const SAMPLED_RANGE: &str = "86340500ms";
/// Five minutes up to a second before a grid point: with the second's offset, a sample on the grid
/// point itself belongs to the slot that it begins.
const SLOT_RANGE: &str = "299500ms";

/// What a day has of a metric.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// Minutes with samples, in steps of five, of the cluster that has most.
    minutes: u32,
    /// Samples of all series.
    samples: u64,
}

/// Costs from a PromQL server.
#[derive(Clone, Debug)]
pub struct PrometheusQuery {
    client: PromClient,
    settings: PrometheusSettings,
}

impl PrometheusQuery {
    /// An adapter for the server at `endpoint`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(
        endpoint: Endpoint,
        auth: Auth,
        settings: PrometheusSettings,
    ) -> Result<Self, Failure> {
        Ok(Self { client: PromClient::new(endpoint, auth)?, settings })
    }
}

#[async_trait]
impl CostSource for PrometheusQuery {
    fn describe(&self) -> String {
        format!("prometheus at {}", self.client.address())
    }

    fn has_history(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<(), Failure> {
        let asked = self.client.instant("vector(1)", 1).await;
        asked.map(|_| ()).map_err(NoAnswer::into_failure)
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
        let selector = self.settings.selector(account);
        let mut out: BTreeMap<Day, Presence> = BTreeMap::new();
        for (phase, metric) in [(Phase::Exporter, CLUSTER_TOTAL), (Phase::Raw, NODE_TOTAL)] {
            for (day, told) in self.told(&selector, metric, (first, last)).await? {
                let presence = out.entry(day).or_default();
                match phase {
                    Phase::Exporter => {
                        presence.exporter_minutes = told.minutes;
                        presence.exporter_samples = told.samples;
                    }
                    Phase::Raw => {
                        presence.raw_minutes = told.minutes;
                        presence.raw_samples = told.samples;
                    }
                }
            }
        }
        Ok(out)
    }

    async fn last_samples(
        &self,
        account: &Account,
        phase: Phase,
        now_seconds: i64,
    ) -> Result<BTreeMap<ResourceKey, i64>, Failure> {
        let asking = Asking::new(&self.client, &self.settings, account);
        last_samples::last_samples(asking, phase, now_seconds).await
    }

    async fn day_costs(
        &self,
        account: &Account,
        day: Day,
        phase: Phase,
        now_seconds: i64,
    ) -> Result<SourceDay, Failure> {
        let asking = Asking::new(&self.client, &self.settings, account);
        match phase {
            Phase::Exporter => exporter_metrics::day_costs(asking, day, now_seconds).await,
            Phase::Raw => cost_model_metrics::day_costs(asking, day, now_seconds).await,
        }
    }
}

impl PrometheusQuery {
    /// What there is of a metric, by day: range queries of daily steps over as many days at once as
    /// the server can bear. Only samples of the day count, not what an earlier one still stands for.
    async fn told(
        &self,
        selector: &Selector,
        metric: &str,
        days: (Day, Day),
    ) -> Result<BTreeMap<Day, Told>, Failure> {
        let stored = selector.stored(metric, &[]);
        let samples = format!("count_over_time({stored}[{SAMPLED_RANGE}])");
        let samples = selector.sum_by(&[], &samples);
        let in_slots = format!("count_over_time({stored}[{SLOT_RANGE}] offset 1s)");
        let slots =
            format!("count_over_time(({})[{DAY_RANGE}:5m])", selector.max_by(&[], &in_slots));
        let mut told: BTreeMap<Day, Told> = BTreeMap::new();
        for (day, count) in self.by_day(&samples, days, -GRID_SECONDS).await? {
            told.entry(day).or_default().samples += count;
        }
        for (day, count) in self.by_day(&slots, days, 0).await? {
            let minutes = u32::try_from(count * 5).unwrap_or(u32::MAX);
            if let Some(of_day) = told.get_mut(&day) {
                of_day.minutes = of_day.minutes.max(minutes);
            }
        }
        Ok(told)
    }

    /// The values of a query at the ends of days, `shift_seconds` later.
    async fn by_day(
        &self,
        query: &str,
        days: (Day, Day),
        shift_seconds: i64,
    ) -> Result<Vec<(Day, u64)>, Failure> {
        let mut open = vec![days];
        let mut found = Vec::new();
        while let Some((first, last)) = open.pop() {
            let (start, end) =
                (first.end_seconds() + shift_seconds, last.end_seconds() + shift_seconds);
            let series = match self.client.range(query, start, end, DAY_SECONDS).await {
                Ok(answer) => answer.series,
                Err(NoAnswer::TooMuch(failure)) if first < last => {
                    tracing::debug!(%failure, %first, %last, "asking about fewer days");
                    let length = (last.start_seconds() - first.start_seconds()) / DAY_SECONDS;
                    let middle = Day::of_unix(first.start_seconds() + length / 2 * DAY_SECONDS);
                    open.extend([(middle.next(), last), (first, middle)]);
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
                found.push((Day::of_unix(*time as i64 - shift_seconds - 1), value.max(0.0) as u64));
            }
        }
        Ok(found)
    }
}
