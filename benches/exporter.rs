//! What a scrape costs: `cargo bench --bench exporter` prints a table for 100 namespaces and for
//! 10 000 series. It runs the program itself over a server that answers generated rows.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on must fail")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Query;
use axum::http::header;
use axum::response::IntoResponse;

use memory::{PEAK, memory_mib};

#[path = "support/memory.rs"]
mod memory;

/// One case of the table.
struct Case {
    name: &'static str,
    namespaces: usize,
    pods: usize,
    /// Whether the scraper asks for gzip, as Prometheus does.
    gzip: bool,
}

const CASES: [Case; 4] = [
    Case { name: "100 series", namespaces: 13, pods: 0, gzip: true },
    Case { name: "100 namespaces", namespaces: 100, pods: 0, gzip: true },
    Case { name: "10 000 series", namespaces: 100, pods: 3_097, gzip: false },
    Case { name: "10 000 series, gzip", namespaces: 100, pods: 3_097, gzip: true },
];
const SCRAPES: usize = 200;
/// How long the program is watched at its usual pace: a poll and a scrape every second stand for
/// a minute each.
const WATCHED: Duration = Duration::from_secs(20);
/// Clock ticks of `/proc/PID/stat` in a second; fixed by the Linux ABI.
const TICKS_PER_SECOND: f64 = 100.0;

fn main() {
    // Run by `cargo test --benches` it is only to compile.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!(
        "{:<20} {:>7} {:>9} {:>9} {:>9} {:>9} {:>9} {:>13}",
        "case", "series", "bytes", "p50 ms", "p99 ms", "RSS MiB", "peak MiB", "CPU ms/minute"
    );
    for case in CASES {
        let url = runtime.block_on(serve(&case));
        run(&case, &url);
    }
}

/// A server of generated rows, on loopback.
async fn serve(case: &Case) -> String {
    let namespaces = rows(case.namespaces, |at| format!("namespace-{at}"));
    let pods =
        rows(case.pods, |at| format!("namespace-{}/deployment-{at}-7c9d8f6b5-x2x4z", at % 100));
    let router = Router::new().route(
        "/allocation",
        axum::routing::get(move |Query(query): Query<HashMap<String, String>>| {
            let rows = if query["aggregate"] == "namespace" { &namespaces } else { &pods };
            let (start, end) = query["window"].split_once(',').unwrap();
            let body = rows.replace("START", start).replace("END", end);
            async move { ([(header::CONTENT_TYPE, "application/json")], body).into_response() }
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// A reply of `count` rows as large as a server's own.
fn rows(count: usize, key: impl Fn(usize) -> String) -> String {
    let text = include_str!("row.json");
    let mut out = String::from("{\"code\":200,\"status\":\"success\",\"data\":[{");
    for at in 0..count {
        if at > 0 {
            out.push(',');
        }
        let row = text.trim().replace("COST", &format!("{}.{:05}", at % 7, at));
        out.push_str(&format!("\"{}\":{row}", key(at)));
    }
    out.push_str("}]}");
    out
}

fn run(case: &Case, url: &str) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kubecost-allocation-exporter"))
        .env_clear()
        .env("KUBECOST_URL", url)
        .env("TENANT_ID", "d603f6e0-aff4-4e89-962d-c56f16b69404")
        .env("CLUSTER_NAME", "bench")
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .env("SCRAPE_INTERVAL", "1")
        .env("POD_METRICS", if case.pods > 0 { "true" } else { "false" })
        .env("MAX_SERIES", "10009")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut line =
        |part: &str| log.by_ref().map(Result::unwrap).find(|l| l.contains(part)).unwrap();
    let serving = line("serving ");
    let address = serving.split("http://").last().unwrap();
    let address = address.split("/metrics").next().unwrap().to_owned();
    line("exported ");
    std::thread::spawn(move || log.for_each(drop));
    let (bytes, _) = scrape(&address, case.gzip);
    let mut times: Vec<f64> = (0..SCRAPES)
        .map(|_| {
            let started = Instant::now();
            scrape(&address, case.gzip);
            started.elapsed().as_secs_f64() * 1_000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let before = cpu_seconds(&child);
    let watched = Instant::now();
    while watched.elapsed() < WATCHED {
        scrape(&address, case.gzip);
        std::thread::sleep(Duration::from_secs(1));
    }
    let cpu_ms = (cpu_seconds(&child) - before) * 1_000.0 / WATCHED.as_secs_f64();
    let (_, plain) = scrape(&address, false);
    let series = plain.lines().filter(|l| l.starts_with("cloudtuner_")).count();
    println!(
        "{:<20} {series:>7} {bytes:>9} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {cpu_ms:>13.1}",
        case.name,
        times[SCRAPES / 2],
        times[SCRAPES * 99 / 100],
        memory_mib(child.id(), "VmRSS:").unwrap(),
        memory_mib(child.id(), PEAK).unwrap(),
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

/// One scrape over a connection of its own: bytes sent, and the text unless compressed.
fn scrape(address: &str, gzip: bool) -> (usize, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let encoding = if gzip { "gzip" } else { "identity" };
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept-Encoding: {encoding}\r\n\
         Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n\r\n"
    )
    .unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    assert!(reply.starts_with(b"HTTP/1.1 200"));
    let text = String::from_utf8_lossy(&reply).into_owned();
    (reply.len(), if gzip { String::new() } else { text })
}

fn cpu_seconds(child: &Child) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    // Fields 14 and 15, counted from 1 and with the two before the name's bracket gone.
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}
