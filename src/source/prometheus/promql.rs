//! PromQL as values: windows on the minute grid, quoting, and the expressions of both phases.
//!
//! A cost is a rate integrated over time: the sum, over the minutes of the window, of what an
//! instant query at that minute returns, divided by 60. The server does the sum by a subquery, so
//! one number a series comes over the wire.

use std::fmt::Write as _;

/// Distance of grid points, seconds.
pub const GRID_SECONDS: i64 = 60;

/// The first grid point at or after a time, Unix seconds.
#[must_use]
pub fn next_grid_point(seconds: i64) -> i64 {
    seconds + (-seconds).rem_euclid(GRID_SECONDS)
}

/// The grid points `start <= t < end`, Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First second.
    pub start: i64,
    /// The second after the last one.
    pub end: i64,
}

impl Window {
    /// How many grid points (whole minutes of Unix time) lie in the window.
    #[must_use]
    pub fn minutes(self) -> u32 {
        let before =
            |t: i64| t.div_euclid(GRID_SECONDS) + i64::from(t.rem_euclid(GRID_SECONDS) > 0);
        u32::try_from((before(self.end) - before(self.start)).max(0)).unwrap_or(0)
    }

    /// When the query is evaluated: the window's last second.
    #[must_use]
    pub fn evaluation_time(self) -> i64 {
        self.end - 1
    }

    /// The range of a subquery evaluated at [`Self::evaluation_time`]. Its left bound lies half a
    /// second before the window, between grid points, because Prometheus 2 counts a point on the
    /// bound and Prometheus 3 does not.
    #[must_use]
    pub fn range(self) -> String {
        format!("{}ms", (self.end - self.start) * 1_000 - 500)
    }

    /// The same grid points in `count` windows, the earliest first.
    #[must_use]
    pub fn split(self, count: u32) -> Vec<Self> {
        let count = i64::from(count.max(1));
        let length = self.end - self.start;
        let cut = |index: i64| self.start + length * index / count;
        (0..count)
            .map(|index| Self { start: cut(index), end: cut(index + 1) })
            .filter(|window| window.end > window.start)
            .collect()
    }
}

/// A text as a PromQL string literal.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {
                // Cannot fail: writing to a String.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A text that a regular expression (RE2, fully anchored) matches literally.
#[must_use]
pub fn regex_escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if r"\.+*?()|[]{}^$".contains(character) {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

/// The cost in USD of a rate in USD per hour over a window, one number a series.
#[must_use]
pub fn integral(rate: &str, window: Window) -> String {
    format!("sum_over_time(({rate})[{}:{GRID_SECONDS}s]) / {GRID_SECONDS}", window.range())
}

/// For how many minutes of a window an expression has a value, one number a series.
#[must_use]
pub fn minutes_present(expression: &str, window: Window) -> String {
    format!("count_over_time(({expression})[{}:{GRID_SECONDS}s])", window.range())
}

/// Selects an account's series, at most of some clusters, and knows which metrics to filter.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    /// The label that holds the account's id, and the id.
    pub tenant: Option<(String, String)>,
    /// Further matchers, such as `cluster=~"a|b"`.
    pub matchers: Vec<String>,
    /// Metrics with samples that are no cost: those samples are left out, minute by minute.
    pub filtered: std::collections::BTreeSet<String>,
    /// The name of a cluster that is told of with and without its label: both are one.
    pub named_and_unnamed: Option<String>,
}

impl Selector {
    /// The metric's series at one time, unfiltered, with `extra` matchers.
    #[must_use]
    pub fn raw(&self, metric: &str, extra: &[&str]) -> String {
        let Some(cluster) = &self.named_and_unnamed else { return self.stored(metric, extra) };
        let with = |label: &'static str| self.stored(metric, &[extra, &[label]].concat());
        format!(
            "({} or label_replace({}, \"cluster\", {}, \"\", \"\"))",
            with("cluster!=\"\""),
            with("cluster=\"\""),
            quoted(&cluster.replace('$', "$$"))
        )
    }

    /// The metric's series as they are stored, which may be taken over a range.
    #[must_use]
    pub fn stored(&self, metric: &str, extra: &[&str]) -> String {
        let mut matchers = Vec::new();
        if let Some((label, value)) = &self.tenant {
            matchers.push(format!("{label}={}", quoted(value)));
        }
        matchers.extend(self.matchers.iter().cloned());
        matchers.extend(extra.iter().map(|matcher| (*matcher).to_owned()));
        format!("{metric}{{{}}}", matchers.join(","))
    }

    /// The metric's series, without samples that are no cost.
    #[must_use]
    pub fn of(&self, metric: &str, extra: &[&str]) -> String {
        let raw = self.raw(metric, extra);
        if self.filtered.contains(metric) { format!("({raw} >= 0 < +Inf)") } else { raw }
    }

    /// `tenant_id, cluster, ...`: labels that keep accounts and clusters apart, and `more`.
    #[must_use]
    pub fn labels(&self, more: &[&str]) -> String {
        let tenant = self.tenant.iter().map(|(label, _)| label.as_str());
        let all: Vec<&str> = tenant.chain(["cluster"]).chain(more.iter().copied()).collect();
        all.join(", ")
    }

    /// The greatest of doubled series: scrape replicas and HA pairs never add up.
    #[must_use]
    pub fn max_by(&self, more: &[&str], expression: &str) -> String {
        format!("max by ({}) ({expression})", self.labels(more))
    }

    /// The sum over what the labels leave out.
    #[must_use]
    pub fn sum_by(&self, more: &[&str], expression: &str) -> String {
        format!("sum by ({}) ({expression})", self.labels(more))
    }

    /// Series of a metric with a sample in the window that is no cost: NaN, infinite or negative.
    #[must_use]
    pub fn bad_samples(&self, metric: &str, extra: &[&str], window: Window) -> String {
        let series = self.stored(metric, extra);
        let range = window.range();
        format!(
            "(sum_over_time({series}[{range}]) * 0 != 0) or (min_over_time({series}[{range}]) < 0)"
        )
    }

    /// How many series of a metric have a sample in the window.
    #[must_use]
    pub fn series_count(&self, metric: &str, extra: &[&str], window: Window) -> String {
        format!("count(count_over_time({}[{}]))", self.stored(metric, extra), window.range())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_day_has_1440_minutes_wherever_it_begins() {
        for shift in [0, 1, 30, 59, 60, 3_723] {
            let start = 1_795_132_800 + shift;
            assert_eq!(Window { start, end: start + 86_400 }.minutes(), 1_440, "{shift}");
        }
        assert_eq!(Window { start: 60, end: 61 }.minutes(), 1);
        assert_eq!(Window { start: 61, end: 120 }.minutes(), 0);
        assert_eq!(Window { start: 120, end: 60 }.minutes(), 0);
    }

    #[test]
    fn the_left_bound_is_between_grid_points() {
        let window = Window { start: 86_400, end: 172_800 };
        assert_eq!(window.evaluation_time(), 172_799);
        assert_eq!(window.range(), "86399500ms");
    }

    #[test]
    fn quotes_cannot_leave_their_string() {
        assert_eq!(quoted("a\"} or vector(1)\n\\"), r#""a\"} or vector(1)\n\\""#);
        assert_eq!(regex_escaped("a.b|c"), r"a\.b\|c");
    }

    #[test]
    fn a_cluster_with_and_without_its_label_is_one() {
        let selector = Selector { named_and_unnamed: Some("p$1".into()), ..Selector::default() };
        assert_eq!(
            selector.raw("m", &["a=\"b\""]),
            r#"(m{a="b",cluster!=""} or label_replace(m{a="b",cluster=""}, "cluster", "p$$1", "", ""))"#
        );
        assert_eq!(selector.stored("m", &[]), "m{}");
    }

    #[test]
    fn a_selector_keeps_to_its_tenant() {
        let selector = Selector {
            tenant: Some(("tenant_id".into(), "acc".into())),
            matchers: vec!["cluster=~\"x\"".into()],
            filtered: ["m".to_owned()].into(),
            named_and_unnamed: None,
        };
        assert_eq!(selector.raw("m", &["a=\"b\""]), r#"m{tenant_id="acc",cluster=~"x",a="b"}"#);
        assert_eq!(selector.of("m", &[]), r#"(m{tenant_id="acc",cluster=~"x"} >= 0 < +Inf)"#);
        assert_eq!(selector.labels(&["pod"]), "tenant_id, cluster, pod");
        assert_eq!(Selector::default().raw("m", &[]), "m{}");
    }

    proptest! {
        #[test]
        fn splitting_keeps_every_minute_once(
            start in 0i64..10_000_000, length in 1i64..200_000, count in 1u32..40,
        ) {
            let window = Window { start, end: start + length };
            let parts = window.split(count);
            let minutes: u32 = parts.iter().map(|part| part.minutes()).sum();
            prop_assert_eq!(minutes, window.minutes());
            prop_assert_eq!(parts.first().unwrap().start, window.start);
            prop_assert_eq!(parts.last().unwrap().end, window.end);
        }
    }
}
