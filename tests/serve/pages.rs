//! The other pages, and errors.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::SECRET;
use crate::world::World;
use crate::{A, ACCOUNTS, HOUR, day, noon, span, thirty_days};

const COSTS: &str = "/metroculus/v2/kubecost_cluster_costs";

#[tokio::test]
async fn nothing_is_answered_without_the_secret() {
    let reader = World::new(&ACCOUNTS, noon("2026-11-20")).serve(Duration::ZERO, false).await;
    let longer = format!("{SECRET}x");
    for page in ["kubecost_cluster_costs", "kubecost_metrics", "kubecost_savings"] {
        for secret in [None, Some(""), Some("a-cluster-secre"), Some(longer.as_str())] {
            // A bad question is not told apart from a good one.
            for asked in ["", "cloud_account_id=a&start_date=1&end_date=2"] {
                let path = format!("/metroculus/v2/{page}?{asked}");
                let (status, reply) = reader.get(&path, secret).await;
                assert_eq!((status, &reply["error"]["error_code"]), (401, &json!("OM0007")));
                assert_eq!(reply["error"]["status_code"], 401);
            }
        }
    }
}

#[tokio::test]
async fn every_error_is_json_with_its_status() {
    let reader = World::new(&ACCOUNTS, noon("2026-11-20")).serve(Duration::ZERO, false).await;
    let good = "start_date=1793491200&end_date=1793577600";
    for (path, status) in [
        (format!("{COSTS}?cloud_account_id={A}&{good}"), 200),
        (format!("{COSTS}?cloud_account_id={A}&start_date=x&end_date=2"), 400),
        (format!("{COSTS}?cloud_account_id=%00&{good}"), 400),
        (format!("{COSTS}?cloud_account_id=unknown&{good}"), 404),
        ("/metroculus/v2/kubecost".to_owned(), 404),
        ("/".to_owned(), 404),
    ] {
        let (found, reply) = reader.get(&path, Some(SECRET)).await;
        assert_eq!(found, status, "{path}: {reply}");
        assert_eq!(reply["error"]["reason"].is_string(), status != 200, "{reply}");
    }
    let (_, document) = reader.get("/openapi.json", None).await;
    assert_eq!(document["openapi"], "3.1.0");
    let posted = reader.post(COSTS).await;
    assert_eq!((posted.0, &posted.1["error"]["status_code"]), (405, &json!(405)));
    let responses = &document["paths"]["/kubecost_cluster_costs"]["get"]["responses"];
    assert!(responses["405"].is_object(), "{responses}");
}

#[tokio::test]
async fn a_rate_times_the_hours_is_the_cost() {
    let world = thirty_days().await;
    let reader = world.serve(Duration::ZERO, false).await;
    let (start, _) = span("2026-11-10", "2026-11-12");
    let end = start + 72 * HOUR;
    let asked = format!("cloud_account_id={A}&start_date={start}&end_date={end}");
    let (status, reply) = reader.page("kubecost_metrics", &asked).await;
    assert_eq!(status, 200, "{reply}");
    let stored = [
        ("cluster", None, world.stored(A, (start, end - 1))),
        ("namespace", Some("shop"), world.stored_of(A, (start, end - 1), "shop")),
    ];
    for (level, namespace, stored) in stored {
        let name = format!("cloudtuner_kubecost_{level}_total_cost");
        let metric = &reply["metrics"][&name];
        assert_eq!(metric["status"], "success");
        assert_eq!(metric["data"]["resultType"], "vector");
        let [series] = metric["data"]["result"].as_array().unwrap().as_slice() else { panic!() };
        assert_eq!(
            (&series["metric"]["tenant_id"], &series["metric"]["cluster"]),
            (&json!(A), &json!("prod"))
        );
        assert_eq!(series["metric"].get("namespace").and_then(Value::as_str), namespace);
        let rate: f64 = series["value"][1].as_str().unwrap().parse().unwrap();
        assert!((rate * 72.0 - stored).abs() < 1e-9, "{rate} {stored}");
    }
    let asked = format!("{asked}&metrics=no_such_metric,cloudtuner_kubecost_cluster_total_cost");
    let (_, reply) = reader.page("kubecost_metrics", &asked).await;
    let mut names: Vec<&String> = reply["metrics"].as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["cloudtuner_kubecost_cluster_total_cost", "no_such_metric"]);
    assert_eq!(reply["metrics"]["no_such_metric"]["data"]["result"], json!([]));
}

#[tokio::test]
async fn savings_are_lists_also_where_the_source_has_none() {
    let reader = thirty_days().await.serve(Duration::ZERO, false).await;
    let (start, end) = (day("2026-11-10").start_seconds(), day("2026-11-11").start_seconds());
    let asked = format!("cloud_account_id={A}&start_date={start}&end_date={end}");
    let reply = reader.page("kubecost_savings", &asked).await;
    assert_eq!(reply, (200, json!({"cpu_savings": [], "memory_savings": []})));
}

/// All references of a document, wherever they stand.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_describes_what_is_served() {
    let reader = thirty_days().await.serve(Duration::ZERO, false).await;
    let (_, document) = reader.get("/openapi.json", None).await;
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 10);
    for reference in found {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
    }
    let (start, end) = span("2026-11-10", "2026-11-11");
    let asked =
        format!("cloud_account_id={A}&start_date={start}&end_date={end}&detail_level=namespace");
    for (path, item) in document["paths"].as_object().unwrap() {
        let (status, reply) = reader.page(&path[1..], &asked).await;
        let schema = &item["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        let schema = document.pointer(&schema["$ref"].as_str().unwrap()[1..]).unwrap();
        assert_eq!(status, 200);
        for key in reply.as_object().unwrap().keys() {
            assert!(schema["properties"].get(key).is_some(), "{path}: '{key}' is not described");
        }
        for key in schema["required"].as_array().unwrap() {
            assert!(reply.get(key.as_str().unwrap()).is_some(), "{path}: '{key}' is missing");
        }
    }
}
