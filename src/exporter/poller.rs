//! Asks the allocation API again and again, off the scrape path, and keeps what is accepted.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::accepted::{AcceptedAnswer, AnswerFacts, is_over};
use super::render::View;
use super::snapshot::{self, Node, Pod, Snapshot};
use crate::allocation_api::{
    AllocationClient, Asker, ClientOptions, Fault, Faults, Idle, Product, Refusal, Request, Row,
    Selected, Window, keys, verdict,
};
use crate::service::clock::Clock;
use crate::service::failure::{Failure, Hop};
use crate::service::tls::Tls;
use crate::settings::ExporterConfig;
use crate::settings::secret::Endpoint;

/// How often one request is tried within a poll; the next poll comes soon.
const ATTEMPTS: usize = 2;

/// Reasons that are counted from the start, so that their first increase can be seen.
const REASONS: [&str; 14] = [
    "unavailable",
    "timeout",
    "denied",
    "overloaded",
    "bad-reply",
    "empty",
    "pods-missing",
    "wrong-window",
    "negative-total",
    "idle-not-shared",
    "partial",
    "fell",
    "poorer",
    "stale-window",
];

/// Why a poll gave nothing to accept.
#[derive(Clone, Debug, PartialEq)]
pub struct PollError {
    /// The label value.
    pub reason: &'static str,
    /// For the log.
    pub what: String,
}

impl From<Failure> for PollError {
    fn from(failure: Failure) -> Self {
        Self { reason: failure.kind.as_str(), what: of_exporter(failure).to_string() }
    }
}

#[derive(Debug, Default)]
struct State {
    accepted: AcceptedAnswer,
    is_success: Option<bool>,
    duration: Duration,
    errors: BTreeMap<&'static str, u64>,
    odd_values: BTreeMap<&'static str, u64>,
    product: Option<Product>,
    /// Whether the product said the currency of the gauges' label, or that it knows none.
    is_currency_known: bool,
    /// The last window with which it was asked for.
    currency_asked_with: Option<Window>,
}

impl State {
    /// Whether the currency is to be asked for with this window; it is once.
    fn begins_to_ask_for_currency(&mut self, window: Window) -> bool {
        !self.is_currency_known && self.currency_asked_with.replace(window) != Some(window)
    }
}

/// Polls the API and answers scrapes from memory.
pub struct Poller {
    client: AllocationClient,
    config: ExporterConfig,
    clock: Arc<dyn Clock>,
    tenant: Arc<str>,
    cluster: Arc<str>,
    currency: Arc<str>,
    state: Mutex<State>,
}

impl Poller {
    /// A poller that has not asked yet.
    ///
    /// # Errors
    /// When no client can be built on this machine.
    pub fn new(config: ExporterConfig, tls: Tls, clock: Arc<dyn Clock>) -> Result<Self, Failure> {
        let options = ClientOptions {
            asker: Asker::Exporter,
            auth: config.auth.clone(),
            tls,
            timeout: config.timeout,
            attempts: ATTEMPTS,
            reply_bytes_max: config.reply_bytes_max,
            cluster: config.cluster_filter.clone(),
        };
        let endpoint: Endpoint = config.endpoint.clone();
        let errors = REASONS.into_iter().map(|reason| (reason, 0)).collect();
        Ok(Self {
            client: AllocationClient::new(endpoint, options).map_err(of_exporter)?,
            clock,
            tenant: config.tenant.as_str().into(),
            cluster: config.cluster.as_str().into(),
            currency: config.currency.as_str().into(),
            config,
            state: Mutex::new(State { errors, ..State::default() }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Polls at the configured interval until `stop` is done.
    ///
    /// On a fixed grid, however long a poll takes: each hour is then found as long after its end
    /// as the one before it, and so shown for one hour. Polls that drift would show some hours up
    /// to an interval longer or shorter, and what costs something in one hour only with them.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut ticks = tokio::time::interval(self.config.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let cycle = async {
                ticks.tick().await;
                self.poll().await;
            };
            tokio::select! {
                () = &mut stop => return,
                () = cycle => {}
            }
        }
    }

    /// Polls once and logs one line about it.
    pub async fn poll(&self) {
        let started = Instant::now();
        let now = self.clock.now_seconds();
        let mut faults = Faults::default();
        let result = self.ask(now, &mut faults).await;
        let duration = started.elapsed();
        let mut state = self.state();
        state.duration = duration;
        state.is_success = Some(result.is_ok());
        for (fault, (count, _)) in &faults.0 {
            *state.odd_values.entry(fault.as_str()).or_insert(0) += count;
        }
        if !faults.0.is_empty() {
            tracing::debug!(odd = faults.line(), "odd values in the reply");
        }
        let duration_ms = duration.as_millis();
        match result {
            Ok(line) => tracing::info!(duration_ms, "{line}"),
            Err(error) => {
                *state.errors.entry(error.reason).or_insert(0) += 1;
                let reason = error.reason;
                let has_window = state.accepted.facts().is_some();
                let kept = if has_window { "kept the last good window" } else { "no window yet" };
                tracing::warn!(duration_ms, reason, "{kept}: {}", error.what);
            }
        }
    }

    /// One poll: the answer is asked for, checked, and accepted or not.
    async fn ask(&self, now: i64, faults: &mut Faults) -> Result<String, PollError> {
        let asked = Window::last_closed(now, self.config.window_seconds);
        let selected = self.rows(asked, self.aggregate(false), faults).await?;
        self.warn_of_clusters(&selected.rows, faults);
        let window = selected.window;
        let namespaces = Snapshot::of_namespaces(window, &selected.rows, self.config.idle, faults);
        let facts = AnswerFacts {
            window,
            rows: selected.rows.len(),
            total: namespaces.cluster.total,
            covered: verdict::covered(window, &selected.rows),
            unknown_rows: faults.unknown_costs(),
            missing_seconds: selected.missing_seconds,
            has_idle: self.config.idle == Idle::Separate && selected.rows.iter().any(Row::is_idle),
        };
        drop(selected);
        let refused_as = self.state().accepted.check(facts, now).reason();
        // One that no scrape would show is no success.
        let is_stale = is_over(window, now, seconds(self.config.stale_after));
        if let Some(reason) = refused_as.or(is_stale.then_some("stale-window")) {
            let what = format!(
                "the window {window} is {reason}: {} rows of {}, {:.5} USD; rows of unknown cost: {}",
                facts.rows, facts.covered, facts.total, facts.unknown_rows
            );
            return Err(PollError { reason, what });
        }
        let pods = if self.config.has_pods { self.pods(window, faults).await } else { Vec::new() };
        let nodes =
            if self.config.has_nodes { self.nodes(window, faults).await } else { Vec::new() };
        let (count, total) = (namespaces.namespaces.len(), facts.total);
        let snapshot = namespaces.bounded(pods, nodes, self.config.series_max);
        let pods = snapshot.pods.len();
        self.state().accepted.accept(facts, snapshot, now);
        self.warn_of_currency(window, faults).await;
        let mode = self.config.mode.as_str();
        Ok(format!(
            "exported {count} namespaces, {pods} pods, total_cost=${total:.2} (mode={mode}, window={window})"
        ))
    }

    /// By what rows are made: a filter for one cluster needs its name in the keys.
    fn aggregate(&self, with_pods: bool) -> &'static str {
        match (self.config.cluster_filter.is_some(), with_pods) {
            (false, false) => "namespace",
            (false, true) => "namespace,pod",
            (true, false) => "cluster,namespace",
            (true, true) => "cluster,namespace,pod",
        }
    }

    /// Rows of other clusters would all be this one's cost.
    fn warn_of_clusters(&self, rows: &[Row], faults: &mut Faults) {
        let clusters = keys::clusters(rows, self.aggregate(false));
        if clusters.len() < 2 {
            return;
        }
        let named = clusters.into_iter().collect::<Vec<_>>().join(", ");
        faults.add(Fault::SeveralClusters, &named);
        tracing::warn!(
            clusters = named,
            "the allocation API answers for several clusters, all shown as '{}': set CLUSTER_FILTER \
             to the one that this is",
            self.cluster
        );
    }

    /// Warns where the product is set to another currency than the gauges' label, and counts it:
    /// once with each new window, as long as it is so or cannot be asked.
    async fn warn_of_currency(&self, window: Window, faults: &mut Faults) {
        if !self.state().begins_to_ask_for_currency(window) {
            return;
        }
        let said = match self.client.currency().await {
            Ok(said) => said,
            Err(failure) => {
                let cause = of_exporter(failure);
                tracing::warn!("the currency is asked for again with the next window: {cause}");
                return;
            }
        };
        let Some(code) = said.filter(|code| **code != *self.currency) else {
            self.state().is_currency_known = true;
            return;
        };
        faults.add(Fault::OtherCurrency, &code);
        tracing::warn!(
            "the allocation API is set to the currency {code}, and its costs are labelled {}: set \
             CURRENCY to the one that they are in",
            self.currency
        );
    }

    /// The pods of a window; namespaces do not wait for them. When they cannot be had, those that
    /// were had of the same window stand. Those of another window would be billed twice.
    async fn pods(&self, window: Window, faults: &mut Faults) -> Vec<Pod> {
        let error = match self.rows(window, self.aggregate(true), faults).await {
            Ok(selected) if selected.window == window => {
                return snapshot::pods(selected.rows, faults);
            }
            Ok(selected) => refused(&Refusal::WrongWindow(Some(selected.window)), window),
            Err(error) => error,
        };
        let mut state = self.state();
        let pods = state.accepted.pods(window);
        note_missing(&mut state, "pods", pods.len(), &error);
        pods
    }

    /// The nodes of a window, as pods are had.
    async fn nodes(&self, window: Window, faults: &mut Faults) -> Vec<Node> {
        let error = match self.asked_nodes(window, faults).await {
            Ok(nodes) => return nodes,
            Err(error) => error,
        };
        let mut state = self.state();
        let nodes = state.accepted.nodes(window);
        note_missing(&mut state, "nodes", nodes.len(), &error);
        nodes
    }

    /// Both products merge all idle cost into one row; only shared within each node is it seen
    /// which node's it is.
    async fn asked_nodes(
        &self,
        window: Window,
        faults: &mut Faults,
    ) -> Result<Vec<Node>, PollError> {
        let allocated = self.of_nodes(window, Idle::None, faults).await?;
        let whole = match self.config.idle {
            Idle::None => Vec::new(),
            _ => self.of_nodes(window, Idle::SharedWeighted, faults).await?,
        };
        Ok(snapshot::nodes(&allocated, &whole, faults))
    }

    async fn of_nodes(
        &self,
        window: Window,
        idle: Idle,
        faults: &mut Faults,
    ) -> Result<Vec<Row>, PollError> {
        let by = if self.config.cluster_filter.is_some() { "cluster,node" } else { "node" };
        let selected = self.rows_with(window, by, (idle, true), faults).await?;
        if selected.window == window {
            return Ok(selected.rows);
        }
        Err(refused(&Refusal::WrongWindow(Some(selected.window)), window))
    }

    async fn rows(
        &self,
        window: Window,
        aggregate: &'static str,
        faults: &mut Faults,
    ) -> Result<Selected, PollError> {
        self.rows_with(window, aggregate, (self.config.idle, false), faults).await
    }

    async fn rows_with(
        &self,
        window: Window,
        aggregate: &'static str,
        (idle, is_idle_by_node): (Idle, bool),
        faults: &mut Faults,
    ) -> Result<Selected, PollError> {
        let request = Request {
            window,
            // A window below an hour is one set.
            step_hours: Some(self.config.window_seconds / 3_600).filter(|hours| *hours > 0),
            aggregate,
            idle,
            is_idle_by_node,
            resolution: self.config.resolution,
        };
        let mut reply = self.client.allocations(&request).await?;
        self.state().product = Some(reply.product);
        if let Some(warning) = reply.warning.take() {
            tracing::warn!(
                "the allocation API warns: {}",
                crate::service::failure::excerpt(&warning)
            );
        }
        faults.merge(std::mem::take(&mut reply.faults));
        if idle.is_shared() {
            verdict::check_shared_idle(&mut reply.sets).map_err(|d| refused(&d, window))?;
        }
        let selected = verdict::select(reply, window, faults).map_err(|d| refused(&d, window))?;
        verdict::check(&selected.rows).map_err(|d| refused(&d, window))?;
        Ok(selected)
    }

    /// What a scrape shows now.
    #[must_use]
    pub fn view(&self) -> View {
        let now = self.clock.now_seconds();
        let state = self.state();
        let answer = state.accepted.facts();
        View {
            tenant: Arc::clone(&self.tenant),
            cluster: Arc::clone(&self.cluster),
            currency: Arc::clone(&self.currency),
            mode: self.config.mode,
            pod_labels: self.config.pod_labels,
            has_pods: self.config.has_pods,
            has_nodes: self.config.has_nodes,
            snapshot: state.accepted.shown(now, seconds(self.config.stale_after)),
            answer,
            data_age_seconds: answer.map(|answer| (now - answer.window.end).max(0)),
            is_success: state.is_success,
            duration_seconds: state.duration.as_secs_f64(),
            errors: state.errors.clone(),
            odd_values: state.odd_values.clone(),
            product: state.product.map(Product::as_str),
        }
    }

    /// Whether a window was ever accepted.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state().accepted.facts().is_some()
    }
}

/// Counts and logs that the pods or nodes of a window cannot be had; `kept` of them are known.
fn note_missing(state: &mut State, level: &str, kept: usize, error: &PollError) {
    *state.errors.entry(error.reason).or_insert(0) += 1;
    let (reason, what) = (error.reason, &error.what);
    if kept > 0 {
        tracing::warn!(reason, "kept the {level} that this window had: {what}");
    } else {
        tracing::warn!(reason, "no gauges of {level} until they can be had: {what}");
    }
}

/// The worker calls the allocation API its query layer; here it is what is polled.
fn of_exporter(failure: Failure) -> Failure {
    let hop = match failure.hop {
        Hop::QueryLayer => Hop::AllocationApi,
        hop => hop,
    };
    Failure { hop, ..failure }
}

fn refused(refusal: &Refusal, window: Window) -> PollError {
    let what = of_exporter(refusal.failure(window)).to_string();
    PollError { reason: refusal.reason(), what }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
