//! Gateways that give up on long queries, and refuse long addresses: less is asked at once, in
//! another way, and the costs are the same.

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::Response;

use crate::support::ask::{assert_live, live};
use crate::support::http::reply;
use crate::support::metrics::History;
use crate::support::servers::Stores;
use crate::support::worker::run;
use crate::support::world::{DAY, HOUR, MARCH, source};

const ACCOUNT: &str = "11111111-0000-0000-0000-000000000011";
/// What gateways are known to allow.
const ADDRESS_BYTES_MAX: usize = 8_000;
const HOURS_MAX: i64 = 7;

#[derive(Clone)]
struct Gateway {
    upstream: String,
    client: reqwest::Client,
    status: u16,
}

/// The longest range of a query, seconds.
fn longest_range(query: &str) -> i64 {
    let ranges = query.split('[').skip(1).filter_map(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let is_milliseconds = rest[digits.len()..].starts_with("ms");
        is_milliseconds.then(|| digits.parse::<i64>().unwrap() / 1_000)
    });
    ranges.max().unwrap_or(0)
}

async fn pass(State(gateway): State<Gateway>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    if path.len() > ADDRESS_BYTES_MAX {
        return reply(414, "text/html", "<html>URI too long</html>");
    }
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let address = reqwest::Url::parse(&format!("{}{path}", gateway.upstream)).unwrap();
    let form = String::from_utf8_lossy(&body).into_owned();
    let in_form = url::form_urlencoded::parse(form.as_bytes()).into_owned();
    let mut all = address.query_pairs().into_owned().chain(in_form);
    let query = all.find(|(name, _)| name == "query").map_or(String::new(), |(_, query)| query);
    let is_range = path.contains("query_range");
    if !is_range && longest_range(&query) > HOURS_MAX * HOUR {
        return reply(gateway.status, "text/html", "<html>upstream timed out</html>");
    }
    let mut sent = gateway.client.request(parts.method.clone(), address);
    if parts.method == Method::POST {
        sent = sent.header("content-type", "application/x-www-form-urlencoded").body(body);
    }
    let answer = sent.send().await.unwrap();
    let status = answer.status().as_u16();
    reply(status, "application/json", Body::from(answer.bytes().await.unwrap()))
}

async fn gateway(upstream: &str, status: u16) -> String {
    kubecost_worker::service::http::install_tls();
    let client = reqwest::Client::builder().no_gzip().build().unwrap();
    let shared = Gateway { upstream: upstream.to_owned(), client, status };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(pass).with_state(shared);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn stored_through(history: History, status: u16) -> f64 {
    let source = source(&[history]);
    let stores = Stores::new("limits").await;
    let mut settings = stores.settings();
    settings.push(("PROMETHEUS_URL", gateway(&source.url, status).await));
    settings.push(("ACCOUNTS", ACCOUNT.to_owned()));
    run(&settings, &["migrate"]).expect_success();
    run(&settings, &["run", "--from", "2026-03-01", "--to", "2026-03-01"]).expect_success();
    let rows = live(&stores, ACCOUNT).await;
    let total = rows.iter().map(|row| row.2).sum();
    assert_live(&[(MARCH, String::new(), total)], &[(rows[0].0, "", total)]);
    total
}

fn total(history: &mut History, cluster: &str, life: (i64, i64), rate: f64) {
    let labels = format!("tenant_id=\"{ACCOUNT}\",cluster=\"{cluster}\"");
    let metric = "cloudtuner_kubecost_cluster_total_cost";
    history.every_minute(metric, &labels, 0, life, |_| Some(rate));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_gives_up_on_a_day_is_asked_for_less() {
    for status in [503, 504] {
        let mut history = History::default();
        total(&mut history, "prod", (MARCH, MARCH + DAY), 10.0);
        let usd = stored_through(history, status).await;
        assert!((usd - 240.0).abs() < 1e-6, "{status}: {usd}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clusters_of_long_names_that_lag_differently_fit_through() {
    let mut history = History::default();
    let life = (MARCH, MARCH + 3 * HOUR);
    let name = |index: usize| format!("cluster-{index}-{}", "of-a-rather-long-name-".repeat(8));
    for index in 0..60 {
        total(&mut history, &name(index), life, 1.0);
        let labels = format!("tenant_id=\"{ACCOUNT}\",cluster=\"{}\"", name(index));
        let end = "cloudtuner_kubecost_window_end_timestamp_seconds";
        // Half of them tell of what was two minutes ago.
        let lag = if index % 2 == 0 { 0 } else { 120 };
        history.every_minute(end, &labels, 0, life, |t| Some((t - lag) as f64));
    }
    let usd = stored_through(history, 504).await;
    // 180 minutes and five of look-back, less the two that half of them tell of the day before.
    let minutes = 30.0 * 185.0 + 30.0 * 183.0;
    assert!((usd - minutes / 60.0).abs() < 1e-6, "{usd}");
}
