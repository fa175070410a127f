//! An OpenCost that answers from recordings, on loopback.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chrono::DateTime;
use serde_json::Value;

use crate::cost::Day;
use crate::service::failure::{Failure, Hop, Kind, REPORT};

/// The first recorded day.
pub const FIRST_DAY: &str = "2026-11-19";
/// The last recorded day.
pub const LAST_DAY: &str = "2026-11-20";

/// Recorded replies by day and step: whole days, and their hours.
const RECORDINGS: [(&str, &str, &[u8]); 4] = [
    (
        "2026-11-19",
        "1d",
        include_bytes!("../../fixtures/opencost-run/alloc/gap-day-19-namespace-idle.json.gz"),
    ),
    (
        "2026-11-19",
        "1h",
        include_bytes!("../../fixtures/opencost-run/alloc/gap-day-19-step1h.json.gz"),
    ),
    (
        "2026-11-20",
        "1d",
        include_bytes!("../../fixtures/opencost-run/alloc/day-cluster+namespace-idle.json.gz"),
    ),
    (
        "2026-11-20",
        "1h",
        include_bytes!("../../fixtures/opencost-run/alloc/day-namespace-step1h.json.gz"),
    ),
];

/// A server that ends when it is dropped.
#[derive(Debug)]
pub struct RecordedServer {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for RecordedServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn internal(what: String) -> Failure {
    Failure::new(Hop::Worker, Kind::Internal, what, REPORT)
}

impl RecordedServer {
    /// Starts a server on a free port whose costs are the recorded ones times `factor`.
    ///
    /// # Errors
    /// When there is no free port, or a recording cannot be read.
    pub async fn start(factor: f64) -> Result<Self, Failure> {
        let mut replies = BTreeMap::new();
        for (day, step, packed) in RECORDINGS {
            let day = day.parse().map_err(|error| internal(format!("{error}")))?;
            let sets = sets(packed, factor).map_err(|e| internal(format!("a recording: {e}")))?;
            replies.insert((day, step), sets);
        }
        let router = Router::new().route("/allocation", get(answer)).with_state(Arc::new(replies));
        let no_port = |error: std::io::Error| {
            let what = format!("the recorded server has no port on 127.0.0.1: {error}");
            let fix = "run the demo where a program may listen on 127.0.0.1";
            Failure::new(Hop::Worker, Kind::Unavailable, what, fix)
        };
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.map_err(no_port)?;
        let address = listener.local_addr().map_err(no_port)?;
        let task = tokio::spawn(async move {
            // It ends with the task; an error would show as a failed request.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { url: format!("http://{address}"), task })
    }
}

/// Sets by day and step.
type Replies = Arc<BTreeMap<(Day, &'static str), Vec<Value>>>;

async fn answer(
    State(replies): State<Replies>,
    Query(parameters): Query<BTreeMap<String, String>>,
) -> Response {
    let parameter = |name: &str| parameters.get(name).map_or("", String::as_str);
    let time = |text: Option<&str>| DateTime::parse_from_rfc3339(text?).ok();
    let mut ends = parameter("window").split(',');
    let (Some(start), Some(end)) = (time(ends.next()), time(ends.next())) else {
        return (StatusCode::BAD_REQUEST, "Invalid 'window' parameter").into_response();
    };
    let (step, count) = if parameter("step") == "1h" { ("1h", 24) } else { ("1d", 1) };
    // What was not recorded has no data: an empty set for each step, as OpenCost says it.
    let nothing = vec![Value::Object(serde_json::Map::new()); count];
    let first = Day::of_unix(start.timestamp());
    let sets: Vec<Value> = first
        .through(Day::of_unix(end.timestamp() - 1))
        .flat_map(|day| replies.get(&(day, step)).unwrap_or(&nothing).clone())
        .collect();
    let reply = serde_json::json!({ "code": 200, "status": "success", "data": sets });
    ([(header::CONTENT_TYPE, "application/json")], reply.to_string()).into_response()
}

/// Unpacks a recording, names rows by cluster and namespace, and multiplies costs.
fn sets(packed: &[u8], factor: f64) -> Result<Vec<Value>, Box<dyn std::error::Error>> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text)?;
    let mut reply: Value = serde_json::from_str(&text)?;
    let mut sets = reply["data"].as_array_mut().map(std::mem::take).unwrap_or_default();
    for set in &mut sets {
        let Some(rows) = set.as_object_mut() else { continue };
        *rows = std::mem::take(rows)
            .into_iter()
            .map(|(key, mut row)| {
                scale(&mut row, factor);
                let is_whole = key.contains('/') || key == "__idle__";
                (if is_whole { key } else { format!("test-cluster/{key}") }, row)
            })
            .collect();
    }
    Ok(sets)
}

fn scale(row: &mut Value, factor: f64) {
    for (name, value) in row.as_object_mut().into_iter().flatten() {
        if (name.ends_with("Cost") || name.ends_with("CostAdjustment"))
            && let Some(cost) = value.as_f64()
        {
            *value = Value::from(cost * factor);
        }
    }
}
