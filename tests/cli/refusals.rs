//! What is refused, with which exit code and in which words.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::support::World;
use crate::support::worker::{Finished, command, run};

const DAYS: [&str; 4] = ["--from", "2026-03-01", "--to", "2026-03-02"];

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_failed_is_not_written_and_leaves_the_one_that_is_there() {
    let world = World::start(|_| None).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("plan.json");
    let path = file.to_str().unwrap();
    let plan = [&["plan", "--out", path], &DAYS[..]].concat();
    let down = [&plan[..], &["--prometheus-url", "http://127.0.0.1:1"]].concat();
    let failed = world.run(&down);
    assert_eq!(failed.code, 3, "{}", failed.stderr);
    assert!(!file.exists(), "it would look whole");
    let said = format!("no plan was written to {path}");
    assert!(failed.stderr.contains(&said), "{}", failed.stderr);
    world.run(&plan).expect_success();
    let whole = std::fs::read_to_string(&file).unwrap();
    assert_eq!(world.run(&down).code, 3);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), whole);
    let nowhere = world.run(&[&["plan", "--out", "/no/such/plan.json"], &DAYS[..]].concat());
    assert_eq!(nowhere.code, 2, "{}", nowhere.stderr);
    assert!(nowhere.stderr.contains("--out /no/such/plan.json"), "{}", nowhere.stderr);
}

#[test]
fn a_value_of_the_environment_that_is_no_text_is_no_unset_one() {
    for name in ["MONGO_URL", "CLICKHOUSE_PASSWORD_FILE", "CURRENCY"] {
        let value = OsStr::from_bytes(b"hunter2\xff");
        let output = command(&[], &["report"]).env(name, value).output().unwrap();
        let said = Finished::from(output);
        assert_eq!(said.code, 2, "{name}: {}", said.stderr);
        let wanted = format!("{name}: is not valid UTF-8");
        assert!(said.stderr.contains(&wanted), "{name}: {}", said.stderr);
        assert!(!said.stderr.contains("hunter2"), "{name}: {}", said.stderr);
        assert!(!said.stderr.contains(&format!("{name}: is not set")), "{name}: {}", said.stderr);
    }
}

#[test]
fn arguments_are_checked_before_anything_is_connected_to() {
    for (arguments, part) in [
        (&["recommend", "--lookback", "1.5"][..], "--lookback '1.5'"),
        (&["recommend", "--lookback", "0"], "--lookback '0'"),
        (&["recommend", "--node-target", "2"], "--node-target '2'"),
        (&["schedule", "--cron", "0 0 0 1 1 * 2030"], "five fields"),
        (&["demo", "--keep", ""], "--keep ''"),
        (&["demo", "--keep", "page.html"], "--keep 'page.html'"),
    ] {
        let said = run(&[], arguments);
        assert_eq!(said.code, 2, "{arguments:?}: {}", said.stderr);
        assert!(said.stderr.contains(part), "{arguments:?}: {}", said.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_row_is_explained_with_exit_code_1() {
    let world = World::start(|_| None).await;
    world.run(&[&["run"], &DAYS[..]].concat()).expect_success();
    let account = crate::support::ACCOUNTS[0];
    let explain = ["explain", "--account", account, "--day", "2026-03-01", "--namespace"];
    let code = |namespace: &str| world.run(&[&explain[..], &[namespace]].concat()).code;
    assert_eq!((code("shop"), code("none")), (0, 1));
}
