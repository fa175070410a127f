//! A proxy before the query layer that fails in its own way where a question names one tenant.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write as _;

use crate::upstream::{Question, Upstream, listen};

/// What it does then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Hangs,
    Drips,
    RefusesLate,
    Redirects,
    GzipBomb,
    Brackets,
}

impl Fault {
    pub(crate) const ALL: [Self; 6] = [
        Self::Hangs,
        Self::Drips,
        Self::RefusesLate,
        Self::Redirects,
        Self::GzipBomb,
        Self::Brackets,
    ];

    /// What it is called in a table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hangs => "the layer hangs",
            Self::Drips => "it drips a byte a second",
            Self::RefusesLate => "it answers 504 after 59 s",
            Self::Redirects => "it redirects",
            Self::GzipBomb => "it sends 4 GiB as gzip",
            Self::Brackets => "it sends 1 M nested brackets",
        }
    }

    /// The account for which it does it.
    pub(crate) fn account(self) -> String {
        format!("bad10000-0000-4000-8000-{:012}", self as u8)
    }

    async fn answer(self) -> Response {
        let json = [("content-type", "application/json")];
        match self {
            Self::Hangs => std::future::pending().await,
            Self::Drips => {
                let bytes = futures_util::stream::unfold((), |()| async {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), ()))
                });
                (json, Body::from_stream(bytes)).into_response()
            }
            Self::RefusesLate => {
                tokio::time::sleep(Duration::from_secs(59)).await;
                (axum::http::StatusCode::GATEWAY_TIMEOUT, "upstream timed out").into_response()
            }
            Self::Redirects => {
                let to = [("location", "/elsewhere")];
                (axum::http::StatusCode::FOUND, to).into_response()
            }
            Self::GzipBomb => {
                let packed = [("content-type", "application/json"), ("content-encoding", "gzip")];
                (packed, bomb()).into_response()
            }
            Self::Brackets => (json, "[".repeat(1_000_000)).into_response(),
        }
    }
}

/// 4 GiB of blanks in a string, packed: members of a gzip file may follow one another.
fn bomb() -> Vec<u8> {
    let member = |text: &[u8], times: usize| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        (0..times).for_each(|_| encoder.write_all(text).unwrap());
        encoder.finish().unwrap()
    };
    let blanks = member(&[b' '; 1 << 20], 64);
    let mut all = member(br#"{"status":"success","data":""#, 1);
    (0..64).for_each(|_| all.extend_from_slice(&blanks));
    all
}

/// Starts one; it ends with the program. Returns its address.
pub(crate) async fn start(upstream: &str) -> String {
    listen(axum::Router::new().fallback(pass).with_state(Upstream::new(upstream))).await
}

async fn pass(State(upstream): State<Upstream>, request: Request) -> Response {
    let question = Question::of(request).await;
    let form = String::from_utf8_lossy(&question.body).into_owned();
    let is_about = |fault: &Fault| {
        let account = fault.account();
        question.path.contains(&account) || form.contains(&account)
    };
    if let Some(fault) = Fault::ALL.into_iter().find(is_about) {
        return fault.answer().await;
    }
    let (status, reply) = upstream.ask(&question).await;
    (status, [("content-type", "application/json")], reply).into_response()
}
