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

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

#[path = "../tests/it/support/servers.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod servers;
#[path = "../tests/it/support/worker.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod worker;

use servers::{PrometheusVersion, Stores, promtool};

const ACCOUNT: &str = "bc55eb8c-5db2-4c32-b976-2df0edb0619a";
/// 2026-03-01 00:00:00 UTC.
const START: i64 = 1_772_323_200;
const NAMESPACES: usize = 300;

fn history(directory: &Path, pods: usize) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut out = std::io::BufWriter::new(file.as_file());
    let mut put = |metric: &str, series: &mut dyn Iterator<Item = (String, f64)>| {
        writeln!(out, "# TYPE {metric} gauge").unwrap();
        for (labels, rate) in series {
            let mut lines = String::new();
            for step in 0..288 {
                let time = START + step * 300 + 7;
                writeln!(
                    lines,
                    "{metric}{{tenant_id=\"{ACCOUNT}\",cluster=\"big\"{labels}}} {rate} {time}"
                )
                .unwrap();
            }
            out.write_all(lines.as_bytes()).unwrap();
        }
    };
    put("cloudtuner_kubecost_cluster_total_cost", &mut [(String::new(), 900.0)].into_iter());
    let namespaces = (0..NAMESPACES).map(|n| (format!(",namespace=\"team-{n}\""), 2.5));
    put("cloudtuner_kubecost_namespace_total_cost", &mut namespaces.into_iter());
    let pods = (0..pods).map(|p| {
        let (namespace, node) = (p % NAMESPACES, p % 500);
        let pod = format!("service-{namespace}-7c5ddbdf54-{p:05}");
        (format!(",namespace=\"team-{namespace}\",pod=\"{pod}\",node=\"node-{node}\""), 0.02)
    });
    put("cloudtuner_kubecost_pod_total_cost", &mut pods.into_iter());
    out.write_all(b"# EOF\n").unwrap();
    drop(out);
    let made = Command::new(promtool())
        .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"])
        .args([file.path(), directory])
        .status()
        .unwrap();
    assert!(made.success());
}

/// Runs the worker; returns seconds, peak MiB and its summary.
fn measure(settings: &[(&str, String)], arguments: &[&str]) -> (f64, f64, serde_json::Value) {
    let started = Instant::now();
    let mut child = worker::command(settings, arguments)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut stdout = child.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || std::io::read_to_string(&mut stdout).unwrap());
    let mut peak_kib = 0.0_f64;
    // The kernel keeps the high-water mark, so that a look now and then is enough.
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let mark = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = mark.and_then(|m| m.trim().trim_end_matches(" kB").parse::<f64>().ok());
        peak_kib = peak_kib.max(kib.unwrap_or(0.0));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let seconds = started.elapsed().as_secs_f64();
    let stdout = reader.join().unwrap();
    let summary = serde_json::from_str(stdout.lines().last().unwrap_or_default()).unwrap();
    (seconds, peak_kib / 1_024.0, summary)
}

#[tokio::main]
async fn main() {
    let pods = std::env::var("PODS").ok().and_then(|n| n.parse().ok()).unwrap_or(25_000);
    let data = tempfile::tempdir().unwrap();
    history(data.path(), pods);
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
        let (seconds, mib, summary) = measure(&settings, &days);
        assert_eq!(summary["exit_code"], 0, "{summary}");
        let (rows, documents) = (&summary["rows_written"], &summary["documents_written"]);
        println!("| {name} | {seconds:.1} | {mib:.0} | {rows} | {documents} |");
    }
}
