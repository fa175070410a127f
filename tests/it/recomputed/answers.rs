//! Worlds of services that answer: Metroculus and the allocation API.

use std::ops::Range;
use std::sync::Arc;

use kubecost_worker::accounts::Account;
use kubecost_worker::cost::AccountId;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::metroculus::{ACCOUNT, CLUSTER, Metroculus, NAMESPACE, START, World as Service};
use crate::metroculus::{as_json, in_process};
use crate::support::embedded::SqliteStore;
use crate::support::opencost::Recorded;
use crate::support::worker::run;
use crate::support::world::{DAY, HOUR};

use super::worlds::{World, numbers};

const POD: &str = "cloudtuner_kubecost_pod_total_cost";
const SLOT: i64 = 300;
const NAMES: i64 = 12;
const SECRET: &str = "a-cluster-secret";
/// 2026-11-20 00:00:00 UTC.
const DAY_20: i64 = 1_795_132_800;
/// Hours that are asked for: 21 of one day and 3 of the next.
pub(super) const WHOLE_HOURS: Range<i64> = 3..27;
/// The same with hours missing between: then hours are added up one by one.
pub(super) const WITH_A_GAP: Range<i64> = 9..12;

/// The rate of one of the names at a time, USD per hour.
fn rate(number: i64, time: i64) -> f64 {
    0.013 * (number + 1) as f64 * (1.0 + (time / 300 * 7 % 97) as f64 / 131.0)
}

/// Series by metric and labels, and their rate at a time.
type Rate = Box<dyn Fn(i64) -> f64>;

fn series() -> Vec<(&'static str, Value, Rate)> {
    let labels = |more: Value| {
        let mut labels = json!({"tenant_id": ACCOUNT, "cluster": "prod"});
        labels.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        labels
    };
    let whole = |time: i64| (0..NAMES).map(|number| rate(number, time)).sum::<f64>() * 1.4;
    let mut out: Vec<(_, _, Rate)> = vec![(CLUSTER, labels(json!({})), Box::new(whole))];
    for number in 0..NAMES {
        let name = format!("n{number}");
        let of = move |time: i64| rate(number, time);
        out.push((NAMESPACE, labels(json!({"namespace": name})), Box::new(of)));
        let pod = json!({"namespace": name, "pod": "web-0", "node": "a"});
        out.push((POD, labels(pod), Box::new(move |time| rate(number, time) * 0.61)));
    }
    out
}

/// Rates at a time, by metric and labels.
fn rates(time: i64) -> Vec<(&'static str, Value, f64)> {
    series().into_iter().map(|(metric, labels, rate)| (metric, labels, rate(time))).collect()
}

/// A day that was noted every five minutes, and in part of the next one.
pub(super) async fn journal() -> World {
    let mut service = Service::new().await;
    service.settings.push(("LEVELS", "cluster,namespace,pod".to_owned()));
    let (environment, clock) = in_process(&service).await;
    let account = Account { id: AccountId::new(ACCOUNT).unwrap(), name: None };
    for slot in (0..288 + 40).filter(|slot| !(100..112).contains(slot)) {
        let now = START + slot * SLOT + 11;
        service.service.tells(rates(now));
        clock.set(now);
        environment.readers.source.observe(&account, now).await.unwrap();
    }
    let at = "2033-01-11T06:00:00Z";
    run(&service.settings, &["run", "--at", at]);
    let database = service.stores.mongo().await;
    let slots = database.collection::<Document>("kubecost_rate_journal");
    let mut found = slots.find(doc! {}).await.unwrap();
    let mut lines = String::new();
    while found.advance().await.unwrap() {
        let one: Document = found.deserialize_current().unwrap();
        lines += &(serde_json::to_string(&one).unwrap() + "\n");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), lines).unwrap();
    let numbers = service
        .stores
        .client()
        .query(
            "SELECT cloud_account_id, toString(toDate(date)), resource_id FROM expenses \
             GROUP BY cloud_account_id, date, resource_id HAVING sum(sign) > 0 ORDER BY date, resource_id",
        )
        .fetch_all::<(String, String, String)>()
        .await
        .unwrap();
    World {
        name: "Metroculus, journal",
        settings: service.settings.clone(),
        numbers,
        at: at.to_owned(),
        options: vec!["--journal".to_owned(), file.path().display().to_string()],
        _kept: Box::new((service, file)),
    }
}

/// The same service, which answers history.
pub(super) async fn history() -> World {
    let service = Metroculus::start().await;
    service.answers(|_, asked| {
        let time = |name: &str| asked[name].parse::<i64>().unwrap();
        let times: Vec<i64> = (time("start_date").max(START)..time("end_date").min(START + DAY))
            .filter(|time| time % 60 == 0)
            .filter(|time| !(START + 7 * HOUR..START + 8 * HOUR).contains(time))
            .collect();
        let mut metrics = serde_json::Map::new();
        for name in asked["metrics"].split(',') {
            let points = |rate: &Rate| {
                let point = |time: &i64| json!([time, rate(*time).to_string()]);
                times.iter().map(point).collect::<Vec<_>>()
            };
            let series: Vec<Value> = series()
                .iter()
                .filter(|(metric, ..)| *metric == name && !times.is_empty())
                .map(|(_, labels, rate)| json!({"metric": labels, "values": points(rate)}))
                .collect();
            let data = json!({"resultType": "matrix", "result": series});
            metrics.insert(name.to_owned(), json!({"status": "success", "data": data}));
        }
        as_json(json!({"metrics": metrics}))
    });
    let settings = [
        ("QUERY_LAYER", "metroculus"),
        ("METROCULUS_URL", service.url.as_str()),
        ("CLUSTER_SECRET", SECRET),
        ("LEVELS", "cluster,namespace,pod"),
    ];
    let store = SqliteStore::new(&[ACCOUNT], &settings);
    let at = "2033-01-11T06:00:00Z";
    let day = ["run", "--at", at, "--from", "2033-01-10", "--to", "2033-01-10"];
    store.run(&day).expect_success();
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), SECRET).unwrap();
    let mut world = World::of("Metroculus, history", store, at, "", ());
    let path = secret.path().display().to_string();
    let options = ["--metroculus", &service.url, "--secret-file", &path];
    world.options = options.map(str::to_owned).to_vec();
    world._kept = Box::new((world._kept, service, secret));
    world
}

/// Recorded sets of an OpenCost, of 24 hours that cross midnight, all levels; with a gap in them.
pub(super) async fn sets(name: &'static str, hours: Range<i64>) -> World {
    let span = (DAY_20 + 3 * HOUR)..(DAY_20 + 27 * HOUR);
    let gap = DAY_20 + hours.start * HOUR..DAY_20 + hours.end * HOUR;
    let starts = if hours == WHOLE_HOURS {
        vec![span.clone()]
    } else {
        vec![span.start..gap.start, gap.end..span.end]
    };
    let mut recorded = Recorded::default();
    for starts in starts {
        recorded = recorded
            .with("namespace", "24x1h-namespace", starts.clone())
            .with("cluster,namespace", "24x1h-cluster+namespace", starts.clone())
            .with("namespace,pod", "24x1h-namespace+pod", starts);
    }
    let url = Arc::new(recorded).serve().await;
    let settings = [
        ("QUERY_LAYER", "allocation-api"),
        ("KUBECOST_URL", url.as_str()),
        ("LEVELS", "cluster,namespace,pod"),
        ("DEFAULT_CLUSTER", "test-cluster"),
    ];
    let store = SqliteStore::new(&["an-account"], &settings);
    let at = "2026-11-21T03:04:00Z";
    store.run(&["run", "--at", at, "--from", "2026-11-20", "--to", "2026-11-21"]);
    assert!(numbers(&store.open()).len() > 200);
    let mut world = World::of(name, store, at, "", ());
    world.options = vec!["--allocation".to_owned(), url];
    world
}
