//! What a failed call means: the API's own error, or that of something before it.

use reqwest::StatusCode;
use serde::Deserialize;

use crate::service::failure::{Failure, Hop, Kind, excerpt};
use crate::service::http::kind_of_status;

/// What to check when the reply is none of the API's.
pub(super) const FIX_ADDRESS: &str = "check that REST_URL is the address of CloudTuner's REST \
                                      API, without the path /restapi";
/// How much of an error's body is looked at.
const ERROR_BYTES_MAX: usize = 4_096;

/// A failed call: the failure, and what decides on how to go on.
#[derive(Clone, Debug)]
pub(super) struct RefusedCall {
    /// For people.
    pub(super) failure: Failure,
    /// The HTTP status, if an answer came.
    pub(super) status: Option<u16>,
    /// The API's error code, such as `OE0212`, if it is the API that answered.
    pub(super) code: Option<String>,
}

impl RefusedCall {
    /// A call that failed without an answer, or with one that cannot be read.
    pub(super) fn without_status(failure: Failure) -> Self {
        Self { failure, status: None, code: None }
    }

    /// Whether the API says that it does not have what was asked for.
    pub(super) fn is_missing(&self) -> bool {
        self.status == Some(404) && self.code.as_deref() == Some("OE0002")
    }

    /// Whether the API does not take what was sent, or a proxy not so much of it.
    pub(super) fn is_about_content(&self) -> bool {
        self.status == Some(413) || (self.status == Some(400) && self.code.is_some())
    }

    /// Whether the same read may be sent again.
    pub(super) fn may_read_again(&self) -> bool {
        self.failure.is_retryable() || self.status == Some(500)
    }

    /// Whether the same write may be sent again: the server did not take it, or the connection
    /// broke. Not after a time-out, for it may still be at work; not after 500, for it says the
    /// same again.
    pub(super) fn may_write_again(&self) -> bool {
        match self.status {
            None => self.failure.kind == Kind::Unavailable,
            Some(status) => matches!(status, 429 | 502..=504),
        }
    }
}

impl From<RefusedCall> for Failure {
    fn from(refusal: RefusedCall) -> Self {
        refusal.failure
    }
}

/// The API's error form.
#[derive(Deserialize)]
struct ErrorReply {
    error: ErrorBody,
}

#[derive(Deserialize)]
struct ErrorBody {
    error_code: String,
    #[serde(default)]
    reason: Option<String>,
}

/// What a status other than success means; `what` says what was asked.
pub(super) fn refusal(what: &str, status: StatusCode, body: &[u8]) -> RefusedCall {
    let body = &body[..body.len().min(ERROR_BYTES_MAX)];
    let error = serde_json::from_slice::<ErrorReply>(body).ok().map(|reply| reply.error);
    let code = error.as_ref().map(|error| error.error_code.as_str());
    let (kind, fix) = match (kind_of_status(status), code) {
        (Kind::Denied, _) => (Kind::Denied, "check CLUSTER_SECRET: it is not the REST API's"),
        (Kind::Overloaded, _) => {
            (Kind::Overloaded, "the REST API asks for fewer requests; the next run goes on")
        }
        // In its own words, so that it is there: this call is what it cannot do.
        (Kind::Unavailable, Some(_)) if status == StatusCode::INTERNAL_SERVER_ERROR => {
            (Kind::BadReply, "see the REST API's log; it may not have the account any more")
        }
        (Kind::Unavailable, _) => {
            (Kind::Unavailable, "see the REST API's log; it may not have the account any more")
        }
        (kind, Some("OE0002")) if status == StatusCode::NOT_FOUND => {
            (kind, "see kubecost-worker accounts for the ids there are")
        }
        (kind, _) if status.is_redirection() => {
            (kind, "let REST_URL be the address that it redirects to")
        }
        (_, Some(_)) => (Kind::Refused, "see the REST API's version and log"),
        (kind, None) => (kind, FIX_ADDRESS),
    };
    let detail = error.as_ref().map_or_else(|| plain_text(body), shown);
    let failure = Failure::new(Hop::RestApi, kind, format!("{what} answers {status}{detail}"), fix);
    RefusedCall {
        failure,
        status: Some(status.as_u16()),
        code: error.map(|error| error.error_code),
    }
}

fn shown(error: &ErrorBody) -> String {
    let reason = error.reason.as_deref().unwrap_or_default();
    format!(": {}", excerpt(format!("{} {reason}", error.error_code).trim()))
}

/// The beginning of a body that is plain text: a page says nothing, and JSON may hold credentials
/// of an account.
fn plain_text(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    let is_shown = !text.is_empty() && !text.starts_with(['<', '{', '[']);
    if is_shown { format!(": {}", excerpt(text)) } else { String::new() }
}

/// The failure of a reply with status 200 whose body is not what was asked for.
pub(super) fn unreadable(what: &str, body: &[u8], error: &serde_json::Error) -> Failure {
    let text = String::from_utf8_lossy(&body[..body.len().min(512)]);
    let text = text.trim_start();
    let cause = if text.is_empty() {
        "nothing".to_owned()
    } else if text.starts_with('<') {
        "an HTML page, not JSON".to_owned()
    } else {
        format!("what cannot be read ({error}){}", plain_text(text.as_bytes()))
    };
    Failure::new(Hop::RestApi, Kind::BadReply, format!("{what} answers {cause}"), FIX_ADDRESS)
}
