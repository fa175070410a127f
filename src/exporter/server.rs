//! Serves the metrics.

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tower_http::compression::CompressionLayer;

use super::poller::Poller;
use super::tls::TlsListener;
use crate::service::failure::Failure;
use crate::service::metrics::page;
use crate::settings::exporter::ServingTls;

/// The index page: fixed text, nothing of the data in it.
const INDEX: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<title>kubecost-allocation-exporter</title></head><body>\
<h1>kubecost-allocation-exporter</h1>\
<p><a href=\"/metrics\">/metrics</a>: costs of the last complete window, and how well they are known</p>\
<p><a href=\"/healthz\">/healthz</a>: the process lives</p>\
<p><a href=\"/readyz\">/readyz</a>: a window was believed since the start</p>\
</body></html>";

/// The pages of the exporter.
pub fn router(poller: Arc<Poller>) -> Router {
    Router::new()
        .route("/", get(|| async { Html(INDEX) }))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .layer(CompressionLayer::new().gzip(true))
        .with_state(poller)
}

async fn metrics(State(poller): State<Arc<Poller>>, headers: HeaderMap) -> Response {
    page(&headers, poller.view().openmetrics())
}

async fn readiness(State(poller): State<Arc<Poller>>) -> (StatusCode, &'static str) {
    if poller.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no window was believed yet\n")
    }
}

/// Serves until `stop` is done, then finishes what is being answered.
///
/// # Errors
/// When the certificate or the key cannot be used, or serving breaks.
pub async fn serve(
    listener: TcpListener,
    tls: Option<&ServingTls>,
    poller: Arc<Poller>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Failure> {
    let router = router(poller);
    let served = match tls {
        None => axum::serve(listener, router).with_graceful_shutdown(stop).await,
        Some(tls) => {
            let listener = TlsListener::new(listener, tls)?;
            axum::serve(listener, router).with_graceful_shutdown(stop).await
        }
    };
    served.map_err(|error: io::Error| {
        super::poller::unusable(format!("serving metrics broke: {error}"), "restart the exporter")
    })
}
