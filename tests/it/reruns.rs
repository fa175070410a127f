//! Runs that follow each other, at any time of the day, one at a time and two at once.

use mongodb::bson::{Document, doc};
use serde_json::Value;

use crate::support::ask::{ask, assert_live, live, usd};
use crate::support::metrics::History;
use crate::support::proxy::Proxy;
use crate::support::servers::{Server, Stores};
use crate::support::worker::{Finished, command, run};
use crate::support::world::{DAY, HOUR, MARCH, MINUTE, constant, gauges, source};

const ACCOUNT: &str = "7e7e7e7e-0000-0000-0000-000000000071";
const DAYS: [&str; 5] = ["run", "--from", "2026-03-01", "--to", "2026-03-02"];

struct World {
    stores: Stores,
    settings: Vec<(&'static str, String)>,
}

impl World {
    async fn new() -> Self {
        let stores = Stores::new("reruns").await;
        let mut settings = stores.settings();
        settings.push(("ACCOUNTS", ACCOUNT.to_owned()));
        Self { stores, settings }
    }

    async fn migrated() -> Self {
        let world = Self::new().await;
        run(&world.settings, &["migrate"]).expect_success();
        world
    }

    /// The settings with some replaced.
    fn with(&self, more: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        let is_kept = |name: &str| !more.iter().any(|(replaced, _)| *replaced == name);
        let kept = self.settings.iter().filter(|(name, _)| is_kept(name)).cloned();
        kept.chain(more.iter().map(|(name, value)| (*name, (*value).to_owned()))).collect()
    }

    fn run(&self, source: &Server, arguments: &[&str]) -> Finished {
        run(&self.with(&[("PROMETHEUS_URL", &source.url)]), arguments)
    }

    async fn live(&self) -> Vec<(i64, String, f64)> {
        live(&self.stores, ACCOUNT).await
    }
}

fn written(summary: &Value) -> (u64, u64) {
    (summary["rows_written"].as_u64().unwrap(), summary["documents_written"].as_u64().unwrap())
}

fn two_days(cluster: f64, namespaces: &[(&str, f64)]) -> Server {
    constant(ACCOUNT, (MARCH, MARCH + 2 * DAY), cluster, namespaces)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_finds_no_change_writes_nothing_and_each_changed_key_takes_two_rows() {
    let world = World::migrated().await;
    // Every row that is ever inserted, whatever is merged in `expenses` later.
    let witness = "CREATE MATERIALIZED VIEW witness ENGINE = Log AS SELECT * FROM expenses";
    world.stores.execute(witness).await;
    let before = two_days(10.0, &[("shop", 6.0), ("web", 2.5)]);
    let first = world.run(&before, &DAYS).expect_success().summary();
    assert_eq!(first["rows_written"], 6);
    assert_eq!(written(&world.run(&before, &DAYS).expect_success().summary()), (0, 0));
    // The shop costs half a dollar more, and so does the cluster: its remainder stays.
    let after = two_days(10.5, &[("shop", 6.5), ("web", 2.5)]);
    let changed = world.run(&after, &DAYS).expect_success().summary();
    assert_eq!(changed["rows_written"], 4, "two days, one key each: {changed}");
    assert_eq!(written(&world.run(&after, &DAYS).expect_success().summary()), (0, 0));
    let sql = "SELECT toUInt32(date) AS d, k8s_namespace AS ns, cost, sign FROM witness \
               WHERE k8s_namespace = 'shop' ORDER BY d, cost, sign";
    let got: Vec<(i64, f64, i64)> = ask(&world.stores, sql)
        .await
        .iter()
        .map(|r| (r["d"].as_i64().unwrap(), usd(&r["cost"]), r["sign"].as_i64().unwrap()))
        .collect();
    let day = |start| [(start, 144.0, -1), (start, 144.0, 1), (start, 156.0, 1)];
    assert_eq!(got, [day(MARCH), day(MARCH + DAY)].concat());
    assert_eq!(ask(&world.stores, "SELECT count() AS n FROM witness").await[0]["n"], 10);
}

/// Sums, and that every key has one row, before and after all parts are merged.
async fn survives_a_merge(world: &World, wanted: &[(i64, &str, f64)]) {
    assert_live(&world.live().await, wanted);
    world.stores.execute("OPTIMIZE TABLE expenses FINAL").await;
    assert_live(&world.live().await, wanted);
    let rows = ask(&world.stores, "SELECT count() AS n, min(sign) AS s FROM expenses").await;
    assert_eq!(rows[0]["n"].as_u64(), Some(wanted.len() as u64), "one row a key: {rows:?}");
    assert_eq!(rows[0]["s"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn merging_all_parts_changes_no_sum_in_either_sort_order_with_and_without_partitions() {
    let month = "PARTITION BY toYYYYMM(date)";
    let tables = [
        ("(cloud_account_id, date, resource_id)", month),
        ("(cloud_account_id, resource_id, date)", ""),
        ("(cloud_account_id, date, resource_id)", ""),
        ("(cloud_account_id, resource_id, date)", month),
    ];
    let mut worlds = Vec::new();
    for (order, partition) in tables {
        let world = World::new().await;
        world.stores.create_expenses(order, partition).await;
        run(&world.settings, &["migrate"]).expect_success();
        worlds.push(world);
    }
    let day = |shop: f64, web: f64| {
        let both = [MARCH, MARCH + DAY];
        both.into_iter().flat_map(move |start| {
            let all = [("", 10.0 - shop - web), ("shop", shop), ("web", web)];
            all.map(|(name, rate)| (start, name, rate * 24.0)).into_iter().filter(|r| r.2 > 0.0)
        })
    };
    for (shop, web) in [(6.0, 2.5), (6.5, 2.0), (7.0, 1.5), (6.25, 2.5), (6.5, 2.0)] {
        let source = two_days(10.0, &[("shop", shop), ("web", web)]);
        for world in &worlds {
            world.run(&source, &DAYS).expect_success();
            assert_live(&world.live().await, &day(shop, web).collect::<Vec<_>>());
        }
    }
    for world in &worlds {
        survives_a_merge(world, &day(6.5, 2.0).collect::<Vec<_>>()).await;
    }
    // After the merge as before it: the next change is stored right.
    let source = two_days(10.0, &[("shop", 6.0), ("web", 2.5)]);
    for world in &worlds {
        world.run(&source, &DAYS).expect_success();
        survives_a_merge(world, &day(6.0, 2.5).collect::<Vec<_>>()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_with_and_without_kubernetes_columns_go_in_separate_inserts() {
    let world = World::migrated().await;
    let proxy = Proxy::open_to(&world.stores.clickhouse.url).await;
    let source = two_days(10.0, &[("shop", 6.0)]);
    let settings = world.with(&[("PROMETHEUS_URL", &source.url), ("CLICKHOUSE_URL", &proxy.url)]);
    run(&settings, &["run", "--from", "2026-03-01", "--to", "2026-03-01"]).expect_success();
    let inserts: Vec<usize> = proxy
        .queries()
        .iter()
        .filter(|query| query.starts_with("INSERT"))
        .map(|query| {
            assert_eq!(query.contains("k8s_node"), query.contains("k8s_namespace"), "{query}");
            let columns = query.split(['(', ')']).nth(1).unwrap();
            columns.split(',').count()
        })
        .collect();
    assert_eq!(inserts, [5, 8]);
    assert_live(&world.live().await, &[(MARCH, "", 96.0), (MARCH, "shop", 144.0)]);
}

/// Runs at a time, and says what is stored of the two days up to it.
async fn at(source: &Server, account: &str, time: &str) -> Vec<(i64, String, f64)> {
    let world = World::migrated().await;
    let settings = world.with(&[("PROMETHEUS_URL", &source.url), ("ACCOUNTS", account)]);
    run(&settings, &["run", "--at", time]).expect_success();
    let dates = "SELECT count() AS n FROM expenses WHERE toUInt32(date) % 86400 != 0";
    assert_eq!(ask(&world.stores, dates).await[0]["n"], 0);
    live(&world.stores, account).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_is_its_days_midnight_at_any_time_of_the_day() {
    // The cluster alone: 60 USD/h, a dollar a minute, from March 1st on.
    let source = constant(ACCOUNT, (MARCH, MARCH + 3 * DAY), 60.0, &[]);
    let next = MARCH + DAY;
    // Minutes with a value up to and including the one of the run, 00:00 being the first.
    for (time, minutes) in [
        ("2026-03-02T00:00:00Z", 1.0),
        ("2026-03-02T00:03:00Z", 4.0),
        ("2026-03-02T12:30:30Z", 751.0),
        ("2026-03-02T23:58:00Z", 1_439.0),
        ("2026-03-02T23:59:58Z", 1_440.0),
        // The same instant as 00:03 UTC, told in another zone.
        ("2026-03-02T05:33:00+05:30", 4.0),
    ] {
        let got = at(&source, ACCOUNT, time).await;
        assert_live(&got, &[(MARCH, "", 1_440.0), (next, "", minutes)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn months_leap_days_and_years_end_where_they_should() {
    // The second day's midnight, and a run shortly after it.
    let ends = [
        ("month", 1_769_904_000, "2026-02-01T00:03:00Z"),
        ("leap", 1_709_251_200, "2024-03-01T00:03:00Z"),
        ("leap-day", 1_709_164_800, "2024-02-29T00:03:00Z"),
        ("year", 1_767_225_600, "2026-01-01T00:03:00Z"),
    ];
    let histories: Vec<History> = ends
        .iter()
        .map(|(account, midnight, _)| {
            let mut history = History::default();
            gauges(&mut history, account, (midnight - DAY, midnight + HOUR), |_| Some(60.0), &[]);
            history
        })
        .collect();
    let source = source(&histories);
    for (account, midnight, time) in ends {
        let got = at(&source, account, time).await;
        assert_live(&got, &[(midnight - DAY, "", 1_440.0), (midnight, "", 4.0)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_workers_at_once_one_writes_and_the_other_says_who() {
    let world = World::migrated().await;
    let source = two_days(10.0, &[("shop", 6.0)]);
    let proxy = Proxy::holding(&world.stores.clickhouse.url, "INSERT").await;
    let slow = world.with(&[("PROMETHEUS_URL", &source.url), ("CLICKHOUSE_URL", &proxy.url)]);
    let first = std::thread::spawn(move || run(&slow, &DAYS));
    proxy.something_is_held().await;
    let second = world.run(&source, &DAYS);
    assert_eq!(second.code, 0, "{}", second.stderr);
    let summary = second.summary();
    assert_eq!((summary["accounts_skipped"].as_u64(), written(&summary)), (Some(1), (0, 0)));
    let leases = world.stores.mongo().await.collection::<Document>("kubecost_lease");
    let lease = leases.find_one(doc! {"_id": ACCOUNT}).await.unwrap().unwrap();
    let what = summary["accounts"][0]["failure"]["what"].as_str().unwrap().to_owned();
    assert!(what.contains(lease.get_str("holder").unwrap()), "{what}");
    assert!(what.contains(ACCOUNT), "{what}");
    proxy.open();
    first.join().unwrap().expect_success();
    let day = |start| [(start, "", 96.0), (start, "shop", 144.0)];
    assert_live(&world.live().await, &[day(MARCH), day(MARCH + DAY)].concat());
    assert_eq!(written(&world.run(&source, &DAYS).expect_success().summary()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn four_workers_started_together_store_what_one_would() {
    let world = World::migrated().await;
    let source = two_days(10.0, &[("shop", 6.0), ("web", 2.5)]);
    let settings = world.with(&[("PROMETHEUS_URL", &source.url)]);
    let quiet = || std::process::Stdio::piped();
    let all: Vec<_> = (0..4)
        .map(|_| command(&settings, &DAYS).stdout(quiet()).stderr(quiet()).spawn().unwrap())
        .collect();
    let mut rows = 0;
    for child in all {
        let done = Finished::from(child.wait_with_output().unwrap()).expect_success().summary();
        rows += done["rows_written"].as_u64().unwrap();
    }
    assert_eq!(rows, 6);
    let day = |start| [(start, "", 36.0), (start, "shop", 144.0), (start, "web", 60.0)];
    assert_live(&world.live().await, &[day(MARCH), day(MARCH + DAY)].concat());
}

fn days_of(finished: Finished) -> Vec<String> {
    let summary = finished.expect_success().summary();
    let days = summary["accounts"][0]["days"].as_array().unwrap().clone();
    days.iter().map(|day| day["day"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn days_that_were_cut_short_are_computed_again_and_settled_days_rest() {
    let world = World::migrated().await;
    let source = constant(ACCOUNT, (MARCH, MARCH + 5 * DAY), 60.0, &[]);
    days_of(world.run(&source, &["run", "--at", "2026-03-01T13:00:00Z"]));
    assert_live(&world.live().await, &[(MARCH, "", 781.0)]);
    // No worker for three days: all that was missed is made up for, at once.
    let due = days_of(world.run(&source, &["run", "--at", "2026-03-04T13:00:00Z"]));
    assert_eq!(due, ["2026-03-04", "2026-03-03", "2026-03-02", "2026-03-01"]);
    let full = |index: i64| (MARCH + index * DAY, "", 1_440.0);
    assert_live(&world.live().await, &[full(0), full(1), full(2), (MARCH + 3 * DAY, "", 781.0)]);
    let due = days_of(world.run(&source, &["run", "--at", "2026-03-05T13:00:00Z"]));
    assert_eq!(due, ["2026-03-05", "2026-03-04"]);
    // Further back than CATCH_UP_DAYS nothing is looked for.
    let other = World::migrated().await;
    let settings = other.with(&[("PROMETHEUS_URL", &source.url), ("CATCH_UP_DAYS", "2")]);
    let due = days_of(run(&settings, &["run", "--at", "2026-03-05T13:00:00Z"]));
    assert_eq!(due, ["2026-03-05", "2026-03-04", "2026-03-03"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_that_arrive_late_are_made_up_for_on_settled_days() {
    let world = World::migrated().await;
    let late = (MARCH + 20 * HOUR, MARCH + 22 * HOUR);
    let with_gap = |gap: (i64, i64)| {
        let mut history = History::default();
        let rate = move |t: i64| (!(gap.0..gap.1).contains(&t)).then_some(60.0);
        gauges(&mut history, ACCOUNT, (MARCH, MARCH + 6 * DAY), rate, &[]);
        source(&[history])
    };
    let at = ["run", "--at", "2026-03-04T13:00:00Z"];
    world.run(&with_gap(late), &at).expect_success();
    // The last sample before the gap, of 19:59, is seen up to 20:04: five minutes into the gap.
    let first_day = |rows: &[(i64, String, f64)]| rows[0].2;
    assert!((first_day(&world.live().await) - 1_325.0).abs() < 1e-6, "{:?}", world.live().await);
    let due = days_of(world.run(&with_gap((0, 0)), &at));
    // The third of March is settled, and has as many samples as before.
    assert_eq!(due, ["2026-03-04", "2026-03-01"]);
    assert!((first_day(&world.live().await) - 1_440.0).abs() < 1e-6);
    // A source that has forgotten them again does not make the day poorer.
    world.run(&with_gap(late), &["run", "--from", "2026-03-01", "--to", "2026-03-01"]);
    assert!((first_day(&world.live().await) - 1_440.0).abs() < 1e-6);
}

/// An exporter that tells at hour h of the hour before: its rate then is h - 1 of the day's hours,
/// so that each hour costs something else.
fn lagging(told: impl Fn(i64) -> bool) -> Server {
    let mut history = History::default();
    let life = (MARCH, MARCH + 2 * DAY + 3 * HOUR);
    let hour_before = |t: i64| (t - MARCH).div_euclid(HOUR) - 1;
    let rate = |t: i64| told(t).then(|| (hour_before(t) + 2) as f64);
    gauges(&mut history, ACCOUNT, life, rate, &[]);
    let labels = format!("tenant_id=\"{ACCOUNT}\",cluster=\"prod\"");
    let end = "cloudtuner_kubecost_window_end_timestamp_seconds";
    let length = "cloudtuner_kubecost_window_seconds";
    let window_end = |t: i64| told(t).then(|| (t - t.rem_euclid(HOUR)) as f64);
    history.every_minute(end, &labels, 0, life, window_end);
    history.every_minute(length, &labels, 0, life, |t| told(t).then_some(3_600.0));
    source(&[history])
}

/// Hours `from..until` since March 1st, at h + 2 USD each.
fn hours(from: i64, until: i64) -> f64 {
    (from..until).map(|hour| (hour + 2) as f64).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lagging_gauge_lands_on_the_day_that_caused_its_cost() {
    let world = World::migrated().await;
    let source = lagging(|_| true);
    world.run(&source, &["run", "--at", "2026-03-03T02:59:00Z"]).expect_success();
    // At 2:59 the third day's hours 0 (told from 1:00 on) and 1 (from 2:00 on) are known.
    let wanted = [
        (MARCH, "", hours(0, 24)),
        (MARCH + DAY, "", hours(24, 48)),
        (MARCH + 2 * DAY, "", hours(48, 50)),
    ];
    assert_live(&world.live().await, &wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_samples_of_the_next_morning_complete_a_lagging_settled_day() {
    let world = World::migrated().await;
    // What the second day's first hour tells belongs to the first day, and comes days late.
    let missing = MARCH + DAY..MARCH + DAY + HOUR + 5 * MINUTE;
    let at = ["run", "--at", "2026-03-03T02:59:00Z"];
    world.run(&lagging(|t| !missing.contains(&t)), &at).expect_success();
    let before = world.live().await;
    assert!(before[0].2 < hours(0, 24) - 1.0, "{before:?}");
    world.run(&lagging(|_| true), &at).expect_success();
    let after = world.live().await;
    assert!((after[0].2 - hours(0, 24)).abs() < 1e-6, "{after:?}");
}
