//! What is read before the first question comes, and beside the answers.

use std::time::Duration;

use crate::client::{Read, SECRET};
use crate::source::Rates;
use crate::world::World;
use crate::{A, ACCOUNTS, B, HOUR, day, noon, span, thirty_days};

#[tokio::test]
async fn it_is_ready_when_the_running_days_are_read_and_the_first_answers_ask_for_none() {
    let world = thirty_days().await;
    let pages = world.pages(Duration::from_secs(600), false);
    let reader = World::serve_pages(pages.clone()).await;
    let (status, reply) = reader.get("/readyz", None).await;
    assert_eq!((status, &reply["error"]["error_code"]), (503, &"KW0503".into()), "{reply}");
    let today = day("2026-12-01");
    let asked = || {
        let asked = world.source.asked.lock().unwrap();
        ACCOUNTS.map(|account| asked.get(&(account.to_owned(), today)).copied().unwrap_or(0))
    };
    world.clock.set(noon("2026-12-01") + HOUR);
    let before = asked();
    pages.warm_up().await;
    assert_eq!(asked(), before.map(|times| times + 1));
    for account in ACCOUNTS {
        let Read::Cost(usd) = reader.cost(account, span("2026-11-01", "2026-12-01")).await else {
            panic!()
        };
        assert!(usd > world.stored(account, span("2026-11-01", "2026-12-01")), "an hour more");
    }
    assert_eq!(asked(), before.map(|times| times + 1), "what was read before is answered");
    assert_eq!(reader.text("/readyz").await, (200, "ready\n".to_owned()));
}

#[tokio::test]
async fn where_nothing_is_kept_nothing_is_read_before_it_is_asked_for() {
    let world = thirty_days().await;
    let pages = world.pages(Duration::ZERO, false);
    let reader = World::serve_pages(pages.clone()).await;
    assert_eq!(reader.text("/readyz").await.0, 200);
    let before = world.source.asked.lock().unwrap().clone();
    pages.warm_up().await;
    assert_eq!(*world.source.asked.lock().unwrap(), before);
}

#[tokio::test]
async fn it_is_ready_too_where_an_account_has_no_costs() {
    let world = World::new(&[A, B], noon("2026-12-01"));
    world.source.set(B, day("2026-12-01"), Rates::of(3.0, 1.0));
    let pages = world.pages(Duration::from_secs(600), false);
    let reader = World::serve_pages(pages.clone()).await;
    pages.warm_up().await;
    assert_eq!(reader.text("/readyz").await.0, 200);
    let today = span("2026-12-01", "2026-12-01");
    assert_eq!(reader.cost(A, today).await, Read::Nothing);
    let (status, _) = reader.get("/metroculus/v2/kubecost_cluster_costs?x=1", Some(SECRET)).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn what_rows_are_added_to_is_looked_at_beside_the_answers() {
    let world = thirty_days().await;
    // A look is used for two thirds of that, and made anew in the last quarter of its time.
    let reader = world.serve(Duration::from_millis(1_200), true).await;
    let (today, days) = (day("2026-12-01"), span("2026-12-01", "2026-12-01"));
    let asked = || world.source.asked.lock().unwrap()[&(A.to_owned(), today)];
    reader.cost(A, days).await;
    let before = asked();
    tokio::time::sleep(Duration::from_millis(650)).await;
    reader.cost(A, days).await;
    let is_asked = async {
        while asked() == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), is_asked).await.unwrap();
}
