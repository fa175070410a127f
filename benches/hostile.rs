//! Tenants that write what hurts, beside three that pay their bills.
//!
//! `cargo bench --bench hostile` writes floods (30 000 clusters, 300 000 namespaces of a minute, a
//! million series in one minute, names of 70 000 bytes, labels that never stay) into a real
//! Prometheus and puts a proxy before it that fails for certain tenants. For each it runs the
//! worker with its default settings over that tenant and three good ones, on empty stores, and prints
//! a table: when the good ones had all their costs, how long the run took, memory, output, and what
//! the hostile one's day came to. Then all at once; then `schedule` on one core, asked for `/healthz`
//! all the while; then `SIGNALS` (20) runs that are told to end at a moment by chance (`SEED`).
//! It fails where a promise is broken. `WORKER` names another build of the program.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench prints its table and fails by panicking"
)]

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[path = "support/chance.rs"]
mod chance;
#[path = "support/faulty_layer.rs"]
mod faulty_layer;
#[path = "support/flood.rs"]
mod flood;
#[path = "support/memory.rs"]
mod memory;
#[path = "support/number.rs"]
mod number;
#[path = "../tests/it/support/servers.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod servers;
#[path = "support/upstream.rs"]
mod upstream;
#[path = "../tests/it/support/worker.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod worker;

use chance::Chance;
use faulty_layer::Fault;
use flood::{FLOOD_DAY, Flood, GOOD_RATE, NOW, NOW_MINUTES, good_accounts};
use memory::{PEAK, memory_mib};
use number::number;
use servers::{PrometheusVersion, Stores};

/// Within this the good ones have their costs, seconds.
const GOOD_WITHIN: f64 = 60.0;
const MEMORY_MIB: f64 = 512.0;
const OUTPUT_BYTES: usize = 256_000;
/// Within this a signal ends a run, and `/healthz` answers, seconds.
const END_WITHIN: f64 = 10.0;
const HEALTH_WITHIN: f64 = 1.0;
/// A run that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(400);
/// Costs are the source's up to this, USD.
const EXACT: f64 = 1e-5;

type Settings = Vec<(&'static str, String)>;

/// A worker whose output is read as it comes.
struct Running {
    child: Child,
    began: Instant,
    output: Vec<JoinHandle<Vec<u8>>>,
    peak_mib: f64,
}

/// What became of it.
struct Ended {
    seconds: f64,
    peak_mib: f64,
    stdout: String,
    stderr: String,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let output = vec![read_all(out), read_all(err)];
        Self { child, began: Instant::now(), output, peak_mib: 0.0 }
    }

    fn signal(&self) {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(killed.unwrap().success());
    }

    /// Whether it has ended; its greatest size is noted meanwhile.
    fn has_ended(&mut self) -> bool {
        if self.child.try_wait().unwrap().is_some() {
            return true;
        }
        assert!(self.began.elapsed() < PATIENCE, "it hangs");
        let peak_mib = memory_mib(self.child.id(), PEAK).unwrap_or(0.0);
        self.peak_mib = self.peak_mib.max(peak_mib);
        false
    }

    /// Waits for its end.
    async fn end(mut self) -> Ended {
        while !self.has_ended() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let seconds = self.began.elapsed().as_secs_f64();
        let texts = self.output.into_iter().map(|reader| reader.join().unwrap());
        let mut texts = texts.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let (stdout, stderr) = (texts.next().unwrap(), texts.next().unwrap());
        assert!(!stderr.contains("panicked"), "{stderr}");
        Ended { seconds, peak_mib: self.peak_mib, stdout, stderr }
    }
}

fn read_all(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).unwrap();
        all
    })
}

/// The query layer that all runs ask.
struct Bench {
    prometheus_url: String,
}

impl Bench {
    async fn stores(&self, hostile: &[String]) -> (Stores, Settings) {
        let stores = Stores::new("hostile").await;
        let mut settings = stores.settings();
        let accounts: Vec<String> = hostile.iter().cloned().chain(good_accounts()).collect();
        settings.push(("PROMETHEUS_URL", self.prometheus_url.clone()));
        settings.push(("ACCOUNTS", accounts.join(",")));
        worker::run(&settings, &["migrate"]).expect_success();
        (stores, settings)
    }

    /// A run beside these; prints a row of the table.
    async fn row(&self, name: &str, hostile: &[String]) -> f64 {
        let (stores, settings) = self.stores(hostile).await;
        let mut running = Running::start(worker::command(&settings, &["--at", NOW, "run"]));
        let mut good_after = None;
        loop {
            let has_ended = running.has_ended();
            if good_after.is_none() && are_whole(&stores).await {
                good_after = Some(running.began.elapsed().as_secs_f64());
            }
            if has_ended {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let ended = running.end().await;
        let good_after = good_after.unwrap_or_else(|| panic!("{name}: {}", ended.stdout));
        let bytes = ended.stdout.len() + ended.stderr.len();
        let causes = causes(&ended.stdout, hostile);
        println!(
            "| {name} | {good_after:.1} | {:.1} | {:.0} | {:.1} | {} |",
            ended.seconds,
            ended.peak_mib,
            bytes as f64 / 1e3,
            causes.first().map_or("its costs are whole", String::as_str),
        );
        assert!(good_after <= GOOD_WITHIN, "{name}: the good had their costs after {good_after} s");
        assert!(ended.peak_mib <= MEMORY_MIB, "{name}: {} MiB", ended.peak_mib);
        let lines = ended.stdout.lines().chain(ended.stderr.lines());
        let longest = lines.max_by_key(|line| line.len()).unwrap_or_default();
        let longest: String = longest.chars().take(2_000).collect();
        assert!(bytes <= OUTPUT_BYTES, "{name}: {bytes} bytes of output, as {longest}");
        for account in hostile {
            nothing_by_half(&stores, account).await;
        }
        ended.seconds
    }
}

/// Whether the three good accounts have both days' costs.
async fn are_whole(stores: &Stores) -> bool {
    let expected = [24.0 * GOOD_RATE, NOW_MINUTES / 60.0 * GOOD_RATE];
    for account in good_accounts() {
        let of_days = of_days(stores, &account).await;
        let is_whole = of_days.len() == expected.len()
            && of_days.iter().zip(expected).all(|(day, expected)| (day.1 - expected).abs() < EXACT);
        if !is_whole {
            return false;
        }
    }
    true
}

/// Days with rows, and their sums.
async fn of_days(stores: &Stores, account: &str) -> Vec<(u32, f64)> {
    let sql = "SELECT toUInt32(date) AS day, sum(cost * sign) FROM expenses \
               WHERE cloud_account_id = ? GROUP BY day ORDER BY day";
    stores.client().query(sql).bind(account).fetch_all().await.unwrap()
}

/// Of the day of the flood there is either nothing or, where its status says so, all.
async fn nothing_by_half(stores: &Stores, account: &str) {
    use mongodb::bson::{Document, doc};
    let mongo = stores.mongo().await;
    let statuses = mongo.collection::<Document>("kubecost_account_day");
    let filter = doc! {"_id": format!("{account}:2026-03-01")};
    let status = statuses.find_one(filter).await.unwrap();
    let state = status.as_ref().and_then(|status| status.get_str("state").ok());
    let rows = of_days(stores, account).await;
    let of_flood = rows.iter().any(|(day, _)| i64::from(*day) == FLOOD_DAY);
    assert!(state != Some("ok") || of_flood, "{account}: ok without a row");
    if state == Some("failed") || state.is_none() {
        assert!(!of_flood, "{account}: rows of a day that failed");
        let documents = mongo.collection::<Document>("cloud_resource");
        let filter = doc! {"cloud_account_id": account};
        let written = documents.count_documents(filter).await.unwrap();
        assert!(written == 0 || rows.len() == 1, "{account}: documents of a day that failed");
    }
}

/// Why each hostile account failed, as the run says.
fn causes(stdout: &str, hostile: &[String]) -> Vec<String> {
    let line = stdout.lines().last().unwrap_or_default();
    let summary: serde_json::Value = serde_json::from_str(line).expect("a summary");
    let accounts = summary["accounts"].as_array().unwrap();
    let of_hostile =
        accounts.iter().filter(|account| hostile.iter().any(|id| account["id"] == id.as_str()));
    let causes = of_hostile.filter_map(|account| {
        let days = account["days"].as_array().into_iter().flatten();
        let mut said = days.filter_map(|day| day["cause"].as_str());
        let failure = account["failure"]["what"].as_str();
        // The newest day comes first, the flood's is the last.
        let said = said.rfind(|cause| !cause.is_empty());
        let cause = failure.or(said)?;
        Some(cause.chars().take(110).collect())
    });
    causes.collect()
}

/// The slowest answer of `/healthz` while `schedule` works on one core, seconds.
async fn slowest_health(bench: &Bench, hostile: &[String]) -> (f64, u32) {
    let (stores, mut settings) = bench.stores(hostile).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    settings.push(("METRICS_ADDR", format!("127.0.0.1:{port}")));
    let mut command = Command::new("taskset");
    command.env_clear().args(["-c", "0"]).arg(worker::program());
    command.args(["schedule", "--cron", "* * * * * *", "--at", NOW]);
    command.envs(settings.iter().map(|(name, value)| (*name, value)));
    let mut running = Running::start(command);
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    let asking = tokio::spawn(async move {
        let client = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        let (mut slowest, mut answers) = (0.0_f64, 0);
        while !asked.load(Ordering::SeqCst) {
            let began = Instant::now();
            let health = format!("http://127.0.0.1:{port}/healthz");
            let answered = client.get(health).send().await.is_ok_and(|a| a.status().is_success());
            // Before the first answer it may not listen yet.
            if answered {
                answers += 1;
                slowest = slowest.max(began.elapsed().as_secs_f64());
            } else {
                assert_eq!(answers, 0, "it stopped answering");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        (slowest, answers)
    });
    while !are_whole(&stores).await || running.began.elapsed() < Duration::from_secs(60) {
        assert!(!running.has_ended(), "schedule ended");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    stop.store(true, Ordering::SeqCst);
    let found = asking.await.unwrap();
    running.signal();
    running.end().await;
    found
}

/// Runs that are told to end at moments by chance; the one after them has all.
async fn signals(bench: &Bench, hostile: &[String], longest_seconds: f64) {
    let mut chance = Chance(number("SEED", 1) as u64);
    let (stores, settings) = bench.stores(hostile).await;
    let (mut slowest, mut in_time) = (0.0_f64, 0);
    let signals = number("SIGNALS", 20);
    for _ in 0..signals {
        let mut running = Running::start(worker::command(&settings, &["--at", NOW, "run"]));
        tokio::time::sleep(Duration::from_secs_f64(chance.share() * longest_seconds)).await;
        if running.has_ended() {
            running.end().await;
            continue;
        }
        in_time += 1;
        running.signal();
        let signalled = Instant::now();
        running.end().await;
        slowest = slowest.max(signalled.elapsed().as_secs_f64());
        assert!(slowest <= END_WITHIN, "a run ended {slowest} s after the signal");
    }
    let ended = Running::start(worker::command(&settings, &["--at", NOW, "run"])).end().await;
    assert!(are_whole(&stores).await, "{}", ended.stdout);
    println!(
        "\n{in_time} of {signals} runs were told to end; the slowest did after {slowest:.2} s."
    );
    println!("The run after them had all costs of the good ones.");
}

#[tokio::main]
async fn main() {
    let data = tempfile::tempdir().unwrap();
    let of_layer: Vec<String> = Fault::ALL.iter().map(|fault| fault.account()).collect();
    flood::write(data.path(), &of_layer);
    let prometheus = servers::prometheus(PrometheusVersion::Two, data.path());
    let bench = Bench { prometheus_url: faulty_layer::start(&prometheus.url).await };
    println!(
        "| hostile tenant, beside three good accounts | good accounts complete after, s | run, s | peak, MiB | output, kB | reported cause |"
    );
    println!("|---|--:|--:|--:|--:|---|");
    for flood in Flood::ALL {
        bench.row(flood.name(), &[flood.account()]).await;
    }
    for fault in Fault::ALL {
        bench.row(fault.name(), &[fault.account()]).await;
    }
    let all: Vec<String> = Flood::ALL.iter().map(|flood| flood.account()).chain(of_layer).collect();
    let longest_seconds = bench.row("all of them at once", &all).await;
    let (slowest, answers) = slowest_health(&bench, &all).await;
    println!(
        "\n`schedule` on one core beside all of them: the slowest of {answers} answers of /healthz took {slowest:.3} s."
    );
    assert!(slowest <= HEALTH_WITHIN, "/healthz answered after {slowest} s");
    signals(&bench, &all, longest_seconds).await;
}
