//! Stored numbers explained on real servers, and recomputed from raw samples by a program that
//! shares no code with the worker.

use std::io::Write as _;
use std::process::Command;

use serde_json::Value;

use crate::accuracy::recorded_prometheus;
use crate::support::servers::{Stores, root};
use crate::support::small::{ACCOUNT, AT, START, Small};
use crate::support::worker::run;

/// Shortly after the recorded days.
const RECORDED_AT: &str = "2026-11-21T04:10:00Z";

type Settings = Vec<(&'static str, String)>;

/// What `tests/recompute` says of an explanation, and whether it agrees.
pub(crate) fn recompute(explanation: &str, prometheus: &str) -> (bool, String) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(explanation.as_bytes()).unwrap();
    let output = Command::new("python3")
        .arg(root().join("tests/recompute/recompute.py"))
        .arg(file.path())
        .args(["--prometheus", prometheus])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

fn explain(settings: &Settings, account: &str, day: &str, more: &[&str]) -> (i32, String) {
    let at = if day.starts_with("2026-03") { AT } else { RECORDED_AT };
    let fixed = ["--at", at, "explain", "--account", account, "--day", day];
    let arguments: Vec<&str> = fixed.iter().chain(more).copied().collect();
    let finished = run(settings, &arguments);
    let said = if finished.stdout.is_empty() { finished.stderr } else { finished.stdout };
    (finished.code, said)
}

/// Explains the numbers of these resources; how many were recomputed from raw samples.
fn hold(settings: &Settings, (account, day): (&str, &str), ids: &[String], url: &str) -> usize {
    let mut from_raw = 0;
    for id in ids {
        let more = ["--resource", id, "--output", "json"];
        let (code, text) = explain(settings, account, day, &more);
        assert_eq!(code, 0, "{day} {id}: {text}");
        let (agrees, said) = recompute(&text, url);
        assert!(agrees, "{day} {id}: {said}\n{text}");
        from_raw += usize::from(said.contains("\"raw equal\": 1"));
    }
    from_raw
}

async fn ids(stores: &Stores, day_start: i64) -> Vec<String> {
    let rows = stores
        .client()
        .query(
            "SELECT resource_id FROM expenses WHERE toUInt32(date) = ? GROUP BY resource_id \
             HAVING sum(sign) > 0 ORDER BY resource_id",
        )
        .bind(u32::try_from(day_start).unwrap())
        .fetch_all::<String>()
        .await
        .unwrap();
    assert!(!rows.is_empty());
    rows
}

/// A small account with twelve pods of many lives and rates, some of them with gaps.
async fn with_pods(name: &str) -> Small {
    let mut small = Small::with(name, |history| {
        for index in 0..12_i64 {
            let namespace = if index % 3 == 0 { "pay" } else { "shop" };
            let labels = format!(
                "tenant_id=\"{ACCOUNT}\",cluster=\"c\",namespace=\"{namespace}\",pod=\"p-{index}\""
            );
            let from = START - 60 + index * 3_600;
            let span = (from, from + 1_800 * (index + 1) + index * 5_000);
            let rate = 0.07 + 0.013 * index as f64;
            let metric = "cloudtuner_kubecost_pod_total_cost";
            history.every_minute(metric, &labels, 7, span, |time| {
                let is_gap = index % 4 == 1 && (time / 600) % 5 == 0;
                (!is_gap).then_some(rate * (1.0 + (time % 7_200) as f64 / 10_000.0))
            });
        }
    })
    .await;
    small.settings.push(("LEVELS", "cluster,namespace,pod".to_owned()));
    run(&small.settings, &["--at", AT, "run"]).expect_success();
    small
}

#[tokio::test(flavor = "multi_thread")]
async fn each_number_of_the_exporters_gauges_is_recomputed_from_raw_samples() {
    let small = with_pods("explain").await;
    let mut from_raw = 0;
    for (day, start) in [("2026-03-01", START), ("2026-03-02", START + 86_400)] {
        let ids = ids(&small.stores, start).await;
        from_raw += hold(&small.settings, (ACCOUNT, day), &ids, &small.prometheus.url);
    }
    assert!(from_raw >= 18, "{from_raw}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_fits_a_terminal_and_a_number_that_was_changed_is_told() {
    let small = with_pods("explain_text").await;
    let named = ["--namespace", "shop", "--pod", "p-1"];
    let (code, text) = explain(&small.settings, ACCOUNT, "2026-03-01", &named);
    assert_eq!(code, 0, "{text}");
    for part in [
        "pod c/shop/p-1",
        "equal to the last bit",
        "may be low by up to",
        "day's total $",
        "cloudtuner_kubecost_pod_total_cost",
        "By hour",
        "namespace shop",
        "cluster c",
        "run ",
    ] {
        assert!(text.contains(part), "'{part}' is missing in\n{text}");
    }
    let json = ["--namespace", "shop", "--pod", "p-1", "--output", "json"];
    let (code, text_json) = explain(&small.settings, ACCOUNT, "2026-03-01", &json);
    assert_eq!(code, 0, "{text_json}");
    let alone: Value = serde_json::from_str(&text_json).unwrap();
    let (code, shop) = explain(
        &small.settings,
        ACCOUNT,
        "2026-03-01",
        &["--namespace", "shop", "--output", "json"],
    );
    assert_eq!(code, 0, "{shop}");
    let shop: Value = serde_json::from_str(&shop).unwrap();
    // The pod is asked for alone: what is above it is added up from rows, to the same numbers.
    assert_eq!(
        (&alone["steps"][0]["is_of_rows"], &alone["steps"][1]["is_of_rows"]),
        (&false.into(), &true.into())
    );
    for (above, whole) in [(1, 0), (2, 1)] {
        for key in ["level", "name", "rounded_usd", "beneath_usd", "row_usd", "rows_beneath"] {
            assert_eq!(alone["steps"][above][key], shop["steps"][whole][key], "{above} {key}");
        }
    }
    let widest = text.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(100), "{widest:?}\n{text}");
    small.insert_raw(&Small::id("shop"), 0, 1.0, 1).await;
    let shop = ["--namespace", "shop", "--output", "json"];
    let (code, text) = explain(&small.settings, ACCOUNT, "2026-03-01", &shop);
    let changed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &changed["is_equal"]), (1, &Value::Bool(false)), "{changed:#}");
    assert!(!recompute(&text, &small.prometheus.url).0);
    // A pod whose number is not the stored one is looked at beside its whole day.
    let pod = alone["rows"][0]["resource_id"].as_str().unwrap();
    small.insert_raw(pod, 0, 1.0, 1).await;
    let (code, changed) = explain(&small.settings, ACCOUNT, "2026-03-01", &json);
    let changed: Value = serde_json::from_str(&changed).unwrap();
    assert_eq!((code, &changed["steps"][1]["is_of_rows"]), (1, &Value::Bool(false)), "{changed:#}");
    let (code, text) = explain(&small.settings, ACCOUNT, "2026-03-01", &["--namespace", "nobody"]);
    assert!(code == 1 && text.contains("no such thing"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_which_no_run_saw_the_end_is_explained_as_partial() {
    let small = Small::new("explain_part").await;
    run(&small.settings, &["--at", AT, "run"]).expect_success();
    let ask = |at, more: &[&str]| {
        let fixed = ["--at", at, "explain", "--account", ACCOUNT, "--day", "2026-03-02"];
        let arguments: Vec<&str> = fixed.iter().chain(more).copied().collect();
        run(&small.settings, &arguments).stdout
    };
    let json = ["--namespace", "shop", "--output", "json"];
    let said = |at| -> (Value, String) {
        let one: Value = serde_json::from_str(&ask(at, &json)).unwrap();
        (one["day_state"].clone(), one["day_cause"].as_str().unwrap().to_owned())
    };
    let day_after = "2026-03-03T12:00:00Z";
    assert_eq!(said(AT).0, "ok");
    let (state, cause) = said(day_after);
    assert_eq!(state, "partial");
    assert!(cause.starts_with("no run came after 12:01 of this day: "), "{cause}");
    let text = ask(day_after, &["--namespace", "shop"]);
    assert!(text.contains("status    partial, not settled"), "{text}");
    assert!(text.contains("cause: no run came after 12:01"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_raw_metrics_are_recomputed_from_raw_samples() {
    let (_data, prometheus) = recorded_prometheus();
    let stores = Stores::new("explain_raw").await;
    let account = "bc55eb8c-5db2-4c32-b976-2df0edb0619a";
    let mut settings = stores.settings();
    for (name, value) in [
        ("PROMETHEUS_URL", prometheus.url.as_str()),
        ("TENANT_LABEL", ""),
        ("ACCOUNTS", account),
        ("DEFAULT_CLUSTER", "test-cluster"),
        ("LEVELS", "cluster,namespace,pod"),
        ("PHASE", "1"),
    ] {
        settings.push((name, value.to_owned()));
    }
    run(&settings, &["migrate"]).expect_success();
    let days = ["--from", "2026-11-20", "--to", "2026-11-20"];
    run(&settings, &[&["--at", RECORDED_AT, "run"], &days[..]].concat()).expect_success();
    let all = ids(&stores, 1_795_132_800).await;
    // Each fourteenth of over 200 numbers: ids are hashes, so these are of all levels.
    let some: Vec<String> = all.iter().step_by(14).cloned().collect();
    settings.push(("RUST_LOG", "error".to_owned()));
    let from_raw = hold(&settings, (account, "2026-11-20"), &some, &prometheus.url);
    assert!(some.len() >= 14 && from_raw >= 5, "{from_raw} of {}", some.len());
}
