//! Costs through a Metroculus that only knows "now", over simulated days.
//!
//! The days lie in the future, so that no server's expiry of old journal entries touches them.

use std::f64::consts::TAU;
use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use kubecost_worker::accounts::Account;
use kubecost_worker::commands::args;
use kubecost_worker::commands::connect::{self, Journal};
use kubecost_worker::cost::AccountId;
use kubecost_worker::run::{Environment, RunRequest, Stop, run as run_in_process};
use kubecost_worker::service::clock::FixedClock;
use kubecost_worker::settings::worker::{PipelineSettings, SETTINGS};
use kubecost_worker::settings::{RawSettings, ReadSettings};
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::support::ask::{assert_live, live};
use crate::support::servers::Stores;
use crate::support::worker::{Finished, run};
use crate::support::world::{DAY, HOUR, MINUTE};

mod exporters;
mod forms;

pub(crate) const ACCOUNT: &str = "0f0f0f0f-0000-0000-0000-00000000006d";
const SECRET: &str = "a-cluster-secret";
/// 2033-01-10 00:00:00 UTC.
pub(crate) const START: i64 = 1_988_928_000;
const SLOT: i64 = 300;

pub(crate) type Parameters = std::collections::BTreeMap<String, String>;
type Answer = Box<dyn Fn(&str, &Parameters) -> Response + Send>;

/// A service whose answers a test changes as it goes.
pub(crate) struct Metroculus {
    pub(crate) url: String,
    answer: Arc<Mutex<Answer>>,
    denied: Arc<Mutex<usize>>,
}

#[derive(Clone)]
struct Shared {
    answer: Arc<Mutex<Answer>>,
    denied: Arc<Mutex<usize>>,
}

impl Metroculus {
    pub(crate) async fn start() -> Self {
        let silent: Answer = Box::new(|_, _| StatusCode::NOT_FOUND.into_response());
        let shared =
            Shared { answer: Arc::new(Mutex::new(silent)), denied: Arc::new(Mutex::new(0)) };
        let call = |name: &'static str| {
            get(move |State(shared): State<Shared>, headers: HeaderMap, query| async move {
                reply(&shared, name, &headers, query)
            })
        };
        let app = axum::Router::new()
            .route("/metroculus/v2/kubecost_metrics", call("metrics"))
            .route("/metroculus/v2/kubecost_cluster_costs", call("costs"))
            .with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, answer: shared.answer, denied: shared.denied }
    }

    pub(crate) fn answers(&self, answer: impl Fn(&str, &Parameters) -> Response + Send + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    /// Answers every series with these labels and values as of now.
    pub(crate) fn tells(&self, series: Vec<(&'static str, Value, f64)>) {
        self.answers(move |call, asked| match call {
            "metrics" => vectors(asked, &series),
            _ => as_json(json!({"total_cost": 0.0})),
        });
    }
}

fn reply(
    shared: &Shared,
    call: &str,
    headers: &HeaderMap,
    Query(parameters): Query<Parameters>,
) -> Response {
    if headers.get("Secret").is_none_or(|secret| secret != SECRET) {
        *shared.denied.lock().unwrap() += 1;
        return StatusCode::FORBIDDEN.into_response();
    }
    if !parameters.contains_key("cloud_account_id") {
        return (StatusCode::BAD_REQUEST, "cloud_account_id is required").into_response();
    }
    (shared.answer.lock().unwrap())(call, &parameters)
}

pub(crate) fn as_json(value: Value) -> Response {
    ([("content-type", "application/json")], value.to_string()).into_response()
}

/// A Prometheus reply of instant vectors for each metric asked for.
fn vectors(asked: &Parameters, series: &[(&'static str, Value, f64)]) -> Response {
    let names = asked.get("metrics").map(String::as_str).unwrap_or_default();
    let metrics: serde_json::Map<String, Value> = names
        .split(',')
        .map(|name| {
            let result: Vec<Value> = series
                .iter()
                .filter(|(metric, _, _)| *metric == name)
                .map(
                    |(_, labels, value)| json!({"metric": labels, "value": [0, value.to_string()]}),
                )
                .collect();
            let data = json!({"resultType": "vector", "result": result});
            (name.to_owned(), json!({"status": "success", "data": data}))
        })
        .collect();
    as_json(json!({"metrics": metrics}))
}

pub(crate) const CLUSTER: &str = "cloudtuner_kubecost_cluster_total_cost";
pub(crate) const NAMESPACE: &str = "cloudtuner_kubecost_namespace_total_cost";

fn cluster(usd: f64) -> (&'static str, Value, f64) {
    (CLUSTER, json!({"tenant_id": ACCOUNT, "cluster": "prod"}), usd)
}

fn namespace(name: &str, usd: f64) -> (&'static str, Value, f64) {
    (NAMESPACE, json!({"tenant_id": ACCOUNT, "cluster": "prod", "namespace": name}), usd)
}

pub(crate) struct World {
    pub(crate) stores: Stores,
    pub(crate) settings: Vec<(&'static str, String)>,
    pub(crate) service: Metroculus,
}

impl World {
    pub(crate) async fn new() -> Self {
        let (stores, service) = (Stores::new("metroculus").await, Metroculus::start().await);
        let mut settings = stores.settings();
        settings.extend([
            ("ACCOUNTS", ACCOUNT.to_owned()),
            ("QUERY_LAYER", "metroculus".to_owned()),
            ("METROCULUS_URL", service.url.clone()),
            ("CLUSTER_SECRET", SECRET.to_owned()),
        ]);
        run(&settings, &["migrate"]).expect_success();
        Self { stores, settings, service }
    }

    /// Runs at a time since the first day's midnight, when the rates of that time were noted.
    async fn at(&self, seconds: i64) -> Finished {
        // A run at a made-up time notes nothing, so another one does, to which that time is now.
        let (environment, clock) = in_process(self).await;
        clock.set(START + seconds);
        let account = Account { id: AccountId::new(ACCOUNT).unwrap(), name: None };
        let _ = environment.readers.source.observe(&account, START + seconds).await;
        self.made_up(seconds)
    }

    /// Runs at a time since the first day's midnight.
    fn made_up(&self, seconds: i64) -> Finished {
        let time = chrono::DateTime::from_timestamp(START + seconds, 0).unwrap();
        run(&self.settings, &["run", "--at", &time.to_rfc3339()])
    }

    async fn live(&self) -> Vec<(i64, String, f64)> {
        live(&self.stores, ACCOUNT).await
    }

    async fn journal(&self) -> u64 {
        let journal = self.stores.mongo().await.collection::<Document>("kubecost_rate_journal");
        journal.count_documents(doc! {}).await.unwrap()
    }
}

/// Days of a run's account: day, state, phase and covered minutes.
fn days(finished: Finished) -> Vec<(String, String, Option<u64>, u64)> {
    let summary = finished.expect_success().summary();
    let days = summary["accounts"][0]["days"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    days.iter()
        .map(|day| {
            let covered = day["covered_minutes"].as_u64().unwrap();
            (text(&day["day"]), text(&day["state"]), day["phase"].as_u64(), covered)
        })
        .collect()
}

/// The rate at a time of the day, USD per hour: a wave a day and one of five hours.
fn rate(seconds: i64) -> f64 {
    let t = seconds as f64;
    10.0 + 5.0 * (TAU * t / 86_400.0).sin() + 2.0 * (TAU * t / 18_000.0).sin()
}

/// Its integral over the day, by hand: 24 h at 10, the day's wave cancels out, and of the short
/// wave 4.8 turns: 2 x 5 h / 2 pi x (1 - cos(4.8 x 2 pi)).
fn truth() -> f64 {
    240.0 + 2.0 * 5.0 / TAU * (1.0 - (TAU * 4.8).cos())
}

/// The worker of the settings within this process, at any time: a day of processes takes minutes.
pub(crate) async fn in_process(world: &World) -> (Environment, Arc<FixedClock>) {
    let matches = args::command().get_matches_from(["kubecost-worker", "run"]);
    let (_, matches) = matches.subcommand().unwrap();
    let value = |name: &str| {
        world.settings.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    };
    let raw = RawSettings::collect(SETTINGS, matches, &value, None);
    let config = PipelineSettings::validate(raw).unwrap();
    let clock = Arc::new(FixedClock::at(START));
    (connect::environment(&config, clock.clone(), Journal::Written).await.unwrap(), clock)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_runs_every_five_minutes_adds_up_to_the_integral_of_a_varying_rate() {
    let world = World::new().await;
    let (environment, clock) = in_process(&world).await;
    let work = async || {
        let done = run_in_process(&environment, &RunRequest::default(), &Stop::default()).await;
        assert_eq!(done.exit_code, 0, "{done:?}");
        (done.rows_written, done.documents_written)
    };
    for slot in 0..288 {
        // Not at the slots' beginnings: a CronJob starts some seconds late.
        let now = slot * SLOT + 11;
        let all = rate(now);
        let idle = namespace("__idle__", all * 0.3);
        world.service.tells(vec![cluster(all), namespace("shop", all * 0.6), idle]);
        clock.set(START + now);
        assert_ne!(work().await.0, 0);
        if slot % 48 == 7 {
            // Another run in the same slot, when the rate is another: the first note stands.
            world.service.tells(vec![cluster(all * 3.0), namespace("shop", all)]);
            clock.set(START + now + MINUTE);
            assert_eq!(work().await, (0, 0));
        }
    }
    world.service.tells(vec![cluster(0.0)]);
    let last = days(world.at(DAY + 11).await);
    assert_eq!(last[1], ("2033-01-10".to_owned(), "ok".to_owned(), Some(2), 1_440));
    let stored: Vec<_> = world.live().await.into_iter().filter(|row| row.0 == START).collect();
    let near = |got: f64, wanted: f64| (got / wanted - 1.0).abs() < 0.01;
    assert_eq!((stored[0].1.as_str(), stored[1].1.as_str(), stored.len()), ("", "shop", 2));
    assert!(near(stored[0].2 + stored[1].2, truth()), "{stored:?} {}", truth());
    assert!(near(stored[1].2, truth() * 0.6), "{stored:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_at_a_made_up_time_notes_no_rates_of_now() {
    let world = World::new().await;
    world.service.tells(vec![cluster(12.0)]);
    let made_up = days(world.made_up(12 * HOUR));
    assert_eq!((made_up[0].1.as_str(), world.journal().await), ("no-data", 0));
    world.at(12 * HOUR + SLOT).await.expect_success();
    assert_eq!(world.journal().await, 1);
    // What was noted when its time was now can be computed at any time.
    let later = days(world.made_up(12 * HOUR + 2 * SLOT));
    assert_eq!((later[0].1.as_str(), later[0].3, world.journal().await), ("partial", 5, 1));
    let real = run(&world.settings, &["run"]);
    assert_eq!((real.code, world.journal().await), (0, 2), "{}", real.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_without_a_run_are_gaps_and_not_filled_by_invention() {
    let world = World::new().await;
    world.service.tells(vec![cluster(12.0), namespace("shop", 6.0)]);
    for minute in [0, 5, 10, 600] {
        world.at(minute * MINUTE).await.expect_success();
    }
    // Four slots of five minutes at 12 USD/h are 4 USD.
    assert_live(&world.live().await, &[(START, "", 2.0), (START, "shop", 2.0)]);
    let told = days(world.at(DAY + HOUR).await);
    assert_eq!(told[1], ("2033-01-10".to_owned(), "partial".to_owned(), Some(2), 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_shapes_of_the_clusters_costs_are_a_rate_where_there_are_no_gauges() {
    for nested in [false, true] {
        let world = World::new().await;
        // 6 USD/h times the hours asked for, as the service counts.
        world.service.answers(move |call, asked| {
            if call == "metrics" {
                return vectors(asked, &[]);
            }
            let time = |name: &str| asked[name].parse::<f64>().unwrap();
            let total = 6.0 * (time("end_date") - time("start_date")) / 3_600.0;
            let flat = json!({"total_cost": total, "cpu_cost": total, "breakdown": {}});
            let deep = json!({"summary": {"total_cost": total}, "efficiency": {}, "breakdown": {}});
            as_json(if nested { deep } else { flat })
        });
        for slot in 0..4 {
            let told = days(world.at(12 * HOUR + slot * SLOT).await);
            assert_eq!(told[0].2, Some(1), "{told:?}");
        }
        assert_live(&world.live().await, &[(START, "", 2.0)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gauges_that_are_zero_stay_on_the_exporters_phase_and_store_nothing() {
    let world = World::new().await;
    // Falling back for a zero would find 6 USD/h there.
    world.service.answers(|call, asked| match call {
        "metrics" => vectors(asked, &[cluster(0.0), namespace("shop", 0.0)]),
        _ => as_json(json!({"total_cost": 6.0})),
    });
    let told = days(world.at(12 * HOUR).await);
    assert_eq!((told[0].1.as_str(), told[0].2), ("partial", Some(2)));
    assert_eq!(world.live().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_result_amid_a_day_is_a_gap_and_no_change_of_phase() {
    let world = World::new().await;
    world.service.tells(vec![cluster(12.0)]);
    world.at(0).await.expect_success();
    world.service.tells(vec![]);
    world.at(SLOT).await.expect_success();
    world.service.answers(|call, asked| match call {
        "metrics" => vectors(asked, &[]),
        _ => as_json(json!({"total_cost": 600.0})),
    });
    world.at(2 * SLOT).await.expect_success();
    world.service.tells(vec![cluster(12.0)]);
    let told = days(world.at(3 * SLOT).await);
    assert_eq!((told[0].1.as_str(), told[0].2, told[0].3), ("partial", Some(2), 10));
    assert_live(&world.live().await, &[(START, "", 2.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn series_of_other_tenants_are_refused_and_named() {
    let world = World::new().await;
    let foreign = json!({"tenant_id": "another", "cluster": "prod"});
    let theirs = json!({"tenant_id": "another", "cluster": "prod", "namespace": "secret"});
    world.service.tells(vec![cluster(12.0), (CLUSTER, foreign, 900.0), (NAMESPACE, theirs, 50.0)]);
    let told = world.at(0).await.expect_success();
    assert!(told.stderr.contains("tenant"), "{}", told.stderr);
    assert_live(&world.live().await, &[(START, "", 1.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_are_no_rates_are_refused_and_the_others_kept() {
    let world = World::new().await;
    world.service.tells(vec![
        cluster(12.0),
        namespace("shop", 6.0),
        namespace("not-nan", f64::NAN),
        namespace("not-inf", f64::INFINITY),
        namespace("not-less", -3.0),
    ]);
    let told = world.at(0).await.expect_success();
    for refused in ["not-nan", "not-inf", "not-less"] {
        assert!(told.stderr.contains(refused), "{refused} is not in {}", told.stderr);
    }
    assert_live(&world.live().await, &[(START, "", 0.5), (START, "shop", 0.5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn matrices_are_integrated_and_need_no_journal() {
    let world = World::new().await;
    world.service.answers(|call, asked| {
        assert_eq!(call, "metrics");
        let time = |name: &str| asked[name].parse::<i64>().unwrap();
        // A dollar a minute in the day's first twelve hours, then two.
        let points: Vec<Value> = (time("start_date").max(START)..time("end_date"))
            .step_by(60)
            .map(|t| json!([t, if t < START + 12 * HOUR { "60" } else { "120" }]))
            .collect();
        let series = if points.is_empty() {
            json!([])
        } else {
            json!([{"metric": {"tenant_id": ACCOUNT, "cluster": "prod"}, "values": points}])
        };
        let data = json!({"resultType": "matrix", "result": series});
        as_json(json!({"metrics": {CLUSTER: {"status": "success", "data": data}}}))
    });
    let told = days(world.at(DAY + HOUR - 1).await);
    assert_eq!(told[1], ("2033-01-10".to_owned(), "ok".to_owned(), Some(2), 1_440));
    assert_live(&world.live().await, &[(START, "", 2_160.0), (START + DAY, "", 120.0)]);
    assert_eq!(world.journal().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_that_are_none_are_clear_errors_and_leave_what_is_stored() {
    let world = World::new().await;
    world.service.tells(vec![cluster(12.0)]);
    world.at(0).await.expect_success();
    type Bad = fn() -> Response;
    let bad: [(&str, Bad); 5] = [
        ("'Error'", || "Error".into_response()),
        ("<html>", || Html("<html><body>Sign in</body></html>").into_response()),
        ("without 'metrics'", || as_json(json!({"detail": "none"}))),
        ("500", || StatusCode::INTERNAL_SERVER_ERROR.into_response()),
        ("is no reply", || "{\"metrics\": {\"cloudtuner_kub".into_response()),
    ];
    for (word, answer) in bad {
        world.service.answers(move |_, _| answer());
        let failed = world.at(SLOT).await;
        assert!([1, 3].contains(&failed.code), "{word}: {}", failed.stdout);
        let summary = failed.summary();
        let account = &summary["accounts"][0];
        let failure = &account["failure"];
        assert_eq!((&account["id"], &failure["hop"]), (&json!(ACCOUNT), &json!("query layer")));
        let what = failure["what"].as_str().unwrap();
        assert!(what.contains(word) && what.contains(&world.service.url), "{word}: {what}");
        assert!(!failure["fix"].as_str().unwrap().is_empty());
        assert_live(&world.live().await, &[(START, "", 1.0)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_named_and_never_shown() {
    let world = World::new().await;
    let is_kept = |name: &&str| **name != *"CLUSTER_SECRET";
    let mut settings: Vec<_> =
        world.settings.iter().filter(|(name, _)| is_kept(name)).cloned().collect();
    settings.push(("CLUSTER_SECRET", "a-wrong-one".to_owned()));
    settings.push(("RUST_LOG", "trace".to_owned()));
    let failed = run(&settings, &["run"]);
    assert_eq!(failed.code, 3, "{}", failed.stdout);
    assert!(failed.summary()["failure"]["fix"].as_str().unwrap().contains("CLUSTER_SECRET"));
    assert!(*world.service.denied.lock().unwrap() > 0);
    assert!(!failed.stderr.contains("a-wrong-one") && !failed.stdout.contains("a-wrong-one"));
}
