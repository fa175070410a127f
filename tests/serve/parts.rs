//! What costs are made of, of the running day and of days that are settled.

use std::time::Duration;

use serde_json::{Value, json};

use crate::source::Rates;
use crate::world::World;
use crate::{A, ACCOUNTS, B, day, noon, span};

/// Costs of three eighths CPU, of which a quarter is used.
fn divided() -> Rates {
    Rates { cpu: Some((0.375, 0.25)), ..Rates::of(2.0, 0.5) }
}

async fn reply(world: &World, account: &str, days: (&str, &str)) -> Value {
    let reader = world.serve(Duration::ZERO, false).await;
    let (start, end) = span(days.0, days.1);
    let asked = format!("cloud_account_id={account}&start_date={start}&end_date={end}");
    reader.page("kubecost_cluster_costs", &asked).await.1
}

#[tokio::test]
async fn settled_days_are_made_of_what_was_stored_with_them() {
    let world = World::new(&ACCOUNTS, noon("2026-11-20"));
    for one in day("2026-11-16").through(day("2026-11-20")) {
        world.source.set(A, one, divided());
        let undivided = one == day("2026-11-17");
        world.source.set(B, one, if undivided { Rates::of(2.0, 0.5) } else { divided() });
    }
    world.run((day("2026-11-16"), day("2026-11-20")), None).await;
    let all = reply(&world, A, ("2026-11-16", "2026-11-20")).await;
    let usd = 2.0 * (4.0 * 24.0 + 12.0);
    let breakdown = json!({"total_cost": usd, "cpu_cost": usd * 0.375, "ram_cost": usd * 0.625});
    assert_eq!(all["breakdown"], breakdown);
    assert_eq!(all["efficiency"], json!({}), "ratios of days are not added up");
    let one = reply(&world, A, ("2026-11-17", "2026-11-17")).await;
    assert_eq!(one["data"]["days"][0]["source"], "ledger");
    assert_eq!(
        (&one["breakdown"]["cpu_cost"], &one["breakdown"]["ram_cost"]),
        (&json!(18.0), &json!(30.0))
    );
    assert_eq!(one["efficiency"], json!({"cpu_efficiency": 0.25}));
    let undivided = reply(&world, B, ("2026-11-16", "2026-11-20")).await;
    assert_eq!(undivided["breakdown"], json!({"total_cost": usd}), "of one day it is not known");
}

#[tokio::test]
async fn rows_that_others_changed_since_are_made_of_nothing_that_is_known() {
    let world = World::new(&ACCOUNTS, noon("2026-11-20"));
    world.source.set(A, day("2026-11-17"), divided());
    world.run((day("2026-11-17"), day("2026-11-17")), None).await;
    world.insert_other(A, day("2026-11-17"), 1.0);
    let changed = reply(&world, A, ("2026-11-17", "2026-11-17")).await;
    assert_eq!(changed["breakdown"], json!({"total_cost": 49.0}));
    assert_eq!(changed["efficiency"], json!({}));
}
