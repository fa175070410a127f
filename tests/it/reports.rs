//! What `report` and `anomalies` show, held against what is stored on real servers.

use serde_json::Value;

use crate::support::small::{AT, Small};
use crate::support::worker::{Finished, run};

const DAYS: [&str; 4] = ["--from", "2026-03-01", "--to", "2026-03-02"];

fn report(small: &Small, more: &[&str]) -> Finished {
    let arguments: Vec<&str> =
        ["--at", AT, "report"].iter().chain(&DAYS).chain(more).copied().collect();
    run(&small.settings, &arguments).expect_success()
}

fn of_json(small: &Small, by: &str) -> Value {
    report(small, &["--by", by, "--output", "json"]).summary()
}

fn names(report: &Value) -> Vec<&str> {
    let lines = report["lines"].as_array().unwrap();
    lines.iter().map(|line| line["label"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_has_the_ledgers_sums_under_the_documents_names_in_every_form() {
    let small = Small::new("report").await;
    run(&small.settings, &["--at", AT, "run"]).expect_success();
    let stored: f64 = small.stored().await.iter().map(|row| f64::from_bits(row.2)).sum();
    for by in ["day", "namespace", "pod", "node", "account", "cluster", "tag:team"] {
        let report = of_json(&small, by);
        assert_eq!(report["total_usd"].as_f64().unwrap().to_bits(), stored.to_bits(), "{by}");
        let lines = report["lines"].as_array().unwrap().iter();
        let sum: f64 = lines.map(|line| line["usd"].as_f64().unwrap()).sum();
        assert_eq!(sum.to_bits(), stored.to_bits(), "{by}");
    }
    let namespaces = of_json(&small, "namespace");
    // 6, 2.5 and 1.5 USD an hour.
    assert_eq!(names(&namespaces), ["shop", "(cluster: idle and overhead)", "pay"]);
    assert_eq!(names(&of_json(&small, "cluster")), ["c"]);
    assert_eq!(names(&of_json(&small, "day")), ["2026-03-01", "2026-03-02"]);
    let idle = namespaces["idle"]["share"].as_f64().unwrap();
    assert!((idle - 0.25).abs() < 1e-6, "{idle}");
    assert_eq!(namespaces["status"][0]["state"], "ok", "{namespaces:#}");

    let table = report(&small, &["--width", "80"]).stdout;
    assert!(table.contains("shop") && table.contains("60.0"), "{table}");
    let is_narrow = |line: &str| !line.contains('│') || line.chars().count() <= 80;
    assert!(table.lines().all(is_narrow), "{table}");
    let page = report(&small, &["--output", "html"]).stdout;
    assert!(page.contains(">shop<") && page.trim_end().ends_with("</html>"), "{page}");
    for (form, column) in [("csv", "cost"), ("focus", "BilledCost")] {
        let text = report(&small, &["--output", form]).stdout;
        let mut records = csv::Reader::from_reader(text.as_bytes());
        let at = records.headers().unwrap().iter().position(|name| name == column).unwrap();
        let costs = records.records().map(|record| record.unwrap()[at].parse::<f64>().unwrap());
        assert_eq!(costs.sum::<f64>().to_bits(), stored.to_bits(), "{form}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_rows_says_so_and_wrong_arguments_are_named() {
    let small = Small::new("report_empty").await;
    assert!(report(&small, &[]).stdout.contains("Nothing is stored"));
    let anomalies = run(&small.settings, &["anomalies", "--output", "json"]).expect_success();
    assert_eq!(anomalies.summary(), Value::Array(Vec::new()));
    for (arguments, said) in [
        (vec!["report", "--by", "team"], "--by: 'team' is not one of day, namespace"),
        (vec!["report", "--top", "0"], "--top '0' is no number above 0"),
        (vec!["report", "--width", "5"], "--width '5' is no number from 60 to 200"),
        (vec!["anomalies", "--least", "x"], "--least 'x' is no number from 0 on"),
        (vec!["report", "--account", "nobody"], "has no account nobody"),
    ] {
        let finished = run(&small.settings, &arguments);
        assert_eq!(finished.code, 2, "{arguments:?}: {}", finished.stderr);
        assert!(finished.stderr.contains(said), "{arguments:?}: {}", finished.stderr);
    }
}
