//! The pages: formats, compression, readiness, and what `promtool` thinks of the text.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use kubecost_worker::exporter::poller::Poller;

use crate::support::{Answer, Server, exporter, fixture, metrics, served};

async fn recorded() -> (Arc<Poller>, Server) {
    let server = Server::opencost(|seen| {
        let pods = seen.query["aggregate"] == "namespace,pod";
        let file = if pods { "hour16-namespace+pod-idle" } else { "hour16-namespace-idle" };
        Answer::json(fixture(&format!("opencost-run/alloc/{file}.json.gz")))
    })
    .await;
    let settings = [("POD_METRICS", "true"), ("POD_LABELS", "node,service")];
    let (poller, _) = exporter(&server.url, "2026-11-20T17:05:00Z", &settings);
    (poller, server)
}

/// `promtool check metrics` over this text.
pub(crate) fn check_with_promtool(text: &str) {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool must be installed (package prometheus)");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}

#[tokio::test]
async fn promtool_finds_nothing_to_say() {
    let (poller, _server) = recorded().await;
    let text = |poller: &Poller| {
        kubecost_worker::service::metrics::to_text_format(&poller.view().openmetrics().unwrap())
    };
    check_with_promtool(&text(&poller));
    poller.poll().await;
    let full = text(&poller);
    assert!(full.contains("pod_total_cost{") && full.contains("service=\""), "{full}");
    check_with_promtool(&full);
}

#[tokio::test]
async fn the_pages_answer_in_the_format_asked_for() {
    let (poller, _server) = recorded().await;
    let url = format!("http://{}", served(&poller, &[]).await);
    let client = reqwest::Client::builder().no_proxy().gzip(false).build().unwrap();
    let get = async |path: &str, accept: &str, encoding: &str| {
        let asking = client.get(format!("{url}{path}")).header("accept", accept);
        asking.header("accept-encoding", encoding).send().await.unwrap()
    };
    assert_eq!(get("/readyz", "*/*", "identity").await.status(), 503);
    assert_eq!(get("/healthz", "*/*", "identity").await.status(), 200);
    poller.poll().await;
    assert_eq!(get("/readyz", "*/*", "identity").await.status(), 200);
    let index = get("/", "text/html", "identity").await.text().await.unwrap();
    assert!(index.contains("href=\"/metrics\""), "{index}");

    let plain = get("/metrics", "*/*", "identity").await;
    assert_eq!(plain.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let plain = plain.text().await.unwrap();
    assert!(!plain.contains("# EOF"));
    assert!(plain.contains("# TYPE cloudtuner_kubecost_exporter_scrape_errors_total counter"));

    let open = get("/metrics", "application/openmetrics-text;version=1.0.0", "identity").await;
    let wanted = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(open.headers()["content-type"], wanted);
    let open = open.text().await.unwrap();
    assert!(open.ends_with("# EOF\n"));
    let series = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(series(&open), series(&plain));

    let zipped = get("/metrics", "*/*", "gzip").await;
    assert_eq!(zipped.headers()["content-encoding"], "gzip");
    let bytes = zipped.bytes().await.unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
    assert_eq!(metrics(&text).len(), series(&plain));
    assert!(bytes.len() < plain.len() / 4);
}

#[tokio::test]
async fn metrics_are_shown_to_who_has_the_credentials_and_probes_need_none() {
    let (poller, _server) = recorded().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let basic = [("METRICS_USER", "me"), ("METRICS_PASSWORD", "hush")];
    let url = format!("http://{}", served(&poller, &basic).await);
    let get = |path: &str| client.get(format!("{url}{path}"));
    let refused = get("/metrics").send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.headers()["www-authenticate"], "Basic realm=\"metrics\"");
    assert!(!refused.text().await.unwrap().contains("cloudtuner_"));
    for (password, status) in [("hush", 200), ("hush!", 401)] {
        let asked = get("/metrics").basic_auth("me", Some(password)).send().await.unwrap();
        assert_eq!(asked.status(), status, "{password}");
    }
    assert_eq!(get("/metrics").bearer_auth("hush").send().await.unwrap().status(), 401);
    assert_eq!(get("/healthz").send().await.unwrap().status(), 200);

    let url = format!("http://{}", served(&poller, &[("METRICS_TOKEN", "t0ken")]).await);
    let ask = async |token: &str| {
        let asked = client.get(format!("{url}/metrics")).bearer_auth(token).send().await;
        asked.unwrap().status()
    };
    assert_eq!((ask("t0ken").await.as_u16(), ask("t0ke").await.as_u16()), (200, 401));
}
