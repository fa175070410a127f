//! A Prometheus that has one healthy cluster for whichever tenant it is asked about, and answers
//! what a test wants where the test wants it.
//!
//! Cluster `prod` costs 240 USD a day, its namespace `shop` 144 and the pod `cart` 60.

use axum::response::Response;

use super::http::{Asked, FakeServer, json};

/// What a query asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Whether the server answers at all.
    Alive,
    /// On which days there are samples.
    Presence,
    /// How many samples a part of the running day has.
    SampleCount,
    /// Which series have samples that are no cost.
    Extent,
    BadSamples,
    /// The cost by cluster.
    ClusterCost,
    /// The cost by namespace.
    NamespaceCost,
    /// The cost by pod.
    PodCost,
    /// Anything else.
    Other,
}

const CLUSTER: &str = "cloudtuner_kubecost_cluster_total_cost";
const NAMESPACE: &str = "cloudtuner_kubecost_namespace_total_cost";
const POD: &str = "cloudtuner_kubecost_pod_total_cost";

/// What this request asks for.
pub(crate) fn question(asked: &Asked) -> Question {
    let query = asked.parameter("query");
    let is_cost = query.starts_with("sum_over_time((");
    let is_sum = query.starts_with("sum by") || query.starts_with("label_replace(sum by");
    match query {
        "vector(1)" => Question::Alive,
        _ if asked.path.ends_with("query_range") => Question::Presence,
        _ if is_sum && query.contains("(count_over_time(cloudtuner_kubecost_cluster_total") => {
            Question::SampleCount
        }
        _ if query.contains("\"extent_\"") => Question::Extent,
        _ if query.starts_with("(sum_over_time(") => Question::BadSamples,
        _ if is_cost && query.contains(CLUSTER) => Question::ClusterCost,
        _ if is_cost && query.contains(NAMESPACE) => Question::NamespaceCost,
        _ if is_cost && query.contains(POD) => Question::PodCost,
        _ => Question::Other,
    }
}

/// The tenant that a query is about.
pub(crate) fn tenant(asked: &Asked) -> String {
    let rest = asked.parameter("query").split_once("tenant_id=\"");
    rest.and_then(|(_, rest)| rest.split_once('"')).map_or("", |(id, _)| id).to_owned()
}

/// One series as JSON: labels as `"a":"b"`, with the tenant's before them.
pub(crate) fn series(tenant: &str, labels: &str, value: &str) -> String {
    let comma = if labels.is_empty() { "" } else { "," };
    format!(r#"{{"metric":{{"tenant_id":"{tenant}"{comma}{labels}}},"value":[1,"{value}"]}}"#)
}

/// A reply of these series.
pub(crate) fn vector(series: &[String]) -> Response {
    let list = series.join(",");
    json(format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{list}]}}}}"#))
}

/// What a healthy server answers.
pub(crate) fn healthy(asked: &Asked) -> Response {
    let tenant = tenant(asked);
    let query = asked.parameter("query");
    let one = |labels: &str, value: &str| vector(&[series(&tenant, labels, value)]);
    match question(asked) {
        Question::Alive => one("", "1"),
        Question::Presence => presence(asked, &tenant),
        Question::SampleCount => one("", "720"),
        Question::Extent => vector(&[]),
        Question::BadSamples => vector(&[]),
        Question::ClusterCost => one(r#""cluster":"prod""#, "240"),
        Question::NamespaceCost => one(r#""cluster":"prod","namespace":"shop""#, "144"),
        Question::PodCost => one(r#""cluster":"prod","namespace":"shop","pod":"cart""#, "60"),
        Question::Other if query.starts_with("count_over_time((max by") => {
            one(r#""cluster":"prod""#, "1440")
        }
        Question::Other if query.starts_with("count(") => one("", "1"),
        Question::Other => vector(&[]),
    }
}

/// Samples in every minute of every day, of the exporter's gauges only.
fn presence(asked: &Asked, tenant: &str) -> Response {
    let number = |name: &str| asked.parameter(name).parse::<i64>().unwrap();
    let points: Vec<String> = (number("start")..=number("end"))
        .step_by(usize::try_from(number("step")).unwrap())
        .map(|time| format!(r#"[{time},"1440"]"#))
        .collect();
    let has_samples = asked.parameter("query").contains(CLUSTER);
    let series = if has_samples {
        let values = points.join(",");
        format!(r#"{{"metric":{{"tenant_id":"{tenant}","cluster":"prod"}},"values":[{values}]}}"#)
    } else {
        String::new()
    };
    json(format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{series}]}}}}"#))
}

/// A server that is healthy but where `odd` has an answer of its own.
pub(crate) async fn start(
    odd: impl Fn(&Asked) -> Option<Response> + Send + Sync + 'static,
) -> FakeServer {
    FakeServer::start(move |asked| odd(asked).unwrap_or_else(|| healthy(asked))).await
}
