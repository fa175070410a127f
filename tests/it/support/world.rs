//! Sources simple enough to be added up by hand: gauges on the minute, so that a day of a rate
//! has exactly 1440 minutes of it.

use super::metrics::History;
use super::servers::{PrometheusVersion, Server, prometheus};

pub(crate) const MINUTE: i64 = 60;
pub(crate) const HOUR: i64 = 3_600;
pub(crate) const DAY: i64 = 86_400;
/// 2026-03-01 00:00:00 UTC.
pub(crate) const MARCH: i64 = 1_772_323_200;

/// Puts an account's gauges for `life`: the cluster's rate, then namespaces' (USD per hour).
pub(crate) fn gauges(
    history: &mut History,
    account: &str,
    life: (i64, i64),
    cluster: impl Fn(i64) -> Option<f64>,
    namespaces: &[(&str, f64)],
) {
    let labels = format!("tenant_id=\"{account}\",cluster=\"prod\"");
    history.every_minute("cloudtuner_kubecost_cluster_total_cost", &labels, 0, life, cluster);
    for (name, rate) in namespaces {
        let labels = format!("{labels},namespace=\"{name}\"");
        let metric = "cloudtuner_kubecost_namespace_total_cost";
        history.every_minute(metric, &labels, 0, life, |_| Some(*rate));
    }
}

/// A Prometheus that holds these histories. Each is written by itself, so they may lie years
/// apart.
pub(crate) fn source(histories: &[History]) -> Server {
    let data = tempfile::tempdir().unwrap();
    for history in histories {
        history.write_blocks(data.path());
    }
    prometheus(PrometheusVersion::Two, data.path())
}

/// A Prometheus with constant rates of one account.
pub(crate) fn constant(
    account: &str,
    life: (i64, i64),
    cluster: f64,
    namespaces: &[(&str, f64)],
) -> Server {
    let mut history = History::default();
    gauges(&mut history, account, life, |_| Some(cluster), namespaces);
    source(&[history])
}
