//! Metrics as text: the two formats that Prometheus reads, and samples read back from them.
//!
//! The library writes OpenMetrics only. For these metrics (gauges and counters without
//! exemplars, timestamps or units) the older format differs in three things: there is no `# EOF`,
//! and `# HELP` and `# TYPE` of a counter carry its `_total`. [`to_text_format`] changes just that.

use std::borrow::Cow;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// `Content-Type` of OpenMetrics.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// `Content-Type` of the Prometheus text format.
pub const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Makes the Prometheus text format 0.0.4 of OpenMetrics text.
#[must_use]
pub fn to_text_format(openmetrics: &str) -> String {
    let counters: Vec<&str> = openmetrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut text = String::with_capacity(openmetrics.len() + 64);
    for line in openmetrics.lines().filter(|line| *line != "# EOF") {
        let line = match line.strip_prefix("# ").and_then(|rest| rest.split_once(' ')) {
            Some((keyword @ ("HELP" | "TYPE"), rest)) => {
                let name = rest.split(' ').next().unwrap_or(rest);
                if counters.contains(&name) {
                    let rest = &rest[name.len()..];
                    Cow::Owned(format!("# {keyword} {name}_total{rest}"))
                } else {
                    Cow::Borrowed(line)
                }
            }
            _ => Cow::Borrowed(line),
        };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Whether a scraper that sends this `Accept` prefers OpenMetrics.
#[must_use]
pub fn prefers_openmetrics(accept: &str) -> bool {
    let quality_of = |wanted: &[&str]| {
        accept
            .split(',')
            .filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let media = parts.next()?.to_ascii_lowercase();
                wanted.contains(&media.as_str()).then(|| {
                    parts
                        .find_map(|part| part.strip_prefix("q="))
                        .map_or(1.0, |q| q.parse::<f64>().unwrap_or(0.0))
                })
            })
            .fold(0.0, f64::max)
    };
    let openmetrics = quality_of(&["application/openmetrics-text"]);
    openmetrics > 0.0 && openmetrics >= quality_of(&["text/plain"])
}

/// A page of metrics in the format that the scraper prefers.
#[must_use]
pub fn page(headers: &HeaderMap, openmetrics: Result<String, std::fmt::Error>) -> Response {
    let accept: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let Ok(openmetrics) = openmetrics else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written\n").into_response();
    };
    if prefers_openmetrics(&accept.join(",")) {
        ([(header::CONTENT_TYPE, OPENMETRICS)], openmetrics).into_response()
    } else {
        ([(header::CONTENT_TYPE, TEXT)], to_text_format(&openmetrics)).into_response()
    }
}

/// One line of a text: `name{label="value",...} number`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name.
    pub name: String,
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// A label's value; empty when there is none.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| label == name).map_or("", |(_, value)| value)
    }
}

/// The samples of a text in either format; lines that are none are passed over.
#[must_use]
pub fn samples(text: &str) -> Vec<Sample> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

fn sample(line: &str) -> Option<Sample> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = Vec::new();
    if let Some(after) = rest.strip_prefix('{') {
        rest = after;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = unquoted(after)?;
            labels.push((label.trim_start_matches([',', ' ']).to_owned(), value));
            rest = after.trim_start_matches([',', ' ']);
        }
        rest = &rest[1..];
    }
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// The text up to the closing quote, and what follows it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((out, &text[index + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => out.push('\n'),
                other => out.push(other),
            },
            other => out.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_get_their_suffix_and_the_end_mark_goes() {
        let openmetrics = "# HELP a_b Help of a_b.\n# TYPE a_b counter\na_b_total{x=\"# EOF\"} 1\n\
                           # HELP a_b_c Help.\n# TYPE a_b_c gauge\na_b_c 2.5\n# EOF\n";
        let text = "# HELP a_b_total Help of a_b.\n# TYPE a_b_total counter\n\
                    a_b_total{x=\"# EOF\"} 1\n# HELP a_b_c Help.\n# TYPE a_b_c gauge\na_b_c 2.5\n";
        assert_eq!(to_text_format(openmetrics), text);
    }

    #[test]
    fn the_format_follows_the_scraper() {
        let prometheus = "application/openmetrics-text;version=1.0.0,\
                          application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert!(prefers_openmetrics(prometheus));
        for accept in [
            "",
            "*/*",
            "text/plain;version=0.0.4",
            "application/openmetrics-text;q=0,text/plain",
            "application/openmetrics-text;q=0.3,text/plain;q=0.5",
        ] {
            assert!(!prefers_openmetrics(accept), "{accept}");
        }
    }

    #[test]
    fn lines_that_are_no_samples_are_passed_over() {
        let text = "# TYPE a gauge\n\na 1\nb{x=\"1\"\nc{x=\"1\"} x\nd{x=\"1\",y=\"2\"} 2e3 1795\n";
        let read = samples(text);
        assert_eq!(read.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["a", "d"]);
        assert_eq!((read[1].label("y"), read[1].value), ("2", 2_000.0));
    }
}
