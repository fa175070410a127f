//! Where costs are read: the query layer behind one trait.
//!
//! What belongs here: asking a server for an account's costs of a day, and reading its answers.
//! What does not: rounding, remainders and names (`cost`), and any store.

pub mod allocation_api;
pub mod checkpoint;

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::accounts::Account;
use crate::cost::{Day, DayCosts, KubernetesFacts, ResourceKey};
use crate::service::failure::Failure;
use crate::settings::worker::LabelTags;

use checkpoint::Checkpoint;

pub use crate::cost::Phase;
pub use reading::{ReadPart, ReadScrapers, Reading};

pub use warning::{Warning, WarningKind};

pub mod labels;
pub mod metric_names;
pub mod metroculus;
pub mod prometheus;
pub mod reading;
mod warning;

/// What is wrong with costs in another currency than the ledger's.
fn in_another_currency(whose: &str, code: &str, own: &str) -> String {
    format!("the costs of {whose} are in {code} and the ledger's currency is {own} (CURRENCY)")
}

/// Which samples of a day a source has, by phase: covered minutes and sample counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Presence {
    /// Minutes with raw cost-model metrics.
    pub raw_minutes: u32,
    /// Minutes with the exporter's gauges, whatever their value.
    pub exporter_minutes: u32,
    /// Samples of raw cost-model metrics, all clusters': more of them than before came late.
    #[serde(default)]
    pub raw_samples: u64,
    /// Samples of the exporter's gauges, all clusters'.
    #[serde(default)]
    pub exporter_samples: u64,
    /// Samples of all metrics that the day's costs come from, where they were counted: of a day
    /// that is over, and of hours after it in which its costs may be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_samples: Option<u64>,
}

impl Presence {
    /// The minutes of one phase.
    #[must_use]
    pub fn minutes(self, phase: Phase) -> u32 {
        match phase {
            Phase::Raw => self.raw_minutes,
            Phase::Exporter => self.exporter_minutes,
        }
    }
}

/// What the query layer says of an account's day.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SourceDay {
    /// The costs, in USD over the day.
    pub costs: DayCosts,
    /// The metrics that they come from.
    pub phase: Phase,
    /// Minutes of the day for which the source has a sample: of the cluster that has fewest.
    pub covered_minutes: u32,
    /// Those minutes by cluster.
    #[serde(default)]
    pub clusters: BTreeMap<String, u32>,
    /// Minutes of the day for which it could have one by now: 1440 for a day that is over.
    pub expected_minutes: u32,
    /// By how much the source's clock lags behind the cost (seconds); already accounted for.
    pub lag_seconds: i64,
    /// What an operator should know: refused series, partial answers. Each names its subject.
    pub warnings: Vec<Warning>,
    /// Whether the answer is known to lack something beside uncovered minutes.
    pub is_partial: bool,
    /// Sources that claim to be one cluster and report different costs, a sentence each: which of
    /// them is meant cannot be known.
    #[serde(default)]
    pub conflicts: Vec<String>,
    /// Where samples are missing and why, a phrase a cluster, where the source can say so.
    #[serde(default, rename = "holes")]
    pub gap_causes: Vec<String>,
    /// Minutes before a cluster's first sample of the day and after its last, by cluster: it was
    /// not there yet, or no longer. Of clusters that are not named, it is not known where their
    /// gaps are.
    #[serde(default)]
    pub edge_minutes: BTreeMap<String, u32>,
    /// Metrics that are missing, a phrase each: which, of what cluster, and what is not billed.
    #[serde(default)]
    pub missing: Vec<String>,
    /// Why the costs are an approximation, a phrase each: an exporter that does not say which
    /// window its gauges are of.
    #[serde(default)]
    pub approximations: Vec<String>,
    /// Why nothing of the day is due yet: its first window is not complete.
    #[serde(default)]
    pub waiting: Option<String>,
    /// The rates by which costs of other currencies were converted: units of the ledger's currency
    /// for one unit of the source's, by currency code.
    #[serde(default)]
    pub exchange_rates: BTreeMap<String, f64>,
    /// How it was read, for whoever reads it again.
    #[serde(default)]
    pub reading: Reading,
    /// What to keep of a running day for the next run, where that is more than was known.
    #[serde(skip)]
    pub checkpoint: Option<Checkpoint>,
}

impl SourceDay {
    /// A day without a sample, of which so many minutes could have had one.
    #[must_use]
    pub fn without_samples(phase: Phase, expected_minutes: u32) -> Self {
        Self {
            costs: DayCosts::default(),
            phase,
            covered_minutes: 0,
            clusters: BTreeMap::new(),
            expected_minutes,
            lag_seconds: 0,
            warnings: Vec::new(),
            is_partial: false,
            conflicts: Vec::new(),
            gap_causes: Vec::new(),
            edge_minutes: BTreeMap::new(),
            missing: Vec::new(),
            approximations: Vec::new(),
            waiting: None,
            exchange_rates: BTreeMap::new(),
            reading: Reading::default(),
            checkpoint: None,
        }
    }

    /// Says for how many minutes each cluster is covered.
    pub fn cover(&mut self, clusters: BTreeMap<String, u32>) {
        self.covered_minutes = clusters.values().copied().min().unwrap_or(0);
        self.clusters = clusters;
    }

    /// For how many minutes a cluster is covered.
    #[must_use]
    pub fn minutes_of(&self, cluster: &str) -> u32 {
        self.clusters.get(cluster).copied().unwrap_or(0)
    }

    /// Says that all clusters that have costs are covered alike.
    pub fn cover_all(&mut self, minutes: u32) {
        self.covered_minutes = minutes;
        self.clusters = self.costs.clusters.keys().map(|name| (name.clone(), minutes)).collect();
    }
}

/// How a running day is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Running {
    /// What was answered before.
    pub known: Option<Checkpoint>,
    /// Whether pods are left out.
    pub without_pods: bool,
}

/// A query layer: an account and a day in, the day's costs out.
#[async_trait]
pub trait CostSource: Send + Sync {
    /// The layer's name in logs and summaries, with its address less credentials.
    fn describe(&self) -> String;

    /// Whether any past day can be asked for. If not, only what was observed at the time is known.
    fn has_history(&self) -> bool;

    /// Sees that the layer answers at all.
    ///
    /// # Errors
    /// When it is down or refuses the credentials.
    async fn check(&self) -> Result<(), Failure>;

    /// Records current rates, for sources without history; others do nothing.
    ///
    /// # Errors
    /// When the rates cannot be read or recorded.
    async fn observe(&self, account: &Account, now_seconds: i64) -> Result<(), Failure>;

    /// Minutes with samples for each day of `first..=last`; days without any may be left out.
    ///
    /// # Errors
    /// When the layer cannot be asked.
    async fn presence(
        &self,
        account: &Account,
        first: Day,
        last: Day,
        now_seconds: i64,
    ) -> Result<BTreeMap<Day, Presence>, Failure>;

    /// How many samples a day that is over has of all metrics of a phase, and the hours after it in
    /// which its costs may be shown: where there are no more than before, its costs are the same.
    /// `None` where the layer cannot say.
    ///
    /// # Errors
    /// When the layer cannot be asked.
    async fn all_samples(
        &self,
        _account: &Account,
        _day: Day,
        _phase: Phase,
        _now_seconds: i64,
    ) -> Result<Option<u64>, Failure> {
        Ok(None)
    }

    /// What Kubernetes says of namespaces and pods now: the labels that were chosen, what made a
    /// pod, how many pods a namespace has. Empty where the layer cannot say.
    ///
    /// # Errors
    /// When the layer cannot be asked.
    async fn kubernetes(
        &self,
        _account: &Account,
        _labels: &LabelTags,
        _now_seconds: i64,
    ) -> Result<BTreeMap<ResourceKey, KubernetesFacts>, Failure> {
        Ok(BTreeMap::new())
    }

    /// When each resource had its last sample, Unix seconds, for those that have one right now.
    /// Empty where the layer cannot say.
    ///
    /// # Errors
    /// When the layer cannot be asked.
    async fn last_samples(
        &self,
        _account: &Account,
        _phase: Phase,
        _now_seconds: i64,
    ) -> Result<BTreeMap<ResourceKey, i64>, Failure> {
        Ok(BTreeMap::new())
    }

    /// The costs of a day, integrated from its midnight to its end or to now.
    ///
    /// # Errors
    /// When the layer cannot be asked, or answers what cannot be true.
    async fn day_costs(
        &self,
        account: &Account,
        day: Day,
        phase: Phase,
        now_seconds: i64,
    ) -> Result<SourceDay, Failure>;

    /// Whether [`Self::running_day_costs`] makes use of what was answered before, and can do
    /// without pods.
    fn takes_checkpoints(&self) -> bool {
        false
    }

    /// The same of a day that is running, where a checkpoint has what was answered before: what is
    /// known of the part that is over is not asked for again, and what is learned of it is in
    /// [`SourceDay::checkpoint`]. Without pods, only what is above them is asked for.
    ///
    /// # Errors
    /// As for `day_costs`.
    async fn running_day_costs(
        &self,
        account: &Account,
        day: Day,
        phase: Phase,
        now_seconds: i64,
        running: Running,
    ) -> Result<SourceDay, Failure> {
        let mut costs = self.day_costs(account, day, phase, now_seconds).await?;
        if running.without_pods {
            costs.costs.clear_pods();
        }
        Ok(costs)
    }

    /// The same of one pod, named by its namespace and its name: what it costs is that of
    /// `day_costs`; of everything else only the clusters' coverage is. `None` where the layer
    /// cannot be asked for less than a whole day.
    ///
    /// # Errors
    /// As for `day_costs`.
    async fn pod_costs(
        &self,
        _account: &Account,
        (_namespace, _pod): (&str, &str),
        _day: Day,
        _phase: Phase,
        _now_seconds: i64,
    ) -> Result<Option<SourceDay>, Failure> {
        Ok(None)
    }
}
