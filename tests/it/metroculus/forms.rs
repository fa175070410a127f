//! The forms of replies that other versions of Metroculus have.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kubecost_worker::run::{RunRequest, Stop, run as run_in_process};
use serde_json::{Value, json};

use super::{ACCOUNT, CLUSTER, NAMESPACE, Parameters, START, World, as_json, days, in_process};
use crate::support::world::{DAY, HOUR};

/// The first version's form: each metric is a list of hourly points, clusters by `cluster_id`.
fn points(asked: &Parameters, hours: &[i64]) -> Response {
    let of = |metric: &str, name: Option<&str>, usd: f64| -> Value {
        let point = |hour: &i64| {
            let mut labels =
                json!({"__name__": metric, "tenant_id": ACCOUNT, "cluster_id": "prod"});
            if let Some(name) = name {
                labels["namespace"] = json!(name);
            }
            let time = chrono::DateTime::from_timestamp(START + hour * HOUR, 0).unwrap();
            json!({"timestamp": time.to_rfc3339(), "value": usd, "labels": labels})
        };
        let [from, to] = ["start_date", "end_date"].map(|name| asked[name].parse::<i64>().unwrap());
        let within = |hour: &&i64| (from..to).contains(&(START + **hour * HOUR));
        json!(hours.iter().filter(within).map(point).collect::<Vec<_>>())
    };
    as_json(json!({"metrics": {
        CLUSTER: of(CLUSTER, None, 3.0),
        NAMESPACE: of(NAMESPACE, Some("shop"), 2.0),
        "some_metric_that_nobody_asked_for": "anything",
    }}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_hourly_points_is_a_history() {
    for (missing, state, usd) in [(None, "ok", 72.0), (Some(7), "partial", 69.0)] {
        let world = World::new().await;
        world.service.answers(move |call, asked| match call {
            "metrics" => {
                points(asked, &(0..25).filter(|hour| Some(*hour) != missing).collect::<Vec<_>>())
            }
            _ => as_json(json!({"total_cost": 0.0, "data_points": []})),
        });
        let found = days(world.made_up(DAY + HOUR));
        let first = found.iter().find(|day| day.0 == "2033-01-10").unwrap();
        assert_eq!(first.1, state, "{found:?}");
        let live = world.live().await.into_iter().filter(|row| row.0 == START);
        let sum: f64 = live.map(|row| row.2).sum();
        assert!((sum - usd).abs() < 1e-6, "{sum}");
        assert_eq!(world.journal().await, 0, "history needs no journal");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_in_json_are_shown_in_the_words_of_the_service() {
    for status in [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::INTERNAL_SERVER_ERROR] {
        let world = World::new().await;
        world.service.answers(move |_, _| {
            let error = json!({"error": {"status_code": 404, "error_code": "OM0005",
                "reason": "Cloud account was not found", "params": []}});
            (status, as_json(error)).into_response()
        });
        let (environment, clock) = in_process(&world).await;
        clock.set(START + HOUR);
        let done = run_in_process(&environment, &RunRequest::default(), &Stop::default()).await;
        let said = serde_json::to_string(&done).unwrap();
        assert!(said.contains("OM0005: Cloud account was not found"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn series_without_a_tenant_are_counted_and_named() {
    let world = World::new().await;
    world.service.answers(|call, asked| match call {
        "metrics" => {
            let from: i64 = asked["start_date"].parse().unwrap();
            let samples: Vec<Value> = (0..1_440).map(|n| json!([from + n * 60, "3"])).collect();
            let series = json!([{"metric": {"cluster": "prod"}, "values": samples}]);
            let data = json!({"resultType": "matrix", "result": series});
            as_json(json!({"metrics": {CLUSTER: {"status": "success", "data": data}}}))
        }
        _ => as_json(json!({"total_cost": 0.0})),
    });
    let text = world.made_up(DAY + HOUR).expect_success().summary().to_string();
    assert!(text.contains("1 series of") && text.contains("no label tenant_id"), "{text}");
}
