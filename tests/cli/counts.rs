//! A dry run, a plan and the run itself agree in what they count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::support::{World, costs};

fn sum(value: &Value, of: &[&str]) -> u64 {
    let days = value["accounts"].as_array().unwrap().iter();
    let days = days.flat_map(|account| account["days"].as_array().unwrap());
    days.flat_map(|day| of.iter().map(|name| day[*name].as_u64().unwrap())).sum()
}

/// Rows and documents by a dry run, by a plan and by the run.
fn counted(world: &World, at: &str) -> [(u64, u64); 3] {
    let json = |arguments: &[&str]| -> Value {
        let all = [&["--at", at, "--output", "json"], arguments].concat();
        serde_json::from_str(&world.run(&all).expect_success().stdout).unwrap()
    };
    let of_summary = |summary: Value| {
        let number = |name: &str| summary[name].as_u64().unwrap();
        (number("rows_written"), number("documents_written"))
    };
    let dry = of_summary(json(&["run", "--dry-run"]));
    let plan = json(&["plan"]);
    let retired = plan["accounts"].as_array().unwrap().iter();
    let retired: u64 = retired.map(|one| one["documents_retired"].as_u64().unwrap()).sum();
    let planned =
        (sum(&plan, &["rows_added", "rows_taken_back"]), sum(&plan, &["documents"]) + retired);
    [dry, planned, of_summary(json(&["run"]))]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_a_plan_and_a_run_agree_in_their_counts() {
    // The namespace by its number, and what it costs an hour.
    let (number, usd) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(10)));
    let (number_now, usd_now) = (number.clone(), usd.clone());
    let world = World::start(move |asked| {
        let namespace = format!("shop-{}", number_now.load(Ordering::SeqCst));
        costs(asked, &namespace, usd_now.load(Ordering::SeqCst) as f64)
    })
    .await;
    let agree = |at: &str, what: &str| {
        let [dry, planned, done] = counted(&world, at);
        assert_eq!((dry, planned), (done, done), "{what}");
        done
    };
    let first = agree("2026-03-10T23:59:00Z", "nothing was stored");
    assert!(first.0 > 0 && first.1 >= first.0, "{first:?}");
    usd.store(12, Ordering::SeqCst);
    assert!(agree("2026-03-10T23:59:30Z", "a cost rose").0 > 0);
    assert_eq!(agree("2026-03-10T23:59:30Z", "nothing changed"), (0, 0));
    // The first namespace is gone, and days later its documents are retired.
    number.store(2, Ordering::SeqCst);
    let last = agree("2026-03-14T23:59:00Z", "a namespace went");
    assert!(last.1 > last.0, "{last:?}");
}
