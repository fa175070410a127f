//! Accounts of several clusters that come, go, lag and are named in different ways.

use serde_json::Value;

use crate::support::ask::{assert_live, live};
use crate::support::metrics::History;
use crate::support::servers::{Server, Stores};
use crate::support::worker::{Finished, run};
use crate::support::world::{DAY, HOUR, MARCH, MINUTE, source};

const ACCOUNT: &str = "c1c1c1c1-0000-0000-0000-0000000000c1";
const TOTAL: &str = "cloudtuner_kubecost_cluster_total_cost";
const NODE: &str = "node_total_hourly_cost";
const WHOLE: (i64, i64) = (MARCH, MARCH + DAY);

struct World {
    stores: Stores,
    settings: Vec<(&'static str, String)>,
}

impl World {
    async fn new() -> Self {
        let stores = Stores::new("clusters").await;
        let mut settings = stores.settings();
        settings.push(("ACCOUNTS", ACCOUNT.to_owned()));
        run(&settings, &["migrate"]).expect_success();
        Self { stores, settings }
    }

    fn run(&self, source: &Server, arguments: &[&str]) -> Finished {
        let mut settings = self.settings.clone();
        settings.push(("PROMETHEUS_URL", source.url.clone()));
        run(&settings, arguments)
    }

    /// USD by day, the clusters' rows added up.
    async fn days(&self) -> Vec<(i64, String, f64)> {
        let mut days: Vec<(i64, String, f64)> = Vec::new();
        for (date, _, usd) in live(&self.stores, ACCOUNT).await {
            match days.last_mut() {
                Some(last) if last.0 == date => last.2 += usd,
                _ => days.push((date, String::new(), usd)),
            }
        }
        days
    }
}

/// A constant rate, with labels beside the tenant's: `,cluster="a"`.
fn put(history: &mut History, metric: &str, labels: &str, life: (i64, i64), rate: f64) {
    let labels = format!("tenant_id=\"{ACCOUNT}\"{labels}");
    history.every_minute(metric, &labels, 0, life, |_| Some(rate));
}

fn first_day(finished: &Value) -> &Value {
    let days = finished["accounts"][0]["days"].as_array().unwrap();
    days.iter().find(|day| day["day"] == "2026-03-01").unwrap()
}

const FIRST: [&str; 5] = ["run", "--from", "2026-03-01", "--to", "2026-03-01"];

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_gets_its_label_at_noon_is_one_cluster() {
    let (noon, node) = (MARCH + DAY / 2, ",node=\"n1\"");
    for (metric, node) in [(TOTAL, ""), (NODE, node)] {
        let mut history = History::default();
        put(&mut history, metric, node, (MARCH, noon), 10.0);
        put(&mut history, metric, &format!(",cluster=\"prod\"{node}"), (noon, WHOLE.1), 10.0);
        let mut world = World::new().await;
        world.settings.push(("DEFAULT_CLUSTER", "prod".to_owned()));
        let done = world.run(&source(&[history]), &FIRST).expect_success().summary();
        assert_live(&world.days().await, &[(MARCH, "", 240.0)]);
        assert_eq!(first_day(&done)["covered_minutes"], 1_440, "{done}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_scraped_with_and_without_its_clusters_label_costs_once() {
    let mut history = History::default();
    for cluster in ["", ",cluster=\"prod\""] {
        put(&mut history, NODE, &format!("{cluster},node=\"n1\""), WHOLE, 5.0);
    }
    let mut world = World::new().await;
    world.settings.push(("DEFAULT_CLUSTER", "prod".to_owned()));
    world.run(&source(&[history]), &FIRST).expect_success();
    assert_live(&world.days().await, &[(MARCH, "", 120.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_samples_of_one_cluster_of_two_complete_a_settled_day() {
    let half = |until: i64| {
        let mut history = History::default();
        put(&mut history, TOTAL, ",cluster=\"a\"", (MARCH, MARCH + 5 * DAY), 10.0);
        put(&mut history, TOTAL, ",cluster=\"b\"", (MARCH, MARCH + until), 6.0);
        put(&mut history, TOTAL, ",cluster=\"b\"", (MARCH + DAY, MARCH + 5 * DAY), 6.0);
        source(&[history])
    };
    let world = World::new().await;
    let at = ["run", "--at", "2026-03-04T13:00:00Z"];
    world.run(&half(12 * HOUR), &at).expect_success();
    // The sample of 11:59 stands up to 12:04.
    let before = world.days().await[0].2;
    assert!((before - (240.0 + 72.0 + 0.5)).abs() < 1e-6, "{before}");
    world.run(&half(DAY), &at).expect_success();
    assert_live(&world.days().await[..1], &[(MARCH, "", 384.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_yesterdays_last_gauge_stands_for_is_no_sample_of_today() {
    let mut history = History::default();
    put(&mut history, TOTAL, ",cluster=\"a\"", WHOLE, 10.0);
    put(&mut history, NODE, ",cluster=\"a\",node=\"n1\"", (MARCH, MARCH + 2 * DAY), 5.0);
    let world = World::new().await;
    let two_days = ["run", "--from", "2026-03-01", "--to", "2026-03-02"];
    world.run(&source(&[history]), &two_days).expect_success();
    assert_live(&world.days().await, &[(MARCH, "", 240.0), (MARCH + DAY, "", 120.0)]);
}

/// An exporter whose windows end at full hours: its rate, and from when on it tells.
fn hourly(history: &mut History, cluster: &str, window_hours: i64, life: (i64, i64), rate: f64) {
    let labels = format!(",cluster=\"{cluster}\"");
    put(history, TOTAL, &labels, life, rate);
    put(history, "cloudtuner_kubecost_window_seconds", &labels, life, (window_hours * HOUR) as f64);
    let labels = format!("tenant_id=\"{ACCOUNT}\"{labels}");
    let end = |t: i64| Some((t - t.rem_euclid(window_hours * HOUR)) as f64);
    history.every_minute("cloudtuner_kubecost_window_end_timestamp_seconds", &labels, 0, life, end);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clusters_first_hour_before_midnight_is_told_after_it() {
    let mut history = History::default();
    let end = MARCH + DAY + 4 * HOUR;
    hourly(&mut history, "slow", 2, (MARCH, end), 1.0);
    hourly(&mut history, "prompt", 1, (MARCH, end), 1.0);
    // Its first gauge tells of 23:00 to 24:00.
    hourly(&mut history, "new", 1, (MARCH + DAY, end), 13.0);
    let world = World::new().await;
    world.run(&source(&[history]), &FIRST).expect_success();
    assert_live(&world.days().await, &[(MARCH, "", 24.0 + 24.0 + 13.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_cannot_be_is_no_lag_and_is_said() {
    let mut history = History::default();
    put(&mut history, TOTAL, ",cluster=\"a\"", WHOLE, 10.0);
    let end = "cloudtuner_kubecost_window_end_timestamp_seconds";
    put(&mut history, end, ",cluster=\"a\"", WHOLE, 0.0);
    let world = World::new().await;
    let done = world.run(&source(&[history]), &FIRST).expect_success().summary();
    assert_live(&world.days().await, &[(MARCH, "", 240.0)]);
    let warnings = first_day(&done)["warnings"].to_string();
    assert!(warnings.contains("cluster 'a'") && warnings.contains("days old"), "{warnings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_that_goes_to_and_fro_for_an_hour_is_no_second_writer() {
    let mut history = History::default();
    let labels = format!("tenant_id=\"{ACCOUNT}\",cluster=\"a\"");
    let wavers = MARCH + 9 * HOUR..MARCH + 9 * HOUR + 50 * MINUTE;
    let rate = |t: i64| {
        let is_odd = t.div_euclid(MINUTE) % 2 == 1;
        Some(if wavers.contains(&t) && is_odd { 11.0 } else { 10.0 })
    };
    history.every_minute(TOTAL, &labels, 0, WHOLE, rate);
    let world = World::new().await;
    world.run(&source(&[history]), &FIRST).expect_success();
    assert_live(&world.days().await, &[(MARCH, "", 240.0 + 25.0 / 60.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_without_the_nodes_provider_is_no_other_cluster() {
    let mut history = History::default();
    for labels in [",job=\"one\"", ",job=\"two\",provider_id=\"aws:///i-1\""] {
        put(&mut history, NODE, &format!(",cluster=\"a\",node=\"n1\"{labels}"), WHOLE, 5.0);
    }
    let world = World::new().await;
    world.run(&source(&[history]), &FIRST).expect_success();
    assert_live(&world.days().await, &[(MARCH, "", 120.0)]);
}

/// Cluster `a` has gauges and raw metrics, another one raw metrics alone.
fn gauges_of_a_and_raw_metrics_of_both(other: &str) -> History {
    let mut history = History::default();
    put(&mut history, TOTAL, ",cluster=\"a\"", WHOLE, 10.0);
    for cluster in ["a", other] {
        put(&mut history, NODE, &format!(",cluster=\"{cluster}\",node=\"n1\""), WHOLE, 5.0);
    }
    history
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_gauges_is_named_where_the_others_have_them() {
    let history = gauges_of_a_and_raw_metrics_of_both("raw-only");
    let world = World::new().await;
    let done = world.run(&source(&[history]), &FIRST).expect_success().summary();
    let warnings = first_day(&done)["warnings"].as_array().unwrap();
    assert!(warnings.len() == 1 && warnings[0].to_string().contains("'raw-only'"), "{warnings:?}");
    let (state, cause) = (&first_day(&done)["state"], first_day(&done)["cause"].to_string());
    assert!(state == "partial" && cause.contains("'raw-only'"), "{state}: {cause}");
    assert_live(&world.days().await, &[(MARCH, "", 240.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_exporter_that_shows_no_cost_hides_no_cluster() {
    let mut history = gauges_of_a_and_raw_metrics_of_both("raw-mute");
    let info = "cloudtuner_kubecost_exporter_info";
    let labels = ",cluster=\"raw-mute\",window=\"1h\",mode=\"rate\"";
    put(&mut history, info, labels, WHOLE, 1.0);
    let world = World::new().await;
    let done = world.run(&source(&[history]), &FIRST).expect_success().summary();
    let (state, cause) = (&first_day(&done)["state"], first_day(&done)["cause"].to_string());
    assert!(state == "partial" && cause.contains("'raw-mute'"), "{state}: {cause}");
    let warnings = first_day(&done)["warnings"].to_string();
    assert!(warnings.contains("has shown no cost"), "{warnings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_gauges_call_otherwise_than_raw_metrics_lacks_nothing() {
    let mut history = History::default();
    put(&mut history, TOTAL, ",cluster=\"eu-1\"", WHOLE, 10.0);
    put(&mut history, NODE, ",cluster=\"cluster-one\",node=\"n1\"", WHOLE, 5.0);
    let world = World::new().await;
    let done = world.run(&source(&[history]), &FIRST).expect_success().summary();
    assert_eq!(first_day(&done)["state"], "ok", "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_parts_have_gauges_but_not_its_whole_is_missing() {
    let mut history = History::default();
    let end = MARCH + DAY + 4 * HOUR;
    hourly(&mut history, "a", 1, (MARCH, end), 1.0);
    let namespace = "cloudtuner_kubecost_namespace_total_cost";
    put(&mut history, namespace, ",cluster=\"b\",namespace=\"shop\"", (MARCH, end), 3.0);
    let world = World::new().await;
    let done = world.run(&source(&[history]), &FIRST).expect_success().summary();
    let (state, cause) = (&first_day(&done)["state"], first_day(&done)["cause"].to_string());
    assert!(state == "partial" && cause.contains("'b'"), "{state}: {cause}");
}

/// Windows of an hour of a cluster that this label names.
fn hourly_by(history: &mut History, labels: &str, life: (i64, i64), rate: f64) {
    put(history, TOTAL, labels, life, rate);
    put(history, "cloudtuner_kubecost_window_seconds", labels, life, HOUR as f64);
    let labels = format!("tenant_id=\"{ACCOUNT}\"{labels}");
    let end = |t: i64| Some((t - t.rem_euclid(HOUR)) as f64);
    history.every_minute("cloudtuner_kubecost_window_end_timestamp_seconds", &labels, 0, life, end);
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_of_clusters_that_two_labels_name_are_all_read() {
    let mut history = History::default();
    let life = (MARCH, MARCH + DAY + 2 * HOUR);
    hourly_by(&mut history, ",cluster=\"prod\"", life, 1.0);
    hourly_by(&mut history, ",cluster_id=\"east\"", life, 2.0);
    let mut world = World::new().await;
    world.settings.push(("CLUSTER_LABEL", "auto".to_owned()));
    let done = world.run(&source(&[history]), &FIRST).expect_success().summary();
    assert_live(&world.days().await, &[(MARCH, "", 24.0 * 3.0)]);
    assert_eq!(first_day(&done)["state"], "ok", "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_gets_its_label_on_the_next_day_keeps_the_days_costs() {
    for label_comes in [MARCH + DAY / 2, MARCH + DAY + HOUR / 2] {
        let mut history = History::default();
        hourly_by(&mut history, ",cluster_id=\"east\"", (MARCH, label_comes), 2.0);
        let (labels, end) = (",cluster=\"east\",cluster_id=\"east\"", MARCH + DAY + 2 * HOUR);
        hourly_by(&mut history, labels, (label_comes, end), 2.0);
        let mut world = World::new().await;
        world.settings.push(("CLUSTER_LABEL", "auto".to_owned()));
        world.run(&source(&[history]), &FIRST).expect_success();
        assert_live(&world.days().await, &[(MARCH, "", 48.0)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_of_a_cluster_that_gets_its_label_at_noon_cost_once_and_whole() {
    let noon = MARCH + DAY / 2;
    let mut history = History::default();
    for replica in [",replica=\"0\"", ",replica=\"1\""] {
        put(&mut history, TOTAL, replica, (MARCH, noon), 10.0);
        let labels = format!(",cluster=\"prod\"{replica}");
        put(&mut history, TOTAL, &labels, (noon, WHOLE.1), 10.0);
    }
    let mut world = World::new().await;
    world.settings.push(("DEFAULT_CLUSTER", "prod".to_owned()));
    world.settings.push(("LEVELS", "cluster".to_owned()));
    let done = world.run(&source(&[history]), &FIRST).expect_success().summary();
    assert_live(&world.days().await, &[(MARCH, "", 240.0)]);
    assert_eq!(first_day(&done)["state"], "ok", "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_of_a_day_that_lost_a_cluster_does_not_call_it_whole() {
    let with = |second_of_b: bool| {
        let mut history = History::default();
        put(&mut history, TOTAL, ",cluster=\"a\"", (MARCH, MARCH + 2 * DAY), 10.0);
        // Its last sample stands for no minute of the second day.
        let until = if second_of_b { MARCH + 2 * DAY } else { MARCH + DAY - 10 * MINUTE };
        put(&mut history, TOTAL, ",cluster=\"b\"", (MARCH, until), 6.0);
        source(&[history])
    };
    let world = World::new().await;
    world.run(&with(true), &FIRST).expect_success();
    let lost = with(false);
    let second = ["--from", "2026-03-02", "--to", "2026-03-02"];
    let state = |done: Value| done["accounts"][0]["days"][0]["state"].clone();
    let run = world.run(&lost, &[&["run"], &second[..]].concat()).expect_success().summary();
    assert_eq!(state(run), "partial");
    world.run(&lost, &[&["backfill"], &second[..]].concat()).expect_success();
    let again = world.run(&lost, &[&["run"], &second[..]].concat()).expect_success().summary();
    assert_eq!(state(again), "partial");
}
