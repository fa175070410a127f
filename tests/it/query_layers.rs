//! What stands between the worker and a Prometheus: query-frontends with their caches, limits of
//! every dialect, proxies that lose forms, partial answers. The same days come through, or the day
//! is not `ok`.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::embedded::SqliteStore;
use crate::support::exporters::{ACCOUNT, AT, LIFE, Windowed, closed, day, rate};
use crate::support::layer::{Fate, Layer, Query};
use crate::support::metrics::History;
use crate::support::servers::{Server, victoriametrics};
use crate::support::world::{DAY, HOUR, MARCH, source};

/// A day's cost of [`history`], USD.
const DAY_USD: f64 = 48.0;

/// An exporter's gauges: $2 an hour, of which `shop` has 1.5.
fn history() -> History {
    let mut history = History::default();
    let exporter =
        Windowed { more: "", life: LIFE, length: HOUR, end: &|t| closed(t, HOUR), is_total: false };
    exporter.put(&mut history, &[("shop", &rate(1.5)), ("__idle__", &rate(0.5))]);
    history
}

fn prometheus() -> Server {
    source(&[history()])
}

/// A run over three days through a layer: its summary, and its log.
fn run_through(url: &str, more: &[(&'static str, &str)]) -> (Value, String) {
    let store = SqliteStore::new(&[ACCOUNT], &[&[("PROMETHEUS_URL", url)], more].concat());
    let finished = store.run(&["run", "--at", AT, "--output", "json"]);
    (finished.summary(), finished.stderr)
}

fn days(summary: &Value) -> Vec<(String, f64, String)> {
    let of = |day: &Value| {
        let text = |name: &str| day[name].as_str().unwrap_or_default().to_owned();
        (text("day"), day["stored_total_usd"].as_f64().unwrap(), text("state"))
    };
    summary["accounts"][0]["days"].as_array().unwrap().iter().map(of).collect()
}

fn assert_whole(summary: &Value, what: &str) {
    for wanted in ["2026-03-01", "2026-03-02"] {
        let found = days(summary);
        let found = found.iter().find(|(day, ..)| day == wanted);
        let (_, usd, state) = found.unwrap_or_else(|| panic!("{what}: {wanted}: {summary}"));
        assert!((usd - DAY_USD).abs() < 1e-6, "{what}: {wanted} has ${usd}");
        assert_eq!(state, "ok", "{what}: {wanted}");
    }
}

/// Moves start and end to multiples of the step, as query-frontends and VictoriaMetrics do.
fn aligned(query: &mut Query) -> Fate {
    if query.is_range() {
        let step = query.seconds("step");
        for name in ["start", "end"] {
            let moved = query.seconds(name) / step * step;
            query.parameters.insert(name.to_owned(), moved.to_string());
        }
    }
    Fate::Passed
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_survive_an_alignment_to_their_step_and_go_around_caches() {
    let prometheus = prometheus();
    let layer = Layer::new(&prometheus.url, aligned).await;
    let (summary, _) = run_through(&layer.url, &[]);
    assert_whole(&summary, "aligned");
    for query in layer.seen().iter().filter(|query| query.path.contains("/query")) {
        assert_eq!(query.headers["cache-control"], "no-store", "{query:?}");
        for (name, value) in [
            ("nocache", "1"),
            ("deny_partial_response", "1"),
            ("partial_response", "false"),
            ("dedup", "true"),
        ] {
            assert_eq!(query.text(name), value, "{query:?}");
        }
        if query.is_range() {
            assert_eq!(query.seconds("start") % query.seconds("step"), 0, "{query:?}");
            assert_eq!(query.seconds("end") % query.seconds("step"), 0, "{query:?}");
        }
    }
    assert!(layer.seen().iter().any(Query::is_range), "no range was asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_metrics_survive_an_alignment_too() {
    let mut history = History::default();
    let labels = format!("tenant_id=\"{ACCOUNT}\",cluster=\"c\",node=\"n\"");
    history.every_minute("node_total_hourly_cost", &labels, 7, LIFE, |_| Some(2.0));
    let prometheus = source(&[history]);
    let layer = Layer::new(&prometheus.url, aligned).await;
    let (through, _) = run_through(&layer.url, &[]);
    let (straight, _) = run_through(&prometheus.url, &[]);
    let usd = day(&straight, "2026-03-01")["stored_total_usd"].as_f64().unwrap();
    assert!((usd - DAY_USD).abs() < 0.1, "${usd}");
    assert_eq!(days(&through), days(&straight));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_answer_is_no_whole_day_in_any_dialect() {
    let prometheus = prometheus();
    for (to, words) in [
        (r#""status":"success","isPartial":true"#, "isPartial"),
        (r#""status":"success","warnings":["store 10.0.0.1 is away"]"#, "10.0.0.1"),
        (r#""status":"success","infos":["No StoreAPIs matched for this query"]"#, "No StoreAPIs"),
    ] {
        let rule = move |_: &mut Query| Fate::Altered(r#""status":"success""#, to);
        let layer = Layer::new(&prometheus.url, rule).await;
        let (summary, _) = run_through(&layer.url, &[]);
        let first = day(&summary, "2026-03-01");
        assert_eq!(first["state"], "partial", "{words}: {first}");
        assert!(first["warnings"].to_string().contains(words), "{words}: {first}");
    }
    let note = r#""status":"success","infos":["PromQL info: metric might not be a counter"]"#;
    let rule = move |_: &mut Query| Fate::Altered(r#""status":"success""#, note);
    let layer = Layer::new(&prometheus.url, rule).await;
    assert_whole(&run_through(&layer.url, &[]).0, "a note on the query");
}

/// The body of a refusal.
fn error(kind: &str, text: &str) -> String {
    json!({"status": "error", "errorType": kind, "error": text}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_every_dialect_halve_what_is_asked() {
    const HOURS_MAX: i64 = 7;
    let prometheus = prometheus();
    for (status, kind, text) in [
        (422, "execution", "query processing would load too many samples into memory"),
        (
            400,
            "bad_data",
            "the query time range exceeds the limit (query length: 24h0m0s, limit: 7h)",
        ),
        (413, "", "request entity is larger than allowed"),
        (429, "too_many_requests", "too many outstanding requests"),
        (
            500,
            "internal",
            "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (5 vs. 4)",
        ),
        (
            422,
            "422",
            "error when executing query=\"sum(x{cluster=\\\"the limit\\\"})\" for (time=1, step=2): \
             cannot select more than -search.maxSamplesPerQuery=9 samples; possible solutions",
        ),
        (
            422,
            "422",
            "error when executing query=\"x{a=\\\"b\\\"}\": not enough memory for processing 9 data points",
        ),
    ] {
        let body = error(kind, text);
        let rule = move |query: &mut Query| match query.longest_range() > HOURS_MAX * HOUR {
            true if !query.is_range() => Fate::Refused(status, body.clone()),
            _ => Fate::Passed,
        };
        let layer = Layer::new(&prometheus.url, rule).await;
        let (summary, _) = run_through(&layer.url, &[("CATCH_UP_DAYS", "3")]);
        assert_whole(&summary, text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_on_the_length_of_range_queries_shortens_them() {
    let prometheus = prometheus();
    for (status, text) in [
        (400, "Invalid time range. The range must not span over 10 days. RequestId: 0"),
        (
            422,
            "expanding series: the query time range exceeds the limit (query length: 35d, limit: 10d)",
        ),
        (400, "exceeded maximum resolution of 11,000 points per timeseries"),
    ] {
        let body = error("bad_data", text);
        let rule = move |query: &mut Query| {
            let is_long =
                query.is_range() && query.seconds("end") - query.seconds("start") > 10 * DAY;
            if is_long { Fate::Refused(status, body.clone()) } else { Fate::Passed }
        };
        let layer = Layer::new(&prometheus.url, rule).await;
        assert_whole(&run_through(&layer.url, &[]).0, text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn days_that_are_older_than_the_retention_cost_only_themselves() {
    let prometheus = prometheus();
    let body = error("503", "the given time range is outside the allowed -retentionPeriod=3d");
    let rule = move |query: &mut Query| {
        let is_old = query.is_range() && query.seconds("start") < MARCH - DAY;
        if is_old { Fate::Refused(503, body.clone()) } else { Fate::Passed }
    };
    let layer = Layer::new(&prometheus.url, rule).await;
    let (summary, log) = run_through(&layer.url, &[]);
    assert_whole(&summary, "out of retention");
    assert_eq!(summary["exit_code"], 0, "{summary}");
    assert!(log.contains("refuses this day") && log.contains("2026-02-20"), "{log}");
    let all = error("503", "the given time range is outside the allowed -retentionPeriod=3d");
    let layer = Layer::new(&prometheus.url, move |query: &mut Query| match query.is_range() {
        true => Fate::Refused(503, all.clone()),
        false => Fate::Passed,
    })
    .await;
    let (summary, _) = run_through(&layer.url, &[]);
    assert_eq!(summary["accounts"][0]["outcome"], "failed", "nothing is known of any day");
}

/// So many clusters of long names that queries become longer than an address should be.
fn many_clusters() -> History {
    let mut history = History::default();
    let life = (MARCH, MARCH + 3 * HOUR);
    for index in 0..30 {
        let name = format!("cluster-{index}-{}", "of-a-rather-long-name-".repeat(8));
        let labels = format!("tenant_id=\"{ACCOUNT}\",cluster=\"{name}\"");
        history.every_minute("cloudtuner_kubecost_cluster_total_cost", &labels, 0, life, |_| {
            Some(1.0)
        });
        let lag = if index % 2 == 0 { 0 } else { 120 };
        let end = "cloudtuner_kubecost_window_end_timestamp_seconds";
        history.every_minute(end, &labels, 0, life, |t| Some((t - lag) as f64));
    }
    history
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_does_not_arrive_is_asked_by_get_from_then_on() {
    let prometheus = source(&[many_clusters()]);
    let straight = run_through(&prometheus.url, &[]).0;
    let usd = day(&straight, "2026-03-01")["stored_total_usd"].as_f64().unwrap();
    assert!(usd > 80.0, "{straight}");
    for (name, status, body) in [
        ("the body is lost", 0, String::new()),
        ("only GET", 405, "Method Not Allowed".to_owned()),
        ("GET by rule", 403, "RBAC: access denied".to_owned()),
        ("an error of the server", 400, error("bad_data", "missing `query` arg")),
    ] {
        let rule = move |query: &mut Query| match (query.method.as_str(), status) {
            ("POST", 0) => {
                query.parameters.clear();
                Fate::Passed
            }
            ("POST", _) => Fate::Refused(status, body.clone()),
            _ => Fate::Passed,
        };
        let layer = Layer::new(&prometheus.url, rule).await;
        let (summary, log) = run_through(&layer.url, &[]);
        assert_eq!(days(&summary), days(&straight), "{name}");
        let posts = layer.seen().iter().filter(|query| query.method == "POST").count();
        // Several queries may be on their way when the first one comes back.
        assert!((1..=8).contains(&posts), "{name}: {posts} POSTs");
        assert!(log.contains("POST does not get through"), "{name}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_query_that_no_way_lets_through_is_refused_by_the_name_of_both() {
    let prometheus = source(&[many_clusters()]);
    let rule = |query: &mut Query| match query.method.as_str() {
        "POST" => Fate::Refused(405, "Method Not Allowed".to_owned()),
        _ if query.text("query").len() > 2_000 => Fate::Refused(414, "URI Too Long".to_owned()),
        _ => Fate::Passed,
    };
    let layer = Layer::new(&prometheus.url, rule).await;
    let (summary, _) = run_through(&layer.url, &[]);
    let text = summary.to_string();
    assert!(text.contains("by POST") && text.contains("by GET"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_name_the_account_and_are_shown_nowhere() {
    const OTHER: &str = "abababab-0000-0000-0000-0000000000ab";
    let prometheus = prometheus();
    let rule = |query: &mut Query| {
        let org = query.headers.get("x-scope-orgid").map(|value| value.to_str().unwrap());
        let is_alive = query.text("query") == "vector(1)";
        match org {
            None if is_alive => Fate::Refused(401, "no org id".to_owned()),
            Some(org) if query.text("query").contains(org.trim_start_matches("kube-")) => {
                Fate::Passed
            }
            _ if is_alive || query.path.ends_with("stores") => Fate::Passed,
            _ => Fate::Refused(401, format!("{org:?} is not the account of this query")),
        }
    };
    let layer = Layer::new(&prometheus.url, rule).await;
    let headers = "X-Scope-OrgID: kube-{account}\nX-Key: hunter2-of-headers\n";
    let more = [("PROMETHEUS_URL", &*layer.url), ("PROMETHEUS_HEADERS", headers)];
    let more = [&more[..], &[("RUST_LOG", "debug,hyper=info")]].concat();
    let store = SqliteStore::new(&[ACCOUNT, OTHER], &more);
    let finished = store.run(&["run", "--at", AT, "--output", "json"]).expect_success();
    let summary = finished.summary();
    let of_account = json!({"accounts": [summary["accounts"].as_array().unwrap().iter()
        .find(|account| account["id"] == ACCOUNT).unwrap()]});
    assert_whole(&of_account, "with headers");
    assert!(layer.seen().iter().all(|query| query.headers["x-key"] == "hunter2-of-headers"));
    let said = format!("{}{}", finished.stdout, finished.stderr);
    assert!(!said.contains("hunter2"), "{said}");
    let wrong = SqliteStore::new(
        &[ACCOUNT],
        &[("PROMETHEUS_URL", &*layer.url), ("PROMETHEUS_HEADERS", "hunter2")],
    );
    let finished = wrong.run(&["run", "--at", AT]);
    assert_eq!(finished.code, 2, "{}", finished.stderr);
    let said = format!("{}{}", finished.stdout, finished.stderr);
    assert!(said.contains("PROMETHEUS_HEADERS") && !said.contains("hunter2"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_every_ten_minutes_is_named_and_not_a_hundred_outages() {
    let mut history = History::default();
    let labels = format!("tenant_id=\"{ACCOUNT}\",cluster=\"c\"");
    history.every_minute("cloudtuner_kubecost_cluster_total_cost", &labels, 0, LIFE, |time| {
        (time % 600 == 0).then_some(2.0)
    });
    let prometheus = source(&[history]);
    let (summary, _) = run_through(&prometheus.url, &[]);
    let first = day(&summary, "2026-03-01");
    let cause = first["cause"].as_str().unwrap();
    assert_eq!(first["state"], "partial", "{first}");
    assert!(cause.contains("a sample every 10 min only"), "{cause}");
    assert!(cause.contains("scrape_interval") && !cause.contains("more holes"), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_thanos_that_is_away_makes_days_partial() {
    let prometheus = prometheus();
    let stores = json!({"status": "success", "data": {"receive": [
        {"name": "thanos-receive-1:10901", "lastError": "rpc error: code = Unavailable",
         "minTime": MARCH * 1_000, "maxTime": i64::MAX}]}})
    .to_string();
    // It is overloaded when it is asked first.
    let asked = AtomicUsize::new(0);
    let rule = move |query: &mut Query| match query.path.ends_with("/stores") {
        true if asked.fetch_add(1, Ordering::SeqCst) == 0 => Fate::Refused(503, String::new()),
        true => Fate::Refused(200, stores.clone()),
        false => Fate::Passed,
    };
    let layer = Layer::new(&prometheus.url, rule).await;
    let (summary, _) = run_through(&layer.url, &[]);
    let first = day(&summary, "2026-03-01");
    assert_eq!(first["state"], "partial", "{first}");
    assert!(first["warnings"].to_string().contains("thanos-receive-1"), "{first}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_missing_on_a_new_day_is_missed() {
    // The second cluster's store is dropped from Thanos on the third day: neither error nor warning.
    let mut history = history();
    let labels = format!("tenant_id=\"{ACCOUNT}\",cluster=\"second\"");
    let until = (LIFE.0, MARCH + 2 * DAY - HOUR);
    history
        .every_minute("cloudtuner_kubecost_cluster_total_cost", &labels, 0, until, |_| Some(1.0));
    let prometheus = source(&[history]);
    let store = SqliteStore::new(&[ACCOUNT], &[("PROMETHEUS_URL", &prometheus.url)]);
    store.run(&["run", "--at", "2026-03-02T23:59:00Z"]).expect_success();
    let summary = store.run(&["run", "--at", AT, "--output", "json"]).summary();
    let third = day(&summary, "2026-03-03");
    assert_eq!(third["state"], "partial", "{third}");
    assert!(third["cause"].as_str().unwrap().contains("cluster 'second'"), "{third}");
}

/// All that a run stored, by day, through each of several addresses.
fn stored_through(urls: &[&str]) -> Vec<Vec<(String, f64, String)>> {
    let more = [("CATCH_UP_DAYS", "5"), ("LEVELS", "cluster,namespace,pod")];
    urls.iter().map(|url| days(&run_through(url, &more).0)).collect()
}

/// A history with a hole of two hours in its costs alone, a pod of twenty minutes, and a cluster
/// whose exporter says no window.
fn varied() -> History {
    let mut history = history();
    let labels = format!("tenant_id=\"{ACCOUNT}\",cluster=\"plain\"");
    let wave = |time: i64| Some(1.0 + (time / HOUR % 5) as f64 / 10.0);
    history.every_minute("cloudtuner_kubecost_cluster_total_cost", &labels, 0, LIFE, wave);
    let hole = MARCH + 10 * HOUR..MARCH + 12 * HOUR;
    let with_hole = format!("tenant_id=\"{ACCOUNT}\",cluster=\"hole\"");
    let costs = |time: i64| (!hole.contains(&time)).then_some(3.0);
    history.every_minute("cloudtuner_kubecost_cluster_total_cost", &with_hole, 0, LIFE, costs);
    let end = |time: i64| Some(closed(time, HOUR) as f64);
    let of_window = "cloudtuner_kubecost_window_end_timestamp_seconds";
    history.every_minute(of_window, &with_hole, 0, LIFE, end);
    let length = |_: i64| Some(HOUR as f64);
    history.every_minute("cloudtuner_kubecost_window_seconds", &with_hole, 0, LIFE, length);
    history
}

#[tokio::test(flavor = "multi_thread")]
async fn thanos_query_frontend_with_a_results_cache_has_the_days_of_prometheus() {
    use crate::support::servers::{PrometheusVersion, prometheus as start, query_frontend};
    for version in [PrometheusVersion::Two, PrometheusVersion::Three] {
        let data = tempfile::tempdir().unwrap();
        varied().write_blocks(data.path());
        let prometheus = start(version, data.path());
        let frontend = query_frontend(&prometheus.url);
        // Twice through the layer: the second answers may come from its cache.
        let found = stored_through(&[&prometheus.url, &frontend.url, &frontend.url]);
        let first = found[0].iter().find(|(day, ..)| day == "2026-03-01").unwrap();
        assert!(first.1 > DAY_USD, "{version:?}: {found:?}");
        assert_eq!(found[1], found[0], "{version:?}");
        assert_eq!(found[2], found[0], "{version:?}, again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn victoriametrics_has_the_days_of_prometheus() {
    let prometheus = source(&[varied()]);
    let victoria = victoriametrics(varied().in_milliseconds(), &[]).await;
    let found = stored_through(&[&prometheus.url, &victoria.url]);
    assert_eq!(found[0].len(), found[1].len(), "{found:?}");
    for (one, other) in found[0].iter().zip(&found[1]) {
        assert_eq!((&one.0, &one.2), (&other.0, &other.2), "day and state: {found:?}");
        // Its look-back is the scrape interval and not five minutes.
        let apart = (one.1 - other.1).abs();
        assert!(apart <= 0.005 * one.1, "{one:?} against {other:?}");
    }
}
