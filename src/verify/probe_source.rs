//! Asks in the customer's cluster, and diproxy.

use reqwest::Client;

use crate::service::failure::Failure;
use crate::settings::Endpoint;
use crate::settings::auth::Auth;
use crate::source::metric_names::{CLUSTER_TOTAL, CPU_PRICE, NODE_TOTAL};

use super::http::{HttpReply, PromServer, get, send, within};
use super::judge_source::{TargetFacts, WriteFacts};

/// The exporter's page.
pub(super) async fn exporter(client: &Client, endpoint: &Endpoint) -> Result<HttpReply, Failure> {
    let auth = Auth::in_address(endpoint);
    get(client, endpoint.join("metrics"), &auth, endpoint.redacted()).await
}

/// Targets that were an exporter within a day, or are named like one.
const UP: &str = "up and on (job, instance) \
                  max_over_time(cloudtuner_kubecost_exporter_build_info[1d]) \
                  or up{job=~\".*(allocation-exporter|kubecost-exporter).*\"}";

pub(super) async fn target(prom: PromServer<'_>, now: i64) -> Result<TargetFacts, Failure> {
    let gauges = format!("count by (tenant_id) ({CLUSTER_TOTAL})");
    let raw = format!("count({NODE_TOTAL}) or count({CPU_PRICE})");
    let asked = async {
        let (up, gauges, raw) = tokio::join!(
            prom.instant(UP, now),
            prom.instant(&gauges, now),
            prom.instant(&raw, now)
        );
        let up = up?.series;
        Ok(TargetFacts {
            up: up
                .iter()
                .filter_map(|s| Some((s.label("instance").to_owned(), s.value()?)))
                .collect(),
            gauge_tenants: gauges?.series.iter().map(|s| s.label("tenant_id").to_owned()).collect(),
            has_raw: !raw?.series.is_empty(),
        })
    };
    within("asking the customer's Prometheus", asked).await
}

/// A Prometheus that does not scrape itself has no metrics of its queues.
const ITSELF: &str = "count(prometheus_build_info)";
const QUEUE: &str = "count({__name__=~\"prometheus_remote_storage_(samples_total|samples_pending|pending_samples)\"})";
/// A queue that never sent anything shows 0; its retries show that it fails.
const LAG: &str = "max(prometheus_remote_storage_highest_timestamp_in_seconds \
                   or prometheus_remote_storage_queue_highest_timestamp_seconds) \
                   - min(prometheus_remote_storage_queue_highest_sent_timestamp_seconds > 0)";
const FAILED: &str = "sum(rate(prometheus_remote_storage_samples_failed_total[5m])) \
                      or sum(rate(prometheus_remote_storage_failed_samples_total[5m]))";
const RETRIED: &str = "sum(rate(prometheus_remote_storage_samples_retried_total[5m])) \
                       or sum(rate(prometheus_remote_storage_retried_samples_total[5m]))";

pub(super) async fn remote_write(prom: PromServer<'_>, now: i64) -> Result<WriteFacts, Failure> {
    let asked = async {
        let (itself, queue, lag, failed, retried) = tokio::join!(
            prom.instant(ITSELF, now),
            prom.instant(QUEUE, now),
            prom.instant(LAG, now),
            prom.instant(FAILED, now),
            prom.instant(RETRIED, now),
        );
        let first =
            |result: Result<super::http::InstantResult, Failure>| -> Result<Option<f64>, Failure> {
                Ok(result?.series.first().and_then(crate::source::prometheus::reply::Series::value))
            };
        Ok(WriteFacts {
            sees_itself: first(itself)?.is_some(),
            has_queue: first(queue)?.is_some(),
            lag_seconds: first(lag)?,
            failed_per_second: first(failed)?.unwrap_or(0.0),
            retried_per_second: first(retried)?.unwrap_or(0.0),
        })
    };
    within("asking the customer's Prometheus", asked).await
}

/// An empty write, as the account: the answer shows whether account and credentials are accepted.
pub(super) async fn diproxy(
    client: &Client,
    (endpoint, auth): (&Endpoint, &Auth),
    account: &str,
) -> Result<HttpReply, Failure> {
    let request = client
        .post(endpoint.redacted())
        .header("Cloud-Account-Id", account)
        .header("Content-Type", "application/x-protobuf")
        .header("Content-Encoding", "snappy")
        .header("X-Prometheus-Remote-Write-Version", "0.1.0");
    send(auth.apply(request), endpoint.redacted()).await
}
