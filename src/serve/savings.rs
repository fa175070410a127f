//! Savings that the source itself reports, as Metroculus hands them on.

use serde::Serialize;
use tokio::sync::Semaphore;

use crate::cost::AccountId;
use crate::service::failure::{Failure, Hop, Kind, REPORT};
use crate::settings::worker::QueryConfig;
use crate::source::labels::Labels;
use crate::source::prometheus::client::{NoAnswer, PromClient};
use crate::source::prometheus::promql::quoted;
use crate::source::prometheus::reply::Series;

use super::span::Span;

const CPU: &str = "kubecost_savings_cpu_allocation";
const MEMORY: &str = "kubecost_savings_memory_allocation_bytes";
/// Points of a series are an hour apart, or more where that would be more than this.
const POINTS_MAX: i64 = 720;
const HOUR: i64 = 3_600;
/// The most bytes that are answered of a metric: some 20 000 points with their labels.
const BYTES_MAX: usize = 6 << 20;
/// How many questions are answered at a time: what the query layer replies is held meanwhile.
const ASKED_AT_ONCE: usize = 2;

/// Reads the savings of accounts, where the query layer has them.
#[derive(Debug)]
pub struct Savings {
    source: Option<(PromClient, Option<String>)>,
    asking: Semaphore,
}

/// A point as it is answered.
#[derive(Serialize)]
struct Point<'a> {
    timestamp: f64,
    value: f64,
    labels: &'a Labels,
}

/// A metric's points as JSON, written at once: a tree of them would take many times the bytes.
#[derive(Debug, Default, PartialEq)]
struct Points {
    /// The points, by commas.
    json: String,
    written: usize,
    /// How many there are, written or not.
    all: usize,
}

impl Savings {
    /// Those of this query layer: only Prometheus and its like have them.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(query: &QueryConfig) -> Result<Self, Failure> {
        Ok(match query {
            QueryConfig::Prometheus { endpoint, auth, headers, tenant_label, .. } => {
                let client = PromClient::new(endpoint.clone(), auth.clone(), headers.clone())?;
                Self { source: Some((client, tenant_label.clone())), ..Self::none() }
            }
            QueryConfig::Metroculus { .. } | QueryConfig::AllocationApi { .. } => Self::none(),
        })
    }

    /// No savings at all.
    #[must_use]
    pub fn none() -> Self {
        Self { source: None, asking: Semaphore::new(ASKED_AT_ONCE) }
    }

    /// The answer, as JSON.
    pub(super) async fn reply(&self, account: &AccountId, span: Span) -> Result<String, Failure> {
        // The semaphore is never closed.
        let _asking = self.asking.acquire().await.ok();
        let cpu = self.points(CPU, account, span).await?;
        let memory = self.points(MEMORY, account, span).await?;
        Ok(body(&cpu, &memory))
    }

    async fn points(
        &self,
        metric: &str,
        account: &AccountId,
        span: Span,
    ) -> Result<Points, Failure> {
        let Some((client, tenant_label)) = &self.source else { return Ok(Points::default()) };
        let selector = match tenant_label {
            None => metric.to_owned(),
            Some(label) => format!("{metric}{{{label}={}}}", quoted(account.as_str())),
        };
        let step = HOUR.max((span.end - span.start) / POINTS_MAX);
        let answer =
            client.for_account(account).range(&selector, span.start, span.end - 1, step).await;
        Points::of(&answer.map_err(NoAnswer::into_failure)?.series, BYTES_MAX)
    }
}

impl Points {
    /// The points of series, as many as so many bytes hold.
    fn of(series: &[Series], bytes_max: usize) -> Result<Self, Failure> {
        let mut out = Self::default();
        let mut is_full = false;
        for one in series {
            for (timestamp, value) in one.points.iter().filter(|(_, value)| value.is_finite()) {
                out.all += 1;
                if is_full {
                    continue;
                }
                let point = Point { timestamp: *timestamp, value: *value, labels: &one.labels };
                let json = serde_json::to_string(&point).map_err(|error| {
                    let what = format!("a point of savings has no form in JSON: {error}");
                    Failure::new(Hop::Worker, Kind::Internal, what, REPORT)
                })?;
                is_full = out.json.len() + json.len() + 1 > bytes_max;
                if !is_full {
                    out.push(&json);
                }
            }
        }
        Ok(out)
    }

    fn push(&mut self, json: &str) {
        if self.written > 0 {
            self.json.push(',');
        }
        self.json.push_str(json);
        self.written += 1;
    }

    /// What is not answered, if anything is not.
    fn cause(&self, name: &str) -> Option<String> {
        let Self { written, all, .. } = self;
        (written < all).then(|| {
            format!("{name} are the first {written} of {all} points: ask for fewer days at once")
        })
    }
}

/// Both lists and, where one is cut, `data` that says so.
fn body(cpu: &Points, memory: &Points) -> String {
    let lists = [("cpu_savings", cpu), ("memory_savings", memory)];
    let causes: Vec<String> =
        lists.iter().filter_map(|(name, points)| points.cause(name)).collect();
    let [cpu, memory] = lists.map(|(name, points)| format!("\"{name}\":[{}]", points.json));
    let data = if causes.is_empty() {
        String::new()
    } else {
        format!(",\"data\":{}", serde_json::json!({"state": "partial", "causes": causes}))
    };
    format!("{{{cpu},{memory}{data}}}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn series(points: Vec<(f64, f64)>) -> Series {
        Series { labels: Labels::from_iter([("container", "a \"b\"")]), points }
    }

    #[test]
    fn points_have_the_labels_of_their_series_and_none_is_no_number() {
        let points = Points::of(&[series(vec![(1.0, 2.5), (2.0, f64::NAN), (3.0, 4.0)])], 1_000);
        let reply: Value =
            serde_json::from_str(&body(&points.unwrap(), &Points::default())).unwrap();
        let labels = json!({"container": "a \"b\""});
        let wanted = json!({
            "cpu_savings": [
                {"timestamp": 1.0, "value": 2.5, "labels": labels},
                {"timestamp": 3.0, "value": 4.0, "labels": labels},
            ],
            "memory_savings": [],
        });
        assert_eq!(reply, wanted);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let many: Vec<(f64, f64)> = (0..100).map(|number| (f64::from(number), 1.0)).collect();
        let cut = Points::of(&[series(many)], 1_000).unwrap();
        assert!(cut.json.len() <= 1_000 && cut.written > 10, "{cut:?}");
        let reply: Value = serde_json::from_str(&body(&Points::default(), &cut)).unwrap();
        assert_eq!(reply["memory_savings"].as_array().unwrap().len(), cut.written);
        assert_eq!(reply["data"]["state"], "partial");
        let cause = format!("memory_savings are the first {} of 100 points", cut.written);
        assert!(reply["data"]["causes"][0].as_str().unwrap().contains(&cause), "{reply}");
    }
}
