//! A run over one account of 25 000 pods in 300 namespaces, against real stores.
//!
//! `cargo bench --bench size` makes a day of history in a real Prometheus (a sample each five
//! minutes: with the look-back every minute has a value), then runs the worker twice - the
//! first writes everything, the second nothing - and
//! prints a table of time and peak memory. Then come runs of a running day, five minutes apart and an
//! hour apart (every six hours, the first at noon, a run asks for all of the day: these do not), and
//! from these the rows and parts of a day; then the last of them again on stores with so many days of
//! earlier rows, one after the other (`DAYS=0,180`). `PODS=1000` makes it smaller,
//! `WINDOW_SECONDS=3600` has gauges say of which hour they are, as the exporter of this project does.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench prints its table and fails by panicking"
)]

#[path = "support/goals.rs"]
mod goals;
#[path = "support/large_day.rs"]
mod large_day;
#[path = "../tests/it/support/servers.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod servers;
mod support;
#[path = "../tests/it/support/worker.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod worker;

use goals::{Goal, goals_table};
use large_day::{RUN, migrated, pods, prometheus};
use servers::Stores;
use support::{Measured, NAMESPACES, measure};

#[tokio::main]
async fn main() {
    let data = tempfile::tempdir().unwrap();
    let prometheus = prometheus(data.path());
    let stores = Stores::new("size").await;
    let settings = migrated(&stores, &prometheus.url);
    println!(
        "| {} pods, {NAMESPACES} namespaces, one day | s | own CPU s | peak MiB | rows | documents |",
        pods()
    );
    println!("|---|--:|--:|--:|--:|--:|");
    let mut runs = Vec::new();
    for name in ["first run", "second run"] {
        let done = measure(&settings, &RUN);
        let summary = &done.summary;
        assert_eq!(summary["exit_code"], 0, "{summary}");
        let (rows, documents) = (&summary["rows_written"], &summary["documents_written"]);
        println!("| {name} | {} | {rows} | {documents} |", taken(&done));
        runs.push(done);
    }
    let unchanged = running_day(&prometheus.url).await;
    let days = std::env::var("DAYS").unwrap_or("0,180".to_owned());
    let mut peaks_mib = Vec::new();
    for days in days.split(',') {
        peaks_mib.push(after_history(&prometheus.url, days.parse().unwrap()).await);
    }
    println!("\n{}", goals_table(&goals(&runs[0], &unchanged, &peaks_mib)));
}

/// What there are goals for of this size.
fn goals(first: &Measured, unchanged: &Measured, peaks_mib: &[f64]) -> Vec<Goal> {
    if pods() >= 100_000 {
        return vec![
            ("first run: s", 60.0, first.seconds),
            ("first run: own CPU s", 3.0, first.cpu_seconds),
            ("first run: peak MiB", 256.0, first.peak_mib),
        ];
    }
    let mut goals =
        vec![("first run: s", 15.0, first.seconds), ("nothing changed: s", 4.0, unchanged.seconds)];
    if let [without, .., with] = peaks_mib {
        goals.push(("peak after the longest history beside that without", 1.1, with / without));
    }
    goals
}

/// The columns of a run: seconds, CPU seconds, MiB.
fn taken(done: &Measured) -> String {
    format!("{:.1} | {:.2} | {:.0}", done.seconds, done.cpu_seconds, done.peak_mib)
}

/// Runs of a day that goes on, and what a day of such runs writes: one every five minutes, of which
/// one an hour writes pods (`TODAY_REFRESH`).
/// Returns the run in which nothing changed.
async fn running_day(prometheus_url: &str) -> Measured {
    const RUNS: [(&str, &str); 5] = [
        ("first of the day", "2026-03-01T13:00:00Z"),
        ("nothing changed", "2026-03-01T13:00:00Z"),
        ("five minutes later", "2026-03-01T13:05:00Z"),
        ("half an hour later (pods are read)", "2026-03-01T13:30:00Z"),
        ("an hour later", "2026-03-01T14:00:00Z"),
    ];
    let stores = Stores::new("size_today").await;
    let settings = migrated(&stores, prometheus_url);
    println!(
        "\n| running day | s | own CPU s | peak MiB | rows | parts |\n|---|--:|--:|--:|--:|--:|"
    );
    let (mut written, mut runs) = (Vec::new(), Vec::new());
    for (name, at) in RUNS {
        let before = parts(&stores).await;
        let done = measure(&settings, &["--at", at, "run"]);
        assert_eq!(done.summary["exit_code"], 0, "{}", done.summary);
        let rows = done.summary["rows_written"].as_u64().unwrap();
        let parts = parts(&stores).await - before;
        println!("| {name} | {} | {rows} | {parts} |", taken(&done));
        written.push((rows, parts));
        runs.push(done);
    }
    let [first, _, five_minutes, _, hour] = written.as_slice() else { panic!("five runs") };
    let of_day = |of: fn(&(u64, u64)) -> u64| of(first) + 264 * of(five_minutes) + 23 * of(hour);
    println!(
        "\nA day, a run every five minutes: {} rows, {} parts.",
        of_day(|n| n.0),
        of_day(|n| n.1)
    );
    runs.swap_remove(1)
}

/// A run of a running day in which each cost is another one, on stores with many days before it.
/// Returns its peak memory, MiB.
async fn after_history(prometheus_url: &str, days: usize) -> f64 {
    let stores = Stores::new("size_history").await;
    let settings = migrated(&stores, prometheus_url);
    measure(&settings, &["--at", "2026-03-01T13:00:00Z", "run"]);
    let columns = "cloud_account_id, resource_id, cost, sign, k8s_namespace";
    let earlier = format!(
        "INSERT INTO expenses ({columns}, date) \
         SELECT {columns}, date - toIntervalDay(day + 1) FROM expenses ARRAY JOIN range({days}) AS day"
    );
    stores.execute(&earlier).await;
    // Finds these rows, and brings the documents' costs to them.
    measure(&settings, &["--at", "2026-03-01T13:05:00Z", "run"]);
    let done = measure(&settings, &["--at", "2026-03-01T14:00:00Z", "run"]);
    assert_eq!(done.summary["exit_code"], 0, "{}", done.summary);
    let rows = done.summary["rows_written"].as_u64().unwrap();
    println!("\n| after {days} days | s | own CPU s | peak MiB | rows |\n|---|--:|--:|--:|--:|");
    println!("| an hour later | {} | {rows} |", taken(&done));
    done.peak_mib
}

/// Parts that were ever written by inserts: each of their blocks is one.
async fn parts(stores: &Stores) -> u64 {
    let sql = "SELECT sum(value) FROM system.events WHERE event = 'MergeTreeDataWriterBlocks'";
    stores.client().query(sql).fetch_one::<u64>().await.unwrap()
}
