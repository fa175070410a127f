//! Schedules and signals: one run at a time, and no further day after a stop.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::bench::{ACCOUNT, Bench, DAY, SECOND, Settings, with};
use crate::support::fake_prometheus::{self, Question, question};
use crate::support::http::{Asked, FakeServer};
use crate::support::worker::{command, run};

const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until a condition holds, or fails the test.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A worker in the background, with its output in files.
struct Background {
    child: Child,
    directory: tempfile::TempDir,
}

impl Background {
    fn start(settings: &Settings, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| Stdio::from(File::create(directory.path().join(name)).unwrap());
        let mut command = command(settings, arguments);
        let child = command.stdout(file("out")).stderr(file("err")).spawn().unwrap();
        Self { child, directory }
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(Path::new(self.directory.path()).join(name)).unwrap()
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// The exit code, within the test's patience.
    fn end(&mut self) -> i32 {
        let mut code = None;
        until("the worker ends", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        let said = self.text("err");
        assert!(!said.contains("panicked"), "{said}");
        code.and_then(|status| status.code()).unwrap_or(-1)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Only of use where the test failed: else it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Holds the query layer's answers back until it is opened.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn pass(&self) {
        let closed = self.0.lock().unwrap();
        drop(self.1.wait_timeout_while(closed, PATIENCE, |open| !*open).unwrap());
    }
}

/// A source that holds back its answer to the `number`th question of this kind.
struct Held {
    server: FakeServer,
    gate: Arc<Gate>,
    asked: Arc<Mutex<u32>>,
    number: u32,
}

impl Held {
    async fn at(kind: Question, number: u32) -> Self {
        let (gate, asked) = (Arc::new(Gate::default()), Arc::new(Mutex::new(0)));
        let (held, count) = (gate.clone(), asked.clone());
        let odd = move |asked: &Asked| {
            if question(asked) == kind {
                *count.lock().unwrap() += 1;
                if *count.lock().unwrap() == number {
                    held.pass();
                }
            }
            None
        };
        Self { server: fake_prometheus::start(odd).await, gate, asked, number }
    }

    fn is_reached(&self) -> bool {
        *self.asked.lock().unwrap() >= self.number
    }

    /// Tells the worker to end while its question is held back, then answers it.
    fn stop(&self, worker: &Background, signal: &str) {
        until("the question is asked", || self.is_reached());
        worker.signal(signal);
        until("the signal is noticed", || worker.text("err").contains("asked to stop"));
        self.gate.open();
    }
}

/// A worker that is told to end while it asks for its first account's costs.
async fn ends_after_the_account(arguments: &[&str], signal: &str, code: i32) {
    let bench = Bench::new("signals").await;
    let held = Held::at(Question::NamespaceCost, 1).await;
    let both = format!("{ACCOUNT},{SECOND}");
    let one_by_one = [("CONCURRENCY", "1"), ("BATCH_ACCOUNTS", "1")];
    let changes = [("ACCOUNTS", both.as_str()), ("CATCH_UP_DAYS", "1")];
    let changes = [&changes[..], &one_by_one].concat();
    let settings = with(&bench.settings(&held.server.url), &changes);
    let mut worker = Background::start(&settings, arguments);
    held.stop(&worker, signal);
    assert_eq!(worker.end(), code, "{}", worker.text("err"));
    let out = worker.text("out");
    let summary: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!((&summary["accounts_done"], &summary["accounts_left"]), (&1.into(), &1.into()));
    assert_eq!(bench.stored().await, (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sigterm_ends_a_run_after_the_account_at_hand() {
    ends_after_the_account(&DAY, "-TERM", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ctrl_c_ends_a_run_after_the_account_at_hand() {
    ends_after_the_account(&DAY, "-INT", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sigterm_ends_a_schedule_after_the_account_at_hand() {
    let each_second = ["schedule", "--cron", "* * * * * *", "--at", "2026-03-01T00:03:00Z"];
    ends_after_the_account(&each_second, "-TERM", 0).await;
}

/// A backfill of four days that is told to end at a question of its second day, and one that goes
/// on after it.
async fn ends_a_backfill((kind, number): (Question, u32), days_done: u64) {
    const FOUR: [&str; 5] = ["backfill", "--from", "2026-03-01", "--to", "2026-03-04"];
    let bench = Bench::new("signals").await;
    let held = Held::at(kind, number).await;
    let settings = bench.settings(&held.server.url);
    let counts = |summary: &Value| {
        ["days_done", "days_skipped", "days_failed", "days_incomplete", "days_left"]
            .map(|name| summary[name].as_u64().unwrap())
    };
    let mut worker = Background::start(&settings, &FOUR);
    held.stop(&worker, "-TERM");
    assert_eq!(worker.end(), 0, "{}", worker.text("err"));
    let out = worker.text("out");
    let summary: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(counts(&summary), [days_done, 0, 0, 0, 4 - days_done], "{summary}");
    assert_eq!(bench.stored().await, (2 * days_done, 2));
    let next = run(&settings, &FOUR).expect_success().summary();
    assert_eq!(counts(&next), [4 - days_done, days_done, 0, 0, 0], "{next}");
    assert_eq!(bench.stored().await, (8, 2));
    let usd = bench.stores.client().query("SELECT sum(cost * sign) FROM expenses");
    assert_eq!(usd.fetch_one::<f64>().await.unwrap(), 4.0 * 240.0);
    let last = run(&settings, &FOUR).expect_success().summary();
    assert_eq!(counts(&last), [0, 4, 0, 0, 0], "{last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sigterm_ends_a_backfill_after_the_day_at_hand_and_the_next_goes_on() {
    ends_a_backfill((Question::NamespaceCost, 2), 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
// The sixth question is one of those before the second day: each day asks for three to five.
async fn sigterm_before_a_day_of_a_backfill_leaves_that_day_and_is_no_failure() {
    ends_a_backfill((Question::Presence, 6), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_schedule_runs_again_and_again_but_never_twice_at_once() {
    let bench = Bench::new("schedule").await;
    let gate = Arc::new(Gate::default());
    let held = gate.clone();
    let odd = move |asked: &Asked| {
        if question(asked) == Question::Alive {
            held.pass();
        }
        None
    };
    let server = fake_prometheus::start(odd).await;
    let settings = with(&bench.settings(&server.url), &[("CATCH_UP_DAYS", "1")]);
    let each_second = ["schedule", "--cron", "* * * * * *", "--output", "json"];
    let mut worker = Background::start(&settings, &each_second);
    // While the first run is held back, the next one's time comes.
    let left_out = "the run before is still going";
    until("a run is left out", || worker.text("err").contains(left_out));
    let alive = || server.asked().iter().filter(|a| question(a) == Question::Alive).count();
    assert!(alive() <= 1 && worker.text("out").is_empty(), "{}", worker.text("out"));
    gate.open();
    until("two runs are done", || worker.text("out").lines().count() >= 2);
    worker.signal("-TERM");
    assert_eq!(worker.end(), 0, "{}", worker.text("err"));
    let out = worker.text("out");
    let runs: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(runs.iter().all(|run| run["exit_code"] == 0), "{out}");
    assert_ne!(runs[0]["run_id"], runs[1]["run_id"]);
    assert!(runs[0]["rows_written"].as_u64() > Some(0), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_waits_ends_at_once() {
    let bench = Bench::new("waits").await;
    let server = fake_prometheus::start(|_| None).await;
    let settings = bench.settings(&server.url);
    let mut worker = Background::start(&settings, &["schedule", "--cron", "0 0 1 1 *"]);
    until("it is scheduled", || worker.text("err").contains("scheduled"));
    worker.signal("-TERM");
    assert_eq!(worker.end(), 0, "{}", worker.text("err"));
    assert!(server.asked().is_empty() && worker.text("out").is_empty());
}
