//! More samples than a question may touch: the day is asked for in pieces, which the server adds up
//! where it has many series. Samples that are no cost are found among all of them.

use std::collections::BTreeMap;

use crate::support::embedded::SqliteStore;
use crate::support::exporters::{ACCOUNT, AT, assert_share, day};
use crate::support::metrics::History;
use crate::support::proxy::Proxy;
use crate::support::world::{DAY, HOUR, MARCH, MINUTE, gauges, source};

const PODS: usize = 1_200;
/// Of a day of all pods, a twelfth.
const SAMPLES_MAX: &str = "144000";
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

/// Runs the day; returns it, what is stored of pods, and the questions.
async fn run(
    no_costs: &[(usize, i64, f64)],
) -> (serde_json::Value, BTreeMap<String, f64>, Vec<String>) {
    let server = source(&[history(no_costs)]);
    let proxy = Proxy::open_to(&server.url).await;
    let settings = [
        ("PROMETHEUS_URL", proxy.url.as_str()),
        ("LEVELS", "cluster,namespace,pod"),
        ("MAX_SAMPLES", SAMPLES_MAX),
    ];
    let store = SqliteStore::new(&[ACCOUNT], &settings);
    let arguments = ["run", "--from", "2026-03-01", "--to", "2026-03-01", "--at", AT];
    let summary = store.run(&[&arguments[..], &["--output", "json"]].concat()).summary();
    (day(&summary, "2026-03-01").clone(), stored(&store), proxy.queries())
}

fn assert_all(found: &BTreeMap<String, f64>, wanted: &BTreeMap<String, f64>) {
    assert!(found.keys().eq(wanted.keys()), "{} pods have rows", found.len());
    for (name, usd) in wanted {
        assert_share(found[name], *usd, 1e-6);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_adds_up_pieces_of_many_series() {
    let (day, found, queries) = run(&[]).await;
    assert_eq!(day["state"], "ok", "{day}");
    assert_all(&found, &wanted(&[]));
    let of_pods =
        |query: &&String| query.contains("pod_total_cost") && query.contains("sum_over_time((");
    let integrals: Vec<_> = queries.iter().filter(of_pods).collect();
    let pieces: usize =
        integrals.iter().map(|query| query.matches("sum_over_time((").count()).sum();
    assert_eq!((integrals.len(), pieces), (3, 12), "{integrals:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_that_are_no_costs_are_found_among_many_on_a_real_server() {
    let (day, found, _) = run(&NO_COSTS).await;
    assert_eq!(day["state"], "partial", "{day}");
    assert_all(&found, &wanted(&NO_COSTS));
    let said = day["warnings"].to_string();
    assert!(said.contains("no cost (NaN, infinite or negative)"), "{said}");
    for (pod, ..) in NO_COSTS {
        assert!(said.contains(&format!("cart-{pod}")), "{pod}: {said}");
    }
}
