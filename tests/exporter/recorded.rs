//! Recorded and odd replies: what each becomes, written down by hand or by a script that knows
//! nothing of the code.

use std::collections::BTreeMap;

use kubecost_worker::allocation_api::{Refusal, reply, verdict};

use crate::support::{
    Answer, Metrics, Server, assert_near, at, by_namespace, exporter, fixture, scraped, sets,
};

/// Sums of 5-decimal numbers in another order.
const ROUNDING: f64 = 1e-5;

#[test]
fn every_recorded_reply_is_read_to_the_sums_of_its_rows() {
    let table = String::from_utf8(fixture("opencost-run/sums.tsv")).unwrap();
    let mut read = 0;
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let numbers: Vec<f64> = fields[1..].iter().map(|n| n.parse().unwrap()).collect();
        let reply = reply::parse(&fixture(&format!("opencost-run/{}", fields[0]))).unwrap();
        let rows: Vec<_> = reply.sets.iter().flat_map(|set| &set.rows).collect();
        let sum = |part: fn(&kubecost_worker::allocation_api::Costs) -> f64| {
            rows.iter().map(|row| part(&row.costs)).sum::<f64>()
        };
        let idle: f64 = rows.iter().filter(|r| r.is_idle()).map(|row| row.costs.total).sum();
        let found = [
            reply.sets.len() as f64,
            rows.len() as f64,
            sum(|c| c.total),
            sum(|c| c.cpu),
            sum(|c| c.ram),
            sum(|c| c.gpu),
            sum(|c| c.pv),
            sum(|c| c.network),
            sum(|c| c.lb),
            idle,
        ];
        for (found, expected) in found.into_iter().zip(numbers) {
            assert!((found - expected).abs() < ROUNDING, "{line}: {found} is not {expected}");
        }
        assert_eq!(reply.product.as_str(), "OpenCost", "{line}");
        read += 1;
    }
    assert_eq!(read, 139);
}

#[test]
fn recorded_errors_are_errors_with_a_short_message() {
    let table = String::from_utf8(fixture("opencost-run/requests.tsv")).unwrap();
    let mut read = 0;
    for line in table.lines() {
        let [file, status, _] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        if status == "200" {
            continue;
        }
        let body = fixture(&format!("opencost-run/{file}"));
        let failure = reply::parse(&body).unwrap_err();
        assert!(failure.to_string().len() < 500, "{file}: {failure}");
        let text = reply::error_text(&body);
        assert!(!text.is_empty() && text.len() < 250, "{file}: {text}");
        read += 1;
    }
    assert_eq!(read, 22);
}

#[test]
fn windows_that_are_not_whole_are_seen_as_such() {
    // File, whether its only or first set is cut short, whether it is plausible.
    for (file, is_cut, is_accepted) in [
        ("alloc/hour16-namespace-idle", false, true),
        ("alloc/hour16-namespace-shareidle", false, true),
        ("alloc/day-namespace-idle", false, true),
        ("alloc/hours/ns-20261120T14", false, true),
        ("alloc/gap-2000-2100-idle-true", true, true),
        ("alloc/gap-2000-2100-idle-false", true, true),
        ("alloc/gap-2200-2300-idle-true", true, true),
        ("alloc/gap-2200-2300-idle-false", true, true),
        ("alloc/gap-2100-2200-idle-true", false, false),
        ("alloc/first-hour", true, true),
        ("alloc/current-1h-at-0403", true, true),
        ("alloc/just-started-0min", true, true),
        ("alloc/win-1d", true, true),
        ("alloc/all-future", false, false),
        ("errors/max-samples-3000-ns", false, false),
        ("errors/max-samples-5000-ns", false, true),
    ] {
        let reply = reply::parse(&fixture(&format!("opencost-run/{file}.json.gz"))).unwrap();
        let set = &reply.sets[0];
        let is_cut_short =
            set.window.is_some_and(|window| verdict::is_cut_short(window, &set.rows));
        assert_eq!(is_cut_short, is_cut, "{file}");
        assert_eq!(verdict::check(&set.rows).is_ok(), is_accepted, "{file}");
    }
    let lost = reply::parse(&fixture("opencost-run/errors/max-samples-3000-ns.json.gz")).unwrap();
    assert_eq!(verdict::check(&lost.sets[0].rows), Err(Refusal::PodsMissing));
}

/// Polls once over one recorded hour.
async fn over_hour(file: &'static str, pods: Option<&'static str>, share: &str) -> Metrics {
    let server = Server::opencost(move |seen| {
        let file = match (seen.query["aggregate"].as_str(), pods) {
            ("namespace,pod", Some(pods)) => pods,
            _ => file,
        };
        Answer::json(fixture(&format!("opencost-run/alloc/{file}.json.gz")))
    })
    .await;
    let has_pods = if pods.is_some() { "true" } else { "false" };
    let settings = [("SHARE_IDLE", share), ("POD_METRICS", has_pods), ("POD_LABELS", "node")];
    let (poller, _) = exporter(&server.url, "2026-11-20T17:05:00Z", &settings);
    poller.poll().await;
    scraped(&poller)
}

#[tokio::test]
async fn the_recorded_hour_is_these_gauges() {
    let shown =
        over_hour("hour16-namespace-idle", Some("hour16-namespace+pod-idle"), "false").await;
    for (series, expected) in [
        ("cluster_total_cost", 2.77375),
        ("cluster_cpu_cost", 1.32947),
        ("cluster_ram_cost", 0.71275),
        ("cluster_pv_cost", 0.10302),
        ("cluster_network_cost", 0.04063),
        ("cluster_lb_cost", 0.05416),
        ("namespace_total_cost{namespace=\"__idle__\"}", -0.50152),
        ("namespace_cpu_cost{namespace=\"__idle__\"}", -0.60146),
        ("namespace_total_cost{namespace=\"databases\"}", 0.15831),
        ("namespace_cpu_cost{namespace=\"databases\"}", 0.05812),
        ("namespace_ram_cost{namespace=\"databases\"}", 0.03663),
        ("namespace_pv_cost{namespace=\"databases\"}", 0.06356),
        ("namespace_cpu_efficiency{namespace=\"databases\"}", 64.396),
        ("namespace_ram_efficiency{namespace=\"databases\"}", 108.432),
        ("namespace_total_efficiency{namespace=\"databases\"}", 81.42),
        ("namespace_total_cost{namespace=\"__unmounted__\"}", 0.0011),
        ("window_seconds", 3_600.0),
        ("window_end_timestamp_seconds", 1_795_194_000.0),
        ("data_age_seconds", 300.0),
        ("exporter_scrape_success", 1.0),
        ("exporter_odd_values_total{reason=\"negative-idle\"}", 2.0),
    ] {
        let found = shown.get(series).unwrap_or_else(|| panic!("no {series}"));
        assert!((found - expected).abs() < ROUNDING, "{series} is {found}, not {expected}");
    }
    assert_eq!(by_namespace(&shown, "namespace_total_cost").len(), 16);
    let pods: Vec<_> = shown.keys().filter(|key| key.starts_with("pod_total_cost")).collect();
    assert_eq!(pods.len(), 144, "146 rows less __idle__ and __unmounted__");
    assert!(pods.iter().filter(|pod| pod.contains("node=\"node-")).count() > 130);
}

/// The efficiencies of the whole cluster are the API's own of `aggregate=all`.
#[tokio::test]
async fn efficiencies_of_the_cluster_are_those_the_server_computes() {
    let all = &sets("opencost-run/alloc/hour16-all.json.gz")[0][""];
    let shown = over_hour("hour16-namespace-idle", None, "false").await;
    for part in ["cpu", "ram", "total"] {
        let server = all[format!("{part}Efficiency")].as_f64().unwrap() * 100.0;
        assert_near(shown[&format!("cluster_{part}_efficiency")], server, 0.01);
    }
}

/// Idle cost is negative in this hour: sharing it lowers what everybody costs.
#[tokio::test]
async fn shared_idle_is_in_the_namespaces_once() {
    let shown = over_hour("hour16-namespace-shareidle", None, "weighted").await;
    assert_near(shown["cluster_total_cost"], 2.77374, ROUNDING);
    assert!(!shown.keys().any(|series| series.contains("__idle__")));
    // The same hour of a server that lists idle cost and shares none: its namespaces alone are
    // $0.50 more than the cluster.
    let shown = over_hour("hour16-namespace-idle", None, "weighted").await;
    assert!(!shown.contains_key("cluster_total_cost"), "{shown:?}");
    let refused = "exporter_scrape_errors_total{reason=\"idle-not-shared\"}";
    assert_eq!(shown[refused], 1.0);
}

#[tokio::test]
async fn the_sum_of_namespaces_is_the_total_at_any_cap() {
    for cap in ["100", "101", "107", "114", "150", "10000"] {
        let server = Server::opencost(|seen| {
            let pods = seen.query["aggregate"] == "namespace,pod";
            let file = if pods { "hour16-namespace+pod-idle" } else { "hour16-namespace-idle" };
            Answer::json(fixture(&format!("opencost-run/alloc/{file}.json.gz")))
        })
        .await;
        let settings = [("MAX_SERIES", cap), ("POD_METRICS", "true")];
        let (poller, _) = exporter(&server.url, "2026-11-20T17:05:00Z", &settings);
        poller.poll().await;
        let shown = scraped(&poller);
        let totals = by_namespace(&shown, "namespace_total_cost");
        assert_near(totals.values().sum(), 2.77375, ROUNDING);
        let of_pods: f64 = shown
            .iter()
            .filter(|(series, _)| series.starts_with("pod_total_cost"))
            .map(|(_, value)| value)
            .sum();
        // All rows of the pod reply less __idle__ (-0.50152) and __unmounted__ (0.0011).
        assert_near(of_pods, 2.77379 + 0.50152 - 0.0011, 2e-5);
        let costs = shown.keys().filter(|s| !s.starts_with("exporter_")).count();
        let health = 5;
        assert!(costs - health <= cap.parse::<usize>().unwrap().max(9 + 16 * 7 + 3), "{cap}");
        assert_eq!(shown["exporter_series_folded"] > 0.0, cap != "10000", "{cap}");
    }
}

/// What an odd reply becomes: gauges, or the reason why it is not accepted.
enum Expected {
    Gauges(&'static [(&'static str, f64)], &'static [(&'static str, f64)]),
    Refused(&'static str),
}

const ODD: &[(&str, u16, Expected)] = {
    use Expected::{Gauges, Refused};
    &[
        ("leading-empty-sets.json", 200, Gauges(&[("__idle__", 1.0), ("shop", 3.0)], &[])),
        ("null-set.json", 200, Refused("empty")),
        ("data-null.json", 200, Refused("empty")),
        ("empty-set.json", 200, Refused("empty")),
        ("no-set.json", 200, Refused("empty")),
        ("code-500-in-200.json", 200, Refused("unavailable")),
        ("text-before-json.txt", 400, Refused("bad-reply")),
        ("gateway-timeout.html", 504, Refused("timeout")),
        ("gateway-timeout.html", 200, Refused("bad-reply")),
        ("truncated.json", 200, Refused("bad-reply")),
        ("summary-object.json", 200, Refused("bad-reply")),
        ("daily-for-hourly.json", 200, Refused("wrong-window")),
        ("pods-missing-idle.json", 200, Refused("pods-missing")),
        ("negative-total.json", 200, Refused("negative-total")),
        (
            "unmounted.json",
            200,
            Gauges(
                &[("__unallocated__", 0.5), ("__unmounted__", 0.25), ("shop", 3.0)],
                &[("idle-missing", 1.0)],
            ),
        ),
        ("split-idle.json", 200, Gauges(&[("__idle__", 1.5), ("shop", 2.0)], &[])),
        ("minus-zero.json", 200, Gauges(&[("__idle__", 0.0), ("shop", 2.501)], &[])),
        ("missing-fields.json", 200, Refused("partial")),
        (
            "garbage-times.json",
            200,
            Gauges(&[("__idle__", 1.0), ("shop", 2.0)], &[("bad-minutes", 1.0)]),
        ),
        ("bad-numbers.json", 200, Refused("partial")),
        (
            "negative-idle.json",
            200,
            Gauges(&[("__idle__", -3.0), ("shop", 4.0)], &[("negative-idle", 1.0)]),
        ),
        (
            "bad-names.json",
            200,
            Gauges(
                &[("__idle__", 1.0), ("__other__", 2.0), ("__unallocated__", 8.0), ("shop", 4.0)],
                &[("bad-name", 1.0)],
            ),
        ),
    ]
};

#[tokio::test]
async fn each_odd_shape_has_its_rule() {
    for (name, status, expected) in ODD {
        let server = Server::opencost(move |seen| {
            let text = String::from_utf8(fixture(&format!("odd/{name}"))).unwrap();
            let (start, end) = seen.query["window"].split_once(',').unwrap();
            let body = text.replace("START", start).replace("END", end);
            Answer(*status, "application/json", body.into_bytes())
        })
        .await;
        let (poller, _) = exporter(&server.url, "2026-11-20T17:05:00Z", &[]);
        poller.poll().await;
        let shown = scraped(&poller);
        let gauges = by_namespace(&shown, "namespace_total_cost");
        match expected {
            Expected::Gauges(namespaces, odd) => {
                let expected: BTreeMap<String, f64> =
                    namespaces.iter().map(|(name, usd)| ((*name).to_owned(), *usd)).collect();
                assert_eq!(gauges, expected, "{name}");
                let total: f64 = expected.values().sum();
                assert_near(shown["cluster_total_cost"], total, 1e-12);
                for (reason, count) in *odd {
                    let series = format!("exporter_odd_values_total{{reason=\"{reason}\"}}");
                    assert_eq!(shown.get(&series), Some(count), "{name}: {series}");
                }
                assert_eq!(shown["exporter_scrape_success"], 1.0, "{name}");
            }
            Expected::Refused(reason) => {
                let series = format!("exporter_scrape_errors_total{{reason=\"{reason}\"}}");
                assert_eq!(shown.get(&series), Some(&1.0), "{name}: {shown:?}");
                assert_eq!(shown["exporter_scrape_success"], 0.0, "{name}");
                assert!(gauges.is_empty() && !shown.contains_key("cluster_total_cost"), "{name}");
            }
        }
    }
}

/// Rows without a cost, or with one that cannot be, are doubted, and left out where they stay so.
#[tokio::test]
async fn a_window_with_rows_of_unknown_cost_is_accepted_once_it_stays_so() {
    let missing = (
        "missing-fields.json",
        &[("__idle__", 1.0), ("nulls", 1.5), ("shop", 2.0)][..],
        &[
            ("no-cost", 16.0),
            ("null-row", 16.0),
            ("null-cost", 32.0),
            ("total-missing", 16.0),
            ("unknown-total", 16.0),
        ][..],
    );
    let absurd = (
        "bad-numbers.json",
        &[("__idle__", 1.0), ("busy", 4.0), ("credit", -1.0), ("text", 1.0)][..],
        &[
            ("absurd-cost", 16.0),
            ("not-a-number", 16.0),
            ("negative-cost", 16.0),
            ("bad-efficiency", 32.0),
        ][..],
    );
    for (name, namespaces, odd) in [missing, absurd] {
        let server = Server::opencost(move |seen| {
            let text = String::from_utf8(fixture(&format!("odd/{name}"))).unwrap();
            let (start, end) = seen.query["window"].split_once(',').unwrap();
            Answer::json(text.replace("START", start).replace("END", end))
        })
        .await;
        let (poller, clock) = exporter(&server.url, "2026-11-20T17:05:00Z", &[]);
        for minute in 5..=20 {
            assert!(!scraped(&poller).contains_key("cluster_total_cost"), "17:{minute:02}");
            clock.set(at("2026-11-20T17:00:00Z") + minute * 60);
            poller.poll().await;
        }
        let shown = scraped(&poller);
        let expected = namespaces.iter().map(|(name, usd)| ((*name).to_owned(), *usd)).collect();
        assert_eq!(by_namespace(&shown, "namespace_total_cost"), expected);
        for (reason, count) in odd {
            let series = format!("exporter_odd_values_total{{reason=\"{reason}\"}}");
            assert_eq!(shown.get(&series), Some(count), "{series}");
        }
        assert_eq!(shown["exporter_scrape_success"], 1.0);
    }
}

/// An overcommitted hour: OpenCost shares negative idle cost, so that a node's whole is its price.
#[tokio::test]
async fn a_nodes_gauge_is_the_nodes_price_and_its_idle_cost_is_never_negative() {
    let server = Server::opencost(move |seen| {
        let asked = |name: &str| seen.query.get(name).map(String::as_str);
        let file = match (asked("aggregate"), asked("shareIdle"), asked("idleByNode")) {
            (Some("node"), Some("true"), Some("true")) => "hour16-node-idlebynode-shareidle",
            (Some("node"), ..) => "hour16-node-idle",
            _ => "hour16-namespace-idle",
        };
        Answer::json(fixture(&format!("opencost-run/alloc/{file}.json.gz")))
    })
    .await;
    let (poller, _) = exporter(&server.url, "2026-11-20T17:05:00Z", &[("NODE_METRICS", "true")]);
    poller.poll().await;
    let shown = scraped(&poller);
    for (series, expected) in [
        ("node_total_cost{node=\"node-g1\"}", 0.751_98),
        ("node_total_cost{node=\"node-b2\"}", 0.310_85),
        ("node_cpu_cost{node=\"node-b2\"}", 0.187_48),
        ("node_idle_cost{node=\"node-b2\"}", 0.0),
        ("cluster_total_cost", 2.773_75),
    ] {
        let found = shown.get(series).unwrap_or_else(|| panic!("no {series}"));
        assert!((found - expected).abs() < ROUNDING, "{series} is {found}, not {expected}");
    }
    let nodes = shown.keys().filter(|key| key.starts_with("node_total_cost")).count();
    assert_eq!(nodes, 6, "volumes of no node and idle cost are no node");
}
