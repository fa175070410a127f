//! The same dollars told twice: replicas count once, and what cannot be told apart is refused
//! with its sources named.

use mongodb::bson::{Document, doc};

use crate::support::ask::{assert_live, live};
use crate::support::metrics::History;
use crate::support::servers::{Server, Stores};
use crate::support::worker::{Finished, run};
use crate::support::world::{DAY, HOUR, MARCH, source};

const ACCOUNT: &str = "d0d0d0d0-0000-0000-0000-0000000000d0";
const OTHER: &str = "d1d1d1d1-0000-0000-0000-0000000000d1";
const LIFE: (i64, i64) = (MARCH, MARCH + DAY);
const RUN: [&str; 5] = ["run", "--from", "2026-03-01", "--to", "2026-03-01"];

struct World {
    stores: Stores,
    settings: Vec<(&'static str, String)>,
    _source: Server,
}

impl World {
    async fn over(history: History, accounts: &str) -> Self {
        Self::with(history, &[("ACCOUNTS", accounts)]).await
    }

    async fn with(history: History, more: &[(&'static str, &str)]) -> Self {
        let (source, stores) = (source(&[history]), Stores::new("doubled").await);
        let mut settings = stores.settings();
        settings.push(("PROMETHEUS_URL", source.url.clone()));
        settings.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        run(&settings, &["migrate"]).expect_success();
        Self { stores, settings, _source: source }
    }

    fn run(&self) -> Finished {
        run(&self.settings, &RUN)
    }

    fn force(&self) -> Finished {
        let forced = ["--force", "--reason", "known"];
        run(&self.settings, &[&RUN[..], &forced[..]].concat())
    }

    async fn live(&self) -> Vec<(i64, String, f64)> {
        live(&self.stores, ACCOUNT).await
    }

    /// Asserts that the run failed over the account's day, named all of this and wrote nothing.
    async fn refuses(&self, names: &[&str]) {
        let refused = self.run();
        assert_eq!(refused.code, 1, "{}\n{}", refused.stdout, refused.stderr);
        let summary = refused.summary();
        let failed = &summary["accounts"][0];
        let what = failed["failure"]["what"].as_str().unwrap();
        for name in names {
            assert!(what.contains(name), "'{name}' is not in: {what}");
        }
        assert_eq!(failed["days"][0]["state"], "failed", "{failed}");
        assert_eq!(self.live().await, []);
    }
}

/// An exporter's gauges at constant rates, with labels of its own: `,instance="a"`.
fn exporter(history: &mut History, account: &str, labels: &str, namespaces: &[(&str, f64)]) {
    let base = format!("tenant_id=\"{account}\",cluster=\"prod\"{labels}");
    let total = "cloudtuner_kubecost_cluster_total_cost";
    history.every_minute(total, &base, 0, LIFE, |_| Some(10.0));
    for (name, rate) in namespaces {
        let labels = format!("{base},namespace=\"{name}\"");
        let metric = "cloudtuner_kubecost_namespace_total_cost";
        history.every_minute(metric, &labels, 0, LIFE, |_| Some(*rate));
    }
}

/// A cluster's total as told by an exporter whose windows end at full hours and are told of
/// `late` minutes after that.
fn hourly(history: &mut History, instance: &str, late: i64, rate: impl Fn(i64) -> f64) {
    let labels = format!("tenant_id=\"{ACCOUNT}\",cluster=\"prod\",instance=\"{instance}\"");
    let end = |t: i64| (t - late * 60).div_euclid(HOUR) * HOUR;
    let life = (MARCH, MARCH + DAY + 2 * HOUR);
    let mut put = |metric: &str, value: &dyn Fn(i64) -> f64| {
        let metric = format!("cloudtuner_kubecost_{metric}");
        history.every_minute(&metric, &labels, 0, life, |t| Some(value(t)));
    };
    put("cluster_total_cost", &|t| rate(end(t)));
    put("window_end_timestamp_seconds", &|t| end(t) as f64);
    put("window_seconds", &|_| HOUR as f64);
}

const BOTH: [(&str, f64); 2] = [("shop", 6.0), ("pay", 1.5)];
const ONCE: [(i64, &str, f64); 3] =
    [(MARCH, "", 2.5 * 24.0), (MARCH, "pay", 36.0), (MARCH, "shop", 144.0)];

#[tokio::test(flavor = "multi_thread")]
async fn replicas_of_an_exporter_and_of_prometheus_count_once() {
    let mut history = History::default();
    for replica in ["instance=\"a\"", "instance=\"b\"", "instance=\"a\",replica=\"2\""] {
        exporter(&mut history, ACCOUNT, &format!(",{replica}"), &BOTH);
    }
    let world = World::over(history, ACCOUNT).await;
    world.run().expect_success();
    assert_live(&world.live().await, &ONCE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lags_behind_is_no_other_cluster() {
    let mut history = History::default();
    // Every other window costs ten times as much: half an hour long the replicas differ.
    let rate = |end: i64| if end.div_euclid(HOUR) % 2 == 0 { 1.0 } else { 10.0 };
    hourly(&mut history, "prompt", 0, rate);
    hourly(&mut history, "late", 40, rate);
    let world = World::over(history, ACCOUNT).await;
    let summary = world.run().expect_success().summary();
    assert_eq!(summary["accounts"][0]["days"][0]["state"], "ok", "{summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_under_one_name_are_refused_and_the_other_accounts_are_not() {
    let mut history = History::default();
    hourly(&mut history, "10.0.0.1:19090", 0, |_| 10.0);
    hourly(&mut history, "10.9.9.9:19090", 2, |_| 14.0);
    exporter(&mut history, OTHER, "", &BOTH);
    let world = World::over(history, &format!("{ACCOUNT},{OTHER}")).await;
    world.refuses(&["'prod'", "10.0.0.1:19090", "10.9.9.9:19090", "10.0000", "14.0000"]).await;
    assert_live(&live(&world.stores, OTHER).await, &ONCE);
    world.force().expect_success();
    let forced = [(MARCH, "", 14.0 * 24.0)];
    assert_live(&world.live().await, &forced);
    // Who accepted it once is not asked again every five minutes.
    let again = world.run().expect_success().summary();
    assert_eq!(again["rows_written"], 0);
    assert_live(&world.live().await, &forced);
    let days = world.stores.mongo().await.collection::<Document>("kubecost_account_day");
    let record = days.find_one(doc! { "account": ACCOUNT }).await.unwrap().unwrap();
    let overridden = record.get_array("overrides").unwrap()[0].as_document().unwrap();
    assert_eq!(overridden, &doc! { "guard": "source-conflict", "reason": "known" });
    assert!(record.get_str("cause").unwrap().contains("10.9.9.9:19090"), "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_whose_exporters_tell_of_other_windows_are_refused() {
    let mut history = History::default();
    hourly(&mut history, "hour-by-hour", 0, |_| 10.0);
    // Its newest window is always an hour older.
    hourly(&mut history, "an-hour-behind", 60, |_| 30.0);
    let world = World::over(history, ACCOUNT).await;
    world.refuses(&["'prod'", "hour-by-hour", "an-hour-behind"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_of_one_price_are_told_apart_by_their_namespaces() {
    let mut history = History::default();
    exporter(&mut history, ACCOUNT, ",pod=\"east\"", &BOTH);
    exporter(&mut history, ACCOUNT, ",pod=\"west\"", &[("shop", 6.0), ("pay", 2.5)]);
    let world = World::over(history, ACCOUNT).await;
    world.refuses(&["'prod'", "east", "west"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_of_one_series_are_refused() {
    let mut history = History::default();
    let labels = format!("tenant_id=\"{ACCOUNT}\",cluster=\"prod\",instance=\"exporter\"");
    let by_turns = |t: i64| Some(if t.div_euclid(60) % 2 == 0 { 4.0 } else { 9.0 });
    let life = (MARCH + 9 * HOUR, MARCH + 11 * HOUR);
    let total = "cloudtuner_kubecost_cluster_total_cost";
    history.every_minute(total, &labels, 0, life, by_turns);
    let world = World::over(history, ACCOUNT).await;
    world.refuses(&["by turns", "'prod'", "exporter", "4.0000", "9.0000"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_one_name_in_two_clusters_are_refused() {
    let mut history = History::default();
    for provider in ["aws:///i-1", "aws:///i-2"] {
        let labels =
            format!("tenant_id=\"{ACCOUNT}\",cluster=\"c\",node=\"n1\",provider_id=\"{provider}\"");
        history.every_minute("node_total_hourly_cost", &labels, 0, LIFE, |_| Some(1.0));
    }
    let world = World::over(history, ACCOUNT).await;
    world.refuses(&["'n1'", "aws:///i-1", "aws:///i-2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_cluster_in_two_tenants_costs_each_account_once() {
    let mut history = History::default();
    exporter(&mut history, ACCOUNT, "", &BOTH);
    exporter(&mut history, OTHER, "", &BOTH);
    let world = World::over(history, &format!("{ACCOUNT},{ACCOUNT}")).await;
    world.run().expect_success();
    assert_live(&world.live().await, &ONCE);
    assert_eq!(live(&world.stores, OTHER).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_that_differ_are_refused_where_no_label_tells_them_apart() {
    let mut history = History::default();
    exporter(&mut history, ACCOUNT, "", &BOTH);
    exporter(&mut history, OTHER, "", &[("shop", 1.0)]);
    let lone = [("ACCOUNTS", ACCOUNT), ("TENANT_LABEL", "")];
    let world = World::with(history, &lone).await;
    world.refuses(&[ACCOUNT, OTHER]).await;
}
