//! `serve` as CloudTuner's REST API reads it, over stores in memory and a source that tests set.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::sync::atomic::Ordering;
use std::time::Duration;

use kubecost_worker::cost::Day;
use kubecost_worker::source::Phase;
use serde_json::{Value, json};

use client::Read;
use source::Rates;
use world::World;

mod client;
mod lost_rows;
mod other_rows;
mod pages;
mod parts;
mod program;
mod query_layer;
mod source;
mod unread_pods;
mod warm;
mod world;

const A: &str = "a1a1a1a1-0000-4000-8000-0000000000a1";
const B: &str = "b2b2b2b2-0000-4000-8000-0000000000b2";
const C: &str = "c3c3c3c3-0000-4000-8000-0000000000c3";
const ACCOUNTS: [&str; 3] = [A, B, C];
const HOUR: i64 = 3_600;

fn day(text: &str) -> Day {
    text.parse().unwrap()
}

fn noon(text: &str) -> i64 {
    day(text).start_seconds() + 12 * HOUR
}

/// As user interfaces ask for days: to the last second.
fn span(first: &str, last: &str) -> (i64, i64) {
    (day(first).start_seconds(), day(last).end_seconds() - 1)
}

/// Thirty days of three accounts, and a half, each with rates of its own; all stored.
async fn thirty_days() -> World {
    let world = World::new(&ACCOUNTS, noon("2026-12-01"));
    let (first, today) = (day("2026-11-01"), day("2026-12-01"));
    for (account, base) in ACCOUNTS.into_iter().zip([3.1, 0.7, 250.3]) {
        for (number, day) in first.through(today).enumerate() {
            let cluster = base + number as f64 / 7.0;
            world.source.set(account, day, Rates::of(cluster, cluster / 3.0));
        }
    }
    world.run((first, today), None).await;
    world
}

#[tokio::test]
async fn thirty_days_of_three_accounts_are_the_ledgers_numbers_and_after_a_correction_too() {
    let world = thirty_days().await;
    let reader = world.serve(Duration::ZERO, false).await;
    let month = span("2026-11-01", "2026-11-30");
    for account in ACCOUNTS {
        assert!(world.stored(account, month) > 100.0);
        let cost = reader.cost(account, month).await;
        assert_eq!(cost, Read::Cost(world.stored(account, month)));
        for one in day("2026-11-01").through(day("2026-12-01")) {
            let one = span(&one.to_string(), &one.to_string());
            assert_eq!(reader.cost(account, one).await, Read::Cost(world.stored(account, one)));
        }
    }
    let before = world.stored(B, month);
    world.source.set(B, day("2026-11-07"), Rates::of(5.0, 4.0));
    assert_eq!(reader.cost(B, month).await, Read::Cost(before), "no row says so yet");
    world.run((day("2026-11-07"), day("2026-11-07")), Some("cloud bill")).await;
    let after = world.stored(B, month);
    assert!((after - before - 24.0 * (5.0 - 0.7 - 6.0 / 7.0)).abs() < 1e-6);
    assert_eq!(reader.cost(B, month).await, Read::Cost(after));
}

#[tokio::test]
async fn costs_by_namespace_add_up_to_the_whole() {
    let world = thirty_days().await;
    let reader = world.serve(Duration::ZERO, false).await;
    let month = span("2026-11-01", "2026-12-01");
    let (start, end) = month;
    let asked =
        format!("cloud_account_id={C}&start_date={start}&end_date={end}&detail_level=namespace");
    let (status, reply) = reader.page("kubecost_cluster_costs", &asked).await;
    assert_eq!(status, 200, "{reply}");
    let all = reply["breakdown_by_namespace"].as_array().unwrap();
    let usd = |name: &str| {
        let one = all.iter().find(|one| one["namespace"] == name).unwrap();
        one["total_cost"].as_f64().unwrap()
    };
    assert_eq!(all.len(), 2, "{reply}");
    assert_eq!(usd("shop"), world.stored_of(C, month, "shop"));
    assert_eq!(usd("shop") + usd("__cluster__"), reply["summary"]["total_cost"].as_f64().unwrap());
    assert_eq!(reply["data"]["state"], "ok");
    let days = reply["data"]["days"].as_array().unwrap();
    let origins: Vec<&str> = days.iter().map(|day| day["source"].as_str().unwrap()).collect();
    // Noon is long after yesterday was settled.
    assert_eq!((origins.len(), origins[29], origins[30]), (31, "ledger", "query-layer"));
}

#[tokio::test]
async fn the_running_day_goes_on_between_runs_and_added_rows_are_not_answered_again() {
    let world = thirty_days().await;
    let reader = world.serve(Duration::ZERO, false).await;
    let adding = world.serve(Duration::ZERO, true).await;
    let today = span("2026-12-01", "2026-12-01");
    let both = span("2026-11-30", "2026-12-01");
    let stored = world.stored(A, both);
    world.clock.set(noon("2026-12-01") + HOUR);
    let hourly = 3.1 + 30.0 / 7.0;
    let Read::Cost(now) = reader.cost(A, today).await else { panic!() };
    assert!((now - 13.0 * hourly).abs() < 1e-6, "{now}");
    let Read::Cost(lacking) = adding.cost(A, both).await else { panic!() };
    let Read::Cost(whole) = reader.cost(A, both).await else { panic!() };
    assert_eq!(stored + lacking, whole);
    assert!((lacking - hourly).abs() < 1e-6, "{lacking}");
    world.run((day("2026-12-01"), day("2026-12-01")), None).await;
    assert_eq!(reader.cost(A, today).await, Read::Cost(world.stored(A, today)));
    assert_eq!(adding.cost(A, both).await, Read::Cost(0.0));
}

#[tokio::test]
async fn rows_and_what_they_lack_add_up_after_a_run_too_where_answers_are_kept() {
    let world = thirty_days().await;
    let adding = world.serve(Duration::from_secs(600), true).await;
    let today = day("2026-12-01");
    let (start, end) = span("2026-12-01", "2026-12-01");
    world.clock.set(noon("2026-12-01") + HOUR);
    let hourly = 3.1 + 30.0 / 7.0;
    let Read::Cost(lacking) = adding.cost(A, (start, end)).await else { panic!() };
    assert!((lacking - hourly).abs() < 1e-6, "{lacking}");
    let asked = || world.source.asked.lock().unwrap()[&(A.to_owned(), today)];
    let before = asked();
    assert_eq!(adding.cost(A, (start, end)).await, Read::Cost(lacking));
    assert_eq!(asked(), before, "the look is kept");
    world.run((today, today), None).await;
    assert_eq!(adding.cost(A, (start, end)).await, Read::Cost(0.0));
    let by_namespace =
        format!("cloud_account_id={A}&start_date={start}&end_date={end}&detail_level=namespace");
    let (_, reply) = adding.page("kubecost_cluster_costs", &by_namespace).await;
    assert_eq!(reply["breakdown_by_namespace"], json!([]), "{reply}");
}

#[tokio::test]
async fn a_part_of_a_day_is_its_share_of_it() {
    let world = thirty_days().await;
    let reader = world.serve(Duration::ZERO, false).await;
    let (start, _) = span("2026-11-15", "2026-11-15");
    let whole = world.stored(A, (start, start));
    let Read::Cost(quarter) = reader.cost(A, (start + 18 * HOUR, start + 24 * HOUR)).await else {
        panic!()
    };
    assert_eq!(quarter, whole / 4.0);
}

#[tokio::test]
async fn a_query_layer_that_is_down_leaves_the_stored_costs_standing() {
    let world = thirty_days().await;
    let reader = world.serve(Duration::ZERO, false).await;
    world.source.is_down.store(true, Ordering::SeqCst);
    let (start, end) = span("2026-11-30", "2026-12-01");
    assert_eq!(reader.cost(A, (start, end)).await, Read::Cost(world.stored(A, (start, end))));
    let asked = format!("cloud_account_id={A}&start_date={start}&end_date={end}");
    let (_, reply) = reader.page("kubecost_cluster_costs", &asked).await;
    assert_eq!(reply["data"]["state"], "partial");
    let causes = reply["data"]["causes"].to_string();
    assert!(causes.contains("2026-12-01") && causes.contains("connection refused"), "{causes}");
}

#[tokio::test]
async fn an_answer_is_used_again_for_a_while() {
    let world = thirty_days().await;
    let reader = world.serve(Duration::from_secs(600), false).await;
    let today = span("2026-12-01", "2026-12-01");
    let first = reader.cost(A, today).await;
    world.source.set(A, day("2026-12-01"), Rates::of(99.0, 1.0));
    assert_eq!(reader.cost(A, today).await, first);
    assert_ne!(reader.cost(B, today).await, first);
}

#[tokio::test]
async fn answers_about_several_spans_ask_for_the_running_day_once() {
    let world = thirty_days().await;
    let reader = world.serve(Duration::from_secs(600), false).await;
    let (yesterday, today) = (day("2026-11-30"), day("2026-12-01"));
    let asked = || world.source.asked.lock().unwrap().get(&(A.to_owned(), today)).copied();
    let before = asked().unwrap_or(0);
    let Read::Cost(of_today) = reader.cost(A, span("2026-12-01", "2026-12-01")).await else {
        panic!()
    };
    world.source.set(A, today, Rates::of(99.0, 1.0));
    let both = span(&yesterday.to_string(), &today.to_string());
    let Read::Cost(of_both) = reader.cost(A, both).await else { panic!() };
    let of_yesterday = world.stored(A, span("2026-11-30", "2026-11-30"));
    assert!((of_both - of_yesterday - of_today).abs() < 1e-9, "{of_both}");
    assert_eq!(asked(), Some(before + 1));
}

/// What `data` says, less its days.
async fn data(world: &World, account: &str, days: (&str, &str)) -> (Read, Value) {
    let reader = world.serve(Duration::ZERO, false).await;
    let (start, end) = span(days.0, days.1);
    let asked = format!("cloud_account_id={account}&start_date={start}&end_date={end}");
    let (_, mut reply) = reader.page("kubecost_cluster_costs", &asked).await;
    reply["data"].as_object_mut().unwrap().remove("days");
    (reader.cost(account, (start, end)).await, reply["data"].take())
}

#[tokio::test]
async fn an_account_without_costs_is_answered_without_a_zero() {
    let world = World::new(&ACCOUNTS, noon("2026-11-20"));
    let (cost, data) = data(&world, A, ("2026-11-01", "2026-11-18")).await;
    assert_eq!(cost, Read::Nothing);
    let nothing = json!({"state": "no-data", "phase": null, "days_missing": 18, "causes": []});
    assert_eq!(data, nothing);
}

#[tokio::test]
async fn raw_metrics_alone_are_enough() {
    let world = World::new(&ACCOUNTS, noon("2026-11-20"));
    for one in day("2026-11-18").through(day("2026-11-20")) {
        world.source.set(A, one, Rates { phase: Phase::Raw, ..Rates::of(2.0, 0.5) });
    }
    world.run((day("2026-11-18"), day("2026-11-19")), None).await;
    let (cost, data) = data(&world, A, ("2026-11-18", "2026-11-20")).await;
    assert_eq!(cost, Read::Cost(2.0 * 60.0));
    assert_eq!(data, json!({"state": "ok", "phase": 1, "days_missing": 0, "causes": []}));
}

#[tokio::test]
async fn a_day_with_a_gap_says_so() {
    let world = World::new(&ACCOUNTS, noon("2026-11-20"));
    world.source.set(A, day("2026-11-17"), Rates { minutes: 720, ..Rates::of(2.0, 0.5) });
    world.run((day("2026-11-17"), day("2026-11-18")), None).await;
    let (cost, data) = data(&world, A, ("2026-11-17", "2026-11-18")).await;
    assert_eq!(cost, Read::Cost(24.0));
    assert_eq!((&data["state"], &data["days_missing"]), (&json!("partial"), &json!(1)));
    assert!(data["causes"].to_string().contains("720 of 1440 min"), "{data}");
}

#[tokio::test]
async fn costs_in_a_currency_that_is_refused_are_nothing_and_the_cause_is_named() {
    let world = World::new(&ACCOUNTS, noon("2026-11-20"));
    let refused = Rates { refused: Some("costs in EUR have no rate"), ..Rates::of(2.0, 0.5) };
    for one in day("2026-11-18").through(day("2026-11-20")) {
        world.source.set(A, one, refused.clone());
    }
    world.run((day("2026-11-18"), day("2026-11-19")), None).await;
    let (cost, data) = data(&world, A, ("2026-11-18", "2026-11-20")).await;
    assert_eq!(cost, Read::Nothing);
    assert_eq!((&data["state"], &data["days_missing"]), (&json!("no-data"), &json!(3)), "{data}");
    assert!(data["causes"].to_string().contains("costs in EUR have no rate"), "{data}");
}
