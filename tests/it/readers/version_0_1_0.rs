//! A store that version 0.1.0 filled, with its integers in place of dates.

use mongodb::bson::{Bson, Document, doc};

use super::check::{OWNER, POOL, People, every_page, readers};
use crate::support::ask::{ask, usd};
use crate::support::bulk_made::Belongs;
use crate::support::readers::Filter;
use crate::support::three_accounts::{
    BETA, GAMMA, LAST_DAY, RANGE, RUN, ThreeAccounts, costs, expected,
};
use crate::support::version_0_1_0::{documents, load};

/// What the fixture's bulk-made document belongs to.
fn people() -> People {
    let web = expected()
        .into_iter()
        .find(|e| e.account == BETA && e.resource_type == "K8s Namespace")
        .unwrap();
    People::from([(web.cloud_resource_id(), Belongs { pool: POOL, owner: OWNER })])
}

fn of(account: &str) -> Vec<Document> {
    let of = |document: &Document| document.get_str("cloud_account_id") == Ok(account);
    documents("cloud_resource").into_iter().filter(of).collect()
}

#[test]
fn the_fixture_has_what_version_0_1_0_left_behind() {
    let all = documents("cloud_resource");
    assert_eq!(all.len(), expected().len() + 1, "one was deleted and made again");
    let dates = |document: &Document| {
        ["_first_seen_date", "_last_seen_date"].map(|field| document.get(field).unwrap().clone())
    };
    let is_number = |value: &Bson| matches!(value, Bson::Int64(_) | Bson::Int32(_));
    assert!(all.iter().filter(|d| dates(d).iter().all(is_number)).count() >= 8, "{all:?}");
    // Converted by hand, then lowered by an integer of a run of the last day.
    for document in of(GAMMA) {
        let [first, last] = dates(&document);
        assert_eq!(first, Bson::Int64(RANGE.0 + 2 * 86_400), "{document}");
        assert!(matches!(last, Bson::DateTime(_)), "{document}");
        assert_eq!(document.get_i64("first_seen"), Ok(RANGE.0));
    }
    // Made in bulk with a date, which no later integer raises.
    let made: Vec<Document> =
        of(BETA).into_iter().filter(|d| d.contains_key("applied_rules")).collect();
    let [made] = made.as_slice() else { panic!("{made:?}") };
    let [first, last] = dates(made);
    assert!(is_number(&first) && matches!(last, Bson::DateTime(_)), "{made}");
    assert_eq!(documents("kubecost_account_day").len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_migration_the_readers_see_nothing_of_it() {
    let world = ThreeAccounts::new("readers_unmigrated").await;
    load(&world.stores).await;
    let page = readers(&world.stores).clean_expenses(&Filter::days(RANGE.0, RANGE.1)).await;
    assert_eq!((page.total_count, page.total_cost), (0, 0.0));
    // Although every dollar is there.
    let sql = "SELECT sum(cost * sign) AS usd, sum(sign) AS keys FROM expenses";
    let ledger = ask(&world.stores, sql).await.remove(0);
    assert_eq!(usd(&ledger["usd"]), costs(|_| true, 0..3).values().sum::<f64>());
    assert_eq!(ledger["keys"], 37);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_shows_every_dollar_of_a_store_of_version_0_1_0_after_migrate() {
    let world = ThreeAccounts::new("readers_migrated").await;
    load(&world.stores).await;
    world.run(&["migrate"]).expect_success();
    every_page(&readers(&world.stores), &people()).await;
    let stored = stored(&world).await;
    world.run(&["migrate"]).expect_success();
    assert_eq!(stored, self::stored(&world).await, "a second migrate changes nothing");
    assert_eq!(world.run(&RUN).expect_success().summary()["rows_written"], 0);
    every_page(&readers(&world.stores), &people()).await;
    world.run(&LAST_DAY).expect_success();
    every_page(&readers(&world.stores), &people()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_converts_what_it_meets_of_version_0_1_0() {
    let world = ThreeAccounts::new("readers_met").await;
    load(&world.stores).await;
    assert_eq!(world.run(&RUN).expect_success().summary()["rows_written"], 0);
    every_page(&readers(&world.stores), &people()).await;
}

/// All documents, in the order of their ids.
async fn stored(world: &ThreeAccounts) -> Vec<Document> {
    use futures_util::TryStreamExt;
    let collection = world.stores.mongo().await.collection::<Document>("cloud_resource");
    let found = collection.find(doc! {}).sort(doc! {"_id": 1}).await.unwrap();
    found.try_collect().await.unwrap()
}
