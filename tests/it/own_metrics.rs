//! The worker's own metrics where they are read: in a file, at a Pushgateway, from `schedule`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};

use crate::support::metrics::History;
use crate::support::servers::{PrometheusVersion, Server, prometheus, promtool};
use crate::support::worker::{command, run};

const A: &str = "aaaaaaaa-0000-0000-0000-00000000000a";
/// 2026-03-01 00:00:00 UTC; the runs are at 12:00.
const START: i64 = 1_772_323_200;
const AT: &str = "2026-03-01T12:00:00Z";
const AT_SECONDS: i64 = START + 12 * 3_600;

/// A Prometheus with twelve hours of an account, and a directory for what a test leaves.
fn source() -> (Server, tempfile::TempDir) {
    let data = tempfile::tempdir().unwrap();
    let mut history = History::default();
    for (level, more, usd) in [("cluster", "", 10.0), ("namespace", ",namespace=\"shop\"", 6.0)] {
        let labels = format!("tenant_id=\"{A}\",cluster=\"prod\"{more}");
        let metric = format!("cloudtuner_kubecost_{level}_total_cost");
        history.every_minute(&metric, &labels, 7, (START, AT_SECONDS), |_| Some(usd));
    }
    history.write_blocks(data.path());
    (prometheus(PrometheusVersion::Two, data.path()), data)
}

fn settings(prometheus: &str, directory: &tempfile::TempDir) -> Vec<(&'static str, String)> {
    vec![
        ("PROMETHEUS_URL", prometheus.to_owned()),
        ("ACCOUNTS", A.to_owned()),
        ("STORE", format!("sqlite:{}", directory.path().join("costs.sqlite").display())),
    ]
}

fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(s, _)| s == series));
    line.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

/// `promtool check metrics` has nothing to say.
fn assert_clean(text: &str) {
    let mut child = Command::new(promtool())
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let checked = child.wait_with_output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&checked.stdout),
        String::from_utf8_lossy(&checked.stderr)
    );
    // A name that is not ours to choose: alerts of the field know it.
    let known = "expenses_last_insert_time";
    let rest: Vec<&str> = said.lines().filter(|line| !line.contains(known)).collect();
    assert!(rest.is_empty(), "{said}\n{text}");
}

#[test]
fn a_run_leaves_a_file_that_goes_on_from_run_to_run() {
    let (prometheus, _data) = source();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kubecost-worker.prom");
    let mut settings = settings(&prometheus.url, &directory);
    settings.push(("METRICS_TEXTFILE", file.display().to_string()));
    run(&settings, &["run", "--dry-run", "--at", AT]).expect_success();
    assert!(!file.exists(), "a dry run did nothing, so it has nothing to tell");
    run(&settings, &["run", "--at", AT]).expect_success();
    let first = std::fs::read_to_string(&file).unwrap();
    assert_clean(&first);
    let inserted = format!(
        "expenses_last_insert_time{{cloud_account_id=\"{A}\",cloud_account_type=\"kubernetes_cnr\"}}"
    );
    let ended = value(&first, &inserted).unwrap();
    assert!((ended - AT_SECONDS as f64).abs() < 60.0, "{first}");
    let rows = value(&first, "kubecost_worker_rows_written_total").unwrap();
    assert!(rows >= 2.0, "{first}");
    let day = format!("kubecost_worker_day_cost_usd{{cloud_account_id=\"{A}\",day=\"today\"}}");
    assert!((value(&first, &day).unwrap() - 120.0).abs() < 1.0, "{first}");
    // Nothing new is written five minutes of nothing later, and the query layer is gone in the end.
    run(&settings, &["run", "--at", "2026-03-01T12:00:30Z"]).expect_success();
    let second = std::fs::read_to_string(&file).unwrap();
    assert_eq!(value(&second, "kubecost_worker_runs_total{outcome=\"ok\"}"), Some(2.0));
    let success = value(&second, "kubecost_worker_run_last_success_timestamp_seconds").unwrap();
    settings[0].1 = "http://127.0.0.1:1".to_owned();
    let down = run(&settings, &["run", "--at", "2026-03-01T12:05:00Z"]);
    assert_eq!(down.code, 3, "{}", down.stderr);
    let third = std::fs::read_to_string(&file).unwrap();
    assert_clean(&third);
    assert_eq!(value(&third, "kubecost_worker_run_last_success_timestamp_seconds"), Some(success));
    assert_eq!(value(&third, "kubecost_worker_runs_total{outcome=\"down\"}"), Some(1.0));
    let failures = "kubecost_worker_failures_total{hop=\"query-layer\",kind=\"unavailable\"}";
    assert_eq!(value(&third, failures), Some(1.0), "{third}");
    assert_eq!(value(&third, &inserted), value(&second, &inserted));
    let left: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".new")), "{left:?}");
}

#[test]
fn a_run_of_some_accounts_leaves_the_metrics_of_all_as_they_are() {
    let (prometheus, _data) = source();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kubecost-worker.prom");
    let mut settings = settings(&prometheus.url, &directory);
    settings.push(("METRICS_TEXTFILE", file.display().to_string()));
    run(&settings, &["run", "--at", AT]).expect_success();
    let whole = std::fs::read_to_string(&file).unwrap();
    let plan = directory.path().join("plan.json").display().to_string();
    run(&settings, &["plan", "--at", AT, "--out", &plan]).expect_success();
    for narrowed in [&["--account", A][..], &["--plan", &plan]] {
        let ended = run(&settings, &[&["run", "--at", AT], narrowed].concat()).expect_success();
        assert!(ended.stderr.contains("no metrics published"), "{narrowed:?}\n{}", ended.stderr);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), whole, "{narrowed:?}");
    }
    settings[0].1 = "http://127.0.0.1:1".to_owned();
    assert_eq!(run(&settings, &["run", "--at", AT, "--account", A]).code, 3);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), whole, "it failed before it began");
}

/// What a Pushgateway keeps, with the labels of the group added as it does.
#[derive(Clone, Default)]
struct Gateway {
    requests: Arc<Mutex<Vec<(String, String)>>>,
    status: Arc<Mutex<StatusCode>>,
}

async fn gateway(
    State(gateway): State<Gateway>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> (StatusCode, String) {
    let body = String::from_utf8(body.to_vec()).unwrap();
    let mut requests = gateway.requests.lock().unwrap();
    if method == Method::GET {
        let page = requests.last().map(|(_, body)| grouped(body)).unwrap_or_default();
        return (StatusCode::OK, page);
    }
    requests.push((format!("{method} {}", uri.path()), body));
    (*gateway.status.lock().unwrap(), String::new())
}

fn grouped(page: &str) -> String {
    let line = |line: &str| match (line.starts_with('#'), line.split_once('{')) {
        (true, _) => line.to_owned(),
        (_, Some((name, rest))) => format!("{name}{{instance=\"\",job=\"kubecost-worker\",{rest}"),
        _ => line.replacen(' ', "{instance=\"\",job=\"kubecost-worker\"} ", 1),
    };
    page.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_puts_its_metrics_to_a_pushgateway_and_does_not_depend_on_it() {
    let (prometheus, _data) = source();
    let directory = tempfile::tempdir().unwrap();
    let state = Gateway::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(gateway).with_state(state.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let mut settings = settings(&prometheus.url, &directory);
    settings.push(("METRICS_PUSHGATEWAY_URL", format!("http://{address}")));
    for _ in 0..2 {
        run(&settings, &["run", "--at", AT]).expect_success();
    }
    let requests = state.requests.lock().unwrap().clone();
    let paths: Vec<&str> = requests.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["PUT /metrics/job/kubecost-worker"; 2]);
    assert_clean(&requests[1].1);
    let runs = "kubecost_worker_runs_total{outcome=\"ok\"}";
    assert_eq!((value(&requests[0].1, runs), value(&requests[1].1, runs)), (Some(1.0), Some(2.0)));
    *state.status.lock().unwrap() = StatusCode::INTERNAL_SERVER_ERROR;
    let refused = run(&settings, &["run", "--at", AT]).expect_success();
    assert!(refused.stderr.contains("were not pushed"), "{}", refused.stderr);
    settings.last_mut().unwrap().1 = "http://user:hunter2@127.0.0.1:1".to_owned();
    let gone = run(&settings, &["run", "--at", AT]).expect_success();
    assert!(gone.stderr.contains("were not pushed"), "{}", gone.stderr);
    assert!(!gone.stderr.contains("hunter2"), "{}", gone.stderr);
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schedule_serves_what_its_runs_did() {
    let (prometheus, _data) = source();
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(&prometheus.url, &directory);
    settings.push(("METRICS_ADDR", "127.0.0.1:0".to_owned()));
    let arguments = ["schedule", "--cron", "* * * * * *", "--at", AT, "--output", "json"];
    let child =
        command(&settings, &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut running = Running(child.unwrap());
    // The pipe stays open: a log that nobody reads is not what this is about.
    let mut logs = BufReader::new(running.0.stderr.take().unwrap()).lines();
    let url = logs
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("serving ")?.1.trim().to_owned()))
        .expect("schedule says where it serves");
    // Its first line on standard output is the first run's summary.
    let mut summary = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut summary).unwrap();
    assert!(summary.contains("\"exit_code\":0"), "{summary}");
    let client = kubecost_worker::service::http::client(std::time::Duration::from_secs(5)).unwrap();
    let text = client.get(&url).send().await.unwrap().text().await.unwrap();
    assert_clean(&text);
    let state =
        format!("kubecost_worker_account_state{{cloud_account_id=\"{A}\",state=\"partial\"}}");
    assert!(value(&text, &state).is_some(), "{text}");
    assert!(value(&text, "kubecost_worker_run_last_success_timestamp_seconds").is_some(), "{text}");
    let openmetrics =
        client.get(&url).header("Accept", "application/openmetrics-text").send().await.unwrap();
    assert!(openmetrics.text().await.unwrap().ends_with("# EOF\n"));
    let health = client.get(url.replace("/metrics", "/healthz")).send().await.unwrap();
    assert_eq!(health.text().await.unwrap(), "ok\n");
}
