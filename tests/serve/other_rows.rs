//! Accounts with rows of other programs, with holes, and with rows that are no numbers.

use std::time::Duration;

use kubecost_worker::cost::Day;
use serde_json::{Value, json};

use crate::client::Read;
use crate::source::Rates;
use crate::world::World;
use crate::{A, ACCOUNTS, HOUR, day, noon, span};

async fn reply(world: &World, is_ledger_added: bool, days: (&str, &str)) -> Value {
    let reader = world.serve(Duration::ZERO, is_ledger_added).await;
    let (start, end) = span(days.0, days.1);
    let asked =
        format!("cloud_account_id={A}&start_date={start}&end_date={end}&detail_level=namespace");
    reader.page("kubecost_cluster_costs", &asked).await.1
}

fn of_shop(reply: &Value) -> f64 {
    let rows = reply["breakdown_by_namespace"].as_array().unwrap();
    let shop = rows.iter().find(|row| row["namespace"] == "shop").unwrap();
    shop["total_cost"].as_f64().unwrap()
}

/// An account whose running day costs 2 USD an hour and is stored up to noon, if at all; then
/// another program writes 50 USD, and an hour passes.
async fn with_other_rows(is_stored: bool) -> World {
    let world = World::new(&ACCOUNTS, noon("2026-11-20"));
    let today: Day = day("2026-11-20");
    world.source.set(A, today, Rates::of(2.0, 0.5));
    if is_stored {
        world.run((today, today), None).await;
    }
    world.insert_other(A, today, 50.0);
    world.clock.set(noon("2026-11-20") + HOUR);
    world
}

#[tokio::test]
async fn rows_of_others_are_answered_while_the_day_runs_and_after_it() {
    let world = with_other_rows(true).await;
    let today = ("2026-11-20", "2026-11-20");
    let running = reply(&world, false, today).await;
    assert_eq!((&running["total_cost"], of_shop(&running)), (&json!(76.0), 56.5));
    assert_eq!(running["data"]["state"], "ok");
    let lacking = reply(&world, true, today).await;
    assert_eq!((&lacking["total_cost"], of_shop(&lacking)), (&json!(2.0), 0.5));
    world.clock.set(noon("2026-11-22"));
    world.run((day("2026-11-20"), day("2026-11-20")), None).await;
    let settled = reply(&world, false, today).await;
    assert_eq!((&settled["total_cost"], of_shop(&settled)), (&json!(98.0), 62.0));
    let ledger = world.stored(A, span("2026-11-20", "2026-11-20"));
    assert_eq!(settled["total_cost"], ledger);
    assert_eq!(reply(&world, true, today).await["total_cost"], 0.0);
}

#[tokio::test]
async fn rows_of_others_count_on_the_day_that_they_fall_on_at_any_time_of_it() {
    let world = World::new(&ACCOUNTS, noon("2026-11-20"));
    for one in day("2026-11-16").through(day("2026-11-20")) {
        world.source.set(A, one, Rates::of(2.0, 0.5));
    }
    world.run((day("2026-11-16"), day("2026-11-20")), None).await;
    // Of a settled day, of the running one, and of one before the account's first.
    for one in ["2026-11-17", "2026-11-20", "2026-11-14"] {
        world.insert_other_at(A, noon(one) - 1, 10.0);
    }
    let (first, last) = ("2026-11-16", "2026-11-20");
    let all = reply(&world, false, (first, last)).await;
    assert_eq!((&all["total_cost"], of_shop(&all)), (&json!(236.0), 74.0));
    assert_eq!(all["total_cost"], world.stored(A, span(first, last)));
    assert_eq!(all["data"]["days_missing"], 0);
    assert_eq!(reply(&world, true, (first, last)).await["total_cost"], 0.0);
    let earlier = reply(&world, false, ("2026-11-13", "2026-11-17")).await;
    assert_eq!(earlier["total_cost"], 116.0);
    let data = &earlier["data"];
    assert_eq!((&data["state"], &data["days_missing"]), (&json!("partial"), &json!(1)), "{data}");
    let hole = reply(&world, false, ("2026-11-15", "2026-11-17")).await;
    assert_eq!(hole["data"]["days_missing"], 1, "it was there the day before");
}

#[tokio::test]
async fn a_day_that_was_stored_while_it_ran_is_partial_until_it_is_stored_whole() {
    let world = World::new(&ACCOUNTS, noon("2026-11-20"));
    let days = ("2026-11-20", "2026-11-20");
    world.source.set(A, day(days.0), Rates::of(2.0, 0.5));
    world.run((day(days.0), day(days.0)), None).await;
    world.clock.set(noon("2026-11-22"));
    let half = reply(&world, false, days).await;
    assert_eq!((&half["total_cost"], &half["data"]["state"]), (&json!(24.0), &json!("partial")));
    let fix = format!("kubecost-worker run --from {0} --to {0} --account {A}", days.0);
    let causes = half["data"]["causes"].to_string();
    assert!(causes.contains("no run came after 12:00") && causes.contains(&fix), "{causes}");
    world.run((day(days.0), day(days.0)), None).await;
    let whole = reply(&world, false, days).await;
    assert_eq!((&whole["total_cost"], &whole["data"]["state"]), (&json!(48.0), &json!("ok")));
}

#[tokio::test]
async fn rows_of_others_are_no_guard_of_a_day_that_is_not_stored() {
    let world = with_other_rows(false).await;
    let today = ("2026-11-20", "2026-11-20");
    let answered = reply(&world, false, today).await;
    assert_eq!((&answered["total_cost"], of_shop(&answered)), (&json!(76.0), 56.5));
    assert_eq!(
        (&answered["data"]["state"], &answered["data"]["causes"]),
        (&json!("ok"), &json!([]))
    );
    assert_eq!(reply(&world, true, today).await["total_cost"], 26.0);
    world.run((day("2026-11-20"), day("2026-11-20")), None).await;
    let stored = world.stored(A, span("2026-11-20", "2026-11-20"));
    assert_eq!(answered["total_cost"], stored, "what is answered is what a run stores");
}

#[tokio::test]
async fn a_hole_at_the_start_is_missing_where_the_account_was_there_before() {
    let world = World::new(&ACCOUNTS, noon("2026-12-02"));
    let october = day("2026-10-20").through(day("2026-10-31"));
    for one in october.chain(day("2026-11-06").through(day("2026-11-30"))) {
        world.source.set(A, one, Rates::of(2.0, 0.5));
    }
    world.run((day("2026-11-01"), day("2026-11-30")), None).await;
    let november = ("2026-11-01", "2026-11-30");
    let data = reply(&world, false, november).await["data"].take();
    let new = (data["state"].clone(), data["days_missing"].clone());
    assert_eq!(new, (json!("ok"), json!(0)), "it was not there yet");
    world.run((day("2026-10-20"), day("2026-10-31")), None).await;
    let data = reply(&world, false, november).await["data"].take();
    let known = (data["state"].clone(), data["days_missing"].clone());
    assert_eq!(known, (json!("partial"), json!(5)));
    assert!(data["causes"][0].as_str().unwrap().starts_with("2026-11-01: "), "{data}");
}

#[tokio::test]
async fn a_hole_at_the_start_is_missing_where_the_source_had_costs_that_were_not_stored() {
    let world = World::new(&ACCOUNTS, noon("2026-11-20"));
    for one in day("2026-11-05").through(day("2026-11-10")) {
        world.source.set(A, one, Rates::of(2.0, 0.5));
    }
    for one in day("2026-11-03").through(day("2026-11-04")) {
        let conflict = Some("two exporters claim to be 'prod'");
        world.source.set(A, one, Rates { conflict, ..Rates::of(2.0, 0.5) });
    }
    world.run((day("2026-11-01"), day("2026-11-10")), None).await;
    let all = reply(&world, false, ("2026-11-01", "2026-11-10")).await;
    let data = &all["data"];
    assert_eq!(all["total_cost"], 6.0 * 48.0);
    assert_eq!((&data["state"], &data["days_missing"]), (&json!("partial"), &json!(2)), "{data}");
    assert!(data["causes"].to_string().contains("2026-11-03: two exporters"), "{data}");
    let stored = reply(&world, false, ("2026-11-05", "2026-11-10")).await;
    assert_eq!(
        (&stored["data"]["state"], &stored["data"]["days_missing"]),
        (&json!("ok"), &json!(0))
    );
}

#[tokio::test]
async fn rows_that_are_no_numbers_are_neither_null_nor_zero() {
    for is_ledger_added in [false, true] {
        let world = World::new(&ACCOUNTS, noon("2026-11-20"));
        for one in day("2026-11-16").through(day("2026-11-18")) {
            world.source.set(A, one, Rates::of(2.0, 0.5));
        }
        world.run((day("2026-11-16"), day("2026-11-18")), None).await;
        world.insert_other(A, day("2026-11-17"), f64::NAN);
        let all = reply(&world, is_ledger_added, ("2026-11-16", "2026-11-18")).await;
        assert_eq!(all["total_cost"], if is_ledger_added { 0.0 } else { 96.0 });
        let data = &all["data"];
        assert_eq!((&data["state"], &data["days_missing"]), (&json!("partial"), &json!(1)));
        assert!(data["causes"].to_string().contains("do not add up to a number"), "{data}");
        let reader = world.serve(Duration::ZERO, is_ledger_added).await;
        assert_eq!(reader.cost(A, span("2026-11-17", "2026-11-17")).await, Read::Nothing);
    }
}
