//! The command line as operators and programs meet it: help, output, precedence, accounts.

use axum::response::Response;
use mongodb::bson::{Document, doc};
use serde_json::Value;

use crate::support::bench::{ACCOUNT, Bench, DAY, REFUSED, SECOND, Settings, ended, with};
use crate::support::fake_prometheus;
use crate::support::http::{Asked, FakeServer, json, reply};
use crate::support::worker::run;

fn only_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("no single JSON: {error}\n{text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_get_json_alone_and_people_get_it_last() {
    let bench = Bench::new("output").await;
    let server = fake_prometheus::start(|_| None).await;
    let settings = bench.settings(&server.url);
    let text = run(&settings, &DAY).expect_success();
    assert!(text.stdout.starts_with("account, day"), "{}", text.stdout);
    assert_eq!(text.summary()["rows_written"], 2);
    let mut asked = DAY.to_vec();
    asked.extend(["--output", "json"]);
    let summary = only_json(&run(&settings, &asked).expect_success().stdout);
    assert_eq!((&summary["rows_written"], &summary["exit_code"]), (&0.into(), &0.into()));
    let steps = run(&settings, &["migrate", "--output", "json"]).expect_success().stdout;
    let steps = only_json(&steps);
    assert!(steps.as_array().unwrap().iter().all(|step| step["state"] == "present"), "{steps}");
    let accounts = run(&settings, &["accounts", "--output", "json"]).expect_success().stdout;
    assert_eq!(only_json(&accounts)[0]["id"], ACCOUNT);
    // A run that fails says so in JSON as well.
    let down = run(&with(&settings, &[("PROMETHEUS_URL", REFUSED)]), &asked);
    assert_eq!(only_json(&down.stdout)["exit_code"], 3);
    // Logs go to standard error, each line of them JSON where that is asked for.
    let logs = run(&with(&settings, &[("LOG_FORMAT", "json")]), &DAY).expect_success().stderr;
    assert!(logs.lines().count() > 0);
    logs.lines().for_each(|line| drop(only_json(line)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_goes_over_the_environment_and_that_over_the_file() {
    let bench = Bench::new("precedence").await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let url = |from: &str| format!("{REFUSED}/{from}");
    std::fs::write(file.path(), format!("prometheus_url = \"{}\"\n", url("file"))).unwrap();
    let mut settings: Settings = bench.stores.settings();
    settings.push(("ACCOUNTS", ACCOUNT.to_owned()));
    let flag = url("flag");
    let seen = |settings: &Settings, more: &[&str]| {
        let arguments: Vec<_> = ["run", "--config", path].iter().chain(more).copied().collect();
        run(settings, &arguments).summary()["failure"]["what"].to_string()
    };
    assert!(seen(&settings, &[]).contains("/file"));
    settings.push(("PROMETHEUS_URL", url("environment")));
    assert!(seen(&settings, &[]).contains("/environment"));
    assert!(seen(&settings, &["--prometheus-url", &flag]).contains("/flag"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_tenant_label_the_one_account_gets_all_and_two_are_refused() {
    let bench = Bench::new("one_tenant").await;
    let server = fake_prometheus::start(|_| None).await;
    let settings = with(&bench.settings(&server.url), &[("TENANT_LABEL", "")]);
    run(&settings, &DAY).expect_success();
    assert_eq!(bench.stored().await, (2, 2));
    let asked = server.asked();
    assert!(asked.iter().all(|asked| !asked.parameter("query").contains("tenant_id")));
    let accounts = bench.stores.mongo().await.collection::<Document>("cloud_account");
    for id in ["first", "second"] {
        let account = doc! {"_id": id, "type": "kubernetes_cnr", "deleted_at": 0};
        accounts.insert_one(account).await.unwrap();
    }
    let finished = run(&with(&settings, &[("ACCOUNTS", "mongo")]), &DAY);
    ended(&finished, 2, &["2 accounts", "exactly one", "set ACCOUNTS to the id"]);
    assert_eq!(bench.stored().await, (2, 2));
}

fn listed(settings: &Settings) -> Vec<(String, Value)> {
    let said = run(settings, &["accounts", "--output", "json"]).expect_success().stdout;
    let accounts = only_json(&said);
    let accounts = accounts.as_array().unwrap().iter();
    accounts.map(|a| (a["id"].as_str().unwrap().to_owned(), a["name"].clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_of_mongodb_are_the_live_ones_of_our_type() {
    let bench = Bench::new("accounts").await;
    let accounts = bench.stores.mongo().await.collection::<Document>("cloud_account");
    let documents = [
        doc! {"_id": "k-2", "name": "Prod", "type": "kubernetes_cnr", "deleted_at": 0},
        doc! {"_id": "k-1", "name": "Test", "type": "kubernetes_cnr", "deleted_at": 0},
        doc! {"_id": "gone", "name": "Old", "type": "kubernetes_cnr", "deleted_at": 1_700_000_000},
        doc! {"_id": "aws", "name": "AWS", "type": "aws_cnr", "deleted_at": 0},
        doc! {"_id": 42, "name": "Odd", "type": "kubernetes_cnr", "deleted_at": 0},
    ];
    accounts.insert_many(documents).await.unwrap();
    let mut settings = bench.stores.settings();
    settings.retain(|(name, _)| name.starts_with("MONGO"));
    let expected = [("k-1".to_owned(), "Test".into()), ("k-2".to_owned(), "Prod".into())];
    assert_eq!(listed(&settings), expected);
    let table = run(&settings, &["accounts"]).expect_success().stdout;
    assert!(table.contains("Prod") && table.contains("2 accounts"), "{table}");
}

#[test]
fn accounts_of_a_list_are_each_once_and_in_order() {
    let settings = vec![("ACCOUNTS", format!("{SECOND}, {ACCOUNT},{SECOND}"))];
    let ids: Vec<_> = listed(&settings).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [ACCOUNT, SECOND]);
}

fn rest(asked: &Asked) -> Response {
    if asked.header("secret") != "the-cluster-secret" {
        return reply(401, "application/json", "{}");
    }
    match asked.path.as_str() {
        "/restapi/v2/organizations" => json(
            r#"{"organizations":[{"id":"o1","deleted_at":0},{"id":"o2","deleted_at":0},
                {"id":"o3","deleted_at":5}]}"#,
        ),
        "/restapi/v2/organizations/o1/cloud_accounts" => json(
            r#"{"cloud_accounts":[{"id":"r-2","name":"B","type":"kubernetes_cnr","deleted_at":0},
                {"id":"aws","name":"X","type":"aws_cnr","deleted_at":0},
                {"id":"old","name":"Y","type":"kubernetes_cnr","deleted_at":7}]}"#,
        ),
        "/restapi/v2/organizations/o2/cloud_accounts" => {
            json(r#"{"cloud_accounts":[{"id":"r-1","name":"A","type":"kubernetes_cnr"}]}"#)
        }
        _ => reply(404, "text/plain", "no such page"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_of_the_rest_api_are_the_live_ones_of_all_organizations() {
    let server = FakeServer::start(rest).await;
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "the-cluster-secret\n").unwrap();
    let settings = vec![
        ("ACCOUNTS", "rest".to_owned()),
        ("REST_URL", server.url.clone()),
        ("CLUSTER_SECRET_FILE", secret.path().to_str().unwrap().to_owned()),
    ];
    let expected = [("r-1".to_owned(), "A".into()), ("r-2".to_owned(), "B".into())];
    assert_eq!(listed(&settings), expected);
    assert!(server.asked().iter().all(|asked| !asked.path.contains("o3")));
    std::fs::write(secret.path(), "another\n").unwrap();
    let refused = run(&settings, &["accounts"]);
    ended(&refused, 3, &["error: rest api", "401", "check CLUSTER_SECRET"]);
}
