//! Documents that the REST API made before the worker came.

use mongodb::bson::Document;

use super::check::{OWNER, POOL, People, every_page, readers};
use crate::support::bulk_made::{Belongs, bulk_made};
use crate::support::readers::Filter;
use crate::support::three_accounts::{Expected, RANGE, RUN, ThreeAccounts, expected};
use crate::support::world::{HOUR, MARCH};

const BELONGS: Belongs = Belongs { pool: POOL, owner: OWNER };

/// Some of each kind: they get the bulk call's documents.
fn is_made_in_bulk(resource: &Expected) -> bool {
    resource.namespace() == Some("shop") || resource.cloud_resource_id().starts_with("k8s-cluster-")
}

fn uuid(index: usize) -> String {
    format!("7e57b01c-0000-4000-8000-{index:012}")
}

/// Makes the documents; which resources got one, and with which `_id`.
async fn make_in_bulk(world: &ThreeAccounts) -> Vec<(Expected, String)> {
    let made: Vec<(Expected, String)> = expected()
        .into_iter()
        .filter(is_made_in_bulk)
        .enumerate()
        .map(|(index, resource)| (resource, uuid(index)))
        .collect();
    let documents: Vec<Document> = made
        .iter()
        .map(|(resource, id)| bulk_made(resource, id, BELONGS, MARCH + 2 * HOUR))
        .collect();
    let collection = world.stores.mongo().await.collection("cloud_resource");
    collection.insert_many(documents).await.unwrap();
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_shows_every_dollar_of_adopted_documents_to_their_pool_and_owner() {
    let world = ThreeAccounts::new("readers_adopted").await;
    world.run(&["migrate"]).expect_success();
    let made = make_in_bulk(&world).await;
    let people: People =
        made.iter().map(|(resource, _)| (resource.cloud_resource_id(), BELONGS)).collect();
    for _ in 0..2 {
        world.run(&RUN).expect_success();
        every_page(&readers(&world.stores), &people).await;
    }
    let page = readers(&world.stores).clean_expenses(&Filter::days(RANGE.0, RANGE.1)).await;
    for (resource, id) in made {
        let stable_id = resource.cloud_resource_id();
        let row = page.rows.iter().find(|row| row.id == id).unwrap();
        assert_eq!(row.text("cloud_resource_id"), Some(stable_id));
        assert_eq!(row.cost, resource.total());
        assert_eq!(row.text("name"), Some(format!("made in bulk, {id}")));
        let tags = row.document.get_document("tags").unwrap();
        assert_eq!(tags.get_str("dGVhbQ=="), Ok("checkout"));
        assert!(row.document.get_array("applied_rules").is_ok(), "{}", row.document);
    }
    let all = || Filter::days(RANGE.0, RANGE.1);
    let by_pool = readers(&world.stores).breakdown(&all(), Some("pool_id")).await.by_value();
    let of_pool: f64 = expected().iter().filter(|e| is_made_in_bulk(e)).map(Expected::total).sum();
    assert_eq!(by_pool[&Some(POOL.to_owned())], of_pool);
    let others = expected().len() - people.len();
    for (filter, count) in [
        (all().tag(&["team"]), people.len()),
        (all().without_tag(&["team"]), others),
        (all().name_like("MADE in bulk"), people.len()),
    ] {
        let page = readers(&world.stores).clean_expenses(&filter).await;
        assert_eq!(page.total_count, count, "{filter:?}");
    }
    let offered = readers(&world.stores).available_filters(&all()).await;
    assert_eq!(offered.tags.iter().map(String::as_str).collect::<Vec<_>>(), ["team"]);
}
