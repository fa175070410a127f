//! Time that went wrong: three hours without a hop, clocks that are off, and what days show
//! afterwards.

use serde_json::Value;

use crate::support::ask::{ask, assert_live, live};
use crate::support::metrics::History;
use crate::support::proxy::Proxy;
use crate::support::servers::{Server, Stores};
use crate::support::worker::{Finished, run};
use crate::support::world::{DAY, HOUR, MARCH, MINUTE, constant, gauges, source};

const ACCOUNT: &str = "c10cc10c-0000-0000-0000-00000000c10c";
/// Where nothing listens.
const NOWHERE: &str = "127.0.0.1:9";

struct World {
    stores: Stores,
    settings: Vec<(&'static str, String)>,
}

impl World {
    async fn new(source: &Server) -> Self {
        let stores = Stores::new("clock").await;
        let mut settings = stores.settings();
        settings.push(("PROMETHEUS_URL", source.url.clone()));
        settings.push(("ACCOUNTS", ACCOUNT.to_owned()));
        run(&settings, &["migrate"]).expect_success();
        Self { stores, settings }
    }

    /// The settings with one replaced.
    fn with(&self, name: &str, value: &str) -> Vec<(&'static str, String)> {
        let replaced = |(known, old): &(&'static str, String)| {
            (*known, if *known == name { value.to_owned() } else { old.clone() })
        };
        self.settings.iter().map(replaced).collect()
    }

    fn at(&self, time: &str) -> Finished {
        run(&self.settings, &["run", "--at", time])
    }

    fn from(&self, source: &Server, time: &str) -> Finished {
        run(&self.with("PROMETHEUS_URL", &source.url), &["run", "--at", time])
    }

    async fn live(&self) -> Vec<(i64, String, f64)> {
        live(&self.stores, ACCOUNT).await
    }
}

fn day<'s>(summary: &'s Value, name: &str) -> &'s Value {
    let days = summary["accounts"][0]["days"].as_array().unwrap();
    days.iter().find(|day| day["day"] == name).unwrap_or_else(|| panic!("{name}: {summary}"))
}

/// A dollar a minute until `end`, seconds after March 1st began.
fn until(end: i64) -> Server {
    constant(ACCOUNT, (MARCH, MARCH + end), 60.0, &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hours_without_a_hop_over_midnight_leave_no_day_short() {
    let whole = until(2 * DAY);
    for (variable, dead) in [
        ("PROMETHEUS_URL", format!("http://{NOWHERE}")),
        ("CLICKHOUSE_URL", format!("http://{NOWHERE}")),
        ("MONGO_URL", format!("mongodb://{NOWHERE}/?serverSelectionTimeoutMS=500")),
    ] {
        let world = World::new(&whole).await;
        world.at("2026-03-01T22:30:00Z").expect_success();
        for time in ["2026-03-01T23:00:00Z", "2026-03-02T00:00:00Z", "2026-03-02T01:25:00Z"] {
            let down = run(&world.with(variable, &dead), &["run", "--at", time]);
            assert_eq!(down.code, 3, "{variable}: {}", down.stdout);
        }
        world.at("2026-03-02T01:30:00Z").expect_success();
        let second = world.at("2026-03-02T01:35:00Z").expect_success().summary();
        assert_eq!(day(&second, "2026-03-01")["state"], "ok", "{variable}: {second}");
        let wanted = [(MARCH, "", 1_440.0), (MARCH + DAY, "", 96.0)];
        assert_live(&world.live().await, &wanted);
    }
}

/// A dollar a minute for two days but for 9 to 12 o'clock; the exporter itself may go on.
fn with_a_hole(is_alive: bool) -> Server {
    let mut history = History::default();
    let hole = MARCH + 9 * HOUR..MARCH + 12 * HOUR;
    let rate = |t: i64| (!hole.contains(&t)).then_some(60.0);
    gauges(&mut history, ACCOUNT, (MARCH, MARCH + 2 * DAY), rate, &[]);
    let success = "cloudtuner_kubecost_exporter_scrape_success";
    let labels = format!("tenant_id=\"{ACCOUNT}\",cluster=\"prod\"");
    let alive = |t: i64| (is_alive || !hole.contains(&t)).then_some(1.0);
    history.every_minute(success, &labels, 0, (MARCH, MARCH + 2 * DAY), alive);
    source(&[history])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_of_the_source_is_recorded_with_its_hours_and_its_cause() {
    for (is_alive, why) in [(true, "the exporter ran"), (false, "nothing arrived")] {
        let source = with_a_hole(is_alive);
        let world = World::new(&source).await;
        world.at("2026-03-02T13:00:00Z").expect_success();
        let rows = world.live().await;
        // The sample of 8:59 is seen up to 9:04: Prometheus looks back for five minutes.
        assert_live(&rows[..1], &[(MARCH, "", 1_440.0 - 175.0)]);
        let days = world
            .stores
            .mongo()
            .await
            .collection::<mongodb::bson::Document>("kubecost_account_day");
        let id = format!("{ACCOUNT}:2026-03-01");
        let record = days.find_one(mongodb::bson::doc! { "_id": id }).await.unwrap().unwrap();
        let cause = record.get_str("cause").unwrap();
        assert!(cause.contains("03-01 09:05 to 03-01 12:00 UTC"), "{cause}");
        assert!(cause.contains(why), "{cause}");
        assert_eq!(record.get_str("state").unwrap(), "partial");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_ten_minutes_ahead_leaves_no_day_short() {
    // What has arrived by 23:54 and by 0:35, while the worker's clock is ten minutes ahead.
    let (evening, night) = (until(DAY - 5 * MINUTE), until(DAY + 36 * MINUTE));
    let world = World::new(&evening).await;
    let early = world.from(&evening, "2026-03-02T00:04:00Z").expect_success().summary();
    // The sample of 23:54 stands up to 23:59: nothing is missing of the first day yet.
    assert_eq!(day(&early, "2026-03-01")["state"], "ok", "{early}");
    assert_eq!(day(&early, "2026-03-02")["state"], "no-data", "{early}");
    let late = world.from(&night, "2026-03-02T00:45:00Z").expect_success().summary();
    // 0:00 to 0:40, where the clock says that there should be 46 minutes.
    let today = day(&late, "2026-03-02");
    assert_eq!(
        (today["state"].as_str(), today["expected_minutes"].as_u64()),
        (Some("partial"), Some(46))
    );
    assert_live(&world.live().await, &[(MARCH, "", 1_440.0), (MARCH + DAY, "", 41.0)]);
    let whole = until(3 * DAY);
    world.from(&whole, "2026-03-03T12:00:00Z").expect_success();
    let rows = world.live().await;
    assert_live(&rows[..2], &[(MARCH, "", 1_440.0), (MARCH + DAY, "", 1_440.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_ten_minutes_behind_leaves_no_day_short_and_none_poorer() {
    let whole = until(3 * DAY);
    let world = World::new(&whole).await;
    world.at("2026-03-02T00:08:00Z").expect_success();
    let before = world.live().await;
    assert_live(&before, &[(MARCH, "", 1_440.0), (MARCH + DAY, "", 9.0)]);
    // Another worker's clock says that it is still yesterday, and would know less of it.
    let behind = world.at("2026-03-01T23:58:00Z").summary();
    assert_eq!(day(&behind, "2026-03-01")["rows_written"], 0, "{behind}");
    assert_eq!(world.live().await, before);
    world.at("2026-03-02T23:59:58Z").expect_success();
    assert_live(&world.live().await, &[(MARCH, "", 1_440.0), (MARCH + DAY, "", 1_440.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_far_ahead_takes_no_living_workers_lease() {
    let whole = until(2 * DAY);
    let world = World::new(&whole).await;
    let proxy = Proxy::holding(&world.stores.clickhouse.url, "INSERT").await;
    let slow = world.with("CLICKHOUSE_URL", &proxy.url);
    let first = std::thread::spawn(move || run(&slow, &["run", "--at", "2026-03-02T12:00:00Z"]));
    proxy.something_is_held().await;
    // By these workers' clocks the lease has expired long ago, or was not taken yet.
    for time in ["2036-03-02T12:00:00Z", "2016-03-02T12:00:00Z"] {
        let other = world.at(time).expect_success().summary();
        assert_eq!(other["accounts_skipped"], 1, "{time}: {other}");
    }
    proxy.open();
    first.join().unwrap().expect_success();
    assert_live(&world.live().await, &[(MARCH, "", 1_440.0), (MARCH + DAY, "", 721.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_thought_dead_doubles_nothing_that_is_not_found() {
    let whole = until(2 * DAY);
    let world = World::new(&whole).await;
    let proxy = Proxy::holding(&world.stores.clickhouse.url, "INSERT").await;
    let slow = world.with("CLICKHOUSE_URL", &proxy.url);
    let first = std::thread::spawn(move || run(&slow, &["run", "--at", "2026-03-02T12:00:00Z"]));
    proxy.something_is_held().await;
    // As if it had stood still for longer than its lease is long.
    world.stores.expire_leases().await;
    world.at("2026-03-02T12:10:00Z").expect_success();
    proxy.open();
    let first = first.join().unwrap();
    assert_eq!(first.code, 1, "{}\n{}", first.stdout, first.stderr);
    // It reads back what it wrote, and finds more than that.
    let failure = first.summary()["accounts"][0]["failure"].clone();
    assert_eq!(failure["kind"], "not-visible", "{failure}");
    assert!(failure["what"].as_str().unwrap().contains("is not what they make"), "{failure}");
    // What it had under way is there twice: the next run finds it, reports it and repairs it.
    let next = world.at("2026-03-02T12:15:00Z");
    assert_eq!(next.code, 1, "{}", next.stdout);
    assert_ne!(next.summary()["reconciliation_differences"], 0, "{}", next.stdout);
    let wanted = [(MARCH, "", 1_440.0), (MARCH + DAY, "", 736.0)];
    assert_live(&world.live().await, &wanted);
    world.at("2026-03-02T12:15:00Z").expect_success();
    let doubled = "SELECT count() AS n FROM (SELECT sum(sign) AS s FROM expenses \
                   GROUP BY resource_id, date HAVING s != 1)";
    assert_eq!(ask(&world.stores, doubled).await[0]["n"], 0);
}
