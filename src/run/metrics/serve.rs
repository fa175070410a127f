//! The pages of `schedule`.

use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;

use crate::run::RunSummary;
use crate::service::access::Access;
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

async fn metrics(
    State((metrics, access)): State<(Metrics, Access)>,
    headers: HeaderMap,
) -> Response {
    match access.check(&headers) {
        Ok(()) => page(&headers, metrics.openmetrics()),
        Err(refusal) => *refusal,
    }
}

/// The pages of `schedule`: `/metrics`, for those who have `access`, and `/healthz`.
pub fn router(metrics_known: Metrics, access: Access) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state((metrics_known, access))
}
