//! What exporters' gauges say of themselves: currency, mode, and the windows that they are of.

use axum::response::Response;
use kubecost_worker::accounts::Account;
use kubecost_worker::cost::AccountId;
use kubecost_worker::run::{RunRequest, Stop, run as run_in_process};
use serde_json::{Value, json};

use super::{
    ACCOUNT, CLUSTER, Parameters, SLOT, START, World, as_json, cluster, days, in_process, namespace,
};
use crate::support::ask::assert_live;
use crate::support::world::{DAY, HOUR};

const BUILD_INFO: &str = "cloudtuner_kubecost_exporter_build_info";
const EARLIER_INFO: &str = "cloudtuner_kubecost_exporter_info";
const POD: &str = "cloudtuner_kubecost_pod_total_cost";
const WINDOW_END: &str = "cloudtuner_kubecost_window_end_timestamp_seconds";
const WINDOW_SECONDS: &str = "cloudtuner_kubecost_window_seconds";
const WINDOW_COVERED: &str = "cloudtuner_kubecost_window_covered_seconds";

fn of_cluster(metric: &'static str, value: f64) -> (&'static str, Value, f64) {
    (metric, json!({"tenant_id": ACCOUNT, "cluster": "prod"}), value)
}

#[tokio::test(flavor = "multi_thread")]
async fn gauges_that_are_no_rates_in_the_ledgers_currency_are_refused_by_name() {
    let in_euros = json!({"tenant_id": ACCOUNT, "cluster": "prod", "currency": "EUR"});
    let totals = json!({"tenant_id": ACCOUNT, "cluster": "prod", "mode": "total"});
    for (series, cause) in [
        (vec![(CLUSTER, in_euros, 12.0)], "'prod' are in EUR"),
        (vec![cluster(288.0), (BUILD_INFO, totals.clone(), 1.0)], "METRIC_MODE=total"),
        (vec![cluster(288.0), (EARLIER_INFO, totals, 1.0)], "METRIC_MODE=total"),
    ] {
        let world = World::new().await;
        world.service.tells(series);
        let (environment, clock) = in_process(&world).await;
        clock.set(START + HOUR);
        let done = run_in_process(&environment, &RunRequest::default(), &Stop::default()).await;
        let failure = done.accounts[0].failure.as_ref().unwrap();
        assert!(failure.what.contains(cause), "{failure:?}");
        assert_eq!((world.live().await, world.journal().await), (vec![], 0));
    }
}

/// Notes what the service shows in this many slots from a time of the first day on, then runs.
async fn noted(world: &World, slots: i64) -> Vec<(String, String, Option<u64>, u64)> {
    let (environment, clock) = in_process(world).await;
    let account = Account { id: AccountId::new(ACCOUNT).unwrap(), name: None };
    let mut last = 0;
    for slot in 0..slots {
        last = 2 * HOUR + slot * SLOT;
        clock.set(START + last);
        environment.readers.source.observe(&account, START + last).await.unwrap();
    }
    days(world.made_up(last))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_stays_shown_is_billed_for_no_more_than_its_length() {
    let world = World::new().await;
    world.service.tells(vec![
        cluster(12.0),
        namespace("shop", 6.0),
        of_cluster(WINDOW_END, (START + HOUR) as f64),
        of_cluster(WINDOW_SECONDS, HOUR as f64),
    ]);
    // Twelve slots are the window's hour, two more are what the next one may be late.
    let told = noted(&world, 25).await;
    assert_eq!((told[0].1.as_str(), told[0].3), ("partial", 70));
    assert_live(&world.live().await, &[(START, "", 7.0), (START, "shop", 7.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_which_there_was_a_part_makes_its_day_partial() {
    for (covered_seconds, state) in [(3_600.0, "ok"), (1_800.0, "partial")] {
        let world = World::new().await;
        world.service.tells(vec![
            cluster(12.0),
            of_cluster(WINDOW_END, (START + HOUR) as f64),
            of_cluster(WINDOW_SECONDS, HOUR as f64),
            of_cluster(WINDOW_COVERED, covered_seconds),
        ]);
        assert_eq!(noted(&world, 1).await[0].1, state);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_exporters_day_is_approximate_and_its_pods_are_left_out() {
    let world = World::new().await;
    let pod = json!({"tenant_id": ACCOUNT, "cluster": "prod", "namespace": "shop", "pod": "web-0"});
    world.service.tells(vec![
        cluster(12.0),
        namespace("shop", 6.0),
        (POD, pod, 144.0),
        of_cluster(EARLIER_INFO, 1.0),
    ]);
    let mut settings = world.settings.clone();
    settings.push(("LEVELS", "cluster,namespace,pod".to_owned()));
    let world = World { settings, ..world };
    let (environment, clock) = in_process(&world).await;
    clock.set(START);
    let done = run_in_process(&environment, &RunRequest::default(), &Stop::default()).await;
    assert_eq!(done.accounts[0].days[0].state.as_str(), "approximate", "{done:?}");
    assert_live(&world.live().await, &[(START, "", 0.5), (START, "shop", 0.5)]);
}

/// A matrix that shows each hour's window two hours after its beginning, for an hour; the one that
/// is shown at `stuck` is shown for ever.
fn shown_later(asked: &Parameters, stuck: i64) -> Response {
    let time = |name: &str| asked[name].parse::<i64>().unwrap();
    let times = (time("start_date").max(START + 2 * HOUR)..time("end_date")).step_by(60);
    let begins = |t: i64| t.min(stuck) - t.min(stuck).rem_euclid(HOUR) - 2 * HOUR;
    let matrix = |value: &dyn Fn(i64) -> f64| {
        let points: Vec<Value> = times.clone().map(|t| json!([t, value(t).to_string()])).collect();
        let labels = json!({"tenant_id": ACCOUNT, "cluster": "prod"});
        let series = match points.is_empty() {
            true => json!([]),
            false => json!([{"metric": labels, "values": points}]),
        };
        json!({"status": "success", "data": {"resultType": "matrix", "result": series}})
    };
    // 60 USD an hour in the day's first half and 120 in its second one.
    let rate = |t: i64| if begins(t) < START + 12 * HOUR { 60.0 } else { 120.0 };
    as_json(json!({"metrics": {
        CLUSTER: matrix(&rate),
        WINDOW_END: matrix(&|t| (begins(t) + HOUR) as f64),
        WINDOW_SECONDS: matrix(&|_| HOUR as f64),
    }}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_stays_shown_in_a_history_is_billed_for_no_more_than_its_length() {
    let world = World::new().await;
    world.service.answers(|call, asked| match call {
        "metrics" => shown_later(asked, START + 6 * HOUR),
        _ => as_json(json!({"total_cost": 0.0})),
    });
    let told = days(world.made_up(20 * HOUR));
    // Four hours and the one that stays, and ten minutes that the next one may be late.
    assert_eq!((told[0].1.as_str(), told[0].3), ("partial", 310));
    assert_live(&world.live().await, &[(START, "", 310.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_of_which_nothing_is_shown_yet_waits() {
    let world = World::new().await;
    world.service.answers(|call, asked| match call {
        "metrics" => {
            let time = |name: &str| asked[name].parse::<i64>().unwrap();
            assert!(time("start_date") < time("end_date"), "{asked:?}");
            shown_later(asked, i64::MAX)
        }
        _ => as_json(json!({"total_cost": 0.0})),
    });
    let told = days(world.made_up(DAY + HOUR / 2));
    assert_eq!((told[0].0.as_str(), told[0].1.as_str()), ("2033-01-11", "waiting"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_says_its_windows_is_of_their_days() {
    let world = World::new().await;
    world.service.answers(|call, asked| match call {
        "metrics" => shown_later(asked, i64::MAX),
        _ => as_json(json!({"total_cost": 0.0})),
    });
    let told = days(world.made_up(DAY + 3 * HOUR - 1));
    assert_eq!(told[1], ("2033-01-10".to_owned(), "ok".to_owned(), Some(2), 1_440));
    assert_live(&world.live().await, &[(START, "", 2_160.0), (START + DAY, "", 120.0)]);
}
