//! What a query layer that is slow, down or short of something does to answers.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::Read;
use crate::source::Rates;
use crate::world::World;
use crate::{A, ACCOUNTS, B, day, noon, span, thirty_days};

const LONG: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs_leaves_the_stored_costs_standing_and_holds_up_no_settled_day() {
    let accounts: Vec<String> = (0..40).map(|number| format!("account-{number}")).collect();
    let names: Vec<&str> = accounts.iter().map(String::as_str).collect();
    let world = World::new(&names, noon("2026-12-01"));
    let (yesterday, today) = (day("2026-11-30"), day("2026-12-01"));
    for name in &names {
        for one in [day("2026-11-29"), yesterday, today] {
            world.source.set(name, one, Rates::of(2.0, 1.0));
        }
    }
    world.run((day("2026-11-29"), today), None).await;
    world.source.is_hanging.store(true, Ordering::SeqCst);
    let reader = world.serve(LONG, false).await;
    let started = Instant::now();
    let running = span("2026-11-30", "2026-12-01");
    let hung = names.iter().map(|name| reader.cost(name, running));
    let settled = async {
        // The others have asked by then.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let past = span("2026-11-29", "2026-11-30");
        let answered = tokio::time::timeout(Duration::from_secs(2), reader.cost(names[0], past));
        assert_eq!(answered.await, Ok(Read::Cost(96.0)));
    };
    let (all, ()) = tokio::join!(futures_util::future::join_all(hung), settled);
    assert!(all.iter().all(|read| *read == Read::Cost(48.0 + 24.0)), "{all:?}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let (start, end) = span("2026-12-01", "2026-12-01");
    let asked = format!("cloud_account_id={}&start_date={start}&end_date={end}", names[0]);
    let started = Instant::now();
    let (_, reply) = reader.page("kubecost_cluster_costs", &asked).await;
    assert!(started.elapsed() < Duration::from_secs(2), "what came of the look is kept");
    assert_eq!(reply["data"]["state"], "partial");
    assert!(reply["data"]["causes"].to_string().contains("did not answer"), "{reply}");
}

#[tokio::test]
async fn one_that_is_down_is_asked_about_a_day_once_in_a_while() {
    let world = thirty_days().await;
    let reader = world.serve(LONG, false).await;
    world.source.is_down.store(true, Ordering::SeqCst);
    let today = day("2026-12-01");
    let looks = || world.source.looked_at.lock().unwrap().get(&(A.to_owned(), today)).copied();
    let before = looks().unwrap_or(0);
    for first in ["2026-12-01", "2026-11-30", "2026-11-25", "2026-11-01"] {
        let asked = span(first, "2026-12-01");
        assert_eq!(reader.cost(A, asked).await, Read::Cost(world.stored(A, asked)));
    }
    assert_eq!(looks(), Some(before + 1));
}

#[tokio::test]
async fn a_cluster_that_yesterday_had_is_missed_as_in_a_run() {
    let world = World::new(&ACCOUNTS, noon("2026-11-20"));
    let (yesterday, today) = (day("2026-11-19"), day("2026-11-20"));
    world.source.set(A, yesterday, Rates { edge: Some(1.0), ..Rates::of(2.0, 0.5) });
    world.source.set(A, today, Rates::of(2.0, 0.5));
    world.run((yesterday, yesterday), None).await;
    let reader = world.serve(Duration::ZERO, false).await;
    let (start, end) = span("2026-11-20", "2026-11-20");
    let asked = format!("cloud_account_id={A}&start_date={start}&end_date={end}");
    let (_, reply) = reader.page("kubecost_cluster_costs", &asked).await;
    assert_eq!(reply["total_cost"], 24.0);
    assert_eq!(reply["data"]["state"], "partial");
    assert!(reply["data"]["causes"].to_string().contains("cluster 'edge'"), "{reply}");
}

#[tokio::test]
async fn it_is_checked_again_and_again() {
    let world = World::new(&ACCOUNTS, noon("2026-11-20"));
    let pages = world.pages(Duration::ZERO, false);
    let watch = pages.watch_query_layer(Duration::from_millis(10));
    assert!(tokio::time::timeout(Duration::from_millis(500), watch).await.is_err());
    assert!(world.source.checked.load(Ordering::SeqCst) >= 2);
}

#[tokio::test]
async fn names_in_causes_are_shown_without_what_turns_or_hides_text() {
    let world = World::new(&ACCOUNTS, noon("2026-11-20"));
    let refused = Some("costs of cluster '\u{202e}x\u{7}' have no rate");
    world.source.set(B, day("2026-11-20"), Rates { refused, ..Rates::of(2.0, 0.5) });
    let reader = world.serve(Duration::ZERO, false).await;
    let (start, end) = span("2026-11-20", "2026-11-20");
    let asked = format!("cloud_account_id={B}&start_date={start}&end_date={end}");
    let (_, reply) = reader.page("kubecost_cluster_costs", &asked).await;
    let cause = "2026-11-20: costs of cluster '\\u{202e}x\\u{7}' have no rate";
    assert_eq!(reply["data"]["causes"], json!([cause]));
}

#[tokio::test]
async fn a_day_that_is_shown_on_the_next_one_alone_is_answered_as_a_run_stores_it() {
    let world = World::new(&ACCOUNTS, day("2026-11-20").start_seconds() + 1_800);
    let (yesterday, today) = (day("2026-11-19"), day("2026-11-20"));
    world.source.set(A, yesterday, Rates { is_shown_late: true, ..Rates::of(2.0, 0.5) });
    world.source.set(A, today, Rates::of(2.0, 0.5));
    let reader = world.serve(Duration::ZERO, false).await;
    let asked = span("2026-11-19", "2026-11-19");
    assert_eq!(reader.cost(A, asked).await, Read::Cost(48.0));
    world.run((yesterday, yesterday), None).await;
    assert_eq!(world.stored(A, asked), 48.0);
}
