//! The metrics of `serve`.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds of the time that an answer takes, seconds.
const SECONDS: [f64; 9] = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 25.0];

/// A request, as counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    page: &'static str,
    status: u16,
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPage {
    page: &'static str,
}

/// What `serve` counts.
pub(super) struct ServeMetrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    seconds: Family<OfPage, Histogram, fn() -> Histogram>,
    kept: Counter<u64, AtomicU64>,
}

impl ServeMetrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        let seconds: Family<OfPage, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(SECONDS));
        let kept = Counter::default();
        registry.register(
            "kubecost_worker_serve_requests",
            "Requests, by page and status",
            requests.clone(),
        );
        registry.register(
            "kubecost_worker_serve_duration_seconds",
            "Time that answers took",
            seconds.clone(),
        );
        registry.register(
            "kubecost_worker_serve_kept_answers",
            "Answers from what was gathered before",
            kept.clone(),
        );
        Self { registry, requests, seconds, kept }
    }

    pub(super) fn count(&self, page: &'static str, status: u16, took: Duration) {
        self.requests.get_or_create(&Request { page, status }).inc();
        self.seconds.get_or_create(&OfPage { page }).observe(took.as_secs_f64());
    }

    pub(super) fn count_kept(&self) {
        self.kept.inc();
    }

    pub(super) fn openmetrics(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}
