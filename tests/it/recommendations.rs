//! Recommendations on a made-up cluster whose over-requests are known, and on histories that are
//! too short, have gaps, or lack metrics of use.

use serde_json::Value;

use crate::accuracy::recorded_prometheus;
use crate::support::embedded::SqliteStore;
use crate::support::http::{Asked, FakeServer, json, reply};
use crate::support::metrics::History;
use crate::support::servers::{Server, Stores};
use crate::support::worker::run;
use crate::support::world::{DAY, HOUR, MARCH, gauges, source};

const ACCOUNT: &str = "eeee0000-0000-0000-0000-0000000000ee";
const AT: &str = "2026-03-05T00:00:30Z";
const NOW: i64 = MARCH + 4 * DAY;
const GIB: f64 = 1_073_741_824.0;
const CORE_USD: f64 = 0.03;
const GIB_USD: f64 = 0.004;
/// Of volumes.
const VOLUME_GIB_USD: f64 = 0.0002;

/// A container of a deployment: what each of its pods requests and uses.
struct Workload {
    namespace: &'static str,
    name: &'static str,
    pods: usize,
    cores: (f64, f64),
    gib: (f64, f64),
}

const fn workload(
    namespace: &'static str,
    name: &'static str,
    pods: usize,
    cores: (f64, f64),
    gib: (f64, f64),
) -> Workload {
    Workload { namespace, name, pods, cores, gib }
}

/// Two request far more than they use, one is right, one is scaled by itself, one does nothing.
const WORKLOADS: [Workload; 5] = [
    workload("shop", "web", 3, (2.0, 0.4), (4.0, 1.0)),
    workload("pay", "api", 2, (1.0, 0.25), (8.0, 2.0)),
    workload("data", "store", 2, (1.0, 0.95), (4.0, 3.8)),
    workload("shop", "scaled", 2, (2.0, 0.1), (4.0, 0.5)),
    workload("old", "left", 1, (0.5, 0.001), (1.0, 0.05)),
];

impl Workload {
    /// What `--profile cost` saves, by hand: requests down to 15 % above use, USD in 730 hours.
    fn saving(&self) -> f64 {
        let down = |(asked, used): (f64, f64)| (asked - used * 1.15).max(0.0);
        let hourly = down(self.cores) * CORE_USD + down(self.gib) * GIB_USD;
        hourly * self.pods as f64 * 730.0
    }
}

/// What is there of the history.
#[derive(Clone, Copy)]
struct Shape {
    /// Hours of it.
    hours: i64,
    has_use: bool,
    has_gaps: bool,
    /// Whether it is forwarded which pods mount which volumes.
    has_claims: bool,
}

const WHOLE: Shape = Shape { hours: 96, has_use: true, has_gaps: false, has_claims: true };

fn cluster(shape: Shape) -> Server {
    let mut history = History::default();
    let life = (NOW - shape.hours * HOUR, NOW + 60);
    let base = format!("tenant_id=\"{ACCOUNT}\",cluster=\"prod\"");
    let is_there = |time: i64| !shape.has_gaps || time / HOUR % 5 != 2;
    let mut put = |metric: &str, more: &str, value: &dyn Fn(i64) -> f64| {
        let labels = format!("{base}{more}");
        history.every_minute(metric, &labels, 0, life, |t| is_there(t).then(|| value(t)));
    };
    for node in 0..4 {
        let labels = format!(",node=\"n{node}\"");
        put("node_cpu_hourly_cost", &labels, &|_| CORE_USD);
        put("node_ram_hourly_cost", &labels, &|_| GIB_USD);
        put("node_total_hourly_cost", &labels, &|_| 8.0 * CORE_USD + 32.0 * GIB_USD);
        put("kubecost_node_is_spot", &labels, &|_| 0.0);
    }
    for volume in ["pv-used", "pv-left"] {
        let labels = format!(",persistentvolume=\"{volume}\"");
        put("pv_hourly_cost", &labels, &|_| VOLUME_GIB_USD);
        put("kube_persistentvolume_capacity_bytes", &labels, &|_| 100.0 * GIB);
    }
    if shape.has_claims {
        let labels = ",namespace=\"data\",pod=\"db-0\",persistentvolume=\"pv-used\"";
        put("pod_pvc_allocation", labels, &|_| 100.0 * GIB);
    }
    for one in &WORKLOADS {
        for pod in 0..one.pods {
            let of = format!(
                ",namespace=\"{}\",pod=\"{}-5d4f8c7b9d-x2x4{}\",container=\"app\"",
                one.namespace,
                one.name,
                ["b", "c", "d"][pod]
            );
            for (resource, amount) in [("cpu", one.cores.0), ("memory", one.gib.0 * GIB)] {
                let labels = format!("{of},resource=\"{resource}\"");
                put("kube_pod_container_resource_requests", &labels, &|_| amount);
            }
            let on = format!("{of},node=\"n{}\"", pod % 4);
            put("container_cpu_allocation", &on, &|_| one.cores.0);
            put("container_memory_allocation_bytes", &on, &|_| one.gib.0 * GIB);
            if shape.has_use {
                // Use goes up and down by the minute below its height.
                let cores = one.cores.1;
                put("container_cpu_usage_seconds_total", &of, &|time| {
                    (time - life.0) as f64 * cores
                });
                let gib = |time: i64| one.gib.1 * (0.7 + 0.3 * ((time / 60 % 10) as f64 / 9.0));
                put("container_memory_working_set_bytes", &of, &|time| gib(time) * GIB);
            }
            let sent = if one.name == "left" { 1.0 } else { 10_000.0 };
            let net = format!("{},interface=\"eth0\"", of.replace(",container=\"app\"", ""));
            put("container_network_transmit_bytes_total", &net, &|time| {
                (time - life.0) as f64 * sent
            });
        }
    }
    let scaled =
        ",namespace=\"shop\",scaletargetref_kind=\"Deployment\",scaletargetref_name=\"scaled\"";
    put("kube_horizontalpodautoscaler_info", scaled, &|_| 1.0);
    gauges(&mut history, ACCOUNT, (NOW - DAY, NOW), |_| Some(1.0), &[("shop", 0.5), ("old", 0.1)]);
    source(&[history])
}

fn recommend(settings: &[(&'static str, String)], more: &[&str]) -> Value {
    let fixed = ["--at", AT, "recommend", "--output", "json"];
    run(settings, &[&fixed[..], more].concat()).expect_success().summary()
}

fn settings(server: &Server) -> Vec<(&'static str, String)> {
    let url = ("PROMETHEUS_URL", server.url.clone());
    vec![url, ("ACCOUNTS", ACCOUNT.to_owned())]
}

/// Names and savings of one kind.
fn of_kind(found: &Value, kind: &str) -> Vec<(String, f64)> {
    let all = found["recommendations"].as_array().unwrap().iter();
    let one = |one: &Value| {
        (one["name"].as_str().unwrap().to_owned(), one["usd_per_month"].as_f64().unwrap())
    };
    let mut found: Vec<_> = all.filter(|one| one["kind"] == kind).map(one).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

#[test]
fn known_over_requests_are_found_within_a_tenth_of_the_known_saving() {
    let server = cluster(WHOLE);
    let found = recommend(&settings(&server), &[]);
    let requests = of_kind(&found, "requests");
    let names: Vec<&str> = requests.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["old/left/app", "pay/api/app", "shop/web/app"], "{found:#}");
    for (name, saving) in &requests {
        let known = WORKLOADS.iter().find(|one| name.contains(one.name)).unwrap().saving();
        assert!((saving / known - 1.0).abs() < 0.1, "{name}: {saving} instead of {known}");
    }
    // Allocated are 13.5 cores and 46 GiB of 32 and 128.
    let idle = of_kind(&found, "idle");
    assert_eq!(idle.len(), 1, "{found:#}");
    let of_node = (8.0 * CORE_USD + 32.0 * GIB_USD) * 730.0;
    assert!((idle[0].1 / of_node - 1.0).abs() < 0.01, "one of four nodes: {idle:?}");
    let quiet = of_kind(&found, "idle-namespace");
    let known = (0.5 * CORE_USD + GIB_USD) * 730.0;
    assert_eq!(quiet.len(), 1, "{found:#}");
    assert!(quiet[0].0 == "old" && (quiet[0].1 / known - 1.0).abs() < 0.01, "{quiet:?}");
    let spot: Vec<_> = of_kind(&found, "spot-candidate").into_iter().map(|one| one.0).collect();
    assert_eq!(spot, ["data/store", "pay/api", "shop/scaled", "shop/web"]);
    // A week ago there were no volumes yet, three days ago there were.
    assert_eq!(missing(&found), ["pod_pvc_allocation"], "{found:#}");
    assert_eq!(of_kind(&found, "unmounted-volume"), []);
    let found = recommend(&settings(&server), &THREE_DAYS);
    let volumes = of_kind(&found, "unmounted-volume");
    assert_eq!(volumes.len(), 1, "{found:#}");
    let known = 100.0 * VOLUME_GIB_USD * 730.0;
    assert!(volumes[0].0 == "pv-left" && (volumes[0].1 / known - 1.0).abs() < 1e-9, "{volumes:?}");
    assert_eq!(missing(&found), <[&str; 0]>::default());
}

const THREE_DAYS: [&str; 2] = ["--lookback", "3"];

/// The metrics that are missing.
fn missing(found: &Value) -> Vec<&str> {
    let all = found["missing"].as_array().unwrap().iter();
    all.map(|one| one["metric"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_cannot_be_looked_at_leaves_the_others_theirs() {
    const ILL: &str = "eeee0000-0000-0000-0000-0000000000ff";
    let answers = |asked: &Asked| {
        if asked.parameter("query").contains(ILL) {
            let error = r#"{"status":"error","errorType":"execution","error":"too many samples"}"#;
            return reply(422, "application/json", error);
        }
        json(r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#)
    };
    let server = FakeServer::start(answers).await;
    let settings =
        [("PROMETHEUS_URL", server.url.clone()), ("ACCOUNTS", format!("{ILL},{ACCOUNT}"))];
    let done = run(&settings, &["--at", AT, "recommend", "--output", "json"]);
    assert_eq!(done.code, 1, "{}", done.stderr);
    let found = done.summary();
    assert!(missing(&found).contains(&"node_total_hourly_cost"), "of the other one: {found:#}");
    assert_eq!(found["failed"][0]["account"], ILL, "{found:#}");
}

#[test]
fn one_day_or_no_use_is_no_evidence_and_gaps_are_less_of_it() {
    let server = cluster(Shape { hours: 24, ..WHOLE });
    let found = recommend(&settings(&server), &[]);
    assert!(of_kind(&found, "requests").is_empty(), "{found:#}");
    assert!(of_kind(&found, "idle-namespace").is_empty(), "{found:#}");
    let found = recommend(&settings(&server), &THREE_DAYS);
    assert_eq!(of_kind(&found, "unmounted-volume"), [], "a volume of a day");
    assert_eq!(missing(&found), ["pod_pvc_allocation"], "{found:#}");
    let server = cluster(Shape { has_use: false, has_claims: false, ..WHOLE });
    let found = recommend(&settings(&server), &THREE_DAYS);
    assert!(of_kind(&found, "requests").is_empty(), "{found:#}");
    assert_eq!(of_kind(&found, "unmounted-volume"), [], "nobody knows who mounts it");
    assert_eq!(of_kind(&found, "spot-candidate"), [], "nor who has volumes");
    for metric in [
        "container_cpu_usage_seconds_total",
        "container_memory_working_set_bytes",
        "pod_pvc_allocation",
    ] {
        assert!(missing(&found).contains(&metric), "{found:#}");
    }
    // Four fifths of four days are three days and a little: still enough.
    let server = cluster(Shape { has_gaps: true, ..WHOLE });
    let found = recommend(&settings(&server), &[]);
    assert_eq!(of_kind(&found, "requests").len(), 3, "{found:#}");
    assert_eq!(found["recommendations"][0]["confidence"].as_str().map(str::len), Some(3));
}

#[test]
fn the_recorded_cluster_has_no_metrics_of_use_and_gets_no_advice_on_requests() {
    let (_data, server) = recorded_prometheus();
    let mut settings = settings(&server);
    settings.extend([("TENANT_LABEL", String::new()), ("DEFAULT_CLUSTER", "test-cluster".into())]);
    let at = ["--at", "2026-11-21T00:00:00Z", "recommend", "--output", "json"];
    let found = run(&settings, &at).expect_success().summary();
    let all = found["recommendations"].as_array().unwrap();
    for one in all {
        assert!(one["usd_per_month"].as_f64().unwrap() > 0.0, "{one}");
        assert_ne!(one["kind"], "requests", "allocation is not use: {one}");
    }
    let missing = found["missing"].as_array().unwrap();
    assert!(missing.iter().all(|one| one["fix"].as_str().unwrap().contains("remote_write")));
}

#[tokio::test(flavor = "multi_thread")]
async fn written_recommendations_replace_the_last_ones_and_keep_since_when_they_are_known() {
    let server = cluster(WHOLE);
    let embedded = SqliteStore::new(&[ACCOUNT], &[]);
    let stores = Stores::new("recommend").await;
    run(&stores.settings(), &["migrate"]).expect_success();
    for mut settings in [embedded.settings.clone(), stores.settings()] {
        settings.retain(|(name, _)| *name != "ACCOUNTS");
        settings.extend(self::settings(&server));
        let days = ["run", "--from", "2026-03-04", "--to", "2026-03-04", "--at", AT];
        run(&settings, &days).expect_success();
        recommend(&settings, &["--write"]);
        let later = ["--at", "2026-03-05T00:02:30Z", "recommend", "--write"];
        run(&settings, &later).expect_success();
        let page = ["--at", AT, "report", "--from", "2026-03-04", "--to", "2026-03-04"];
        let page = run(&settings, &[&page[..], &["--output", "html"]].concat()).expect_success();
        assert!(page.stdout.contains("What could cost less"), "{}", page.stdout);
        assert!(page.stdout.contains("requests: prod shop/web/app"), "{}", page.stdout);
    }
    let record: Value = serde_json::from_str(
        &embedded
            .text("SELECT record FROM kubecost_recommendations WHERE module = 'kubecost_requests'"),
    )
    .unwrap();
    assert_eq!(
        (&record["created_at"], record["data"].as_array().unwrap().len()),
        (&(NOW + 150).into(), 3)
    );
    let web =
        record["data"].as_array().unwrap().iter().find(|one| one["subject"] == "shop/web/app");
    let web = web.unwrap();
    assert_eq!(web["detected_at"], NOW + 30, "{web:#}");
    let document = embedded.text("SELECT _id FROM cloud_resource WHERE k8s_namespace = 'shop'");
    assert_eq!(web["resource_id"], document.as_str(), "{web:#}");
    assert_eq!(
        (&web["cloud_type"], &web["is_excluded"]),
        (&"kubernetes_cnr".into(), &false.into())
    );
    let sets =
        stores.mongo().await.collection::<mongodb::bson::Document>("kubecost_recommendations");
    assert_eq!(sets.count_documents(mongodb::bson::doc! {}).await.unwrap(), 5);
    let filter =
        mongodb::bson::doc! { "module": "kubecost_requests", "data.subject": "shop/web/app" };
    let found = sets.find_one(filter).await.unwrap().unwrap();
    assert_eq!(found.get_i64("created_at").unwrap(), NOW + 150);
    let item = found.get_array("data").unwrap()[0].as_document().unwrap();
    assert_eq!(item.get_i64("detected_at").unwrap(), NOW + 30);
}
