//! Costs from a server that understands PromQL: Prometheus, Thanos Query, Mimir, VictoriaMetrics.
//!
//! The exact layer: any past day can be integrated, on the server, minute by minute. Which
//! expressions make up a day is said by `exporter_metrics` (the exporter's) and `cost_model_metrics` (the cost
//! model's); `session` puts them in pieces that the server accepts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::accounts::Account;
use crate::cost::{Day, KubernetesFacts, ResourceKey};
use crate::service::failure::{Failure, Kind};
use crate::settings::worker::LabelTags;

use crate::source::metric_names::CLUSTER_TOTAL;
use crate::source::{CostSource, Phase, Presence, Running, SourceDay};
use client::{NoAnswer, PromClient};
use presence::{CountedBefore, PresenceReader};
use questions::Questions;
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
mod incomplete_windows;
mod kubernetes;
mod last_samples;
mod node_facts;
mod plain_costs;
mod presence;
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

/// Costs from a PromQL server.
#[derive(Clone, Debug)]
pub struct PrometheusQuery {
    questions: Questions,
    settings: PrometheusSettings,
    /// Thanos' stores that were away when the server was last checked.
    stores_away: Arc<Mutex<Vec<StoreAway>>>,
    /// What was counted of running days whose costs were not read yet.
    counted_before: Arc<CountedBefore>,
}

impl PrometheusQuery {
    /// An adapter for the server that `client` asks.
    #[must_use]
    pub fn new(client: PromClient, settings: PrometheusSettings) -> Self {
        let questions = Questions::new(client, settings.tenant_label.clone(), settings.batches);
        Self { questions, settings, stores_away: Arc::default(), counted_before: Arc::default() }
    }
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
        self.counted_before.clear();
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
        now_seconds: i64,
    ) -> Result<BTreeMap<Day, Presence>, Failure> {
        let Self { questions, settings, counted_before, .. } = self;
        let reader = PresenceReader { questions, settings, counted_before };
        reader.read(account, (first, last), now_seconds).await
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
        let (counted, before) = match phase {
            Phase::Exporter => (vec![CLUSTER_TOTAL], self.counted_before.take(&account.id)),
            Phase::Raw => (cost_model_metrics::all_metrics(), None),
        };
        // What a store that is away has of the day is missing, and would be later too.
        if !self.are_stores_away(day) {
            session.keep_answers((counted, before), (day, now_seconds), known).await;
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
