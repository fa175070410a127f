//! The command itself: settings, readiness, metrics, and the end at SIGTERM.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::client::SECRET;

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubecost-worker"));
    command.env_clear().arg("serve");
    command
}

/// A child that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_is_ready_when_its_hops_are_and_ends_at_sigterm() {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", directory.path().join("store.sqlite").display());
    let child = command()
        .env("STORE", store)
        .env("ACCOUNTS", "a-1")
        .env("PROMETHEUS_URL", "http://127.0.0.1:1")
        .env("CLUSTER_SECRET", SECRET)
        .env("METRICS_TOKEN", "t0ken")
        .env("SERVE_ADDR", "127.0.0.1:0")
        .stderr(Stdio::piped())
        .spawn();
    let mut running = Running(child.unwrap());
    let mut lines = BufReader::new(running.0.stderr.take().unwrap()).lines();
    let url = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("serving ")?.1.trim().to_owned()))
        .expect("it logs where it serves");
    let base = url.strip_suffix("/metroculus/v2").unwrap().to_owned();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = |path: &str| client.get(format!("{base}{path}"));
    assert_eq!(get("/healthz").send().await.unwrap().text().await.unwrap(), "ok\n");
    let unready = get("/readyz").send().await.unwrap();
    assert_eq!(unready.status(), 503);
    assert!(unready.text().await.unwrap().contains("query layer"));
    let costs =
        "/metroculus/v2/kubecost_cluster_costs?cloud_account_id=a-1&start_date=0&end_date=1";
    assert_eq!(get(costs).send().await.unwrap().status(), 401);
    assert_eq!(get(costs).header("Secret", SECRET).send().await.unwrap().status(), 200);
    let refused = get("/metrics").send().await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["content-type"]),
        (401, &"application/json".parse().unwrap())
    );
    assert_eq!(refused.headers()["www-authenticate"], "Bearer realm=\"metrics\"");
    let metrics = get("/metrics").bearer_auth("t0ken").send().await.unwrap().text().await.unwrap();
    for status in [200, 401] {
        let labels = format!("page=\"kubecost_cluster_costs\",status=\"{status}\"");
        let series = format!("kubecost_worker_serve_requests_total{{{labels}}} 1\n");
        assert!(metrics.contains(&series), "{metrics}");
    }
    let pid = running.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
}

#[test]
fn a_secret_and_an_address_are_needed() {
    let output = command()
        .env("STORE", "sqlite:x")
        .env("ACCOUNTS", "a")
        .env("PROMETHEUS_URL", "http://127.0.0.1:1")
        .env("SERVE_ADDR", "")
        .env("LEDGER_ADDED", "perhaps")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    for name in ["CLUSTER_SECRET: ", "SERVE_ADDR: ", "LEDGER_ADDED: "] {
        assert!(said.contains(name), "{said}");
    }
}
