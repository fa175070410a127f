//! `backfill` over 90 days of one account of 5 000 pods in 300 namespaces, against real stores.
//!
//! `cargo bench --bench backfill` makes the days in a real Prometheus (a sample each five minutes:
//! with the look-back every minute has a value), runs the worker's `backfill` over them twice -
//! the second finds all of them complete - and prints a table. It is to be 500 times faster than
//! the days were, and asserts so. The making of the days takes some minutes and is not in the
//! table; `DAYS=7` and `PODS=1000` make it smaller.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench prints its table and fails by panicking"
)]

use std::time::Instant;

use kubecost_worker::cost::Day;

#[path = "../tests/it/support/servers.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod servers;
mod support;
#[path = "../tests/it/support/worker.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod worker;

use servers::{PrometheusVersion, Stores};
use support::{ACCOUNT, NAMESPACES, measure, number, write_history};

const FIRST: &str = "2026-03-01";
/// How much faster than the days themselves a backfill has to be.
const TIMES_REAL_TIME: f64 = 500.0;
/// The blocks stay as they are: merging them would take time from what is measured.
const ARGUMENTS: [&str; 3] = [
    "--query.max-samples=50000000",
    "--storage.tsdb.min-block-duration=2h",
    "--storage.tsdb.max-block-duration=2h",
];

#[tokio::main]
async fn main() {
    let (pods, days) = (number("PODS", 5_000), number("DAYS", 90));
    let first: Day = FIRST.parse().unwrap();
    let last = (1..days).fold(first, |day, _| day.next());
    let data = tempfile::tempdir().unwrap();
    let began = Instant::now();
    write_history(data.path(), pods, first.start_seconds(), days);
    println!("history made in {:.0} s", began.elapsed().as_secs_f64());
    let prometheus = servers::prometheus_with(PrometheusVersion::Two, data.path(), &ARGUMENTS);
    let stores = Stores::new("backfill").await;
    let mut settings = stores.settings();
    settings.push(("PROMETHEUS_URL", prometheus.url.clone()));
    settings.push(("ACCOUNTS", ACCOUNT.to_owned()));
    settings.push(("LEVELS", "cluster,namespace,pod".to_owned()));
    worker::run(&settings, &["migrate"]).expect_success();
    // Long after the last day, so that every day is settled.
    let (at, to) = (format!("{}T12:00:00Z", last.next().next().next()), last.to_string());
    let backfill = ["--at", &at, "backfill", "--from", FIRST, "--to", &to];
    println!(
        "| {pods} pods, {NAMESPACES} namespaces | days | skipped | s | times real time \
         | own CPU s | peak MiB | rows | documents |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|");
    for (name, is_first) in [("first backfill", true), ("second backfill", false)] {
        let done = measure(&settings, &backfill);
        let summary = done.summary;
        assert_eq!(summary["exit_code"], 0, "{summary}");
        let times = days as f64 * 86_400.0 / done.seconds;
        let shown = if is_first { format!("{times:.0}") } else { "-".to_owned() };
        println!(
            "| {name} | {} | {} | {:.1} | {shown} | {:.2} | {:.0} | {} | {} |",
            summary["days_done"],
            summary["days_skipped"],
            done.seconds,
            done.cpu_seconds,
            done.peak_mib,
            summary["rows_written"],
            summary["documents_written"],
        );
        let all = if is_first { "days_done" } else { "days_skipped" };
        assert_eq!(summary[all], days, "{summary}");
        assert!(times >= TIMES_REAL_TIME, "{times} times real time");
    }
}
