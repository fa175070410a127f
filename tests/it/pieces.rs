//! More samples than a question may touch: the day is asked for in pieces, which the server adds up
//! where it has many series. Samples that are no cost are found among all of them.

use std::collections::BTreeMap;

use crate::support::embedded::SqliteStore;
use crate::support::exporters::{ACCOUNT, AT, assert_share, day};
use crate::support::layer::{Fate, Layer, Query};
use crate::support::metrics::History;
use crate::support::servers::{PrometheusVersion, prometheus, victoriametrics};
use crate::support::world::{DAY, HOUR, MARCH, MINUTE, gauges, source};

const PODS: usize = 1_200;
/// Pods with a sample that is no cost, at what time of the day, and which one.
const NO_COSTS: [(usize, i64, f64); 3] = [
    (5, 3 * HOUR + 30 * MINUTE, f64::NAN),
    (600, 12 * HOUR, -1.0),
    (1_199, DAY - 5 * MINUTE, f64::INFINITY),
];
/// It lives in the last quarter of the day.
const LATE_POD: usize = 7;
const LATE: i64 = 18 * HOUR;

/// USD an hour at a time of the day: what is stored is a multiple of less than a millionth.
fn rate(pod: usize, second: i64) -> f64 {
    (pod + 1) as f64 * 0.01 * (second / HOUR + 1) as f64
}

/// A sample each five minutes, which stands until the next.
fn history(no_costs: &[(usize, i64, f64)]) -> History {
    let mut history = History::default();
    let life = (MARCH, MARCH + DAY);
    gauges(&mut history, ACCOUNT, life, |_| Some(250e3), &[("shop", 240e3)]);
    for pod in 0..PODS {
        let labels = format!(
            "tenant_id=\"{ACCOUNT}\",cluster=\"prod\",namespace=\"shop\",pod=\"cart-{pod}\""
        );
        let value = |time: i64| {
            let second = time - MARCH;
            let is_there = second % (5 * MINUTE) == 0 && (pod != LATE_POD || second >= LATE);
            let odd = no_costs.iter().find(|(of, at, _)| (*of, *at) == (pod, second));
            is_there.then(|| odd.map_or(rate(pod, second), |(_, _, value)| *value))
        };
        history.every_minute("cloudtuner_kubecost_pod_total_cost", &labels, 0, life, value);
    }
    history
}

/// What each pod cost on the day, USD: the sum over the minutes that have a cost.
fn wanted(no_costs: &[(usize, i64, f64)]) -> BTreeMap<String, f64> {
    let cost = |pod: usize| {
        let has_cost = |minute: &i64| {
            let sampled = minute - minute % (5 * MINUTE);
            let is_odd = no_costs.iter().any(|(of, at, _)| (*of, *at) == (pod, sampled));
            !is_odd && (pod != LATE_POD || *minute >= LATE)
        };
        let minutes = (0..DAY / MINUTE).map(|minute| minute * MINUTE);
        minutes.filter(has_cost).map(|minute| rate(pod, minute) / 60.0).sum()
    };
    (0..PODS).map(|pod| (format!("cart-{pod}"), cost(pod))).collect()
}

fn stored(store: &SqliteStore) -> BTreeMap<String, f64> {
    let sql = "SELECT r.name, sum(e.cost * e.sign) FROM expenses e \
               JOIN cloud_resource r ON r._id = e.resource_id \
               WHERE e.date = ?1 AND r.name LIKE 'cart-%' GROUP BY 1 HAVING sum(e.sign) > 0";
    let connection = store.open();
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([MARCH], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

/// Runs the day against a server behind a layer; returns the day, what is stored of pods, and the
/// questions about what pods cost.
async fn run(
    url: &str,
    samples_max: &str,
    rule: impl Fn(&mut Query) -> Fate + Send + Sync + 'static,
) -> (serde_json::Value, BTreeMap<String, f64>, Vec<String>) {
    let layer = Layer::new(url, rule).await;
    let settings = [
        ("PROMETHEUS_URL", layer.url.as_str()),
        ("LEVELS", "cluster,namespace,pod"),
        ("MAX_SAMPLES", samples_max),
    ];
    let store = SqliteStore::new(&[ACCOUNT], &settings);
    let arguments = ["run", "--from", "2026-03-01", "--to", "2026-03-01", "--at", AT];
    let summary = store.run(&[&arguments[..], &["--output", "json"]].concat()).summary();
    let asked = layer.seen().into_iter().map(|query| query.text("query").to_owned());
    let is_cost = |query: &String| query.contains("pod_total_cost") && pieces(query) > 0;
    (day(&summary, "2026-03-01").clone(), stored(&store), asked.filter(is_cost).collect())
}

/// Of how many pieces of the day a question has the cost.
fn pieces(query: &str) -> usize {
    query.matches("sum_over_time((").count()
}

fn assert_all(found: &BTreeMap<String, f64>, wanted: &BTreeMap<String, f64>) {
    assert!(found.keys().eq(wanted.keys()), "{} pods have rows", found.len());
    for (name, usd) in wanted {
        assert_share(found[name], *usd, 1e-6);
    }
}

/// Has the server asked for pieces that are and are not whole minutes long.
async fn assert_joined(url: &str) {
    // A twelfth of a day of all pods, and less than a 24th.
    for (samples_max, questions, of_each) in [("144000", 4, 3), ("70000", 10, 3)] {
        let (day, found, queries) = run(url, samples_max, |_| Fate::Passed).await;
        assert_eq!(day["state"], "ok", "{day}");
        assert_all(&found, &wanted(&[]));
        let asked: Vec<usize> = queries.iter().map(|query| pieces(query)).collect();
        assert_eq!(asked, vec![of_each; questions], "{queries:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_adds_up_pieces_of_many_series() {
    for version in [PrometheusVersion::Two, PrometheusVersion::Three] {
        let data = tempfile::tempdir().unwrap();
        history(&[]).write_blocks(data.path());
        let server = prometheus(version, data.path());
        assert_joined(&server.url).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn victoriametrics_adds_up_pieces_of_many_series() {
    let server = victoriametrics(history(&[]).in_milliseconds(), &[]).await;
    assert_joined(&server.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_server_does_not_add_up_pieces_it_is_asked_for_each() {
    let server = source(&[history(&[])]);
    let refusing = |query: &mut Query| match pieces(query.text("query")) {
        0 | 1 => Fate::Passed,
        _ => Fate::Refused(414, "Request-URI Too Large".to_owned()),
    };
    let (day, found, queries) = run(&server.url, "144000", refusing).await;
    assert_eq!(day["state"], "ok", "{day}");
    assert_all(&found, &wanted(&[]));
    let apart = queries.iter().filter(|query| pieces(query) == 1).count();
    assert_eq!((apart, queries.len()), (12, 14), "two are asked at a time, and none after them");
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_that_are_no_costs_are_found_among_many_on_a_real_server() {
    let server = source(&[history(&NO_COSTS)]);
    let (day, found, _) = run(&server.url, "144000", |_| Fate::Passed).await;
    assert_eq!(day["state"], "partial", "{day}");
    assert_all(&found, &wanted(&NO_COSTS));
    let said = day["warnings"].to_string();
    assert!(said.contains("no cost (NaN, infinite or negative)"), "{said}");
    for (pod, ..) in NO_COSTS {
        assert!(said.contains(&format!("cart-{pod}")), "{pod}: {said}");
    }
}
