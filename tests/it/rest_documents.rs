//! Documents that the REST API makes, in a real collection: their form is what the worker finds.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::TryStreamExt;
use kubecost_worker::cost::AccountId;
use kubecost_worker::rest_api::{NewResource, ResourceCreator, RestClient};
use kubecost_worker::settings::{Endpoint, Secret};
use mongodb::Collection;
use mongodb::bson::{Bson, DateTime, Document, doc};

use crate::rest_api::{FakeRestApi, SECRET, World};
use crate::support::rest_documents::MongoDocuments;
use crate::support::servers::Stores;

const NOW: i64 = 1_795_000_000;
const MIDNIGHT: i64 = NOW - NOW % 86_400;

fn pod(id: &str) -> NewResource {
    NewResource {
        cloud_resource_id: id.to_owned(),
        name: format!("Pod: {id}"),
        resource_type: "K8s Pod".to_owned(),
        region: None,
        tags: BTreeMap::from([("app".to_owned(), "shop".to_owned())]),
        service_name: Some("Kubernetes".to_owned()),
        first_seen: NOW - 600,
        last_seen: NOW,
        active: true,
        k8s_namespace: Some("default".to_owned()),
        k8s_node: Some("n1".to_owned()),
        k8s_service: None,
    }
}

async fn all(collection: &Collection<Document>) -> Vec<Document> {
    let sorted = collection.find(doc! {}).sort(doc! {"cloud_resource_id": 1});
    sorted.await.unwrap().try_collect().await.unwrap()
}

#[tokio::test]
async fn the_bulk_call_writes_the_real_form_and_keeps_what_is_there() {
    let stores = Stores::new("rest_documents").await;
    let collection = stores.mongo().await.collection::<Document>("resources");
    let mut world = World::at(NOW);
    world.add_organization("o");
    let own = world.add_account("o", "a", "kubernetes_cnr");
    let documents = Arc::new(MongoDocuments(collection.clone()));
    let fake = FakeRestApi::start(world, documents).await;
    let client =
        RestClient::new(Endpoint::parse(&fake.url).unwrap(), &Secret::new(SECRET)).unwrap();
    let account = AccountId::new("a").unwrap();
    let gone = doc! {"_id": "gone", "cloud_resource_id": "gone", "cloud_account_id": "a",
    "deleted_at": 99, "pool_id": "p", "last_seen": 5,
    "_last_seen_date": DateTime::from_millis(0), "_first_seen_date": 5};
    collection.insert_one(gone).await.unwrap();

    let made = client.create(&account, &[pod("gone"), pod("new")]).await.unwrap();
    assert_eq!(made.refused, []);
    let found: Vec<_> = made.resources.iter().map(|r| (r.id.as_str(), r.deleted_at)).collect();
    let stored = all(&collection).await;
    let [gone, new] = &stored[..] else { panic!("{stored:?}") };
    let new_id = new.get_str("_id").unwrap();
    assert_eq!(found, [("gone", 99), (new_id, 0)]);
    let date = Bson::DateTime(DateTime::from_millis(MIDNIGHT * 1_000));
    for (document, key, wanted) in [
        (new, "_first_seen_date", &date),
        (new, "_last_seen_date", &date),
        (new, "first_seen", &Bson::Int32((NOW - 600) as i32)),
        (new, "deleted_at", &Bson::Int32(0)),
        (new, "pool_id", &Bson::String(own.pool_id)),
        (new, "employee_id", &Bson::String(own.owner_id)),
        (new, "tags", &Bson::Document(doc! {"YXBw": "shop"})),
        (gone, "pool_id", &Bson::String("p".to_owned())),
        (gone, "_last_seen_date", &date),
        // Numbers come before dates, so an integer in a date's place stays.
        (gone, "_first_seen_date", &Bson::Int32(5)),
    ] {
        assert_eq!(document.get(key), Some(wanted), "{key} of {document}");
    }
    assert!(!new.contains_key("cluster_id") && !new.contains_key("meta"), "{new}");

    let again = client.create(&account, &[pod("gone"), pod("new")]).await.unwrap();
    assert_eq!(again, made);
    assert_eq!(all(&collection).await, stored, "a second call changes nothing");
}
