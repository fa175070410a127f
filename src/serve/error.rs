//! Answers to what cannot be answered: JSON, in the form that Metroculus' callers know.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::service::failure::{Failure, Kind};

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    code: &'static str,
    reason: String,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, reason: impl Into<String>) -> Self {
        Self { status, code, reason: reason.into() }
    }

    /// The header `Secret` is missing or wrong. The code is Metroculus' own.
    pub(super) fn unauthorized() -> Self {
        let reason = "the header Secret is missing or is not the cluster secret";
        Self::new(StatusCode::UNAUTHORIZED, "OM0007", reason)
    }

    /// A parameter cannot be used.
    pub(super) fn bad_request(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "KW0400", reason)
    }

    /// There is no such account or page.
    pub(super) fn not_found(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "KW0404", reason)
    }

    /// The page has no such method.
    pub(super) fn bad_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "KW0405", "only GET is answered")
    }

    /// No answer came about in time.
    pub(super) fn too_slow(seconds: u64) -> Self {
        let reason = format!("no answer within {seconds} s: ask for fewer days, or see the stores");
        Self::new(StatusCode::GATEWAY_TIMEOUT, "KW0504", reason)
    }

    /// The first answers would take long.
    pub(super) fn not_ready() -> Self {
        let reason = "the running days of the accounts are being read for the first time";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "KW0503", reason)
    }

    /// The metrics ask for credentials of their own.
    pub(super) fn no_metrics_access() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "KW0401", "credentials are needed to read the metrics")
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        let (status, code) = match failure.kind {
            Kind::Timeout => (StatusCode::GATEWAY_TIMEOUT, "KW0504"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "KW0503"),
        };
        Self::new(status, code, failure.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({"error": {
            "status_code": self.status.as_u16(),
            "error_code": self.code,
            "reason": self.reason,
            "params": [],
        }});
        let kind = [(header::CONTENT_TYPE, "application/json")];
        (self.status, kind, body.to_string()).into_response()
    }
}
