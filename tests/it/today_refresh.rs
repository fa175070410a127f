//! `TODAY_REFRESH`: a running day's pods are written once an hour, and no sum is off in between.

use std::collections::BTreeMap;

use kubecost_worker::cost::resource_id::document_id;
use kubecost_worker::cost::{AccountId, ResourceKey};
use mongodb::bson::{Document, doc};

use crate::explains::recompute;
use crate::support::layer::{Fate, Layer};
use crate::support::metrics::History;
use crate::support::small::{ACCOUNT, START, Small};
use crate::support::worker::run;

const TODAY: i64 = START + 86_400;
const HOUR: i64 = 3_600;
/// The pods' rates, USD per hour; `late` is born between the first two runs.
const PODS: [(&str, &str, f64); 4] =
    [("shop", "web", 0.7), ("shop", "late", 0.3), ("pay", "till", 0.9), ("pay", "log", 0.1)];

fn pods(history: &mut History) {
    let gauge = |level: &str| format!("cloudtuner_kubecost_{level}_total_cost");
    let base = format!("tenant_id=\"{ACCOUNT}\",cluster=\"c\"");
    // `Small` ends at noon of the second day.
    let rest = (TODAY + 12 * HOUR, TODAY + 25 * HOUR);
    history.every_minute(&gauge("cluster"), &base, 7, rest, |_| Some(10.0));
    for (namespace, rate) in [("shop", 6.0), ("pay", 1.5)] {
        let labels = format!("{base},namespace=\"{namespace}\"");
        history.every_minute(&gauge("namespace"), &labels, 7, rest, |_| Some(rate));
    }
    for (namespace, pod, rate) in PODS {
        let from = if pod == "late" { TODAY + 6 * HOUR + 120 } else { START - 60 };
        let labels = format!("{base},namespace=\"{namespace}\",pod=\"{pod}\"");
        history.every_minute(&gauge("pod"), &labels, 7, (from, rest.1), |_| Some(rate));
    }
}

fn id(namespace: &str, pod: &str) -> String {
    let account = AccountId::new(ACCOUNT).unwrap();
    let (namespace, pod) = (namespace.to_owned(), pod.to_owned());
    let stable = ResourceKey::Pod { cluster: "c".into(), namespace, pod }.id(&account);
    document_id(&account, &stable, 1)
}

/// Live rows of the running day: costs to the last bit, by `_id`.
type Rows = BTreeMap<String, u64>;

async fn today(small: &Small) -> Rows {
    let rows = small.stored().await;
    let of_today = rows.into_iter().filter(|(date, ..)| i64::from(*date) == TODAY);
    of_today
        .map(|(_, id, bits, sign)| {
            assert_eq!(sign, 1, "{id}");
            (id, bits)
        })
        .collect()
}

fn of_pods(rows: &Rows) -> [Option<u64>; 4] {
    PODS.map(|(namespace, pod, _)| rows.get(&id(namespace, pod)).copied())
}

fn others(rows: &Rows) -> Rows {
    let pods = PODS.map(|(namespace, pod, _)| id(namespace, pod));
    rows.iter().filter(|(id, _)| !pods.contains(id)).map(|(id, usd)| (id.clone(), *usd)).collect()
}

/// USD by `k8s_namespace`, as readers add rows up.
async fn by_namespace(small: &Small) -> Vec<(String, u64)> {
    let rows = small
        .stores
        .client()
        .query(
            "SELECT ifNull(k8s_namespace, '') AS namespace, sum(cost * sign) FROM expenses \
             WHERE toUInt32(date) = ? GROUP BY namespace ORDER BY namespace",
        )
        .bind(u32::try_from(TODAY).unwrap())
        .fetch_all::<(String, f64)>()
        .await
        .unwrap();
    rows.into_iter().map(|(name, usd)| (name, usd.to_bits())).collect()
}

async fn pods_written_at(small: &Small) -> Option<i64> {
    let statuses = small.stores.mongo().await.collection::<Document>("kubecost_account_day");
    let of_today = doc! { "_id": format!("{ACCOUNT}:2026-03-02") };
    let status = statuses.find_one(of_today).await.unwrap().unwrap();
    status.get("pods_written_at").map(|at| at.as_i64().unwrap())
}

async fn is_documented(small: &Small, id: &str) -> bool {
    let documents = small.stores.mongo().await.collection::<Document>("cloud_resource");
    documents.find_one(doc! { "_id": id }).await.unwrap().is_some()
}

/// Runs what is due at a time of the day, and sees that what is stored is the source's total.
fn run_at(settings: &[(&'static str, String)], at: &str, more: &[&str]) {
    let arguments: Vec<&str> = ["--at", at, "run"].iter().chain(more).copied().collect();
    let summary = run(settings, &arguments).expect_success().summary();
    let days = summary["accounts"][0]["days"].as_array().unwrap();
    assert!(!days.is_empty(), "{summary}");
    for day in days {
        assert_eq!(day["source_total_usd"], day["stored_total_usd"], "{day}");
    }
}

/// Stores on which every run writes all.
async fn writing_all(small: &Small, name: &str) -> Small {
    let mut other = small.beside(name).await;
    other.settings = other.with_settings(&[LEVELS, ("TODAY_REFRESH", "0")]);
    other
}

const LEVELS: (&str, &str) = ("LEVELS", "cluster,namespace,pod");

#[tokio::test(flavor = "multi_thread")]
async fn a_running_days_pods_are_written_hourly_and_every_sum_is_exact_in_between() {
    let mut small = Small::with("today_refresh", pods).await;
    small.settings = small.with_settings(&[LEVELS]);
    let all = writing_all(&small, "today_refresh_all").await;

    run_at(&small.settings, "2026-03-02T06:00:30Z", &[]);
    let first = today(&small).await;
    assert_eq!(of_pods(&first).map(|usd| usd.is_some()), [true, false, true, true]);
    assert_eq!(pods_written_at(&small).await, Some(TODAY + 6 * HOUR + 30));

    // Five minutes later, and again by a plan that is carried out.
    let (five, ten) = ("2026-03-02T06:05:30Z", "2026-03-02T06:10:30Z");
    let mut before = first.clone();
    for at in [five, ten] {
        if at == five {
            run_at(&small.settings, at, &[]);
        } else {
            let file = tempfile::NamedTempFile::new().unwrap();
            let file = file.path().to_str().unwrap();
            let plan = ["--at", at, "plan", "--output", "json", "--out", file];
            run(&small.settings, &plan).expect_success();
            run_at(&small.settings, at, &["--plan", file]);
        }
        let now = today(&small).await;
        assert_eq!(of_pods(&now), of_pods(&first), "{at}");
        for (id, usd) in others(&now) {
            assert_ne!(before.get(&id), Some(&usd), "{at}: {id} stays though it cost more");
        }
        assert_eq!(others(&now).len(), 3, "the cluster and two namespaces: {now:?}");
        assert!(!is_documented(&small, &id("shop", "late")).await, "{at}");
        run_at(&all.settings, at, &[]);
        assert_eq!(by_namespace(&small).await, by_namespace(&all).await, "{at}");
        assert!(is_documented(&all, &id("shop", "late")).await, "{at}");
        assert_eq!(pods_written_at(&small).await, Some(TODAY + 6 * HOUR + 30), "{at}");
        explained(&small, at);
        before = now;
    }

    // An hour after they were written.
    run_at(&small.settings, "2026-03-02T07:00:30Z", &[]);
    run_at(&all.settings, "2026-03-02T07:00:30Z", &[]);
    assert_eq!(small.stored().await, all.stored().await);
    assert!(is_documented(&small, &id("shop", "late")).await);
    assert_eq!(pods_written_at(&small).await, Some(TODAY + 7 * HOUR + 30));

    // Days that are asked for are written whole, and so is a day that is over.
    run_at(&small.settings, "2026-03-02T07:05:30Z", &[]);
    let kept = today(&small).await;
    run_at(&all.settings, "2026-03-02T07:05:30Z", &[]);
    assert_ne!(kept, today(&all).await);
    let asked = ["--from", "2026-03-02", "--to", "2026-03-02"];
    run_at(&small.settings, "2026-03-02T07:05:30Z", &asked);
    assert_eq!(small.stored().await, all.stored().await);
    run_at(&small.settings, "2026-03-02T07:10:30Z", &[]);
    run_at(&small.settings, "2026-03-03T00:30:30Z", &[]);
    run_at(&all.settings, "2026-03-03T00:30:30Z", &[]);
    assert_eq!(small.stored().await, all.stored().await);
    assert_eq!(pods_written_at(&small).await, None);
    let audit = ["--at", "2026-03-03T00:30:30Z", "audit", "--from", "2026-03-01"];
    run(&small.settings, &[&audit[..], &["--to", "2026-03-02"]].concat()).expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_keep_their_rows_are_read_as_often_as_their_documents_are_seen() {
    let mut small = Small::with("today_unread", pods).await;
    small.settings = small.with_settings(&[LEVELS]);
    let all = writing_all(&small, "today_unread_all").await;
    let layer = Layer::new(&small.prometheus.url, |_| Fate::Passed).await;
    let settings = small.with_settings(&[("PROMETHEUS_URL", &layer.url)]);
    let read_pods_by = |run: &dyn Fn()| {
        let before = layer.seen().len();
        tokio::task::block_in_place(run);
        // Samples of the day before are counted, those of pods too.
        let is_of_pods =
            |query: &str| query.contains("pod_total_cost") && !query.contains("count_over_time");
        layer.seen()[before..].iter().any(|query| is_of_pods(query.text("query")))
    };
    let read_pods = |at: &str| read_pods_by(&|| run_at(&settings, at, &[]));
    for (minute, are_read) in
        [("06:00", true), ("06:05", false), ("06:29", false), ("06:35", true), ("06:40", false)]
    {
        let at = format!("2026-03-02T{minute}:30Z");
        assert_eq!(read_pods(&at), are_read, "{at}");
        assert_eq!(pods_written_at(&small).await, Some(TODAY + 6 * HOUR + 30), "{at}");
        run_at(&all.settings, &at, &[]);
        assert_eq!(by_namespace(&small).await, by_namespace(&all).await, "{at}");
    }
    // A plan is carried out with the costs that it has, not with those of by then.
    let (file, at) = (tempfile::NamedTempFile::new().unwrap(), "2026-03-02T06:41:30Z");
    let file = file.path().to_str().unwrap();
    run(&settings, &["--at", at, "plan", "--output", "json", "--out", file]).expect_success();
    let before = layer.seen().len();
    tokio::task::block_in_place(|| run_at(&settings, at, &["--plan", file]));
    let asked = layer.seen()[before..].iter().any(|query| query.text("query").contains("_cost"));
    assert!(!asked, "{:?}", &layer.seen()[before..]);
    // Rows that are not those that were stored are read, and mended, with all pods.
    let taken_back = format!(
        "INSERT INTO expenses (cloud_account_id, resource_id, date, cost, sign, k8s_namespace) \
         SELECT cloud_account_id, resource_id, date, sum(cost * sign), -1, k8s_namespace \
         FROM expenses WHERE toUInt32(date) = {TODAY} AND k8s_namespace = 'pay' \
         GROUP BY cloud_account_id, resource_id, date, k8s_namespace HAVING sum(sign) > 0"
    );
    small.stores.execute(&taken_back).await;
    assert!(read_pods_by(&|| {
        let said = run(&settings, &["--at", "2026-03-02T06:45:30Z", "run"]);
        assert_eq!(
            said.summary()["accounts"][0]["reconciliation_differences"],
            1,
            "{}",
            said.stdout
        );
    }));
    run_at(&all.settings, "2026-03-02T06:45:30Z", &[]);
    assert_eq!(small.stored().await, all.stored().await);
    assert!(!read_pods("2026-03-02T06:50:30Z"));
    assert!(read_pods("2026-03-02T07:45:30Z"));
    run_at(&all.settings, "2026-03-02T07:45:30Z", &[]);
    assert_eq!(small.stored().await, all.stored().await);
}

/// Every row, and the pod that has none yet, is explained by what the source has: to the last bit.
fn explained(small: &Small, at: &str) {
    let of = |more: &[&str], code: i32| {
        let day = ["--at", at, "explain", "--account", ACCOUNT, "--day", "2026-03-02"];
        let said = run(&small.settings, &[&day[..], more].concat());
        assert_eq!(said.code, code, "{more:?}: {}\n{}", said.stdout, said.stderr);
        let json = run(&small.settings, &[&day[..], more, &["--output", "json"]].concat()).stdout;
        let (agrees, recomputed) = recompute(&json, &small.prometheus.url);
        assert!(agrees, "{more:?}: {recomputed}\n{json}");
        said.stdout
    };
    of(&[], 0);
    for namespace in ["shop", "pay"] {
        let text = of(&["--namespace", namespace], 0);
        assert!(text.contains("pods: their rows are as of 06:00:30 UTC"), "{text}");
    }
    of(&["--namespace", "shop", "--pod", "web"], 0);
    // There is no row of it.
    let late = of(&["--namespace", "shop", "--pod", "late"], 1);
    assert!(late.contains("the source had no such pod when pods were last written"), "{late}");
}
