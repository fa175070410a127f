//! The same recorded hours stored two ways: by the worker over the allocation API itself, and by
//! the worker over a real Prometheus that scraped the exporter. Both are held against each other
//! and against the truth.
//!
//! Two spans are compared. The 24 hours from 2026-11-20 03:00, for which namespaces and pods were
//! recorded by the hour: they cross midnight, so they are stored as 21 hours of one day and 3 of
//! the next, and both ways read the same 24 sets. And the UTC day 2026-11-20, which was recorded
//! as 24 hourly sets and as one: there the allocation API's worker takes the one, and the exporter
//! can only know the 24.
//!
//! `WRITE_ACCURACY=1 cargo test --test it two_ways` also writes the tables of `docs/ACCURACY.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;

use crate::support::document::write_between;
use crate::support::opencost::{Recorded, export};
use crate::support::remote_write::Scraper;
use crate::support::servers::{PrometheusVersion, Stores, prometheus, root};
use crate::support::stored::{Stored, stored};
use crate::support::worker::run;
use crate::truth::{Truth, truth};

const BY_API: &str = "aaaaaaaa-1111-0000-0000-00000000000a";
const BY_EXPORTER: &str = "bbbbbbbb-1111-0000-0000-00000000000b";
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// 2026-11-20 00:00:00 UTC.
const DAY_20: i64 = 1_795_132_800;
const DAY_21: i64 = DAY_20 + DAY;
/// The first of the 24 hours that cross midnight.
const FROM: i64 = DAY_20 + 3 * HOUR;
const UNTIL: i64 = FROM + DAY;
/// An hour is polled for at 04:03:20 (three minutes after it closed, polls in second 20), scraped
/// at 04:04:07, and so seen from the minute 04:05 on: five minutes late, after an hour's window.
const LAG: i64 = HOUR + 5 * 60;
/// Rows are told to five decimals, so a namespace of 24 sets may be off by as many halves of them.
const ROUNDING: f64 = 24.0 * 0.000_005;

/// Costs of a span, USD.
#[derive(Debug, Default)]
struct Costs {
    total: f64,
    namespaces: BTreeMap<String, f64>,
}

impl Costs {
    /// Sums a column of rows keyed `namespace` or `cluster/namespace`.
    fn of(rows: &[(String, Value)], column: &str) -> Self {
        let mut costs = Self::default();
        for (key, row) in rows {
            let usd = row[column].as_f64().unwrap();
            costs.total += usd;
            let name = key.rsplit('/').next().unwrap();
            if !name.starts_with("__") {
                *costs.namespaces.entry(name.to_owned()).or_default() += usd;
            }
        }
        costs
    }

    fn stored(days: &[Stored]) -> Self {
        let mut costs = Self::default();
        for day in days {
            costs.total += day.total;
            for (name, usd) in &day.namespaces {
                *costs.namespaces.entry(name.clone()).or_default() += usd;
            }
        }
        costs
    }

    /// The same less others, which may lack namespaces.
    fn less(&self, other: &Self) -> Self {
        let namespaces = self.namespaces.iter().map(|(name, usd)| {
            (name.clone(), usd - other.namespaces.get(name).copied().unwrap_or(0.0))
        });
        Self { total: self.total - other.total, namespaces: namespaces.collect() }
    }

    /// Of a namespace, or of the whole cluster.
    fn usd(&self, namespace: Option<&str>) -> f64 {
        namespace.map_or(self.total, |name| self.namespaces.get(name).copied().unwrap_or(0.0))
    }
}

/// A span of recorded hours, and what is stored of it.
struct Comparison {
    truth: Truth,
    /// Sums of hourly sets, less their network costs, which the truth lacks.
    hourly: Costs,
    /// The load balancers in them.
    balancers: Costs,
    /// One set of the whole span less its network costs, where there is one.
    one_set: Option<Costs>,
    /// What is stored, less the network costs of the sets that it was made of.
    by_api: Costs,
    by_exporter: Costs,
}

fn hours_of(recorded: &Recorded, span: Range<i64>) -> (Costs, Costs, Costs) {
    let rows = recorded.rows("namespace", span);
    let network = Costs::of(&rows, "networkCost");
    (Costs::of(&rows, "totalCost").less(&network), network, Costs::of(&rows, "loadBalancerCost"))
}

fn time(seconds: i64) -> String {
    kubecost_worker::allocation_api::window::rfc3339(seconds)
}

/// Runs the worker over a day as of a time, with settings beside those of the stores.
fn store(stores: &Stores, more: &[(&'static str, &str)], day: i64, at: i64) -> Value {
    let mut settings = stores.settings();
    settings.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    settings.push(("DEFAULT_CLUSTER", "test-cluster".to_owned()));
    let (date, at) = (time(day)[..10].to_owned(), time(at));
    let ran = run(&settings, &["run", "--from", &date, "--to", &date, "--at", &at]);
    ran.expect_success().summary()["accounts"][0]["days"][0].clone()
}

/// Stores a span both ways; returns what each of its days has then.
async fn both_ways(
    recorded: &Arc<Recorded>,
    span: Range<i64>,
    levels: &str,
) -> (Vec<Stored>, Vec<Stored>) {
    let url = recorded.serve().await;
    let data = tempfile::tempdir().unwrap();
    let prometheus = prometheus(PrometheusVersion::Two, data.path());
    let mut scraper = Scraper::new(&prometheus);
    let pods = levels.contains("pod");
    export(&url, BY_EXPORTER, pods, span.start..span.end + LAG, &mut scraper).await;
    let stores = Stores::new("two_ways").await;
    run(&stores.settings(), &["migrate"]).expect_success();
    let api = [
        ("QUERY_LAYER", "allocation-api"),
        ("KUBECOST_URL", url.as_str()),
        ("ACCOUNTS", BY_API),
        ("LEVELS", levels),
    ];
    let exporter = [
        ("PROMETHEUS_URL", prometheus.url.as_str()),
        ("ACCOUNTS", BY_EXPORTER),
        ("LEVELS", levels),
        ("PHASE", "2"),
    ];
    let (mut by_api, mut by_exporter) = (Vec::new(), Vec::new());
    for day in [DAY_20, DAY_21].into_iter().filter(|day| *day < span.end) {
        let end = span.end.min(day + DAY);
        let minutes = (end - span.start.max(day)) / 60;
        // As soon as each way can know the last hour; a second later it would be past the end.
        let of_api = store(&stores, &api, day, end + 200);
        let of_exporter = store(&stores, &exporter, day, end + LAG - 1);
        assert_eq!(of_exporter["lag_seconds"], LAG, "{of_exporter}");
        assert_eq!(of_exporter["phase"], 2);
        for told in [&of_api, &of_exporter] {
            assert_eq!(told["covered_minutes"], minutes, "{told}");
        }
        by_api.push(stored(&stores, BY_API, day).await);
        by_exporter.push(stored(&stores, BY_EXPORTER, day).await);
    }
    (by_api, by_exporter)
}

/// By how much a cost is off, per cent.
fn off(cost: f64, of: f64) -> f64 {
    (cost / of - 1.0) * 100.0
}

/// The same costs to 1 % (and to what rounding does to the smallest).
fn hold(what: &str, a: f64, b: f64) {
    assert!((a - b).abs() <= 0.01 * b.abs() + ROUNDING, "{what}: {a} and {b}");
}

fn hold_all(ours: &Costs, theirs: &Costs) {
    hold("the whole cluster", ours.total, theirs.total);
    let names = |costs: &Costs| costs.namespaces.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(ours), names(theirs));
    for (name, usd) in &ours.namespaces {
        hold(name, *usd, theirs.namespaces[name]);
    }
}

impl Comparison {
    fn names(&self) -> Vec<Option<&str>> {
        let names = self.truth.namespaces.keys().map(|name| Some(name.as_str()));
        std::iter::once(None).chain(names).collect()
    }

    fn true_usd(&self, name: Option<&str>) -> f64 {
        name.map_or(self.truth.total, |name| self.truth.namespaces[name])
    }

    fn true_balancers(&self, name: Option<&str>) -> f64 {
        let all = &self.truth.balancers;
        name.map_or(all.values().sum(), |name| all.get(name).copied().unwrap_or(0.0))
    }

    /// What the API's worker read.
    fn source_of_api(&self) -> &Costs {
        self.one_set.as_ref().unwrap_or(&self.hourly)
    }

    fn table(&self, title: &str) -> String {
        let mut out = format!(
            "| {title} | truth, USD | hourly sets | load balancers | grid | one set \
             | over allocation-api, USD | ours | over exporter, USD | ours |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
        );
        for name in self.names() {
            let truth = self.true_usd(name);
            let hourly = self.hourly.usd(name);
            let balancers = self.balancers.usd(name) - self.true_balancers(name);
            let grid = hourly - truth - balancers;
            let one_set = self.one_set.as_ref().map(|set| off(set.usd(name), truth));
            let one_set = one_set.map_or("–".to_owned(), |off| format!("{off:+.2} %"));
            let (api, exporter) = (self.by_api.usd(name), self.by_exporter.usd(name));
            writeln!(
                out,
                "| {} | {truth:.4} | {:+.2} % | {:+.2} % | {:+.2} % | {one_set} | {api:.4} \
                 | {:+.3} % | {exporter:.4} | {:+.3} % |",
                name.unwrap_or("**whole cluster**"),
                off(hourly, truth),
                balancers / truth * 100.0,
                grid / truth * 100.0,
                off(api, self.source_of_api().usd(name)),
                off(exporter, hourly),
            )
            .unwrap();
        }
        out
    }
}

fn write_table(name: &str, table: &str) {
    if std::env::var_os("WRITE_ACCURACY").is_some() {
        write_between("docs/ACCURACY.md", name, table);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_24_recorded_hours_cost_the_same_both_ways_down_to_their_pods() {
    let hours = FROM..UNTIL;
    let recorded = Arc::new(
        Recorded::default()
            .with("namespace", "24x1h-namespace", hours.clone())
            .with("cluster,namespace", "24x1h-cluster+namespace", hours.clone())
            .with("namespace,pod", "24x1h-namespace+pod", hours.clone()),
    );
    let (api, exporter) = both_ways(&recorded, hours.clone(), "cluster,namespace,pod").await;
    let (hourly, network, balancers) = hours_of(&recorded, hours.clone());
    let comparison = Comparison {
        truth: truth(&root().join("fixtures"), hours.start as f64, hours.end as f64),
        by_api: Costs::stored(&api).less(&network),
        by_exporter: Costs::stored(&exporter).less(&network),
        one_set: None,
        hourly,
        balancers,
    };
    hold_all(&comparison.by_exporter, &comparison.by_api);
    hold_all(&comparison.by_exporter, &comparison.hourly);
    hold_all(&comparison.by_api, &comparison.hourly);
    for (api, exporter) in api.iter().zip(&exporter) {
        let names = |stored: &Stored| stored.pods.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(exporter), names(api));
        for (name, usd) in &exporter.pods {
            hold(&name.1, *usd, api.pods[name]);
        }
        hold("one day's share", exporter.total, api.total);
    }
    assert!(api[0].pods.len() > 150 && api[1].pods.len() > 90, "{}", api[1].pods.len());
    write_table("24 hours", &comparison.table("2026-11-20 03:00 to 2026-11-21 03:00"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_as_one_set_and_as_gauges_differ_by_what_their_source_says() {
    let day = DAY_20..DAY_21;
    let recorded = Arc::new(
        Recorded::default()
            .with("namespace", "day-namespace-step1h", day.clone())
            .with("cluster,namespace", "day-namespace-step1h", day.clone())
            .with("cluster,namespace", "day-cluster+namespace-idle", day.clone()),
    );
    let (api, exporter) = both_ways(&recorded, day.clone(), "cluster,namespace").await;
    let (hourly, network, balancers) = hours_of(&recorded, day.clone());
    let rows: Vec<_> = crate::support::opencost::sets("day-cluster+namespace-idle")
        .into_iter()
        .flatten()
        .collect();
    let network_of_set = Costs::of(&rows, "networkCost");
    let one_set = Costs::of(&rows, "totalCost").less(&network_of_set);
    let comparison = Comparison {
        truth: truth(&root().join("fixtures"), day.start as f64, day.end as f64),
        by_api: Costs::stored(&api).less(&network_of_set),
        by_exporter: Costs::stored(&exporter).less(&network),
        one_set: Some(one_set),
        hourly,
        balancers,
    };
    hold_all(&comparison.by_api, comparison.source_of_api());
    hold_all(&comparison.by_exporter, &comparison.hourly);
    hold("both ways", comparison.by_exporter.total, comparison.by_api.total);
    // Why the one set is read where there is a choice: the whole is nearer, and so are namespaces
    // with load balancers. The price is paid by those whose use comes in bursts: see the table.
    let far = |costs: &Costs, name| (costs.usd(name) - comparison.true_usd(name)).abs();
    let (one_set, hourly) = (comparison.source_of_api(), &comparison.hourly);
    for name in [None, Some("ingress-nginx"), Some("shop-frontend")] {
        assert!(far(one_set, name) < 0.1 * far(hourly, name), "{name:?}");
    }
    for name in ["databases", "dev-sandbox"].map(Some) {
        assert!(far(one_set, name) > far(hourly, name), "{name:?}");
    }
    write_table("one day", &comparison.table("2026-11-20"));
}
