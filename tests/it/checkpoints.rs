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

/// What a single run stores.
async fn alone(small: &Small, name: &str, at: &str) -> Vec<(u32, String, u64, i64)> {
    let calm = small.beside(name).await;
    run(&calm.settings, &["--at", at, "run"]).expect_success();
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
    // The first run asks for what is kept, up to eleven o'clock, at another time than its own.
    assert_eq!(both, [15 * 60 + 30, 20 * 60 + 30]);
    let asked_for = layer.seen().iter().map(Query::longest_range).max().unwrap();
    assert!(asked_for >= 11 * HOUR - 1, "{asked_for}");
    assert_eq!(small.stored().await, alone(&small, "no_checkpoints", LATER).await);
}

/// What is stored after a run on a history that lacks something and a run on the whole.
async fn after_late_samples(
    name: &str,
    (lacking, whole): (impl Fn(&mut History), impl Fn(&mut History)),
    at: &[&str],
) -> [Vec<(u32, String, u64, i64)>; 2] {
    let early = Small::with(&format!("{name}_early"), lacking).await;
    let late = Small::with(&format!("{name}_late"), whole).await;
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
    let [stored, wanted] = after_late_samples("late_hours", both, &[LATER]).await;
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
    let [stored, wanted] = after_late_samples("late_names", both(), &[LATER]).await;
    let sum = |rows: &[(u32, String, u64, i64)]| {
        rows.iter().map(|row| f64::from_bits(row.2)).sum::<f64>()
    };
    assert_eq!(sum(&stored), sum(&wanted), "no dollar is missing: the cluster has them");
    let [stored, wanted] = after_late_samples("late_turn", both(), &[LATER, SIX_HOURS]).await;
    assert_eq!(stored, wanted);
}
