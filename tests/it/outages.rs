//! Servers that are killed during a run and come back, a disk that is full and a user that may only
//! read: a clear message, an exit code, and the next run after it makes all good.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::support::servers::{CLICKHOUSE_USERS, clickhouse_users, clickhouse_with};
use crate::support::servers::{Server, Stores, mongodb, own_clickhouse, own_mongodb, unique};
use crate::support::servers::{clickhouse, expire_leases, small_clickhouse};
use crate::support::small::Small;
use crate::support::trouble::{Proxy, Trouble};
use crate::support::worker::run;

fn docker(arguments: &[&str]) -> String {
    let done = Command::new("docker").args(arguments).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

/// The address after a start: the port is another one.
fn address(old: &str, id: &str, port: &str) -> String {
    let mapped = docker(&["port", id, port]);
    let mapped = mapped.lines().next().unwrap().rsplit_once(':').unwrap().1.to_owned();
    let (scheme, rest) = old.split_once("://").unwrap();
    let slash = if rest.ends_with('/') { "/" } else { "" };
    format!("{scheme}://127.0.0.1:{mapped}{slash}")
}

fn at(minute: u32) -> String {
    format!("2026-03-02T{:02}:{:02}:30Z", 1 + minute / 60, minute % 60)
}

/// Runs until a run succeeds: a server that was started takes a while. A lease that a failed run
/// left behind expires meanwhile.
async fn run_until_well(small: &Small, at: &str) -> serde_json::Value {
    const TRIES: u32 = 240;
    for _ in 0..TRIES {
        let done = run(&small.settings, &["--at", at, "run"]);
        let summary = done.summary();
        if done.code == 0 && summary["accounts_done"] == 1 {
            return summary;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        // A server that does not answer yet has no lease that could be in the way.
        if done.code != 3 {
            expire_leases(&small.setting("MONGO_URL"), &small.stores.database).await;
        }
    }
    panic!("it does not become well");
}

/// A server that is killed at three steps of a run, counted in what the run sends to it.
async fn killed_and_started(server: &Server, mut small: Small, variable: &'static str, port: &str) {
    let hop = match variable {
        "MONGO_URL" => "mongodb",
        "CLICKHOUSE_URL" => "clickhouse",
        _ => "query layer",
    };
    let id = server.container_id().unwrap();
    run(&small.settings, &["--at", &at(0), "run"]).expect_success();
    let proxy = Proxy::new(&small.setting(variable)).await;
    run(&small.with_settings(&[(variable, &proxy.url)]), &["--at", &at(5), "run"]).expect_success();
    let steps = u32::try_from(proxy.sent().len()).unwrap();
    assert!(steps > 3, "{steps}");
    for (quarter, trouble) in
        [(1, Trouble::HoldReply), (2, Trouble::Swallow), (3, Trouble::HoldReply)]
    {
        let minute = 10 * quarter;
        let proxy = Proxy::new(&small.setting(variable)).await;
        let through = small.with_settings(&[(variable, &proxy.url)]);
        proxy.arm((steps * quarter / 4).max(1), trouble);
        let dying =
            tokio::task::spawn_blocking(move || run(&through, &["--at", &at(minute), "run"]));
        proxy.hit().await;
        docker(&["kill", id]);
        proxy.disarm();
        let code = dying.await.unwrap().code;
        assert!(matches!(code, 0 | 1 | 3), "{code:?}");
        let down = run(&small.settings, &["--at", &at(minute + 2), "run"]);
        assert_eq!(down.code, 3, "{}", down.stdout);
        assert!(down.stdout.contains(hop) && down.stdout.contains("fix"), "{}", down.stdout);
        docker(&["start", id]);
        let address = address(&small.setting(variable), id, port);
        small.settings = small.with_settings(&[(variable, &address)]);
        let well = run_until_well(&small, &at(minute + 4)).await;
        // A run before it may have settled yesterday.
        let days = well["accounts"][0]["days"].as_array().unwrap();
        assert!(!days.is_empty(), "{well}");
        for day in days {
            assert_eq!(day["source_total_usd"], day["stored_total_usd"], "{day}");
        }
        let calm = small.beside("calm").await;
        // The query layer may have another address by now.
        let query_layer = [("PROMETHEUS_URL", &*small.setting("PROMETHEUS_URL"))];
        let settings = calm.with_settings(&query_layer);
        run(&settings, &["--at", &at(minute + 4), "run"]).expect_success();
        assert_eq!(small.stored().await, calm.stored().await, "after step {quarter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_may_die_in_a_run_and_come_back() {
    let small = Small::new("dying_ch").await;
    let own = Arc::new(own_clickhouse());
    let stores = Stores { clickhouse: Arc::clone(&own), mongodb: mongodb(), database: unique("d") };
    stores.create_database().await;
    killed_and_started(&own, small.over(stores), "CLICKHOUSE_URL", "8123").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_may_die_in_a_run_and_come_back() {
    let small = Small::new("dying_mongo").await;
    let own = Arc::new(own_mongodb());
    let stores =
        Stores { clickhouse: clickhouse(), mongodb: Arc::clone(&own), database: unique("d") };
    stores.create_database().await;
    killed_and_started(&own, small.over(stores), "MONGO_URL", "27017").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_query_layer_may_die_in_a_run_and_come_back() {
    let small = Small::new("dying_query").await;
    let own = Arc::clone(&small.prometheus);
    killed_and_started(&own, small, "PROMETHEUS_URL", "9090").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_named_and_made_good_once_there_is_space() {
    let small = Small::new("full").await;
    let own = Arc::new(small_clickhouse("24m"));
    let stores = Stores { clickhouse: own, mongodb: mongodb(), database: unique("d") };
    stores.create_database().await;
    let full = small.over(stores);
    run(&full.settings, &["--at", &at(0), "run"]).expect_success();
    full.stores.execute("CREATE TABLE filler (text String) ENGINE = Log").await;
    let fill = "INSERT INTO filler SELECT toString(rand64()) || toString(rand64(2)) || \
                toString(rand64(3)) FROM system.numbers LIMIT 10000";
    while full.stores.client().query(fill).execute().await.is_ok() {}
    let small_fill = fill.replace("10000", "10");
    while full.stores.client().query(&small_fill).execute().await.is_ok() {}
    let refused = run(&full.settings, &["--at", &at(10), "run"]);
    assert_eq!(refused.code, 1, "{}\n{}", refused.stdout, refused.stderr);
    assert!(refused.stdout.contains("free space"), "{}", refused.stdout);
    full.stores.execute("DROP TABLE filler").await;
    run_until_well(&full, &at(20)).await;
    let calm = small.beside("calm").await;
    run(&calm.settings, &["--at", &at(20), "run"]).expect_success();
    assert_eq!(full.stored().await, calm.stored().await);
}

/// Puts the user `worker` into a settings profile of a running ClickHouse.
async fn put_into_profile(stores: &Stores, profile: &str) {
    let users = clickhouse_users();
    assert!(users.contains("<profile>default</profile>"), "{users}");
    let users =
        users.replace("<profile>default</profile>", &format!("<profile>{profile}</profile>"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), users).unwrap();
    // The server reads it as another user than this test's.
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let there = format!("{}:{CLICKHOUSE_USERS}", stores.clickhouse.container_id().unwrap());
    docker(&["cp", file.path().to_str().unwrap(), &there]);
    stores.execute("SYSTEM RELOAD CONFIG").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_may_only_read_is_named_and_made_good_once_it_may_write() {
    let small = Small::new("read_only").await;
    let own = Arc::new(clickhouse_with(clickhouse_users()));
    let stores = Stores { clickhouse: own, mongodb: mongodb(), database: unique("d") };
    stores.create_database().await;
    let mut limited = small.over(stores);
    limited.settings.push(("CLICKHOUSE_USER", "worker".to_owned()));
    limited.settings.push(("CLICKHOUSE_PASSWORD", "worker-test-password".to_owned()));
    let today = ["--at", &at(0), "run", "--from", "2026-03-02", "--to", "2026-03-02"];
    run(&limited.settings, &today).expect_success();
    let before = limited.stored().await;
    put_into_profile(&limited.stores, "readonly").await;
    // At first one of the two days has nothing to be written, then none.
    for (minute, days_done) in [(0, 1), (10, 0)] {
        let refused = run(&limited.settings, &["--at", &at(minute), "run"]);
        assert_eq!(refused.code, 1, "{}\n{}", refused.stdout, refused.stderr);
        let account = &refused.summary()["accounts"][0];
        assert_eq!(account["days"].as_array().unwrap().len(), days_done, "{account}");
        let failure = &account["failure"];
        assert_eq!(
            (&failure["hop"], &failure["kind"]),
            (&"clickhouse".into(), &"read-only".into())
        );
        for (part, word) in [("what", "164"), ("what", "inserting expenses"), ("fix", "readonly")] {
            assert!(failure[part].as_str().unwrap().contains(word), "'{word}' is not in {failure}");
        }
        assert_eq!(limited.stored().await, before, "nothing is lost");
    }
    put_into_profile(&limited.stores, "default").await;
    let well = run(&limited.settings, &["--at", &at(20), "run"]).expect_success().summary();
    for day in well["accounts"][0]["days"].as_array().unwrap() {
        assert_eq!(day["source_total_usd"], day["stored_total_usd"], "{day}");
    }
    let calm = small.beside("calm").await;
    run(&calm.settings, &["--at", &at(20), "run"]).expect_success();
    assert_ne!(limited.stored().await, before);
    assert_eq!(limited.stored().await, calm.stored().await);
}
