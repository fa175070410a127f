//! Rows that a server acknowledges before they can be read: what is written is written once, and
//! nobody who reads meanwhile sees a row twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clickhouse::Client;

use crate::support::early_answer::EarlyAnswer;
use crate::support::servers::{Server, Stores, clickhouse, newest_clickhouse};
use crate::support::small::{AT, Small};
use crate::support::worker::run;

/// When the second run of a test is: an hour after the first, so that today costs more.
const LATER: &str = "2026-03-02T13:00:30Z";

/// What a reader saw of each key (date and resource): costs as bits, and signs.
type Seen = BTreeMap<(u32, String), BTreeSet<(u64, i64)>>;

/// Reads all sums again and again until `is_over`.
async fn watch(client: Client, is_over: Arc<AtomicBool>) -> (Seen, usize) {
    let (mut seen, mut looks) = (Seen::new(), 0);
    while !is_over.load(Ordering::SeqCst) {
        let rows = client
            .query(
                "SELECT toUInt32(date), resource_id, sum(cost * sign), sum(toInt64(sign)) \
                 FROM expenses GROUP BY date, resource_id",
            )
            .fetch_all::<(u32, String, f64, i64)>()
            .await
            .unwrap();
        for (date, id, usd, sign) in rows {
            seen.entry((date, id)).or_default().insert((usd.to_bits(), sign));
        }
        looks += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (seen, looks)
}

fn values(stored: &[(u32, String, u64, i64)]) -> Seen {
    let mut values = Seen::new();
    for (date, id, bits, sign) in stored {
        values.entry((*date, id.clone())).or_default().insert((*bits, *sign));
    }
    values
}

async fn rows_that_show_late_are_written_once(server: Arc<Server>) {
    let small = Small::new("late_rows").await;
    let small = small.over(Stores::on(server, "late_rows").await);
    let late = Duration::from_secs(3);
    let proxy = EarlyAnswer::before(&small.stores.clickhouse.url, late).await;
    let mut settings = small.settings.clone();
    settings.retain(|(name, _)| *name != "CLICKHOUSE_URL");
    settings.push(("CLICKHOUSE_URL", proxy.url.clone()));
    let is_over = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn(watch(small.stores.client(), Arc::clone(&is_over)));
    let mut allowed = Seen::new();
    for at in [AT, LATER] {
        let settings = settings.clone();
        let done = tokio::task::spawn_blocking(move || run(&settings, &["--at", at, "run"]));
        let done = done.await.unwrap().expect_success().summary();
        assert!(done["rows_written"].as_u64() > Some(0), "{done}");
        for (key, values) in values(&small.stored().await) {
            allowed.entry(key).or_default().extend(values);
        }
    }
    let (acknowledged, stored) = proxy.inserts();
    assert_eq!(acknowledged, stored, "each run ends after its rows can be read");
    is_over.store(true, Ordering::SeqCst);
    let (seen, looks) = reader.await.unwrap();
    assert!(looks > 100, "{looks}");
    assert_eq!(seen, allowed, "a reader sees what one of the runs stored, and nothing else");
    let quiet = run(&small.settings, &["--at", LATER, "run"]).expect_success().summary();
    assert_eq!(quiet["rows_written"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_show_three_seconds_late_are_written_once() {
    rows_that_show_late_are_written_once(clickhouse()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_show_three_seconds_late_are_written_once_on_the_newest_clickhouse() {
    rows_that_show_late_are_written_once(newest_clickhouse()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_do_not_show_leave_the_day_pending_and_are_not_written_again() {
    let small = Small::new("unseen_rows").await;
    let proxy = EarlyAnswer::before(&small.stores.clickhouse.url, Duration::from_secs(40)).await;
    let mut settings = small.settings.clone();
    settings.retain(|(name, _)| *name != "CLICKHOUSE_URL");
    settings.push(("CLICKHOUSE_URL", proxy.url.clone()));
    let done = tokio::task::spawn_blocking(move || run(&settings, &["--at", AT, "run"]));
    let done = done.await.unwrap();
    assert_eq!(done.code, 1, "{}", done.stdout);
    let failure = done.summary()["accounts"][0]["failure"].clone();
    assert_eq!(failure["kind"], "not-visible", "{failure}");
    assert!(failure["what"].as_str().unwrap().contains("cannot be read yet"), "{failure}");
    let (acknowledged, stored) = proxy.inserts();
    assert_eq!((acknowledged, stored), (2, 0), "one difference, its rows with and without columns");
    let days =
        small.stores.mongo().await.collection::<mongodb::bson::Document>("kubecost_account_day");
    let pending = days.count_documents(mongodb::bson::doc! { "pending": true }).await.unwrap();
    assert_eq!(pending, 1, "the other day was not begun");
    while proxy.inserts().1 < 2 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The outcome was unknown to the first run, so its lease was not given back.
    small.stores.expire_leases().await;
    run(&small.settings, &["--at", LATER, "run"]).expect_success();
    let calm = small.beside("seen_rows").await;
    run(&calm.settings, &["--at", LATER, "run"]).expect_success();
    assert_eq!(small.stored().await, calm.stored().await);
}
