//! What the exporter says of windows of which the source has only a part.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::{Map, Value, json};

use crate::support::{Answer, Metrics, Server, assert_near, at, exporter, fixture, scraped, sets};
use kubecost_worker::allocation_api::window::rfc3339;

/// Costs of how many minutes are shown, in windows of an hour, and in how many rows one is missing.
fn told(shown: &Metrics) -> Option<(f64, f64)> {
    assert_eq!(shown.get("window_seconds").copied().unwrap_or(3_600.0), 3_600.0);
    let seconds = shown.get("window_covered_seconds")?;
    Some((seconds / 60.0, shown["window_unknown_rows"]))
}

/// OpenCost's own Prometheus had nothing from 20:30 to 22:30: the hour before ends early, the one
/// after begins late, and the one between has no rows.
#[tokio::test]
async fn hours_at_both_ends_of_a_gap_say_how_much_of_them_is_there() {
    let hours = sets("opencost-run/alloc/gap-1900-0000-step1h.json.gz");
    let first = at("2026-11-19T19:00:00Z");
    let server = Server::opencost(move |seen| {
        let hour = usize::try_from((seen.window().0 - first) / 3_600).unwrap();
        Answer::sets(&hours[hour..=hour])
    })
    .await;
    let (poller, clock) = exporter(&server.url, "2026-11-19T20:04:00Z", &[]);
    let mut by_end = std::collections::BTreeMap::new();
    for now in (at("2026-11-19T20:04:00Z")..at("2026-11-20T00:30:00Z")).step_by(60) {
        clock.set(now);
        poller.poll().await;
        let shown = scraped(&poller);
        let end = shown["window_end_timestamp_seconds"] as i64;
        by_end.entry((end - first) / 3_600).or_insert((
            (now - end) / 60,
            told(&shown),
            shown["cluster_total_cost"],
        ));
    }
    let found: Vec<_> =
        by_end.iter().map(|(hour, (late, told, _))| (*hour, *late, *told)).collect();
    let wanted = [
        (1, 4, Some((60.0, 0.0))),
        (2, 20, Some((30.0, 0.0))),
        (4, 20, Some((25.0, 0.0))),
        (5, 3, Some((60.0, 0.0))),
    ];
    assert_eq!(found, wanted);
    assert!(by_end[&4].2 < by_end[&5].2 / 2.0, "it costs what is there of it");
}

#[tokio::test]
async fn the_hour_in_which_a_cluster_is_made_is_accepted_as_a_part() {
    let server =
        Server::opencost(|_| Answer::json(fixture("opencost-run/alloc/first-hour.json.gz"))).await;
    let (poller, clock) = exporter(&server.url, "2026-11-19T02:04:00Z", &[]);
    let start = at("2026-11-19T02:04:00Z");
    for now in (start..).step_by(60).take(56) {
        clock.set(now);
        poller.poll().await;
        if scraped(&poller)["exporter_scrape_success"] == 1.0 {
            assert_eq!(now, at("2026-11-19T02:20:00Z"));
            assert_eq!(told(&scraped(&poller)), Some((5.0, 0.0)));
            return;
        }
    }
    panic!("never accepted");
}

/// A row of an hour that begins in its minute `from`.
fn row(start: i64, from: i64, total: Value) -> Value {
    json!({
        "window": {"start": rfc3339(start), "end": rfc3339(start + 3_600)},
        "start": rfc3339(start + from * 60), "end": rfc3339(start + 3_600),
        "cpuCost": total.clone(), "totalCost": total,
    })
}

#[tokio::test]
async fn a_window_that_becomes_whole_is_shown_as_whole_at_once() {
    let (from, unknown) = (Arc::new(AtomicI64::new(35)), Arc::new(AtomicI64::new(2)));
    let (minutes, rows) = (Arc::clone(&from), Arc::clone(&unknown));
    let server = Server::opencost(move |seen| {
        let start = seen.window().0;
        let from = minutes.load(Ordering::SeqCst);
        let mut set: Map<String, Value> = ["__idle__", "shop"]
            .map(|name| (name.to_owned(), row(start, from, json!(60 - from))))
            .into_iter()
            .collect();
        for number in 0..rows.load(Ordering::SeqCst) {
            set.insert(format!("unknown-{number}"), row(start, from, Value::Null));
        }
        Answer::sets(&[set])
    })
    .await;
    let (poller, clock) = exporter(&server.url, "2026-11-20T17:05:00Z", &[]);
    for now in (at("2026-11-20T17:05:00Z")..=at("2026-11-20T17:20:00Z")).step_by(60) {
        assert_eq!(told(&scraped(&poller)), None);
        clock.set(now);
        poller.poll().await;
    }
    let shown = scraped(&poller);
    assert_eq!((told(&shown), shown["exporter_scrape_success"]), (Some((25.0, 2.0)), 1.0));
    assert_near(shown["cluster_total_cost"], 50.0, 1e-9);
    from.store(0, Ordering::SeqCst);
    unknown.store(0, Ordering::SeqCst);
    poller.poll().await;
    let shown = scraped(&poller);
    assert_eq!((told(&shown), shown["exporter_scrape_success"]), (Some((60.0, 0.0)), 1.0));
    assert_near(shown["cluster_total_cost"], 120.0, 1e-9);
}
