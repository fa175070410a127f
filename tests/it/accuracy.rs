//! The recorded cluster's day, from its real Prometheus data, held against its truth.
//!
//! `WRITE_ACCURACY=1 cargo test --test it accuracy` also writes the table of `docs/ACCURACY.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use crate::support::document::write_between;
use crate::support::servers::{PrometheusVersion, Server, Stores, prometheus, root};
use crate::support::stored::{Stored, stored};
use crate::support::worker::run;
use crate::truth::{Truth, Use, truth};

const ACCOUNT: &str = "bc55eb8c-5db2-4c32-b976-2df0edb0619a";
/// 2026-11-20 00:00:00 UTC.
const START: f64 = 1_795_132_800.0;
const END: f64 = START + 86_400.0;

fn fixtures() -> PathBuf {
    root().join("fixtures")
}

/// The recorded Prometheus, on its own data.
pub(crate) fn recorded_prometheus() -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().unwrap();
    let packed = fixtures().join("opencost-run/prometheus-data.tar.gz");
    let packed = flate2::read::GzDecoder::new(std::fs::File::open(packed).unwrap());
    tar::Archive::new(packed).unpack(directory.path()).unwrap();
    let server = prometheus(PrometheusVersion::Two, &directory.path().join("tsdb"));
    (directory, server)
}

/// By how much a cost is off, per cent.
fn off(cost: f64, truth: f64) -> f64 {
    (cost / truth - 1.0) * 100.0
}

fn hold(stored: &Stored, truth: &Truth) {
    assert!(off(stored.total, truth.total).abs() <= 0.1, "{} {}", stored.total, truth.total);
    assert_eq!(
        stored.namespaces.keys().collect::<Vec<_>>(),
        truth.namespaces.keys().collect::<Vec<_>>()
    );
    for (name, usd) in &truth.namespaces {
        assert!(off(stored.namespaces[name], *usd).abs() <= 0.5, "{name}");
    }
    assert_eq!(stored.pods.keys().collect::<Vec<_>>(), truth.pods.keys().collect::<Vec<_>>());
    for (name, usd) in &truth.pods {
        assert!(off(stored.pods[name], *usd).abs() <= 1.0, "{name:?}");
        assert!(
            truth.nodes[name].contains(&stored.nodes[name]),
            "{name:?} {:?}",
            stored.nodes[name]
        );
    }
    // redis-2 moved at half past five: most of its day is on the node it moved to.
    let moved = ("databases".to_owned(), "redis-2".to_owned());
    assert_eq!(stored.nodes[&moved], "node-b1");
}

/// The rows of one of OpenCost's own day sets, as recorded, by key.
fn own_rows(name: &str) -> serde_json::Map<String, serde_json::Value> {
    let path = fixtures().join(format!("opencost-run/alloc/{name}.json.gz"));
    let packed = flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap());
    let mut reply: serde_json::Value = serde_json::from_reader(packed).unwrap();
    let rows = reply["data"][0].take();
    serde_json::from_value(rows).unwrap()
}

/// OpenCost's own totals of the day by namespace.
fn own_answer() -> (f64, BTreeMap<String, f64>) {
    let mut namespaces = BTreeMap::new();
    let mut total = 0.0;
    for (key, row) in own_rows("day-cluster+namespace-idle") {
        let usd = row["totalCost"].as_f64().unwrap();
        total += usd;
        let name = key.rsplit('/').next().unwrap();
        if !name.starts_with("__") {
            namespaces.insert(name.to_owned(), usd);
        }
    }
    (total, namespaces)
}

/// The truth's parameters have no traffic: what OpenCost makes of the counters stands for it.
fn add_traffic(truth: &mut Truth) {
    for (key, row) in own_rows("day-namespace+pod-idle") {
        let usd = row["networkCost"].as_f64().unwrap_or(0.0);
        let Some((namespace, pod)) = key.split_once('/').filter(|_| usd > 0.0) else { continue };
        truth.total += usd;
        *truth.namespaces.get_mut(namespace).unwrap() += usd;
        *truth.pods.get_mut(&(namespace.to_owned(), pod.to_owned())).unwrap() += usd;
    }
}

fn table(stored: &Stored, truth: &Truth) -> String {
    let (own_total, own) = own_answer();
    let mut out = String::from(
        "| 2026-11-20 | truth, USD | worker, USD | worker | OpenCost's own day set |\n\
         |---|--:|--:|--:|--:|\n",
    );
    let mut line = |name: &str, truth: f64, stored: f64, own: Option<f64>| {
        let own = own.map_or("absent".to_owned(), |usd| format!("{:+.2} %", off(usd, truth)));
        let ours = off(stored, truth);
        writeln!(out, "| {name} | {truth:.4} | {stored:.4} | {ours:+.3} % | {own} |").unwrap();
    };
    line("**whole cluster**", truth.total, stored.total, Some(own_total));
    for (name, usd) in &truth.namespaces {
        line(name, *usd, stored.namespaces[name], own.get(name).copied());
    }
    let mut worst: Vec<_> =
        truth.pods.iter().map(|(name, usd)| (off(stored.pods[name], *usd), name)).collect();
    worst.sort_by(|a, b| b.0.abs().total_cmp(&a.0.abs()));
    let (most, (namespace, pod)) = worst[0];
    writeln!(
        out,
        "\n{} pods; the one that is off most is {namespace}/{pod}: {most:+.2} %.",
        truth.pods.len()
    )
    .unwrap();
    out
}

/// The recorded day's rows with other settings.
async fn recorded_day(name: &str, prometheus_url: &str, more: &[(&'static str, &str)]) -> Stored {
    let stores = Stores::new(name).await;
    let mut settings = stores.settings();
    for (name, value) in [
        ("PROMETHEUS_URL", prometheus_url),
        ("TENANT_LABEL", ""),
        ("ACCOUNTS", ACCOUNT),
        ("DEFAULT_CLUSTER", "test-cluster"),
        ("PHASE", "1"),
    ]
    .iter()
    .chain(more)
    {
        settings.push((name, (*value).to_owned()));
    }
    run(&settings, &["migrate"]).expect_success();
    run(&settings, &["run", "--from", "2026-11-20", "--to", "2026-11-20"]).expect_success();
    stored(&stores, ACCOUNT, START as i64).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_a_recorded_day_are_near_the_truth_and_move_no_other_sum() {
    let (_data, prometheus) = recorded_prometheus();
    let mut truth = truth(&fixtures(), START, END);
    let alone = [("LEVELS", "cluster,node"), ("NODE_ROWS", "always")];
    let machines = recorded_day("accuracy_nodes", &prometheus.url, &alone).await;
    assert_eq!(machines.by_node.len(), truth.machines.len());
    for (node, usd) in &truth.machines {
        let found = machines.by_node[node];
        assert!(off(found, *usd).abs() <= 0.5, "{node}: {found} {usd}");
    }
    let pods = ("LEVELS", "cluster,namespace,pod");
    let without = recorded_day("accuracy_no_nodes", &prometheus.url, &[pods]).await;
    let all = ("LEVELS", "cluster,node,namespace,pod");
    let with = recorded_day("accuracy_with_nodes", &prometheus.url, &[all]).await;
    assert_eq!(with.total.to_bits(), without.total.to_bits());
    assert_eq!(with.total.to_bits(), machines.total.to_bits());
    assert_eq!(with.namespaces, without.namespaces);
    assert_eq!(with.pods, without.pods);
    // By node: the machine, and what its pods cost beside it. One node is overcommitted: what its
    // pods use beyond it is in their rows, so that much less of idle machines is left.
    let without_traffic = truth.pods.clone();
    add_traffic(&mut truth);
    assert_eq!(with.by_node.len(), truth.machines.len());
    let mut wholes = Vec::new();
    for (node, machine) in &truth.machines {
        let (mut whole, mut of_pods) = (*machine, 0.0);
        for (pod, usd) in truth.pods.iter().filter(|(pod, _)| with.nodes.get(*pod) == Some(node)) {
            of_pods += usd;
            whole += usd - without_traffic.get(pod).copied().unwrap_or(0.0);
            whole += truth.volumes.get(pod).copied().unwrap_or(0.0);
        }
        wholes.push((node, whole, of_pods));
    }
    let idle: f64 = wholes.iter().map(|(_, whole, pods)| (whole - pods).max(0.0)).sum();
    let over: f64 = wholes.iter().map(|(_, whole, pods)| (pods - whole).max(0.0)).sum();
    assert!(over > 0.0 && over < 0.05 * idle, "{over} of {idle}");
    let left = (idle - over + truth.unclaimed) / idle;
    for (node, whole, of_pods) in wholes {
        let (found, wanted) = (with.by_node[node], of_pods + (whole - of_pods).max(0.0) * left);
        assert!(off(found, wanted).abs() <= 0.5, "{node}: {found} {wanted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_recorded_day_add_up_to_its_rows_and_are_near_the_truth() {
    let (_data, prometheus) = recorded_prometheus();
    let mut truth = truth(&fixtures(), START, END);
    let volumes: f64 = truth.unclaimed + truth.claimed;
    let before: f64 = truth.pods.values().sum();
    add_traffic(&mut truth);
    let traffic = truth.pods.values().sum::<f64>() - before;
    for (levels, name) in [
        ("cluster,namespace", "parts_namespaces"),
        ("cluster,node,namespace,pod", "parts_nodes"),
        ("cluster,pod", "parts_pods"),
    ] {
        let more = [("LEVELS", levels), ("COST_PARTS", "true")];
        let day = recorded_day(name, &prometheus.url, &more).await;
        let parts = day.parts_of_rows();
        let near = |part: &str, wanted: f64, per_cent: f64| {
            let found = parts[part];
            assert!(off(found, wanted).abs() <= per_cent, "{levels}: {part} {found} {wanted}");
        };
        // Where nodes have rows, what one is overcommitted by is taken from the volume of nobody.
        near("pv", volumes, if levels.contains("node") { 2.0 } else { 0.5 });
        near("network", traffic, 0.5);
        near("lb", truth.balancers.values().sum(), 0.5);
        let machines: f64 = ["cpu", "ram", "gpu", "idle"].iter().map(|part| parts[*part]).sum();
        let wanted = truth.machines.values().sum::<f64>();
        assert!(off(machines, wanted).abs() <= 0.5, "{levels}: machines {machines} {wanted}");
        let other = parts.get("other").copied().unwrap_or(0.0);
        assert!(other <= 0.005 * day.total, "{levels}: other {other}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn efficiencies_of_a_recorded_day_are_near_the_truth() {
    let (_data, prometheus) = recorded_prometheus();
    let more = [("LEVELS", "cluster,namespace"), ("COST_PARTS", "true")];
    let day = recorded_day("efficiencies", &prometheus.url, &more).await;
    let mut truth = truth(&fixtures(), START, END).uses;
    let mut all = Use::default();
    truth.values().for_each(|uses| all.add(*uses, 1.0));
    // The cluster's.
    truth.insert(String::new(), all);
    let mut report = String::new();
    for (namespace, uses) in &truth {
        let found = day.efficiencies[namespace];
        for (what, (found, wanted)) in
            ["CPU", "memory"].into_iter().zip(found.into_iter().zip(uses.efficiencies()))
        {
            match (found, wanted) {
                (Some(found), Some(wanted)) if off(found, wanted).abs() <= 1.0 => {}
                (None, None) => {}
                _ => writeln!(report, "{namespace} {what}: {found:?} {wanted:?}").unwrap(),
            }
        }
    }
    assert_eq!(report, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_day_is_near_the_truth_down_to_its_pods() {
    let (_data, prometheus) = recorded_prometheus();
    let stores = Stores::new("accuracy").await;
    let mut settings = stores.settings();
    for (name, value) in [
        ("PROMETHEUS_URL", prometheus.url.as_str()),
        ("TENANT_LABEL", ""),
        ("ACCOUNTS", ACCOUNT),
        ("DEFAULT_CLUSTER", "test-cluster"),
        ("LEVELS", "cluster,namespace,pod"),
        ("PHASE", "1"),
    ] {
        settings.push((name, value.to_owned()));
    }
    run(&settings, &["migrate"]).expect_success();
    let ran = run(&settings, &["run", "--from", "2026-11-20", "--to", "2026-11-20"]);
    let summary = ran.expect_success().summary();
    let stored = stored(&stores, ACCOUNT, START as i64).await;
    let mut truth = truth(&fixtures(), START, END);
    add_traffic(&mut truth);
    let day = &summary["accounts"][0]["days"][0];
    assert_eq!(day["source_total_usd"].as_f64().unwrap().to_bits(), stored.total.to_bits());
    hold(&stored, &truth);
    if std::env::var_os("WRITE_ACCURACY").is_some() {
        write_between("docs/ACCURACY.md", "raw metrics", &table(&stored, &truth));
    }
}
