//! Stores that only this program wrote.

use std::collections::BTreeMap;

use uuid::{Uuid, Variant};

use super::check::{People, every_page, readers};
use crate::support::readers::Filter;
use crate::support::three_accounts::{RANGE, RUN, ThreeAccounts};

async fn ids(world: &ThreeAccounts) -> BTreeMap<String, String> {
    let page = readers(&world.stores).clean_expenses(&Filter::days(RANGE.0, RANGE.1)).await;
    page.rows.iter().map(|row| (row.text("cloud_resource_id").unwrap(), row.id.clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_shows_every_dollar_after_the_first_run_and_after_the_next_ones() {
    let world = ThreeAccounts::new("readers_first").await;
    world.run(&["migrate"]).expect_success();
    world.run(&RUN).expect_success();
    every_page(&readers(&world.stores), &People::new()).await;
    let first = ids(&world).await;
    for _ in 0..2 {
        let again = world.run(&RUN).expect_success().summary();
        assert_eq!((&again["rows_written"], &again["documents_written"]), (&0.into(), &0.into()));
    }
    every_page(&readers(&world.stores), &People::new()).await;
    assert_eq!(ids(&world).await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_documents_have_ids_that_constraints_and_bookings_take() {
    let world = ThreeAccounts::new("readers_ids").await;
    world.run(&["migrate"]).expect_success();
    world.run(&RUN).expect_success();
    let ids = ids(&world).await;
    assert_eq!(ids.len(), 13);
    for (cloud_resource_id, id) in ids {
        let uuid = Uuid::try_parse(&id).unwrap_or_else(|error| panic!("{id}: {error}"));
        assert_eq!(uuid.hyphenated().to_string(), id, "written 8-4-4-4-12 in lower case");
        let form = (uuid.get_version_num(), uuid.get_variant());
        assert_eq!(form, (8, Variant::RFC4122), "{cloud_resource_id}: {id}");
    }
}
