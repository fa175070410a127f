//! Where costs are read: the query layer behind one trait.
//!
//! What belongs here: asking a server for an account's costs of a day, and reading its answers.
//! What does not: rounding, remainders and names (`cost`), and any store.

pub mod allocation_api;

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::accounts::Account;
use crate::cost::{Day, DayCosts, ResourceKey};
use crate::service::failure::Failure;

pub mod metric_names;
pub mod metroculus;
pub mod prometheus;

/// Which metrics a day's costs come from. An account uses one phase per day.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The raw cost-model metrics (`container_cpu_allocation`, `node_cpu_hourly_cost`, ...).
    Raw,
    /// The allocation exporter's `cloudtuner_kubecost_*` gauges.
    Exporter,
}

impl Phase {
    /// The phase's number, as the integration's guides count.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Raw => 1,
            Self::Exporter => 2,
        }
    }

    /// The phase of a number, 1 or 2.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Raw),
            2 => Some(Self::Exporter),
            _ => None,
        }
    }
}

/// For how many minutes of a day a source has samples, by phase.
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
    pub warnings: Vec<String>,
    /// Whether the answer is known to lack something beside uncovered minutes.
    pub is_partial: bool,
    /// Sources that claim to be one cluster and tell different costs, a sentence each: whose costs
    /// are the cluster's cannot be told.
    #[serde(default)]
    pub conflicts: Vec<String>,
    /// Where samples are missing and why, a phrase a cluster, where the source can say so.
    #[serde(default)]
    pub holes: Vec<String>,
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
            holes: Vec::new(),
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

    /// Takes note of the present, for layers that only know "now"; others do nothing.
    ///
    /// # Errors
    /// When the present cannot be read or noted.
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
}
