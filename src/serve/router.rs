//! The pages of `serve`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::time::Instant;

use crate::service::access::{Access, ExpectedSecret};
use crate::service::metrics::page;

use super::answers::Answers;
use super::error::ApiError;
use super::metrics::ServeMetrics;
use super::openapi;
use super::request::Page;

/// What the pages are made of; clones share it.
#[derive(Clone)]
pub struct Pages(Arc<Inner>);

struct Inner {
    answers: Answers,
    secret: ExpectedSecret,
    metrics_access: Access,
    metrics: ServeMetrics,
}

impl Pages {
    /// Pages for those who show `secret`; the metrics are for those who have `metrics_access`.
    #[must_use]
    pub fn new(answers: Answers, secret: ExpectedSecret, metrics_access: Access) -> Self {
        let metrics = ServeMetrics::new();
        Self(Arc::new(Inner { answers, secret, metrics_access, metrics }))
    }

    /// Reads the running days of all accounts; only then `/readyz` says that it is ready.
    pub async fn warm_up(&self) {
        self.0.answers.warm_up().await;
    }

    /// Checks the query layer `every` so often, so that stores that it has lost, or has again, are
    /// known also where nobody asks for `/readyz`. Never ends.
    pub async fn watch_query_layer(&self, every: Duration) {
        self.0.answers.watch_query_layer(every).await;
    }
}

/// The pages. Every error is JSON.
pub fn router(pages: Pages) -> Router {
    let costs = |page: Page| {
        get(move |pages: State<Pages>, headers: HeaderMap, RawQuery(query): RawQuery| async move {
            answer(&pages.0.0, page, &headers, &query.unwrap_or_default()).await
        })
    };
    Router::new()
        .route("/metroculus/v2/kubecost_cluster_costs", costs(Page::ClusterCosts))
        .route("/metroculus/v2/kubecost_metrics", costs(Page::Metrics))
        .route("/metroculus/v2/kubecost_savings", costs(Page::Savings))
        .route("/openapi.json", get(described))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .method_not_allowed_fallback(|| async { ApiError::bad_method() })
        .fallback(|| async { ApiError::not_found("there is no such page: see /openapi.json") })
        .with_state(pages)
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn name(page: Page) -> &'static str {
    match page {
        Page::ClusterCosts => "kubecost_cluster_costs",
        Page::Metrics => "kubecost_metrics",
        Page::Savings => "kubecost_savings",
    }
}

async fn answer(pages: &Inner, page: Page, headers: &HeaderMap, query: &str) -> Response {
    let started = Instant::now();
    // A missing header is compared too, so that it takes as long as a wrong one.
    let shown = headers.get("Secret").map_or(&b""[..], |value| value.as_bytes());
    let response = if pages.secret.is(shown) {
        match pages.answers.answer(page, query).await {
            Ok(answer) => {
                if answer.is_kept {
                    pages.metrics.count_kept();
                }
                json(StatusCode::OK, answer.body)
            }
            Err(error) => error.into_response(),
        }
    } else {
        ApiError::unauthorized().into_response()
    };
    pages.metrics.count(name(page), response.status().as_u16(), started.elapsed());
    response
}

async fn described() -> Response {
    json(StatusCode::OK, openapi::document().to_string())
}

async fn readiness(State(pages): State<Pages>) -> Response {
    match pages.0.answers.check().await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => error.into_response(),
    }
}

async fn metrics(State(pages): State<Pages>, headers: HeaderMap) -> Response {
    match pages.0.metrics_access.check(&headers) {
        Ok(()) => page(&headers, pages.0.metrics.openmetrics()),
        Err(refusal) => {
            let mut response = ApiError::no_metrics_access().into_response();
            let challenge = refusal.headers().get(header::WWW_AUTHENTICATE).cloned();
            if let Some(challenge) = challenge {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            response
        }
    }
}
