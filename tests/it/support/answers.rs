//! What the servers answer to `verify` that are no real ones: the customer's exporter and
//! Prometheus, diproxy, Metroculus and the REST API.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};

/// When the tests take place: 2026-03-01 12:00:00 UTC.
pub(crate) const NOW: i64 = 1_772_366_400;

/// What the servers that are no real ones answer.
#[derive(Clone)]
pub(crate) struct Answers {
    pub(crate) tenant: String,
    pub(crate) window_end: i64,
    pub(crate) has_costs: bool,
    pub(crate) poll_success: u8,
    pub(crate) source_status: u16,
    pub(crate) source_up: f64,
    pub(crate) gauge_tenant: Option<String>,
    pub(crate) failed_per_second: f64,
    pub(crate) lag_seconds: f64,
    pub(crate) diproxy: (u16, &'static str),
    pub(crate) metroculus: (u16, String),
    pub(crate) query_layer: (u16, Option<&'static str>),
    pub(crate) account: u16,
    pub(crate) filters: (u16, &'static str),
    pub(crate) expenses: (u16, String),
}

impl Answers {
    pub(crate) fn good(tenant: &str) -> Self {
        let series = json!({"metric": {"tenant_id": tenant}, "value": [NOW, "10"]});
        let told =
            json!({"status": "success", "data": {"resultType": "vector", "result": [series]}});
        let metrics = json!({"metrics": {"cloudtuner_kubecost_cluster_total_cost": told}});
        Self {
            tenant: tenant.to_owned(),
            window_end: NOW - 1_800,
            has_costs: true,
            poll_success: 1,
            source_status: 200,
            source_up: 1.0,
            gauge_tenant: Some(tenant.to_owned()),
            failed_per_second: 0.0,
            lag_seconds: 3.0,
            diproxy: (400, "snappy: corrupt input"),
            metroculus: (200, metrics.to_string()),
            query_layer: (200, None),
            account: 200,
            filters: (200, r#"{"filter_values": {"k8s_namespace": ["shop"]}}"#),
            expenses: (200, r#"{"clean_expenses": [{"k8s_namespace": "shop"}]}"#.to_owned()),
        }
    }

    fn exporter(&self) -> String {
        let labels = format!("tenant_id=\"{}\",cluster=\"prod\"", self.tenant);
        let prefix = "cloudtuner_kubecost";
        let mut page = format!(
            "{prefix}_exporter_build_info{{{labels},mode=\"rate\"}} 1\n\
             {prefix}_window_end_timestamp_seconds{{{labels}}} {}\n\
             {prefix}_window_seconds{{{labels}}} 3600\n\
             {prefix}_exporter_scrape_success{{{labels}}} {}\n\
             {prefix}_exporter_scrape_errors_total{{{labels},reason=\"empty\"}} 7\n",
            self.window_end, self.poll_success
        );
        if self.has_costs {
            page.push_str(&format!("{prefix}_cluster_total_cost{{{labels}}} 10\n"));
        }
        page
    }

    fn source(&self, query: &str) -> Vec<Value> {
        let series = |labels: Value, value: f64| {
            vec![json!({"metric": labels, "value": [NOW, value.to_string()]})]
        };
        let one = |value: f64| series(json!({}), value);
        match query {
            _ if query.starts_with("up ") => {
                series(json!({"instance": "exporter:19090"}), self.source_up)
            }
            _ if query.starts_with("count by (tenant_id)") => match &self.gauge_tenant {
                Some(tenant) => series(json!({"tenant_id": tenant}), 1.0),
                None => Vec::new(),
            },
            _ if query.contains("failed") => one(self.failed_per_second),
            _ if query.contains("retried") => one(0.0),
            _ if query.contains("highest_sent") => one(self.lag_seconds),
            _ => one(1.0),
        }
    }
}

pub(crate) type Shared = Arc<Mutex<Answers>>;

pub(crate) async fn answer(
    State(answers): State<Shared>,
    method: Method,
    uri: Uri,
    Query(parameters): Query<BTreeMap<String, String>>,
) -> (StatusCode, HeaderMap, String) {
    let answers = answers.lock().unwrap().clone();
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/json".parse().unwrap());
    let vector = |result: Vec<Value>| {
        json!({"status": "success", "data": {"resultType": "vector", "result": result}}).to_string()
    };
    let query = parameters.get("query").map_or("", String::as_str);
    let path = uri.path();
    let (status, body) = match path {
        "/exporter/metrics" => (200, answers.exporter()),
        "/source/api/v1/query" => (answers.source_status, vector(answers.source(query))),
        "/thanos/api/v1/query" => {
            if let Some(date) = answers.query_layer.1 {
                headers.insert("date", date.parse().unwrap());
            }
            (answers.query_layer.0, vector(Vec::new()))
        }
        "/write" if method == Method::POST => (answers.diproxy.0, answers.diproxy.1.to_owned()),
        "/metroculus/v2/kubecost_metrics" => answers.metroculus,
        _ if path.starts_with("/restapi/v2/cloud_accounts/") => {
            (answers.account, json!({"organization_id": "org"}).to_string())
        }
        // The fork's form of the calls: upstream's path is not there.
        "/restapi/v2/available_filters" => (answers.filters.0, answers.filters.1.to_owned()),
        "/restapi/v2/clean_expenses" => answers.expenses,
        _ => (404, "nothing here".to_owned()),
    };
    (StatusCode::from_u16(status).unwrap(), headers, body)
}
