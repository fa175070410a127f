//! The Prometheus HTTP API: one query, one answer, bounded in time, size and tries.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use reqwest::StatusCode;
use reqwest::header::CACHE_CONTROL;
use tokio::sync::mpsc;
use tracing::Instrument;

use crate::cost::AccountId;
use crate::service::failure::{Failure, Hop, Kind, excerpt};
use crate::service::spans::step;
use crate::service::{http, proxy};
use crate::settings::Endpoint;
use crate::settings::auth::Auth;
use crate::settings::headers::RequestHeaders;

use crate::source::prometheus::refusal::{self, Class};
use crate::source::prometheus::reply::{Reply, ReplyError, Series, read_reply};
use crate::source::prometheus::stores::{self, StoreAway};

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
/// How often the question which stores are away is asked again.
const STORE_RETRIES_MAX: usize = 2;

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
    /// The server, or a gateway before it, cannot now, after all tries: it may be down, or this may
    /// take too long: a part of its time may be answered.
    Busy(Failure),
    /// The server does not answer for a part of the time that is asked for.
    OutOfReach(Failure),
    /// Anything else.
    Failed(Failure),
}

impl NoAnswer {
    /// The failure inside.
    #[must_use]
    pub fn into_failure(self) -> Failure {
        match self {
            Self::TooMuch(failure)
            | Self::Busy(failure)
            | Self::OutOfReach(failure)
            | Self::Failed(failure) => failure,
        }
    }

    /// Why the server does not answer this question, where another one may be answered: about less, at
    /// another time, or later.
    ///
    /// # Errors
    /// With any other failure.
    pub fn into_refusal(self) -> Result<Failure, Failure> {
        match self {
            Self::TooMuch(failure) | Self::Busy(failure) | Self::OutOfReach(failure) => Ok(failure),
            Self::Failed(failure) => Err(failure),
        }
    }

    /// Whether the server may not have got what was posted: proxies lose forms, make other
    /// requests of them, or let none through.
    fn may_be_of_a_lost_form(&self) -> bool {
        matches!(self, Self::Failed(failure)
            if matches!(failure.kind, Kind::Denied | Kind::BadReply | Kind::BadData))
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
    headers: RequestHeaders,
    /// Whether forms do not arrive: then the address has to hold the query, however long.
    loses_forms: Arc<AtomicBool>,
}

impl PromClient {
    /// A client for the server at `endpoint`.
    ///
    /// # Errors
    /// When no HTTP client can be made (no usable TLS).
    pub fn new(endpoint: Endpoint, auth: Auth, headers: RequestHeaders) -> Result<Self, Failure> {
        let http = http::client(Duration::from_secs(QUERY_TIMEOUT_SECONDS))?;
        Ok(Self { http, endpoint, auth, headers, loses_forms: Arc::default() })
    }

    /// The same client, with an account's id in its headers where they name it.
    #[must_use]
    pub fn for_account(&self, account: &AccountId) -> Self {
        Self { headers: self.headers.for_account(account.as_str()), ..self.clone() }
    }

    /// Whether headers name the account: then one query can be about one account only.
    #[must_use]
    pub fn is_per_account(&self) -> bool {
        self.headers.name_account()
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

    /// A range query; times in Unix seconds, step in seconds. A start at a multiple of the step
    /// stays where it is: query-frontends and VictoriaMetrics move others there.
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
            ("end", (end - (end - start).rem_euclid(step)).to_string()),
            ("step", step.to_string()),
        ];
        self.ask("api/v1/query_range", &parameters, "matrix").await
    }

    /// Thanos' stores that are away; none where the server does not say. A server that cannot say
    /// it now is asked again: without an answer a day may lack a store without a word.
    pub(super) async fn stores_away(&self) -> Vec<StoreAway> {
        let retries = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(500))
            .with_factor(4.0)
            .with_max_times(STORE_RETRIES_MAX);
        let asked = (|| self.ask_stores()).retry(retries).await;
        asked.unwrap_or_else(|why| {
            tracing::warn!(
                "{} does not say which stores are away ({why}): where it is a Thanos, days may \
                 lack one",
                self.address()
            );
            Vec::new()
        })
    }

    /// The stores that are away, or why the server cannot say it now.
    async fn ask_stores(&self) -> Result<Vec<StoreAway>, String> {
        const BYTES_MAX: u64 = 4 << 20;
        let request = self.http.get(self.endpoint.join("api/v1/stores"));
        let what = "the question which stores are away";
        let sent = self.headers.apply(self.auth.apply(request)).send().await;
        let response = sent
            .map_err(|error| http::transport_failure(Hop::QueryLayer, what, error).to_string())?;
        let status = response.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(format!("it answers {status}"));
        }
        // Other servers have no such address.
        if !status.is_success() {
            return Ok(Vec::new());
        }
        let body = http::read_bounded(response, BYTES_MAX, Hop::QueryLayer).await;
        body.map(|body| stores::away(&body)).map_err(|failure| failure.to_string())
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
        (|| self.ask_once(path, parameters, due).instrument(step!("question", path)))
            .retry(retries)
            .when(|error| match error {
                NoAnswer::TooMuch(_) | NoAnswer::OutOfReach(_) => false,
                NoAnswer::Busy(_) => true,
                NoAnswer::Failed(failure) => failure.is_retryable(),
            })
            .notify(|error, delay| {
                let failure = error.clone().into_failure();
                tracing::debug!(%failure, delay_ms = delay.as_millis(), "asking again");
            })
            .await
    }

    /// Asks by the shorter way that the server is known to take.
    async fn ask_once(
        &self,
        path: &str,
        parameters: &[(&str, String)],
        due: &str,
    ) -> Result<Answer, NoAnswer> {
        // Proxies refuse long addresses; a form may be long, but not every proxy lets one through.
        let length: usize = parameters.iter().map(|(_, value)| value.len()).sum();
        if length <= ADDRESS_BYTES_MAX || self.loses_forms.load(Ordering::Relaxed) {
            return self.exchange(self.get(path, parameters), due).await;
        }
        let form = [parameters, &self.extra()].concat();
        let posted = self.exchange(self.http.post(self.endpoint.join(path)).form(&form), due).await;
        let refused = match posted {
            Err(refused) if refused.may_be_of_a_lost_form() => refused,
            other => return other,
        };
        match self.exchange(self.get(path, parameters), due).await {
            Ok(answer) => {
                self.loses_forms.store(true, Ordering::Relaxed);
                tracing::warn!(
                    failure = %refused.into_failure(),
                    "POST does not get through to the query layer: long queries go by GET"
                );
                Ok(answer)
            }
            // What the server says of the query itself.
            Err(too_much @ NoAnswer::TooMuch(_)) => Err(too_much),
            Err(by_get) => {
                let (by_post, by_get) = (refused.into_failure(), by_get.into_failure());
                let is_of_query = by_post == by_get;
                Err(if is_of_query {
                    NoAnswer::Failed(by_post)
                } else {
                    lost_form(by_post, &by_get)
                })
            }
        }
    }

    fn get(&self, path: &str, parameters: &[(&str, String)]) -> reqwest::RequestBuilder {
        self.http.get(self.endpoint.join(path)).query(parameters).query(&self.extra())
    }

    /// What every query has beside its own parameters; servers ignore those of others.
    fn extra(&self) -> [(&'static str, String); 4] {
        [
            // Thanos: a store that is down must be an error, not a smaller bill.
            ("partial_response", "false"),
            // Thanos: replicas are one.
            ("dedup", "true"),
            // VictoriaMetrics: as Thanos' partial_response.
            ("deny_partial_response", "1"),
            // VictoriaMetrics: cached results lack samples that came late.
            ("nocache", "1"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
    }

    async fn exchange(
        &self,
        request: reqwest::RequestBuilder,
        due: &str,
    ) -> Result<Answer, NoAnswer> {
        // Results caches of query-frontends lack samples that came late.
        let request =
            self.headers.apply(self.auth.apply(request)).header(CACHE_CONTROL, "no-store");
        let response = request.send().await.map_err(|e| self.transport(e))?;
        let what = format!("a query to {}", self.address());
        if let Some(failure) = proxy::refusal(Hop::QueryLayer, &what, &response) {
            return Err(NoAnswer::Failed(failure));
        }
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
        let warnings = reply.what_is_missing();
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
        Ok(Answer { series: data.result, warnings })
    }

    /// What a server means that has no answer.
    fn refused(&self, status: StatusCode, error_type: &str, text: &str) -> NoAnswer {
        let class = refusal::classify(status.as_u16(), error_type, text);
        let shown = excerpt(&refusal::without_query(text));
        let what = format!("{} answered {status}: {shown}", self.address());
        let fix = refusal::fix(class, status.as_u16());
        let failure = |kind| Failure::query(kind, what, fix);
        match class {
            Class::TooMuch(kind) => NoAnswer::TooMuch(failure(kind)),
            Class::Busy(kind) => NoAnswer::Busy(failure(kind)),
            Class::OutOfReach => NoAnswer::OutOfReach(failure(Kind::Refused)),
            Class::Final(kind) => NoAnswer::Failed(failure(kind)),
        }
    }
}

/// A long query that neither way gets an answer.
fn lost_form(by_post: Failure, by_get: &Failure) -> NoAnswer {
    let what = format!("by POST, {}; by GET, {}", by_post.what, by_get.what);
    let fix = format!(
        "{}; else let the proxies before the query layer pass POST with its body, or addresses of \
         16 KiB",
        by_post.fix
    );
    NoAnswer::Failed(Failure { what, fix, ..by_post })
}
