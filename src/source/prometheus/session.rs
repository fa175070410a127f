//! A day's questions to a PromQL server, put in pieces that it can bear, and what was learned on
//! the way.

use std::collections::BTreeMap;

use crate::accounts::Account;
use crate::cost::{Levels, Limits};
use crate::service::failure::{Failure, Kind};
use crate::settings::cluster_label::{CLUSTER, ClusterLabel};
use crate::settings::currency::CurrencyConfig;

use crate::source::prometheus::client::{Answer, NoAnswer};
use crate::source::prometheus::cluster_names::{self, Counted};
use crate::source::prometheus::promql::{Selector, Window, integral, minutes_present};
use crate::source::prometheus::questions::{BatchSettings, Questions, Times};
use crate::source::prometheus::reply::{Labels, Series, shown_labels};
use crate::source::prometheus::windows::Sampling;

/// How often a query that asks for too much is halved: down to 22 minutes of a day.
const HALVINGS_MAX: u32 = 6;

/// What the adapter needs to know beside the address.
#[derive(Clone, Debug)]
pub struct PrometheusSettings {
    /// The label that holds the account's id; `None`: the server holds one tenant only.
    pub tenant_label: Option<String>,
    /// Most samples one query may touch.
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
pub(super) struct Asking<'a> {
    questions: &'a Questions,
    settings: &'a PrometheusSettings,
    account: &'a Account,
    /// What an operator should know.
    pub(super) warnings: Vec<String>,
    /// Whether something is known to be missing.
    pub(super) is_partial: bool,
    /// Why nobody can say whose costs these are, a sentence each.
    pub(super) conflicts: Vec<String>,
    /// The label that names a series' cluster, as far as it is known.
    cluster_label: String,
    /// How long a window the server is known to bear: what was too much once is not asked again.
    bearable_minutes: u32,
    /// How many series metrics have, where they were counted over the longest window.
    counted: BTreeMap<String, u64>,
}

impl<'a> Asking<'a> {
    pub(super) fn new(
        questions: &'a Questions,
        settings: &'a PrometheusSettings,
        account: &'a Account,
    ) -> Self {
        Self {
            questions,
            settings,
            account,
            warnings: Vec::new(),
            is_partial: false,
            conflicts: Vec::new(),
            cluster_label: match &settings.cluster_label {
                ClusterLabel::Named(label) => label.clone(),
                ClusterLabel::Auto => CLUSTER.to_owned(),
            },
            bearable_minutes: u32::MAX,
            counted: BTreeMap::new(),
        }
    }

    /// Selects the account's series.
    pub(super) fn selector(&self) -> Selector {
        self.settings.selector(self.account)
    }

    pub(super) fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    fn note_warnings(&mut self, answer: &Answer) {
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
        self.try_at(query, window).await.map_err(NoAnswer::into_failure)
    }

    /// The same, with why there is no answer.
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
    pub(super) async fn unite_default_cluster(
        &mut self,
        selector: &mut Selector,
        metrics: &[&str],
        window: Window,
    ) -> Result<Vec<Counted>, Failure> {
        if window.minutes() == 0 {
            return Ok(Vec::new());
        }
        let label = self.cluster_label.clone();
        let plain = selector.clone();
        let query = |piece| cluster_names::query(&plain, metrics, piece);
        let found = self.in_pieces(window, (1, 1), f64::max, query).await?;
        let mut counted = Counted::all(&self.own_only(found)?, &label);
        cluster_names::hold_to_limits(&counted, self.settings.limits)?;
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

    /// How many series of a metric a window has at the most, 0 when there is none.
    pub(super) async fn series_count(
        &mut self,
        selector: &Selector,
        metric: &str,
        window: Window,
    ) -> Result<u64, Failure> {
        // Where it has to be asked in pieces, their sum bounds the count from above.
        let query = |piece| selector.series_count(metric, &[], piece);
        let series = self.in_pieces(window, (1, 1), add, query).await?;
        let count = series.values().fold(0.0_f64, |most, value| most.max(*value));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        Ok(count as u64)
    }

    /// The cost of a rate over a window by labels, split so that no query touches more samples
    /// than allowed when the rate reads `series` series.
    pub(super) async fn integrate(
        &mut self,
        rate: &str,
        window: Window,
        series: u64,
    ) -> Result<BTreeMap<Labels, f64>, Failure> {
        let sums = self.summed(window, series, |piece| integral(rate, piece)).await?;
        self.own_only(sums)
    }

    /// For how many minutes a window's expression has a value, by labels.
    pub(super) async fn minutes(
        &mut self,
        expression: &str,
        window: Window,
    ) -> Result<BTreeMap<Labels, f64>, Failure> {
        let sums = self.summed(window, 1, |piece| minutes_present(expression, piece)).await?;
        self.own_only(sums)
    }

    /// Adds up, by labels, what a query says of the pieces of a window.
    pub(super) async fn summed(
        &mut self,
        window: Window,
        series: u64,
        query: impl Fn(Window) -> String,
    ) -> Result<BTreeMap<Labels, f64>, Failure> {
        let samples = series.max(1) * u64::from(window.minutes());
        let count = samples.div_ceil(self.settings.samples_max.max(1));
        let count = u32::try_from(count).unwrap_or(u32::MAX).clamp(1, window.minutes().max(1));
        self.in_pieces(window, (count, series.max(1)), add, query).await
    }

    /// The least or the greatest, by labels, of what a query says of the pieces of a window.
    pub(super) async fn extreme(
        &mut self,
        window: Window,
        choose: fn(f64, f64) -> f64,
        query: impl Fn(Window) -> String,
    ) -> Result<BTreeMap<Labels, f64>, Failure> {
        self.in_pieces(window, (1, 1), choose, query).await
    }

    async fn in_pieces(
        &mut self,
        window: Window,
        (count, series): (u32, u64),
        join: fn(f64, f64) -> f64,
        query: impl Fn(Window) -> String,
    ) -> Result<BTreeMap<Labels, f64>, Failure> {
        let mut sums = BTreeMap::new();
        let count = count.max(window.minutes().div_ceil(self.bearable_minutes));
        let mut open: Vec<(Window, u32)> =
            window.split(count).into_iter().rev().map(|piece| (piece, 0)).collect();
        while let Some((piece, halvings)) = open.pop() {
            if piece.minutes() == 0 {
                continue;
            }
            let samples = series.saturating_mul(u64::from(piece.minutes()));
            let times = Times::At(piece.evaluation_time());
            let asked = self.ask(&query(piece), times, samples).await;
            match asked {
                Ok(answer) => {
                    self.note_warnings(&answer);
                    join_up(&mut sums, answer.series, join);
                }
                Err(NoAnswer::TooMuch(failure)) if halvings < HALVINGS_MAX => {
                    tracing::debug!(%failure, minutes = piece.minutes(), "halving the query");
                    let half = piece.minutes().div_ceil(2);
                    self.bearable_minutes = self.bearable_minutes.min(half);
                    open.extend(piece.split(2).into_iter().rev().map(|half| (half, halvings + 1)));
                }
                Err(no_answer) => return Err(no_answer.into_failure()),
            }
        }
        Ok(sums)
    }

    /// Adds up, by labels, the values of an expression at regular times. The expression is given
    /// the offset of its series, seconds.
    pub(super) async fn sampled(
        &mut self,
        sampling: Sampling,
        series: u64,
        expression: impl Fn(i64) -> String,
    ) -> Result<BTreeMap<Labels, f64>, Failure> {
        let mut sums = BTreeMap::new();
        let mut open = self.bearable(sampling, series, self.bearable_minutes);
        while let Some(piece) = open.pop() {
            let (query, time) = piece.sum(&expression);
            let samples = series.saturating_mul(u64::from(piece.count));
            match self.ask(&query, Times::At(time), samples).await {
                Ok(answer) => {
                    self.note_warnings(&answer);
                    join_up(&mut sums, answer.series, add);
                }
                Err(no_answer) => {
                    let halves = halves(piece, no_answer)?;
                    let longest = halves.iter().map(|half| half.minutes()).max().unwrap_or(0);
                    self.bearable_minutes = self.bearable_minutes.min(longest.max(1));
                    open.extend(halves);
                }
            }
        }
        self.own_only(sums)
    }

    /// The values of an expression at regular times, by labels, in the order of time.
    pub(super) async fn values(
        &mut self,
        sampling: Sampling,
        series: u64,
        expression: impl Fn(i64) -> String,
    ) -> Result<BTreeMap<Labels, Vec<(i64, f64)>>, Failure> {
        let mut values: BTreeMap<Labels, Vec<(i64, f64)>> = BTreeMap::new();
        let mut open = self.bearable(sampling, series, u32::MAX);
        while let Some(piece) = open.pop() {
            let offset = piece.offset();
            let (start, end) = (piece.first + offset, piece.last() + offset);
            let times = Times::Steps { first: start, last: end, step: piece.step };
            let samples = series.saturating_mul(u64::from(piece.count));
            match self.ask(&expression(offset), times, samples).await {
                Ok(answer) => {
                    self.note_warnings(&answer);
                    for mut one in answer.series {
                        one.labels.remove("__name__");
                        #[expect(clippy::cast_possible_truncation, reason = "whole seconds")]
                        let points = one.points.iter().map(|(time, v)| (*time as i64 - offset, *v));
                        values.entry(one.labels).or_default().extend(points);
                    }
                }
                Err(no_answer) => open.extend(halves(piece, no_answer)?),
            }
        }
        self.own_only(values)
    }

    /// Regular times in pieces of which none touches more samples than allowed or is longer than
    /// so many minutes, the last first.
    fn bearable(&self, sampling: Sampling, series: u64, minutes: u32) -> Vec<Sampling> {
        let most = self.settings.samples_max / series.max(1);
        let mut open = vec![sampling];
        let mut pieces = Vec::new();
        while let Some(piece) = open.pop() {
            match piece.halves() {
                Some(halves) if u64::from(piece.count) > most || piece.minutes() > minutes => {
                    open.extend(halves);
                }
                _ => pieces.push(piece),
            }
        }
        pieces
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
        let named = labels.get(&label).map_or("none at all", String::as_str);
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

    /// Learns which of the metrics have samples that are no cost in the window, names their
    /// series, and makes `selector` leave such samples out.
    pub(super) async fn filter_bad_samples(
        &mut self,
        selector: &mut Selector,
        metrics: &[(&str, &[&str])],
        window: Window,
        series: u64,
    ) -> Result<(), Failure> {
        const NAMED_MAX: usize = 5;
        for (metric, extra) in metrics {
            let plain = selector.clone();
            let bad = self
                .summed(window, series, |piece| plain.bad_samples(metric, extra, piece))
                .await?;
            if bad.is_empty() {
                continue;
            }
            selector.filtered.insert((*metric).to_owned());
            self.is_partial = true;
            let named: Vec<_> = bad.keys().take(NAMED_MAX).map(|l| shown(metric, l)).collect();
            self.warn(format!(
                "{} series of {metric} have samples that are no cost (NaN, infinite or negative); \
                 those samples are left out: {}",
                bad.len(),
                named.join(", ")
            ));
        }
        Ok(())
    }

    /// The ledger's currency, and the rates of others.
    pub(super) fn currency(&self) -> &'a CurrencyConfig {
        &self.settings.currency
    }

    /// Levels that are wanted.
    pub(super) fn levels(&self) -> Levels {
        self.settings.levels
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

/// Two halves of regular times that were too many at once, the later one first.
fn halves(piece: Sampling, no_answer: NoAnswer) -> Result<Vec<Sampling>, Failure> {
    match (no_answer, piece.halves()) {
        (NoAnswer::TooMuch(failure), Some([first, second])) => {
            tracing::debug!(%failure, times = piece.count, "halving the query");
            Ok(vec![second, first])
        }
        (no_answer, _) => Err(no_answer.into_failure()),
    }
}

fn shown(metric: &str, labels: &Labels) -> String {
    format!("{metric}{}", shown_labels(labels))
}

fn add(one: f64, other: f64) -> f64 {
    one + other
}

/// Joins what pieces of a window say, by labels.
fn join_up(joined: &mut BTreeMap<Labels, f64>, series: Vec<Series>, join: fn(f64, f64) -> f64) {
    for mut one in series {
        let Some(value) = one.value() else { continue };
        one.labels.remove("__name__");
        joined.entry(one.labels).and_modify(|known| *known = join(*known, value)).or_insert(value);
    }
}
