//! Calls to the REST API: header `Secret`, bounded replies, bounded retries.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use reqwest::header::HeaderValue;
use reqwest::{Client, Method};
use serde::de::DeserializeOwned;
use url::Url;

use crate::service::failure::{Failure, Hop, Kind};
use crate::service::http::{self, read_bounded, transport_failure};
use crate::service::proxy;
use crate::settings::auth::Auth;
use crate::settings::{Endpoint, Secret};

use super::refusal::{RefusedCall, refusal, unreadable};

/// The longest reply that is read.
pub const REPLY_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// How long calls may take and how often they are made again.
#[derive(Clone, Copy, Debug)]
pub struct RestLimits {
    /// Of one call, from connecting to the last byte.
    pub request_timeout: Duration,
    /// Of one bulk call; 5 000 resources were seen to take 5 s.
    pub bulk_timeout: Duration,
    /// How often a call is made again where that may help.
    pub retries_max: usize,
    /// The shortest wait before a call is made again; later waits are longer.
    pub retry_delay: Duration,
}

impl Default for RestLimits {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(20),
            bulk_timeout: Duration::from_secs(60),
            retries_max: 3,
            retry_delay: Duration::from_millis(500),
        }
    }
}

/// A client of CloudTuner's REST API.
#[derive(Clone, Debug)]
pub struct RestClient {
    client: Client,
    endpoint: Endpoint,
    secret: Secret,
    header: HeaderValue,
    limits: RestLimits,
}

/// One call.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) body: Option<serde_json::Value>,
}

impl Call<'_> {
    pub(super) fn get(path: String) -> Self {
        Self { method: Method::GET, path, query: &[], body: None }
    }

    fn is_read(&self) -> bool {
        self.method == Method::GET
    }
}

impl RestClient {
    /// A client of the API at `endpoint` for the bearer of `secret`.
    ///
    /// # Errors
    /// When the secret cannot stand in a header, or no HTTP client can be made.
    pub fn new(endpoint: Endpoint, secret: &Secret) -> Result<Self, Failure> {
        Self::with_limits(endpoint, secret, RestLimits::default())
    }

    /// A client with limits of its own.
    ///
    /// # Errors
    /// When the secret cannot stand in a header, or no HTTP client can be made.
    pub fn with_limits(
        endpoint: Endpoint,
        secret: &Secret,
        limits: RestLimits,
    ) -> Result<Self, Failure> {
        let mut header = HeaderValue::from_str(secret.expose()).map_err(|_| {
            let what = "the secret has characters that an HTTP header cannot have";
            let fix = "check CLUSTER_SECRET for line breaks and the like";
            Failure::new(Hop::RestApi, Kind::Denied, what, fix)
        })?;
        header.set_sensitive(true);
        let client = http::client(limits.request_timeout)?;
        Ok(Self { client, endpoint, secret: secret.clone(), header, limits })
    }

    /// The API's address, without credentials.
    #[must_use]
    pub fn address(&self) -> &str {
        self.endpoint.redacted()
    }

    pub(super) fn request_timeout(&self) -> Duration {
        self.limits.request_timeout
    }

    pub(super) fn bulk_timeout(&self) -> Duration {
        self.limits.bulk_timeout
    }

    /// Reads something, again where that may help.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: String) -> Result<T, RefusedCall> {
        self.call(&Call::get(path), self.limits.request_timeout).await
    }

    /// Makes a call, and again where it is safe and may help: a read after 429, 5xx, a time-out or
    /// a broken connection; a write where it surely did not fail by its content. Every write here
    /// sets values and adds nothing, so that it may arrive twice.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        call: &Call<'_>,
        timeout: Duration,
    ) -> Result<T, RefusedCall> {
        let waits = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(self.limits.retry_delay)
            .with_max_times(self.limits.retries_max);
        let body =
            (|| self.once(call, timeout))
                .retry(waits)
                .when(|refusal: &RefusedCall| {
                    if call.is_read() {
                        refusal.may_read_again()
                    } else {
                        refusal.may_write_again()
                    }
                })
                .notify(|refusal, wait| {
                    tracing::debug!(
                        error = %refusal.failure,
                        wait_ms = wait.as_millis(),
                        "asking the rest api again"
                    );
                })
                .await?;
        self.parse(call, &body)
    }

    /// Makes a call once: for a write that must not arrive twice.
    pub(super) async fn call_once<T: DeserializeOwned>(
        &self,
        call: &Call<'_>,
    ) -> Result<T, RefusedCall> {
        let body = self.once(call, self.limits.request_timeout).await?;
        self.parse(call, &body)
    }

    fn parse<T: DeserializeOwned>(&self, call: &Call<'_>, body: &[u8]) -> Result<T, RefusedCall> {
        serde_json::from_slice(body).map_err(|error| {
            let failure = unreadable(&self.what(call), body, &error);
            RefusedCall::without_status(self.redacted(failure))
        })
    }

    async fn once(&self, call: &Call<'_>, timeout: Duration) -> Result<Vec<u8>, RefusedCall> {
        self.exchange(call, timeout).await.map_err(|refusal| RefusedCall {
            failure: self.redacted(refusal.failure.clone()),
            ..refusal
        })
    }

    async fn exchange(&self, call: &Call<'_>, timeout: Duration) -> Result<Vec<u8>, RefusedCall> {
        let what = self.what(call);
        let url = self.url(call);
        let mut request = self
            .client
            .request(call.method.clone(), url.clone())
            .timeout(timeout)
            .header("Secret", self.header.clone())
            .header("Accept", "application/json");
        request = Auth::in_address(&self.endpoint).apply(request);
        if let Some(body) = &call.body {
            request = request.header("Content-Type", "application/json").body(body.to_string());
        }
        let response = request.send().await.map_err(|error| {
            RefusedCall::without_status(transport_failure(Hop::RestApi, &what, error))
        })?;
        if let Some(failure) = proxy::refusal(Hop::RestApi, &what, &response) {
            return Err(RefusedCall::without_status(failure));
        }
        let status = response.status();
        let was_redirected = *response.url() != url;
        let body = read_bounded(response, REPLY_BYTES_MAX, Hop::RestApi).await;
        if !status.is_success() {
            // A reply that refuses need not be readable to the end.
            return Err(refusal(&what, status, &body.unwrap_or_default()));
        }
        if was_redirected && !call.is_read() {
            return Err(RefusedCall::without_status(redirected(&what)));
        }
        body.map_err(|failure| {
            let what = format!("{what}: {}", failure.what);
            RefusedCall::without_status(Failure { what, ..failure })
        })
    }

    fn url(&self, call: &Call<'_>) -> Url {
        let mut url = self.endpoint.join(&call.path);
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(call.query);
        }
        url
    }

    fn what(&self, call: &Call<'_>) -> String {
        format!("{} {}{}", call.method, self.endpoint.redacted(), call.path)
    }

    /// A server may repeat what it was sent.
    fn redacted(&self, mut failure: Failure) -> Failure {
        let password = self.endpoint.credentials().map(|(_, password)| password.expose());
        let secrets = [Some(self.secret.expose()), password];
        for secret in secrets.into_iter().flatten().filter(|secret| !secret.is_empty()) {
            failure.what = failure.what.replace(secret, "[secret]");
        }
        failure
    }
}

/// Following most redirects turns a write into a read, which then answers as if all were well.
fn redirected(what: &str) -> Failure {
    let what = format!("{what} was redirected, and what it should write was not sent there");
    let fix = "let REST_URL be the address that it redirects to";
    Failure::new(Hop::RestApi, Kind::BadReply, what, fix)
}
