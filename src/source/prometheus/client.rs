//! The Prometheus HTTP API: one query, one answer, bounded in time, size and tries.

use std::io::Read;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use reqwest::StatusCode;
use tokio::sync::mpsc;

use crate::service::failure::{Failure, Hop, Kind, excerpt};
use crate::service::http;
use crate::settings::Endpoint;
use crate::settings::auth::Auth;

use crate::source::prometheus::reply::{Reply, ReplyError, Series, read_reply};

/// How long one query may take, seconds.
const QUERY_TIMEOUT_SECONDS: u64 = 60;
/// The longest reply that is read, bytes, decompressed.
pub const REPLY_BYTES_MAX: u64 = 64 << 20;
/// How many chunks of a body may wait for the parser.
const CHUNKS_AHEAD: usize = 8;
/// Longest query that is put into an address, bytes before they are quoted.
const ADDRESS_BYTES_MAX: usize = 2_000;
/// How often a query is asked again after a failure that may pass.
const RETRIES_MAX: usize = 3;

/// What a query came to.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The series, in the server's order.
    pub series: Vec<Series>,
    /// What the server says may be missing.
    pub warnings: Vec<String>,
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub enum NoAnswer {
    /// The query asks for too much at once: a part of its time may be answered.
    TooMuch(Failure),
    /// The server, or a gateway before it, cannot now: it may be down, or this may be too much.
    Busy(Failure),
    /// Anything else.
    Failed(Failure),
}

impl NoAnswer {
    /// The failure inside.
    #[must_use]
    pub fn into_failure(self) -> Failure {
        match self {
            Self::TooMuch(failure) | Self::Busy(failure) | Self::Failed(failure) => failure,
        }
    }
}

/// A body's chunks for a parser in a thread of its own. When the one who asked gives up, the sender
/// goes, and so the thread ends too.
struct ChunkReader {
    receiver: mpsc::Receiver<std::io::Result<Option<Bytes>>>,
    chunk: Bytes,
    is_over: bool,
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.chunk.is_empty() && !self.is_over {
            match self.receiver.blocking_recv() {
                Some(Ok(Some(chunk))) => self.chunk = chunk,
                Some(Ok(None)) => self.is_over = true,
                Some(Err(error)) => return Err(error),
                None => return Err(std::io::ErrorKind::ConnectionAborted.into()),
            }
        }
        let count = self.chunk.len().min(buffer.len());
        self.chunk.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// Why a body ended before its end.
fn broken(error: reqwest::Error) -> std::io::Error {
    let kind = if error.is_timeout() {
        std::io::ErrorKind::TimedOut
    } else {
        std::io::ErrorKind::ConnectionAborted
    };
    std::io::Error::new(kind, error.without_url())
}

/// Asks one server.
#[derive(Clone, Debug)]
pub struct PromClient {
    http: reqwest::Client,
    endpoint: Endpoint,
    auth: Auth,
}

impl PromClient {
    /// A client for the server at `endpoint`.
    ///
    /// # Errors
    /// When no HTTP client can be made (no usable TLS).
    pub fn new(endpoint: Endpoint, auth: Auth) -> Result<Self, Failure> {
        Ok(Self { http: http::client(Duration::from_secs(QUERY_TIMEOUT_SECONDS))?, endpoint, auth })
    }

    /// The server's address without credentials.
    #[must_use]
    pub fn address(&self) -> &str {
        self.endpoint.redacted()
    }

    /// An instant query at a Unix time (seconds).
    ///
    /// # Errors
    /// [`NoAnswer`] after bounded retries.
    pub async fn instant(&self, query: &str, time: i64) -> Result<Answer, NoAnswer> {
        let parameters = [("query", query.to_owned()), ("time", time.to_string())];
        self.ask("api/v1/query", &parameters, "vector").await
    }

    /// A range query; times in Unix seconds, step in seconds.
    ///
    /// # Errors
    /// [`NoAnswer`] after bounded retries.
    pub async fn range(
        &self,
        query: &str,
        start: i64,
        end: i64,
        step: i64,
    ) -> Result<Answer, NoAnswer> {
        let parameters = [
            ("query", query.to_owned()),
            ("start", start.to_string()),
            ("end", end.to_string()),
            ("step", step.to_string()),
        ];
        self.ask("api/v1/query_range", &parameters, "matrix").await
    }

    /// Asks until there is an answer of the type that is due, in bounded tries.
    async fn ask(
        &self,
        path: &str,
        parameters: &[(&str, String)],
        due: &str,
    ) -> Result<Answer, NoAnswer> {
        let retries = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(3))
            .with_max_times(RETRIES_MAX)
            .with_jitter();
        let asked = (|| self.ask_once(path, parameters, due))
            .retry(retries)
            .when(|error| match error {
                NoAnswer::TooMuch(_) => false,
                NoAnswer::Busy(_) => true,
                NoAnswer::Failed(failure) => failure.is_retryable(),
            })
            .notify(|error, delay| {
                let failure = error.clone().into_failure();
                tracing::debug!(%failure, delay_ms = delay.as_millis(), "asking again");
            })
            .await;
        match asked {
            // Gateways say so when what is behind them takes too long: less may be answered.
            Err(NoAnswer::Busy(failure)) => Err(NoAnswer::TooMuch(failure)),
            other => other,
        }
    }

    async fn ask_once(
        &self,
        path: &str,
        parameters: &[(&str, String)],
        due: &str,
    ) -> Result<Answer, NoAnswer> {
        // Thanos: a store that is down must be an error, not a smaller bill; replicas are one.
        let thanos = [("partial_response", "false"), ("dedup", "true")];
        let address = self.endpoint.join(path);
        // Proxies refuse long addresses; a form may be long, but not every proxy lets one through.
        let length: usize = parameters.iter().map(|(_, value)| value.len()).sum();
        let request = if length > ADDRESS_BYTES_MAX {
            let owned = thanos.map(|(name, value)| (name, value.to_owned()));
            self.http.post(address).form(&[parameters, &owned].concat())
        } else {
            self.http.get(address).query(parameters).query(&thanos)
        };
        let response = self.auth.apply(request).send().await.map_err(|e| self.transport(e))?;
        let status = response.status();
        let is_json = response
            .headers()
            .get(reqwest::header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.contains("json"));
        if !is_json {
            return Err(self.no_json(status, response).await);
        }
        let reply = self.read(response).await?;
        self.answer(status, reply, due)
    }

    fn transport(&self, error: reqwest::Error) -> NoAnswer {
        let is_connect = error.is_connect();
        let what = format!("a query to {}", self.address());
        let failure = http::transport_failure(Hop::QueryLayer, &what, error);
        if failure.kind == Kind::Timeout && !is_connect {
            NoAnswer::TooMuch(failure)
        } else {
            NoAnswer::Failed(failure)
        }
    }

    /// Parses the body while it arrives, off the async threads.
    async fn read(&self, response: reqwest::Response) -> Result<Reply, NoAnswer> {
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let reader = ChunkReader { receiver, chunk: Bytes::new(), is_over: false };
        let parsing = tokio::task::spawn_blocking(move || read_reply(reader, REPLY_BYTES_MAX));
        let chunks = response.bytes_stream().map(|chunk| chunk.map(Some).map_err(broken));
        let end = futures_util::stream::once(std::future::ready(Ok(None)));
        let mut chunks = std::pin::pin!(chunks.chain(end));
        while let Some(chunk) = chunks.next().await {
            // The parser stops listening where it has seen enough.
            if sender.send(chunk).await.is_err() {
                break;
            }
        }
        let parsed = parsing.await;
        let address = self.address();
        let failure = match parsed {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(ReplyError::Broken(kind, error))) => {
                let is_late = kind == std::io::ErrorKind::TimedOut;
                let failure = Failure::query(
                    if is_late { Kind::Timeout } else { Kind::Unavailable },
                    format!("the reply of {address} broke off: {error}"),
                    "see the load of the query layer and the network between",
                );
                if is_late {
                    return Err(NoAnswer::TooMuch(failure));
                }
                failure
            }
            Ok(Err(error)) => Failure::query(
                Kind::BadReply,
                format!("the reply of {address} {error}"),
                "see that PROMETHEUS_URL is a Prometheus or Thanos Query and nothing on the way \
                 cuts or rewrites its replies; a reply that is too long: fewer LEVELS, or one \
                 worker for fewer accounts",
            ),
            Err(error) => Failure::query(
                Kind::Internal,
                format!("reading the reply of {address} broke off: {error}"),
                crate::service::failure::REPORT,
            ),
        };
        Err(NoAnswer::Failed(failure))
    }

    async fn no_json(&self, status: StatusCode, response: reqwest::Response) -> NoAnswer {
        const EXCERPT_BYTES: u64 = 4_096;
        let body = http::read_bounded(response, EXCERPT_BYTES, Hop::QueryLayer).await;
        let text =
            body.map_or_else(|_| String::new(), |b| String::from_utf8_lossy(&b).into_owned());
        self.refused(status, "", &text)
    }

    fn answer(&self, status: StatusCode, reply: Reply, due: &str) -> Result<Answer, NoAnswer> {
        if !status.is_success() || reply.status == "error" {
            return Err(self.refused(status, &reply.error_type, &reply.error));
        }
        let data = match reply.data {
            Some(data) if reply.status == "success" => data,
            _ => return Err(self.refused(status, "", "a reply without status and data")),
        };
        // Of a matrix where a vector is due only the first point would be taken for the sum.
        if data.result_type != due {
            let kind = excerpt(&data.result_type);
            let what = format!("{} answered with a '{kind}' where a {due} is due", self.address());
            let fix = "see that PROMETHEUS_URL answers PromQL unchanged";
            return Err(NoAnswer::Failed(Failure::query(Kind::BadReply, what, fix)));
        }
        Ok(Answer { series: data.result, warnings: reply.warnings.unwrap_or_default() })
    }

    /// Classifies what a server said instead of an answer.
    fn refused(&self, status: StatusCode, error_type: &str, text: &str) -> NoAnswer {
        let said = excerpt(text);
        let what = format!("{} answered {status}: {said}", self.address());
        let is_limit = ["too many samples", "exceed", "limit", "timed out", "too large"]
            .iter()
            .any(|word| text.contains(word));
        let (kind, fix) = match (status.as_u16(), error_type) {
            (401 | 403, _) => (
                Kind::Denied,
                "set PROMETHEUS_USER and PROMETHEUS_PASSWORD_FILE, or PROMETHEUS_TOKEN_FILE, to what the server wants",
            ),
            (404, _) => (
                Kind::BadReply,
                "see that PROMETHEUS_URL, with its path, is where /api/v1/query is served",
            ),
            (_, "timeout") => {
                return NoAnswer::TooMuch(Failure::query(
                    Kind::Timeout,
                    what,
                    "give the query layer more time or memory, or lower MAX_SAMPLES",
                ));
            }
            (422, _) | (413, _) if is_limit => {
                return NoAnswer::TooMuch(Failure::query(
                    Kind::Overloaded,
                    what,
                    "lower MAX_SAMPLES, or raise the server's query limits",
                ));
            }
            (422, _) => (
                Kind::BadData,
                "the stored series contradict each other: see docs/RUNBOOK.md, query layer",
            ),
            (429, _) => {
                (Kind::Overloaded, "the query layer limits its callers: run fewer workers at once")
            }
            (503 | 504, _) => {
                return NoAnswer::Busy(Failure::query(
                    Kind::Unavailable,
                    what,
                    "see that the query layer is up and ready, and what its gateway allows",
                ));
            }
            (500..=599, _) => (Kind::Unavailable, "see that the query layer is up and ready"),
            (200..=299, "") => (
                Kind::BadReply,
                "see that PROMETHEUS_URL is a Prometheus or Thanos Query: this is no reply of one",
            ),
            _ => (
                Kind::BadReply,
                "see that PROMETHEUS_URL is a Prometheus or Thanos Query of a version with /api/v1/query",
            ),
        };
        NoAnswer::Failed(Failure::query(kind, what, fix))
    }
}
