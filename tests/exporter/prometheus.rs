//! A real Prometheus scrapes the exporter, in either format.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use kubecost_worker::exporter::poller::Poller;
use kubecost_worker::exporter::server::router;
use kubecost_worker::service::access::Access;
use kubecost_worker::service::clock::SystemClock;
use kubecost_worker::service::tls;
use serde_json::Value;

use crate::program::any_hour;
use crate::support::{Server, assert_near, config, until};

struct Prometheus {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    fn scraping(targets: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let jobs: String = targets
            .iter()
            .enumerate()
            .map(|(at, target)| {
                format!("  - job_name: job-{at}\n    static_configs: [{{targets: ['{target}']}}]\n")
            })
            .collect();
        let config = format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n{jobs}");
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        // Asked for and given back: Prometheus cannot be asked which port it took.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus must be installed (package prometheus)");
        Self { child, url: format!("http://{address}"), _folder: folder }
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let body = reqwest::get(format!("{}{path}", self.url)).await.ok()?.bytes().await.ok()?;
        serde_json::from_slice(&body).ok()
    }
}

/// Makes every scraper ask for the older format, and notes what was answered.
async fn as_text(
    State(seen): State<Arc<Mutex<Vec<String>>>>,
    mut request: Request,
    next: Next,
) -> Response {
    if seen.lock().unwrap().first().is_some_and(|first| first == "text only") {
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("text/plain"));
    }
    let response = next.run(request).await;
    let format = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    seen.lock().unwrap().push(format);
    response
}

async fn serve(poller: &Arc<Poller>, seen: &Arc<Mutex<Vec<String>>>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let noting = middleware::from_fn_with_state(Arc::clone(seen), as_text);
    let router = router(Arc::clone(poller), Access::Open).layer(noting);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

#[tokio::test]
async fn a_real_prometheus_scrapes_both_formats() {
    let server = Server::opencost(any_hour).await;
    let settings = config(&server.url, &[("POD_METRICS", "true"), ("POD_LABELS", "node")]);
    let poller =
        Arc::new(Poller::new(settings, tls::of_process().clone(), Arc::new(SystemClock)).unwrap());
    poller.poll().await;
    let (open, text) = (Arc::default(), Arc::new(Mutex::new(vec!["text only".to_owned()])));
    let targets = [serve(&poller, &open).await, serve(&poller, &text).await];
    let prometheus = Prometheus::scraping(&[&targets[0], &targets[1]]);
    for job in ["job-0", "job-1"] {
        let query = format!(
            "/api/v1/query?query=sum(cloudtuner_kubecost_namespace_total_cost%7Bjob%3D%22{job}%22%7D)"
        );
        let total = until("the gauges are there", async || {
            let reply = prometheus.get(&query).await?;
            reply["data"]["result"][0]["value"][1].as_str()?.parse::<f64>().ok()
        })
        .await;
        assert_near(total, 2.77375, 1e-5);
    }
    let targets = prometheus.get("/api/v1/targets").await.unwrap();
    for target in targets["data"]["activeTargets"].as_array().unwrap() {
        assert_eq!(
            (target["health"].as_str(), target["lastError"].as_str()),
            (Some("up"), Some(""))
        );
    }
    assert!(open.lock().unwrap()[0].starts_with("application/openmetrics-text"));
    assert!(text.lock().unwrap()[1].starts_with("text/plain; version=0.0.4"));
    let pods =
        prometheus.get("/api/v1/query?query=count(cloudtuner_kubecost_pod_total_cost)").await;
    assert_eq!(pods.unwrap()["data"]["result"][0]["value"][1], "288", "144 pods, two jobs");
}
