//! One Metroculus: how it is asked, and how its series are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cost::costs::is_special;
use crate::cost::{Day, DayCosts, Level, Levels, Limits};
use crate::rate_journal::{RateJournal, SeenRate};

use crate::source::metric_names::{
    BUILD_INFO, CLUSTER_TOTAL, EARLIER_INFO, NAMESPACE_TOTAL, POD_TOTAL, WINDOW_COVERED,
    WINDOW_END, WINDOW_SECONDS, WINDOW_UNKNOWN_ROWS,
};
use crate::source::prometheus::reply::Series;
use crate::source::{Phase, SourceDay, Warning};

use super::client::MetroculusClient;

/// How costs are read through Metroculus.
#[derive(Clone, Debug)]
pub struct MetroculusSettings {
    /// The cluster of series that name none.
    pub default_cluster: String,
    /// Which levels are wanted.
    pub levels: Levels,
    /// Forces one of the phases.
    pub phase: Option<Phase>,
    /// The ledger's currency.
    pub currency: String,
    /// Most resources of an account.
    pub limits: Limits,
}

/// Costs through Metroculus.
pub struct MetroculusQuery {
    pub(super) client: MetroculusClient,
    pub(super) journal: Arc<dyn RateJournal>,
    pub(super) settings: MetroculusSettings,
}

impl MetroculusQuery {
    /// An adapter that keeps its journal in `journal`.
    #[must_use]
    pub fn new(
        client: MetroculusClient,
        journal: Arc<dyn RateJournal>,
        settings: MetroculusSettings,
    ) -> Self {
        Self { client, journal, settings }
    }

    /// The metrics that are asked for.
    pub(super) fn metrics(&self) -> Vec<&'static str> {
        let mut metrics = vec![CLUSTER_TOTAL, WINDOW_END, WINDOW_SECONDS];
        let levels = self.settings.levels;
        if levels.namespace || levels.pod {
            metrics.push(NAMESPACE_TOTAL);
        }
        if levels.pod {
            metrics.push(POD_TOTAL);
        }
        metrics.extend([WINDOW_COVERED, WINDOW_UNKNOWN_ROWS, BUILD_INFO, EARLIER_INFO]);
        metrics
    }

    /// The cluster of a series.
    pub(super) fn cluster<'a>(&'a self, series: &'a Series) -> &'a str {
        cluster_of(series).unwrap_or(&self.settings.default_cluster)
    }

    /// A series as a rate of its level.
    pub(super) fn rate(&self, level: Level, series: &Series) -> RateReading {
        let label =
            |name: &str| Some(series.label(name).to_owned()).filter(|text| !text.is_empty());
        let (namespace, pod) = (label("namespace"), label("pod"));
        let has_names = match level {
            // Metroculus has no nodes.
            Level::Cluster | Level::Node => true,
            Level::Namespace => namespace.as_deref().is_some_and(|n| !is_special(n)),
            Level::Pod => {
                namespace.as_deref().is_some_and(|n| !is_special(n))
                    && pod.as_deref().is_some_and(|p| !is_special(p))
            }
        };
        let Some(usd_per_hour) = series.value().filter(|_| has_names) else {
            return RateReading::Other;
        };
        if !usd_per_hour.is_finite() || usd_per_hour < 0.0 {
            tracing::warn!(series = series.shown(), usd_per_hour, "a rate is refused");
            return RateReading::Refused;
        }
        RateReading::Rate(SeenRate {
            cluster: self.cluster(series).to_owned(),
            namespace: namespace.filter(|_| level != Level::Cluster),
            pod: pod.filter(|_| level == Level::Pod),
            node: label("node").filter(|_| level == Level::Pod),
            service: label("service").filter(|_| level == Level::Pod),
            usd_per_hour,
        })
    }
}

/// How a series is read.
pub(super) enum RateReading {
    /// A rate of a cluster, a namespace or a pod.
    Rate(SeenRate),
    /// A number that is no rate.
    Refused,
    /// Nothing of its own: a row of the cluster's, or a series without names or points.
    Other,
}

pub(super) const LEVELS: [(Level, &str); 3] =
    [(Level::Cluster, CLUSTER_TOTAL), (Level::Namespace, NAMESPACE_TOTAL), (Level::Pod, POD_TOTAL)];

/// The cluster that a series names: by `cluster`, or by `cluster_id` in earlier versions.
pub(super) fn cluster_of(series: &Series) -> Option<&str> {
    ["cluster", "cluster_id"].map(|name| series.label(name)).into_iter().find(|n| !n.is_empty())
}

/// What an operator should know of series that name no tenant.
pub(super) fn without_tenant(metric: &str, count: usize) -> String {
    format!(
        "{count} series of {metric} have no label tenant_id: they are taken to be this account's; \
         see that Metroculus asks for one tenant"
    )
}

pub(super) fn source_day(
    costs: DayCosts,
    phase: Phase,
    clusters: BTreeMap<String, u32>,
    day: Day,
    lag_seconds: i64,
    now_seconds: i64,
) -> SourceDay {
    let most = clusters.values().copied().max().unwrap_or(0);
    let expected = day.minutes_passed(now_seconds - lag_seconds);
    let unknown = SourceDay::without_samples(phase, expected.max(most));
    let mut source = SourceDay { costs, lag_seconds, ..unknown };
    source.cover(clusters);
    source
}

/// Why a day is approximate whose rates are the earlier exporter's.
const EARLIER: &str = "the exporter is an earlier one, whose costs are averages over a \
    window that does not say when it ends; its pods are left out";

/// Notes what a day's rates lack: numbers that are none, whole windows of these clusters, and the
/// windows' times where they are the earlier exporter's.
pub(super) fn note_lacks<C: AsRef<str>>(
    source: &mut SourceDay,
    refused: u64,
    incomplete: impl IntoIterator<Item = C>,
    is_approximate: bool,
) {
    let no_rates = (refused > 0).then(|| {
        format!("{refused} rates that are no cost (NaN, infinite or negative) are left out")
    });
    let parts = incomplete.into_iter().map(|cluster| {
        let cluster = cluster.as_ref();
        format!("the exporter of cluster '{cluster}' had only a part of some windows")
    });
    let before = source.warnings.len();
    source.warnings.extend(no_rates.into_iter().chain(parts).map(Warning::from));
    source.is_partial |= source.warnings.len() > before;
    source.approximations.extend(is_approximate.then(|| EARLIER.to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_named_by_either_label() {
        let of = |pairs: &[(&str, &str)]| {
            let own = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            cluster_of(&Series { labels: own, points: Vec::new() }).map(str::to_owned)
        };
        assert_eq!(of(&[("cluster_id", "x")]).as_deref(), Some("x"));
        assert_eq!(of(&[("cluster", "c"), ("cluster_id", "x")]).as_deref(), Some("c"));
        assert_eq!(of(&[("cluster", "")]), None);
    }
}
