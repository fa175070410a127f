//! Costs through Metroculus, CloudTuner's metrics service.
//!
//! It answers instant vectors: one reply is a rate, not a cost. Each run therefore notes what it
//! sees in a journal, one entry per account and slot of five minutes, and a day's costs are the
//! sum over its slots of rate times slot length. The first note of a slot stands, so two runs in
//! one slot agree. Slots never seen are gaps. Where a reply is a matrix or a list of points, it
//! holds history: it is integrated minute by minute instead, and the journal is not needed.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use crate::accounts::Account;
use crate::cost::day::DAY_SECONDS;
use crate::cost::limits::OverLimit;
use crate::cost::{Day, Level, Limits, ResourceKey};
use crate::rate_journal::{SLOT_SECONDS, SeenRate, SlotRates};
use crate::service::failure::{Failure, Kind};

use crate::source::metric_names::{WINDOW_END, WINDOW_SECONDS};
use crate::source::{CostSource, Phase, Presence, SourceDay};
use client::series;
use exporters::{is_earlier, lag};
use query::{LEVELS, RateReading, note_lacks, source_day, without_tenant};
use slots::{SlotSums, slot_minutes};

pub mod client;
mod exporters;
mod history;
mod query;
pub mod reply;
mod slots;

pub use query::{MetroculusQuery, MetroculusSettings};

/// Slots that are read at a time: two hours.
const SLOTS_AT_ONCE: i64 = 24;

impl MetroculusQuery {
    /// Leaves the cheapest resources above the limit to their cluster, or refuses them all.
    fn limit(&self, account: &Account, rates: &mut Vec<SeenRate>) -> Result<(), Failure> {
        let Limits { resources_max, is_folding, .. } = self.settings.limits;
        if rates.len() <= resources_max {
            return Ok(());
        }
        // Several sources of a cluster show each of its resources: that is one of them.
        let name =
            |rate: &SeenRate| (rate.cluster.clone(), rate.namespace.clone(), rate.pod.clone());
        let found = rates.iter().map(name).collect::<BTreeSet<_>>().len();
        if found <= resources_max {
            return Ok(());
        }
        if !is_folding {
            return Err(Failure::query(
                Kind::Refused,
                OverLimit::Resources { found, max: resources_max }.to_string(),
                "see which names its series have; raise MAX_RESOURCES, or set OVER_LIMIT=fold",
            ));
        }
        // Clusters first, of which the others are parts, and namespaces before their pods.
        let level = |rate: &SeenRate| (rate.namespace.is_some(), rate.pod.is_some());
        rates.sort_by(|one, other| {
            level(one).cmp(&level(other)).then(other.usd_per_hour.total_cmp(&one.usd_per_hour))
        });
        let mut kept = BTreeSet::new();
        rates.retain(|rate| {
            let name = name(rate);
            kept.contains(&name) || (kept.len() < resources_max && kept.insert(name))
        });
        tracing::warn!(
            account.id = %account.id, found, resources_max,
            "the cheapest rates are left to those above them (MAX_RESOURCES)"
        );
        Ok(())
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
            is_approximate: false,
            windows: Vec::new(),
            rates: Vec::new(),
        };
        // The rate does not depend on the span asked for; a whole day keeps its rounding small.
        let (start, end) = (now_seconds - DAY_SECONDS, now_seconds);
        if self.settings.phase == Some(Phase::Raw) {
            slot.phase = Phase::Raw.number();
            slot.rates.extend(self.cluster_rate(account, start, end).await?);
            return Ok(Some(slot));
        }
        let metrics = self.client.metrics(&account.id, &self.metrics(), start, end).await?;
        if metrics.values().any(|metric| metric.is_history) {
            return Ok(None);
        }
        self.check_gauges(&metrics)?;
        for (name, metric) in metrics.iter().filter(|(_, metric)| metric.without_tenant > 0) {
            let warning = without_tenant(name, metric.without_tenant);
            tracing::warn!(account.id = %account.id, "{warning}");
        }
        slot.is_approximate = is_earlier(&metrics);
        for (level, metric) in LEVELS {
            // The earlier exporter's pods are USD per window, of a length that it need not say.
            if level == Level::Pod && slot.is_approximate {
                continue;
            }
            for one in series(&metrics, metric) {
                match self.rate(level, one) {
                    RateReading::Rate(rate) => slot.rates.push(rate),
                    RateReading::Refused => slot.refused += 1,
                    RateReading::Other => {}
                }
            }
        }
        if slot.rates.is_empty() && slot.refused == 0 && self.settings.phase.is_none() {
            slot.phase = Phase::Raw.number();
            slot.rates.extend(self.cluster_rate(account, start, end).await?);
            return Ok(Some(slot));
        }
        self.limit(account, &mut slot.rates)?;
        slot.lag_seconds =
            lag(series(&metrics, WINDOW_END), series(&metrics, WINDOW_SECONDS), now_seconds);
        slot.windows = self.windows(&metrics);
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
            cluster: self.settings.default_cluster.clone(),
            namespace: None,
            pod: None,
            node: None,
            service: None,
            usd_per_hour,
        }))
    }

    /// The slots whose rates are of a day, added up, and by how much they lag; `None` where there is
    /// none. They are read in parts: each may have as many rates as there are resources.
    async fn day_slots(
        &self,
        account: &Account,
        (day, phase): (Day, Phase),
        now_seconds: i64,
    ) -> Result<Option<(SlotSums, i64)>, Failure> {
        let (start, end) = (day.start_seconds(), day.end_seconds().min(now_seconds + 1));
        let heads = self.journal.heads(&account.id, start, end).await?;
        let of_phase = heads.into_iter().filter(|head| head.phase == phase.number());
        // In whole slots: where days' lags differ by seconds, a slot would be of none of them.
        let lag = of_phase.filter_map(|head| head.lag_seconds).min().unwrap_or(0);
        let lag = lag - lag.rem_euclid(SLOT_SECONDS);
        let shifted = start + lag..day.end_seconds() + lag;
        let (mut sums, mut is_empty) = (SlotSums::default(), true);
        let mut from = start;
        while from < shifted.end.min(now_seconds + 1) {
            let until = (from + SLOTS_AT_ONCE * SLOT_SECONDS).min(shifted.end);
            for mut slot in self.journal.slots(&account.id, from, until).await? {
                if slot.phase != phase.number() || slot.slot_seconds > now_seconds {
                    continue;
                }
                sums.without_stale(&mut slot);
                if shifted.contains(&slot.slot_seconds) {
                    is_empty = false;
                    sums.add(&slot);
                }
            }
            from = until;
        }
        Ok((!is_empty).then_some((sums, lag)))
    }
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
        for slot in self.journal.heads(&account.id, start, end).await? {
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
        let slots = self.day_slots(account, (day, phase), now_seconds).await?;
        if slots.is_none()
            && let Some(source) = self.matrix_day(account, day, now_seconds).await?
        {
            return Ok(source);
        }
        let (sums, lag) = slots.unwrap_or_default();
        let (covered, conflicts) = (sums.covered(), sums.conflicts());
        let mut source = source_day(sums.costs, phase, covered, day, lag, now_seconds);
        source.reading.step_minutes = Some(slot_minutes(1));
        source.conflicts = conflicts;
        note_lacks(&mut source, sums.refused.into(), &sums.incomplete, sums.is_approximate);
        Ok(source)
    }
}
