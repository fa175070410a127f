//! The main job over three days of history: what is stored equals the integral that is written
//! down here, independently of the code.
//!
//! Account A (exporter's gauges, two scrape replicas): namespace `shop` at 6 USD/h with a pod
//! renamed at noon, `brief` that lives ten minutes, and a source that is silent for two hours on
//! the second day. Account B: raw metrics only. Account C: gauges that are all zero. And a tenant
//! that is no account.

use std::path::Path;

use clickhouse::Row;
use serde::Deserialize;

use crate::support::metrics::History;
use crate::support::servers::{PrometheusVersion, Stores, prometheus};
use crate::support::worker::run;

const A: &str = "aaaaaaaa-0000-0000-0000-00000000000a";
const B: &str = "bbbbbbbb-0000-0000-0000-00000000000b";
const C: &str = "cccccccc-0000-0000-0000-00000000000c";
const FOREIGN: &str = "ffffffff-0000-0000-0000-00000000000f";
/// 2026-03-01 00:00:00 UTC.
const START: i64 = 1_772_323_200;
const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;
const GAP: (i64, i64) = (START + DAY + 9 * HOUR, START + DAY + 11 * HOUR);
const BRIEF: (i64, i64) = (START + 13 * HOUR + 300, START + 13 * HOUR + 900);

/// Samples come in second 7 of each minute and stand for five minutes, so the value at minute m
/// is that of the sample before it. A sample at 8:59:07 is seen up to 9:04, so of the gap's 120
/// minutes 5 are still covered (the sample at 9:04:07 would be for 9:05), and the first sample
/// after it (11:00:07) is seen from 11:01 on: 1440 - 120 + 4 minutes... which `minutes_seen` counts.
fn minutes_seen(from: i64, until: i64, lives: &[(i64, i64)]) -> u32 {
    let mut seen = 0;
    for minute in (from..until).step_by(60) {
        // The newest sample at or before the minute, and within the five minutes before it.
        let sampled = (1..=5).map(|back| minute - back * 60 + 7).any(|sample| {
            sample > minute - 300 && lives.iter().any(|(a, b)| (*a..*b).contains(&sample))
        });
        seen += u32::from(sampled);
    }
    seen
}

fn gauges(history: &mut History, tenant: &str, replicas: &[&str], zero: bool) {
    let factor = if zero { 0.0 } else { 1.0 };
    let whole = (START, START + 3 * DAY);
    let told = |t: i64| !(GAP.0..GAP.1).contains(&t) || zero;
    for replica in replicas {
        let base = format!("tenant_id=\"{tenant}\",cluster=\"prod\",replica=\"{replica}\"");
        let put = |history: &mut History, level: &str, names: &str, life, usd: f64| {
            let metric = format!("cloudtuner_kubecost_{level}_total_cost");
            let labels = format!("{base}{names}");
            history.every_minute(&metric, &labels, 7, life, |t| told(t).then_some(usd * factor));
        };
        put(history, "cluster", "", whole, 10.0);
        put(history, "namespace", ",namespace=\"shop\"", whole, 6.0);
        put(history, "namespace", ",namespace=\"__idle__\"", whole, 3.0);
        put(history, "namespace", ",namespace=\"brief\"", BRIEF, 0.6);
        let noon = START + DAY / 2;
        let pod =
            |name: &str, node: &str| format!(",namespace=\"shop\",pod=\"{name}\",node=\"{node}\"");
        put(history, "pod", &pod("cart-old", "n1"), (START, noon), 2.5);
        put(history, "pod", &pod("cart-new", "n2"), (noon, START + 3 * DAY), 2.5);
    }
}

/// One node of 2 USD/h with cores at 0.5 USD, one pod of two cores in `web`, a volume of 100 GiB.
fn raw_metrics(history: &mut History) {
    let whole = (START, START + 3 * DAY);
    let base = format!("tenant_id=\"{B}\",cluster=\"raw\"");
    let mut put = |metric: &str, labels: &str, value: f64| {
        for replica in ["1", "2"] {
            let labels = format!("{base},replica=\"{replica}\",{labels}");
            history.every_minute(metric, &labels, 7, whole, |_| Some(value));
        }
    };
    put("node_total_hourly_cost", "node=\"n1\"", 2.0);
    put("node_cpu_hourly_cost", "node=\"n1\"", 0.5);
    put("node_ram_hourly_cost", "node=\"n1\"", 0.01);
    let container = "node=\"n1\",namespace=\"web\",pod=\"w-1\",container=\"main\"";
    put("container_cpu_allocation", container, 2.0);
    put("container_memory_allocation_bytes", container, 4.0 * 1_073_741_824.0);
    put("pv_hourly_cost", "persistentvolume=\"v1\"", 0.001);
    put(
        "pod_pvc_allocation",
        "persistentvolume=\"v1\",namespace=\"web\",pod=\"w-1\",persistentvolumeclaim=\"c\"",
        100.0 * 1_073_741_824.0,
    );
    put("kubecost_load_balancer_cost", "namespace=\"web\",service_name=\"lb\"", 0.025);
}

fn history(directory: &Path) {
    let mut history = History::default();
    gauges(&mut history, A, &["1", "2"], false);
    gauges(&mut history, C, &["1"], true);
    gauges(&mut history, FOREIGN, &["1"], false);
    raw_metrics(&mut history);
    history.write_blocks(directory);
}

#[derive(Row, Deserialize, Debug)]
struct Stored {
    cloud_account_id: String,
    date: u32,
    namespace: String,
    usd: f64,
}

async fn stored(stores: &Stores) -> Vec<Stored> {
    stores
        .client()
        .query(
            "SELECT cloud_account_id, toUInt32(date), ifNull(k8s_namespace, ''), sum(cost * sign) \
             FROM expenses GROUP BY cloud_account_id, date, k8s_namespace HAVING sum(sign) > 0 \
             ORDER BY cloud_account_id, date, k8s_namespace",
        )
        .fetch_all::<Stored>()
        .await
        .unwrap()
}

fn expected() -> Vec<(String, i64, String, f64)> {
    let mut out = Vec::new();
    for index in 0..3 {
        let (from, until) = (START + index * DAY, START + (index + 1) * DAY);
        let told = [(START, GAP.0), (GAP.1, START + 3 * DAY)];
        let minutes = f64::from(minutes_seen(from, until, &told));
        let brief = f64::from(minutes_seen(from, until, &[BRIEF]));
        let (shop, small) = (6.0 * minutes / 60.0, 0.6 * brief / 60.0);
        let mut put = |account: &str, namespace: &str, usd: f64| {
            if usd > 0.0 {
                out.push((account.to_owned(), from, namespace.to_owned(), usd));
            }
        };
        put(A, "", 10.0 * minutes / 60.0 - shop - small);
        put(A, "shop", shop);
        put(A, "brief", small);
        let whole = f64::from(minutes_seen(from, until, &[(START, START + 3 * DAY)]));
        let web = (2.0 * 0.5 + 4.0 * 0.01 + 100.0 * 0.001 + 0.025) * whole / 60.0;
        put(B, "", (2.0 + 100.0 * 0.001 + 0.025) * whole / 60.0 - web);
        put(B, "web", web);
    }
    out
}

async fn holds_on(version: PrometheusVersion) {
    let data = tempfile::tempdir().unwrap();
    history(data.path());
    let prometheus = prometheus(version, data.path());
    let stores = Stores::new("three_days").await;
    let mut settings = stores.settings();
    settings.push(("PROMETHEUS_URL", prometheus.url.clone()));
    settings.push(("ACCOUNTS", format!("{A},{B},{C}")));
    settings.push(("LEVELS", "cluster,namespace,pod".to_owned()));
    run(&settings, &["migrate"]).expect_success();
    let days = ["run", "--from", "2026-03-01", "--to", "2026-03-03"];
    let first = run(&settings, &days).expect_success();
    check_phases(&first.summary());
    check_sums(&stored(&stores).await);
    check_pods(&stores).await;
    let again = run(&settings, &days).expect_success().summary();
    assert_eq!(
        (again["rows_written"].as_u64(), again["documents_written"].as_u64()),
        (Some(0), Some(0))
    );
}

fn check_phases(summary: &serde_json::Value) {
    for account in summary["accounts"].as_array().unwrap() {
        let phase = if account["id"] == B { 1 } else { 2 };
        for day in account["days"].as_array().unwrap() {
            assert_eq!(day["phase"], phase, "{account}");
            let is_gap = account["id"] == A && day["day"] == "2026-03-02";
            let covered = day["covered_minutes"].as_u64().unwrap();
            assert!(!is_gap || (1_320..1_330).contains(&covered), "{day}");
        }
    }
}

fn check_sums(rows: &[Stored]) {
    let expected = expected();
    let mut by_key: Vec<(String, i64, String, f64)> = rows
        .iter()
        .map(|r| (r.cloud_account_id.clone(), i64::from(r.date), r.namespace.clone(), r.usd))
        .collect();
    by_key.sort_by(|a, b| (&a.0, a.1, &a.2).cmp(&(&b.0, b.1, &b.2)));
    let mut wanted = expected;
    wanted.sort_by(|a, b| (&a.0, a.1, &a.2).cmp(&(&b.0, b.1, &b.2)));
    assert_eq!(by_key.len(), wanted.len(), "{by_key:#?}\n{wanted:#?}");
    for (got, want) in by_key.iter().zip(&wanted) {
        assert_eq!((&got.0, got.1, &got.2), (&want.0, want.1, &want.2));
        assert!((got.3 - want.3).abs() <= 1e-6, "{got:?} {want:?}");
        // A multiple of 2^-24: so that sums close to the last bit in any order.
        assert_eq!((got.3 * 16_777_216.0).fract(), 0.0, "{got:?}");
    }
    assert!(rows.iter().all(|row| row.cloud_account_id != FOREIGN));
}

#[derive(Row, Deserialize, Debug)]
struct PodRow {
    node: String,
    usd: f64,
}

/// The pod renamed at noon: two rows on the first day, each on its node, with its half.
async fn check_pods(stores: &Stores) {
    let rows = stores
        .client()
        .query(
            "SELECT ifNull(k8s_node, ''), sum(cost * sign) FROM expenses \
             WHERE cloud_account_id = ? AND isNotNull(k8s_node) AND date < toDateTime(?) \
             GROUP BY date, k8s_node ORDER BY k8s_node",
        )
        .bind(A)
        .bind(u32::try_from(START + DAY).unwrap())
        .fetch_all::<PodRow>()
        .await
        .unwrap();
    let noon = START + DAY / 2;
    let old = f64::from(minutes_seen(START, START + DAY, &[(START, noon)])) * 2.5 / 60.0;
    let new = f64::from(minutes_seen(START, START + DAY, &[(noon, START + 3 * DAY)])) * 2.5 / 60.0;
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!((rows[0].usd - old).abs() < 1e-6 && (rows[1].usd - new).abs() < 1e-6, "{rows:?}");
    assert_eq!((rows[0].node.as_str(), rows[1].node.as_str()), ("n1", "n2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_the_integral_on_prometheus_2() {
    holds_on(PrometheusVersion::Two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_the_integral_on_prometheus_3() {
    holds_on(PrometheusVersion::Three).await;
}
