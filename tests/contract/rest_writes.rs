//! What the client writes by the REST API: resources, import status, discovery.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use kubecost_worker::rest_api::{
    DiscoveryInfo, ImportOutcome, ImportStatus, NewResource, PodDiscovery, ResourceCreator,
};
use kubecost_worker::service::failure::Kind;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::rest_api::world::set;
use crate::rest_api::{Asked, Fault};
use crate::rest_client::{NOW, Setup, account, client, setup};

/// A namespace's resource.
pub(crate) fn resource(id: &str) -> NewResource {
    NewResource {
        cloud_resource_id: id.to_owned(),
        name: format!("Namespace: {id}"),
        resource_type: "K8s Namespace".to_owned(),
        region: None,
        tags: BTreeMap::from([("team".to_owned(), "blue".to_owned())]),
        service_name: Some("Kubernetes".to_owned()),
        first_seen: NOW - 600,
        last_seen: NOW,
        active: true,
        k8s_namespace: Some(id.to_owned()),
        k8s_node: None,
        k8s_service: None,
    }
}

fn bulk_calls(asked: &[Asked]) -> Vec<usize> {
    let calls = asked.iter().filter(|asked| asked.path.ends_with("/cloud_resources/bulk"));
    calls.map(|asked| asked.body["resources"].as_array().map_or(0, Vec::len)).collect()
}

#[tokio::test]
async fn new_resources_get_pool_and_owner_and_the_stored_ids_are_returned() {
    let Setup { fake, own, documents, .. } = setup().await;
    let client = client(&fake.url);
    let made = client.create(&account("a"), &[resource("x"), resource("y")]).await.unwrap();
    assert_eq!(made.refused, []);
    let ids: Vec<_> =
        documents.all().iter().map(|d| d.get_str("_id").unwrap().to_owned()).collect();
    let found: Vec<_> = made.resources.iter().map(|r| r.id.clone()).collect();
    assert_eq!(found, ids);
    for resource in &made.resources {
        assert!(resource.is_live());
        assert_eq!(resource.pool_id.as_ref(), Some(&own.pool_id));
        assert_eq!(resource.employee_id.as_ref(), Some(&own.owner_id));
    }
    let again = client.create(&account("a"), &[resource("x"), resource("y")]).await.unwrap();
    assert_eq!(again, made, "asking again makes nothing");
    assert_eq!(documents.all().len(), 2);
}

#[tokio::test]
async fn tags_that_a_user_added_stay() {
    let Setup { fake, documents, .. } = setup().await;
    documents.put(doc! {"_id": "u", "cloud_resource_id": "x", "cloud_account_id": "a",
    "deleted_at": 0, "tags": {"b3duZXI=": "me"}});
    client(&fake.url).create(&account("a"), &[resource("x")]).await.unwrap();
    let [document] = &documents.all()[..] else { panic!("one") };
    let tags = document.get_document("tags").unwrap();
    assert_eq!(tags.get_str("b3duZXI="), Ok("me"));
    assert_eq!(tags.get_str("dGVhbQ=="), Ok("blue"));
}

#[tokio::test]
async fn a_deleted_document_is_returned_as_deleted() {
    let Setup { fake, documents, .. } = setup().await;
    documents.put(doc! {"_id": "gone", "cloud_resource_id": "x", "cloud_account_id": "a",
    "deleted_at": 99});
    let made = client(&fake.url).create(&account("a"), &[resource("x")]).await.unwrap();
    let [found] = &made.resources[..] else { panic!("{made:?}") };
    assert_eq!((found.id.as_str(), found.deleted_at, found.is_live()), ("gone", 99, false));
}

#[tokio::test]
async fn an_item_that_fails_its_check_is_never_sent_and_the_others_are_made() {
    let Setup { fake, documents, .. } = setup().await;
    let mut bad = resource("bad");
    bad.k8s_namespace = Some(String::new());
    let items = [resource("x"), bad, resource("y")];
    let made = client(&fake.url).create(&account("a"), &items).await.unwrap();
    assert_eq!((made.resources.len(), documents.all().len()), (2, 2));
    let [refused] = &made.refused[..] else { panic!("{made:?}") };
    assert_eq!(refused.cloud_resource_id, "bad");
    assert!(refused.reason.contains("k8s_namespace is empty"), "{refused:?}");
    assert_eq!(bulk_calls(&fake.asked()), [2]);
    let query = &fake.asked()[0].query;
    let wanted = "behavior=skip_existing&return_resources=true&is_report_import=true";
    assert_eq!(query, wanted);
}

#[tokio::test]
async fn items_that_the_api_refuses_all_the_same_are_left_alone_by_halving() {
    let Setup { fake, documents, .. } = setup().await;
    let items: Vec<_> = (0..1_000).map(|i| resource(&format!("n{i}"))).collect();
    fake.world().refused_ids = ["n7", "n8", "n999"].map(str::to_owned).into();
    let made = client(&fake.url).create(&account("a"), &items).await.unwrap();
    assert_eq!((made.resources.len(), documents.all().len()), (997, 997));
    let refused: Vec<_> = made.refused.iter().map(|r| r.cloud_resource_id.as_str()).collect();
    assert_eq!(refused, ["n7", "n8", "n999"]);
    assert!(made.refused.iter().all(|r| r.reason.contains("OE0212")), "{:?}", made.refused);
}

#[tokio::test]
async fn halving_ends_when_everything_is_refused() {
    let Setup { fake, documents, .. } = setup().await;
    let items: Vec<_> = (0..1_000).map(|i| resource(&format!("n{i}"))).collect();
    fake.world().refused_ids = items.iter().map(|item| item.cloud_resource_id.clone()).collect();
    let made = client(&fake.url).create(&account("a"), &items).await.unwrap();
    assert_eq!((made.resources.len(), made.refused.len()), (0, 1_000));
    // 64 splits make 65 parts.
    assert_eq!(bulk_calls(&fake.asked()).len(), 64 + 65);
    assert_eq!(documents.all(), Vec::<Document>::new());
}

#[tokio::test]
async fn a_batch_that_a_proxy_finds_too_large_is_halved() {
    let Setup { fake, documents, .. } = setup().await;
    fake.fail(Fault::Page(413), "bulk", Some(1));
    let items: Vec<_> = (0..10).map(|i| resource(&format!("n{i}"))).collect();
    let made = client(&fake.url).create(&account("a"), &items).await.unwrap();
    assert_eq!((made.resources.len(), documents.all().len()), (10, 10));
    assert_eq!(bulk_calls(&fake.asked()), [10, 5, 5]);
}

#[tokio::test]
async fn many_are_sent_in_batches() {
    let Setup { fake, documents, .. } = setup().await;
    let items: Vec<_> = (0..=1_000).map(|i| resource(&format!("n{i}"))).collect();
    let made = client(&fake.url).create(&account("a"), &items).await.unwrap();
    assert_eq!(made.resources.len(), items.len());
    assert_eq!(documents.all().len(), items.len());
    assert_eq!(bulk_calls(&fake.asked()), [1_000, 1]);
    assert_eq!(client(&fake.url).create(&account("a"), &[]).await, Ok(Default::default()));
    assert_eq!(bulk_calls(&fake.asked()).len(), 2, "nothing to make is no call");
}

#[tokio::test]
async fn a_reply_that_is_lost_makes_nothing_twice() {
    let Setup { fake, documents, .. } = setup().await;
    fake.fail(Fault::Cut, "bulk", Some(1));
    let client = client(&fake.url);
    let first = client.create(&account("a"), &[resource("x")]).await;
    assert_eq!(documents.all().len(), 1, "the call was done: {first:?}");
    let made = client.create(&account("a"), &[resource("x")]).await.unwrap();
    assert_eq!(documents.all().len(), 1);
    assert_eq!(documents.all()[0].get_str("_id"), Ok(made.resources[0].id.as_str()));
}

fn columns(setup: &Setup, names: &[&str]) -> Vec<Value> {
    let world = setup.fake.world();
    names.iter().map(|name| world.accounts["a"][*name].clone()).collect()
}

const STATUS: [&str; 3] = ["last_import_at", "last_import_attempt_at", "last_import_attempt_error"];

#[tokio::test]
async fn a_success_moves_both_times_and_a_failure_only_the_attempt() {
    let setup = setup().await;
    let client = client(&setup.fake.url);
    let success = ImportOutcome::Succeeded { at_seconds: NOW };
    client.report(&account("a"), &success).await.unwrap();
    assert_eq!(columns(&setup, &STATUS), [json!(NOW), json!(NOW), json!(null)]);
    let error = format!("clickhouse: {}\n", "é".repeat(300));
    let failed = ImportOutcome::Failed { at_seconds: NOW + 300, error };
    client.report(&account("a"), &failed).await.unwrap();
    let sent = format!("clickhouse: {}", "é".repeat(243));
    assert_eq!(columns(&setup, &STATUS), [json!(NOW), json!(NOW + 300), json!(sent)]);
    let blank = ImportOutcome::Failed { at_seconds: NOW + 600, error: " \n".to_owned() };
    client.report(&account("a"), &blank).await.unwrap();
    assert_eq!(columns(&setup, &STATUS)[1], json!(NOW + 600));
    let status = client.cloud_account(&account("a")).await.unwrap().status().unwrap();
    assert_eq!(status, kubecost_worker::rest_api::SentStatus::of(&blank));
}

#[tokio::test]
async fn a_status_for_an_account_that_there_is_not_names_it() {
    let Setup { fake, .. } = setup().await;
    let success = ImportOutcome::Succeeded { at_seconds: NOW };
    let failure = client(&fake.url).report(&account("nobody"), &success).await.unwrap_err();
    assert!(failure.what.contains("nobody"), "{failure}");
    let late = ImportOutcome::Succeeded { at_seconds: 2_147_483_648 };
    let failure = client(&fake.url).report(&account("a"), &late).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Internal, "{failure}");
    assert_eq!(fake.asked().len(), 1, "it is not sent");
}

#[tokio::test]
async fn the_discovery_time_is_read_and_set_in_the_record_that_is_there() {
    let Setup { fake, .. } = setup().await;
    let client = client(&fake.url);
    assert_eq!(client.pod_discovery(&account("a")).await, Ok(None));
    let volume = fake.world().add_discovery("a", "volume");
    let id = fake.world().add_discovery("a", "k8s_pod");
    set(&mut fake.world().discovery, &id, "last_discovery_at", json!(NOW));
    let found = client.pod_discovery(&account("a")).await.unwrap();
    let wanted = PodDiscovery { id: id.clone(), last_discovery_at: NOW, enabled: true };
    assert_eq!(found, Some(wanted));
    client.set_pod_discovery(&account("a"), NOW - 60).await.unwrap();
    assert_eq!(fake.world().discovery[&id]["last_discovery_at"], json!(NOW - 60));
    assert_eq!(fake.world().discovery[&volume]["last_discovery_at"], json!(0));
}

#[tokio::test]
async fn a_record_that_is_not_there_is_made_once_by_however_many() {
    let Setup { fake, .. } = setup().await;
    let (client, account) = (client(&fake.url), account("a"));
    let set = join_all((0..8).map(|_| client.set_pod_discovery(&account, NOW))).await;
    assert!(set.iter().all(Result::is_ok), "{set:?}");
    let rows: Vec<_> = fake.world().discovery.values().cloned().collect();
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(
        (&row["resource_type"], &row["last_discovery_at"]),
        (&json!("k8s_pod"), &json!(NOW))
    );
}
