//! A day of one large account: what `size` and `floors` run the worker over.

use std::path::Path;

use crate::servers::{PrometheusVersion, Server, Stores, prometheus_with};
use crate::support::{ACCOUNT, number, write_history};
use crate::worker;

/// 2026-03-01 00:00:00 UTC.
pub(crate) const START: i64 = 1_772_323_200;
/// A run over that day.
pub(crate) const RUN: [&str; 5] = ["run", "--from", "2026-03-01", "--to", "2026-03-01"];

/// How many pods it has.
pub(crate) fn pods() -> usize {
    number("PODS", 25_000)
}

/// A Prometheus with its day in `data`.
pub(crate) fn prometheus(data: &Path) -> Server {
    write_history(data, pods(), START, 1);
    prometheus_with(PrometheusVersion::Two, data, &["--query.max-samples=50000000"])
}

/// The settings of a worker on stores that are made ready for it.
pub(crate) fn migrated(stores: &Stores, prometheus_url: &str) -> Vec<(&'static str, String)> {
    let mut settings = stores.settings();
    settings.push(("PROMETHEUS_URL", prometheus_url.to_owned()));
    settings.push(("ACCOUNTS", ACCOUNT.to_owned()));
    settings.push(("LEVELS", "cluster,namespace,pod".to_owned()));
    settings.push(("MAX_RESOURCES", (2 * pods()).to_string()));
    worker::run(&settings, &["migrate"]).expect_success();
    settings
}
