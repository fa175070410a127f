//! Answers that are no success although they are well formed, and the product's currency.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Map, Value, json};

use crate::support::{Answer, Seen, Server, assert_near, at, exporter, scraped};
use kubecost_worker::allocation_api::window::rfc3339;

/// A set of rows that cost 1 USD each.
fn set(start: i64, end: i64, names: &[&str]) -> Map<String, Value> {
    let row = json!({
        "window": {"start": rfc3339(start), "end": rfc3339(end)},
        "start": rfc3339(start), "end": rfc3339(end), "cpuCost": 1, "totalCost": 1,
    });
    names.iter().map(|name| ((*name).to_owned(), row.clone())).collect()
}

fn errors(reason: &str) -> String {
    format!("exporter_scrape_errors_total{{reason=\"{reason}\"}}")
}

#[tokio::test]
async fn the_currency_is_asked_for_with_each_window_until_it_is_the_labels() {
    let said = Arc::new(AtomicUsize::new(0));
    let saying = Arc::clone(&said);
    let server = Server::start(move |seen: &Seen| {
        if !seen.path.ends_with("getConfigs") {
            let (start, end) = seen.window();
            return Answer::sets(&[set(start, end, &["__idle__", "shop"])]);
        }
        let code = match saying.load(Ordering::SeqCst) {
            0 => return Answer(503, "text/plain", Vec::new()),
            1 => "EUR",
            _ => "USD",
        };
        Answer::json(json!({"code": 200, "data": {"currencyCode": code}}).to_string())
    })
    .await;
    let (poller, clock) = exporter(&server.url, "2026-11-20T15:30:00Z", &[]);
    let odd = "exporter_odd_values_total{reason=\"other-currency\"}";
    // When, what the product says, how often it was asked by then, and how often it said another.
    for (now, saying, asked, others) in [
        ("2026-11-20T15:30:00Z", 0, 1, None),
        ("2026-11-20T15:31:00Z", 1, 1, None),
        ("2026-11-20T16:30:00Z", 1, 2, Some(1.0)),
        ("2026-11-20T16:31:00Z", 1, 2, Some(1.0)),
        ("2026-11-20T17:30:00Z", 1, 3, Some(2.0)),
        ("2026-11-20T18:30:00Z", 2, 4, Some(2.0)),
        ("2026-11-20T19:30:00Z", 2, 4, Some(2.0)),
    ] {
        clock.set(at(now));
        said.store(saying, Ordering::SeqCst);
        poller.poll().await;
        let shown = scraped(&poller);
        let seen = server.seen().iter().filter(|seen| seen.path.ends_with("getConfigs")).count();
        assert_eq!((seen, shown.get(odd).copied()), (asked, others), "{now}");
        assert_near(shown["cluster_total_cost"], 2.0, 1e-9);
        assert_eq!(shown["exporter_scrape_success"], 1.0, "{now}");
    }
}

#[tokio::test]
async fn a_window_that_no_scrape_would_show_is_no_success() {
    let (start, end) = (at("2026-11-20T15:00:00Z"), at("2026-11-20T16:00:00Z"));
    let server =
        Server::opencost(move |_| Answer::sets(&[set(start, end, &["__idle__", "shop"])])).await;
    let (poller, clock) = exporter(&server.url, "2026-11-20T16:30:00Z", &[]);
    for (now, success, refused) in [
        ("2026-11-20T16:30:00Z", 1.0, 0.0),
        ("2026-11-20T20:00:00Z", 1.0, 0.0),
        ("2026-11-20T20:00:01Z", 0.0, 1.0),
    ] {
        clock.set(at(now));
        poller.poll().await;
        let shown = scraped(&poller);
        let found = (shown["exporter_scrape_success"], shown[&errors("stale-window")]);
        assert_eq!(found, (success, refused), "{now}");
        assert_eq!(shown.contains_key("cluster_total_cost"), success == 1.0, "{now}");
    }
}

#[tokio::test]
async fn a_window_that_loses_its_idle_cost_when_it_is_read_again_stands_as_it_was() {
    let is_lost = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&is_lost);
    let server = Server::opencost(move |seen| {
        let (start, end) = seen.window();
        let names = ["__idle__", "shop", "jobs"];
        let from = usize::from(switch.load(Ordering::SeqCst));
        Answer::sets(&[set(start, end, &names[from..])])
    })
    .await;
    let (poller, clock) = exporter(&server.url, "2026-11-20T15:30:00Z", &[]);
    poller.poll().await;
    is_lost.store(true, Ordering::SeqCst);
    for now in ["2026-11-20T15:31:00Z", "2026-11-20T15:50:00Z"] {
        clock.set(at(now));
        poller.poll().await;
    }
    let shown = scraped(&poller);
    assert_near(shown["cluster_total_cost"], 3.0, 1e-9);
    assert_eq!((shown[&errors("poorer")], shown["exporter_scrape_success"]), (2.0, 0.0));
    clock.set(at("2026-11-20T16:30:00Z"));
    poller.poll().await;
    assert_eq!(scraped(&poller)[&errors("partial")], 1.0, "the next window is doubted");
    clock.set(at("2026-11-20T16:40:00Z"));
    poller.poll().await;
    let shown = scraped(&poller);
    assert_near(shown["cluster_total_cost"], 2.0, 1e-9);
    assert_eq!(shown["exporter_scrape_success"], 1.0, "it stays so");
}

#[tokio::test]
async fn an_hour_that_is_missing_between_others_is_not_told_as_covered() {
    let server = Server::opencost(|seen| {
        let start = seen.window().0;
        let hour = |number: i64| {
            let from = start + number * 3_600;
            set(from, from + 3_600, &["__idle__", "shop"])
        };
        Answer::sets(&[hour(0), Map::new(), hour(2), hour(3)])
    })
    .await;
    let (poller, clock) = exporter(&server.url, "2026-11-20T16:30:00Z", &[("WINDOW", "4h")]);
    poller.poll().await;
    assert_eq!(scraped(&poller)[&errors("partial")], 1.0);
    clock.set(at("2026-11-20T16:40:00Z"));
    poller.poll().await;
    let shown = scraped(&poller);
    assert_eq!((shown["window_seconds"], shown["window_covered_seconds"]), (14_400.0, 10_800.0));
    assert_eq!(shown["exporter_scrape_success"], 1.0);
}
