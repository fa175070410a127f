//! Costs from a server that understands PromQL: Prometheus, Thanos Query, Mimir, VictoriaMetrics.
//!
//! The exact layer: any past day can be integrated, on the server, minute by minute. Which
//! expressions make up a day is told by `gauges` (the exporter's) and `raw_metrics` (the cost
//! model's); `asking` puts them in pieces that the server can bear.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use crate::accounts::Account;
use crate::allocation::Day;
use crate::config::Endpoint;
use crate::config::worker::Auth;
use crate::failure::Failure;

use super::asking::{Asking, PrometheusSettings};
use super::client::{NoAnswer, PromClient};
use super::names::{CLUSTER_TOTAL, NODE_TOTAL};
use super::promql::{Selector, Window, minutes_present};
use super::{CostQuery, Phase, Presence, SourceDay, gauges, raw_metrics};

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
impl CostQuery for PrometheusQuery {
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
            for (day, minutes) in self.minutes_by_day(&selector, metric, first, last).await? {
                let presence = out.entry(day).or_default();
                match phase {
                    Phase::Exporter => presence.exporter_minutes = minutes,
                    Phase::Raw => presence.raw_minutes = minutes,
                }
            }
        }
        Ok(out)
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
            Phase::Exporter => gauges::day_costs(asking, day, now_seconds).await,
            Phase::Raw => raw_metrics::day_costs(asking, day, now_seconds).await,
        }
    }
}

impl PrometheusQuery {
    /// Minutes with a sample of a metric, by day, in one range query of daily steps.
    async fn minutes_by_day(
        &self,
        selector: &Selector,
        metric: &str,
        first: Day,
        last: Day,
    ) -> Result<BTreeMap<Day, u32>, Failure> {
        let day = Window { start: first.start_seconds(), end: first.end_seconds() };
        let query = minutes_present(&selector.max_by(&[], &selector.raw(metric, &[])), day);
        let (start, end) = (first.end_seconds() - 1, last.end_seconds() - 1);
        let asked =
            self.client.range(&query, start, end, crate::allocation::day::DAY_SECONDS).await;
        let mut days = BTreeMap::new();
        let mut seen: BTreeSet<(Day, usize)> = BTreeSet::new();
        for (index, series) in asked.map_err(NoAnswer::into_failure)?.series.iter().enumerate() {
            for (time, value) in &series.points {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "bounded by a day"
                )]
                let (day, minutes) = (Day::of_unix(*time as i64), value.max(0.0) as u32);
                if seen.insert((day, index)) {
                    let most: &mut u32 = days.entry(day).or_default();
                    *most = (*most).max(minutes);
                }
            }
        }
        Ok(days)
    }
}
