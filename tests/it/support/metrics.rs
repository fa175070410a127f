//! Histories for Prometheus: series written as OpenMetrics, turned into blocks by promtool.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::servers::promtool;

/// Series with samples at any past times.
#[derive(Default)]
pub(crate) struct History {
    metrics: BTreeMap<String, Vec<String>>,
}

impl History {
    /// Adds a sample each minute at `second` of the minute while `rate` gives a value, for Unix
    /// times `start..end`. Labels as `a="b",c="d"`.
    pub(crate) fn every_minute(
        &mut self,
        metric: &str,
        labels: &str,
        second: i64,
        (start, end): (i64, i64),
        rate: impl Fn(i64) -> Option<f64>,
    ) {
        let lines = self.metrics.entry(metric.to_owned()).or_default();
        for minute in (start.div_euclid(60)..end.div_euclid(60)).map(|minute| minute * 60) {
            let time = minute + second;
            if (start..end).contains(&time)
                && let Some(value) = rate(time)
            {
                lines.push(format!("{metric}{{{labels}}} {value} {time}"));
            }
        }
    }

    /// The samples as text with times in milliseconds, as VictoriaMetrics imports them.
    pub(crate) fn in_milliseconds(&self) -> String {
        let lines = self.metrics.values().flatten();
        lines.map(|line| format!("{line}000\n")).collect()
    }

    /// Writes the blocks below `directory`.
    pub(crate) fn write_blocks(&self, directory: &Path) {
        let mut text = String::new();
        for (metric, lines) in &self.metrics {
            writeln!(text, "# TYPE {metric} gauge").unwrap();
            for line in lines {
                writeln!(text, "{line}").unwrap();
            }
        }
        text.push_str("# EOF\n");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let made = Command::new(promtool())
            .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"])
            .args([file.path(), directory])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "promtool made no blocks: {said}");
    }
}
