//! Serves the metrics of `schedule`.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::run::RunSummary;
use crate::service::failure::{Failure, Hop, Kind};
use crate::service::metrics::page;

use crate::run::metrics::exposition::openmetrics;
use crate::run::metrics::families::{Totals, families};

/// What is known so far; clones share it.
#[derive(Clone, Default)]
pub struct Metrics(Arc<RwLock<(Totals, Option<RunSummary>)>>);

impl Metrics {
    /// Takes note of a run.
    pub fn add(&self, summary: &RunSummary) {
        // A writer that panicked left at worst one run out.
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.0.add(summary);
        known.1 = Some(summary.clone());
    }

    fn openmetrics(&self) -> Result<String, std::fmt::Error> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        openmetrics(families(known.1.as_ref(), &known.0))
    }
}

async fn metrics(State(metrics): State<Metrics>, headers: HeaderMap) -> Response {
    page(&headers, metrics.openmetrics())
}

/// Serves `/metrics` and `/healthz` until `stop` is done.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(
    address: SocketAddr,
    metrics_known: Metrics,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<tokio::task::JoinHandle<()>, Failure> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let what = format!("cannot listen on METRICS_ADDR {address}: {error}");
        let fix = "set METRICS_ADDR to a free address, or to nothing";
        Failure::new(Hop::Worker, Kind::Unavailable, what, fix)
    })?;
    let listening = listener.local_addr().unwrap_or(address);
    tracing::info!("serving http://{listening}/metrics");
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(metrics_known);
    Ok(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
            tracing::error!(%error, "serving metrics broke");
        }
    }))
}
