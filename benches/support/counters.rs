//! What a program and the servers that it asked took: counted by the kernel and by the servers.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::servers::{Server, Stores};

#[path = "cpu.rs"]
mod cpu;
#[path = "memory.rs"]
mod memory;

use cpu::ticks;
use memory::{PEAK, memory_mib};

/// Numbers by their names.
pub(crate) type Counts = BTreeMap<&'static str, f64>;

/// The servers that are looked at.
pub(crate) struct Servers<'a> {
    pub(crate) prometheus: &'a Server,
    pub(crate) stores: &'a Stores,
}

impl Servers<'_> {
    /// All counters as they are.
    pub(crate) async fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        let address = format!("{}/metrics", self.prometheus.url);
        let client = reqwest::Client::builder().no_gzip().build().unwrap();
        let text = client.get(address).send().await.unwrap().text().await.unwrap();
        counts.insert("questions", sum(&text, "prometheus_http_requests_total", "/api/v1/query"));
        counts.insert("samples", samples(self.prometheus));
        let events: Vec<(String, u64)> = self
            .stores
            .client()
            .query("SELECT event, value FROM system.events")
            .fetch_all()
            .await
            .unwrap();
        for (name, event) in [
            ("selects", "SelectQuery"),
            ("inserts", "InsertQuery"),
            ("rows", "InsertedRows"),
            // Each block that is written is a part.
            ("parts", "MergeTreeDataWriterBlocks"),
        ] {
            let found = events.iter().find(|(of, _)| of == event);
            counts.insert(name, found.map_or(0.0, |(_, value)| *value as f64));
        }
        counts.insert("cpu_prometheus", cpu_seconds(self.prometheus.container_id()));
        counts.insert("cpu_clickhouse", cpu_seconds(self.stores.clickhouse.container_id()));
        counts.insert("cpu_mongodb", cpu_seconds(self.stores.mongodb.container_id()));
        counts
    }
}

/// Where Prometheus notes each query.
const QUERY_LOG: &str = "/tmp/queries.log";

/// Has a Prometheus note each query.
pub(crate) async fn note_queries(prometheus: &Server) {
    let config =
        format!("printf 'global:\\n  query_log_file: {QUERY_LOG}\\n' > {PROMETHEUS_CONFIG}");
    in_container(prometheus, &["sh", "-c", &config]);
    let client = reqwest::Client::builder().no_gzip().build().unwrap();
    let reload = client.post(format!("{}/-/reload", prometheus.url)).send().await.unwrap();
    assert!(reload.status().is_success());
}

const PROMETHEUS_CONFIG: &str = "/etc/prometheus/prometheus.yml";

fn in_container(server: &Server, words: &[&str]) -> String {
    let id = server.container_id().expect("a container of this machine");
    let output = Command::new("docker").args(["exec", id]).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// How many samples all queries so far have touched.
fn samples(prometheus: &Server) -> f64 {
    let log = in_container(prometheus, &["cat", QUERY_LOG]);
    if let Ok(path) = std::env::var("QUERY_LOG") {
        std::fs::write(path, &log).unwrap();
    }
    let one = |line: &str| {
        let query: serde_json::Value = serde_json::from_str(line).ok()?;
        query["stats"]["samples"]["totalQueryableSamples"].as_f64()
    };
    log.lines().filter_map(one).sum()
}

/// The sum of the samples of a metric of which a label holds a text.
fn sum(text: &str, metric: &str, part: &str) -> f64 {
    text.lines()
        .filter(|line| line.starts_with(metric) && line.contains(part))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

/// The CPU time of a container's first process; nothing where it is not one of this machine.
fn cpu_seconds(container: Option<&str>) -> f64 {
    let Some(id) = container else { return 0.0 };
    let shown = Command::new("docker").args(["inspect", "-f", "{{.State.Pid}}", id]).output();
    let process = String::from_utf8_lossy(&shown.unwrap().stdout).trim().to_owned();
    ticks(&process, 11) + ticks(&process, 12)
}

/// The address of a container as this machine sees it.
pub(crate) fn container_address(server: &Server) -> String {
    let shown = Command::new("docker")
        .args(["inspect", "-f", "{{.NetworkSettings.IPAddress}}"])
        .arg(server.container_id().expect("a container of this machine"))
        .output();
    String::from_utf8_lossy(&shown.unwrap().stdout).trim().to_owned()
}

/// What a program took.
pub(crate) struct Taken {
    pub(crate) seconds: f64,
    /// CPU time of the program itself, user and system.
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_mib: f64,
    pub(crate) stdout: String,
}

/// Runs a program to its end, which must be a good one.
pub(crate) fn run(command: &mut Command) -> Taken {
    let (started, cpu_before) = (Instant::now(), cpu::of_children());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || std::io::read_to_string(&mut stdout).unwrap());
    let mut peak_mib = 0.0_f64;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        peak_mib = peak_mib.max(memory_mib(child.id(), PEAK).unwrap_or(0.0));
        std::thread::sleep(Duration::from_millis(10));
    };
    let (seconds, cpu_seconds) = (started.elapsed().as_secs_f64(), cpu::of_children() - cpu_before);
    let stdout = reader.join().unwrap();
    assert!(status.success(), "{status}: {stdout}");
    Taken { seconds, cpu_seconds, peak_mib, stdout }
}
