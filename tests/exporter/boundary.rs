//! A simulated clock over the full hour, gaps, losses and staleness.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::support::{
    Answer, Seen, Server, assert_near, at, by_namespace, exporter, scraped, sets,
};
use kubecost_worker::allocation_api::window::rfc3339;
use kubecost_worker::service::clock::{Clock, FixedClock};

/// The cost of the hour that starts at `start`, USD: each hour another.
fn hourly_usd(start: i64) -> f64 {
    2.0 + 0.25 * ((start / 3_600) % 5) as f64
}

/// The rows of an hour of which `minutes` have been computed.
fn hour(start: i64, minutes: i64) -> Map<String, Value> {
    let share = minutes as f64 / 60.0;
    let row = |name: &str, part: f64| {
        let usd = hourly_usd(start) * part * share;
        json!({
            "name": name,
            "window": {"start": rfc3339(start), "end": rfc3339(start + 3_600)},
            "start": rfc3339(start), "end": rfc3339(start + minutes * 60), "minutes": minutes,
            "cpuCost": usd * 0.75, "ramCost": usd * 0.25, "totalCost": usd,
        })
    };
    let mut set = Map::new();
    for (name, part) in [("__idle__", 0.25), ("shop", 0.5), ("kube-system", 0.125), ("jobs", 0.125)]
    {
        // The smallest come last while an hour is computed.
        if minutes > 30 || part > 0.2 {
            set.insert(name.to_owned(), row(name, part));
        }
    }
    set
}

/// A server as it is at the hour boundary: an hour that closed is empty for five minutes, then
/// computed by thirds until it is ten minutes old.
fn real_server(clock: Arc<FixedClock>) -> impl Fn(&Seen) -> Answer + Send + Sync {
    move |seen| {
        let (start, end) = seen.window();
        assert_eq!((end - start, start % 3_600), (3_600, 0), "only full hours are asked for");
        let age = clock.now_seconds() - end;
        assert!(age >= 0, "only closed hours are asked for");
        let set = match age {
            0..300 => Map::new(),
            300..420 => hour(start, 20),
            420..600 => hour(start, 40),
            _ => hour(start, 60),
        };
        Answer::sets(&[set])
    }
}

#[tokio::test]
async fn no_gauge_drops_or_jumps_from_14_50_to_16_20_and_the_integral_is_right() {
    let clock = Arc::new(FixedClock::at(at("2026-11-20T14:50:00Z")));
    let server = Server::opencost(real_server(Arc::clone(&clock))).await;
    let (poller, own) = exporter(&server.url, "2026-11-20T14:50:00Z", &[]);
    let (from, to) = (at("2026-11-20T14:50:00Z"), at("2026-11-20T23:20:00Z"));
    let mut minutes = Vec::new();
    for now in (from..to).step_by(60) {
        clock.set(now);
        own.set(now);
        poller.poll().await;
        let shown = scraped(&poller);
        let window_start = shown["window_end_timestamp_seconds"] as i64 - 3_600;
        let total = shown["cluster_total_cost"];
        assert_near(total, hourly_usd(window_start), 1e-9);
        let namespaces = by_namespace(&shown, "namespace_total_cost");
        assert_eq!(namespaces.len(), 4, "at {}", rfc3339(now));
        assert_near(namespaces.values().sum(), total, 1e-9);
        minutes.push((now, total, window_start + 3_600));
    }
    // A reader shifts by the lag: the window, and the least time from its end to when it is shown.
    let lag = 3_600 + minutes.iter().map(|(now, _, end)| now - end).min().unwrap();
    assert_eq!(lag, 3_600 + 600, "the server is done ten minutes after the hour");
    let (first, last) = (at("2026-11-20T15:00:00Z"), at("2026-11-20T22:00:00Z"));
    let integral: f64 = minutes
        .iter()
        .filter(|(now, ..)| (first..last).contains(&(now - lag)))
        .map(|(_, rate, _)| rate / 60.0)
        .sum();
    let truth: f64 = (first..last).step_by(3_600).map(hourly_usd).sum();
    assert_near(integral / truth, 1.0, 1e-3);
}

#[tokio::test]
async fn the_recorded_hours_are_shown_one_after_the_other_and_add_up() {
    let hours = sets("opencost-run/alloc/24x1h-namespace.json.gz");
    let truth: f64 =
        hours.iter().flat_map(Map::values).map(|row| row["totalCost"].as_f64().unwrap()).sum();
    let start = at("2026-11-20T03:00:00Z");
    let server = Server::opencost(move |seen| {
        let hour = usize::try_from((seen.window().0 - start) / 3_600).unwrap();
        Answer::sets(&hours[hour..=hour])
    })
    .await;
    let (poller, clock) = exporter(&server.url, "2026-11-20T04:04:00Z", &[]);
    let mut integral = 0.0;
    for now in (start + 3_600 + 240..start + 25 * 3_600 + 240).step_by(300) {
        clock.set(now);
        poller.poll().await;
        let shown = scraped(&poller);
        assert_eq!(shown["exporter_scrape_success"], 1.0, "at {}", rfc3339(now));
        integral += shown["cluster_total_cost"] / 12.0;
    }
    assert_near(integral / truth, 1.0, 1e-3);
}

#[tokio::test]
async fn a_failure_leaves_the_last_answer_until_it_is_stale() {
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let switch = Arc::clone(&broken);
    let server = Server::opencost(move |seen| {
        if switch.load(std::sync::atomic::Ordering::SeqCst) {
            return Answer(500, "application/json", br#"{"code":500,"message":"down"}"#.to_vec());
        }
        Answer::sets(&[hour(seen.window().0, 60)])
    })
    .await;
    let (poller, clock) = exporter(&server.url, "2026-11-20T15:10:00Z", &[]);
    poller.poll().await;
    let good = scraped(&poller)["cluster_total_cost"];
    broken.store(true, std::sync::atomic::Ordering::SeqCst);
    clock.set(at("2026-11-20T18:10:00Z"));
    poller.poll().await;
    let shown = scraped(&poller);
    assert_eq!((shown["cluster_total_cost"], shown["exporter_scrape_success"]), (good, 0.0));
    clock.set(at("2026-11-20T18:10:01Z"));
    let shown = scraped(&poller);
    assert!(!shown.keys().any(|series| series.contains("_cost")), "{shown:?}");
    assert_eq!(shown["data_age_seconds"], 3.0 * 3_600.0 + 601.0);
    assert_eq!(shown["exporter_scrape_errors_total{reason=\"unavailable\"}"], 1.0);
}

#[tokio::test]
async fn gone_namespaces_and_pods_vanish_with_the_next_window() {
    let server = Server::opencost(|seen| {
        let (start, end) = seen.window();
        let row = json!({
            "window": {"start": rfc3339(start), "end": rfc3339(end)}, "cpuCost": 1, "totalCost": 1,
        });
        let late = start >= at("2026-11-20T15:00:00Z");
        let keys: &[&str] = match (seen.query["aggregate"].as_str(), late) {
            ("namespace", false) => &["__idle__", "old", "shop"],
            ("namespace", true) => &["__idle__", "new", "shop"],
            (_, false) => &["__idle__", "old/old-0", "shop/web-0"],
            (_, true) => &["__idle__", "new/new-0", "shop/web-1"],
        };
        let set = keys.iter().map(|key| ((*key).to_owned(), row.clone())).collect();
        Answer::sets(&[set])
    })
    .await;
    let settings = [("POD_METRICS", "true")];
    let (poller, clock) = exporter(&server.url, "2026-11-20T15:30:00Z", &settings);
    poller.poll().await;
    let pod = |name: &str| {
        let (namespace, pod) = name.split_once('/').unwrap();
        format!("pod_total_cost{{namespace=\"{namespace}\",pod=\"{pod}\"}}")
    };
    let before = scraped(&poller);
    assert!(before.contains_key(&pod("old/old-0")) && before.contains_key(&pod("shop/web-0")));
    clock.set(at("2026-11-20T16:30:00Z"));
    poller.poll().await;
    let after = scraped(&poller);
    let names: Vec<_> = by_namespace(&after, "namespace_total_cost").into_keys().collect();
    assert_eq!(names, ["__idle__", "new", "shop"]);
    assert!(!after.contains_key(&pod("old/old-0")) && !after.contains_key(&pod("shop/web-0")));
    assert!(after.contains_key(&pod("shop/web-1")));
}

/// What was shown of one window must not be billed as the next one.
#[tokio::test]
async fn pods_and_nodes_that_cannot_be_had_are_shown_of_their_own_window_only() {
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let switch = Arc::clone(&broken);
    let server = Server::opencost(move |seen| {
        let (start, end) = seen.window();
        let window = json!({"start": rfc3339(start), "end": rfc3339(end)});
        let row = json!({"window": window, "cpuCost": 1, "totalCost": 1});
        let keys: &[&str] = match seen.query["aggregate"].as_str() {
            "namespace" => &["__idle__", "shop"],
            _ if switch.load(std::sync::atomic::Ordering::SeqCst) => {
                return Answer(500, "application/json", br#"{"code":500}"#.to_vec());
            }
            "node" => &["node-a"],
            _ => &["__idle__", "shop/web-0"],
        };
        let set = keys.iter().map(|key| ((*key).to_owned(), row.clone())).collect();
        Answer::sets(&[set])
    })
    .await;
    let settings = [("POD_METRICS", "true"), ("NODE_METRICS", "true")];
    let (poller, clock) = exporter(&server.url, "2026-11-20T15:30:00Z", &settings);
    poller.poll().await;
    let parts = || {
        let shown = scraped(&poller);
        let count = |of: &str| shown.keys().filter(|series| series.starts_with(of)).count();
        (count("pod_total_cost"), count("node_total_cost"), count("namespace_total_cost"))
    };
    assert_eq!(parts(), (1, 1, 2));
    broken.store(true, std::sync::atomic::Ordering::SeqCst);
    clock.set(at("2026-11-20T15:31:00Z"));
    poller.poll().await;
    assert_eq!(parts(), (1, 1, 2), "they are of the window that is shown");
    clock.set(at("2026-11-20T16:30:00Z"));
    poller.poll().await;
    assert_eq!(parts(), (0, 0, 2), "they are of the window before");
    let shown = scraped(&poller);
    assert_eq!(shown["exporter_scrape_success"], 1.0);
    assert_eq!(shown["exporter_scrape_errors_total{reason=\"unavailable\"}"], 4.0);
    broken.store(false, std::sync::atomic::Ordering::SeqCst);
    clock.set(at("2026-11-20T16:31:00Z"));
    poller.poll().await;
    assert_eq!(parts(), (1, 1, 2));
}

/// With short windows too: a scale-down must not leave the exporter without a window for good.
#[tokio::test]
async fn a_fall_that_lasts_is_accepted_in_windows_of_a_minute_too() {
    let server = Server::opencost(|seen| {
        let (start, end) = seen.window();
        let window = json!({"start": rfc3339(start), "end": rfc3339(end)});
        let row = json!({"window": window, "cpuCost": 1, "totalCost": 1});
        let few = start >= at("2026-11-20T15:00:00Z");
        let names = if few { &["a"][..] } else { &["a", "b", "c", "d"][..] };
        let set = names.iter().map(|name| ((*name).to_owned(), row.clone())).collect();
        Answer::sets(&[set])
    })
    .await;
    let settings = [("WINDOW", "1m"), ("SCRAPE_INTERVAL", "20")];
    let (poller, clock) = exporter(&server.url, "2026-11-20T15:00:00Z", &settings);
    let start = at("2026-11-20T15:00:00Z");
    for now in (start..start + 180).step_by(20) {
        clock.set(now);
        poller.poll().await;
    }
    let shown = scraped(&poller);
    assert_eq!(by_namespace(&shown, "namespace_total_cost").len(), 1);
    assert_eq!(shown["window_end_timestamp_seconds"] as i64, start + 60);
}

#[tokio::test]
async fn a_fall_with_fewer_rows_is_looked_at_once_more() {
    let server = Server::opencost(|seen| {
        let start = seen.window().0;
        let mut set = hour(start, 60);
        if start >= at("2026-11-20T15:00:00Z") {
            set.retain(|name, _| name == "__idle__" || name == "jobs");
        }
        Answer::sets(&[set])
    })
    .await;
    let (poller, clock) = exporter(&server.url, "2026-11-20T15:30:00Z", &[]);
    poller.poll().await;
    let before = scraped(&poller)["cluster_total_cost"];
    clock.set(at("2026-11-20T16:30:00Z"));
    poller.poll().await;
    let doubted = scraped(&poller);
    assert_eq!((doubted["cluster_total_cost"], doubted["exporter_scrape_success"]), (before, 0.0));
    assert_eq!(doubted["exporter_scrape_errors_total{reason=\"fell\"}"], 1.0);
    clock.set(at("2026-11-20T16:31:00Z"));
    poller.poll().await;
    let accepted = scraped(&poller);
    assert!(accepted["cluster_total_cost"] < before / 2.0);
    assert_eq!(accepted["exporter_scrape_success"], 1.0);
}

#[tokio::test]
async fn total_mode_says_the_window_and_its_length_is_told() {
    let server = Server::opencost(|seen| {
        let (start, end) = seen.window();
        let hours: Vec<_> = (start..end).step_by(3_600).map(|start| hour(start, 60)).collect();
        Answer::sets(&hours)
    })
    .await;
    let mode = |mode| [("METRIC_MODE", mode), ("WINDOW", "4h")];
    let (total, _) = exporter(&server.url, "2026-11-20T16:30:00Z", &mode("total"));
    let (rate, _) = exporter(&server.url, "2026-11-20T16:30:00Z", &mode("rate"));
    total.poll().await;
    rate.poll().await;
    let (total, rate) = (scraped(&total), scraped(&rate));
    let start = at("2026-11-20T12:00:00Z");
    let truth: f64 = (start..start + 4 * 3_600).step_by(3_600).map(hourly_usd).sum();
    assert_near(total["cluster_total_cost"], truth, 1e-9);
    assert_near(rate["cluster_total_cost"], truth / 4.0, 1e-9);
    assert_eq!(total["window_seconds"], 14_400.0);
    assert!(total.keys().any(|series| series.contains("mode=\"total\"")));
}
