//! Savings that the source itself reports, as Metroculus hands them on.

use serde_json::{Value, json};

use crate::cost::AccountId;
use crate::service::failure::Failure;
use crate::settings::worker::QueryConfig;
use crate::source::prometheus::client::{NoAnswer, PromClient};
use crate::source::prometheus::promql::quoted;
use crate::source::prometheus::reply::Series;

use super::span::Span;

const CPU: &str = "kubecost_savings_cpu_allocation";
const MEMORY: &str = "kubecost_savings_memory_allocation_bytes";
/// Points of a series are an hour apart, or more where that would be more than this.
const POINTS_MAX: i64 = 720;
const HOUR: i64 = 3_600;
/// The most points that are answered of a metric.
const ALL_POINTS_MAX: usize = 50_000;

/// Reads the savings of accounts, where the query layer has them.
#[derive(Clone, Debug)]
pub struct Savings(Option<(PromClient, Option<String>)>);

impl Savings {
    /// Those of this query layer: only Prometheus and its like have them.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(query: &QueryConfig) -> Result<Self, Failure> {
        Ok(Self(match query {
            QueryConfig::Prometheus { endpoint, auth, headers, tenant_label, .. } => {
                let client = PromClient::new(endpoint.clone(), auth.clone(), headers.clone())?;
                Some((client, tenant_label.clone()))
            }
            QueryConfig::Metroculus { .. } | QueryConfig::AllocationApi { .. } => None,
        }))
    }

    /// No savings at all.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    pub(super) async fn reply(&self, account: &AccountId, span: Span) -> Result<Value, Failure> {
        let cpu = self.points(CPU, account, span).await?;
        let memory = self.points(MEMORY, account, span).await?;
        Ok(json!({"cpu_savings": cpu, "memory_savings": memory}))
    }

    async fn points(
        &self,
        metric: &str,
        account: &AccountId,
        span: Span,
    ) -> Result<Vec<Value>, Failure> {
        let Some((client, tenant_label)) = &self.0 else { return Ok(Vec::new()) };
        let selector = match tenant_label {
            None => metric.to_owned(),
            Some(label) => format!("{metric}{{{label}={}}}", quoted(account.as_str())),
        };
        let step = HOUR.max((span.end - span.start) / POINTS_MAX);
        let answer =
            client.for_account(account).range(&selector, span.start, span.end - 1, step).await;
        let series = answer.map_err(NoAnswer::into_failure)?.series;
        Ok(series.iter().flat_map(points).take(ALL_POINTS_MAX).collect())
    }
}

fn points(series: &Series) -> Vec<Value> {
    let point = |(timestamp, value): &(f64, f64)| {
        let labels = &series.labels;
        let point = || json!({"timestamp": timestamp, "value": value, "labels": labels});
        value.is_finite().then(point)
    };
    series.points.iter().filter_map(point).collect()
}
