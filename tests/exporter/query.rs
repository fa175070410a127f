//! `AllocationApiQuery`: days out of recorded replies.

use kubecost_worker::accounts::Account;
use kubecost_worker::allocation_api::window::rfc3339;
use kubecost_worker::allocation_api::{AllocationClient, ClientOptions};
use kubecost_worker::cost::{AccountId, Day};
use kubecost_worker::service::failure::{Failure, Kind};
use kubecost_worker::settings::Endpoint;
use kubecost_worker::settings::worker::Auth;
use kubecost_worker::source::allocation_api::AllocationApiQuery;
use kubecost_worker::source::{CostSource, Phase, SourceDay};

use serde_json::json;

use crate::support::{
    Answer, Seen, Server, assert_near, at, by_namespace, exporter, fixture, scraped, sets,
};

fn query(url: &str, wants_pods: bool) -> AllocationApiQuery {
    let options = ClientOptions { attempts: 1, ..ClientOptions::for_days(Auth::None) };
    let client = AllocationClient::new(Endpoint::parse(url).unwrap(), options).unwrap();
    AllocationApiQuery::new(client, "default".to_owned(), wants_pods, "USD".to_owned())
}

/// The only cluster that is taken, where there is a filter.
fn query_of(url: &str, cluster: Option<&str>) -> AllocationApiQuery {
    let cluster = cluster.map(str::to_owned);
    let options = ClientOptions { attempts: 1, cluster, ..ClientOptions::for_days(Auth::None) };
    let client = AllocationClient::new(Endpoint::parse(url).unwrap(), options).unwrap();
    AllocationApiQuery::new(client, "default".to_owned(), true, "USD".to_owned())
}

fn account() -> Account {
    Account::unnamed(AccountId::new("a").unwrap())
}

fn day(text: &str) -> Day {
    text.parse().unwrap()
}

/// Answers days and hours as they were recorded.
fn recorded(seen: &Seen) -> Answer {
    let name = match (seen.query["aggregate"].as_str(), seen.query["step"].as_str()) {
        ("cluster,namespace", step) => match (seen.window().0, step) {
            (start, "1d") if start == at("2026-11-19T00:00:00Z") => "gap-day-19-namespace-idle",
            (start, "1h") if start == at("2026-11-19T00:00:00Z") => "gap-day-19-step1h",
            (start, "1d") if start == at("2026-11-20T00:00:00Z") => "day-cluster+namespace-idle",
            (start, "1h") if start == at("2026-11-20T00:00:00Z") => "day-namespace-step1h",
            _ => return Answer::sets(&[Default::default()]),
        },
        ("namespace,pod", "1d") => "day-namespace+pod-idle",
        other => panic!("asked for {other:?}"),
    };
    Answer::json(fixture(&format!("opencost-run/alloc/{name}.json.gz")))
}

async fn read(url: &str, text: &str, now: &str, wants_pods: bool) -> SourceDay {
    let query = query(url, wants_pods);
    query.day_costs(&account(), day(text), Phase::Exporter, at(now)).await.unwrap()
}

#[tokio::test]
async fn a_day_without_gaps_is_read_as_one_set() {
    let server = Server::opencost(recorded).await;
    let source = read(&server.url, "2026-11-20", "2026-11-21T04:00:00Z", true).await;
    let cluster = &source.costs.clusters["test-cluster"];
    // 66.1313 is the sum of the totals of the recorded day's 17 rows, 66.2065 that of its hours.
    assert_near(cluster.total_usd.unwrap(), 66.1313, 1e-4);
    assert_eq!(source.costs.clusters.len(), 1);
    assert_eq!(cluster.namespaces.len(), 15);
    assert_eq!((source.covered_minutes, source.expected_minutes), (1_440, 1_440));
    assert_near(cluster.namespaces["ingress-nginx"].total_usd.unwrap(), 1.51238, 1e-9);
    let pods: usize = cluster.namespaces.values().map(|namespace| namespace.pods.len()).sum();
    assert_eq!(pods, 201, "203 rows less __idle__ and __unmounted__");
    for (name, namespace) in &cluster.namespaces {
        let of_pods: f64 = namespace.pods.values().map(|pod| pod.total_usd).sum();
        assert_near(of_pods, namespace.total_usd.unwrap(), 1e-3 + 5e-6 * 201.0);
        assert!(namespace.pods.values().any(|pod| pod.node.is_some()), "{name}");
    }
}

#[tokio::test]
async fn a_day_with_a_gap_is_the_sum_of_its_hours() {
    let server = Server::opencost(recorded).await;
    let source = read(&server.url, "2026-11-19", "2026-11-21T04:00:00Z", false).await;
    // One set says 60.58: it bills through the gap.
    assert_near(source.costs.clusters["test-cluster"].total_usd.unwrap(), 54.9239, 1e-3);
    // 01:50 to 20:30 and 22:35 (the server's grid) to 24:00, less what the grid cuts at the start.
    assert!((1_195..=1_205).contains(&source.covered_minutes), "{}", source.covered_minutes);
}

#[tokio::test]
async fn presence_leaves_out_days_without_data() {
    let server = Server::opencost(|seen| {
        let mut days = vec![Default::default(), Default::default()];
        days.extend(sets("opencost-run/alloc/gap-day-19-namespace-idle.json.gz"));
        days.extend(sets("opencost-run/alloc/day-cluster+namespace-idle.json.gz"));
        assert_eq!(seen.query["step"], "1d");
        Answer::sets(&days)
    })
    .await;
    let query = query(&server.url, false);
    let (first, last) = (day("2026-11-17"), day("2026-11-20"));
    let now = at("2026-11-21T04:00:00Z");
    let presence = query.presence(&account(), first, last, now).await.unwrap();
    let days: Vec<String> = presence.keys().map(ToString::to_string).collect();
    assert_eq!(days, ["2026-11-19", "2026-11-20"]);
    assert_eq!(presence[&last].exporter_minutes, 1_440);
    assert!(presence[&day("2026-11-19")].exporter_minutes < 1_440);
}

#[tokio::test]
async fn a_day_without_data_costs_nothing_and_covers_nothing() {
    let server = Server::opencost(recorded).await;
    let source = read(&server.url, "2026-11-10", "2026-11-21T04:00:00Z", true).await;
    assert!(source.costs.is_empty());
    assert_eq!((source.covered_minutes, source.expected_minutes), (0, 1_440));
    let source = read(&server.url, "2026-11-25", "2026-11-21T04:00:00Z", true).await;
    assert_eq!((source.covered_minutes, source.expected_minutes), (0, 0));
}

#[tokio::test]
async fn a_day_whose_pods_are_lost_is_a_failure() {
    let server = Server::opencost(|seen| {
        let lost = fixture("odd/pods-missing-idle.json");
        let text = String::from_utf8(lost).unwrap();
        let (start, end) = seen.query["window"].split_once(',').unwrap();
        Answer::json(text.replace("START", start).replace("END", end))
    })
    .await;
    let query = query(&server.url, false);
    let now = at("2026-11-21T04:00:00Z");
    let failure =
        query.day_costs(&account(), day("2026-11-20"), Phase::Exporter, now).await.unwrap_err();
    assert_eq!(failure.kind, Kind::BadData, "{failure}");
    assert!(failure.what.contains("no pod"), "{failure}");
}

/// A day whose namespace `shop` has a cost or has `null` in its place.
fn day_with_shop(seen: &Seen, usd_of_shop: Option<f64>) -> Answer {
    let (start, end) = seen.window();
    let step = if seen.query["step"] == "1d" { 86_400 } else { 3_600 };
    let sets: Vec<_> = (start..end)
        .step_by(step as usize)
        .map(|first| {
            let (from, to) = (rfc3339(first), rfc3339(first + step));
            let row = |usd: Option<f64>| {
                json!({
                    "window": {"start": from, "end": to}, "start": from, "end": to,
                    "cpuCost": usd, "totalCost": usd,
                })
            };
            [("c/__idle__", Some(1.0)), ("c/web", Some(1.0)), ("c/shop", usd_of_shop)]
                .map(|(key, usd)| (key.to_owned(), row(usd)))
                .into_iter()
                .collect()
        })
        .collect();
    Answer::sets(&sets)
}

#[tokio::test]
async fn a_day_with_a_cost_of_null_is_never_whole() {
    for (usd_of_shop, is_partial) in [(None, true), (Some(2.0), false)] {
        let server = Server::opencost(move |seen| day_with_shop(seen, usd_of_shop)).await;
        let source = read(&server.url, "2026-11-20", "2026-11-21T04:00:00Z", false).await;
        assert_eq!(source.is_partial, is_partial);
        let warned = source.warnings.iter().any(|warning| warning.to_string().contains("no-cost"));
        assert_eq!(warned, is_partial, "{:?}", source.warnings);
    }
}

#[tokio::test]
async fn a_running_day_is_asked_for_up_to_its_last_full_hour() {
    let server = Server::opencost(|seen| {
        let (start, end) = seen.window();
        assert_eq!(start, at("2026-11-20T00:00:00Z"));
        let hours = sets("opencost-run/alloc/day-namespace-step1h.json.gz");
        let count = usize::try_from((end - start) / 3_600).unwrap();
        Answer::sets(&hours[..count])
    })
    .await;
    let source = read(&server.url, "2026-11-20", "2026-11-20T05:20:00Z", false).await;
    assert_eq!((source.covered_minutes, source.expected_minutes), (300, 300));
    assert_eq!(server.seen().len(), 3, "one path that is not there, the hours, the whole");
    for seen in server.seen() {
        assert!(seen.query["window"].ends_with(",2026-11-20T05:00:00Z"), "{seen:?}");
    }
}

/// A day in which the server knows nothing of 10:00 to 12:00, pods included.
#[tokio::test]
async fn pods_of_a_day_with_a_gap_are_read_hour_by_hour() {
    let first = at("2026-11-20T03:00:00Z");
    let silent = at("2026-11-20T10:00:00Z")..at("2026-11-20T12:00:00Z");
    let hour = move |name: &str, start: i64| {
        let index = usize::try_from((start - first) / 3_600).ok().filter(|_| start >= first);
        let known = index.filter(|_| !silent.contains(&start));
        known.map_or_else(Default::default, |index| {
            sets(&format!("opencost-run/alloc/24x1h-{name}.json.gz"))[index].clone()
        })
    };
    let known = hour.clone();
    let server = Server::opencost(move |seen| {
        let (start, end) = seen.window();
        assert_eq!(seen.query["step"], "1h", "no set of a day is asked for");
        let name = seen.query["aggregate"].replace(',', "+");
        assert!(name != "namespace+pod" || end - start == 3_600, "pods by the hour");
        let hours: Vec<_> = (start..end).step_by(3_600).map(|hour| known(&name, hour)).collect();
        Answer::sets(&hours)
    })
    .await;
    let source = read(&server.url, "2026-11-20", "2026-11-21T04:00:00Z", true).await;
    // 21 hours of the day less the two.
    assert_eq!(source.covered_minutes, 19 * 60);
    let (mut total, mut pods) = (0.0, std::collections::BTreeMap::<String, f64>::new());
    for start in (first..at("2026-11-21T00:00:00Z")).step_by(3_600) {
        total += hour("cluster+namespace", start).values().map(usd).sum::<f64>();
        for (key, row) in hour("namespace+pod", start) {
            if !key.starts_with("__") {
                *pods.entry(key).or_default() += usd(&row);
            }
        }
    }
    let cluster = &source.costs.clusters["test-cluster"];
    assert_near(cluster.total_usd.unwrap(), total, 1e-9);
    let mut found = 0;
    for (namespace, costs) in &cluster.namespaces {
        for (pod, costs) in &costs.pods {
            assert_near(costs.total_usd, pods[&format!("{namespace}/{pod}")], 1e-9);
            found += 1;
        }
    }
    assert_eq!(found, pods.len());
    let asked =
        server.seen().iter().filter(|seen| seen.query["aggregate"] == "namespace,pod").count();
    assert_eq!(asked, 19);
}

fn usd(row: &serde_json::Value) -> f64 {
    row["totalCost"].as_f64().unwrap()
}

const ARN: &str = "arn:aws:eks:eu-west-1:111122223333:cluster/prod-1";
const OTHER_ARN: &str = "arn:aws:eks:us-east-1:444455556666:cluster/prod-1";

/// A Kubecost of these clusters: each hour `shop/web-0` costs $1.5 and idle 0.5, in each.
fn of_clusters(clusters: &'static [&'static str]) -> impl Fn(&Seen) -> Answer + Send + Sync {
    move |seen| {
        if seen.path.ends_with("getConfigs") {
            return Answer::json(json!({"code": 200, "data": {"currencyCode": "EUR"}}).to_string());
        }
        let (start, end) = seen.window();
        let step = if seen.query["step"] == "1h" { 3_600 } else { end - start };
        let with_pods = seen.query["aggregate"].ends_with("pod");
        let with_clusters = seen.query["aggregate"].starts_with("cluster");
        let set = |from: i64| {
            let hours = step as f64 / 3_600.0;
            let window = json!({"start": rfc3339(from), "end": rfc3339(from + step)});
            let row = |usd: f64, cluster: &str| {
                json!({"properties": {"cluster": cluster}, "window": window,
                    "start": rfc3339(from), "end": rfc3339(from + step), "minutes": hours * 60.0,
                    "cpuCost": usd * hours, "totalCost": usd * hours})
            };
            let mut rows = serde_json::Map::new();
            for cluster in clusters {
                let before = if with_clusters { format!("{cluster}/") } else { String::new() };
                let pod = if with_pods { "/web-0" } else { "" };
                rows.insert(format!("{before}shop{pod}"), row(1.5, cluster));
                rows.insert(format!("{before}__idle__"), row(0.5, cluster));
            }
            rows
        };
        let starts = (start..end).step_by(usize::try_from(step).unwrap());
        Answer::sets(&starts.map(set).collect::<Vec<_>>())
    }
}

async fn first_day(query: &AllocationApiQuery) -> Result<SourceDay, Failure> {
    let now = at("2026-11-21T04:00:00Z");
    query.day_costs(&account(), day("2026-11-20"), Phase::Exporter, now).await
}

fn assert_cluster(source: &SourceDay, name: &str) {
    let cluster = &source.costs.clusters[name];
    assert_near(cluster.total_usd.unwrap(), 48.0, 1e-9);
    assert_eq!(cluster.namespaces.keys().collect::<Vec<_>>(), ["shop"], "{name}");
    let shop = &cluster.namespaces["shop"];
    assert_near(shop.total_usd.unwrap(), 36.0, 1e-9);
    assert_eq!(shop.pods.keys().collect::<Vec<_>>(), ["web-0"], "{name}");
}

#[tokio::test]
async fn a_cluster_that_is_named_by_an_arn_is_one() {
    for name in [ARN, "gke_project/europe/one", "plain"] {
        let clusters: &'static [&'static str] = Box::leak(Box::new([name]));
        let server = Server::start(of_clusters(clusters)).await;
        let source = first_day(&query_of(&server.url, None)).await.unwrap();
        assert_eq!(source.costs.clusters.len(), 1, "{name}");
        assert_cluster(&source, name);
    }
}

#[tokio::test]
async fn two_arns_in_one_kubecost_are_two_clusters_and_named() {
    let server = Server::start(of_clusters(&[ARN, OTHER_ARN])).await;
    let source = first_day(&query_of(&server.url, None)).await.unwrap();
    assert_eq!(source.costs.clusters.len(), 2);
    assert_cluster(&source, ARN);
    assert_cluster(&source, OTHER_ARN);
    let warnings = format!("{:?}", source.warnings);
    assert!(warnings.contains(OTHER_ARN) && warnings.contains("CLUSTER_FILTER"), "{warnings}");
}

#[tokio::test]
async fn one_cluster_of_several_is_taken_by_its_name() {
    for clusters in [&[ARN, OTHER_ARN][..], &["two", ARN, "three"][..]] {
        let server = Server::start(of_clusters(clusters)).await;
        // This server does not know the filter: what is of others is left out here.
        let source = first_day(&query_of(&server.url, Some(ARN))).await.unwrap();
        assert_eq!(source.costs.clusters.len(), 1);
        assert_cluster(&source, ARN);
        let filters: Vec<_> =
            server.seen().iter().map(|seen| seen.query["filter"].clone()).collect();
        assert!(
            filters.iter().all(|filter| *filter == format!("cluster:\"{ARN}\"")),
            "{filters:?}"
        );
    }
    let server = Server::start(of_clusters(&["two"])).await;
    let source = first_day(&query_of(&server.url, Some(ARN))).await;
    assert!(source.is_err() || source.unwrap().costs.is_empty(), "nothing is of that cluster");
}

#[tokio::test]
async fn costs_in_another_currency_of_the_product_are_refused_by_name() {
    let server = Server::start(of_clusters(&["one"])).await;
    let query = query_of(&server.url, None);
    query.check().await.unwrap();
    let failure = first_day(&query).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Currency);
    assert!(failure.what.contains("in EUR") && failure.what.contains("USD"), "{failure}");
}

#[tokio::test]
async fn a_currency_that_cannot_be_asked_for_now_is_not_taken_for_the_ledgers() {
    let whole = of_clusters(&["one"]);
    let server = Server::start(move |seen: &Seen| match seen.path.ends_with("getConfigs") {
        true => Answer(503, "text/plain", Vec::new()),
        false => whole(seen),
    })
    .await;
    let failure = query_of(&server.url, None).check().await.unwrap_err();
    assert!(failure.what.contains("which currency"), "{failure}");
}

#[tokio::test]
async fn a_gap_of_one_cluster_of_two_is_its_own() {
    let whole = of_clusters(&["one", "two"]);
    let with_gap = move |seen: &Seen| {
        let (start, end) = seen.window();
        let is_hourly = seen.query["step"] == "1h" || end - start == 3_600;
        if seen.path.ends_with("getConfigs") || !is_hourly {
            return whole(seen);
        }
        let set = |from: i64| {
            let window = json!({"start": rfc3339(from), "end": rfc3339(from + 3_600)});
            let mut rows = serde_json::Map::new();
            let hour = (from - start) / 3_600;
            for cluster in ["one", "two"] {
                if cluster == "one" || !(10..12).contains(&hour) {
                    let row = json!({"properties": {"cluster": cluster}, "window": window,
                        "start": rfc3339(from), "end": rfc3339(from + 3_600), "minutes": 60.0,
                        "cpuCost": 1.5, "totalCost": 1.5});
                    rows.insert(format!("{cluster}/shop"), row);
                }
            }
            rows
        };
        Answer::sets(&(start..end).step_by(3_600).map(set).collect::<Vec<_>>())
    };
    let server = Server::start(with_gap).await;
    let now = at("2026-11-21T04:00:00Z");
    let query = query(&server.url, false);
    let source =
        query.day_costs(&account(), day("2026-11-20"), Phase::Exporter, now).await.unwrap();
    assert_eq!((source.minutes_of("one"), source.minutes_of("two")), (1_440, 1_320));
    assert_eq!((source.covered_minutes, source.expected_minutes), (1_320, 1_440));
    let usd = |name: &str| source.costs.clusters[name].total_usd.unwrap();
    assert_near(usd("one"), 36.0, 1e-9);
    // The day as one set bills straight through the gap.
    assert_near(usd("two"), 33.0, 1e-9);
}

#[tokio::test]
async fn an_exporter_takes_one_cluster_of_several() {
    for clusters in [&[OTHER_ARN, ARN, "three"][..], &["two", ARN][..]] {
        let server = Server::start(of_clusters(clusters)).await;
        let settings = [("CLUSTER_FILTER", ARN), ("POD_METRICS", "true")];
        let (poller, _) = exporter(&server.url, "2026-11-20T17:05:00Z", &settings);
        poller.poll().await;
        let shown = scraped(&poller);
        assert_near(shown["cluster_total_cost"], 2.0, 1e-9);
        let namespaces = by_namespace(&shown, "namespace_total_cost");
        assert_eq!(namespaces.keys().collect::<Vec<_>>(), ["__idle__", "shop"]);
        assert_near(namespaces["shop"], 1.5, 1e-9);
        assert_near(by_namespace(&shown, "pod_total_cost")["shop"], 1.5, 1e-9);
    }
}
