//! What programs read of the worker is as `docs/schemas` says: each output is validated against its
//! schema, in which no field may then be that the schema does not name.

use std::path::{Path, PathBuf};

use kubecost_worker::migrate::{Step, StepState};
use kubecost_worker::recommend::{
    Confidence, FailedAccount, Kind, Recommendation, Recommendations,
};
use serde_json::{Value, json};

use crate::support::{ACCOUNTS, EMPTY, World, costs};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas")
}

fn schema(name: &str) -> Value {
    let text = std::fs::read_to_string(directory().join(format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Allows no field that is not named. The published schemas do: later versions may add some.
fn strict(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.values_mut().for_each(strict);
            if object.contains_key("properties") && object.contains_key("required") {
                object.insert("additionalProperties".to_owned(), false.into());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(strict),
        _ => {}
    }
}

/// What is wrong with an output.
fn faults(name: &str, output: &Value) -> Vec<String> {
    let mut schema = schema(name);
    strict(&mut schema);
    let validator = jsonschema::validator_for(&schema).unwrap();
    let shown =
        |error: jsonschema::ValidationError<'_>| format!("{}: {error}", error.instance_path());
    validator.iter_errors(output).map(shown).collect()
}

#[track_caller]
fn valid(name: &str, output: &Value) {
    assert_eq!(faults(name, output), [""; 0], "{name}: {output:#}");
}

/// The output of a command, whatever its exit code.
fn output(world: &World, arguments: &[&str]) -> Value {
    let done = world.run(&[arguments, &["--output", "json"]].concat());
    serde_json::from_str(&done.stdout)
        .unwrap_or_else(|error| panic!("{error}\n{}\n{}", done.stdout, done.stderr))
}

/// Forty days, of which the last costs a hundred times as much.
async fn forty_days() -> World {
    let last = 1_775_520_000;
    World::start(move |asked| {
        let is_last = asked.parameter("time").parse::<f64>().is_ok_and(|time| time > last as f64);
        costs(asked, "shop", if is_last { 1_000.0 } else { 10.0 })
    })
    .await
}

const FORTY: [&str; 4] = ["--from", "2026-02-26", "--to", "2026-04-07"];

#[test]
fn each_schema_is_one_of_its_draft_and_each_command_with_json_has_one() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let schema = schema(&name);
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{name}");
        assert!(jsonschema::meta::is_valid(&schema), "{name}");
        names.push(name);
    }
    names.sort();
    let commands = [
        "accounts",
        "anomalies",
        "audit",
        "backfill",
        "explain",
        "migrate",
        "plan",
        "recommend",
        "report",
        "run",
        "verify",
    ];
    assert_eq!(names, commands);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_missing_new_or_of_another_type_is_seen() {
    let world = World::start(|_| None).await;
    let run = output(&world, &["run", "--from", "2026-03-01", "--to", "2026-03-01"]);
    valid("run", &run);
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut run = run.clone();
        change(&mut run);
        faults("run", &run).len()
    };
    assert_eq!(changed(&|run| drop(run.as_object_mut().unwrap().remove("warnings"))), 1);
    assert_eq!(changed(&|run| run["accounts"][0]["days"][0]["new"] = 1.into()), 1);
    assert_eq!(changed(&|run| run["rows_written"] = "2".into()), 1);
    assert_eq!(changed(&|run| run["accounts"][0]["days"][0]["state"] = "fine".into()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_plans_and_backfills_are_as_their_schemas_say() {
    let world = World::start(|_| None).await;
    let days = ["--from", "2026-03-01", "--to", "2026-03-02"];
    let plan = output(&world, &[&["plan"], &days[..]].concat());
    valid("plan", &plan);
    assert_eq!(plan["accounts"].as_array().unwrap().len(), ACCOUNTS.len());
    valid("run", &output(&world, &[&["run", "--dry-run"], &days[..]].concat()));
    let run = output(&world, &[&["run"], &days[..]].concat());
    valid("run", &run);
    assert_eq!(run["accounts"][1]["days"][0]["state"], "no-data");
    valid("backfill", &output(&world, &[&["backfill"], &days[..]].concat()));
    // What fails is described too: a run, and a plan that cannot be made.
    let refused = ["--prometheus-url", "http://127.0.0.1:1"];
    for command in ["run", "plan"] {
        let failed = output(&world, &[&[command], &days[..], &refused].concat());
        valid("run", &failed);
        assert_eq!(failed["failure"]["hop"], "query layer", "{failed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_anomalies_and_explanations_are_as_their_schemas_say() {
    let world = forty_days().await;
    let run = output(&world, &[&["run"], &FORTY[..]].concat());
    valid("run", &run);
    for by in ["namespace", "day", "account", "cluster"] {
        let report = output(&world, &[&["report", "--by", by], &FORTY[..]].concat());
        valid("report", &report);
        assert!(!report["lines"].as_array().unwrap().is_empty(), "{report}");
    }
    let now = ["--at", "2026-04-08T06:00:00Z"];
    let month = output(&world, &[&now[..], &["report", "--month-to-date"]].concat());
    valid("report", &month);
    assert!(month["forecast"].is_object(), "{month:#}");
    let anomalies = output(&world, &[&now[..], &["anomalies"]].concat());
    valid("anomalies", &anomalies);
    assert!(!anomalies.as_array().unwrap().is_empty(), "a spike: {run:#}");
    let explain = |more: &[&str]| {
        let all = ["explain", "--account", ACCOUNTS[0], "--day", "2026-03-01"];
        output(&world, &[&all[..], more].concat())
    };
    let one = explain(&["--namespace", "shop"]);
    valid("explain", &one);
    assert!(one["source"].is_object() && one["raw"].is_object() && one["status"].is_object());
    valid("explain", &explain(&[]));
    valid("explain", &explain(&["--namespace", "none"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn audits_are_as_their_schema_says_and_name_the_command_that_repairs() {
    let world = World::start(|_| None).await;
    let days = ["--from", "2026-03-01", "--to", "2026-03-02"];
    world.run(&[&["run"], &days[..]].concat()).expect_success();
    let audit = |more: &[&str]| output(&world, &[&["audit"], &days[..], more].concat());
    let healthy = audit(&[]);
    valid("audit", &healthy);
    assert_eq!(healthy["next_steps"], json!([]));
    let doubled = "INSERT INTO expenses SELECT * FROM expenses WHERE cost > 100";
    world.store().execute_batch(doubled).unwrap();
    let found = audit(&["--account", ACCOUNTS[0]]);
    valid("audit", &found);
    let audit_of = "kubecost-worker audit --from 2026-03-01 --to 2026-03-02 --account";
    let command = format!("{audit_of} {} --fix", ACCOUNTS[0]);
    assert_eq!(found["next_steps"][0]["command"], command, "{found:#}");
    let text = world.run(&[&["audit"], &days[..], &["--account", ACCOUNTS[0]]].concat()).stdout;
    assert!(text.lines().any(|line| line.trim() == command), "{text}");
    // That command does repair it.
    let arguments: Vec<&str> = command.split(' ').skip(1).collect();
    let fixed = output(&world, &arguments);
    valid("audit", &fixed);
    assert_eq!(fixed["next_steps"], json!([]), "{fixed:#}");
    assert!(fixed["mended"]["rows_written"].as_u64().unwrap() > 0, "{fixed:#}");
    // No run computes such old days again by itself.
    let backfill = fixed["to_backfill"][0]["command"].as_str().unwrap();
    assert!(backfill.ends_with(&format!("--account {}", ACCOUNTS[0])), "{fixed:#}");
    let arguments: Vec<&str> = backfill.split(' ').skip(1).collect();
    world.run(&arguments).expect_success();
    assert_eq!(audit(&["--account", ACCOUNTS[0]])["findings"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_hops_and_recommendations_are_as_their_schemas_say() {
    let world = World::start(|_| None).await;
    let accounts = output(&world, &["accounts"]);
    valid("accounts", &accounts);
    assert_eq!((accounts.as_array().unwrap().len(), &accounts[1]["id"]), (3, &EMPTY.into()));
    let verify = output(&world, &["verify"]);
    valid("verify", &verify);
    assert!(!verify["hops"].as_array().unwrap().is_empty());
    let missing = output(&world, &["recommend"]);
    valid("recommend", &missing);
    assert!(!missing["missing"].as_array().unwrap().is_empty(), "{missing}");
    let one = Recommendation {
        kind: Kind::Requests,
        account: ACCOUNTS[0].to_owned(),
        cluster: "prod".to_owned(),
        namespace: Some("shop".to_owned()),
        name: "shop/web/app".to_owned(),
        usd_per_month: 1.5,
        what: "what".to_owned(),
        evidence: "evidence".to_owned(),
        confidence: Confidence::High,
        wrong_if: "load grows",
    };
    let all = Kind::ALL.into_iter().map(|kind| Recommendation { kind, ..one.clone() });
    let failed = FailedAccount { account: ACCOUNTS[1].to_owned(), cause: "no answer".to_owned() };
    let found = Recommendations {
        recommendations: all.collect(),
        missing: Vec::new(),
        failed: vec![failed],
    };
    valid("recommend", &serde_json::to_value(found).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_are_as_their_schema_says() {
    let world = World::start(|_| None).await;
    // A store that makes its own tables has none, which is JSON too.
    let none = output(&world, &["migrate"]);
    valid("migrate", &none);
    assert_eq!(none, json!([]));
    let states = [StepState::Present, StepState::Applied, StepState::Pending];
    let step =
        |state| Step { name: "clickhouse/0001".to_owned(), state, statement: "x".to_owned() };
    valid("migrate", &serde_json::to_value(states.map(step)).unwrap());
}
