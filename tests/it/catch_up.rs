//! Days that fail or take long, and what becomes of the others; the present, which is noted
//! whoever writes.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::response::Response;
use serde_json::Value;

use crate::support::embedded::SqliteStore;
use crate::support::fake_prometheus::{self, Question, question};
use crate::support::http::{Asked, FakeServer, json, reply};
use crate::support::worker::Finished;
use crate::support::world::{DAY, MARCH};

const ACCOUNT: &str = "cccccccc-0000-0000-0000-00000000000c";
const OTHER: &str = "dddddddd-0000-0000-0000-00000000000d";
/// Today is March 5th, and with four days to catch up with all since March 1st are due.
const RUN: [&str; 3] = ["run", "--at", "2026-03-05T12:00:30Z"];

/// Whether a request asks for the costs of the n-th day of March, 0 being the first.
fn is_costs_of(asked: &Asked, index: i64) -> bool {
    let time: f64 = asked.parameter("time").parse().unwrap_or_default();
    let start = (MARCH + index * DAY) as f64;
    question(asked) == Question::ClusterCost && (start..start + DAY as f64).contains(&time)
}

fn embedded(server: &FakeServer) -> SqliteStore {
    embedded_with(server, "120")
}

fn embedded_with(server: &FakeServer, deadline_seconds: &str) -> SqliteStore {
    let settings = [
        ("PROMETHEUS_URL", server.url.as_str()),
        ("CATCH_UP_DAYS", "4"),
        ("ACCOUNT_DEADLINE_SECONDS", deadline_seconds),
    ];
    SqliteStore::new(&[ACCOUNT], &settings)
}

fn duplicate() -> Response {
    let error = r#"{"status":"error","errorType":"execution","error":"found duplicate series"}"#;
    reply(422, "application/json", error)
}

fn states(finished: &Finished) -> Vec<(String, String)> {
    let summary = finished.summary();
    let days = summary["accounts"][0]["days"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    days.iter().map(|day| (text(&day["day"])[8..].to_owned(), text(&day["state"]))).collect()
}

fn are(states: &[(&str, &str)]) -> Vec<(String, String)> {
    states.iter().map(|(day, state)| ((*day).to_owned(), (*state).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_fails_is_recorded_and_the_others_go_on() {
    let is_bad = Arc::new(Mutex::new(true));
    let bad = is_bad.clone();
    let server = fake_prometheus::start(move |asked| {
        let hit = is_costs_of(asked, 2) || is_costs_of(asked, 1);
        (*bad.lock().unwrap() && hit).then(duplicate)
    })
    .await;
    let store = embedded(&server);
    let failed = store.run(&RUN);
    let all = [("05", "ok"), ("04", "ok"), ("03", "failed"), ("02", "failed"), ("01", "ok")];
    assert_eq!(states(&failed), are(&all), "{}", failed.stderr);
    assert_eq!(failed.code, 1);
    let account = &failed.summary()["accounts"][0];
    let what = account["failure"]["what"].as_str().unwrap();
    assert!(what.starts_with("2026-03-03 (and 1 more day): ") && what.contains("422"), "{what}");
    let record = "SELECT state || ' ' || cause FROM kubecost_account_day WHERE day = '2026-03-03'";
    let record = store.text(record);
    assert!(record.starts_with("failed ") && record.contains("duplicate series"), "{record}");
    // The next run tries them again, and then all is well.
    *is_bad.lock().unwrap() = false;
    let mended = store.run(&RUN).expect_success();
    // The fourth is settled and has no more samples: it rests.
    assert_eq!(states(&mended), are(&[("05", "ok"), ("03", "ok"), ("02", "ok")]));
    let rows = "SELECT CAST(COUNT(*) AS TEXT) FROM expenses WHERE sign = 1";
    assert_eq!(store.text(rows), "10", "{}", mended.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_day_that_fails_keeps_what_is_known_of_it() {
    let is_bad = Arc::new(Mutex::new(false));
    let bad = is_bad.clone();
    let server = fake_prometheus::start(move |asked| {
        (*bad.lock().unwrap() && is_costs_of(asked, 3)).then(duplicate)
    })
    .await;
    let store = embedded(&server);
    store.run(&RUN).expect_success();
    *is_bad.lock().unwrap() = true;
    let fourth = [&RUN[..], &["--from", "2026-03-04", "--to", "2026-03-04"]].concat();
    assert_eq!(store.run(&fourth).code, 1);
    let record = store.text("SELECT record FROM kubecost_account_day WHERE day = '2026-03-04'");
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!((&record["state"], &record["stored_total_usd"]), (&"failed".into(), &240.0.into()));
    assert_eq!((&record["rows"], &record["phase"]), (&2.into(), &2.into()));
    // No difference is seen between the record and the ledger.
    *is_bad.lock().unwrap() = false;
    let mended = store.run(&RUN).expect_success().summary();
    assert_eq!((&mended["rows_written"], &mended["exit_code"]), (&0.into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_time_is_short_each_run_works_off_the_oldest_day() {
    // Two days take all of the time, and the second, which has half of it, is not cut off: the
    // first is answered late, the second once the time is up, as this side has measured it. A
    // machine may be slower by a quarter of the time before that is no longer so.
    let deadline = Duration::from_secs(16);
    let began = Mutex::new(Instant::now());
    let server = fake_prometheus::start(move |asked| {
        if question(asked) == Question::ClusterCost {
            let mut began = began.lock().unwrap();
            let until = if is_costs_of(asked, 4) {
                *began = Instant::now();
                deadline * 3 / 4
            } else {
                deadline + Duration::from_millis(50)
            };
            std::thread::sleep(until.saturating_sub(began.elapsed()));
        }
        None
    })
    .await;
    let store = embedded_with(&server, &deadline.as_secs().to_string());
    let first = store.run(&RUN);
    assert_eq!(states(&first), are(&[("05", "ok"), ("01", "ok")]), "{}", first.stderr);
    let account = &first.summary()["accounts"][0];
    assert_eq!((&account["days_left"], &account["outcome"]), (&3.into(), &"partial".into()));
    let second = store.run(&RUN);
    assert_eq!(states(&second), are(&[("05", "ok"), ("02", "ok")]), "{}", second.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_present_is_noted_whoever_writes_the_account() {
    let service = FakeServer::start(|asked| {
        if asked.parameter("cloud_account_id") == OTHER {
            return reply(500, "text/plain", "oops");
        }
        if asked.path.ends_with("kubecost_cluster_costs") {
            return json(r#"{"total_cost": 0.0}"#);
        }
        let name = "cloudtuner_kubecost_cluster_total_cost";
        let result =
            format!(r#"[{{"metric":{{"tenant_id":"{ACCOUNT}","cluster":"c"}},"value":[0,"10"]}}]"#);
        let data = format!(r#"{{"resultType":"vector","result":{result}}}"#);
        json(format!(r#"{{"metrics":{{"{name}":{{"status":"success","data":{data}}}}}}}"#))
    })
    .await;
    let settings = [
        ("QUERY_LAYER", "metroculus"),
        ("METROCULUS_URL", service.url.as_str()),
        ("CLUSTER_SECRET", "secret"),
    ];
    let store = SqliteStore::new(&[ACCOUNT, OTHER], &settings);
    let slots = || store.text("SELECT CAST(COUNT(*) AS TEXT) FROM kubecost_rate_journal");
    for not_noted in [&["run", "--dry-run"][..], &["run", "--at", "2033-01-10T12:00:00Z"]] {
        let done = store.run(not_noted);
        assert_eq!(slots(), "0", "{}", done.stderr);
    }
    store.hold_lease(ACCOUNT);
    let held = store.run(&["run"]);
    assert_eq!(slots(), "1", "{}", held.stderr);
    let accounts = &held.summary()["accounts"];
    assert_eq!(accounts[0]["outcome"], "skipped");
    assert_eq!(accounts[1]["outcome"], "failed");
    assert!(accounts[1]["failure"]["what"].as_str().unwrap().contains("500"), "{accounts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_an_account_that_is_not_there_is_refused_with_a_summary() {
    let server = fake_prometheus::start(|_| None).await;
    let refused = embedded(&server).run(&["run", "--account", OTHER]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    let summary = refused.summary();
    assert_eq!(
        (&summary["exit_code"], &summary["failure"]["kind"]),
        (&2.into(), &"refused".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_mends_the_accounts_that_nobody_writes_and_names_days_too_old_for_runs() {
    let server = fake_prometheus::start(|_| None).await;
    let settings = [("PROMETHEUS_URL", server.url.as_str()), ("CATCH_UP_DAYS", "4")];
    let store = SqliteStore::new(&[ACCOUNT, OTHER], &settings);
    store.run(&RUN).expect_success();
    let plant = "INSERT INTO expenses (cloud_account_id, resource_id, date, cost, sign) \
                 VALUES (?1, 'nobody', ?2, 1.0, 1)";
    for account in [ACCOUNT, OTHER] {
        store.open().execute(plant, (account, MARCH - 20 * DAY)).unwrap();
    }
    store.hold_lease(ACCOUNT);
    let range = ["--at", "2026-03-05T13:00:00Z", "--from", "2026-02-01", "--to", "2026-03-05"];
    let fix = |more: &[&str]| store.run(&[&["audit", "--fix"][..], &range, more].concat());
    let held = fix(&["--output", "json"]);
    assert_eq!(held.code, 1, "{}\n{}", held.stdout, held.stderr);
    let summary = held.summary();
    assert_eq!(summary["findings"].as_array().unwrap().len(), 2, "{summary}");
    assert_eq!((&summary["findings_left"], &summary["exit_code"]), (&1.into(), &1.into()));
    assert_eq!(summary["skipped"][0]["account"], ACCOUNT);
    assert!(summary["skipped"][0]["what"].as_str().unwrap().contains("run x on another host"));
    let command =
        format!("kubecost-worker backfill --from 2026-02-09 --to 2026-02-09 --account {OTHER}");
    assert_eq!(summary["to_backfill"][0]["command"], command);
    assert!(fix(&[]).stdout.contains("is not repaired: run x on another host"));
    store.open().execute("DELETE FROM kubecost_lease", []).unwrap();
    let said = fix(&[]).expect_success().stdout;
    assert!(said.contains("--from 2026-02-09 --to 2026-02-09 --account"), "{said}");
}
