//! Families as text, and what an earlier run left behind read back from such a text.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::run::metrics::families::{Family, FamilyKind, Labels, Totals};
use crate::service::metrics::Sample;

/// The families as OpenMetrics 1.0; `service::metrics::to_text_format` makes the older format.
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
    use crate::service::metrics::{samples, to_text_format};

    #[test]
    fn what_is_written_is_read_back() {
        let mut noted = Totals { rows: 12.0, documents: 3.0, ..Totals::default() };
        noted.last_success = Some(1_795_000_000.0);
        noted.runs.insert("ok".to_owned(), 7.0);
        noted.failures.insert(("query-layer".to_owned(), "timeout".to_owned()), 2.0);
        noted.last_insert.insert("a\"b\\c,d}".to_owned(), 1_795_000_001.0);
        let text = openmetrics(families(None, &noted)).unwrap();
        assert_eq!(totals(&samples(&text)), noted, "{text}");
        let older = to_text_format(&text);
        assert_eq!(totals(&samples(&older)), noted, "{older}");
    }
}
