//! A day's questions to a PromQL server, put in pieces that it accepts, and what was learned on
//! the way.

use std::collections::BTreeMap;

use crate::accounts::Account;
use crate::cost::{Levels, Limits};
use crate::service::failure::{Failure, Kind};
use crate::settings::cluster_label::{CLUSTER, ClusterLabel};
use crate::settings::currency::CurrencyConfig;
use crate::source::Warning;
use crate::source::metric_names::{CLUSTER_TOTAL, NAMESPACE_TOTAL, POD_TOTAL};

use crate::source::labels::Labels;
use crate::source::prometheus::client::{Answer, NoAnswer};
use crate::source::prometheus::cluster_names::{self, Counted};
use crate::source::prometheus::promql::{Selector, Window};
use crate::source::prometheus::questions::{BatchSettings, Questions, Times};
use crate::source::prometheus::reply::Series;
use crate::source::prometheus::series_parts::SeriesPart;

use kept_answers::KeptAnswers;

pub(super) use kept_answers::kept_until;

mod bad_samples;
mod integrals;
mod kept_answers;
mod pieces;

/// How many pieces of a question are asked for at a time: a server evaluates one query on one core.
/// More would hold as many large replies in memory.
const PIECES_AT_ONCE: u32 = 2;
/// From how many series on a question takes longer than its way to the server and back.
const MANY_SERIES: u64 = 1_000;

/// What the adapter needs to know beside the address.
#[derive(Clone, Debug)]
pub struct PrometheusSettings {
    /// The label that holds the account's id; `None`: the server holds one tenant only.
    pub tenant_label: Option<String>,
    /// Most samples one query may touch at a time.
    pub samples_max: u64,
    /// The label that names a series' cluster.
    pub cluster_label: ClusterLabel,
    /// Name of the cluster of series without a cluster label.
    pub default_cluster: String,
    /// Levels that are wanted; pods are not asked for otherwise.
    pub levels: Levels,
    /// The ledger's currency, and the rates by which costs in others are converted.
    pub currency: CurrencyConfig,
    /// How much an account's day may have.
    pub limits: Limits,
    /// How many accounts one question may be about.
    pub batches: BatchSettings,
}

impl PrometheusSettings {
    /// Selects an account's series.
    pub(super) fn selector(&self, account: &Account) -> Selector {
        let label = self.tenant_label.clone();
        Selector {
            tenant: label.map(|label| (label, account.id.as_str().to_owned())),
            cluster_label: match &self.cluster_label {
                ClusterLabel::Named(label) => Some(label.clone()),
                ClusterLabel::Auto => None,
            },
            ..Selector::default()
        }
    }
}

/// One day's questions to the server, and what was learned on the way.
#[derive(Debug)]
pub(super) struct DaySession<'a> {
    questions: &'a Questions,
    settings: &'a PrometheusSettings,
    account: &'a Account,
    /// Whether pods are not asked for, though `LEVELS` has them.
    leaves_pods: bool,
    /// Of pods, only this one is asked for: its namespace and its name.
    only_pod: Option<(String, String)>,
    /// What an operator should know.
    pub(super) warnings: Vec<Warning>,
    /// Whether something is known to be missing.
    pub(super) is_partial: bool,
    /// Why nobody can say whose costs these are, a sentence each.
    pub(super) conflicts: Vec<String>,
    /// The label that names a series' cluster, as far as it is known.
    cluster_label: String,
    /// How long a window the server is known to accept: what was too much once is not asked again.
    max_window_minutes: u32,
    /// In which parts the server accepts the series of a kind of questions, where not all at once.
    working_splits: BTreeMap<String, Vec<SeriesPart>>,
    /// How many pieces of a question are asked for at a time.
    pieces_at_once: usize,
    /// How often series were halved. Then the shortest times were too much before.
    series_halvings: usize,
    /// How many series metrics have, where they were counted over the longest window.
    counted: BTreeMap<String, u64>,
    /// What is known of the part of a running day that is over.
    kept: Option<KeptAnswers>,
    /// How many answers came with a warning: they may lack something.
    warned_answers: usize,
}

impl<'a> DaySession<'a> {
    pub(super) fn new(
        questions: &'a Questions,
        settings: &'a PrometheusSettings,
        account: &'a Account,
    ) -> Self {
        Self {
            questions,
            settings,
            account,
            leaves_pods: false,
            only_pod: None,
            warnings: Vec::new(),
            is_partial: false,
            conflicts: Vec::new(),
            cluster_label: match &settings.cluster_label {
                ClusterLabel::Named(label) => label.clone(),
                ClusterLabel::Auto => CLUSTER.to_owned(),
            },
            max_window_minutes: u32::MAX,
            working_splits: BTreeMap::new(),
            pieces_at_once: PIECES_AT_ONCE as usize,
            series_halvings: 0,
            counted: BTreeMap::new(),
            kept: None,
            warned_answers: 0,
        }
    }

    /// Asks for what is above pods alone.
    pub(super) fn without_pods(self) -> Self {
        Self { leaves_pods: true, ..self }
    }

    /// Asks for one pod alone, where metrics are of pods.
    pub(super) fn of_pod(self, namespace: &str, pod: &str) -> Self {
        Self { only_pod: Some((namespace.to_owned(), pod.to_owned())), ..self }
    }

    /// Selects the account's series.
    pub(super) fn selector(&self) -> Selector {
        let only_pod = self.only_pod.clone();
        Selector { only_pod, ..self.settings.selector(self.account) }
    }

    pub(super) fn warn(&mut self, warning: String) {
        let warning = Warning::from(warning);
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    fn note_warnings(&mut self, answer: &Answer) {
        self.warned_answers += usize::from(!answer.warnings.is_empty());
        for warning in &answer.warnings {
            self.is_partial = true;
            self.warn(format!(
                "the query layer warns: {}",
                crate::service::failure::excerpt(warning)
            ));
        }
    }

    async fn ask(&self, query: &str, times: Times, samples: u64) -> Result<Answer, NoAnswer> {
        self.questions.ask(&self.account.id, query, times, samples).await
    }

    /// The answer to one query at a window's end.
    pub(super) async fn at(&mut self, query: &str, window: Window) -> Result<Vec<Series>, Failure> {
        let mut open = self.parts(query);
        let (mut found, mut answered) = (Vec::new(), Vec::new());
        while let Some(part) = open.pop() {
            match self.try_at(&part.of(query), window).await {
                Ok(series) => {
                    found.extend(series);
                    answered.push(part);
                }
                Err(no_answer) => open.extend(self.halved(&part, no_answer, query)?),
            }
        }
        self.learn_parts(query, answered);
        Ok(found)
    }

    /// The same, in one question, with why there is no answer.
    pub(super) async fn try_at(
        &mut self,
        query: &str,
        window: Window,
    ) -> Result<Vec<Series>, NoAnswer> {
        let answer = self.ask(query, Times::At(window.evaluation_time()), 0).await?;
        self.note_warnings(&answer);
        Ok(answer.series)
    }

    /// The answer to one query at each step of `start..=end`, Unix seconds.
    pub(super) async fn range(
        &mut self,
        query: &str,
        start: i64,
        end: i64,
        step_seconds: i64,
    ) -> Result<Vec<Series>, Failure> {
        let asked =
            self.ask(query, Times::Steps { first: start, last: end, step: step_seconds }, 0).await;
        let answer = asked.map_err(NoAnswer::into_failure)?;
        self.note_warnings(&answer);
        Ok(answer.series)
    }

    /// Has the selector name clusters as the series of the window do: by the label of
    /// `CLUSTER_LABEL`, and a cluster with and without its label as one, where DEFAULT_CLUSTER is
    /// also a label's value. Returns how many series there are of each metric.
    pub(super) async fn resolve_cluster_names(
        &mut self,
        selector: &mut Selector,
        metrics: &[&str],
        window: Window,
    ) -> Result<Vec<Counted>, Failure> {
        if window.minutes() == 0 {
            return Ok(Vec::new());
        }
        let label = self.cluster_label.clone();
        let mut found = BTreeMap::new();
        for (selector, metrics) in cluster_names::countable(selector, metrics) {
            let plain = selector.in_parts();
            let query = |piece| cluster_names::query(&plain, &metrics, piece);
            found.extend(self.in_pieces(window, (1, 1), f64::max, query).await?);
        }
        let mut counted = Counted::all(&self.own_only(found)?, &label);
        cluster_names::enforce_limits(&counted, self.settings.limits)?;
        self.counted = cluster_names::by_metric(metrics, &counted);
        let setting = &self.settings.cluster_label;
        let naming = cluster_names::decide(setting, &self.settings.default_cluster, &counted);
        naming.apply(selector);
        selector.cluster_label().clone_into(&mut self.cluster_label);
        self.conflicts.extend(naming.conflict.clone());
        naming.name(&mut counted, &self.settings.default_cluster);
        Ok(counted)
    }

    /// A bound on the series of a metric in a window, of all clusters together: as they were counted
    /// when clusters got their names, where they were.
    pub(super) async fn series_at_most(
        &mut self,
        selector: &Selector,
        metric: &str,
        window: Window,
    ) -> Result<u64, Failure> {
        match self.counted.get(metric) {
            Some(count) => Ok(*count),
            None => self.series_count(selector, metric, window).await,
        }
    }

    /// Keeps the account's own series: a server or proxy that ignores matchers must not make one
    /// tenant pay for another.
    pub(super) fn own_only<V>(
        &mut self,
        sums: BTreeMap<Labels, V>,
    ) -> Result<BTreeMap<Labels, V>, Failure> {
        let Some(label) = self.settings.tenant_label.clone() else { return Ok(sums) };
        let own = self.account.id.as_str();
        let (kept, foreign): (BTreeMap<_, _>, BTreeMap<_, _>) =
            sums.into_iter().partition(|(labels, _)| labels.get(&label).is_some_and(|v| v == own));
        let Some((labels, _)) = foreign.first_key_value() else { return Ok(kept) };
        let named = labels.get(&label).unwrap_or("none at all");
        let what = format!(
            "{} series of other tenants came back for account {own} ({label}: {named})",
            foreign.len()
        );
        if kept.is_empty() {
            let fix = "see that nothing between worker and query layer rewrites queries or labels";
            return Err(Failure::query(Kind::BadData, what, fix));
        }
        self.is_partial = true;
        self.warn(format!("{what}; they are not stored"));
        Ok(kept)
    }

    /// The ledger's currency, and the rates of others.
    pub(super) fn currency(&self) -> &'a CurrencyConfig {
        &self.settings.currency
    }

    /// Levels that are asked for.
    pub(super) fn levels(&self) -> Levels {
        let levels = self.settings.levels;
        Levels { pod: levels.pod && !self.leaves_pods, ..levels }
    }

    /// The gauges that have totals. Those of pods are looked at also where pods get no rows of their
    /// own: they may be there without those above them.
    pub(super) fn totals(&self) -> &'static [&'static str] {
        const TOTALS: [&str; 3] = [CLUSTER_TOTAL, NAMESPACE_TOTAL, POD_TOTAL];
        if self.leaves_pods { &TOTALS[..2] } else { &TOTALS }
    }

    /// Minutes by the names of clusters.
    pub(super) fn by_cluster(&self, minutes: &BTreeMap<Labels, f64>) -> BTreeMap<String, u32> {
        let mut named: BTreeMap<String, u32> = BTreeMap::new();
        for (labels, minutes) in minutes {
            let most = named.entry(self.cluster(labels).to_owned()).or_default();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let minutes = minutes.round().max(0.0) as u32;
            *most = minutes.max(*most);
        }
        named
    }

    /// The name of clusters without a label; empty when there is none.
    pub(super) fn default_cluster(&self) -> &'a str {
        &self.settings.default_cluster
    }

    /// Whether the label that names clusters has to be learned from the series.
    pub(super) fn learns_cluster_labels(&self) -> bool {
        self.settings.cluster_label == ClusterLabel::Auto
    }

    /// The label that names a series' cluster.
    pub(super) fn cluster_label(&self) -> &str {
        &self.cluster_label
    }

    /// The name of a series' cluster.
    pub(super) fn cluster<'l>(&'l self, labels: &'l Labels) -> &'l str {
        match labels.get(&self.cluster_label) {
            Some(cluster) if !cluster.is_empty() => cluster,
            _ => &self.settings.default_cluster,
        }
    }
}
