//! An OpenCost that knows recorded hours, and an exporter that polls it while time goes by.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use axum::extract::{Query, State};
use kubecost_worker::allocation_api::window::parse_rfc3339;
use kubecost_worker::exporter::poller::Poller;
use kubecost_worker::service::clock::FixedClock;
use kubecost_worker::service::metrics::to_text_format;
use kubecost_worker::service::tls;
use kubecost_worker::settings::exporter::SETTINGS;
use kubecost_worker::settings::{ExporterConfig, RawSettings, ReadSettings};
use serde_json::{Map, Value, json};

use super::remote_write::Scraper;
use super::servers::root;

const HOUR: i64 = 3_600;
/// A poll comes in this second of each minute and a scrape in that one.
const POLL_SECOND: i64 = 20;
const SCRAPE_SECOND: i64 = 7;

/// A set of allocations: rows by key.
pub(crate) type Set = Map<String, Value>;

/// What a server knows: sets by what they are aggregated by and by their window.
#[derive(Default)]
pub(crate) struct Recorded(BTreeMap<(String, i64, i64), Set>);

impl Recorded {
    /// Adds the sets of a recorded reply that start in a span of time.
    pub(crate) fn with(mut self, aggregate: &str, file: &str, starts: Range<i64>) -> Self {
        for set in sets(file) {
            let Some(row) = set.values().next() else { continue };
            let at = |end: &str| parse_rfc3339(row["window"][end].as_str().unwrap()).unwrap();
            let (start, end) = (at("start"), at("end"));
            if starts.contains(&start) {
                self.0.insert((aggregate.to_owned(), start, end), set);
            }
        }
        self
    }

    /// The set of exactly this window, else those of its hours; hours that are not known are
    /// empty, as the real server has them.
    fn answer(&self, aggregate: &str, (start, end): (i64, i64), by_hour: bool) -> Vec<Set> {
        let whole = self.0.get(&(aggregate.to_owned(), start, end));
        if let Some(whole) = whole.filter(|_| !by_hour) {
            return vec![whole.clone()];
        }
        (start..end).step_by(HOUR as usize).map(|hour| self.hour(aggregate, hour)).collect()
    }

    fn hour(&self, aggregate: &str, hour: i64) -> Set {
        self.0.get(&(aggregate.to_owned(), hour, hour + HOUR)).cloned().unwrap_or_default()
    }

    /// The rows by namespace of the hours that start in a span.
    pub(crate) fn rows(&self, aggregate: &str, hours: Range<i64>) -> Vec<(String, Value)> {
        hours.step_by(HOUR as usize).flat_map(|hour| self.hour(aggregate, hour)).collect()
    }

    /// Serves it until the test ends.
    pub(crate) async fn serve(self: &Arc<Self>) -> String {
        let router = axum::Router::new()
            .route("/allocation", axum::routing::get(allocation))
            .with_state(Arc::clone(self));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }
}

async fn allocation(
    State(recorded): State<Arc<Recorded>>,
    Query(query): Query<HashMap<String, String>>,
) -> String {
    let (start, end) = query["window"].split_once(',').unwrap();
    let window = (parse_rfc3339(start).unwrap(), parse_rfc3339(end).unwrap());
    let by_hour = query["step"] == "1h" && window.1 - window.0 > HOUR;
    let sets = recorded.answer(&query["aggregate"], window, by_hour);
    json!({"code": 200, "status": "success", "data": sets}).to_string()
}

/// The sets of a recorded reply below `fixtures/opencost-run/alloc`.
pub(crate) fn sets(file: &str) -> Vec<Set> {
    let path = root().join(format!("fixtures/opencost-run/alloc/{file}.json.gz"));
    let mut text = String::new();
    let packed = std::fs::File::open(path).unwrap();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
    let reply: Value = serde_json::from_str(&text).unwrap();
    let sets = reply["data"].as_array().unwrap();
    sets.iter().map(|set| set.as_object().unwrap().clone()).collect()
}

/// Polls and scrapes an exporter each minute of a span of simulated time.
pub(crate) async fn export(
    url: &str,
    tenant: &str,
    pods: bool,
    span: Range<i64>,
    to: &mut Scraper<'_>,
) {
    let settings = [
        ("KUBECOST_URL", url),
        ("TENANT_ID", tenant),
        ("CLUSTER_NAME", "test-cluster"),
        ("POD_METRICS", if pods { "true" } else { "false" }),
        ("POD_LABELS", if pods { "node" } else { "" }),
    ];
    let config = ExporterConfig::validate(RawSettings::of(SETTINGS, &settings)).unwrap();
    let clock = Arc::new(FixedClock::at(span.start));
    let poller = Poller::new(config, tls::of_process().clone(), Arc::clone(&clock) as _).unwrap();
    for minute in span.step_by(60) {
        clock.set(minute + SCRAPE_SECOND);
        to.scrape(minute + SCRAPE_SECOND, &shown(&poller)).await;
        clock.set(minute + POLL_SECOND);
        poller.poll().await;
    }
    to.send().await;
    assert!(poller.is_ready(), "no window was accepted");
}

/// The series of a scrape that the worker reads: totals, and what tells their time.
fn shown(poller: &Poller) -> Vec<(String, f64)> {
    let text = to_text_format(&poller.view().openmetrics().unwrap());
    let is_read = |name: &str| name.ends_with("_total_cost") || name.contains("_kubecost_window_");
    text.lines()
        .filter(|line| line.split_once('{').is_some_and(|(name, _)| is_read(name)))
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}
