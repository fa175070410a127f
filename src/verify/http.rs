//! Single requests of bounded time: a probe asks once, for its first answer is the finding.

use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder};
use url::Url;

use crate::service::failure::{Failure, Hop, Kind, excerpt};
use crate::service::{http, proxy};
use crate::settings::Endpoint;
use crate::settings::auth::Auth;
use crate::settings::headers::RequestHeaders;
use crate::source::prometheus::reply::{Reply as PrometheusReply, Series};

/// How long one probe may take.
pub const PROBE_TIMEOUT: Duration = Duration::from_millis(2_500);
/// The longest reply that is read.
const REPLY_BYTES_MAX: u64 = 16 << 20;

/// A server's answer, whatever its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpReply {
    /// The HTTP status.
    pub status: u16,
    /// The body as text.
    pub body: String,
    /// The server's time, Unix seconds, if it sends it.
    pub server_seconds: Option<i64>,
}

impl HttpReply {
    /// Status and beginning of the body, for messages.
    #[must_use]
    pub fn excerpt(&self) -> String {
        format!("answered {}: {}", self.status, excerpt(self.body.trim()))
    }
}

/// What a PromQL server answers.
#[derive(Clone, Debug, Default)]
pub struct InstantResult {
    /// The series.
    pub series: Vec<Series>,
    /// The server's time, Unix seconds, if it sends it.
    pub server_seconds: Option<i64>,
}

/// A client for probes.
///
/// # Errors
/// When no client can be built on this machine.
pub fn client() -> Result<Client, Failure> {
    http::client(PROBE_TIMEOUT)
}

/// Runs a probe that is no single request for at most [`PROBE_TIMEOUT`].
///
/// # Errors
/// The probe's, or a time-out.
pub async fn within<T>(
    what: &str,
    probe: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::time::timeout(PROBE_TIMEOUT, probe).await.unwrap_or_else(|_| {
        let what = format!("{what}: no answer within {} s", PROBE_TIMEOUT.as_secs_f64());
        let fix = "see whether the server is up, reachable from here, and how loaded it is";
        Err(Failure::new(Hop::Worker, Kind::Timeout, what, fix))
    })
}

/// A value and how long it took, milliseconds.
pub async fn timed<T>(work: impl Future<Output = T>) -> (T, u64) {
    let started = Instant::now();
    let value = work.await;
    (value, u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// Sends a request; `address` is shown in errors.
///
/// # Errors
/// When no answer comes.
pub async fn send(request: RequestBuilder, address: &str) -> Result<HttpReply, Failure> {
    let what = format!("asking {address}");
    let sent = request.send().await;
    let response = sent.map_err(|error| http::transport_failure(Hop::Worker, &what, error))?;
    if let Some(failure) = proxy::refusal(Hop::Worker, &what, &response) {
        return Err(failure);
    }
    let status = response.status().as_u16();
    let date = response.headers().get(reqwest::header::DATE);
    let server_seconds = date
        .and_then(|value| chrono::DateTime::parse_from_rfc2822(value.to_str().ok()?).ok())
        .map(|time| time.timestamp());
    let body = http::read_bounded(response, REPLY_BYTES_MAX, Hop::Worker).await?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(HttpReply { status, body, server_seconds })
}

/// GET of an address.
///
/// # Errors
/// When no answer comes.
pub async fn get(
    client: &Client,
    url: Url,
    auth: &Auth,
    shown: &str,
) -> Result<HttpReply, Failure> {
    send(auth.apply(client.get(url)), shown).await
}

/// A PromQL server, and the prefix of its settings.
#[derive(Clone, Copy, Debug)]
pub struct PromServer<'a> {
    /// The client.
    pub client: &'a Client,
    /// Its address.
    pub endpoint: &'a Endpoint,
    /// How requests to it are authenticated.
    pub auth: &'a Auth,
    /// Headers that requests to it have, the account's id put in.
    pub headers: &'a RequestHeaders,
    /// `PROMETHEUS` or `SOURCE_PROMETHEUS`.
    pub settings: &'static str,
}

impl PromServer<'_> {
    /// One instant query at a Unix time.
    ///
    /// # Errors
    /// When the server does not answer it.
    pub async fn instant(&self, query: &str, time: i64) -> Result<InstantResult, Failure> {
        let (address, name) = (self.endpoint.redacted(), self.settings);
        // A dead store of Thanos must show.
        let parameters =
            [("query", query), ("time", &time.to_string()), ("partial_response", "false")];
        let request = self.client.get(self.endpoint.join("api/v1/query")).query(&parameters);
        let request = self.headers.apply(self.auth.apply(request));
        let reply = send(request.header("Cache-Control", "no-store"), address).await?;
        let parsed: Option<PrometheusReply> = serde_json::from_str(&reply.body).ok();
        let refused = |kind, fix: String| {
            let what = format!("{address} {}", reply.excerpt());
            Err(Failure::new(Hop::QueryLayer, kind, what, fix))
        };
        match (reply.status, parsed) {
            (401 | 403, _) => refused(
                Kind::Denied,
                format!("set {name}_USER and {name}_PASSWORD_FILE, or {name}_TOKEN_FILE"),
            ),
            // An agent scrapes and writes, and keeps nothing that could be asked for.
            (422, _) if reply.body.contains("Prometheus Agent") => refused(
                Kind::Refused,
                format!("leave {name}_URL out, or set it to a server that answers queries"),
            ),
            (200, Some(parsed)) if parsed.status == "success" => Ok(InstantResult {
                series: parsed.data.unwrap_or_default().result,
                server_seconds: reply.server_seconds,
            }),
            (500.., _) => refused(Kind::Unavailable, "see the server's log and its stores".into()),
            _ => refused(
                Kind::BadReply,
                format!("see that {name}_URL, with its path, is a Prometheus or Thanos Query"),
            ),
        }
    }
}
