//! A server of replies, fixtures, and readers of metrics.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use kubecost_worker::allocation_api::window::parse_rfc3339;
use kubecost_worker::exporter::poller::Poller;
use kubecost_worker::exporter::server::router;
use kubecost_worker::service::access::Access;
use kubecost_worker::service::clock::FixedClock;
use kubecost_worker::service::failure::Hop;
use kubecost_worker::service::metrics::to_text_format;
use kubecost_worker::service::server as http_server;
use kubecost_worker::service::tls;
use kubecost_worker::settings::exporter::SETTINGS;
use kubecost_worker::settings::{ExporterConfig, RawSettings, ReadSettings};
use serde_json::{Map, Value, json};

pub(crate) fn at(text: &str) -> i64 {
    parse_rfc3339(text).unwrap()
}

pub(crate) fn fixture_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// A fixture's bytes, decompressed.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let bytes = std::fs::read(fixture_path(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    if !name.ends_with(".gz") {
        return bytes;
    }
    let mut body = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut body).unwrap();
    body
}

/// The sets of a recorded reply, as JSON.
pub(crate) fn sets(name: &str) -> Vec<Map<String, Value>> {
    let reply: Value = serde_json::from_slice(&fixture(name)).unwrap();
    let sets = reply["data"].as_array().unwrap().clone();
    sets.into_iter().map(|set| set.as_object().unwrap().clone()).collect()
}

/// What a server answers: status, content type, body.
#[derive(Clone, Debug)]
pub(crate) struct Answer(pub(crate) u16, pub(crate) &'static str, pub(crate) Vec<u8>);

impl Answer {
    pub(crate) fn json(body: impl Into<Vec<u8>>) -> Self {
        Self(200, "application/json", body.into())
    }

    pub(crate) fn sets(sets: &[Map<String, Value>]) -> Self {
        Self::json(json!({"code": 200, "status": "success", "data": sets}).to_string())
    }

    pub(crate) fn not_found() -> Self {
        Self(404, "text/plain", b"404 page not found\n".to_vec())
    }
}

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) query: HashMap<String, String>,
    pub(crate) authorization: Option<String>,
    pub(crate) user_agent: String,
}

impl Seen {
    /// Start and end of the window asked for, Unix seconds.
    pub(crate) fn window(&self) -> (i64, i64) {
        let (start, end) = self.query["window"].split_once(',').unwrap();
        (at(start), at(end))
    }
}

type Answering = Arc<dyn Fn(&Seen) -> Answer + Send + Sync>;
type Log = Arc<Mutex<Vec<Seen>>>;

/// A server on loopback that answers what a function says. It ends with the test.
pub(crate) struct Server {
    pub(crate) url: String,
    seen: Log,
}

impl Server {
    pub(crate) async fn start(answering: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let seen = Log::default();
        let answering: Answering = Arc::new(answering);
        let router = Router::new().fallback(answer).with_state((answering, Arc::clone(&seen)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, seen }
    }

    /// An OpenCost: 404 where there is no API.
    pub(crate) async fn opencost(
        answering: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start(
            move |seen| {
                if seen.path == "/allocation" { answering(seen) } else { Answer::not_found() }
            },
        )
        .await
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn answer(
    State((answering, seen)): State<(Answering, Log)>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    let authorization = request.headers().get(header::AUTHORIZATION);
    let user_agent = request.headers()[header::USER_AGENT].to_str().unwrap();
    let this = Seen {
        user_agent: user_agent.to_owned(),
        path: request.uri().path().to_owned(),
        query,
        authorization: authorization.map(|value| value.to_str().unwrap().to_owned()),
    };
    let Answer(status, content_type, body) = answering(&this);
    seen.lock().unwrap().push(this);
    let status = StatusCode::from_u16(status).unwrap();
    (status, [(header::CONTENT_TYPE, content_type)], Bytes::from(body)).into_response()
}

/// Settings for a server; `more` win.
pub(crate) fn config(url: &str, more: &[(&str, &str)]) -> ExporterConfig {
    let least = [
        ("KUBECOST_URL", url),
        ("TENANT_ID", "tenant-1"),
        ("CLUSTER_NAME", "test"),
        ("REQUEST_TIMEOUT", "10s"),
    ];
    let all: Vec<_> = least.iter().chain(more).copied().collect();
    ExporterConfig::validate(RawSettings::of(SETTINGS, &all)).unwrap()
}

/// An exporter whose clock is put by hand.
pub(crate) fn exporter(
    url: &str,
    now: &str,
    more: &[(&str, &str)],
) -> (Arc<Poller>, Arc<FixedClock>) {
    let clock = Arc::new(FixedClock::at(at(now)));
    let poller =
        Poller::new(config(url, more), tls::of_process().clone(), Arc::clone(&clock) as _).unwrap();
    (Arc::new(poller), clock)
}

/// Serves a poller on loopback until the test ends; returns the address and port.
pub(crate) async fn served(poller: &Arc<Poller>, more: &[(&str, &str)]) -> String {
    let loopback = [("LISTEN_ADDR", "127.0.0.1:0")];
    let config = config("http://127.0.0.1:1", &[&loopback, more].concat());
    let server = http_server::Server::bind(&config.serving, Hop::Exporter).await.unwrap();
    let url = server.url();
    let pages = router(Arc::clone(poller), Access::of(&config.metrics_access));
    tokio::spawn(server.run(pages, std::future::pending()));
    url.rsplit('/').next().unwrap().to_owned()
}

/// Values by name and labels without the two that every series has.
pub(crate) type Metrics = BTreeMap<String, f64>;

/// Reads text format 0.0.4: `name{labels}` to value, less `tenant_id` and `cluster`.
pub(crate) fn metrics(text: &str) -> Metrics {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let series = series
                .replace(",currency=\"USD\"", "")
                .replace("tenant_id=\"tenant-1\",cluster=\"test\",", "")
                .replace("{tenant_id=\"tenant-1\",cluster=\"test\"}", "")
                .replace("cloudtuner_kubecost_", "");
            (series, value.parse().unwrap())
        })
        .collect()
}

/// What a scrape of this exporter shows now.
pub(crate) fn scraped(poller: &Poller) -> Metrics {
    metrics(&to_text_format(&poller.view().openmetrics().unwrap()))
}

/// The metrics' values of one name, by the value of the label `namespace`.
pub(crate) fn by_namespace(metrics: &Metrics, name: &str) -> BTreeMap<String, f64> {
    metrics
        .iter()
        .filter_map(|(series, value)| {
            let rest = series.strip_prefix(name)?.strip_prefix("{namespace=\"")?;
            Some((rest.split('"').next()?.to_owned(), *value))
        })
        .collect()
}

pub(crate) fn assert_near(left: f64, right: f64, tolerance: f64) {
    assert!((left - right).abs() <= tolerance, "{left} is not within {tolerance} of {right}");
}

/// Waits until a condition holds, a bounded time.
pub(crate) async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(found) = probe().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("gave up waiting until {what}");
}
