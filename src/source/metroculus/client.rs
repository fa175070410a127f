//! Metroculus' HTTP API: the two calls the worker needs, and what can be wrong with their replies.

use std::collections::BTreeMap;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use reqwest::{Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cost::AccountId;
use crate::service::failure::{Failure, Hop, Kind, excerpt};
use crate::service::{http, proxy};
use crate::settings::{Endpoint, Secret};

use crate::source::prometheus::client::REPLY_BYTES_MAX;
use crate::source::prometheus::reply::{Series, read_json};

use super::reply::{self, CostsReply, Form, MetricsReply};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const RETRIES_MAX: usize = 2;
const FIX_ADDRESS: &str = "see that METROCULUS_URL is Metroculus itself, and its log";

/// One metric of a reply.
#[derive(Clone, Debug, Default)]
pub struct MetroculusMetric {
    /// The series of the account asked for.
    pub series: Vec<Series>,
    /// Whether the series have points of the past, not only of now.
    pub is_history: bool,
    /// Whether the series have one value each, of now.
    pub is_now: bool,
    /// How many of them have no tenant: they are taken to be the account's.
    pub without_tenant: usize,
}

/// Metrics by their names.
pub type Metrics = BTreeMap<String, MetroculusMetric>;

/// The series of a metric.
pub(super) fn series<'a>(metrics: &'a Metrics, name: &str) -> &'a [Series] {
    metrics.get(name).map_or(&[], |metric| &metric.series)
}

/// Asks one Metroculus.
#[derive(Clone, Debug)]
pub struct MetroculusClient {
    http: reqwest::Client,
    endpoint: Endpoint,
    secret: Secret,
}

impl MetroculusClient {
    /// A client for the service at `endpoint`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(endpoint: Endpoint, secret: Secret) -> Result<Self, Failure> {
        Ok(Self { http: http::client(REQUEST_TIMEOUT)?, endpoint, secret })
    }

    /// The service's address.
    #[must_use]
    pub fn address(&self) -> &str {
        self.endpoint.redacted()
    }

    /// Sees that something answers at the address and takes the secret.
    ///
    /// # Errors
    /// When nothing does, or the secret is refused.
    pub async fn check(&self) -> Result<(), Failure> {
        let sent = self
            .http
            .get(self.endpoint.join("metroculus/v2/kubecost_metrics"))
            .header("Secret", self.secret.expose())
            .send()
            .await;
        let status = self.answered(sent)?.status();
        if matches!(status.as_u16(), 401 | 403) {
            return Err(self.refused(status, ""));
        }
        Ok(())
    }

    /// Metrics of an account, by name. Series of other tenants are left out, with a warning.
    ///
    /// # Errors
    /// When the service cannot be asked, or answers something else.
    pub async fn metrics(
        &self,
        account: &AccountId,
        names: &[&str],
        start: i64,
        end: i64,
    ) -> Result<Metrics, Failure> {
        let asked = ("metrics", names.join(","));
        let reply: MetricsReply =
            self.ask("kubecost_metrics", account, Some(asked), start, end).await?;
        self.no_error(&reply.error)?;
        let Some(metrics) = reply.metrics else {
            let what = format!("{} answered without 'metrics'", self.address());
            return Err(Failure::query(Kind::BadReply, what, FIX_ADDRESS));
        };
        let mut out = BTreeMap::new();
        // Some versions answer all that they have.
        for (name, reply) in metrics.into_iter().filter(|(name, _)| names.contains(&&**name)) {
            out.insert(name.clone(), self.metric(account, &name, reply)?);
        }
        Ok(out)
    }

    fn metric(
        &self,
        account: &AccountId,
        name: &str,
        reply: Value,
    ) -> Result<MetroculusMetric, Failure> {
        let (all, form) = reply::read(reply).map_err(|text| {
            let what = format!("{} has no answer for {name}: {}", self.address(), excerpt(&text));
            Failure::query(Kind::BadReply, what, "see Metroculus' and Thanos' logs")
        })?;
        let count = all.len();
        let tenant = |series: &Series| series.label("tenant_id").to_owned();
        let is_own = |series: &Series| {
            matches!(tenant(series).as_str(), "") || tenant(series) == account.as_str()
        };
        let series: Vec<Series> = all.into_iter().filter(is_own).collect();
        if series.len() < count {
            let foreign = count - series.len();
            tracing::warn!(account.id = %account, metric = name, foreign, "series of other tenants are refused");
        }
        let without_tenant = series.iter().filter(|series| tenant(series).is_empty()).count();
        let (is_history, is_now) = (form == Form::History, form == Form::Vector);
        Ok(MetroculusMetric { series, is_history, is_now, without_tenant })
    }

    /// A body may be an error whatever its status.
    fn no_error(&self, error: &Value) -> Result<(), Failure> {
        let Some(text) = reply::error_text(error) else { return Ok(()) };
        let code = error.get("status_code").and_then(Value::as_u64);
        let code = code.and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
        let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Err(self.refused(status, &text))
    }

    /// The cluster's rate in USD per hour: the service answers the rate times the hours asked for.
    /// `None` when it answers zero, which is what it says when it knows nothing.
    ///
    /// # Errors
    /// When the service cannot be asked, or answers something else.
    pub async fn cluster_rate(
        &self,
        account: &AccountId,
        start: i64,
        end: i64,
    ) -> Result<Option<f64>, Failure> {
        let reply: CostsReply =
            self.ask("kubecost_cluster_costs", account, None, start, end).await?;
        self.no_error(&reply.error)?;
        let Some(total) = reply.total() else {
            let what = format!("{} answered cluster costs without a total", self.address());
            return Err(Failure::query(Kind::BadReply, what, FIX_ADDRESS));
        };
        if !total.is_finite() || total < 0.0 {
            let what = format!("{} says the cluster costs {total}", self.address());
            return Err(Failure::query(Kind::BadData, what, "see the cluster's price settings"));
        }
        let hours = (end - start).max(1) as f64 / 3_600.0;
        Ok((total > 0.0).then_some(total / hours))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        call: &str,
        account: &AccountId,
        more: Option<(&str, String)>,
        start: i64,
        end: i64,
    ) -> Result<T, Failure> {
        let retries = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(3))
            .with_max_times(RETRIES_MAX)
            .with_jitter();
        let parameters: Vec<(&str, String)> = [
            ("cloud_account_id", account.as_str().to_owned()),
            ("start_date", start.to_string()),
            ("end_date", end.to_string()),
        ]
        .into_iter()
        .chain(more)
        .collect();
        (|| self.ask_once(call, &parameters)).retry(retries).when(Failure::is_retryable).await
    }

    async fn ask_once<T: DeserializeOwned>(
        &self,
        call: &str,
        parameters: &[(&str, String)],
    ) -> Result<T, Failure> {
        let response = self
            .http
            .get(self.endpoint.join(&format!("metroculus/v2/{call}")))
            .header("Secret", self.secret.expose())
            .query(parameters)
            .send()
            .await;
        let response = self.answered(response)?;
        let status = response.status();
        let body = http::read_bounded(response, REPLY_BYTES_MAX, Hop::QueryLayer).await?;
        if !status.is_success() {
            let text = reply::body_error(&body);
            return Err(self.refused(
                status,
                &text.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned()),
            ));
        }
        read_json(body.as_slice(), REPLY_BYTES_MAX).map_err(|error| {
            let text = excerpt(&String::from_utf8_lossy(&body));
            let what = format!(
                "{} answered {call} with '{text}', which is no reply: {error}",
                self.address()
            );
            Failure::query(Kind::BadReply, what, FIX_ADDRESS)
        })
    }

    /// The server's own answer, none of a proxy's.
    fn answered(&self, sent: reqwest::Result<Response>) -> Result<Response, Failure> {
        let what = format!("asking {}", self.address());
        let failed = |error| http::transport_failure(Hop::QueryLayer, &what, error);
        let response = sent.map_err(failed)?;
        proxy::refusal(Hop::QueryLayer, &what, &response).map_or(Ok(response), Err)
    }

    fn refused(&self, status: StatusCode, text: &str) -> Failure {
        let what = format!("{} answered {status}: {}", self.address(), excerpt(text));
        let kind = http::kind_of_status(status);
        let fix = match kind {
            Kind::Denied => "set CLUSTER_SECRET_FILE to CloudTuner's cluster secret",
            Kind::Overloaded => "run fewer workers at once",
            Kind::Unavailable => "see Metroculus' log",
            _ if status == StatusCode::NOT_FOUND => {
                "see that METROCULUS_URL is right and the account exists in CloudTuner"
            }
            _ => FIX_ADDRESS,
        };
        Failure::query(kind, what, fix)
    }
}
