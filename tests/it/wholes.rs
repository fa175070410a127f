//! A cluster's total is the whole: parts that are below zero stay in it, and parts that are more
//! than it make the day not `ok`. By gauges of a real Prometheus.

use serde_json::Value;

use crate::support::exporters::{
    Case, Cost, LIFE, Windowed, assert_share, closed, day, labels, rate,
};
use crate::support::metrics::History;
use crate::support::world::{HOUR, MARCH};

const EXACT: f64 = 1e-9;

fn put(history: &mut History, namespaces: &[(&str, f64)]) {
    let rates: Vec<_> = namespaces.iter().map(|(name, usd)| (*name, rate(*usd))).collect();
    let costs: Vec<(&str, Cost<'_>)> =
        rates.iter().map(|(name, cost)| (*name, cost as _)).collect();
    Windowed { more: "", life: LIFE, length: HOUR, end: &|t| closed(t, HOUR), is_total: false }
        .put(history, &costs);
}

/// A further gauge that the cluster's total knows nothing of.
fn put_beside(history: &mut History, metric: &str, names: &str, usd: f64) {
    let metric = format!("cloudtuner_kubecost_{metric}");
    history.every_minute(&metric, &labels(names), 0, LIFE, |_| Some(usd));
}

fn case(history: History) -> (Case, Value) {
    let case = Case::new(history, &[("LEVELS", "cluster,namespace,pod")]);
    let arguments = ["--from", "2026-03-01", "--to", "2026-03-01", "--output", "json"];
    let summary = case.store.run(&[&["run"][..], &arguments].concat()).summary();
    (case, day(&summary, "2026-03-01").clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_below_zero_is_a_part_of_the_whole() {
    let mut history = History::default();
    put(&mut history, &[("shop", 8.0), ("data", 4.0), ("__idle__", -2.0)]);
    let (case, found) = case(history);
    assert_share(case.total(MARCH), 240.0, EXACT);
    assert_share(found["source_total_usd"].as_f64().unwrap(), 240.0, EXACT);
    assert!(case.stored(MARCH).values().all(|usd| *usd >= 0.0), "{:?}", case.stored(MARCH));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_below_zero_is_a_part_of_the_whole() {
    let mut history = History::default();
    put(&mut history, &[("shop", 12.0), ("refund", -0.5), ("__idle__", 0.5)]);
    let (case, found) = case(history);
    let is_whole = (case.total(MARCH) - 288.0).abs() < 1e-6;
    assert!(is_whole || found["state"] != "ok", "${} stored: {found}", case.total(MARCH));
    assert!(case.total(MARCH) <= 288.0 + 1e-6, "${} stored: {found}", case.total(MARCH));
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_that_cost_more_than_their_cluster_are_no_good_day() {
    let mut history = History::default();
    put(&mut history, &[("shop", 1.5), ("data", 0.5)]);
    put_beside(&mut history, "namespace_total_cost", ",namespace=\"ghost\"", 0.25);
    let (case, found) = case(history);
    assert_ne!(found["state"], "ok", "{found}");
    assert!(case.total(MARCH) <= 48.0 + 1e-6, "${} of 48 stored", case.total(MARCH));
    assert!(found["cause"].as_str().unwrap().contains("prod"), "names the cluster: {found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_cost_more_than_their_namespace_are_no_good_day() {
    let mut history = History::default();
    put(&mut history, &[("shop", 1.5), ("data", 0.5)]);
    for (pod, usd) in [("web-0", 1.0), ("web-1", 0.6)] {
        let names = format!(",namespace=\"shop\",pod=\"{pod}\"");
        put_beside(&mut history, "pod_total_cost", &names, usd);
    }
    let (case, found) = case(history);
    assert_ne!(found["state"], "ok", "{found}");
    assert_share(case.total(MARCH), 48.0, EXACT);
    assert!(found["cause"].as_str().unwrap().contains("shop"), "names the namespace: {found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_within_one_percent_of_their_namespace_are_rounding() {
    let mut history = History::default();
    put(&mut history, &[("shop", 1.5), ("data", 0.5)]);
    let names = ",namespace=\"shop\",pod=\"web-0\"";
    put_beside(&mut history, "pod_total_cost", names, 1.5 * 1.004);
    let (case, found) = case(history);
    assert_eq!(found["state"], "ok", "{found}");
    assert_share(case.total(MARCH), 48.0, EXACT);
}
