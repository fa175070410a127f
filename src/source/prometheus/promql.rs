//! PromQL as values: windows on the minute grid, quoting, and the expressions of both phases.
//!
//! A cost is a rate integrated over time: the sum, over the minutes of the window, of what an
//! instant query at that minute returns, divided by 60. The server does the sum by a subquery, so
//! one number a series comes over the wire.

use std::fmt::Write as _;

use crate::settings::cluster_label::{CLUSTER, CLUSTER_ID};
use crate::source::metric_names::{WINDOW_END, is_cost_gauge, pod_label};
use crate::source::prometheus::series_parts;

/// Labels that a cost gauge of the exporter has and the end of its window lacks, or has from the
/// scrape's target.
const GAUGE_LABELS: &str = "namespace, pod, node, service, currency, mode";

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

/// Which number of [`Selector::extent`] a series is.
const EXTENT: &str = "extent_";
/// Of which piece of a window a sum is, until it is added to the others. No scrape takes over a label
/// of this form.
const PIECE: &str = "__piece__";

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

/// The same, added up by the server from so many pieces of the window, so that it sends each series
/// once. Prometheus evaluates one piece after the other, and holds the samples of one at a time.
#[must_use]
pub fn integral_in_pieces(rate: &str, window: Window, count: u32) -> String {
    let pieces = window.split(count);
    if pieces.len() < 2 {
        return integral(rate, window);
    }
    let of = |(index, piece): (usize, &Window)| {
        let offset = match window.evaluation_time() - piece.evaluation_time() {
            // No offset may be zero.
            0 => String::new(),
            seconds => format!(" offset {seconds}s"),
        };
        let range = piece.range();
        format!(
            "label_replace(sum_over_time(({rate})[{range}:{GRID_SECONDS}s]{offset}), \
             \"{PIECE}\", \"{index}\", \"\", \"\")"
        )
    };
    let sums: Vec<String> = pieces.iter().enumerate().map(of).collect();
    format!("sum without ({PIECE}) ({}) / {GRID_SECONDS}", sums.join(" or "))
}

/// For how many minutes of a window an expression has a value, one number a series.
#[must_use]
pub fn minutes_present(expression: &str, window: Window) -> String {
    format!("count_over_time(({expression})[{}:{GRID_SECONDS}s])", window.range())
}

/// Which exporters' gauges are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sources {
    /// All.
    #[default]
    All,
    /// Those that say which window they are of.
    Windowed,
    /// Of those the ones with the newest window: a replica that lags behind shows an older one.
    Newest,
    /// Those that do not say which window they are of.
    Windowless,
}

/// Clusters that a question is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterNames {
    /// Their names.
    pub names: Vec<String>,
    /// Whether series that name no cluster are of one of them.
    pub has_unnamed: bool,
}

impl ClusterNames {
    /// Clusters by name; series that name none are of the default cluster.
    #[must_use]
    pub fn new(names: Vec<String>, default_cluster: &str) -> Self {
        let has_unnamed = names.iter().any(|name| name == default_cluster);
        Self { names, has_unnamed }
    }

    /// A matcher of the label for these clusters; with `with_unnamed` also for series that lack it.
    fn matcher(&self, label: &str, with_unnamed: bool) -> String {
        let named = self.names.iter().filter(|name| !name.is_empty());
        let mut words: Vec<_> = named.map(|name| regex_escaped(name)).collect();
        if with_unnamed {
            words.push(String::new());
        }
        format!("{label}=~{}", quoted(&words.join("|")))
    }
}

/// Selects an account's series, at most of some clusters, and knows which metrics to filter.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    /// The label that holds the account's id, and the id.
    pub tenant: Option<(String, String)>,
    /// Further matchers, such as `node!=""`.
    pub matchers: Vec<String>,
    /// Holds it to some clusters; `None`: all.
    pub clusters: Option<ClusterNames>,
    /// Metrics with samples that are no cost: those samples are left out, minute by minute.
    pub filtered: std::collections::BTreeSet<String>,
    /// The name of a cluster that is told of with and without its label: both are one.
    pub named_and_unnamed: Option<String>,
    /// Which exporters' gauges are taken.
    pub sources: Sources,
    /// By how many seconds series are looked at earlier than the query's time.
    pub offset_seconds: i64,
    /// Currencies of cost gauges to convert, and what one unit of them costs.
    pub conversions: Vec<(String, f64)>,
    /// The label that names a cluster; `None`: `cluster`.
    pub cluster_label: Option<String>,
    /// Some series have `cluster`, others `cluster_id` only: each is named by what it has.
    pub mixes_cluster_labels: bool,
    /// Of metrics of pods, only the series of this one: its namespace and its name.
    pub only_pod: Option<(String, String)>,
    /// Whether the session may ask for the series in parts: the results of parts add up.
    pub is_in_parts: bool,
}

impl Selector {
    /// The label that names a cluster in this selector's results.
    #[must_use]
    pub fn cluster_label(&self) -> &str {
        self.cluster_label.as_deref().unwrap_or(CLUSTER)
    }

    /// The same series, for questions whose answers for parts of the series add up.
    #[must_use]
    pub fn in_parts(&self) -> Self {
        Self { is_in_parts: true, ..self.clone() }
    }

    /// The metric's series at one time, unfiltered, with `extra` matchers.
    #[must_use]
    pub fn raw(&self, metric: &str, extra: &[&str]) -> String {
        if !is_cost_gauge(metric) {
            return self.unlabelled_too(metric, extra);
        }
        let gauges = self.converted(metric, extra);
        // What holds gauges to some namespaces or pods would leave no window's end.
        let of_ends = || Self { matchers: Vec::new(), ..self.clone() };
        let ends = || of_ends().unlabelled_too(WINDOW_END, &[]);
        match self.sources {
            Sources::All => gauges,
            Sources::Windowed => format!("({gauges} and ignoring ({GAUGE_LABELS}) {})", ends()),
            Sources::Newest => {
                format!("({gauges} and ignoring ({GAUGE_LABELS}) ({}))", self.newest(&ends()))
            }
            Sources::Windowless => {
                format!("({gauges} unless ignoring ({GAUGE_LABELS}) {})", ends())
            }
        }
    }

    /// Of window ends those that are their cluster's newest.
    #[must_use]
    pub fn newest(&self, ends: &str) -> String {
        format!("{ends} == on ({}) group_left () {}", self.labels(&[]), self.max_by(&[], ends))
    }

    /// Cost gauges in the ledger's currency.
    fn converted(&self, metric: &str, extra: &[&str]) -> String {
        if self.conversions.is_empty() {
            return self.unlabelled_too(metric, extra);
        }
        let with = |matcher: &str| self.unlabelled_too(metric, &[extra, &[matcher]].concat());
        let names: Vec<_> = self.conversions.iter().map(|(name, _)| regex_escaped(name)).collect();
        let mut out = format!("({}", with(&format!("currency!~{}", quoted(&names.join("|")))));
        for (name, rate) in &self.conversions {
            // Cannot fail: writing to a String.
            let _ = write!(out, " or {} * {rate}", with(&format!("currency={}", quoted(name))));
        }
        out + ")"
    }

    /// The metric's series at one time, each with its cluster's label.
    fn unlabelled_too(&self, metric: &str, extra: &[&str]) -> String {
        self.with_clusters(|more| {
            let stored = self.stored(metric, &[extra, more].concat());
            match self.offset_seconds {
                0 => stored,
                seconds => format!("{stored} offset {seconds}s"),
            }
        })
    }

    /// A function over the range of a metric's series, with their clusters' names:
    /// `count_over_time(METRIC{...}[5m])`.
    #[must_use]
    pub fn over_time(&self, function: &str, metric: &str, extra: &[&str], range: &str) -> String {
        self.with_clusters(|more| {
            format!("{function}({}[{range}])", self.stored(metric, &[extra, more].concat()))
        })
    }

    /// The times of a metric's newest samples, with their clusters' names.
    #[must_use]
    pub fn timestamps(&self, metric: &str) -> String {
        self.with_clusters(|more| format!("timestamp({})", self.stored(metric, more)))
    }

    /// An expression over series, which `expression` makes of further matchers, with the label
    /// of the cluster added where it is not stored.
    #[must_use]
    pub fn with_clusters(&self, expression: impl Fn(&[&str]) -> String) -> String {
        if self.named_and_unnamed.is_none() && !self.mixes_cluster_labels {
            return expression(&[]);
        }
        let label = self.cluster_label();
        let no_label = format!("{label}=\"\"");
        let of_id = self.clusters.as_ref().filter(|_| self.mixes_cluster_labels);
        let of_id = of_id.map(|clusters| clusters.matcher(CLUSTER_ID, clusters.has_unnamed));
        let matchers: Vec<&str> = [no_label.as_str()].into_iter().chain(of_id.as_deref()).collect();
        let mut unnamed = expression(&matchers);
        if let Some(cluster) = &self.named_and_unnamed {
            let name = quoted(&cluster.replace('$', "$$"));
            unnamed = format!("label_replace({unnamed}, \"{label}\", {name}, \"\", \"\")");
        }
        if self.mixes_cluster_labels {
            unnamed = format!(
                "label_replace({unnamed}, \"{label}\", \"$1\", \"{CLUSTER_ID}\", \"(.+)\")"
            );
        }
        format!("({} or {unnamed})", expression(&[&format!("{label}!=\"\"")]))
    }

    /// The metric's series as they are stored, which may be taken over a range.
    #[must_use]
    pub fn stored(&self, metric: &str, extra: &[&str]) -> String {
        let mut matchers = Vec::new();
        if let Some((label, value)) = &self.tenant {
            matchers.push(format!("{label}={}", quoted(value)));
        }
        matchers.extend(self.matchers.iter().cloned());
        if let Some(clusters) = &self.clusters {
            // Those that another label names have this one nowhere.
            let with_unnamed = clusters.has_unnamed || self.mixes_cluster_labels;
            matchers.push(clusters.matcher(self.cluster_label(), with_unnamed));
        }
        matchers.extend(extra.iter().map(|matcher| (*matcher).to_owned()));
        if let Some(label) = pod_label(metric) {
            matchers.extend(self.pod_matchers(label));
        }
        if self.is_in_parts {
            matchers.extend(series_parts::placeholder(metric));
        }
        format!("{metric}{{{}}}", matchers.join(","))
    }

    /// What selects the one pod that is wanted, where metrics name pods by this label.
    pub fn pod_matchers(&self, label: &str) -> impl Iterator<Item = String> {
        self.only_pod.iter().flat_map(move |(namespace, pod)| {
            [format!("namespace={}", quoted(namespace)), format!("{label}={}", quoted(pod))]
        })
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
        let all: Vec<&str> =
            tenant.chain([self.cluster_label()]).chain(more.iter().copied()).collect();
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

    /// Series of a metric with a sample in the window that is no cost: NaN, infinite or negative;
    /// or with one before it that still stands for the window's first minute.
    #[must_use]
    pub fn bad_samples(&self, metric: &str, extra: &[&str], window: Window) -> String {
        let series = self.stored(metric, extra);
        let range = window.range();
        let back = window.evaluation_time() - next_grid_point(window.start);
        let first = match back {
            1.. => format!("{series} offset {back}s"),
            // No offset may be zero.
            _ => series.clone(),
        };
        format!(
            "(sum_over_time({series}[{range}]) * 0 != 0) or (min_over_time({series}[{range}]) < 0) \
             or ({first} * 0 != 0) or ({first} * 1 < 0)"
        )
    }

    /// Two numbers about all samples of the metric in the window together: their sum, which is finite
    /// where all of them are, and the least one where that is below 0, else 0. A server that leaves
    /// out what is no number has one of them only.
    #[must_use]
    pub fn extent(&self, metric: &str, extra: &[&str], window: Window) -> String {
        let samples = format!("{}[{}]", self.stored(metric, extra), window.range());
        let sum = self.over_clusters("sum", &format!("sum_over_time({samples})"));
        let least = self.over_clusters("min", &format!("min_over_time({samples})"));
        let named = |of: &str, number: &str| {
            format!("label_replace({number}, \"{EXTENT}\", \"{of}\", \"\", \"\")")
        };
        let (sum, least) = (named("sum", &sum), named("least", &format!("clamp_max({least}, 0)")));
        format!("{sum} or {least}")
    }

    /// An aggregation over all of the account's clusters.
    #[must_use]
    pub fn over_clusters(&self, aggregation: &str, expression: &str) -> String {
        match &self.tenant {
            Some((label, _)) => format!("{aggregation} by ({label}) ({expression})"),
            None => format!("{aggregation}({expression})"),
        }
    }

    /// How many series of a metric have a sample in the window.
    #[must_use]
    pub fn series_count(&self, metric: &str, extra: &[&str], window: Window) -> String {
        let series = format!("count_over_time({}[{}])", self.stored(metric, extra), window.range());
        self.over_clusters("count", &series)
    }
}

#[cfg(test)]
mod tests;
