//! Large accounts: what is above pods is answered without asking for them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use kubecost_worker::cost::Levels;

use crate::client::Read;
use crate::source::Rates;
use crate::world::World;
use crate::{A, HOUR, day, noon, span};

#[tokio::test]
async fn a_running_day_is_looked_at_without_its_pods_once_a_run_had_read_them() {
    let levels = Levels { pod: true, ..Levels::DEFAULT };
    let world = World::with_levels(&[A], noon("2026-12-01"), levels);
    let (today, days) = (day("2026-12-01"), span("2026-12-01", "2026-12-01"));
    world.source.set(A, today, Rates { pod: Some(1.5), ..Rates::of(7.0, 2.0) });
    let reader = world.serve(Duration::ZERO, false).await;
    let left = || world.source.asked_without_pods.load(Ordering::SeqCst);
    assert_eq!((reader.cost(A, days).await, left()), (Read::Cost(84.0), 0));
    world.run((today, today), None).await;
    world.clock.set(noon("2026-12-01") + HOUR);
    assert_eq!((reader.cost(A, days).await, left()), (Read::Cost(91.0), 1));
    let (start, end) = days;
    let asked =
        format!("cloud_account_id={A}&start_date={start}&end_date={end}&detail_level=namespace");
    let (_, reply) = reader.page("kubecost_cluster_costs", &asked).await;
    let usd = |name: &str| {
        let all = reply["breakdown_by_namespace"].as_array().unwrap();
        let one = all.iter().find(|one| one["namespace"] == name).unwrap();
        one["total_cost"].as_f64().unwrap()
    };
    assert_eq!((usd("shop"), usd("__cluster__"), left()), (26.0, 65.0, 2));
    assert_eq!(reply["data"]["state"], "ok", "{reply}");
}

#[tokio::test]
async fn what_has_no_line_of_its_own_above_pods_and_what_failed_is_looked_at_with_them() {
    let (today, days) = (day("2026-12-01"), span("2026-12-01", "2026-12-01"));
    let levels = Levels { pod: true, namespace: false, ..Levels::DEFAULT };
    let world = World::with_levels(&[A], noon("2026-12-01"), levels);
    world.source.set(A, today, Rates { pod: Some(1.5), ..Rates::of(7.0, 2.0) });
    world.run((today, today), None).await;
    world.clock.set(noon("2026-12-01") + HOUR);
    let reader = world.serve(Duration::ZERO, false).await;
    assert_eq!(reader.cost(A, days).await, Read::Cost(91.0));
    assert_eq!(world.source.asked_without_pods.load(Ordering::SeqCst), 0);

    let levels = Levels { pod: true, ..Levels::DEFAULT };
    let world = World::with_levels(&[A], noon("2026-12-01"), levels);
    world.source.set(A, today, Rates { pod: Some(1.5), ..Rates::of(7.0, 2.0) });
    world.run((today, today), None).await;
    // Less than is stored: the next run keeps what there is.
    world.source.set(A, today, Rates { pod: Some(0.5), ..Rates::of(1.0, 0.5) });
    world.run((today, today), None).await;
    let reader = world.serve(Duration::ZERO, false).await;
    assert_eq!(reader.cost(A, days).await, Read::Cost(84.0));
    assert_eq!(world.source.asked_without_pods.load(Ordering::SeqCst), 0);
}
