//! Planted faults are found by `audit`, mended by `audit --fix`, and a lost row by the next run.

use mongodb::bson::doc;

use crate::support::small::{ACCOUNT, AT, Small};
use crate::support::worker::run;

const RANGE: [&str; 4] = ["--from", "2026-03-01", "--to", "2026-03-02"];
/// The earlier worker's id of a namespace: 16 digits of an MD5 over the bare name.
const EARLIER: &str = "k8s-ns-0c1d9a3e5b7f2468";

fn arguments<'a>(command: &[&'a str], range: bool) -> Vec<&'a str> {
    let mut out = vec!["--at", AT];
    out.extend(command);
    if range {
        out.extend(RANGE);
    }
    out
}

fn kinds(summary: &serde_json::Value) -> Vec<String> {
    let findings = summary["findings"].as_array().unwrap();
    let mut kinds: Vec<String> =
        findings.iter().map(|finding| finding["kind"].as_str().unwrap().to_owned()).collect();
    kinds.sort();
    kinds
}

#[tokio::test(flavor = "multi_thread")]
async fn each_planted_fault_is_found_and_mended() {
    let small = Small::new("audit").await;
    let settings = &small.settings;
    run(settings, &arguments(&["run"], false)).expect_success();
    let healthy = small.stored().await;
    let audit = |more: &[&str]| {
        let mut words = vec!["audit", "--output", "json"];
        words.extend(more);
        run(settings, &arguments(&words, true))
    };
    assert_eq!(audit(&[]).expect_success().summary()["findings"], serde_json::json!([]));

    let (shop, pay) = (Small::id("shop"), Small::id("pay"));
    // The engine would merge some of the faults away before they can be looked at.
    let merges = |word: &str| format!("SYSTEM {word} MERGES {}.expenses", small.stores.database);
    small.stores.execute(&merges("STOP")).await;
    small.insert_raw(&shop, 0, 144.0, 1).await;
    small.insert_raw(&pay, 86_400, 3.25, -1).await;
    small.insert_raw(&pay, 86_400, 3.5, 1).await;
    // One in each day: a day in which only merges change something is none to be mended, and
    // whether they come before the mending is the engine's choice.
    small.insert_raw(&shop, 3_601, 9.0, 1).await;
    small.insert_raw(&shop, 86_400 + 3_601, 9.0, 1).await;
    small.insert_raw("nobody", 0, 2.0, 1).await;
    small.insert_raw(EARLIER, 7_777, 5.0, 1).await;
    let documents =
        small.stores.mongo().await.collection::<mongodb::bson::Document>("cloud_resource");
    let wrong = doc! { "$set": { "total_cost": 1.0 } };
    let cluster = doc! { "resource_type": "K8s Cluster" };
    documents.update_one(cluster, wrong).await.unwrap();
    let mut ghost = documents.find_one(doc! { "_id": &shop }).await.unwrap().unwrap();
    ghost.insert("_id", "00000000-0000-4000-8000-0000000000aa");
    ghost.insert("cloud_resource_id", "k8s-ns-00000000000000aa");
    documents.insert_one(ghost).await.unwrap();

    let found = audit(&[]);
    assert_eq!(found.code, 1, "{}", found.stderr);
    let all = [
        "cancel-differs",
        "document-cost",
        "document-cost",
        "document-cost",
        "document-without-rows",
        "earlier-worker",
        "off-midnight",
        "row-without-document",
        "sign",
    ];
    let found = kinds(&found.summary());
    for kind in all {
        assert!(found.iter().any(|one| one == kind), "{kind} is not among {found:?}");
    }
    let before = small.stored().await;
    let shown = audit(&["--adopt", "--dry-run"]);
    assert_eq!((shown.code, small.stored().await == before), (1, true));

    small.stores.execute(&merges("START")).await;
    // A merge may come between the rows of a correction, which then takes another one (docs/adr).
    let mut left = Vec::new();
    for _ in 0..3 {
        audit(&["--fix"]);
        left = kinds(&audit(&[]).summary());
        if left == ["earlier-worker"] {
            break;
        }
    }
    assert_eq!(left, ["earlier-worker"]);
    // Of a day of which own rows were taken back, only a part is stored until it is computed again.
    run(settings, &arguments(&["run"], false)).expect_success();
    let adopted = audit(&["--adopt"]).expect_success().summary();
    assert_eq!(adopted["mended"]["usd_taken_back"], 5.0);
    assert_eq!(kinds(&audit(&[]).expect_success().summary()), [] as [&str; 0]);
    run(settings, &arguments(&["run"], false)).expect_success();
    assert_eq!(small.stored().await, healthy, "the next run computes what was mended");
    audit(&[]).expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_whose_document_is_in_the_other_collection_stays() {
    let small = Small::new("audit_other_collection").await;
    let settings = small.with_settings(&[("RESOURCES_COLLECTION", "cloud_resource")]);
    let others = small.stores.mongo().await.collection::<mongodb::bson::Document>("resources");
    let theirs = doc! { "_id": "theirs", "cloud_account_id": ACCOUNT, "deleted_at": 0 };
    others.insert_one(theirs).await.unwrap();
    small.insert_raw("theirs", 0, 2.0, 1).await;
    run(&settings, &arguments(&["run"], false)).expect_success();
    let before = small.stored().await;
    let fixed = run(&settings, &arguments(&["audit", "--output", "json", "--fix"], true));
    assert_eq!(fixed.expect_success().summary()["findings"], serde_json::json!([]));
    assert_eq!(small.stored().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_row_of_a_settled_day_is_found_by_the_next_run() {
    let small = Small::new("lost_row").await;
    let late = ["--at", "2026-03-04T12:00:30Z", "run"];
    run(&small.settings, &late).expect_success();
    let healthy = small.stored().await;
    let quiet = run(&small.settings, &late).expect_success().summary();
    assert_eq!((quiet["rows_written"].as_u64(), &quiet["exit_code"]), (Some(0), &0.into()));
    // The engine has no row deletion of old; a taking back without a record does the same.
    small.insert_raw(&Small::id("shop"), 0, 144.0, -1).await;
    let found = run(&small.settings, &late);
    assert_eq!(found.code, 1, "{}", found.stdout);
    assert_eq!(found.summary()["reconciliation_differences"], 1, "{}", found.stdout);
    assert_eq!(found.summary()["reconciliation_difference_usd"], 144.0);
    assert!(found.stderr.contains("the ledger does not hold what was stored"), "{}", found.stderr);
    assert_eq!(small.stored().await, healthy);
    run(&small.settings, &late).expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_carried_out_unchanged_or_refused() {
    let small = Small::new("plan").await;
    let settings = &small.settings;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("plan.json");
    let file = file.to_str().unwrap();
    let plan = arguments(&["plan", "--output", "json", "--out", file], true);
    let planned = run(settings, &plan).expect_success().summary();
    let days = planned["accounts"][0]["days"].as_array().unwrap();
    assert_eq!(days.len(), 2);
    assert_eq!(
        (&days[1]["rows_added"], &days[1]["namespaces"][1]["namespace"]),
        (&3.into(), &"pay".into())
    );
    assert_eq!(small.stored().await, []);
    let out = run(settings, &arguments(&["run", "--plan", file], false)).expect_success().summary();
    assert_eq!(out["rows_written"], 6);
    let again = run(settings, &arguments(&["run", "--plan", file], false));
    assert_eq!(again.code, 1);
    assert!(again.stdout.contains("not as they were when the plan was made"), "{}", again.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_skips_what_is_complete_and_sums_up_in_json() {
    let small = Small::new("backfill").await;
    let words = ["--at", "2026-03-04T12:00:30Z", "backfill"];
    let words: Vec<&str> = words.into_iter().chain(RANGE).collect();
    let first = run(&small.settings, &words).expect_success().summary();
    assert_eq!((&first["days_done"], &first["days_skipped"]), (&2.into(), &0.into()));
    assert!(first["times_real_time"].as_f64().unwrap() > 500.0, "{first}");
    let second = run(&small.settings, &words).expect_success().summary();
    assert_eq!(second["rows_written"], 0);
    assert!(second["days_skipped"].as_u64().unwrap() >= 1, "{second}");
}
