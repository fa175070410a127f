//! The part of a running day that is over is asked for once; late samples of it are found.

use crate::support::layer::{Fate, Layer, Query};
use crate::support::metrics::History;
use crate::support::small::{ACCOUNT, START, Small};
use crate::support::worker::run;

/// Times of the second day: of one hour, and of the next after six.
const FIRST: &str = "2026-03-02T11:15:30Z";
const LATER: &str = "2026-03-02T11:20:30Z";
const SIX_HOURS: &str = "2026-03-02T12:15:30Z";
const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

/// A gauge of the second day, without the times that a closure leaves out.
fn gauge(history: &mut History, labels: &str, is_there: impl Fn(i64) -> bool) {
    let namespace = labels.contains("namespace");
    let level = if namespace { "namespace" } else { "cluster" };
    let labels = format!("tenant_id=\"{ACCOUNT}\",{labels}");
    let metric = format!("cloudtuner_kubecost_{level}_total_cost");
    let times = (START + DAY - 60, START + DAY + DAY / 2);
    let value = if namespace { 1.5 } else { 4.5 };
    history.every_minute(&metric, &labels, 7, times, |time| {
        is_there(time - START - DAY).then_some(value)
    });
}

/// The longest time that a question about namespaces goes back from the time of a run, seconds.
fn longest(queries: &[Query], at: &str) -> i64 {
    let at = chrono::DateTime::parse_from_rfc3339(at).unwrap().timestamp();
    let of_run = queries.iter().filter(|query| {
        let is_of_namespaces = query.text("query").contains("namespace_total_cost");
        is_of_namespaces && !query.is_range() && query.seconds("time") == at
    });
    of_run.map(Query::longest_range).max().unwrap()
}

/// Whether a question counts the cluster's samples of most of the second day.
fn counts_running_day(query: &Query) -> bool {
    let text = query.text("query");
    let counts_all = ["label_replace(sum by", "sum by"].iter().any(|one| text.starts_with(one));
    if !counts_all || !text.contains("(count_over_time(cloudtuner_kubecost_cluster_total") {
        return false;
    }
    let until = query.seconds(if query.is_range() { "end" } else { "time" });
    let is_of_day = until > START + DAY + 5 * HOUR && query.longest_range() >= 11 * HOUR - 1;
    // Not what is newer than eleven o'clock, asked up to the day's last minute.
    is_of_day && (query.is_range() || until < START + DAY + 11 * HOUR)
}

/// What a single run stores.
async fn alone(small: &Small, name: &str, at: &str) -> Vec<(u32, String, u64, i64)> {
    let calm = small.beside(name).await;
    let phase = small.settings.iter().filter(|(name, _)| *name == "PHASE").cloned();
    let settings: Vec<_> = calm.settings.iter().cloned().chain(phase).collect();
    run(&settings, &["--at", at, "run"]).expect_success();
    calm.stored().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_day_is_asked_for_from_its_last_quarter_of_an_hour_on() {
    let small = Small::new("checkpoints").await;
    let layer = Layer::new(&small.prometheus.url, |_| Fate::Passed).await;
    let settings = small.with_settings(&[("PROMETHEUS_URL", &layer.url)]);
    let both: Vec<i64> = [FIRST, LATER]
        .map(|at| {
            let before = layer.seen().len();
            let settings = settings.clone();
            tokio::task::block_in_place(|| run(&settings, &["--at", at, "run"]).expect_success());
            longest(&layer.seen()[before..], at)
        })
        .to_vec();
    // The first run asks for what is kept, up to eleven o'clock, at another time than its own. Whether
    // samples are no cost is asked of those of the second before that part, too.
    assert_eq!(both, [15 * 60 + 30 + 1, 20 * 60 + 30 + 1]);
    // Once a run, and again before what is learned is kept.
    assert_eq!(layer.seen().iter().filter(|query| counts_running_day(query)).count(), 3);
    let asked_for = layer.seen().iter().map(Query::longest_range).max().unwrap();
    assert!(asked_for >= 11 * HOUR - 1, "{asked_for}");
    assert_eq!(small.stored().await, alone(&small, "no_checkpoints", LATER).await);
}

/// What is stored after a run on a history that lacks something and a run on the whole.
async fn after_late_samples(
    name: &str,
    (lacking, whole): (impl Fn(&mut History), impl Fn(&mut History)),
    at: &[&str],
    phase: &str,
) -> [Vec<(u32, String, u64, i64)>; 2] {
    let mut early = Small::with(&format!("{name}_early"), lacking).await;
    let mut late = Small::with(&format!("{name}_late"), whole).await;
    for small in [&mut early, &mut late] {
        small.settings.push(("PHASE", phase.to_owned()));
    }
    run(&early.settings, &["--at", FIRST, "run"]).expect_success();
    let settings = early.with_settings(&[("PROMETHEUS_URL", &late.prometheus.url)]);
    for at in at {
        run(&settings, &["--at", at, "run"]).expect_success();
    }
    let wanted = alone(&late, &format!("{name}_alone"), at[at.len() - 1]).await;
    [early.stored().await, wanted]
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_of_hours_before_that_come_late_are_stored_by_the_next_run() {
    let cluster = |is_there: fn(i64) -> bool| {
        move |history: &mut History| {
            gauge(history, "cluster=\"late\"", is_there);
            gauge(history, "cluster=\"late\",namespace=\"shop\"", is_there);
        }
    };
    let lacking = cluster(|second| !(3 * HOUR..4 * HOUR).contains(&second));
    let both = (lacking, cluster(|_| true));
    let [stored, wanted] = after_late_samples("late_hours", both, &[LATER], "auto").await;
    assert_eq!(stored, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_samples_of_one_namespace_are_stored_six_hours_later_at_the_latest() {
    let namespace = |is_there: fn(i64) -> bool| {
        move |history: &mut History| {
            gauge(history, "cluster=\"late\"", |_| true);
            gauge(history, "cluster=\"late\",namespace=\"shop\"", is_there);
        }
    };
    let both =
        || (namespace(|second| !(3 * HOUR..4 * HOUR).contains(&second)), namespace(|_| true));
    let [stored, wanted] = after_late_samples("late_names", both(), &[LATER], "auto").await;
    let sum = |rows: &[(u32, String, u64, i64)]| {
        rows.iter().map(|row| f64::from_bits(row.2)).sum::<f64>()
    };
    assert_eq!(sum(&stored), sum(&wanted), "no dollar is missing: the cluster has them");
    let [stored, wanted] =
        after_late_samples("late_turn", both(), &[LATER, SIX_HOURS], "auto").await;
    assert_eq!(stored, wanted);
}

/// Raw metrics of the second day: prices of a node, a container on it, and a volume, each without
/// the times that a closure leaves out.
fn raw_metrics(history: &mut History, is_there: impl Fn(&str, i64) -> bool) {
    const CONTAINER: &str = "node=\"n1\",namespace=\"web\",pod=\"w-1\",container=\"main\"";
    const CLAIM: &str = "persistentvolume=\"v1\",namespace=\"web\",pod=\"w-1\",\
                         persistentvolumeclaim=\"c\"";
    let times = (START + DAY - 60, START + DAY + DAY / 2);
    for (metric, labels, value) in [
        ("node_cpu_hourly_cost", "node=\"n1\"", 0.5),
        ("node_ram_hourly_cost", "node=\"n1\"", 0.01),
        ("container_cpu_allocation", CONTAINER, 2.0),
        ("container_memory_allocation_bytes", CONTAINER, 4.0 * 1_073_741_824.0),
        ("pv_hourly_cost", "persistentvolume=\"v1\"", 0.001),
        ("pod_pvc_allocation", CLAIM, 100.0 * 1_073_741_824.0),
    ] {
        let labels = format!("tenant_id=\"{ACCOUNT}\",cluster=\"raw\",{labels}");
        history.every_minute(metric, &labels, 7, times, |time| {
            is_there(metric, time - START - DAY).then_some(value)
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn late_samples_of_any_raw_metric_are_stored_by_the_next_run() {
    for late in ["container_cpu_allocation", "pv_hourly_cost", "node_cpu_hourly_cost"] {
        let lacks =
            |metric: &str, second: i64| metric != late || !(3 * HOUR..4 * HOUR).contains(&second);
        let both = (
            |history: &mut History| raw_metrics(history, lacks),
            |history: &mut History| raw_metrics(history, |_, _| true),
        );
        let [stored, wanted] = after_late_samples("late_raw", both, &[LATER], "1").await;
        assert!(!wanted.is_empty());
        assert_eq!(stored, wanted, "{late}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_before_midnight_that_is_no_cost_takes_nothing_from_the_day_after() {
    let midnight = START + DAY;
    let with = |before: f64| {
        move |history: &mut History| {
            let labels = format!("tenant_id=\"{ACCOUNT}\",cluster=\"late\"");
            let times = (midnight - 60, midnight + DAY / 2);
            let total = "cloudtuner_kubecost_cluster_total_cost";
            history.every_minute(total, &labels, 7, times, |time| {
                Some(if time < midnight { before } else { 4.5 })
            });
        }
    };
    let mut of_day = Vec::new();
    for before in [4.5, -60.0] {
        let small = Small::with("midnight", with(before)).await;
        let done = run(&small.settings, &["--at", FIRST, "run"]).expect_success();
        let rows = small.stored().await;
        let rows = rows.iter().filter(|row| i64::from(row.0) == midnight);
        let usd: f64 = rows.map(|row| f64::from_bits(row.2)).sum();
        let summary = done.summary();
        let days = summary["accounts"][0]["days"].as_array().unwrap();
        let today = days.iter().find(|day| day["day"] == "2026-03-02").unwrap();
        of_day.push((usd, today["state"].as_str().unwrap().to_owned()));
    }
    assert_eq!(of_day[0].1, "ok");
    assert_eq!(of_day[1].1, "partial");
    // The first minute is left out.
    let lost = of_day[0].0 - of_day[1].0;
    assert!((lost - 4.5 / 60.0).abs() < 1e-6, "{lost}");
}
