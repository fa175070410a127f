//! The exporter of the past: averages over a window that slides, zeros after each full hour,
//! gauges that stay when what they are of has gone; and the change from it to its successor.

use crate::support::exporters::{
    Case, Cost, Earlier, LIFE, Windowed, assert_share, between, closed, day, labels, rate,
};
use crate::support::metrics::History;
use crate::support::world::{DAY, HOUR, MARCH};

const EARLIER: Earlier<'static> = Earlier {
    more: ",currency=\"USD\",instance=\"old:9103\"",
    life: LIFE,
    hours: 24,
    has_info: true,
    has_zeros: true,
    shows_idle: true,
};

fn hour(number: i64) -> i64 {
    MARCH + number * HOUR
}

/// USD per hour by the minute and the window's length.
type Rate = Box<dyn Fn(i64, i64) -> f64>;

/// Two that are always there, one by day, one that went on the day before and one that comes late.
fn costs() -> [(&'static str, Rate); 5] {
    [
        ("web", Box::new(|a, b| rate(1.0)(a, b) + between(hour(8), hour(18), 0.5)(a, b))),
        ("kube-system", Box::new(rate(0.25))),
        ("batch", Box::new(between(hour(-40), hour(-30), 2.0))),
        ("new", Box::new(between(hour(18), hour(400), 0.8))),
        ("__idle__", Box::new(rate(0.4))),
    ]
}

fn put(history: &mut History, earlier: &Earlier<'_>, pods: &[((&str, &str), Cost<'_>)]) {
    let costs = costs();
    let named: Vec<(&str, Cost<'_>)> = costs.iter().map(|(name, cost)| (*name, &**cost)).collect();
    // It was there when the batch was: a gauge that stays has to have been.
    let life = (hour(-42), earlier.life.1);
    Earlier { life, ..*earlier }.put(history, &named, pods);
}

/// The day's truth: 24 + 5 of web, 6 of kube-system, 4.8 of new and 9.6 of idle.
const TRUTH: f64 = 49.4;

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_near_its_truth_and_said_to_be_an_approximation() {
    for (hours, share) in [(1, 0.02), (24, 0.005)] {
        for shows_idle in [true, false] {
            let mut history = History::default();
            put(&mut history, &Earlier { hours, shows_idle, ..EARLIER }, &[]);
            let case = Case::new(history, &[]);
            let summary = case.first_day().expect_success().summary();
            assert_share(case.total(MARCH), TRUTH, share);
            let stored = case.stored(MARCH);
            for (name, usd) in [("web", 29.0), ("kube-system", 6.0), ("new", 4.8)] {
                assert_share(stored[name], usd, share);
            }
            let stale = stored.get("batch").copied().unwrap_or(0.0);
            assert!(!shows_idle || stale == 0.0, "{hours} {stored:?}");
            assert_ne!(day(&summary, "2026-03-01")["covered_minutes"], 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_divided_by_the_window_and_left_out_where_it_is_not_known() {
    let pods = || -> [((&str, &str), Rate); 2] {
        [
            (("kube-system", "dns"), Box::new(rate(0.15))),
            (("kube-system", "proxy"), Box::new(rate(0.05))),
        ]
    };
    for has_info in [true, false] {
        let mut history = History::default();
        let pods = pods();
        let named: Vec<((&str, &str), Cost<'_>)> =
            pods.iter().map(|(name, cost)| (*name, &**cost)).collect();
        put(&mut history, &Earlier { has_info, ..EARLIER }, &named);
        let case = Case::new(history, &[("LEVELS", "cluster,namespace,pod")]);
        case.first_day().expect_success();
        let stored = case.stored(MARCH);
        if has_info {
            assert_share(stored["kube-system/dns"], 3.6, 0.005);
            assert_share(stored["kube-system"], 1.2, 0.01);
            assert_share(case.total(MARCH), TRUTH, 0.005);
        } else {
            assert!(!stored.contains_key("kube-system/dns"), "{stored:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_goes_during_the_day_costs_what_it_was_there_for() {
    for (hours, share) in [(1, 0.02), (24, 0.005)] {
        let mut history = History::default();
        let job = between(hour(3), hour(11) + 1_200, 3.0);
        let (web, idle) = (rate(1.0), rate(0.5));
        let earlier = Earlier { hours, ..EARLIER };
        earlier.put(&mut history, &[("job", &job), ("web", &web), ("__idle__", &idle)], &[]);
        let case = Case::new(history, &[]);
        case.first_day().expect_success();
        let stored = case.stored(MARCH);
        assert_share(stored["job"], 25.0, share);
        assert_share(stored["web"], 24.0, share);
        assert_share(case.total(MARCH), 61.0, share);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn zeros_for_hours_are_a_gap() {
    let mut history = History::default();
    let earlier = Earlier { hours: 1, life: (LIFE.0, hour(9) + 300), ..EARLIER };
    put(&mut history, &earlier, &[]);
    for (metric, more) in
        [("cluster_total_cost", ""), ("namespace_total_cost", ",namespace=\"web\"")]
    {
        let metric = format!("cloudtuner_kubecost_{metric}");
        let labels = labels(&format!("{}{more}", EARLIER.more));
        history.every_minute(&metric, &labels, 0, (hour(9) + 300, hour(30)), |_| Some(0.0));
    }
    let case = Case::new(history, &[]);
    let summary = case.first_day().expect_success().summary();
    let first = day(&summary, "2026-03-01");
    assert_eq!(first["covered_minutes"], 540, "{first}");
    assert_ne!(first["state"], "ok");
}

/// The earlier exporter until some time after noon, its successor from noon on.
fn change(hours: i64, together_seconds: i64) -> Case {
    let mut history = History::default();
    let noon = hour(12);
    put(&mut history, &Earlier { hours, life: (LIFE.0, noon + together_seconds), ..EARLIER }, &[]);
    let end = |time: i64| closed(time, HOUR);
    let more = ",currency=\"USD\",instance=\"new:19090\"";
    let new = Windowed { more, life: (noon, LIFE.1), length: HOUR, end: &end, is_total: false };
    let costs = costs();
    let named: Vec<(&str, Cost<'_>)> = costs.iter().map(|(name, cost)| (*name, &**cost)).collect();
    new.put(&mut history, &named);
    Case::new(history, &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_is_taken_from_its_first_window_on() {
    for (hours, together_seconds, share) in
        [(1, 300, 0.01), (1, 12 * HOUR, 0.01), (24, 300, 0.05), (24, 12 * HOUR, 0.05)]
    {
        let case = change(hours, together_seconds);
        let summary = case.first_day().expect_success().summary();
        let first = day(&summary, "2026-03-01");
        assert_eq!(first["covered_minutes"], 1_440, "{first}");
        assert_share(case.total(MARCH), TRUTH, share);
        let stored = case.stored(MARCH);
        for (name, usd) in [("web", 29.0), ("kube-system", 6.0), ("new", 4.8)] {
            assert_share(stored[name], usd, share);
        }
        let next =
            ["run", "--from", "2026-03-02", "--to", "2026-03-02", "--at", "2026-03-03T12:00:00Z"];
        case.store.run(&next).expect_success();
        // By day web costs no more than by night then.
        assert_share(case.total(MARCH + DAY), 24.0 + 6.0 + 19.2 + 9.6, 1e-6);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_and_a_new_exporter_of_two_clusters_are_refused() {
    for hours in [1, 24] {
        let mut history = History::default();
        put(&mut history, &Earlier { hours, ..EARLIER }, &[]);
        let end = |time: i64| closed(time, HOUR);
        let more = ",currency=\"USD\",instance=\"new:19090\"";
        let new = Windowed { more, life: LIFE, length: HOUR, end: &end, is_total: false };
        let other = rate(4.0);
        new.put(&mut history, &[("other", &other)]);
        let case = Case::new(history, &[]);
        let refused = case.first_day();
        let summary = refused.summary().to_string();
        assert_eq!(refused.code, 1, "{summary}");
        assert!(
            summary.contains("two different sources report costs of cluster 'prod'"),
            "{summary}"
        );
        assert!(case.stored(MARCH).is_empty());
    }
}
