//! Faults set along the chain, one at a time: `verify` names the hop and the likely cause of
//! each, in less than ten seconds. The query layer and the stores are real; what runs at a customer
//! or at CloudTuner is answered for here.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::support::answers::{Answers, NOW, Shared, answer};
use crate::support::ask::{ask, usd};
use crate::support::metrics::History;
use crate::support::servers::{
    PrometheusVersion, Server, Stores, mongodb_with_users, prometheus, unique,
};
use crate::support::worker::run;

const A: &str = "aaaaaaaa-0000-0000-0000-00000000000a";
/// Its samples ended five hours ago.
const OLD: &str = "0ddddddd-0000-0000-0000-00000000000d";
/// Only raw metrics of it arrive.
const RAW: &str = "77777777-0000-0000-0000-000000000007";
/// Its gauges tell about a window of long ago.
const LATE: &str = "11111111-0000-0000-0000-000000000001";
/// It is deleted in MongoDB.
const DELETED: &str = "dddddddd-0000-0000-0000-00000000000d";
/// It has no samples, and no document.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";
/// A tenant that is no account.
const FOREIGN: &str = "ffffffff-0000-0000-0000-00000000000f";
/// 2026-03-01 00:00:00 UTC.
const START: i64 = 1_772_323_200;
const HOUR: i64 = 3_600;
const AT: &str = "2026-03-01T12:00:00Z";

fn history() -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    let mut history = History::default();
    for (tenant, until) in
        [(A, NOW), (OLD, NOW - 5 * HOUR), (LATE, NOW), (DELETED, NOW), (FOREIGN, NOW)]
    {
        let labels = format!("tenant_id=\"{tenant}\",cluster=\"prod\"");
        let times = (START, until);
        for (level, more, usd) in [("cluster", "", 10.0), ("namespace", ",namespace=\"shop\"", 6.0)]
        {
            let metric = format!("cloudtuner_kubecost_{level}_total_cost");
            history.every_minute(&metric, &format!("{labels}{more}"), 7, times, |_| Some(usd));
        }
        let age = if tenant == LATE { 8 * HOUR } else { 0 };
        let end = move |t: i64| Some((t - t % HOUR - age) as f64);
        history.every_minute(
            "cloudtuner_kubecost_window_end_timestamp_seconds",
            &labels,
            7,
            times,
            end,
        );
        history.every_minute("cloudtuner_kubecost_window_seconds", &labels, 7, times, |_| {
            Some(3_600.0)
        });
    }
    let raw = format!("tenant_id=\"{RAW}\",cluster=\"prod\",node=\"n\"");
    history.every_minute("node_total_hourly_cost", &raw, 7, (START, NOW), |_| Some(1.0));
    history.write_blocks(data.path());
    data
}

/// All servers, and the settings that lead to them.
struct World {
    answers: Shared,
    settings: Vec<(&'static str, String)>,
    fakes: String,
    stores: Stores,
    /// What the ledger has of `A`.
    total_usd: f64,
    prometheus: Server,
    _data: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let data = history();
        let prometheus = prometheus(PrometheusVersion::Three, data.path());
        let stores = Stores::new("verify").await;
        let accounts = stores.mongo().await.collection::<Document>("cloud_account");
        for id in [A, OLD, RAW, LATE, DELETED] {
            let deleted_at = if id == DELETED { NOW } else { 0 };
            let account = doc! {"_id": id, "type": "kubernetes_cnr", "deleted_at": deleted_at};
            accounts.insert_one(account).await.unwrap();
        }
        let answers = Shared::new(Mutex::new(Answers::good(A)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fakes = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&answers));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let mut settings = stores.settings();
        settings.push(("PROMETHEUS_URL", prometheus.url.clone()));
        run(&settings, &["migrate"]).expect_success();
        run(&settings, &["run", "--account", A, "--at", AT]).expect_success();
        settings.extend([
            ("EXPORTER_URL", format!("{fakes}/exporter")),
            ("SOURCE_PROMETHEUS_URL", format!("{fakes}/source")),
            ("DIPROXY_URL", format!("{fakes}/write")),
            ("METROCULUS_URL", fakes.clone()),
            ("ACCOUNTS", "mongo".to_owned()),
            ("REST_URL", fakes.clone()),
            ("CLUSTER_SECRET", "hunter2-secret".to_owned()),
            ("DIPROXY_USER", "customer".to_owned()),
            ("DIPROXY_PASSWORD", "hunter2-diproxy".to_owned()),
        ]);
        let total =
            format!("SELECT sum(cost * sign) AS usd FROM expenses WHERE cloud_account_id = '{A}'");
        let total_usd = usd(&ask(&stores, &total).await[0]["usd"]);
        let world = Self { answers, settings, fakes, stores, total_usd, prometheus, _data: data };
        world.set_fault(A, |_| ());
        world
    }

    /// The report for an account, with some settings changed.
    fn verify(&self, account: &str, changed: &[(&'static str, String)]) -> Value {
        let mut settings = self.settings.clone();
        settings.retain(|(name, _)| !changed.iter().any(|(other, _)| name == other));
        settings.extend_from_slice(changed);
        let arguments = ["verify", "--account", account, "--at", AT, "--output", "json"];
        let finished = run(&settings, &arguments);
        let all = format!("{}{}", finished.stdout, finished.stderr);
        assert!(!all.contains("hunter2"), "{all}");
        let report = finished.summary();
        assert_eq!(i64::from(finished.code), report["exit_code"].as_i64().unwrap(), "{all}");
        report
    }

    /// The first broken hop is this one, and its cause or what was seen says so.
    fn expect(&self, fault: &str, report: &Value, hop: &str, part: &str) {
        let first = &report["first_broken"];
        let text = format!("{} {}", first["what"], first["cause"]);
        assert_eq!(first["hop"], hop, "{fault}: {report:#}");
        assert!(text.contains(part), "{fault}: '{part}' is not in {first:#}");
        assert!(!first["fix"].as_str().unwrap().is_empty(), "{fault}: {first:#}");
    }

    fn set_fault(&self, account: &str, change: impl FnOnce(&mut Answers)) {
        let mut answers = Answers::good(account);
        let shop = json!({"k8s_namespace": "shop", "cost": self.total_usd});
        answers.expenses.1 = json!({"clean_expenses": [shop]}).to_string();
        change(&mut answers);
        *self.answers.lock().unwrap() = answers;
    }
}

/// A fault at a server that is answered for: what changes, and where that must show.
type Fault = (&'static str, fn(&mut Answers), &'static str, &'static str);

const AT_FAKES: &[Fault] = &[
    ("exporter of another tenant", |a| a.tenant = "other".into(), "exporter", "another account"),
    ("hour boundary", |a| a.window_end = NOW - 2 * HOUR, "exporter", "half computed: empty (7)"),
    (
        "stale exporter",
        |a| (a.has_costs, a.window_end) = (false, NOW - 5 * HOUR),
        "exporter",
        "no plausible window",
    ),
    ("polls fail", |a| a.poll_success = 0, "exporter", "empty (7)"),
    ("clock off at the customer", |a| a.window_end = NOW + HOUR, "exporter", "clock is off"),
    ("target down", |a| a.source_up = 0.0, "target", "cannot scrape"),
    (
        "wrong password of the customer's Prometheus",
        |a| a.source_status = 401,
        "target",
        "credentials",
    ),
    (
        "gauges of another tenant",
        |a| a.gauge_tenant = Some("other".into()),
        "target",
        "another account",
    ),
    ("gauges dropped at the scrape", |a| a.gauge_tenant = None, "target", "metric_relabel"),
    ("remote_write refused", |a| a.failed_per_second = 0.5, "remote-write", "refuses"),
    ("remote_write behind", |a| a.lag_seconds = 5_000.0, "remote-write", "does not answer"),
    ("diproxy 400", |a| a.diproxy = (400, "no such account"), "diproxy", "Cloud-Account-Id"),
    ("diproxy 401", |a| a.diproxy = (401, ""), "diproxy", "password"),
    ("diproxy 422", |a| a.diproxy = (422, ""), "diproxy", "another type"),
    ("diproxy 503", |a| a.diproxy = (503, ""), "diproxy", "behind it"),
    (
        "Metroculus says Error",
        |a| a.metroculus = (200, "Error".into()),
        "metroculus",
        "failed inside",
    ),
    (
        "Metroculus falls back",
        |a| a.metroculus = (200, r#"{"metrics": {}}"#.into()),
        "metroculus",
        "phase 1 in silence",
    ),
    ("REST 404", |a| a.account = 404, "rest-filters", "does not know the account"),
    ("REST 500", |a| a.filters = (500, "boom"), "rest-filters", "failed inside"),
    (
        "no expenses come out",
        |a| a.expenses = (200, r#"{"clean_expenses": []}"#.to_owned()),
        "rest-expenses",
        "do not meet",
    ),
    (
        "Metroculus' total beside the rows",
        |a| {
            let costs = r#""k8s_costs": [{"breakdown": {"total_cost": 9.5}}]"#;
            a.expenses.1 = format!(r#"{{"clean_expenses": [{{}}], {costs}}}"#);
        },
        "rest-expenses",
        "shown twice",
    ),
    (
        "Metroculus' total among the rows",
        |a| a.expenses.1 = r#"{"clean_expenses": [{}], "total_cost": 1000}"#.to_owned(),
        "rest-expenses",
        "shown twice",
    ),
    (
        "a filter that is not known",
        |a| a.expenses.1 = a.expenses.1.replace("shop", "other"),
        "rest-reader",
        "does not know this filter",
    ),
];

fn of_settings(world: &World) {
    let nothing = || "http://127.0.0.1:1".to_owned();
    let thanos = || format!("{}/thanos", world.fakes);
    world.set_fault(A, |_| ());
    let report = world.verify(A, &[("EXPORTER_URL", nothing())]);
    world.expect("exporter down", &report, "exporter", "exporter is down");
    let report = world.verify(A, &[("PROMETHEUS_URL", nothing())]);
    world.expect("query layer down", &report, "query-layer", "not reachable");
    world.set_fault(A, |answers| answers.query_layer.0 = 401);
    let password = ("PROMETHEUS_PASSWORD", "hunter2-query".to_owned());
    let user = ("PROMETHEUS_USER", "u".to_owned());
    let report = world.verify(A, &[("PROMETHEUS_URL", thanos()), user, password]);
    world.expect("wrong password of the query layer", &report, "query-layer", "credentials");
    let past = Some("Thu, 01 Jan 2026 00:00:00 GMT");
    world.set_fault(A, |answers| answers.query_layer = (200, past));
    let report = world.verify(A, &[("PROMETHEUS_URL", thanos())]);
    world.expect("clock off", &report, "query-layer", "clock is off");
}

/// What is asked of a customer's Prometheus is PromQL that a real one takes. This one scrapes
/// nothing, so that it tells nothing of its queues.
fn of_real_source(world: &World) {
    world.set_fault(A, |_| ());
    let report = world.verify(A, &[("SOURCE_PROMETHEUS_URL", world.prometheus.url.clone())]);
    let state = |hop: &str| {
        let hops = report["hops"].as_array().unwrap();
        hops.iter().find(|check| check["hop"] == hop).unwrap()["state"].clone()
    };
    assert_eq!(
        (state("target"), state("remote-write")),
        (json!("ok"), json!("skipped")),
        "{report:#}"
    );
}

fn of_tenants(world: &World) {
    for (account, hop, part) in [
        (OLD, "tenant", "have stopped"),
        (RAW, "tenant", "keep-regex"),
        (NOBODY, "tenant", FOREIGN),
        (LATE, "lag", "an old answer"),
        (DELETED, "account", "deleted the account"),
    ] {
        world.set_fault(account, |_| ());
        world.expect(account, &world.verify(account, &[]), hop, part);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_chain_is_sound_and_planted_faults_are_named() {
    let world = World::new().await;
    let report = world.verify(A, &[]);
    assert_eq!(
        (&report["exit_code"], &report["first_broken"]),
        (&json!(0), &Value::Null),
        "{report:#}"
    );
    let hops = report["hops"].as_array().unwrap();
    assert!(hops.len() == 18 && hops.iter().all(|hop| hop["state"] == "ok"), "{report:#}");
    for (fault, change, hop, part) in AT_FAKES {
        world.set_fault(A, change);
        world.expect(fault, &world.verify(A, &[]), hop, part);
    }
    of_settings(&world);
    of_real_source(&world);
    of_tenants(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_stores_are_named() {
    let world = World::new().await;
    let mongo = world.stores.mongo().await;
    let resources = mongo.collection::<Document>("cloud_resource");
    let locked = mongodb_with_users();
    let url = locked.url.replace("mongodb://", "mongodb://root:hunter2-mongo@");
    let report = world.verify(A, &[("MONGO_URL", url)]);
    world.expect("wrong password of MongoDB", &report, "mongodb", "credentials");
    let report = world.verify(A, &[("MONGO_URL", "mongodb://127.0.0.1:1/".to_owned())]);
    world.expect("MongoDB down", &report, "mongodb", "not reachable");
    let user = ("CLICKHOUSE_USER", "worker".to_owned());
    let password = ("CLICKHOUSE_PASSWORD", "hunter2-clickhouse".to_owned());
    let report = world.verify(A, &[user, password]);
    world.expect("wrong password of ClickHouse", &report, "clickhouse", "credentials");
    let accounts = mongo.collection::<Document>("cloud_account");
    accounts.delete_one(doc! {"_id": A}).await.unwrap();
    world.expect("account missing", &world.verify(A, &[]), "account", "no document");
    accounts.insert_one(doc! {"_id": A, "type": "kubernetes_cnr", "deleted_at": 0}).await.unwrap();
    for (fault, change, undo, part) in [
        ("deleted_at", doc! {"deleted_at": NOW}, doc! {"deleted_at": 0}, "deleted_at is not 0"),
        (
            "milliseconds",
            doc! {"first_seen": NOW * 1_000},
            doc! {"first_seen": NOW},
            "in the future",
        ),
        ("tags", doc! {"tags": []}, doc! {"tags": {}}, "no object"),
        ("unseen", doc! {"last_seen": 1}, doc! {"last_seen": NOW}, "before yesterday"),
    ] {
        resources.update_many(doc! {}, doc! {"$set": change}).await.unwrap();
        world.expect(fault, &world.verify(A, &[]), "documents", part);
        resources.update_many(doc! {}, doc! {"$set": undo}).await.unwrap();
    }
    resources.drop_index("OptResourceUnique").await.unwrap();
    world.expect("index missing", &world.verify(A, &[]), "index", "no unique index");
    run(&world.settings, &["migrate"]).expect_success();
    let empty = unique("verify_empty");
    world.stores.execute(&format!("CREATE DATABASE {empty}")).await;
    let elsewhere = ("CLICKHOUSE_DATABASE", empty);
    let report = world.verify(A, std::slice::from_ref(&elsewhere));
    world.expect("no table", &report, "clickhouse", "no table");
    let mut settings = world.settings.clone();
    settings.retain(|(name, _)| *name != elsewhere.0);
    settings.push(elsewhere.clone());
    run(&settings, &["migrate"]).expect_success();
    world.expect("rows missing", &world.verify(A, &[elsewhere]), "rows", "another one now");
    of_rows(&world).await;
}

async fn of_rows(world: &World) {
    world.stores.execute("ALTER TABLE expenses DROP COLUMN k8s_service").await;
    let report = world.verify(A, &[]);
    world.expect("column missing", &report, "clickhouse", "k8s_service is missing");
    world.stores.execute("ALTER TABLE expenses ADD COLUMN k8s_service Nullable(String)").await;
    assert_eq!(world.verify(A, &[])["exit_code"], 0);
    let insert = "INSERT INTO expenses (cloud_account_id, resource_id, date, cost, sign) VALUES";
    world.stores.execute(&format!("{insert} ('{A}', 'k8s-ns-x', toDateTime({START}), 5, 1)")).await;
    world.expect("a foreign row", &world.verify(A, &[]), "rows", "another program writes");
    world.stores.execute(&format!("{insert} ('{A}', 'k8s-ns-x', toDateTime({START}), 5, 1)")).await;
    world.expect("a doubled row", &world.verify(A, &[]), "rows", "two writers");
}

#[test]
fn what_is_not_configured_says_so_and_settings_that_are_wrong_end_with_2() {
    let directory = tempfile::tempdir().unwrap();
    let settings = vec![
        ("PROMETHEUS_URL", "http://127.0.0.1:1".to_owned()),
        ("ACCOUNTS", A.to_owned()),
        ("STORE", format!("sqlite:{}", directory.path().join("costs.sqlite").display())),
    ];
    let finished = run(&settings, &["verify"]);
    assert_eq!(finished.code, 1, "{}", finished.stderr);
    for part in
        ["EXPORTER_URL is not set", "DIPROXY_URL is not set", "First broken hop: query-layer"]
    {
        assert!(finished.stdout.contains(part), "{}", finished.stdout);
    }
    let wrong = run(&[("DIPROXY_USER", "u".to_owned())], &["verify"]);
    assert_eq!(wrong.code, 2, "{}", wrong.stdout);
    assert!(wrong.stderr.contains("DIPROXY_PASSWORD"), "{}", wrong.stderr);
}

/// The worst case: every server takes the connection and never says a word.
#[test]
fn servers_that_say_nothing_do_not_hold_it_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let url = format!("http://{address}");
    let mut settings = vec![("MONGO_URL", format!("mongodb://{address}/"))];
    for name in [
        "EXPORTER_URL",
        "SOURCE_PROMETHEUS_URL",
        "DIPROXY_URL",
        "PROMETHEUS_URL",
        "METROCULUS_URL",
        "CLICKHOUSE_URL",
        "REST_URL",
    ] {
        settings.push((name, url.clone()));
    }
    settings.push(("CLUSTER_SECRET", "s".to_owned()));
    for arguments in
        [&["verify", "--output", "json"][..], &["verify", "--account", A, "--output", "json"]]
    {
        let started = Instant::now();
        let finished = run(&settings, arguments);
        let took = started.elapsed();
        let report = finished.summary();
        let hops = report["hops"].as_array().unwrap();
        let waits = hops.iter().map(|check| check["milliseconds"].as_u64().unwrap()).sum();
        let waits = Duration::from_millis(waits);
        // However slow the machine is: hops that are asked one after the other take the sum.
        assert!(took < waits / 2, "{took:?} for waits of {waits:?}: {report:#}");
        assert_eq!(report["first_broken"]["hop"], "exporter", "{report:#}");
        for hop in ["query-layer", "mongodb", "clickhouse"] {
            let hops = report["hops"].as_array().unwrap();
            let check = hops.iter().find(|check| check["hop"] == hop).unwrap();
            assert_eq!(check["state"], "broken", "{report:#}");
        }
    }
}
