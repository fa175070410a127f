//! Accounts side by side: questions and statements about several at once change no number, and an
//! account that is ill, or hostile, delays and spoils no other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::Response;
use std::sync::Arc;

use crate::support::ask::live;
use crate::support::early_answer::EarlyAnswer;
use crate::support::http::reply;
use crate::support::metrics::History;
use crate::support::servers::{Server, Stores};
use crate::support::worker::run;
use crate::support::world::{DAY, HOUR, MARCH, gauges, source};

const TOTAL: &str = "cloudtuner_kubecost_cluster_total_cost";

fn id(index: u32) -> String {
    format!("51de0000-0000-0000-0000-{index:012}")
}

/// What a proxy does with questions about the account that it is set against.
#[derive(Clone, Copy, PartialEq)]
enum Ill {
    Hangs,
    Fails,
    Nothing,
}

#[derive(Clone)]
struct Proxy {
    upstream: String,
    client: reqwest::Client,
    account: String,
    ill: Ill,
    asked: Arc<AtomicU64>,
}

async fn pass(State(proxy): State<Proxy>, request: Request) -> Response {
    proxy.asked.fetch_add(1, Ordering::SeqCst);
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let address = reqwest::Url::parse(&format!("{}{path}", proxy.upstream)).unwrap();
    let form = String::from_utf8_lossy(&body).into_owned();
    if path.contains(&proxy.account) || form.contains(&proxy.account) {
        match proxy.ill {
            Ill::Hangs => std::future::pending::<()>().await,
            Ill::Fails => return reply(500, "text/plain", "out of order"),
            Ill::Nothing => {}
        }
    }
    let mut sent = proxy.client.request(parts.method.clone(), address);
    if parts.method == Method::POST {
        sent = sent.header("content-type", "application/x-www-form-urlencoded").body(body);
    }
    let answer = sent.send().await.unwrap();
    let status = answer.status().as_u16();
    reply(status, "application/json", Body::from(answer.bytes().await.unwrap()))
}

async fn through(upstream: &str, account: &str, ill: Ill) -> (String, Arc<AtomicU64>) {
    kubecost_worker::service::http::install_tls();
    let asked = Arc::new(AtomicU64::new(0));
    let proxy = Proxy {
        upstream: upstream.to_owned(),
        client: reqwest::Client::builder().no_gzip().build().unwrap(),
        account: account.to_owned(),
        ill,
        asked: Arc::clone(&asked),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(pass).with_state(proxy);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, asked)
}

/// Accounts of every kind: with namespaces, with a gap, of two clusters, with a window's end, with
/// raw metrics only, with a sample that is no cost, and without any sample.
fn accounts_of_all_kinds() -> Server {
    let mut history = History::default();
    let life = (MARCH, MARCH + DAY);
    gauges(&mut history, &id(1), life, |_| Some(3.0), &[("shop", 1.0), ("web", 0.7)]);
    let gap = |t: i64| (!(MARCH + HOUR..MARCH + 3 * HOUR).contains(&t)).then_some(0.1);
    gauges(&mut history, &id(2), life, gap, &[("shop", 0.03)]);
    gauges(&mut history, &id(3), life, |_| Some(2.0), &[("db", 0.3)]);
    let second = format!("tenant_id=\"{}\",cluster=\"second\"", id(3));
    history.every_minute(TOTAL, &second, 0, life, |t| Some((t % 7) as f64 / 3.0));
    gauges(&mut history, &id(4), life, |_| Some(5.0), &[("shop", 1.1)]);
    let windowed = format!("tenant_id=\"{}\",cluster=\"prod\"", id(4));
    let end = "cloudtuner_kubecost_window_end_timestamp_seconds";
    history.every_minute(end, &windowed, 0, life, |t| Some((t - 120) as f64));
    let node = format!("tenant_id=\"{}\",cluster=\"raw\",node=\"n1\",instance=\"n1\"", id(5));
    history.every_minute("node_total_hourly_cost", &node, 0, life, |_| Some(0.4));
    let bad = |t: i64| Some(if t == MARCH + HOUR { f64::NAN } else { 1.3 });
    gauges(&mut history, &id(6), life, bad, &[("shop", 0.2)]);
    source(&[history])
}

const KINDS: u32 = 7;

/// So many accounts of a cluster each, whose day costs 72 USD: 24 of them a namespace's.
fn alike(accounts: u32) -> History {
    let mut history = History::default();
    let life = (MARCH, MARCH + DAY);
    for index in 1..=accounts {
        gauges(&mut history, &id(index), life, |_| Some(3.0), &[("shop", 1.0)]);
    }
    history
}

/// What is stored of an account: its rows, costs to the bit, and its day's state and cause.
type Found = (BTreeMap<String, u64>, String, String);

async fn found(stores: &Stores, account: &str) -> Found {
    let rows = live(stores, account).await;
    let rows = rows.into_iter().map(|(_, id, usd)| (id, usd.to_bits())).collect();
    let days = stores.mongo().await.collection::<mongodb::bson::Document>("kubecost_account_day");
    let filter = mongodb::bson::doc! {"_id": format!("{account}:2026-03-01")};
    let status = days.find_one(filter).await.unwrap().unwrap();
    let text = |name: &str| status.get_str(name).unwrap_or_default().to_owned();
    (rows, text("state"), text("cause"))
}

async fn stored_with(source: &Server, accounts: u32, batch: &str) -> (Vec<Found>, u64) {
    let stores = Stores::new("sidebyside").await;
    let (url, asked) = through(&source.url, "nobody", Ill::Nothing).await;
    let ids: Vec<String> = (1..=accounts).map(id).collect();
    let mut settings = stores.settings();
    settings.push(("PROMETHEUS_URL", url));
    settings.push(("ACCOUNTS", ids.join(",")));
    settings.push(("BATCH_ACCOUNTS", batch.to_owned()));
    run(&settings, &["migrate"]).expect_success();
    run(&settings, &["run", "--from", "2026-03-01", "--to", "2026-03-01"]);
    let mut all = Vec::new();
    for id in &ids {
        all.push(found(&stores, id).await);
    }
    (all, asked.load(Ordering::SeqCst))
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_one_of_three_and_of_all_accounts_store_the_same_to_the_bit() {
    let source = accounts_of_all_kinds();
    let (one_by_one, questions_each) = stored_with(&source, KINDS, "1").await;
    assert_eq!(one_by_one[0].0.len(), 3);
    assert_eq!((one_by_one[0].1.as_str(), one_by_one[1].1.as_str()), ("ok", "partial"));
    assert!(one_by_one[4].0.len() == 1 && one_by_one[6].0.is_empty());
    for batch in ["3", "25"] {
        let (together, questions) = stored_with(&source, KINDS, batch).await;
        assert_eq!(together, one_by_one, "batches of {batch}");
        assert!(questions < questions_each, "{questions} questions, {questions_each} one by one");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_are_alike_are_asked_about_at_once() {
    let source = source(&[alike(12)]);
    let (_, each) = stored_with(&source, 12, "1").await;
    let (_, together) = stored_with(&source, 12, "25").await;
    assert!(together * 3 <= each, "{together} questions for all, {each} one by one");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_several_accounts_that_a_server_says_it_refused_are_not_sent_again() {
    let source = source(&[alike(12)]);
    let stores = Stores::new("refused").await;
    let proxy = EarlyAnswer::refusing(&stores.clickhouse.url).await;
    let mut settings = stores.settings();
    settings.push(("PROMETHEUS_URL", source.url.clone()));
    settings.push(("ACCOUNTS", (1..=12).map(id).collect::<Vec<_>>().join(",")));
    run(&settings, &["migrate"]).expect_success();
    let mut refusing = settings.clone();
    refusing.retain(|(name, _)| *name != "CLICKHOUSE_URL");
    refusing.push(("CLICKHOUSE_URL", proxy.url.clone()));
    let day = ["run", "--from", "2026-03-01", "--to", "2026-03-01"];
    let refused = tokio::task::spawn_blocking(move || run(&refusing, &day)).await.unwrap();
    let summary = refused.summary();
    assert_eq!(summary["accounts_failed"], 12, "{summary:#}");
    assert!(proxy.inserts().0 < 12, "accounts inserted together: {:?}", proxy.inserts());
    for index in 1..=12 {
        let total: f64 = live(&stores, &id(index)).await.iter().map(|row| row.2).sum();
        assert!((total - 48.0).abs() < 1e-6, "{index}: {total} of the first insert, 48 by itself");
    }
    run(&settings, &day).expect_success();
    for index in 1..=12 {
        let total: f64 = live(&stores, &id(index)).await.iter().map(|row| row.2).sum();
        assert!((total - 72.0).abs() < 1e-6, "{index}: {total}");
    }
}

async fn beside_one_that_is(ill: Ill) {
    let source = source(&[alike(4)]);
    let stores = Stores::new("ill").await;
    let (url, _) = through(&source.url, &id(1), ill).await;
    let mut settings = stores.settings();
    settings.push(("PROMETHEUS_URL", url));
    settings.push(("ACCOUNTS", (1..=4).map(id).collect::<Vec<_>>().join(",")));
    settings.push(("ACCOUNT_DEADLINE_SECONDS", "40".to_owned()));
    run(&settings, &["migrate"]).expect_success();
    let done = run(&settings, &["run", "--from", "2026-03-01", "--to", "2026-03-01"]);
    let summary = done.summary();
    let outcomes: Vec<&str> = summary["accounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|account| account["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["failed", "ok", "ok", "ok"], "{summary:#}");
    for index in 2..=4 {
        let total: f64 = live(&stores, &id(index)).await.iter().map(|row| row.2).sum();
        assert!((total - 72.0).abs() < 1e-6, "account {index}: {total}");
    }
    assert!(live(&stores, &id(1)).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_whose_questions_hang_fails_alone() {
    beside_one_that_is(Ill::Hangs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_whose_questions_fail_fails_alone() {
    beside_one_that_is(Ill::Fails).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_send_too_much_fail_by_name_and_leave_nothing() {
    let mut history = alike(2);
    let minute = (MARCH + HOUR, MARCH + HOUR + 60);
    for cluster in 0..1_500 {
        let labels = format!("tenant_id=\"{}\",cluster=\"c{cluster}\"", id(3));
        history.every_minute(TOTAL, &labels, 0, minute, |_| Some(1.0));
    }
    for namespace in 0..300 {
        let life = (MARCH, MARCH + HOUR);
        let labels = format!("tenant_id=\"{}\",cluster=\"c\",namespace=\"n{namespace}\"", id(4));
        let metric = "cloudtuner_kubecost_namespace_total_cost";
        history.every_minute(metric, &labels, 0, life, |_| Some(0.1));
    }
    let labels = format!("tenant_id=\"{}\",cluster=\"c\"", id(4));
    history.every_minute(TOTAL, &labels, 0, (MARCH, MARCH + HOUR), |_| Some(40.0));
    let source = source(&[history]);
    let stores = Stores::new("toomuch").await;
    let mut settings = stores.settings();
    settings.push(("PROMETHEUS_URL", source.url.clone()));
    settings.push(("ACCOUNTS", (1..=4).map(id).collect::<Vec<_>>().join(",")));
    settings.push(("MAX_RESOURCES", "100".to_owned()));
    run(&settings, &["migrate"]).expect_success();
    let days = ["run", "--from", "2026-03-01", "--to", "2026-03-01"];
    run(&settings, &days);
    let (rows, state, cause) = found(&stores, &id(3)).await;
    assert!(rows.is_empty() && state == "failed", "{state}");
    assert!(cause.contains("1500 clusters, more than the 1000 of MAX_CLUSTERS"), "{cause}");
    let (rows, state, cause) = found(&stores, &id(4)).await;
    assert!(rows.is_empty() && state == "failed", "{state}");
    assert!(cause.contains("301 clusters, namespaces and pods, more than the 100"), "{cause}");
    let documents = stores.mongo().await.collection::<mongodb::bson::Document>("cloud_resource");
    for index in [3, 4] {
        let filter = mongodb::bson::doc! {"cloud_account_id": id(index)};
        assert_eq!(documents.count_documents(filter).await.unwrap(), 0);
    }
    assert_eq!(found(&stores, &id(1)).await.1, "ok");
    settings.push(("OVER_LIMIT", "fold".to_owned()));
    run(&settings, &days);
    let (rows, state, _) = found(&stores, &id(4)).await;
    let total: f64 = rows.values().map(|bits| f64::from_bits(*bits)).sum();
    assert_eq!(rows.len(), 100);
    // An hour, and the five minutes for which the last sample still stands.
    assert!((total - 40.0 * 65.0 / 60.0).abs() < 1e-6 && state == "partial", "{total} {state}");
}
