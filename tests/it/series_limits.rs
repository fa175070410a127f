//! Servers that bound what a question may touch however short its time is: series are asked for
//! in parts, and the days are those of a server without the bound.

use std::collections::BTreeMap;

use crate::support::embedded::SqliteStore;
use crate::support::exporters::{ACCOUNT, AT, Cost, LIFE, Windowed, closed, day, rate};
use crate::support::metrics::History;
use crate::support::servers::victoriametrics;
use crate::support::world::{DAY, HOUR, MARCH};

/// VictoriaMetrics counts whole blocks: some 3 600 samples for each series of the two and a half
/// days, so that 60 series and more are too many however short the time.
const LIMIT: &str = "-search.maxSamplesPerQuery=50000";
const POD_GAUGE: &str = "cloudtuner_kubecost_pod_total_cost";

/// Each name's cost an hour differs from the others', so that one that is left out or counted
/// twice shows.
fn usd(index: usize) -> f64 {
    0.01 * (index + 1) as f64
}

/// Names that differ at their ends, at their beginnings, in length, and in what they are made of.
fn names() -> Vec<String> {
    let numbered = (0..40).map(|index| format!("ns-{index}"));
    let before = (0..20).map(|index| format!("{index}-preview"));
    let odd = ["a", "b", "team.one", "UPPER", "-", "x_y", "ns-7-", "x"];
    numbered.chain(before).chain(odd.map(str::to_owned)).collect()
}

/// Names and what is stored of the first day, USD: of namespaces without pods, and of pods.
fn stored(store: &SqliteStore) -> BTreeMap<String, f64> {
    let sql = "SELECT ifnull(e.k8s_namespace, ''), sum(e.cost * e.sign) FROM expenses e \
               WHERE e.date = ?1 GROUP BY 1 HAVING sum(e.sign) > 0";
    let connection = store.open();
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([MARCH], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

fn assert_all(store: &SqliteStore, wanted: &BTreeMap<String, f64>) {
    let found = stored(store);
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        wanted.keys().collect::<Vec<_>>(),
        "what has rows"
    );
    for (name, usd) in wanted {
        assert!((found[name] - usd).abs() < 1e-6 * usd, "{name}: {} of {usd}", found[name]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gauges_beyond_a_limit_are_asked_for_in_parts_of_their_series() {
    let names = names();
    let costs: Vec<_> = (0..names.len()).map(|index| rate(usd(index))).collect();
    let mut all: Vec<(&str, Cost<'_>)> = Vec::new();
    for (name, cost) in names.iter().zip(&costs) {
        all.push((name, cost));
    }
    let idle = rate(2.0);
    all.push(("__idle__", &idle));
    let mut history = History::default();
    Windowed { more: "", life: LIFE, length: HOUR, end: &|t| closed(t, HOUR), is_total: false }
        .put(&mut history, &all);
    for index in 0..80 {
        let labels = format!(
            "tenant_id=\"{ACCOUNT}\",cluster=\"prod\",namespace=\"ns-1\",pod=\"job-{index}\""
        );
        let share = usd(1) / 80.0;
        history.every_minute(POD_GAUGE, &labels, 0, LIFE, |_| Some(share));
    }
    let victoria = victoriametrics(history.in_milliseconds(), &[LIMIT]).await;
    let settings = [("PROMETHEUS_URL", victoria.url.as_str()), ("LEVELS", "cluster,namespace,pod")];
    let store = SqliteStore::new(&[ACCOUNT], &settings);
    let summary = store.run(&["run", "--at", AT, "--output", "json"]).summary();
    let first = day(&summary, "2026-03-01");
    assert_eq!(first["state"], "ok", "{summary}");
    let hours = DAY as f64 / HOUR as f64;
    let mut wanted: BTreeMap<String, f64> =
        names.iter().enumerate().map(|(index, name)| (name.clone(), hours * usd(index))).collect();
    wanted.insert(String::new(), hours * 2.0);
    assert_all(&store, &wanted);
    let total: f64 = wanted.values().sum();
    assert!((first["stored_total_usd"].as_f64().unwrap() - total).abs() < 1e-6 * total);
}
