//! Many accounts by several workers, as the Pods of an Indexed Job are.
//!
//! `cargo bench --bench shards` first spreads 10 000 made-up accounts over shards and prints how
//! even that is, by number and by size. Then it has one process and, on empty stores, four at once
//! work on the same accounts of a real Prometheus, ClickHouse and MongoDB; one of the four is killed
//! in the middle and started again alone once its leases have ended. All sums must be equal.
//! `ACCOUNTS` (1 000), `NAMESPACES` (5 each), `STEP` (60 seconds between samples) set the size;
//! `SIMULATION=1` stops after the first; `WORKER` names another build of the program.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench prints its table and fails by panicking"
)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kubecost_worker::accounts::shard::Shard;
use kubecost_worker::cost::AccountId;

#[path = "support/chance.rs"]
mod chance;
#[path = "support/many.rs"]
mod many;
#[path = "../tests/it/support/servers.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod servers;
#[path = "../tests/it/support/worker.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod worker;

use chance::Chance;
use many::{BLOCK, Size, number};
use servers::{PrometheusVersion, Stores, prometheus_with};

/// 2026-03-02 00:00:00 UTC: the day before it is whole.
const MIDNIGHT: i64 = 1_772_409_600;
const AT: &str = "2026-03-02T11:00:00Z";
const SHARDS: u32 = 4;
/// Memory of its own that each process may have, KiB: what the chart requests for a Pod.
const MEMORY_KIB: u64 = 512 << 10;
/// Leases of a shard that was killed end after this, seconds: the least there is.
const LEASE_SECONDS: u64 = 90;

type Settings = Vec<(&'static str, String)>;

/// Sizes of accounts, most of them small and few very large: a Pareto distribution, always the same.
fn sizes(count: usize) -> Vec<f64> {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        let unit = chance.share();
        (1.0 - unit).powf(-1.0 / 1.5).min(200.0)
    };
    (0..count).map(|_| next()).collect()
}

/// How even shards are: of each number of shards, the least and the most loaded beside the mean.
fn simulate() {
    const ACCOUNTS: usize = 10_000;
    let accounts: Vec<AccountId> = (0..ACCOUNTS)
        .map(|number| AccountId::new(format!("ace00000-0000-4000-8000-{number:012}")).unwrap())
        .collect();
    let sizes = sizes(ACCOUNTS);
    println!(
        "{ACCOUNTS} accounts over shards; sizes by a Pareto distribution, the largest 200 times the least\n"
    );
    println!("| shards | accounts, least to most | load beside the mean, least to most |");
    println!("|--:|--:|--:|");
    for count in [1, 4, 8, 16, 32, 64] {
        let loads: Vec<(usize, f64)> = (0..count)
            .map(|index| {
                let shard = Shard { count, index };
                let own = accounts.iter().zip(&sizes).filter(|(id, _)| shard.has(id));
                own.fold((0, 0.0), |(number, load), (_, size)| (number + 1, load + size))
            })
            .collect();
        let mean = sizes.iter().sum::<f64>() / f64::from(u32::try_from(count).unwrap());
        let number =
            |choose: fn(usize, usize) -> usize| loads.iter().map(|one| one.0).reduce(choose);
        let load = |choose: fn(f64, f64) -> f64| {
            loads.iter().map(|one| one.1 / mean).reduce(choose).unwrap()
        };
        println!(
            "| {count} | {} to {} | {:.2} to {:.2} |",
            number(usize::min).unwrap(),
            number(usize::max).unwrap(),
            load(f64::min),
            load(f64::max),
        );
    }
}

/// A worker that is one of several, with its own bound on memory.
fn start(settings: &Settings, index: u32, count: u32) -> Child {
    let bounded = format!("ulimit -d {MEMORY_KIB}; exec \"$0\" --at {AT} run");
    let mut command = Command::new("bash");
    command.env_clear().args(["-c", &bounded]).arg(worker::program());
    for (name, value) in settings {
        command.env(name, value);
    }
    command.env("SHARD_COUNT", count.to_string()).env("JOB_COMPLETION_INDEX", index.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// What a worker came to: its accounts, and those that were not done.
fn finish(child: Child) -> (usize, usize) {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().last().unwrap_or_default();
    let summary: serde_json::Value = serde_json::from_str(line).unwrap();
    let accounts = summary["accounts"].as_array().unwrap();
    let left = accounts.iter().filter(|one| !one["failure"].is_null()).count();
    (accounts.len(), left)
}

async fn ledger(stores: &Stores) -> (f64, u64) {
    let query = "SELECT sum(cost * sign), count() FROM expenses";
    stores.client().query(query).fetch_one::<(f64, u64)>().await.unwrap()
}

async fn settings_of(stores: &Stores, prometheus_url: &str, size: Size) -> Settings {
    let mut settings = stores.settings();
    settings.push(("PROMETHEUS_URL", prometheus_url.to_owned()));
    settings.push(("ACCOUNTS", size.ids().join(",")));
    settings.push(("LEASE_SECONDS", LEASE_SECONDS.to_string()));
    settings.push(("RUST_LOG", "error".to_owned()));
    worker::run(&settings, &["migrate"]).expect_success();
    settings
}

#[tokio::main]
async fn main() {
    simulate();
    if number("SIMULATION", 0) == 1 {
        return;
    }
    let size = Size::or(1_000, 5);
    let data = tempfile::tempdir().unwrap();
    many::write(data.path(), size, MIDNIGHT - 86_400, MIDNIGHT + 2 * BLOCK);
    let arguments = ["--query.max-samples=50000000"];
    let prometheus = prometheus_with(PrometheusVersion::Two, data.path(), &arguments);
    println!("\n{} accounts of {} namespaces\n", size.accounts, size.namespaces);
    println!("| workers | s | accounts of each |\n|---|--:|---|");

    let alone = Stores::new("shards_alone").await;
    let settings = settings_of(&alone, &prometheus.url, size).await;
    let began = Instant::now();
    let (accounts, left) = finish(start(&settings, 0, 1));
    println!("| 1 | {:.1} | {accounts} |", began.elapsed().as_secs_f64());
    assert_eq!((accounts, left), (size.accounts, 0));

    let stores = Stores::new("shards").await;
    let settings = settings_of(&stores, &prometheus.url, size).await;
    let began = Instant::now();
    let mut children: Vec<Child> =
        (0..SHARDS).map(|index| start(&settings, index, SHARDS)).collect();
    // Once it has written: rows of its accounts are there, and others are under way.
    while ledger(&stores).await.1 == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut killed = children.remove(SHARDS as usize - 1);
    killed.kill().unwrap();
    killed.wait().unwrap();
    let done: Vec<(usize, usize)> = children.into_iter().map(finish).collect();
    let others = began.elapsed().as_secs_f64();
    let numbers: Vec<String> = done.iter().map(|(accounts, _)| accounts.to_string()).collect();
    println!("| {SHARDS} at once, one killed | {others:.1} | {} |", numbers.join(", "));
    assert!(done.iter().all(|(_, left)| *left == 0), "{done:?}");
    tokio::time::sleep(Duration::from_secs(LEASE_SECONDS)).await;
    let again = Instant::now();
    let (accounts, left) = finish(start(&settings, SHARDS - 1, SHARDS));
    println!("| the killed one again, alone | {:.1} | {accounts} |", again.elapsed().as_secs_f64());
    let all: usize = done.iter().map(|(accounts, _)| accounts).sum();
    assert_eq!((all + accounts, left), (size.accounts, 0));
    let (of_one, of_several) = (ledger(&alone).await.0, ledger(&stores).await.0);
    assert_eq!(of_one.to_bits(), of_several.to_bits(), "{of_one} and {of_several} USD");
    println!("\nBoth ledgers have {of_one:.9} USD, to the last bit.");
}
