//! Families as text, and what an earlier run left behind read back from such a text.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::run::metrics::families::{Family, FamilyKind, Labels, Totals};

/// The families as OpenMetrics 1.0; `exporter::render::to_text_format` makes the older format.
///
/// # Errors
/// Never in practice: writing to a string does not fail.
pub fn openmetrics(families: Vec<Family>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Shown(families)));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

/// Hands families to the library's registry.
#[derive(Debug)]
struct Shown(Vec<Family>);

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.0 {
            let kind = match family.kind {
                FamilyKind::Gauge => MetricType::Gauge,
                FamilyKind::Counter => MetricType::Counter,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, value) in &family.samples {
                match (family.kind, labels.is_empty()) {
                    (FamilyKind::Gauge, true) => metric.encode_gauge(value)?,
                    (FamilyKind::Gauge, false) => {
                        metric.encode_family(labels)?.encode_gauge(value)?;
                    }
                    (FamilyKind::Counter, true) => {
                        metric.encode_counter::<Labels, f64, u64>(value, None)?
                    }
                    (FamilyKind::Counter, false) => {
                        metric
                            .encode_family(labels)?
                            .encode_counter::<Labels, f64, u64>(value, None)?;
                    }
                }
            }
        }
        Ok(())
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

/// What an earlier run left: its counters go on, and its times stand until there are newer ones.
#[must_use]
pub fn totals<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Totals {
    let mut totals = Totals::default();
    for sample in samples {
        let (value, label) = (sample.value, |name| sample.label(name).to_owned());
        match sample.name.as_str() {
            "kubecost_worker_runs_total" => {
                totals.runs.insert(label("outcome"), value);
            }
            "kubecost_worker_failures_total" => {
                totals.failures.insert((label("hop"), label("kind")), value);
            }
            "kubecost_worker_rows_written_total" => totals.rows = value,
            "kubecost_worker_documents_written_total" => totals.documents = value,
            "kubecost_worker_run_last_success_timestamp_seconds" => {
                totals.last_success = Some(value);
            }
            "expenses_last_insert_time" => {
                totals.last_insert.insert(label("cloud_account_id"), value);
            }
            _ => {}
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::metrics::families::families;

    #[test]
    fn what_is_written_is_read_back() {
        let mut told = Totals { rows: 12.0, documents: 3.0, ..Totals::default() };
        told.last_success = Some(1_795_000_000.0);
        told.runs.insert("ok".to_owned(), 7.0);
        told.failures.insert(("query-layer".to_owned(), "timeout".to_owned()), 2.0);
        told.last_insert.insert("a\"b\\c,d}".to_owned(), 1_795_000_001.0);
        let text = openmetrics(families(None, &told)).unwrap();
        assert_eq!(totals(&samples(&text)), told, "{text}");
        let older = crate::exporter::render::to_text_format(&text);
        assert_eq!(totals(&samples(&older)), told, "{older}");
    }

    #[test]
    fn lines_that_are_no_samples_are_passed_over() {
        let text = "# TYPE a gauge\n\na 1\nb{x=\"1\"\nc{x=\"1\"} x\nd{x=\"1\",y=\"2\"} 2e3 1795\n";
        let read = samples(text);
        assert_eq!(read.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["a", "d"]);
        assert_eq!((read[1].label("y"), read[1].value), ("2", 2_000.0));
    }
}
