//! `migrate` on empty and on used databases, and what a run says of a schema that does not fit.

use std::process::Stdio;
use std::sync::Arc;

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use mongodb::{Database, IndexModel};
use serde_json::Value;

use crate::support::ask::{ask, usd};
use crate::support::servers::{Server, Stores, clickhouse};
use crate::support::worker::{Finished, command, run};
use crate::support::world::{DAY, MARCH, constant};

const ACCOUNT: &str = "33333333-0000-0000-0000-0000000000a1";
const FORK: &str = "(cloud_account_id, resource_id, date)";
const UPSTREAM: &str = "CREATE TABLE expenses (cloud_account_id String, resource_id String, \
    date DateTime, cost Float64, sign Int8) ENGINE = CollapsingMergeTree(sign) \
    PARTITION BY toYYYYMM(date) ORDER BY (cloud_account_id, date, resource_id)";

async fn stores() -> (Stores, Vec<(&'static str, String)>) {
    stores_on(clickhouse()).await
}

async fn stores_on(clickhouse: Arc<Server>) -> (Stores, Vec<(&'static str, String)>) {
    let stores = Stores::on(clickhouse, "migrations").await;
    let mut settings = stores.settings();
    settings.push(("ACCOUNTS", ACCOUNT.to_owned()));
    (stores, settings)
}

fn with_source(
    settings: &[(&'static str, String)],
    source: &Server,
) -> Vec<(&'static str, String)> {
    let url = ("PROMETHEUS_URL", source.url.clone());
    settings.iter().cloned().chain([url]).collect()
}

/// Every table as the server itself describes it.
async fn tables(stores: &Stores) -> Vec<(String, String)> {
    let sql = "SELECT name FROM system.tables WHERE database = currentDatabase() ORDER BY name";
    let mut out = Vec::new();
    for row in ask(stores, sql).await {
        let name = row["name"].as_str().unwrap().to_owned();
        let shown = ask(stores, &format!("SHOW CREATE TABLE `{name}`")).await;
        out.push((name, shown[0]["statement"].as_str().unwrap().to_owned()));
    }
    out
}

async fn indexes(database: &Database, collection: &str) -> Vec<IndexModel> {
    let collection = database.collection::<Document>(collection);
    let Ok(cursor) = collection.list_indexes().await else { return Vec::new() };
    cursor.try_collect().await.unwrap()
}

/// Every index of every collection, as text.
async fn all_indexes(stores: &Stores) -> Vec<String> {
    let database = stores.mongo().await;
    let mut out = Vec::new();
    for name in database.list_collection_names().await.unwrap() {
        for index in indexes(&database, &name).await {
            out.push(format!("{name} {index:?}"));
        }
    }
    out.sort();
    out
}

async fn names(stores: &Stores) -> Vec<String> {
    let found = indexes(&stores.mongo().await, "cloud_resource").await;
    found.into_iter().filter_map(|index| index.options?.name).collect()
}

async fn expense(stores: &Stores, resource: &str, namespace: &str, usd: f64, sign: i8) {
    stores
        .execute(&format!(
            "INSERT INTO expenses (cloud_account_id, resource_id, date, cost, sign, k8s_namespace) \
             VALUES ('{ACCOUNT}', '{resource}', '2026-03-01 00:00:00', {usd}, {sign}, '{namespace}')"
        ))
        .await;
}

/// The daily view, as its readers add it up.
async fn daily(stores: &Stores) -> Vec<(String, f64)> {
    let sql = "SELECT k8s_namespace AS ns, sum(total_cost) AS usd FROM expenses_namespace_daily \
               GROUP BY cloud_account_id, date, ns HAVING usd != 0 ORDER BY ns";
    let row = |row: Value| (row["ns"].as_str().unwrap().to_owned(), usd(&row["usd"]));
    ask(stores, sql).await.into_iter().map(row).collect()
}

fn states(finished: &Finished) -> Vec<String> {
    let summary = finished.summary();
    let steps = summary.as_array().unwrap();
    steps.iter().map(|step| step["state"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_gets_the_whole_schema_and_a_second_migrate_changes_nothing() {
    an_empty_database(clickhouse()).await;
}

/// An empty database gets the whole schema, and a second `migrate` changes nothing.
pub(crate) async fn an_empty_database(clickhouse: Arc<Server>) {
    let (stores, settings) = stores_on(clickhouse).await;
    let first = run(&settings, &["migrate", "--output", "json"]).expect_success();
    // An empty database has no document to repair.
    let first_states = states(&first);
    let (repair, schema) = first_states.split_last().unwrap();
    assert!(schema.iter().all(|state| state == "applied"), "{}", first.stdout);
    assert_eq!(repair, "present", "{}", first.stdout);
    let columns = ask(
        &stores,
        "SELECT name, type FROM system.columns \
         WHERE database = currentDatabase() AND table = 'expenses'",
    )
    .await;
    let got: Vec<_> = columns.iter().map(|c| format!("{} {}", c["name"], c["type"])).collect();
    let wanted = [
        r#""cloud_account_id" "String""#,
        r#""resource_id" "String""#,
        r#""date" "DateTime""#,
        r#""cost" "Float64""#,
        r#""sign" "Int8""#,
        r#""k8s_namespace" "Nullable(String)""#,
        r#""k8s_node" "Nullable(String)""#,
        r#""k8s_service" "Nullable(String)""#,
    ];
    assert_eq!(got, wanted);
    let unique = indexes(&stores.mongo().await, "cloud_resource").await;
    let unique = unique.iter().find(|i| i.options.as_ref().unwrap().unique == Some(true)).unwrap();
    let fields: Vec<&String> = unique.keys.keys().collect();
    let five = [
        "cloud_resource_id",
        "cloud_resource_hash",
        "cloud_account_id",
        "organization_id",
        "deleted_at",
    ];
    assert_eq!(fields, five);
    let journal = indexes(&stores.mongo().await, "kubecost_rate_journal").await;
    let expiry = journal.iter().find(|index| index.keys.contains_key("expires_at")).unwrap();
    let after = expiry.options.as_ref().unwrap().expire_after;
    assert_eq!(after, Some(std::time::Duration::ZERO));
    let before = (tables(&stores).await, all_indexes(&stores).await);
    let second = run(&settings, &["migrate", "--output", "json"]).expect_success();
    assert!(states(&second).iter().all(|state| state == "present"), "{}", second.stdout);
    assert_eq!((tables(&stores).await, all_indexes(&stores).await), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_prints_every_statement_and_makes_none() {
    let (stores, settings) = stores().await;
    let told = run(&settings, &["migrate", "--dry-run"]).expect_success().stdout;
    for part in [
        "CREATE TABLE IF NOT EXISTS expenses",
        "ADD COLUMN k8s_namespace",
        "ADD COLUMN k8s_node",
        "ADD COLUMN k8s_service",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS expenses_namespace_daily",
        "OptResourceUnique",
        "expireAfterSeconds",
    ] {
        assert!(told.contains(part), "'{part}' is not in:\n{told}");
    }
    assert_eq!(tables(&stores).await, []);
    assert_eq!(all_indexes(&stores).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_started_together_make_the_schema_once() {
    for _ in 0..3 {
        let (stores, settings) = stores().await;
        // Rows from before, so that the view has something to be filled with twice.
        stores.create_expenses(FORK, "").await;
        expense(&stores, "r", "shop", 5.0, 1).await;
        let children: Vec<_> = (0..3)
            .map(|_| {
                let mut migrate = command(&settings, &["migrate"]);
                migrate.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for child in children {
            Finished::from(child.wait_with_output().unwrap()).expect_success();
        }
        assert_eq!(daily(&stores).await, [("shop".to_owned(), 5.0)]);
        assert_eq!(names(&stores).await.iter().filter(|n| *n == "OptResourceUnique").count(), 1);
        let again = run(&settings, &["migrate", "--output", "json"]).expect_success();
        assert!(states(&again).iter().all(|state| state == "present"), "{}", again.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_table_keeps_its_rows_and_its_order_and_gets_the_columns() {
    upstreams_table(clickhouse()).await;
}

/// Upstream's table keeps its rows and its order and gets the columns.
pub(crate) async fn upstreams_table(clickhouse: Arc<Server>) {
    let (stores, settings) = stores_on(clickhouse).await;
    stores.execute(UPSTREAM).await;
    let row =
        format!("INSERT INTO expenses VALUES ('{ACCOUNT}', 'vm', '2026-03-01 00:00:00', 7.5, 1)");
    stores.execute(&row).await;
    let before = ask(&stores, "SELECT * FROM expenses").await;
    run(&settings, &["migrate"]).expect_success();
    let after =
        ask(&stores, "SELECT cloud_account_id, resource_id, date, cost, sign FROM expenses");
    assert_eq!(after.await, before);
    let shown = tables(&stores).await;
    let expenses = &shown.iter().find(|(name, _)| name == "expenses").unwrap().1;
    for kept in ["CollapsingMergeTree", "toYYYYMM(date)", "(cloud_account_id, date, resource_id)"] {
        assert!(expenses.contains(kept), "{expenses}");
    }
    assert_eq!(daily(&stores).await, [], "rows without a namespace are in no namespace's view");
    // And a run works on it, beside rows of other clouds.
    let source = constant(ACCOUNT, (MARCH, MARCH + DAY), 10.0, &[("shop", 6.0)]);
    let day = ["run", "--from", "2026-03-01", "--to", "2026-03-01"];
    run(&with_source(&settings, &source), &day).expect_success();
    assert_eq!(daily(&stores).await, [("shop".to_owned(), 144.0)]);
    let vm = ask(&stores, "SELECT sum(cost * sign) AS usd FROM expenses WHERE resource_id = 'vm'");
    assert!((usd(&vm.await[0]["usd"]) - 7.5).abs() < 1e-9);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_cloudtuner_database_changes_where_its_own_migrations_ran() {
    the_forks_table(clickhouse()).await;
}

/// Nothing of a CloudTuner database changes where its own migrations ran.
pub(crate) async fn the_forks_table(clickhouse: Arc<Server>) {
    let (stores, settings) = stores_on(clickhouse).await;
    stores.create_expenses(FORK, "").await;
    expense(&stores, "r", "shop", 5.0, 1).await;
    let five = doc! {"cloud_resource_id": 1, "cloud_resource_hash": 1, "cloud_account_id": 1,
    "organization_id": 1, "deleted_at": 1};
    let database = stores.mongo().await;
    let command = doc! {"createIndexes": "cloud_resource", "indexes": [
        // As the REST API makes it.
        {"key": five, "name": "OptResourceUnique", "unique": true},
        // The same keys as ours, under other names.
        {"key": {"cloud_account_id": 1, "k8s_namespace": 1, "deleted_at": 1}, "name": "by_ns"},
        {"key": {"k8s_namespace": 1, "last_seen": -1}, "name": "by_ns_seen"},
    ]};
    database.run_command(command).await.unwrap();
    let (shown, listed) = (tables(&stores).await, all_indexes(&stores).await);
    run(&settings, &["migrate"]).expect_success();
    let view = "expenses_namespace_daily";
    let is_new = |name: &str| name == view || name.starts_with(".inner");
    let kept = tables(&stores).await.into_iter().filter(|(name, _)| !is_new(name));
    assert_eq!(kept.collect::<Vec<_>>(), shown);
    let now = all_indexes(&stores).await;
    let kept: Vec<_> = now.iter().filter(|i| i.starts_with("cloud_resource ")).cloned().collect();
    assert_eq!(kept, listed);
    assert_eq!(names(&stores).await.len(), 4, "no index was made beside those that were there");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unique_index_is_known_under_any_name() {
    let (stores, settings) = stores().await;
    let five = doc! {"cloud_resource_id": 1.0, "cloud_resource_hash": 1.0,
    "cloud_account_id": 1.0, "organization_id": 1.0, "deleted_at": 1.0};
    let command = doc! {"createIndexes": "cloud_resource",
    "indexes": [{"key": five, "name": "another_name", "unique": true}]};
    stores.mongo().await.run_command(command).await.unwrap();
    run(&settings, &["migrate"]).expect_success();
    assert!(!names(&stores).await.contains(&"OptResourceUnique".to_owned()));
    let source = constant(ACCOUNT, (MARCH, MARCH + DAY), 10.0, &[("shop", 6.0)]);
    let day = ["run", "--from", "2026-03-01", "--to", "2026-03-01"];
    run(&with_source(&settings, &source), &day).expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daily_view_is_filled_once_and_follows_inserts_and_corrections() {
    let (stores, settings) = stores().await;
    stores.create_expenses(FORK, "").await;
    expense(&stores, "old", "legacy", 2.0, 1).await;
    run(&settings, &["migrate"]).expect_success();
    run(&settings, &["migrate"]).expect_success();
    assert_eq!(daily(&stores).await, [("legacy".to_owned(), 2.0)]);
    let day = ["run", "--from", "2026-03-01", "--to", "2026-03-01"];
    for (shop, web) in [(6.0, 2.0), (6.5, 2.0), (6.5, 0.0)] {
        let source = constant(ACCOUNT, (MARCH, MARCH + DAY), 10.0, &[("shop", shop), ("web", web)]);
        run(&with_source(&settings, &source), &day).expect_success();
        let all = [("legacy", 2.0), ("shop", shop * 24.0), ("web", web * 24.0)];
        let wanted: Vec<_> =
            all.into_iter().filter(|(_, usd)| *usd > 0.0).map(|(n, u)| (n.to_owned(), u)).collect();
        assert_eq!(daily(&stores).await, wanted);
    }
    stores.execute("OPTIMIZE TABLE expenses FINAL").await;
    stores.execute("OPTIMIZE TABLE expenses_namespace_daily FINAL").await;
    assert_eq!(daily(&stores).await, [("legacy".to_owned(), 2.0), ("shop".to_owned(), 156.0)]);
    let said = run(&settings, &["migrate"]).expect_success().stderr;
    assert!(!said.contains("differs"), "{said}");
}

/// A run that must do nothing but say what is missing and what to run.
async fn is_refused(stores: &Stores, settings: &[(&'static str, String)], words: &[&str]) {
    let source = constant(ACCOUNT, (MARCH, MARCH + DAY), 10.0, &[("shop", 6.0)]);
    let day = ["run", "--from", "2026-03-01", "--to", "2026-03-01"];
    let refused = run(&with_source(settings, &source), &day);
    assert_eq!(refused.code, 3, "{}", refused.stdout);
    let failure = &refused.summary()["failure"];
    for word in words {
        assert!(failure["what"].as_str().unwrap().contains(word), "'{word}' is not in {failure}");
    }
    assert!(failure["fix"].as_str().unwrap().contains("kubecost-worker migrate"), "{failure}");
    let database = stores.mongo().await;
    for name in database.list_collection_names().await.unwrap() {
        let count = database.collection::<Document>(&name).count_documents(doc! {}).await.unwrap();
        assert_eq!(count, 0, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_on_a_schema_that_does_not_fit_says_what_is_missing_and_writes_nothing() {
    let (stores, settings) = stores().await;
    is_refused(&stores, &settings, &["OptResourceUnique", "cloud_resource"]).await;
    run(&settings, &["migrate"]).expect_success();
    stores.execute("DROP TABLE expenses_namespace_daily").await;
    stores.execute("DROP TABLE expenses").await;
    is_refused(&stores, &settings, &["no table expenses"]).await;
    stores.execute(UPSTREAM).await;
    let missing = ["k8s_namespace", "k8s_node", "k8s_service", "missing"];
    is_refused(&stores, &settings, &missing).await;
    stores.execute("ALTER TABLE expenses ADD COLUMN k8s_namespace String").await;
    stores.execute("ALTER TABLE expenses ADD COLUMN k8s_node Nullable(String)").await;
    stores.execute("ALTER TABLE expenses ADD COLUMN k8s_service Nullable(String)").await;
    is_refused(&stores, &settings, &["k8s_namespace is String", "Nullable(String)"]).await;
    assert_eq!(ask(&stores, "SELECT count() AS n FROM expenses").await[0]["n"], 0);
    stores.execute("DROP TABLE expenses").await;
    run(&settings, &["migrate"]).expect_success();
    let source = constant(ACCOUNT, (MARCH, MARCH + DAY), 10.0, &[("shop", 6.0)]);
    let day = ["run", "--from", "2026-03-01", "--to", "2026-03-01"];
    run(&with_source(&settings, &source), &day).expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_are_there_twice_are_named_when_the_unique_index_is_made() {
    let (stores, settings) = stores().await;
    let collection = stores.mongo().await.collection::<Document>("cloud_resource");
    for id in ["first", "second"] {
        let document = doc! {"_id": id, "cloud_resource_id": "vm-1", "cloud_account_id": ACCOUNT,
        "deleted_at": 0};
        collection.insert_one(document).await.unwrap();
    }
    let failed = run(&settings, &["migrate"]);
    assert_eq!(failed.code, 3, "{}", failed.stdout);
    for word in ["OptResourceUnique", "cloud_resource", "vm-1", "fix:"] {
        assert!(failed.stderr.contains(word), "'{word}' is not in: {}", failed.stderr);
    }
    let advice = failed.stderr.rsplit("fix:").next().unwrap();
    assert!(advice.contains("twice") || advice.contains("duplicate"), "{advice}");
    assert_eq!(collection.count_documents(doc! {}).await.unwrap(), 2, "no document is removed");
}
