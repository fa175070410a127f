//! The forms of Metroculus' replies, of all its versions.
//!
//! A metric is a reply of Prometheus (a vector of now, or a matrix), or a list of points
//! `{timestamp, value, labels}` that holds history. Only what is needed has to be readable.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::source::labels::Labels;
use crate::source::prometheus::reply::{Reply, Series};

/// Numbers from here on are times in milliseconds, not seconds.
const MILLISECONDS_FROM: f64 = 1e11;

/// What a reply of `kubecost_metrics` has.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct MetricsReply {
    /// The metrics by name.
    pub(super) metrics: Option<BTreeMap<String, Value>>,
    /// What went wrong.
    pub(super) error: Value,
}

/// What a reply of `kubecost_cluster_costs` has: a summary, or the total of earlier versions.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct CostsReply {
    total_cost: Value,
    summary: Value,
    /// What went wrong.
    pub(super) error: Value,
}

impl CostsReply {
    /// The cluster's cost over the time asked for, USD.
    pub(super) fn total(&self) -> Option<f64> {
        let of_summary = self.summary.get("total_cost").and_then(number);
        of_summary.or_else(|| number(&self.total_cost))
    }
}

/// How a metric is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Form {
    /// Values of now.
    Vector,
    /// Points of the time asked for.
    History,
    /// Nothing that would show which.
    #[default]
    Unknown,
}

/// The series of one metric's reply.
///
/// # Errors
/// What the service says instead, or why it is no reply.
pub(super) fn read(mut value: Value) -> Result<(Vec<Series>, Form), String> {
    match &mut value {
        Value::Null => Ok((Vec::new(), Form::Unknown)),
        Value::Array(points) if points.is_empty() => Ok((Vec::new(), Form::Unknown)),
        Value::Array(points) => Ok((of_points(points)?, Form::History)),
        Value::Object(_) => {
            if let Some(text) = error_text(value.get("error").unwrap_or(&Value::Null)) {
                return Err(text);
            }
            write_numbers_as_text(&mut value);
            let reply: Reply = serde_json::from_value(value).map_err(|e| e.to_string())?;
            if reply.status == "error" {
                return Err("an error without a text".to_owned());
            }
            let data = reply.data.unwrap_or_default();
            let form = match data.result_type.as_str() {
                "matrix" => Form::History,
                "vector" => Form::Vector,
                "" => Form::Unknown,
                other => return Err(format!("a {other}, which is no series")),
            };
            Ok((data.result, form))
        }
        other => Err(format!("neither a reply nor a list of points: {other}")),
    }
}

/// What an error says: a text, or `{status_code, error_code, reason}`.
pub(super) fn error_text(error: &Value) -> Option<String> {
    match error {
        Value::Null => None,
        Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        Value::Object(parts) => {
            let text = |name: &str| parts.get(name).and_then(Value::as_str).unwrap_or_default();
            match (text("error_code"), text("reason")) {
                ("", "") => Some(error.to_string()),
                (code, "") => Some(code.to_owned()),
                ("", reason) => Some(reason.to_owned()),
                (code, reason) => Some(format!("{code}: {reason}")),
            }
        }
        other => Some(other.to_string()),
    }
}

/// What a body says that is an error, `{"error": ...}`.
pub(super) fn body_error(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    error_text(body.get("error")?)
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A list of points as series.
fn of_points(points: &[Value]) -> Result<Vec<Series>, String> {
    let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for point in points {
        let Some(time) = point.get("timestamp").and_then(seconds) else {
            return Err(format!("a point without a time: {point}"));
        };
        // What is no number is refused with its series, not left out in silence.
        let value = point.get("value").and_then(number).unwrap_or(f64::NAN);
        let labels = point.get("labels").and_then(Value::as_object);
        let mut labels: Labels = labels
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect();
        labels.remove("__name__");
        series.entry(labels).or_default().push((time, value));
    }
    let sorted = |(labels, mut points): (Labels, Vec<(f64, f64)>)| {
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        Series { labels, points }
    };
    Ok(series.into_iter().map(sorted).collect())
}

/// A time in Unix seconds, of a number or of a text with or without a zone (then UTC).
fn seconds(value: &Value) -> Option<f64> {
    if let Some(number) = number(value) {
        let is_milliseconds = number >= MILLISECONDS_FROM;
        return Some(if is_milliseconds { number / 1_000.0 } else { number });
    }
    let text = value.as_str()?;
    let with_zone = chrono::DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp());
    let parsed = with_zone.or_else(|| {
        let forms = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
        let parse = |form| chrono::NaiveDateTime::parse_from_str(text, form).ok();
        forms.into_iter().find_map(parse).map(|time| time.and_utc().timestamp())
    })?;
    Some(parsed as f64)
}

/// Prometheus writes sample values as texts; what passes them on may have made numbers of them.
fn write_numbers_as_text(reply: &mut Value) {
    let as_text = |sample: &mut Value| {
        let Some(value) = sample.get_mut(1) else { return };
        match value {
            Value::Number(number) => *value = Value::String(number.to_string()),
            Value::Null => *value = Value::String("NaN".to_owned()),
            _ => {}
        }
    };
    let Some(Value::Array(list)) = reply.pointer_mut("/data/result") else { return };
    for series in list {
        if let Some(sample) = series.get_mut("value") {
            as_text(sample);
        }
        let samples = series.get_mut("values").and_then(Value::as_array_mut);
        samples.into_iter().flatten().for_each(as_text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_form_of_a_metric_is_series() {
        let labels = json!({"tenant_id": "a", "cluster": "c"});
        let vector = json!({"status": "success", "data": {"resultType": "vector",
            "result": [{"metric": labels, "value": [5, 0.25]}]}});
        let matrix = json!({"status": "success", "data": {"resultType": "matrix",
            "result": [{"metric": labels, "values": [[5, "0.25"], [65, null]]}]}});
        let points = json!([
            {"timestamp": "2026-03-01T01:00:00Z", "value": "2", "labels": labels},
            {"timestamp": 1_772_323_200, "value": 1.5, "labels": labels},
            {"timestamp": 1_772_330_400_000_i64, "value": {}, "labels": {"x": null}}]);
        let (series, form) = read(vector).unwrap();
        assert_eq!((series[0].points.clone(), form), (vec![(5.0, 0.25)], Form::Vector));
        let (series, form) = read(matrix).unwrap();
        assert_eq!((series[0].points.len(), form), (2, Form::History));
        assert!(series[0].points[1].1.is_nan());
        let (series, form) = read(points).unwrap();
        assert_eq!((series.len(), form), (2, Form::History));
        assert_eq!(series[0].points[0].0, 1_772_330_400.0, "milliseconds");
        assert!(series[0].points[0].1.is_nan());
        assert_eq!(series[1].points, [(1_772_323_200.0, 1.5), (1_772_326_800.0, 2.0)]);
        for empty in [json!(null), json!([]), json!({"status": "success"})] {
            assert_eq!(read(empty).unwrap(), (Vec::new(), Form::Unknown));
        }
    }

    #[test]
    fn errors_are_in_the_words_of_the_service() {
        let error = json!({"status_code": 401, "error_code": "OM0007", "reason": "Bad secret"});
        assert_eq!(error_text(&error).unwrap(), "OM0007: Bad secret");
        let body = json!({"error": error}).to_string();
        assert_eq!(body_error(body.as_bytes()).unwrap(), "OM0007: Bad secret");
        assert_eq!(body_error(b"Error"), None);
        assert_eq!(error_text(&json!({"x": 1})).unwrap(), r#"{"x":1}"#);
        assert_eq!(read(json!({"error": "timeout"})).unwrap_err(), "timeout");
        assert!(read(json!([{"value": 1}])).unwrap_err().contains("without a time"));
        assert!(read(json!(7)).is_err());
    }

    #[test]
    fn a_total_is_the_summary_s_and_nothing_else_has_to_be_readable() {
        let of = |reply: Value| serde_json::from_value::<CostsReply>(reply).unwrap().total();
        assert_eq!(of(json!({"total_cost": 2.5, "breakdown": "NaN"})), Some(2.5));
        let both = json!({"total_cost": 1, "summary": {"total_cost": "3.5", "cpu_cost": null}});
        assert_eq!(of(both), Some(3.5));
        assert_eq!(of(json!({"total_cost": 4, "data_points": [], "summary": null})), Some(4.0));
        assert_eq!(of(json!({"summary": {}})), None);
    }
}
