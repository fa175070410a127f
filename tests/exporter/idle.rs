//! Shared idle cost: what a server leaves in the row `__idle__`, and servers that share nothing.

use serde_json::{Map, Value, json};

use crate::support::{Answer, Seen, Server, assert_near, by_namespace, exporter, fixture, scraped};
use kubecost_worker::allocation_api::window::rfc3339;

/// A set of an hour: CPU, memory and GPU cost of each row.
fn set(start: i64, rows: &[(&str, [f64; 3])]) -> Map<String, Value> {
    let window = json!({"start": rfc3339(start), "end": rfc3339(start + 3_600)});
    let row = |[cpu, ram, gpu]: [f64; 3]| {
        json!({
            "window": window, "start": rfc3339(start), "end": rfc3339(start + 3_600),
            "cpuCost": cpu, "ramCost": ram, "gpuCost": gpu, "totalCost": cpu + ram + gpu,
        })
    };
    rows.iter().map(|(name, parts)| ((*name).to_owned(), row(*parts))).collect()
}

const REFUSED: &str = "exporter_scrape_errors_total{reason=\"idle-not-shared\"}";

/// Idle GPU nodes: no row has a GPU cost that theirs could be shared by.
#[tokio::test]
async fn what_could_not_be_shared_is_kept_as_idle_cost() {
    for share in ["true", "even"] {
        let server = Server::start(|seen: &Seen| {
            if seen.path != "/model/allocation" {
                return Answer::not_found();
            }
            let rows = [
                ("__idle__", [0.0, 0.0, 12.0]),
                ("kubecost", [12.0, 7.0, 0.0]),
                ("shop", [1.0, 2.0, 0.0]),
            ];
            let set = set(seen.window().0, &rows);
            Answer::json(json!({"code": 200, "data": [set]}).to_string())
        })
        .await;
        let settings = [("SHARE_IDLE", share)];
        let (poller, _) = exporter(&server.url, "2026-11-20T17:05:00Z", &settings);
        poller.poll().await;
        let shown = scraped(&poller);
        assert_near(shown["cluster_total_cost"], 34.0, 1e-9);
        let expected = [("__idle__", 12.0), ("kubecost", 19.0), ("shop", 3.0)];
        let expected = expected.map(|(name, usd)| (name.to_owned(), usd)).into();
        assert_eq!(by_namespace(&shown, "namespace_total_cost"), expected, "{share}");
        assert_eq!(shown.get("exporter_odd_values_total{reason=\"idle-twice\"}"), None);
    }
}

/// An OpenCost that does not know `shareIdle`: one part that others have is enough to see it.
#[tokio::test]
async fn a_reply_whose_idle_cost_is_not_shared_is_refused() {
    for idle in [[0.5, 0.0, 12.0], [0.0, -0.5, 0.0], [3.0, 2.0, 0.0]] {
        let server = Server::opencost(move |seen| {
            let rows = [("__idle__", idle), ("shop", [12.0, 7.0, 0.0])];
            Answer::sets(&[set(seen.window().0, &rows)])
        })
        .await;
        let settings = [("SHARE_IDLE", "true")];
        let (poller, _) = exporter(&server.url, "2026-11-20T17:05:00Z", &settings);
        poller.poll().await;
        let shown = scraped(&poller);
        assert_eq!(shown[REFUSED], 1.0, "{idle:?}");
        assert!(!shown.contains_key("cluster_total_cost"), "{idle:?}");
    }
}

/// In one hour no row has a GPU cost, in the other one has: each is shared by itself.
#[tokio::test]
async fn each_set_of_a_window_is_shared_by_itself() {
    let server = Server::opencost(|seen| {
        let start = seen.window().0;
        let first = set(start, &[("__idle__", [0.0, 0.0, 6.0]), ("shop", [1.0, 1.0, 0.0])]);
        let second = set(start + 3_600, &[("ml", [1.0, 1.0, 6.0]), ("shop", [1.0, 1.0, 0.0])]);
        Answer::sets(&[first, second])
    })
    .await;
    let settings = [("SHARE_IDLE", "true"), ("WINDOW", "2h"), ("METRIC_MODE", "total")];
    let (poller, _) = exporter(&server.url, "2026-11-20T18:05:00Z", &settings);
    poller.poll().await;
    let shown = scraped(&poller);
    assert_near(shown["cluster_total_cost"], 18.0, 1e-9);
    assert_near(shown["namespace_total_cost{namespace=\"__idle__\"}"], 6.0, 1e-9);
}

/// Nodes are always asked for with idle cost shared. Without it they would cost too little.
#[tokio::test]
async fn nodes_of_a_server_that_shares_nothing_have_no_gauges() {
    let server = Server::opencost(|seen| {
        let file = match seen.query["aggregate"].as_str() {
            "node" => "hour16-node-idle",
            _ => "hour16-namespace-idle",
        };
        Answer::json(fixture(&format!("opencost-run/alloc/{file}.json.gz")))
    })
    .await;
    let settings = [("NODE_METRICS", "true")];
    let (poller, _) = exporter(&server.url, "2026-11-20T17:05:00Z", &settings);
    poller.poll().await;
    let shown = scraped(&poller);
    assert_near(shown["cluster_total_cost"], 2.77375, 1e-5);
    assert_eq!(shown[REFUSED], 1.0);
    assert!(!shown.keys().any(|series| series.starts_with("node_")), "{shown:?}");
}
