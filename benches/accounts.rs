//! Many accounts: the worker beside a straight Python worker, on the same servers and samples.
//!
//! `cargo bench --bench accounts` makes 36 hours of history in a real Prometheus, then runs both
//! programs, each on a database of its own: a first run (yesterday and today are due, nothing is
//! stored), one that finds nothing changed, and one five minutes later, when every cost of the running
//! day is another. It prints one table and what of it there are goals for. CPU of servers is that of
//! their processes; questions and samples are counted by Prometheus, statements and rows by
//! ClickHouse. Both programs end with the same sum of costs, which is asserted. The straight worker
//! asks two questions an account and day, one account after the other; it has no lease, no status and
//! no check of what was stored.
//!
//! `ACCOUNTS` (200), `NAMESPACES` (20 each) and `STEP` (60 seconds between samples) set the size;
//! `WORKER` names another build of the program; `REFERENCE=0` leaves the Python worker out.
//! `HISTORY=DIRECTORY` keeps the samples there. `SIGNALS` (0) first runs on empty stores are told to
//! end at moments by chance (`SEED`), and the run after them must have all costs.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench prints its table and fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[path = "support/chance.rs"]
mod chance;
#[path = "support/counters.rs"]
mod counters;
#[path = "support/goals.rs"]
mod goals;
#[path = "support/many.rs"]
mod many;
#[path = "support/performance.rs"]
mod performance;
#[path = "../tests/it/support/servers.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod servers;
#[path = "../tests/it/support/worker.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod worker;

use chance::Chance;
use counters::{Counts, Servers, container_address};
use goals::goals_table;
use many::{BLOCK, Size, number};
use performance::{Line, TABLE_HEAD, of_a_day};
use servers::{PrometheusVersion, Server, Stores};

/// 2026-03-02 00:00:00 UTC: the day before it is whole.
const MIDNIGHT: i64 = 1_772_409_600;
const HISTORY_START: i64 = MIDNIGHT - 86_400;
const HISTORY_END: i64 = MIDNIGHT + 2 * BLOCK;
/// 11:55, and five minutes later: there are no samples of the future.
const NOW: i64 = HISTORY_END - 300;
const RUNS: [(&str, i64, &str); 3] = [
    ("first", NOW, "2026-03-02T11:55:00Z"),
    ("nothing changed", NOW, "2026-03-02T11:55:00Z"),
    ("five minutes later", NOW + 300, "2026-03-02T12:00:00Z"),
];
/// A first run gets SIGTERM at a moment within this time.
const SIGNAL_WITHIN_SECONDS: f64 = 30.0;
/// A run that got SIGTERM should end within this time.
const END_WITHIN_SECONDS: f64 = 10.0;
const PACKAGES: [&str; 3] = ["requests", "pymongo", "clickhouse-driver"];

#[tokio::main]
async fn main() {
    let size = Size::or(200, 20);
    let made = tempfile::tempdir().unwrap();
    let data = std::env::var("HISTORY").map_or(made.path().to_path_buf(), PathBuf::from);
    if !data.exists() || std::fs::read_dir(&data).unwrap().next().is_none() {
        std::fs::create_dir_all(&data).unwrap();
        many::write(&data, size, HISTORY_START, HISTORY_END);
    }
    let arguments = ["--query.max-samples=50000000"];
    let prometheus = servers::prometheus_with(PrometheusVersion::Two, &data, &arguments);
    counters::note_queries(&prometheus).await;
    println!("{TABLE_HEAD}");
    let (mut lines, sums) = run_worker(&prometheus, size).await;
    if number("REFERENCE", 1) == 1 {
        let (of_reference, others) = run_reference(&prometheus, size).await;
        // Both add up the same samples; this program rounds each cost to 2^-24 USD.
        for (own, other) in sums.iter().zip(&others) {
            assert!((own - other).abs() < 1e-4 * size.accounts as f64, "{own} and {other} USD");
        }
        lines.extend(of_reference);
    }
    println!("\n{}\n", of_a_day(&lines));
    let mut goals = performance::goals(size, &lines);
    if number("SIGNALS", 0) > 0 {
        let slowest = slowest_end(&prometheus, size, sums[0]).await;
        goals.push((
            "first runs that get SIGTERM: s until the slowest has ended",
            END_WITHIN_SECONDS,
            slowest,
        ));
    }
    println!("{}", goals_table(&goals));
}

/// How long after SIGTERM the slowest of some first runs ended, seconds. The run after them must
/// have this sum of costs.
async fn slowest_end(prometheus: &Server, size: Size, sum_usd: f64) -> f64 {
    let stores = Stores::new("signals").await;
    let settings = settings(prometheus, size, &stores);
    let (_, _, at) = RUNS[0];
    let mut chance = Chance(number("SEED", 1) as u64);
    let mut slowest = 0.0_f64;
    for _ in 0..number("SIGNALS", 0) {
        let mut command = worker::command(&settings, &["--at", at, "run"]);
        let running = command.stdout(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(Duration::from_secs_f64(chance.share() * SIGNAL_WITHIN_SECONDS)).await;
        slowest = slowest.max(end_by_signal(running));
    }
    counters::run(&mut worker::command(&settings, &["--at", at, "run"]));
    let ended_usd = ledger_sum(&stores).await;
    assert_eq!(ended_usd.to_bits(), sum_usd.to_bits(), "{ended_usd} and {sum_usd} USD");
    slowest
}

/// Tells a run to end. Returns how many seconds later it had.
fn end_by_signal(mut run: Child) -> f64 {
    let killed = Command::new("kill").args(["-TERM", &run.id().to_string()]).status();
    assert!(killed.unwrap().success());
    let signalled = Instant::now();
    assert!(run.wait().unwrap().success());
    signalled.elapsed().as_secs_f64()
}

fn settings(prometheus: &Server, size: Size, stores: &Stores) -> Vec<(&'static str, String)> {
    let mut settings = stores.settings();
    settings.push(("PROMETHEUS_URL", prometheus.url.clone()));
    settings.push(("ACCOUNTS", size.ids().join(",")));
    settings.push(("RUST_LOG", std::env::var("RUST_LOG").unwrap_or("error".to_owned())));
    worker::run(&settings, &["migrate"]).expect_success();
    settings
}

/// Returns what each run took, and the ledger's sum after it.
async fn run_worker(prometheus: &Server, size: Size) -> (Vec<Line>, Vec<f64>) {
    let stores = Stores::new("accounts").await;
    let servers = Servers { prometheus, stores: &stores };
    let settings = settings(prometheus, size, &stores);
    let (mut lines, mut sums) = (Vec::new(), Vec::new());
    for (name, _, at) in RUNS {
        let before = servers.counts().await;
        let taken = counters::run(&mut worker::command(&settings, &["--at", at, "run"]));
        let summary = taken.stdout.lines().last().unwrap_or_default();
        let summary: serde_json::Value = serde_json::from_str(summary).unwrap();
        let of_accounts = summary["accounts"].as_array().unwrap().iter();
        let days = of_accounts.flat_map(|account| account["days"].as_array().unwrap());
        let documents: u64 = days.filter_map(|day| day["documents_written"].as_u64()).sum();
        let counts = more(&before, &servers.counts().await);
        let line = Line { program: "worker", run: name, taken, counts, documents: Some(documents) };
        println!("{}", line.row());
        lines.push(line);
        sums.push(ledger_sum(&stores).await);
    }
    (lines, sums)
}

/// Returns what each run took, and the ledger's sum after it.
async fn run_reference(prometheus: &Server, size: Size) -> (Vec<Line>, Vec<f64>) {
    let python = python();
    let stores = Stores::new("reference").await;
    let servers = Servers { prometheus, stores: &stores };
    worker::run(&stores.settings(), &["migrate"]).expect_success();
    let script = servers::root().join("benches/reference/worker.py");
    let clickhouse = format!("{}:9000", container_address(&stores.clickhouse));
    let (mut lines, mut sums) = (Vec::new(), Vec::new());
    for (name, now, _) in RUNS {
        let before = servers.counts().await;
        let mut command = Command::new(&python);
        command.arg(&script).arg(now.to_string()).args([&prometheus.url, &stores.mongodb.url]);
        command.args([&clickhouse, &stores.database]).args(size.ids());
        let taken = counters::run(&mut command);
        let counts = more(&before, &servers.counts().await);
        let line = Line { program: "python", run: name, taken, counts, documents: None };
        println!("{}", line.row());
        lines.push(line);
        sums.push(ledger_sum(&stores).await);
    }
    (lines, sums)
}

/// A Python that has the reference's packages, made once.
fn python() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reference");
    let python = directory.join("bin/python");
    if !python.exists() {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&directory).status();
        assert!(made.unwrap().success());
    }
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let installed = Command::new(&python).args(pip).args(PACKAGES).status();
    assert!(installed.unwrap().success());
    python
}

async fn ledger_sum(stores: &Stores) -> f64 {
    let query = stores.client().query("SELECT sum(cost * sign) FROM expenses");
    query.fetch_one::<f64>().await.unwrap()
}

/// What was counted between two looks.
fn more(before: &Counts, after: &Counts) -> Counts {
    after.iter().map(|(name, count)| (*name, count - before[name])).collect()
}
