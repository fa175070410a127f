//! Asks the query layer and Metroculus.

use std::collections::BTreeMap;

use crate::cost::AccountId;
use crate::service::failure::Failure;
use crate::settings::{Endpoint, Secret};
use crate::source::metric_names::{
    BUILD_INFO, CLUSTER_TOTAL, CPU_ALLOCATION, CPU_PRICE, NAMESPACE_TOTAL, NODE_TOTAL, POD_TOTAL,
    RAM_ALLOCATION, WINDOW_END, WINDOW_SECONDS,
};
use crate::source::metroculus::client::MetroculusClient;
use crate::source::prometheus::promql::quoted;

use super::http::{InstantResult, PromServer, within};
use super::judge_query::{TenantFacts, WindowFacts};

pub(super) async fn reachable(prom: PromServer<'_>, now: i64) -> Result<InstantResult, Failure> {
    within("asking the query layer", prom.instant("vector(1)", now)).await
}

/// The newest sample of every tenant; the key is empty when the server has one tenant only.
pub(super) async fn tenants(
    prom: PromServer<'_>,
    label: Option<&str>,
    account: &str,
    now: i64,
) -> Result<TenantFacts, Failure> {
    let by = label.unwrap_or_default();
    // The grid of the past is coarse, so the present is asked for beside it.
    let query = |metric: &str| {
        format!("max by ({by}) (timestamp({metric}) or max_over_time(timestamp({metric})[3d:10m]))")
    };
    let gauges = query(CLUSTER_TOTAL);
    let raw = format!("{} or {}", query(NODE_TOTAL), query(CPU_PRICE));
    let tenant = label.map_or(String::new(), |label| format!(",{label}={}", quoted(account)));
    let set_up_for = format!("count by (account) ({BUILD_INFO}{{account!=\"\"{tenant}}})");
    let names = format!("{NAMESPACE_TOTAL}|{POD_TOTAL}|{CPU_ALLOCATION}|{RAM_ALLOCATION}");
    let renamed =
        format!("count by (__name__) ({{__name__=~\"{names}\",exported_namespace!=\"\"{tenant}}})");
    let asked = async {
        let (gauges, raw, set_up_for, renamed) = tokio::join!(
            prom.instant(&gauges, now),
            prom.instant(&raw, now),
            prom.instant(&set_up_for, now),
            prom.instant(&renamed, now)
        );
        let names = |result: InstantResult, label: &str| -> Vec<String> {
            result.series.iter().map(|series| series.label(label).to_owned()).collect()
        };
        Ok(TenantFacts {
            gauges: newest(gauges?, by),
            raw: newest(raw?, by),
            exporters_of: names(set_up_for?, "account"),
            renamed: names(renamed?, "__name__"),
        })
    };
    within("asking for tenants", asked).await
}

fn newest(result: InstantResult, label: &str) -> BTreeMap<String, i64> {
    #[expect(clippy::cast_possible_truncation, reason = "Unix seconds")]
    let seconds = |value: f64| value as i64;
    result
        .series
        .iter()
        .filter_map(|series| Some((series.label(label).to_owned(), seconds(series.value()?))))
        .collect()
}

/// End and length of the window that each cluster's gauges show.
pub(super) async fn windows(
    prom: PromServer<'_>,
    label: Option<&str>,
    account: &str,
    now: i64,
) -> Result<WindowFacts, Failure> {
    let tenant = label.map_or(String::new(), |label| format!("{label}={}", quoted(account)));
    let query = |metric: &str| format!("max by (cluster) ({metric}{{{tenant}}})");
    let (ends, lengths) = (query(WINDOW_END), query(WINDOW_SECONDS));
    let asked = async {
        let (ends, lengths) = tokio::join!(prom.instant(&ends, now), prom.instant(&lengths, now));
        let (ends, lengths) = (newest(ends?, "cluster"), newest(lengths?, "cluster"));
        let length = |cluster: &String| lengths.get(cluster).copied().unwrap_or(3_600);
        Ok(ends.iter().map(|(cluster, end)| (*end, length(cluster))).collect())
    };
    within("asking for windows", asked).await
}

/// How many series of the exporter's total Metroculus has.
pub(super) async fn metroculus(
    endpoint: &Endpoint,
    secret: &Secret,
    account: &AccountId,
    now: i64,
) -> Result<usize, Failure> {
    let asked = async {
        let client = MetroculusClient::new(endpoint.clone(), secret.clone())?;
        let metrics = client.metrics(account, &[CLUSTER_TOTAL], now - 3_600, now).await?;
        Ok(metrics.get(CLUSTER_TOTAL).map_or(0, |metric| metric.series.len()))
    };
    within("asking Metroculus", asked).await
}
