//! Settled days whose rows are not those that a run stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kubecost_worker::cost::{AccountId, Day};
use kubecost_worker::day_status::{DayStatus, DayStatusReader};
use kubecost_worker::service::failure::Failure;
use serde_json::{Value, json};

use crate::client::RestReader;
use crate::source::Rates;
use crate::world::World;
use crate::{A, ACCOUNTS, day, noon, span};

const DAY: &str = "2026-11-17";

/// Three settled days of 2 USD an hour.
async fn three_days() -> World {
    let world = World::new(&ACCOUNTS, noon("2026-11-20"));
    let (first, last) = (day("2026-11-16"), day("2026-11-18"));
    for one in first.through(last) {
        world.source.set(A, one, Rates::of(2.0, 0.5));
    }
    world.run((first, last), None).await;
    world
}

/// The cost of the three days, and the answer about them.
async fn answer(reader: &RestReader) -> (f64, Value) {
    let (start, end) = span("2026-11-16", "2026-11-18");
    let asked = format!("cloud_account_id={A}&start_date={start}&end_date={end}");
    let (status, mut reply) = reader.page("kubecost_cluster_costs", &asked).await;
    assert_eq!(status, 200, "{reply}");
    (reply["total_cost"].as_f64().unwrap(), reply["data"].take())
}

fn states(data: &Value) -> Vec<&str> {
    let days = data["days"].as_array().unwrap();
    days.iter().map(|day| day["state"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_settled_day_whose_rows_are_gone_or_doubled_is_partial_until_it_is_written_again() {
    for (sign, wrong, cause) in
        [(-1, 96.0, "$0.0000 of this day (rows: 0)"), (1, 192.0, "$96.0000 of this day (rows: 4)")]
    {
        let world = three_days().await;
        let reader = world.serve(Duration::ZERO, false).await;
        let (usd, data) = answer(&reader).await;
        assert_eq!((usd, &data["state"], &data["causes"]), (144.0, &json!("ok"), &json!([])));
        world.repeat_rows(A, day(DAY), sign);
        let (usd, data) = answer(&reader).await;
        assert_eq!(
            (usd, &data["state"], &data["days_missing"]),
            (wrong, &json!("partial"), &json!(0))
        );
        assert_eq!(states(&data), ["ok", "partial", "ok"]);
        let causes = data["causes"].to_string();
        let fix = format!("kubecost-worker run --from {DAY} --to {DAY} --account {A}");
        for part in [cause, "$48.0000 (rows: 2)", &fix] {
            assert!(causes.contains(part), "{part} is not in {causes}");
        }
        // What the cause names puts it right.
        world.run((day(DAY), day(DAY)), None).await;
        let (usd, data) = answer(&reader).await;
        assert_eq!((usd, &data["state"], &data["causes"]), (144.0, &json!("ok"), &json!([])));
    }
}

/// Day status that a run begins to write between a reader's first look and its second one.
struct Rewritten {
    inner: Arc<dyn DayStatusReader>,
    is_begun: AtomicBool,
}

#[async_trait]
impl DayStatusReader for Rewritten {
    async fn statuses(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<Vec<DayStatus>, Failure> {
        let mut statuses = self.inner.statuses(account, first, last).await?;
        if self.is_begun.swap(true, Ordering::SeqCst) {
            for status in &mut statuses {
                (status.attempt.is_pending, status.attempt.is_settled) = (true, false);
                "later".clone_into(&mut status.attempt.run_id);
            }
        }
        Ok(statuses)
    }
}

#[tokio::test]
async fn rows_that_a_run_writes_while_they_are_read_are_no_difference() {
    let world = three_days().await;
    world.repeat_rows(A, day(DAY), -1);
    let rewritten = |inner| -> Arc<dyn DayStatusReader> {
        Arc::new(Rewritten { inner, is_begun: AtomicBool::new(false) })
    };
    let (_, data) = answer(&world.serve_with_status(rewritten).await).await;
    assert_eq!((&data["state"], &data["causes"]), (&json!("ok"), &json!([])));
}
