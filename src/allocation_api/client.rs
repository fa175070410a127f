//! Asks a Kubecost or an OpenCost for allocations over HTTP.
//!
//! Where the API is served is found out by asking: a path that does not exist is answered with 404
//! (or with the page of a user interface), and the next one is tried. The path does not tell the
//! product, because user interfaces forward `/model` to OpenCost; the reply does.

use std::sync::Mutex;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use reqwest::{Response, StatusCode};

use super::keys;
use super::reply::{self, Product, Reply};
use super::window::Window;
use crate::service::failure::{Failure, Hop, Kind, REPORT, causes, chain, excerpt};
use crate::service::http::{fault_between, kind_of_status};
use crate::service::proxy;
use crate::service::tls::{self, Tls};
use crate::settings::Endpoint;
use crate::settings::auth::Auth;

pub use crate::settings::exporter::Idle;

/// Paths under which the API is served, in the order in which they are tried.
const PATHS: [&str; 2] = ["/model/allocation", "/allocation"];
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_DELAY_LEAST: Duration = Duration::from_millis(500);
const RETRY_DELAY_MOST: Duration = Duration::from_secs(10);
/// Of an error page this much is read to find its message.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// Who asks: servers see it as the user agent, and operators are told of settings that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The allocation exporter.
    Exporter,
    /// The worker, with `QUERY_LAYER=allocation-api`.
    Worker,
}

impl Asker {
    fn user_agent(self) -> &'static str {
        match self {
            Self::Exporter => {
                concat!("kubecost-allocation-exporter/", env!("CARGO_PKG_VERSION"))
            }
            Self::Worker => concat!("kubecost-worker/", env!("CARGO_PKG_VERSION")),
        }
    }

    fn of_large_replies(self) -> &'static str {
        match self {
            Self::Exporter => "raise MAX_REPLY_BYTES and the memory limit, or leave pods out",
            Self::Worker => "leave pods out: LEVELS=cluster,namespace",
        }
    }

    fn of_slow_replies(self) -> &'static str {
        match self {
            Self::Exporter => "see whether the server is overloaded; raise REQUEST_TIMEOUT",
            Self::Worker => "see whether the server is overloaded; LEVELS without pod asks less",
        }
    }

    fn of_credentials(self) -> &'static str {
        match self {
            Self::Exporter => {
                "set KUBECOST_USER and KUBECOST_PASSWORD_FILE, or KUBECOST_TOKEN_FILE"
            }
            Self::Worker => "put a user and a password into KUBECOST_URL",
        }
    }

    fn of_throttling(self) -> &'static str {
        match self {
            Self::Exporter => "ask less often: SCRAPE_INTERVAL",
            Self::Worker => "run less often, or fewer days at once",
        }
    }
}

/// How to reach the API and how patient to be.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Who asks.
    pub asker: Asker,
    /// How the server knows us.
    pub auth: Auth,
    /// Whom we trust, and how we prove ourselves.
    pub tls: Tls,
    /// Time for one request, its whole reply included.
    pub timeout: Duration,
    /// How often a request is tried in all, when trying again may help.
    pub attempts: usize,
    /// The largest reply that is read, bytes after decompression.
    pub reply_bytes_max: usize,
    /// The only cluster whose rows are taken, of a server that answers for several.
    pub cluster: Option<String>,
}

impl ClientOptions {
    /// For the worker, which reads days of a large cluster: such replies take their time.
    #[must_use]
    pub fn for_days(auth: Auth) -> Self {
        Self {
            asker: Asker::Worker,
            auth,
            tls: tls::of_process().clone(),
            timeout: Duration::from_secs(100),
            attempts: 3,
            reply_bytes_max: 256 * 1024 * 1024,
            cluster: None,
        }
    }
}

/// One question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Of which time.
    pub window: Window,
    /// Length of each set, hours; `None`: the whole window is one set.
    pub step_hours: Option<i64>,
    /// By what rows are made, such as `namespace` or `namespace,pod`.
    pub aggregate: &'static str,
    /// What to do with idle cost.
    pub idle: Idle,
    /// Whether idle cost is shared within each node, where it is shared.
    pub is_idle_by_node: bool,
    /// Grid to which the server cuts times, such as `1m`; `None`: the server's own.
    pub resolution: Option<&'static str>,
}

impl Request {
    /// The parameters as they are sent.
    ///
    /// Both products' names of the idle flag are sent, because unknown parameters are ignored by
    /// both and because Kubecost adds idle rows by default. `shareIdle` is a bool on both: the
    /// word `weighted` would be read as false.
    #[must_use]
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let includes_idle = (self.idle != Idle::None).to_string();
        let shares = self.idle.is_shared();
        let mut parameters = vec![
            ("window", self.window.to_string()),
            ("aggregate", self.aggregate.to_owned()),
            ("includeIdle", includes_idle.clone()),
            ("idle", includes_idle),
            ("shareIdle", shares.to_string()),
            ("accumulate", "false".to_owned()),
        ];
        if self.idle == Idle::SharedEven {
            parameters.push(("shareSplit", "even".to_owned()));
        }
        if self.is_idle_by_node {
            parameters.push(("idleByNode", "true".to_owned()));
        }
        match self.step_hours {
            Some(24) => parameters.push(("step", "1d".to_owned())),
            Some(hours) => parameters.push(("step", format!("{hours}h"))),
            None => {}
        }
        if let Some(resolution) = self.resolution {
            parameters.push(("resolution", resolution.to_owned()));
        }
        parameters
    }
}

/// A client of one server's allocation API.
#[derive(Debug)]
pub struct AllocationClient {
    http: reqwest::Client,
    endpoint: Endpoint,
    options: ClientOptions,
    /// The path that answered last.
    path: Mutex<Option<&'static str>>,
}

/// What came of asking at one path.
enum Asked {
    Reply(Reply),
    NotHere(Failure),
}

impl AllocationClient {
    /// A client; nothing is connected yet.
    ///
    /// # Errors
    /// When no client can be built on this machine.
    pub fn new(endpoint: Endpoint, options: ClientOptions) -> Result<Self, Failure> {
        let builder = options
            .tls
            .applied(reqwest::Client::builder())
            .gzip(true)
            .timeout(options.timeout)
            .connect_timeout(CONNECT_TIMEOUT.min(options.timeout))
            .redirect(crate::service::http::redirects())
            .user_agent(options.asker.user_agent());
        let http = builder.build().map_err(|error| {
            let what = format!("an HTTP client cannot be made: {}", excerpt(&chain(&error)));
            Failure::query(Kind::Internal, what, REPORT)
        })?;
        Ok(Self { http, endpoint, options, path: Mutex::new(None) })
    }

    /// The server's address without credentials.
    #[must_use]
    pub fn describe(&self) -> &str {
        self.endpoint.redacted()
    }

    /// Asks, and asks again for what may pass.
    ///
    /// # Errors
    /// What the last attempt failed with; never a reply's text in full, never a credential.
    pub async fn allocations(&self, request: &Request) -> Result<Reply, Failure> {
        let backoff = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(RETRY_DELAY_LEAST)
            .with_max_delay(RETRY_DELAY_MOST)
            .with_max_times(self.options.attempts.saturating_sub(1));
        let mut reply = (|| self.find(request)).retry(backoff).when(Failure::is_retryable).await?;
        if let Some(cluster) = &self.options.cluster {
            keys::keep_cluster(&mut reply.sets, cluster, request.aggregate).map_err(|other| {
                let what = format!(
                    "{} answers for the cluster '{other}' beside '{cluster}', with costs that may \
                     be of either",
                    self.describe()
                );
                let fix =
                    "update Kubecost or OpenCost to a version that reads the parameter filter";
                Failure::query(Kind::BadData, what, fix)
            })?;
            reply.cluster = Some(cluster.as_str().into());
        }
        if request.idle == Idle::SharedEven && reply.product == Product::OpenCost {
            let what = "is an OpenCost, which shares idle cost only by weight";
            let fix = "set SHARE_IDLE=weighted";
            return Err(Failure::query(Kind::Refused, format!("{} {what}", self.describe()), fix));
        }
        Ok(reply)
    }

    /// Whether only one cluster's rows are taken: then keys have to name it.
    #[must_use]
    pub fn is_of_one_cluster(&self) -> bool {
        self.options.cluster.is_some()
    }

    /// The currency that the product is set to, where it says so.
    ///
    /// # Errors
    /// When it cannot be asked now: it may say one the next time.
    pub async fn currency(&self) -> Result<Option<String>, Failure> {
        let path = match self.known_path() {
            None => return Ok(None),
            Some("/allocation") => "/getConfigs",
            Some(_) => "/model/getConfigs",
        };
        let failed = |why: &dyn std::fmt::Display| {
            Failure::query(
                Kind::Unavailable,
                format!("{} does not say which currency its costs are in: {why}", self.describe()),
                "see its log; the next run asks again",
            )
        };
        let request = self.options.auth.apply(self.http.get(self.endpoint.join(path)));
        let response = request.send().await.map_err(|error| failed(&error.without_url()))?;
        let status = response.status();
        if status.is_server_error() || status.as_u16() == 429 {
            return Err(failed(&format!("it answers {status}")));
        }
        if !status.is_success() {
            return Ok(None);
        }
        Ok(reply::currency(&self.read(response, ERROR_BYTES_MAX).await?))
    }

    /// Asks at the known path, or at each until one answers.
    async fn find(&self, request: &Request) -> Result<Reply, Failure> {
        let known = self.known_path();
        let mut last = None;
        for path in known.into_iter().chain(PATHS.into_iter().filter(|p| Some(*p) != known)) {
            match self.ask(path, request).await? {
                Asked::Reply(reply) => {
                    self.remember(Some(path));
                    return Ok(reply);
                }
                Asked::NotHere(failure) => last = Some(failure),
            }
        }
        self.remember(None);
        Err(last.unwrap_or_else(|| {
            Failure::query(Kind::Internal, "no path was tried", "report this as a bug")
        }))
    }

    fn known_path(&self) -> Option<&'static str> {
        *self.path.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn remember(&self, path: Option<&'static str>) {
        *self.path.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = path;
    }

    async fn ask(&self, path: &str, request: &Request) -> Result<Asked, Failure> {
        let mut request = self.http.get(self.endpoint.join(path)).query(&request.parameters());
        if let Some(cluster) = &self.options.cluster {
            // The second is the name of earlier versions; where both are read they say the same.
            let quoted = cluster.replace('\\', "\\\\").replace('"', "\\\"");
            let filters =
                [("filter", format!("cluster:\"{quoted}\"")), ("filterClusters", cluster.clone())];
            request = request.query(&filters);
        }
        let response =
            self.options.auth.apply(request).send().await.map_err(|error| self.broken(&error))?;
        let what = format!("asking {}", self.describe());
        if let Some(failure) = proxy::refusal(Hop::QueryLayer, &what, &response) {
            return Err(failure);
        }
        let status = response.status();
        if status.is_success() {
            let body = self.read(response, self.options.reply_bytes_max).await?;
            return match reply::parse(&body) {
                Ok(reply) => Ok(Asked::Reply(reply)),
                // User interfaces answer paths they do not know with their page.
                Err(failure) if body.trim_ascii().starts_with(b"<") => {
                    Ok(Asked::NotHere(self.named(failure)))
                }
                Err(failure) => Err(self.named(failure)),
            };
        }
        let text = match self.read(response, ERROR_BYTES_MAX).await {
            Ok(body) => reply::error_text(&body),
            Err(_) => String::new(),
        };
        let failure = self.refused(status, &text);
        if status == StatusCode::NOT_FOUND { Ok(Asked::NotHere(failure)) } else { Err(failure) }
    }

    /// Reads a body up to a bound, whatever its length is said to be.
    async fn read(&self, mut response: Response, bytes_max: usize) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(&error))? {
            if body.len() + chunk.len() > bytes_max {
                let what = format!("{} answers more than {bytes_max} bytes", self.describe());
                let fix = self.options.asker.of_large_replies();
                return Err(Failure::query(Kind::BadReply, what, fix));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn named(&self, failure: Failure) -> Failure {
        Failure { what: format!("{} {}", self.describe(), failure.what), ..failure }
    }

    /// A request that got no reply. The error's own text may hold the address' credentials, so
    /// only its causes are told.
    fn broken(&self, error: &reqwest::Error) -> Failure {
        let shown = self.describe();
        if error.is_timeout() {
            let seconds = self.options.timeout.as_secs();
            let what = format!("{shown} gave no whole answer within {seconds} s");
            let fix = self.options.asker.of_slow_replies();
            return Failure::query(Kind::Timeout, what, fix);
        }
        if error.is_decode() {
            let what = format!("{shown} answers a body that cannot be decompressed");
            return Failure::query(Kind::BadReply, what, "see what stands before the server");
        }
        let what = format!("asking {shown}");
        if let Some(failure) = fault_between(Hop::QueryLayer, &what, error) {
            return failure;
        }
        let what = format!("{shown} cannot be reached: {}", causes(error));
        let fix = "see that KUBECOST_URL is right and the server is up";
        Failure::query(Kind::Unavailable, what, fix)
    }

    fn refused(&self, status: StatusCode, text: &str) -> Failure {
        let kind = match status {
            StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => Kind::Timeout,
            status => kind_of_status(status),
        };
        let fix = match kind {
            Kind::Denied => self.options.asker.of_credentials(),
            Kind::Overloaded => self.options.asker.of_throttling(),
            Kind::Timeout => "see whether the server, or its Prometheus, is overloaded",
            Kind::Unavailable => "see the log of Kubecost or OpenCost, and its Prometheus",
            _ => "see that KUBECOST_URL names a Kubecost or an OpenCost",
        };
        let mut what = format!("{} answers HTTP {}", self.describe(), status.as_u16());
        if !text.is_empty() {
            what = format!("{what}: '{text}'");
        }
        Failure::query(kind, what, fix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(idle: Idle, step_hours: Option<i64>) -> String {
        let window = Window { start: 1_795_190_400, end: 1_795_194_000 };
        let request = Request {
            window,
            step_hours,
            aggregate: "namespace",
            idle,
            is_idle_by_node: false,
            resolution: None,
        };
        let parts: Vec<_> =
            request.parameters().iter().map(|(name, value)| format!("{name}={value}")).collect();
        parts.join("&")
    }

    #[test]
    fn both_names_of_the_idle_flag_are_sent_and_sharing_is_a_bool() {
        assert_eq!(
            sent(Idle::Separate, Some(1)),
            "window=2026-11-20T16:00:00Z,2026-11-20T17:00:00Z&aggregate=namespace&\
             includeIdle=true&idle=true&shareIdle=false&accumulate=false&step=1h"
        );
        assert!(sent(Idle::None, None).contains("includeIdle=false&idle=false&shareIdle=false"));
        assert!(
            sent(Idle::SharedWeighted, Some(24))
                .ends_with("shareIdle=true&accumulate=false&step=1d")
        );
        assert!(sent(Idle::SharedEven, None).contains("shareIdle=true"));
        assert!(sent(Idle::SharedEven, None).ends_with("shareSplit=even"));
    }
}
