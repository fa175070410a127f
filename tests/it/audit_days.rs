//! Days that lost rows: by a repair that broke off, or outside of this program; and days whose only
//! rows are those of earlier software.

use serde_json::Value;

use crate::support::embedded::SqliteStore;
use crate::support::fake_prometheus;
use crate::support::http::FakeServer;
use crate::support::worker::Finished;
use crate::support::world::{DAY, MARCH};

const ACCOUNT: &str = "cccccccc-0000-0000-0000-00000000000c";
const OTHER: &str = "dddddddd-0000-0000-0000-00000000000d";
/// The first four days of March are over, and older than `CATCH_UP_DAYS` by `LATER`.
const RUN: [&str; 7] =
    ["run", "--at", "2026-03-05T12:00:30Z", "--from", "2026-03-01", "--to", "2026-03-04"];
const LATER: [&str; 2] = ["--at", "2026-03-20T12:00:30Z"];
const RANGE: [&str; 4] = ["--from", "2026-02-01", "--to", "2026-03-04"];
/// What the cluster costs a day.
const DAY_USD: f64 = 240.0;

/// Four days of each account, stored and settled.
struct World {
    store: SqliteStore,
    _server: FakeServer,
}

impl World {
    async fn new(accounts: &[&str]) -> Self {
        let server = fake_prometheus::start(|_| None).await;
        let settings = [("PROMETHEUS_URL", server.url.as_str()), ("CATCH_UP_DAYS", "4")];
        let store = SqliteStore::new(accounts, &settings);
        store.run(&RUN).expect_success();
        Self { store, _server: server }
    }

    fn execute(&self, sql: &str) {
        self.store.open().execute_batch(sql).unwrap();
    }

    fn audit(&self, more: &[&str]) -> Finished {
        let words = ["audit", "--output", "json"];
        self.store.run(&[&words[..], &LATER, &RANGE, more].concat())
    }

    /// Runs a command that the program named.
    fn follow(&self, command: &str) -> Finished {
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        self.store.run(&[&words[..], &LATER].concat())
    }

    /// All rows of the second of March stand twice.
    fn double(&self) {
        let date = MARCH + DAY;
        self.execute(&format!("INSERT INTO expenses SELECT * FROM expenses WHERE date = {date}"));
    }

    /// State, whether settled, and cause of an account's second of March.
    fn second(&self, account: &str) -> String {
        self.store.text(&format!(
            "SELECT state || ' ' || settled || ' ' || cause FROM kubecost_account_day \
             WHERE account = '{account}' AND day = '2026-03-02'"
        ))
    }

    fn stored_usd(&self, account: &str) -> f64 {
        let sum = "SELECT CAST(SUM(cost * sign) AS TEXT) FROM expenses WHERE cloud_account_id =";
        self.store.text(&format!("{sum} '{account}'")).parse().unwrap()
    }
}

fn kinds(summary: &Value) -> Vec<&str> {
    let findings = summary["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["kind"].as_str().unwrap()).collect()
}

fn backfill_of(day: &str, account: &str) -> String {
    format!("kubecost-worker backfill --from {day} --to {day} --account {account}")
}

/// The commands that compute days again.
fn to_backfill(summary: &Value) -> Vec<&str> {
    let named = summary["to_backfill"].as_array().unwrap();
    named.iter().map(|one| one["command"].as_str().unwrap()).collect()
}

/// A repair of two accounts that breaks off in the second one, once rows are taken back, by `fault`:
/// exit code `code`, and the account in this `list` of the summary.
async fn breaks_off(fault: &str, code: i32, list: &str) {
    let world = World::new(&[ACCOUNT, OTHER]).await;
    world.double();
    world.execute(&format!(
        "CREATE TRIGGER broken BEFORE INSERT ON kubecost_account_day \
         WHEN NEW.account = '{OTHER}' AND NEW.state != 'failed' BEGIN SELECT {fault}; END"
    ));
    let broken = world.audit(&["--fix"]);
    let summary = broken.summary();
    let commands = [backfill_of("2026-03-02", ACCOUNT), backfill_of("2026-03-02", OTHER)];
    assert_eq!(to_backfill(&summary), commands, "{summary:#}");
    assert_eq!(broken.code, code, "{}\n{}", broken.stdout, broken.stderr);
    assert_eq!(summary["exit_code"], code);
    assert_eq!(summary["mended"]["usd_taken_back"], 4.0 * DAY_USD, "{summary:#}");
    assert_eq!(summary[list][0]["account"], OTHER, "{summary:#}");
    assert_eq!(world.stored_usd(OTHER), 3.0 * DAY_USD);

    world.execute("DROP TRIGGER broken; DELETE FROM kubecost_lease");
    let done = world.second(ACCOUNT);
    assert!(done.starts_with("partial 0 audit took back rows of this day"), "{done}");
    let half = world.second(OTHER);
    assert!(half.starts_with("failed 0 audit ") && half.contains("has not ended"), "{half}");
    let again = world.audit(&["--fix"]);
    assert_eq!(again.code, 1, "{}", again.stdout);
    let summary = again.summary();
    assert!(kinds(&summary).contains(&"day-unfinished"), "{summary:#}");
    assert_eq!(to_backfill(&summary), commands, "{summary:#}");
    for command in commands {
        world.follow(&command).expect_success();
    }
    let healthy = world.audit(&[]).expect_success().summary();
    assert_eq!((kinds(&healthy), to_backfill(&healthy)), (vec![], vec![]), "{healthy:#}");
    for account in [ACCOUNT, OTHER] {
        assert_eq!(world.stored_usd(account), 4.0 * DAY_USD);
        assert_eq!(world.second(account), "ok 1 ");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_breaks_off_says_what_it_did_and_leaves_days_that_the_next_audit_names() {
    // Another writer came between.
    breaks_off("RAISE(ABORT, 'taken')", 1, "skipped").await;
    // The store failed.
    breaks_off("json('no JSON')", 3, "failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_which_only_other_programs_rows_are_taken_back_is_as_it_was() {
    let world = World::new(&[ACCOUNT]).await;
    let date = MARCH + DAY;
    world.execute(&format!(
        "INSERT INTO expenses (cloud_account_id, resource_id, date, cost, sign) \
         VALUES ('{ACCOUNT}', 'nobody', {date}, 1.0, 1)"
    ));
    let fixed = world.audit(&["--fix"]).expect_success().summary();
    assert_eq!(fixed["mended"]["usd_taken_back"], 1.0, "{fixed:#}");
    assert_eq!(to_backfill(&fixed), [""; 0]);
    assert_eq!(world.second(ACCOUNT), "ok 1 ");
    assert_eq!(kinds(&world.audit(&[]).expect_success().summary()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_gone_from_a_settled_day_are_named_and_a_backfill_brings_them_back() {
    let world = World::new(&[ACCOUNT]).await;
    let costs = "SELECT GROUP_CONCAT(total_cost) FROM cloud_resource";
    let before = world.store.text(costs);
    // A part was dropped, or an older backup restored; another day has a fault that is to be fixed.
    world.execute(&format!("DELETE FROM expenses WHERE date = {}", MARCH + DAY));
    let third = MARCH + 2 * DAY;
    world.execute(&format!(
        "INSERT INTO expenses SELECT * FROM expenses WHERE date = {third} AND cost > 100"
    ));
    let fixed = world.audit(&["--fix"]);
    assert_eq!(fixed.code, 1, "{}", fixed.stdout);
    let summary = fixed.summary();
    assert_eq!(summary["mended"]["documents_written"], 0, "{summary:#}");
    assert_eq!(world.store.text(costs), before, "documents do not hide what is lost");
    let findings = summary["findings"].as_array().unwrap();
    let lost = findings.iter().find(|one| one["kind"] == "ledger-differs").unwrap();
    assert_eq!((&lost["day"], &lost["usd"]), (&"2026-03-02".into(), &DAY_USD.into()), "{lost}");
    assert_eq!(lost["repaired_by"], "backfill");
    let command =
        format!("kubecost-worker backfill --from 2026-03-02 --to 2026-03-03 --account {ACCOUNT}");
    assert_eq!(to_backfill(&summary), [command.as_str()]);

    // A difference that was found is an exit code of 1, as in a run.
    let filled = world.follow(&command);
    let summary = filled.summary();
    assert_eq!((filled.code, &summary["days_done"]), (1, &2.into()), "{}", filled.stdout);
    assert_eq!(world.stored_usd(ACCOUNT), 4.0 * DAY_USD);
    let again = world.follow(&command).expect_success().summary();
    assert_eq!((&again["days_skipped"], &again["rows_written"]), (&2.into(), &0.into()));
    assert_eq!(kinds(&world.audit(&[]).expect_success().summary()), [""; 0]);
    assert_eq!(world.store.text(costs), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_earlier_software_stay_on_days_that_this_program_has_not_stored() {
    let world = World::new(&[ACCOUNT]).await;
    let unstored = MARCH - 20 * DAY;
    // An importer's rows; of February there is nothing else.
    for date in [unstored, MARCH + DAY] {
        world.execute(&format!(
            "INSERT INTO expenses (cloud_account_id, resource_id, date, cost, sign) \
             VALUES ('{ACCOUNT}', 'cluster', {date}, 200.0, 1)"
        ));
    }
    let adopted = world.audit(&["--adopt"]);
    assert_eq!(adopted.code, 1, "{}", adopted.stdout);
    let summary = adopted.summary();
    assert_eq!(summary["mended"]["usd_taken_back"], 200.0, "{summary:#}");
    assert_eq!(world.stored_usd(ACCOUNT), 4.0 * DAY_USD + 200.0);
    let first = &summary["findings"][0];
    assert_eq!((&first["day"], &first["repaired_by"]), (&"2026-02-09".into(), &"backfill".into()));
    assert!(first["what"].as_str().unwrap().contains("--adopt leaves the row"), "{first}");
    let command = backfill_of("2026-02-09", ACCOUNT);
    assert_eq!(to_backfill(&summary), [command.as_str()]);

    world.follow(&command).expect_success();
    let adopted = world.audit(&["--adopt"]).expect_success().summary();
    assert_eq!(adopted["mended"]["usd_taken_back"], 200.0, "{adopted:#}");
    assert_eq!(world.stored_usd(ACCOUNT), 5.0 * DAY_USD);
    assert_eq!(kinds(&world.audit(&[]).expect_success().summary()), [""; 0]);
}
