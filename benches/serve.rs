//! `serve` under load, beside the same questions put to the query layer itself.
//!
//! `cargo bench --bench serve` makes 90 days of rows of 100 accounts in a real ClickHouse and 36
//! hours of their samples in a real Prometheus, then asks `kubecost_cluster_costs` at a steady 50
//! requests a second, each of another account, for spans of 1, 7, 30 and 90 days that end with the
//! running day, from when `serve` says that it is ready. It prints one table: latencies by span, and
//! those of Prometheus for the running day's costs alone, asked one at a time. Requests begin on time
//! whether or not those before them have ended, so that a slow answer delays no other's clock.
//! `ACCOUNTS` (100), `NAMESPACES` (20 each), `STEP` (60 seconds between samples), `RATE` (50) and
//! `SECONDS` (60) set the size; `WORKER` names another build of the program.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench prints its table and fails by panicking"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use kubecost_worker::service::clock::{Clock, SystemClock};

#[path = "support/many.rs"]
mod many;
#[path = "support/memory.rs"]
mod memory;
#[path = "../tests/it/support/servers.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod servers;
#[path = "../tests/it/support/worker.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod worker;

use many::{BLOCK, Size, number};
use servers::{PrometheusVersion, Server, Stores};

const DAY: i64 = 86_400;
const SPANS: [i64; 4] = [1, 7, 30, 90];
const SECRET: &str = "bench";

/// `serve` while it is asked; it ends with this.
struct Serving {
    child: Child,
    base: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serving {
    fn start(settings: &[(&str, String)]) -> Self {
        let mut child =
            worker::command(settings, &["serve"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let url = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once("serving ")?.1.trim().to_owned()))
            .expect("it logs where it serves");
        // Its log must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, base: url }
    }

    /// Waits until it says that it is ready: before that nobody is sent to it.
    async fn ready(&self) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let base = self.base.trim_end_matches("/metroculus/v2");
        for _ in 0..600 {
            let answer = client.get(format!("{base}/readyz")).send().await.unwrap();
            if answer.status().is_success() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it is not ready after a minute");
    }

    fn peak_mib(&self) -> f64 {
        memory::memory_mib(self.child.id(), memory::PEAK).expect("it runs")
    }
}

/// Rows of past days, as the worker would have written them.
async fn write_rows(stores: &Stores, size: Size, midnight: i64) {
    for (index, id) in size.ids().iter().enumerate() {
        let rows = size.namespaces + 1;
        stores
            .execute(&format!(
                "INSERT INTO expenses (cloud_account_id, resource_id, date, cost, sign, \
                 k8s_namespace) SELECT '{id}', concat('r{index}-', toString(number % {rows})), \
                 toDateTime({midnight} - (intDiv(number, {rows}) + 1) * {DAY}), 0.5, 1, \
                 concat('team-', toString(number % {rows})) FROM numbers({rows} * 90)"
            ))
            .await;
    }
}

fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() as f64 * share) as usize).min(values.len() - 1)]
}

fn line(name: &str, values: &mut [f64]) -> String {
    let (p50, p99) = (percentile(values, 0.5), percentile(values, 0.99));
    let most = percentile(values, 1.0);
    format!("| {name} | {} | {p50:.1} | {p99:.1} | {most:.1} |", values.len())
}

/// Milliseconds of each answer, by span, and how many requests got none.
async fn load(serving: &Serving, size: Size, midnight: i64) -> (BTreeMap<i64, Vec<f64>>, u32) {
    let limit = Duration::from_secs(30);
    let client = reqwest::Client::builder().no_proxy().timeout(limit).build().unwrap();
    let (rate, seconds) = (number("RATE", 50), number("SECONDS", 60));
    let ids = size.ids();
    let begun = Instant::now();
    let mut under_way = tokio::task::JoinSet::new();
    for number in 0..rate * seconds {
        let due = begun + Duration::from_secs_f64(number as f64 / rate as f64);
        tokio::time::sleep_until(due.into()).await;
        // Each account is asked for each span in its turn.
        let days = SPANS[(number + number / ids.len()) % SPANS.len()];
        let question = client
            .get(format!("{}/kubecost_cluster_costs", serving.base))
            .header("Secret", SECRET)
            .query(&[
                ("cloud_account_id", ids[number % ids.len()].clone()),
                ("start_date", (midnight - (days - 1) * DAY).to_string()),
                ("end_date", (midnight + DAY).to_string()),
            ]);
        under_way.spawn(async move {
            let answer = question.send().await.ok()?.error_for_status().ok()?;
            let answer: serde_json::Value =
                serde_json::from_slice(&answer.bytes().await.ok()?).unwrap();
            assert!(answer["total_cost"].as_f64().unwrap() > 0.0, "{answer}");
            Some((days, due.elapsed().as_secs_f64() * 1_000.0))
        });
    }
    let mut by_span: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    let mut refused = 0;
    while let Some(done) = under_way.join_next().await {
        match done.unwrap() {
            Some((days, took)) => by_span.entry(days).or_default().push(took),
            None => refused += 1,
        }
    }
    (by_span, refused)
}

/// Milliseconds of the running day's costs, asked of Prometheus itself.
async fn direct(prometheus: &Server, size: Size, (midnight, now): (i64, i64)) -> Vec<f64> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let minutes = (now - midnight) / 60;
    let mut took = Vec::new();
    for id in size.ids() {
        let begun = Instant::now();
        for metric in ["cluster", "namespace"] {
            let series = format!("cloudtuner_kubecost_{metric}_total_cost{{tenant_id=\"{id}\"}}");
            let query = format!("sum_over_time({series}[{minutes}m:1m])");
            let question = client
                .get(format!("{}/api/v1/query", prometheus.url))
                .query(&[("query", query), ("time", now.to_string())]);
            question.send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
        }
        took.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    took
}

#[tokio::main]
async fn main() {
    let size = Size::or(100, 20);
    let now = SystemClock.now_seconds();
    let midnight = now - now % DAY;
    let data = tempfile::tempdir().unwrap();
    many::write(data.path(), size, midnight - DAY, now - now % BLOCK + BLOCK);
    let arguments = ["--query.max-samples=50000000"];
    let prometheus = servers::prometheus_with(PrometheusVersion::Two, data.path(), &arguments);
    let stores = Stores::new("serve").await;
    let mut settings = stores.settings();
    settings.push(("PROMETHEUS_URL", prometheus.url.clone()));
    settings.push(("ACCOUNTS", size.ids().join(",")));
    settings.push(("CLUSTER_SECRET", SECRET.to_owned()));
    settings.push(("SERVE_ADDR", "127.0.0.1:0".to_owned()));
    worker::run(&settings, &["migrate"]).expect_success();
    write_rows(&stores, size, midnight).await;
    worker::run(&settings, &["run"]).expect_success();
    let mut direct = direct(&prometheus, size, (midnight, now)).await;
    let begun = Instant::now();
    let serving = Serving::start(&settings);
    serving.ready().await;
    println!("ready after {:.1} s", begun.elapsed().as_secs_f64());
    let (mut by_span, refused) = load(&serving, size, midnight).await;
    println!(
        "{} accounts of {} namespaces, {} requests a second for {} s; {refused} got no \
         answer; serve's peak {:.0} MiB\n",
        size.accounts,
        size.namespaces,
        number("RATE", 50),
        number("SECONDS", 60),
        serving.peak_mib()
    );
    println!("| question | n | p50, ms | p99, ms | most, ms |\n|---|--:|--:|--:|--:|");
    println!("{}", line("Prometheus itself, the running day, one at a time", &mut direct));
    for (days, took) in &mut by_span {
        println!("{}", line(&format!("serve, {days} days"), took));
    }
    let mut all: Vec<f64> = by_span.into_values().flatten().collect();
    println!("{}", line("serve, all", &mut all));
    let ratio = percentile(&mut all, 0.5) / percentile(&mut direct, 0.5);
    println!("\nserve's p50 is {ratio:.2} x that of Prometheus itself.");
}
