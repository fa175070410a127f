//! Metroculus' HTTP API: the two calls the worker needs, and what can be wrong with their replies.

use std::collections::BTreeMap;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cost::AccountId;
use crate::service::failure::{Failure, Hop, Kind, excerpt};
use crate::service::http;
use crate::settings::{Endpoint, Secret};

use crate::source::prometheus::client::REPLY_BYTES_MAX;
use crate::source::prometheus::reply::{Reply, Series, read_json};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const RETRIES_MAX: usize = 2;
const FIX_ADDRESS: &str = "see that METROCULUS_URL is Metroculus itself, and its log";

/// One metric of a reply.
#[derive(Clone, Debug, Default)]
pub struct MetroculusMetric {
    /// The series of the account asked for.
    pub series: Vec<Series>,
    /// Whether the series have points of the past, not only of now.
    pub is_matrix: bool,
}

/// Asks one Metroculus.
#[derive(Clone, Debug)]
pub struct MetroculusClient {
    http: reqwest::Client,
    endpoint: Endpoint,
    secret: Secret,
}

/// A reply of `kubecost_metrics`.
#[derive(Debug, Deserialize)]
pub struct MetricsReply {
    metrics: Option<BTreeMap<String, Option<Reply>>>,
}

/// The two shapes of the cluster's costs: flat, and with a summary.
#[derive(Debug, Deserialize)]
pub struct CostsReply {
    total_cost: Option<f64>,
    summary: Option<CostsSummary>,
}

#[derive(Debug, Deserialize)]
struct CostsSummary {
    total_cost: Option<f64>,
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
        let status = sent.map_err(|error| self.transport(error))?.status();
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
    ) -> Result<BTreeMap<String, MetroculusMetric>, Failure> {
        let names = ("metrics", names.join(","));
        let reply: MetricsReply =
            self.ask("kubecost_metrics", account, Some(names), start, end).await?;
        let Some(metrics) = reply.metrics else {
            let what = format!("{} answered without 'metrics'", self.address());
            return Err(Failure::query(Kind::BadReply, what, FIX_ADDRESS));
        };
        let mut out = BTreeMap::new();
        for (name, reply) in metrics {
            out.insert(name.clone(), self.metric(account, &name, reply.unwrap_or_default())?);
        }
        Ok(out)
    }

    fn metric(
        &self,
        account: &AccountId,
        name: &str,
        reply: Reply,
    ) -> Result<MetroculusMetric, Failure> {
        if reply.status == "error" || !reply.error.is_empty() {
            let text = excerpt(&reply.error);
            let what = format!("{} has no answer for {name}: {text}", self.address());
            return Err(Failure::query(Kind::BadReply, what, "see Metroculus' and Thanos' logs"));
        }
        let data = reply.data.unwrap_or_default();
        let is_matrix = data.result_type == "matrix";
        if !matches!(data.result_type.as_str(), "" | "vector" | "matrix") {
            let what = format!("{} answered {name} with a {}", self.address(), data.result_type);
            return Err(Failure::query(Kind::BadReply, what, FIX_ADDRESS));
        }
        let all = data.result.len();
        let series: Vec<Series> = data
            .result
            .into_iter()
            .filter(|series| {
                matches!(series.label("tenant_id"), "")
                    || series.label("tenant_id") == account.as_str()
            })
            .collect();
        if series.len() < all {
            let foreign = all - series.len();
            tracing::warn!(account.id = %account, metric = name, foreign, "series of other tenants are refused");
        }
        Ok(MetroculusMetric { series, is_matrix })
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
        let total = reply.total_cost.or_else(|| reply.summary.and_then(|s| s.total_cost));
        let Some(total) = total else {
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
            .await
            .map_err(|error| self.transport(error))?;
        let status = response.status();
        let body = http::read_bounded(response, REPLY_BYTES_MAX, Hop::QueryLayer).await?;
        if !status.is_success() {
            return Err(self.refused(status, &String::from_utf8_lossy(&body)));
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

    fn transport(&self, error: reqwest::Error) -> Failure {
        http::transport_failure(Hop::QueryLayer, &format!("asking {}", self.address()), error)
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
