//! Stores that are down, refuse us or have another schema: named before anything is written.

use crate::support::bench::{Bench, DAY, REFUSED, Settings, ended, with};
use crate::support::fake_prometheus;
use crate::support::servers::{Stores, mongodb_with_users};
use crate::support::worker::run;

const ACCOUNT_COLUMNS: &str = "cloud_account_id String, resource_id String";
const USUAL: &[(&str, &str)] = &[
    ("date", "DateTime"),
    ("cost", "Float64"),
    ("k8s_namespace", "Nullable(String)"),
    ("k8s_node", "Nullable(String)"),
    ("k8s_service", "Nullable(String)"),
];

/// `expenses` with one column of another type, or without it when the type is empty.
fn expenses_with(column: &str, kind: &str) -> String {
    let columns: Vec<String> = USUAL
        .iter()
        .map(|(name, usual)| (name, if *name == column { kind } else { usual }))
        .filter(|(_, kind)| !kind.is_empty())
        .map(|(name, kind)| format!("{name} {kind}"))
        .collect();
    format!(
        "CREATE TABLE expenses ({ACCOUNT_COLUMNS}, {}, sign Int8) \
         ENGINE = CollapsingMergeTree(sign) ORDER BY (cloud_account_id, date, resource_id)",
        columns.join(", ")
    )
}

/// Stores without `expenses`, and settings for them and a healthy query layer.
async fn without_expenses() -> (Bench, Settings) {
    let bench = Bench::new("bad_schema").await;
    bench.stores.execute("DROP TABLE expenses_namespace_daily").await;
    bench.stores.execute("DROP TABLE expenses").await;
    let server = fake_prometheus::start(|_| None).await;
    let settings = bench.settings(&server.url);
    (bench, settings)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_does_not_fit_is_told_column_by_column() {
    let (bench, settings) = without_expenses().await;
    for (column, kind, said) in [
        ("cost", "Float32", "column cost is Float32, not Float64"),
        ("date", "Date", "column date is Date, not DateTime"),
        ("k8s_node", "String", "column k8s_node is String, not Nullable(String)"),
        ("k8s_node", "", "column k8s_node is missing"),
        ("k8s_namespace", "Nullable(Int64)", "column k8s_namespace is Nullable(Int64), not"),
        ("cost", "", "column cost is missing"),
    ] {
        bench.stores.execute(&expenses_with(column, kind)).await;
        let finished = run(&settings, &DAY);
        let fix = "run kubecost-worker migrate; a column of another type must be changed by hand";
        ended(&finished, 3, &["nothing done: clickhouse: table expenses", said, fix]);
        assert_eq!(bench.stored().await, (0, 0), "{said}");
        bench.stores.execute("DROP TABLE expenses").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_columns_that_do_not_fit_are_told_at_once() {
    let (bench, settings) = without_expenses().await;
    let table = "CREATE TABLE expenses (cloud_account_id String, resource_id String, \
                 date DateTime, cost Float32, sign Int8) ENGINE = Memory";
    bench.stores.execute(table).await;
    let parts = ["cost is Float32", "k8s_namespace is missing", "k8s_service is missing", "Memory"];
    ended(&run(&settings, &DAY), 3, &parts);
    assert_eq!(bench.stored().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_another_engine_is_refused() {
    let (bench, settings) = without_expenses().await;
    let table = expenses_with("", "").replace("CollapsingMergeTree(sign)", "MergeTree()");
    bench.stores.execute(&table).await;
    let said = "its engine is MergeTree, not CollapsingMergeTree";
    ended(&run(&settings, &DAY), 3, &["nothing done: clickhouse", said]);
    assert_eq!(bench.stored().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_table_or_database_is_told_with_what_to_run() {
    let (bench, settings) = without_expenses().await;
    let fix = "run kubecost-worker migrate";
    let parts = ["nothing done: clickhouse: there is no table expenses", fix];
    ended(&run(&settings, &DAY), 3, &parts);
    let elsewhere = with(&settings, &[("CLICKHOUSE_DATABASE", "no_such_database")]);
    ended(&run(&elsewhere, &DAY), 3, &["nothing done: clickhouse", "no_such_database", fix]);
    assert_eq!(bench.documents().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clickhouse_that_is_down_or_refuses_us_is_named_and_nothing_written() {
    let bench = Bench::new("clickhouse_down").await;
    let server = fake_prometheus::start(|_| None).await;
    let settings = bench.settings(&server.url);
    let down = with(&settings, &[("CLICKHOUSE_URL", REFUSED)]);
    let parts = ["nothing done: clickhouse", REFUSED, "refused", "CLICKHOUSE_URL is right"];
    ended(&run(&down, &DAY), 3, &parts);
    ended(&run(&down, &["migrate"]), 3, &["error: clickhouse", REFUSED, "CLICKHOUSE_URL"]);
    let user = [("CLICKHOUSE_USER", "worker"), ("CLICKHOUSE_PASSWORD", "not-the-password")];
    let refused = with(&settings, &user);
    let parts = ["nothing done: clickhouse", "CLICKHOUSE_PASSWORD_FILE"];
    ended(&run(&refused, &DAY), 3, &parts);
    ended(&run(&refused, &["migrate"]), 3, &["error: clickhouse", "CLICKHOUSE_PASSWORD_FILE"]);
    let no_clickhouse = with(&settings, &[("CLICKHOUSE_URL", &server.url)]);
    ended(&run(&no_clickhouse, &DAY), 3, &["nothing done: clickhouse", "CLICKHOUSE_URL"]);
    assert_eq!(bench.stored().await, (0, 0));
    let right = [("CLICKHOUSE_USER", "worker"), ("CLICKHOUSE_PASSWORD", "worker-test-password")];
    run(&with(&settings, &right), &DAY).expect_success();
    assert_eq!(bench.stored().await, (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mongodb_that_is_down_or_refuses_us_is_named_and_nothing_written() {
    let bench = Bench::new("mongodb_down").await;
    let server = fake_prometheus::start(|_| None).await;
    let settings = bench.settings(&server.url);
    let url = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=300";
    let down = with(&settings, &[("MONGO_URL", url)]);
    let parts = ["nothing done: mongodb", "127.0.0.1:1", "refused", "MONGO_URL"];
    ended(&run(&down, &DAY), 3, &parts);
    ended(&run(&down, &["migrate"]), 3, &["error: mongodb", "127.0.0.1:1", "MONGO_URL"]);
    let guarded = mongodb_with_users();
    let url = guarded.url.replace("//", "//root:not-the-password@") + "?authSource=admin";
    let refused = with(&settings, &[("MONGO_URL", &url)]);
    let parts = ["nothing done: mongodb", "the credentials were refused", "authSource"];
    ended(&run(&refused, &DAY), 3, &parts);
    ended(&run(&refused, &["migrate"]), 3, &["error: mongodb", "authSource"]);
    let anonymous = with(&settings, &[("MONGO_URL", &guarded.url)]);
    ended(&run(&anonymous, &DAY), 3, &["nothing done: mongodb", "check user, password"]);
    assert_eq!(bench.stored().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_without_its_unique_index_is_told_with_what_to_run() {
    let stores = Stores::new("no_index").await;
    stores.create_expenses("(cloud_account_id, date, resource_id)", "").await;
    let bench = Bench { stores };
    let server = fake_prometheus::start(|_| None).await;
    let parts = ["nothing done: mongodb", "no unique index", "run kubecost-worker migrate"];
    ended(&bench.run(&server.url), 3, &parts);
    assert_eq!(bench.stored().await, (0, 0));
}
