//! Accounts from CloudTuner's REST API: those of every organization.

use std::time::Duration;

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable};
use reqwest::header::HeaderValue;
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cost::AccountId;
use crate::service::failure::{Failure, Hop, Kind, excerpt};
use crate::service::http::{self, read_bounded, transport_failure};
use crate::settings::{Endpoint, Secret};

use super::{ACCOUNT_TYPE, Account, AccountSource, sorted};

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest reply that is read.
const REPLY_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// How often a request is made again after 429, 5xx and broken connections.
const RETRIES_MAX: usize = 3;
/// How long the first wait before another request is at least; later ones are longer.
const RETRY_DELAY: Duration = Duration::from_millis(500);

const FIX_ADDRESS: &str = "check that REST_URL is the address of CloudTuner's REST API, without \
                           the path /restapi";

/// The accounts that a REST API lists.
#[derive(Clone, Debug)]
pub struct RestAccounts {
    client: Client,
    endpoint: Endpoint,
    secret: HeaderValue,
    retry_delay: Duration,
}

#[derive(Deserialize)]
struct Organizations {
    organizations: Vec<Organization>,
}

#[derive(Deserialize)]
struct Organization {
    id: String,
    #[serde(default)]
    deleted_at: Option<i64>,
}

#[derive(Deserialize)]
struct CloudAccounts {
    cloud_accounts: Vec<CloudAccount>,
}

#[derive(Deserialize)]
struct CloudAccount {
    id: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    deleted_at: Option<i64>,
}

/// 0 and null both stand for "not deleted".
fn is_live(deleted_at: Option<i64>) -> bool {
    deleted_at.unwrap_or(0) == 0
}

impl RestAccounts {
    /// The accounts that the API at `endpoint` lists for the bearer of `secret`.
    ///
    /// # Errors
    /// When the secret cannot stand in a header, or no HTTP client can be made.
    pub fn new(endpoint: Endpoint, secret: &Secret) -> Result<Self, Failure> {
        let mut header = HeaderValue::from_str(secret.expose()).map_err(|_| {
            let what = "the secret has characters that an HTTP header cannot have";
            let fix = "check CLUSTER_SECRET for line breaks and the like";
            Failure::new(Hop::RestApi, Kind::Denied, what, fix)
        })?;
        header.set_sensitive(true);
        let client = http::client(REQUEST_TIMEOUT)?;
        Ok(Self { client, endpoint, secret: header, retry_delay: RETRY_DELAY })
    }

    /// One request, made again a few times where that may help: it only reads.
    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let waits = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(self.retry_delay)
            .with_max_times(RETRIES_MAX);
        let body = (|| self.get_once(path))
            .retry(waits)
            .when(Failure::is_retryable)
            .notify(|failure, wait| {
                tracing::debug!(
                    error = %failure,
                    wait_ms = wait.as_millis(),
                    "asking the rest api again"
                );
            })
            .await?;
        serde_json::from_slice(&body).map_err(|error| self.unreadable(path, &body, &error))
    }

    async fn get_once(&self, path: &str) -> Result<Vec<u8>, Failure> {
        let what = format!("GET {}{path}", self.endpoint.shown());
        let mut request = self
            .client
            .get(self.endpoint.join(path))
            .header("Secret", self.secret.clone())
            .header("Accept", "application/json");
        if let Some((user, password)) = self.endpoint.credentials() {
            request = request.basic_auth(user, Some(password.expose()));
        }
        let response =
            request.send().await.map_err(|error| transport_failure(Hop::RestApi, &what, error))?;
        let status = response.status();
        let body = read_bounded(response, REPLY_BYTES_MAX, Hop::RestApi).await;
        if status.is_success() {
            return body.map_err(|failure| Failure {
                what: format!("{what}: {}", failure.what),
                ..failure
            });
        }
        // A reply that says no need not be readable to the end.
        Err(status_failure(&what, status, &body.unwrap_or_default()))
    }

    fn unreadable(&self, path: &str, body: &[u8], error: &serde_json::Error) -> Failure {
        let text = String::from_utf8_lossy(&body[..body.len().min(512)]);
        let cause = if text.trim_start().starts_with('<') {
            "an HTML page, not JSON".to_owned()
        } else if body.is_empty() {
            "nothing".to_owned()
        } else {
            format!("what cannot be read ({error}): {}", excerpt(&text))
        };
        let what = format!("GET {}{path} answers {cause}", self.endpoint.shown());
        Failure::new(Hop::RestApi, Kind::BadReply, what, FIX_ADDRESS)
    }
}

/// What a status other than success means.
fn status_failure(what: &str, status: StatusCode, body: &[u8]) -> Failure {
    let (kind, fix) = match status.as_u16() {
        401 | 403 => (Kind::Denied, "check CLUSTER_SECRET: it is not the REST API's"),
        404 => (Kind::BadReply, FIX_ADDRESS),
        429 => (Kind::Overloaded, "the REST API asks for fewer requests; the next run goes on"),
        500.. => (Kind::Unavailable, "look at the REST API's log"),
        300..=399 => (Kind::BadReply, "let REST_URL be the address that it redirects to"),
        _ => (Kind::BadReply, FIX_ADDRESS),
    };
    let text = String::from_utf8_lossy(&body[..body.len().min(512)]);
    let text = text.trim();
    let said = if text.is_empty() || text.starts_with('<') {
        String::new()
    } else {
        format!(": {}", excerpt(text))
    };
    Failure::new(Hop::RestApi, kind, format!("{what} answers {status}{said}"), fix)
}

fn account(listed: CloudAccount) -> Result<Account, Failure> {
    let id = AccountId::new(listed.id).map_err(|error| {
        let what = format!("a cloud account cannot be used: {}", excerpt(&error.to_string()));
        let fix = "look at the organization's cloud accounts";
        Failure::new(Hop::RestApi, Kind::BadData, what, fix)
    })?;
    Ok(Account { id, name: listed.name })
}

/// An organization's id as one part of a path.
fn path_part(id: &str) -> String {
    url::form_urlencoded::byte_serialize(id.as_bytes()).collect::<String>().replace('+', "%20")
}

#[async_trait]
impl AccountSource for RestAccounts {
    fn describe(&self) -> String {
        format!("the REST API at {}", self.endpoint.shown())
    }

    async fn accounts(&self) -> Result<Vec<Account>, Failure> {
        let listed: Organizations = self.get("/restapi/v2/organizations").await?;
        let mut accounts = Vec::new();
        for organization in listed.organizations.iter().filter(|o| is_live(o.deleted_at)) {
            let id = path_part(&organization.id);
            let path = format!("/restapi/v2/organizations/{id}/cloud_accounts");
            let listed: CloudAccounts = self.get(&path).await?;
            let ours = listed
                .cloud_accounts
                .into_iter()
                .filter(|account| account.kind == ACCOUNT_TYPE && is_live(account.deleted_at));
            for listed in ours {
                accounts.push(account(listed)?);
            }
        }
        Ok(sorted(accounts))
    }
}

#[cfg(test)]
#[path = "rest_tests.rs"]
mod tests;
