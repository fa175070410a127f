//! A run over one account of 25 000 pods in 300 namespaces, against real stores.
//!
//! `cargo bench --bench size` makes a day of history in a real Prometheus (a sample each five
//! minutes: with the look-back every minute has a value), then runs the worker twice - the
//! first writes everything, the second nothing - and
//! prints a table of time and peak memory. `PODS=1000` makes it smaller.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench prints its table and fails by panicking"
)]

#[path = "../tests/it/support/servers.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod servers;
mod support;
#[path = "../tests/it/support/worker.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod worker;

use servers::{PrometheusVersion, Stores};
use support::{ACCOUNT, NAMESPACES, measure, number, write_history};

/// 2026-03-01 00:00:00 UTC.
const START: i64 = 1_772_323_200;

#[tokio::main]
async fn main() {
    let pods = number("PODS", 25_000);
    let data = tempfile::tempdir().unwrap();
    write_history(data.path(), pods, START, 1);
    let prometheus = servers::prometheus_with(
        PrometheusVersion::Two,
        data.path(),
        &["--query.max-samples=50000000"],
    );
    let stores = Stores::new("size").await;
    let mut settings = stores.settings();
    settings.push(("PROMETHEUS_URL", prometheus.url.clone()));
    settings.push(("ACCOUNTS", ACCOUNT.to_owned()));
    settings.push(("LEVELS", "cluster,namespace,pod".to_owned()));
    worker::run(&settings, &["migrate"]).expect_success();
    println!("| {pods} pods, {NAMESPACES} namespaces, one day | s | peak MiB | rows | documents |");
    println!("|---|--:|--:|--:|--:|");
    let days = ["run", "--from", "2026-03-01", "--to", "2026-03-01"];
    for name in ["first run", "second run"] {
        let done = measure(&settings, &days);
        let summary = done.summary;
        assert_eq!(summary["exit_code"], 0, "{summary}");
        let (rows, documents) = (&summary["rows_written"], &summary["documents_written"]);
        println!("| {name} | {:.1} | {:.0} | {rows} | {documents} |", done.seconds, done.peak_mib);
    }
}
