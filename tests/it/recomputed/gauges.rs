//! Worlds of an exporter's gauges.

use crate::support::embedded::SqliteStore;
use crate::support::exporters::{ACCOUNT, AT, Cost, Earlier, LIFE, between, closed, rate};
use crate::support::metrics::History;
use crate::support::servers::Server;
use crate::support::world::{DAY, HOUR, MARCH, source};

use super::worlds::World;

const PODS: i64 = 3;
const TOTAL: &str = "cloudtuner_kubecost";
const ALL_LEVELS: (&str, &str) = ("LEVELS", "cluster,namespace,pod");
const DAYS: [&str; 5] = ["run", "--from", "2026-03-01", "--to", "2026-03-02"];

/// The rate of a pod at a time, USD per hour; none before it is born and after it is gone.
fn pod(cluster: i64, namespace: i64, pod: i64, time: i64) -> Option<f64> {
    let number = cluster * 331 + namespace * 17 + pod;
    let born = MARCH - HOUR + number % 9 * 4_000 * (pod % 2);
    let gone = LIFE.1 - number % 7 * 9_000 * (pod / 2);
    let base = 0.011 + (number % 23) as f64 * 0.0137;
    let wave = 1.0 + ((time / 60 * 7 + number) % 101) as f64 / 173.0;
    (born..gone).contains(&time).then_some(base * wave)
}

/// By what a namespace costs more than its pods: of some a little less, of some far less.
fn factor(namespace: i64) -> f64 {
    match namespace % 8 {
        1 => 0.996,
        2 => 0.7,
        _ => 1.25,
    }
}

fn namespace(cluster: i64, name: i64, time: i64) -> f64 {
    (0..PODS).filter_map(|one| pod(cluster, name, one, time)).sum::<f64>() * factor(name)
}

/// Two clusters, one of which costs a little less than its namespaces.
fn whole(cluster: i64, names: i64, time: i64) -> f64 {
    let sum: f64 = (0..names).map(|name| namespace(cluster, name, time)).sum();
    sum * if cluster == 1 { 0.995 } else { 1.3 }
}

/// Gauges by the minute, which are not there while `is_gap`.
fn by_the_minute(is_gap: impl Fn(i64) -> bool) -> Server {
    const NAMES: i64 = 10;
    let mut history = History::default();
    for cluster in 0..2 {
        let labels = format!("tenant_id=\"{ACCOUNT}\",cluster=\"c{cluster}\"");
        let mut put = |metric: &str, more: &str, value: &dyn Fn(i64) -> Option<f64>| {
            let metric = format!("{TOTAL}_{metric}_total_cost");
            let at = |time: i64| value(time).filter(|_| !is_gap(time));
            history.every_minute(&metric, &format!("{labels}{more}"), 7, LIFE, at);
        };
        put("cluster", "", &|time| Some(whole(cluster, NAMES, time)));
        for name in 0..NAMES {
            let more = format!(",namespace=\"n{name}\"");
            put("namespace", &more, &|time| Some(namespace(cluster, name, time)));
            for one in 0..PODS {
                let more = format!("{more},pod=\"p{one}\"");
                put("pod", &more, &|time| pod(cluster, name, one, time));
            }
        }
    }
    source(&[history])
}

/// Three hours of the second day.
fn is_gap(time: i64) -> bool {
    (MARCH + DAY + 5 * HOUR..MARCH + DAY + 8 * HOUR).contains(&time)
}

fn stored(server: &Server, more: &[(&'static str, &str)]) -> SqliteStore {
    let settings = [&[("PROMETHEUS_URL", server.url.as_str()), ALL_LEVELS], more].concat();
    let store = SqliteStore::new(&[ACCOUNT], &settings);
    let ran = store.run(&[&DAYS[..], &["--at", AT]].concat());
    assert!([0, 1].contains(&ran.code), "{}", ran.stderr);
    store
}

/// Gauges by the minute; the second day is partial.
pub(super) fn plain(name: &'static str, more: &[(&'static str, &str)]) -> World {
    let server = by_the_minute(is_gap);
    let store = stored(&server, more);
    let state = store.text("SELECT group_concat(state) FROM kubecost_account_day ORDER BY day");
    assert!(state.contains("partial"), "{state}");
    let url = server.url.clone();
    World::of(name, store, AT, &url, server)
}

/// Days that were stored whole, and that an operator had made poorer for a reason.
pub(super) fn forced() -> World {
    let (before, server) = (by_the_minute(|_| false), by_the_minute(is_gap));
    let mut store = stored(&before, &[]);
    store.settings.retain(|(name, _)| *name != "PROMETHEUS_URL");
    store.settings.push(("PROMETHEUS_URL", server.url.clone()));
    let force = ["--at", AT, "--force", "--reason", "the samples are lost"];
    store.run(&[&DAYS[..], &force].concat());
    let status = store.text("SELECT group_concat(record) FROM kubecost_account_day");
    assert!(status.contains("the samples are lost"), "{status}");
    let url = server.url.clone();
    World::of("forced days", store, AT, &url, server)
}

/// Gauges of windows of so many hours, shown until the next one is closed.
pub(super) fn windows(name: &'static str, hours: i64, is_total: bool) -> World {
    const NAMES: i64 = 9;
    let length = hours * HOUR;
    let mut history = History::default();
    let labels = format!("tenant_id=\"{ACCOUNT}\",cluster=\"c0\"");
    let unit = if is_total { hours as f64 } else { 1.0 };
    // What a window says is what its middle says.
    let read = |time: i64| closed(time, length) - length / 2;
    let mut put = |metric: &str, more: &str, value: &dyn Fn(i64) -> Option<f64>| {
        let labels = format!("{labels}{more}");
        history.every_minute(&format!("{TOTAL}_{metric}"), &labels, 0, LIFE, value);
    };
    put("cluster_total_cost", "", &|time| Some(whole(0, NAMES, read(time)) * unit));
    for name in 0..NAMES {
        let more = format!(",namespace=\"n{name}\"");
        put("namespace_total_cost", &more, &|time| Some(namespace(0, name, read(time)) * unit));
        for one in 0..PODS {
            let more = format!("{more},pod=\"p{one}\"");
            put("pod_total_cost", &more, &|time| Some(pod(0, name, one, read(time))? * unit));
        }
    }
    put("window_end_timestamp_seconds", "", &|time| Some(closed(time, length) as f64));
    put("window_seconds", "", &|_| Some(length as f64));
    let mode = if is_total { "total" } else { "rate" };
    let info = format!(",version=\"9\",mode=\"{mode}\"");
    put("exporter_build_info", &info, &|_| Some(1.0));
    let server = source(&[history]);
    let store = stored(&server, &[]);
    let url = server.url.clone();
    World::of(name, store, AT, &url, server)
}

/// The earlier exporter's averages over a day that slides: approximate days.
pub(super) fn averages() -> World {
    let mut history = History::default();
    let earlier = Earlier {
        more: ",currency=\"USD\",instance=\"old:9103\"",
        life: LIFE,
        hours: 24,
        has_info: true,
        has_zeros: true,
        shows_idle: true,
    };
    let names: Vec<String> = (0..20).map(|name| format!("n{name}")).collect();
    let costs: Vec<Box<dyn Fn(i64, i64) -> f64>> = (0..20)
        .map(|name| -> Box<dyn Fn(i64, i64) -> f64> {
            let usd = 0.1 + f64::from(name) * 0.0371;
            if name % 3 == 0 {
                let from = MARCH + i64::from(name) * HOUR / 2;
                Box::new(between(from, from + 9 * HOUR, usd))
            } else {
                Box::new(rate(usd))
            }
        })
        .collect();
    let pod_costs: Vec<_> = (0..20).map(|name| rate(0.02 + f64::from(name) * 0.0017)).collect();
    let named: Vec<(&str, Cost<'_>)> =
        names.iter().zip(&costs).map(|(name, cost)| (name.as_str(), &**cost as Cost<'_>)).collect();
    let pods: Vec<((&str, &str), Cost<'_>)> = names
        .iter()
        .zip(&pod_costs)
        .map(|(name, cost)| ((name.as_str(), "web"), cost as Cost<'_>))
        .collect();
    earlier.put(&mut history, &named, &pods);
    let server = source(&[history]);
    let store = stored(&server, &[]);
    let state = store.text("SELECT group_concat(state) FROM kubecost_account_day");
    assert!(state.contains("approximate"), "{state}");
    let url = server.url.clone();
    World::of("averages of the earlier exporter", store, AT, &url, server)
}
