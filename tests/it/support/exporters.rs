//! Histories of allocation exporters, and what a worker with the embedded store makes of them.

use std::collections::BTreeMap;

use super::embedded::SqliteStore;
use super::metrics::History;
use super::servers::Server;
use super::worker::Finished;
use super::world::{DAY, HOUR, MARCH, source};

pub(crate) const ACCOUNT: &str = "e9e9e9e9-0000-0000-0000-0000000000e9";
/// Long after the first day.
pub(crate) const AT: &str = "2026-03-03T12:00:00Z";
/// The first day, from its midnight to noon of the third.
pub(crate) const LIFE: (i64, i64) = (MARCH - HOUR, MARCH + 2 * DAY + 12 * HOUR);

/// What a name costs from one time to another, USD.
pub(crate) type Cost<'a> = &'a dyn Fn(i64, i64) -> f64;

/// A constant rate, USD per hour.
pub(crate) fn rate(usd: f64) -> impl Fn(i64, i64) -> f64 {
    move |start, end| usd * (end - start) as f64 / HOUR as f64
}

/// A rate from one time on until another, USD per hour.
pub(crate) fn between(from: i64, until: i64, usd: f64) -> impl Fn(i64, i64) -> f64 {
    move |start, end| usd * (end.min(until) - start.max(from)).max(0) as f64 / HOUR as f64
}

/// The last full window that ended three minutes ago.
pub(crate) fn closed(time: i64, length: i64) -> i64 {
    (time - 180).div_euclid(length) * length
}

/// Labels of a series of the account: `,instance="a"`.
pub(crate) fn labels(more: &str) -> String {
    format!("tenant_id=\"{ACCOUNT}\",cluster=\"prod\"{more}")
}

/// An exporter that says which window its gauges are of.
pub(crate) struct Windowed<'a> {
    /// Further labels of all of its series.
    pub(crate) more: &'a str,
    pub(crate) life: (i64, i64),
    /// The window's length, seconds.
    pub(crate) length: i64,
    /// The end of the window that is shown at a time.
    pub(crate) end: &'a dyn Fn(i64) -> i64,
    /// `METRIC_MODE=total`.
    pub(crate) is_total: bool,
}

impl Windowed<'_> {
    /// Puts its series; the cluster costs what its namespaces do, special ones included.
    pub(crate) fn put(&self, history: &mut History, namespaces: &[(&str, Cost<'_>)]) {
        let unit = if self.is_total { 1.0 } else { HOUR as f64 / self.length as f64 };
        let gauge = |cost: Cost<'_>, time: i64| {
            let end = (self.end)(time);
            cost(end - self.length, end) * unit
        };
        let mut put = |metric: &str, more: &str, value: &dyn Fn(i64) -> f64| {
            let metric = format!("cloudtuner_kubecost_{metric}");
            let labels = labels(&format!("{}{more}", self.more));
            history.every_minute(&metric, &labels, 0, self.life, |time| Some(value(time)));
        };
        put("cluster_total_cost", "", &|time| {
            namespaces.iter().map(|(_, cost)| gauge(*cost, time)).sum()
        });
        for (name, cost) in namespaces {
            let more = format!(",namespace=\"{name}\"");
            put("namespace_total_cost", &more, &|time| gauge(*cost, time));
        }
        put("window_end_timestamp_seconds", "", &|time| (self.end)(time) as f64);
        put("window_seconds", "", &|_| self.length as f64);
        put("exporter_scrape_success", "", &|_| 1.0);
        let mode = if self.is_total { "total" } else { "rate" };
        put("exporter_build_info", &format!(",version=\"9\",mode=\"{mode}\""), &|_| 1.0);
    }
}

/// An earlier exporter, whose gauges are averages over a window that slides.
pub(crate) struct Earlier<'a> {
    /// Further labels of its costs.
    pub(crate) more: &'a str,
    pub(crate) life: (i64, i64),
    /// The window's length, hours; it says so in a label.
    pub(crate) hours: i64,
    /// Whether that label is there.
    pub(crate) has_info: bool,
    /// Whether it shows zeros for three minutes after each full hour.
    pub(crate) has_zeros: bool,
    /// Whether `__idle__` is shown among the namespaces.
    pub(crate) shows_idle: bool,
}

impl Earlier<'_> {
    /// Puts its series. A name whose cost has come down to nothing keeps its last gauge.
    pub(crate) fn put(
        &self,
        history: &mut History,
        namespaces: &[(&str, Cost<'_>)],
        pods: &[((&str, &str), Cost<'_>)],
    ) {
        let length = self.hours * HOUR;
        let is_zero = |time: i64| self.has_zeros && time.rem_euclid(HOUR) < 180;
        let mut put = |metric: &str, more: &str, value: &dyn Fn(i64) -> Option<f64>| {
            let metric = format!("cloudtuner_kubecost_{metric}");
            let labels = labels(&format!("{}{more}", self.more));
            history.every_minute(&metric, &labels, 0, self.life, value);
        };
        let average = |cost: Cost<'_>, time: i64| {
            let usd = cost(time - length, time) / self.hours as f64;
            (usd * 1e6).round() / 1e6
        };
        put("cluster_total_cost", "", &|time| {
            let sum = namespaces.iter().map(|(_, cost)| average(*cost, time)).sum();
            Some(if is_zero(time) { 0.0 } else { sum })
        });
        for (name, cost) in namespaces.iter().filter(|(n, _)| self.shows_idle || *n != "__idle__") {
            let last = std::cell::Cell::new(None);
            put("namespace_total_cost", &format!(",namespace=\"{name}\""), &|time| {
                let usd = average(*cost, time);
                if usd > 0.0 {
                    last.set(Some(usd));
                }
                last.get().map(|usd| if is_zero(time) { 0.0 } else { usd })
            });
        }
        for ((namespace, pod), cost) in pods {
            let more = format!(",namespace=\"{namespace}\",pod=\"{pod}\"");
            // Never divided by the window.
            put("pod_total_cost", &more, &|time| Some(cost(time - length, time)));
        }
        if self.has_info {
            let more = format!(",version=\"1.0.0\",window=\"{}h\",mode=\"rate\"", self.hours);
            put("exporter_info", &more, &|_| Some(1.0));
        }
        put("exporter_last_success_timestamp_seconds", "", &|time| Some((time - 20) as f64));
    }
}

/// A worker over a history.
pub(crate) struct Case {
    pub(crate) store: SqliteStore,
    source: Server,
}

impl Case {
    /// Nothing run yet.
    pub(crate) fn new(history: History, more: &[(&'static str, &str)]) -> Self {
        let source = source(&[history]);
        let mut store = SqliteStore::new(&[ACCOUNT], more);
        store.settings.push(("PROMETHEUS_URL", source.url.clone()));
        Self { store, source }
    }

    /// The query layer's address.
    pub(crate) fn url(&self) -> &str {
        &self.source.url
    }

    /// Runs the worker over the first day, long after it.
    pub(crate) fn first_day(&self) -> Finished {
        self.store.run(&["run", "--from", "2026-03-01", "--to", "2026-03-01", "--at", AT])
    }

    /// What is stored of a day, USD, by namespace and pod; nothing stands for the cluster's own.
    pub(crate) fn stored(&self, day_start: i64) -> BTreeMap<String, f64> {
        let sql = "SELECT r.name, r.resource_type, ifnull(e.k8s_namespace, ''), \
                   sum(e.cost * e.sign) FROM expenses e JOIN cloud_resource r \
                   ON r._id = e.resource_id WHERE e.date = ?1 GROUP BY 1, 2, 3 \
                   HAVING sum(e.sign) > 0";
        let connection = self.store.open();
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([day_start], |row| {
            let (name, kind): (String, String) = (row.get(0)?, row.get(1)?);
            let (namespace, usd): (String, f64) = (row.get(2)?, row.get(3)?);
            let is_pod = kind.to_lowercase().contains("pod");
            let name = if is_pod { format!("{namespace}/{name}") } else { namespace };
            Ok((name, usd))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// What is stored of a day, USD.
    pub(crate) fn total(&self, day_start: i64) -> f64 {
        self.stored(day_start).values().sum()
    }
}

/// A day of a run's summary.
pub(crate) fn day<'a>(summary: &'a serde_json::Value, day: &str) -> &'a serde_json::Value {
    let days = summary["accounts"][0]["days"].as_array().unwrap();
    days.iter().find(|one| one["day"] == day).unwrap()
}

/// Asserts that a cost is another to a share of it.
pub(crate) fn assert_share(usd: f64, wanted: f64, share: f64) {
    assert!(
        (usd - wanted).abs() <= share * wanted.abs(),
        "{usd} is not within {share} of {wanted}"
    );
}
