//! The pages of the exporter.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, Response};
use axum::routing::get;
use tower_http::compression::CompressionLayer;

use super::poller::Poller;
use crate::service::access::Access;
use crate::service::metrics::page;

/// The index page: fixed text, nothing of the data in it.
const INDEX: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<title>kubecost-allocation-exporter</title></head><body>\
<h1>kubecost-allocation-exporter</h1>\
<p><a href=\"/metrics\">/metrics</a>: costs of the last complete window, and how well they are known</p>\
<p><a href=\"/healthz\">/healthz</a>: the process lives</p>\
<p><a href=\"/readyz\">/readyz</a>: a window was accepted since the start</p>\
</body></html>";

/// The pages of the exporter; the metrics are for those who have `access`.
pub fn router(poller: Arc<Poller>, access: Access) -> Router {
    Router::new()
        .route("/", get(|| async { Html(INDEX) }))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .layer(CompressionLayer::new().gzip(true))
        .with_state((poller, access))
}

type Pages = (Arc<Poller>, Access);

async fn metrics(State((poller, access)): State<Pages>, headers: HeaderMap) -> Response {
    match access.check(&headers) {
        Ok(()) => page(&headers, poller.view().openmetrics()),
        Err(refusal) => *refusal,
    }
}

async fn readiness(State((poller, _)): State<Pages>) -> (StatusCode, &'static str) {
    if poller.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no window was accepted yet\n")
    }
}
