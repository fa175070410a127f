//! Made-up customers whose costs are known, from what their cost models show to what is stored.
//!
//! `bash tests/truth` writes the table of errors into `docs/ACCURACY.md`. Two customers: `one` has
//! a cluster with all metrics, whose volumes' prices lack the cluster's label; `two` has two
//! clusters that only `cluster_id` tells apart, without the totals of nodes, scraped by a pair of
//! replicas that look before and after the cost model's loop.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use futures_util::stream::{self, StreamExt};

use crate::support::document::write_between;
use crate::support::embedded::SqliteStore;
use crate::support::remote_write::Scraper;
use crate::support::servers::{PrometheusVersion, Server, prometheus};
use bill::{Bill, bill};
use chance::Chance;
use scrape::{Wiring, shown};
use world::{Cluster, DAY, MINUTE, Span, cluster};

mod bill;
mod chance;
mod scrape;
mod world;

const ONE: &str = "a1000000-0000-0000-0000-000000000001";
const TWO: &str = "a2000000-0000-0000-0000-000000000002";
/// 2026-03-01 00:00:00 UTC.
const START: i64 = 1_772_323_200;
/// For how long customers are there before the first day.
const LEAD_MINUTES: i64 = 10;
/// Seeds that are worked on at one time.
const SEEDS_AT_ONCE: usize = 2;
/// By how much a namespace or a class of pods may be off, per cent.
const PART_MOST: f64 = 0.5;
/// By how much an account's total may be off, per cent.
const TOTAL_MOST: f64 = 0.1;
/// A share of less than this (USD a day) is below what its rounding says.
const CENT: f64 = 0.01;

/// A cluster of an account and the scrapers that look at it.
struct Watched {
    account: &'static str,
    cluster: Cluster,
    wiring: Wiring,
    /// Labels of each scraper, and the second of the minute in which it looks.
    scrapers: Vec<(&'static str, i64)>,
}

fn watched(seed: u64, days: i64) -> Vec<Watched> {
    // From before midnight: a day's first minutes are those of the samples before it.
    let span = Span { from: START - LEAD_MINUTES * MINUTE, until: START + days * DAY };
    let mut chance = Chance::new(seed ^ 0xabcd);
    let mut second = |low: i64, high: i64| chance.whole(low, high);
    let one = format!("tenant_id=\"{ONE}\"");
    let two = |id: &str| format!("tenant_id=\"{TWO}\",cluster_id=\"{id}\"");
    let straddled = |looped: i64| {
        let before = ",prometheus_replica=\"p-0\"";
        vec![(before, looped - 10), (",prometheus_replica=\"p-1\"", looped + 10)]
    };
    let mut out = vec![Watched {
        account: ONE,
        cluster: cluster("north", span, seed * 3 + 1),
        wiring: Wiring {
            labels: format!("{one},cluster=\"north\""),
            volume_price_labels: one.clone(),
            has_totals: true,
            loop_second: second(0, 60),
        },
        scrapers: vec![("", second(0, 60))],
    }];
    for (name, more) in [("east", 2), ("west", 3)] {
        let loop_second = second(15, 45);
        out.push(Watched {
            account: TWO,
            cluster: cluster(name, span, seed * 3 + more),
            wiring: Wiring {
                labels: two(name),
                volume_price_labels: two(name),
                has_totals: false,
                loop_second,
            },
            scrapers: straddled(loop_second),
        });
    }
    out
}

/// Writes what all scrapers see over the days, minute by minute.
async fn scrape(server: &Server, watched: &[Watched], days: i64) {
    let mut scrapers: Vec<(&Watched, &str, i64, Scraper<'_>)> = watched
        .iter()
        .flat_map(|of| of.scrapers.iter().map(move |(labels, at)| (of, *labels, *at)))
        .map(|(of, labels, at)| (of, labels, at, Scraper::new(server)))
        .collect();
    for minute in 1 - LEAD_MINUTES..days * DAY / MINUTE {
        for (of, labels, second, scraper) in &mut scrapers {
            let time = START + minute * MINUTE + *second;
            let mut series = shown(&of.cluster, &of.wiring, time);
            if !labels.is_empty() {
                for (name, _) in &mut series {
                    name.truncate(name.len() - 1);
                    name.push_str(labels);
                    name.push('}');
                }
            }
            scraper.scrape(time, &series).await;
        }
    }
    for (_, _, _, scraper) in &mut scrapers {
        scraper.send().await;
    }
}

/// What is stored of an account over all days.
fn stored(store: &SqliteStore, account: &str) -> Bill {
    let sql = "SELECT r.name, r.resource_type, coalesce(e.k8s_namespace, ''), sum(e.cost * e.sign) \
               FROM expenses e JOIN cloud_resource r ON r._id = e.resource_id \
               WHERE e.cloud_account_id = ?1 GROUP BY e.resource_id";
    let store = store.open();
    let mut statement = store.prepare(sql).unwrap();
    let mut rows = statement.query([account]).unwrap();
    let mut out = Bill::default();
    while let Some(row) = rows.next().unwrap() {
        let (name, kind): (String, String) = (row.get(0).unwrap(), row.get(1).unwrap());
        let (namespace, usd): (String, f64) = (row.get(2).unwrap(), row.get(3).unwrap());
        out.total += usd;
        if kind == "K8s Pod" {
            let class = name.rsplit_once('-').unwrap().0.to_owned();
            *out.classes.entry(class).or_default() += usd;
        }
        if !namespace.is_empty() {
            *out.namespaces.entry(namespace).or_default() += usd;
        }
    }
    out
}

/// A seed's customers, what they show and what is stored of it.
struct StoredCustomers {
    watched: Vec<Watched>,
    server: Server,
    store: SqliteStore,
    /// When the worker ran.
    at: String,
    _data: tempfile::TempDir,
}

async fn stored_customers(seed: u64, days: i64) -> StoredCustomers {
    let watched = watched(seed, days);
    let data = tempfile::tempdir().unwrap();
    let server = prometheus(PrometheusVersion::Two, data.path());
    scrape(&server, &watched, days).await;
    let settings = [
        ("PROMETHEUS_URL", server.url.as_str()),
        ("LEVELS", "cluster,namespace,pod"),
        ("PHASE", "1"),
        ("CLUSTER_LABEL", "auto"),
    ];
    let store = SqliteStore::new(&[ONE, TWO], &settings);
    let end = START + days * DAY;
    let day = |seconds: i64| {
        let time = chrono::DateTime::from_timestamp(seconds, 0).unwrap();
        time.format("%Y-%m-%d").to_string()
    };
    let (first, last) = (day(START), day(end - 1));
    let at = format!("{}T01:00:00Z", day(end));
    let ran = store.run(&["run", "--at", &at, "--from", &first, "--to", &last]);
    let ran = ran.expect_success();
    for account in ran.summary()["accounts"].as_array().unwrap() {
        for day in account["days"].as_array().unwrap() {
            assert_eq!(day["state"], "ok", "seed {seed}: {day}");
        }
    }
    StoredCustomers { watched, server, store, at, _data: data }
}

/// A day of both customers: where they are scraped to, where they are stored, and when.
pub(crate) async fn a_day_stored(seed: u64) -> (Server, SqliteStore, String) {
    let StoredCustomers { server, store, at, .. } = stored_customers(seed, 1).await;
    (server, store, at)
}

/// A seed's outcome: for each account, the truth and what is stored.
async fn outcome(seed: u64, days: i64) -> BTreeMap<&'static str, (Bill, Bill)> {
    let StoredCustomers { watched, store, .. } = &stored_customers(seed, days).await;
    let span = Span { from: START, until: START + days * DAY };
    let mut out: BTreeMap<&'static str, (Bill, Bill)> = BTreeMap::new();
    for of in watched {
        out.entry(of.account).or_default().0.add(&bill(&of.cluster, span));
    }
    for (account, (_, found)) in &mut out {
        *found = stored(store, account);
    }
    out
}

fn off(stored: f64, truth: f64) -> f64 {
    (stored / truth - 1.0) * 100.0
}

/// Lines of a table, and what is further off than it may be.
fn compare(account: &str, truth: &Bill, found: &Bill, days: i64) -> (String, Vec<String>) {
    let (mut table, mut wrong) = (String::new(), Vec::new());
    let mut line = |what: &str, name: &str, truth: f64, found: f64, most: f64| {
        let off = off(found, truth);
        writeln!(table, "| {account} | {what} | {name} | {truth:.4} | {found:.4} | {off:+.3} % |")
            .unwrap();
        if off.abs() > most && (found - truth).abs() > CENT * days as f64 || off.is_nan() {
            wrong
                .push(format!("{account} {what} {name}: {found} instead of {truth} ({off:+.3} %)"));
        }
    };
    line("account", "", truth.total, found.total, TOTAL_MOST);
    for (what, truth, found) in [
        ("namespace", &truth.namespaces, &found.namespaces),
        ("class of pod", &truth.classes, &found.classes),
    ] {
        for (name, usd) in truth {
            line(what, name, *usd, found.get(name).copied().unwrap_or(0.0), PART_MOST);
        }
    }
    for name in found.namespaces.keys().filter(|name| !truth.namespaces.contains_key(*name)) {
        wrong.push(format!("{account}: namespace {name} is no one's"));
    }
    (table, wrong)
}

fn number(variable: &str, else_is: u64) -> u64 {
    std::env::var(variable).map_or(else_is, |text| text.parse().unwrap())
}

/// `TRUTH_SEEDS` (default 1) seeds from `TRUTH_FIRST_SEED` on, each of `TRUTH_DAYS` (default 1).
#[tokio::test(flavor = "multi_thread")]
async fn made_up_customers_are_billed_what_they_truly_cost() {
    let (seeds, first) = (number("TRUTH_SEEDS", 1), number("TRUTH_FIRST_SEED", 1));
    let days = i64::try_from(number("TRUTH_DAYS", 1)).unwrap();
    let mut wrong = Vec::new();
    let mut all: BTreeMap<&'static str, (Bill, Bill)> = BTreeMap::new();
    let run = |seed| async move { (seed, tokio::spawn(outcome(seed, days)).await.unwrap()) };
    let mut outcomes = stream::iter(first..first + seeds).map(run).buffered(SEEDS_AT_ONCE);
    while let Some((seed, accounts)) = outcomes.next().await {
        for (account, (truth, found)) in accounts {
            let name = if account == ONE { "one" } else { "two" };
            let (table, found_wrong) = compare(name, &truth, &found, days);
            println!("seed {seed}\n{table}");
            wrong.extend(found_wrong.into_iter().map(|what| format!("seed {seed}: {what}")));
            let sum = all.entry(name).or_default();
            sum.0.add(&truth);
            sum.1.add(&found);
        }
    }
    if std::env::var_os("WRITE_ACCURACY").is_some() {
        let mut text = format!(
            "{seeds} seed(s) from {first}, {days} day(s) each.\n\n\
             | customer | | | truth, USD | worker, USD | worker |\n|---|---|---|--:|--:|--:|\n"
        );
        for (name, (truth, found)) in &all {
            let days = days * i64::try_from(seeds).unwrap();
            text.push_str(&compare(name, truth, found, days).0);
        }
        write_between("docs/ACCURACY.md", "made-up customers", &text);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
