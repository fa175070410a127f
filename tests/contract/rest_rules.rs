//! The fake REST API keeps the rules of the real one: codes, limits, and what it stores.

use std::sync::Arc;

use mongodb::bson::{Bson, DateTime, Document, doc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::rest_api::documents::MemoryDocuments;
use crate::rest_api::world::{Condition, Rule, set};
use crate::rest_api::{FakeRestApi, SECRET, World};

const NOW: i64 = 1_795_000_000;
const BULK: &str = "cloud_accounts/a/cloud_resources/bulk?behavior=skip_existing&\
                    return_resources=true";

/// The fake with an organization `o` and an account `a`, and its documents.
async fn fake() -> (FakeRestApi, Arc<MemoryDocuments>) {
    let mut world = World::at(NOW);
    world.add_organization("o");
    world.add_account("o", "a", "kubernetes_cnr");
    let documents = Arc::new(MemoryDocuments::default());
    (FakeRestApi::start(world, documents.clone()).await, documents)
}

async fn send(
    fake: &FakeRestApi,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<String>,
) -> (u16, Value) {
    let client =
        kubecost_worker::service::http::client(std::time::Duration::from_secs(10)).unwrap();
    let mut request = client.request(method, format!("{}/restapi/v2/{path}", fake.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.body(body.unwrap_or_default()).send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_default())
}

/// A call with the secret: status, and the error's code or the body.
async fn call(fake: &FakeRestApi, method: Method, path: &str, body: &Value) -> (u16, Value) {
    send(fake, method, path, &[("Secret", SECRET)], Some(body.to_string())).await
}

/// The status and error code of a call.
async fn refusal(fake: &FakeRestApi, method: Method, path: &str, body: &Value) -> (u16, String) {
    let (status, body) = call(fake, method, path, body).await;
    assert_eq!(body["error"]["status_code"].as_u64(), Some(u64::from(status)), "{body}");
    (status, body["error"]["error_code"].as_str().unwrap().to_owned())
}

fn item() -> Value {
    json!({"cloud_resource_id": "k8s-ns-1", "name": "Namespace: default",
        "resource_type": "K8s Namespace", "service_name": "Kubernetes",
        "first_seen": NOW - 600, "last_seen": NOW, "active": true, "k8s_namespace": "default",
        "tags": {"team": "blue"}, "meta": {"cluster": "c"}})
}

/// The item with other fields.
fn with(fields: &Value) -> Value {
    let mut item = item();
    for (key, value) in fields.as_object().unwrap() {
        item[key] = value.clone();
    }
    item
}

async fn bulk(fake: &FakeRestApi, items: &[Value]) -> (u16, Value) {
    call(fake, Method::POST, BULK, &json!({ "resources": items })).await
}

#[tokio::test]
async fn each_call_is_for_the_bearer_of_the_secret_or_for_users() {
    let (fake, _) = fake().await;
    let (none, wrong) = (&[][..], &[("Secret", "x")][..]);
    let token = &[("Authorization", "Bearer t")][..];
    let right = &[("Secret", SECRET)][..];
    for (method, path, headers, wanted) in [
        (Method::POST, BULK, none, (401, "OE0237")),
        (Method::POST, BULK, wrong, (403, "OE0236")),
        (Method::POST, BULK, token, (403, "OE0236")),
        (Method::GET, "cloud_accounts/a/discovery_info", wrong, (403, "OE0236")),
        (Method::GET, "organizations", none, (401, "OE0237")),
        (Method::GET, "organizations", wrong, (401, "OE0235")),
        (Method::GET, "organizations/o/pools", right, (401, "OE0235")),
        (Method::GET, "organizations/o/rules", right, (401, "OE0235")),
        (Method::GET, "nothing", right, (404, "OE0257")),
        (Method::POST, "cloud_accounts/a/discovery_info", right, (405, "OE0245")),
        (Method::PATCH, "cloud_accounts/b", right, (404, "OE0002")),
        (Method::GET, "organizations/x/cloud_accounts", right, (404, "OE0002")),
        (Method::GET, "pools/x", right, (404, "OE0002")),
    ] {
        let body = Some("{}".to_owned());
        let (status, body) = send(&fake, method.clone(), path, headers, body).await;
        let code = body["error"]["error_code"].as_str().unwrap_or_default();
        assert_eq!((status, code), wanted, "{method} {path}: {body}");
    }
}

#[tokio::test]
async fn a_bulk_call_is_refused_for_its_form() {
    let (fake, _) = fake().await;
    for (path, body, code) in [
        (BULK, json!([]), "OE0426"),
        (BULK, json!({}), "OE0216"),
        (BULK, json!({"resources": {}}), "OE0385"),
        (BULK, json!({"resources": [], "x": 1}), "OE0212"),
        (BULK, json!({"resources": [], "cloud_account_id": "a"}), "OE0456"),
        (BULK, json!({"resources": [with(&json!({"cloud_resource_id": null}))]}), "OE0517"),
        ("cloud_accounts/a/cloud_resources/bulk?behavior=x", json!({"resources": []}), "OE0425"),
    ] {
        let found = refusal(&fake, Method::POST, path, &body).await;
        assert_eq!(found, (400, code.to_owned()), "{body}");
    }
    let (status, body) =
        send(&fake, Method::POST, BULK, &[("Secret", SECRET)], Some("{".to_owned())).await;
    assert_eq!((status, &body["error"]["error_code"]), (400, &json!("OE0233")));
}

#[tokio::test]
async fn one_bad_item_refuses_all_and_nothing_is_written() {
    let (fake, documents) = fake().await;
    let long = |count: usize| "x".repeat(count);
    let mut bad = vec![
        (json!({"cloud_resource_id": long(513)}), "OE0215"),
        (json!({"cloud_resource_id": ""}), "OE0215"),
        (json!({"name": long(513)}), "OE0215"),
        (json!({"name": " \t"}), "OE0416"),
        (json!({"name": 5}), "OE0214"),
        (json!({"k8s_namespace": ""}), "OE0215"),
        (json!({"k8s_node": long(256)}), "OE0215"),
        (json!({"k8s_service": "\u{1f}"}), "OE0416"),
        (json!({"resource_type": null}), "OE0216"),
        (json!({"first_seen": 1.0}), "OE0223"),
        (json!({"last_seen": "1"}), "OE0223"),
        (json!({"last_seen": true}), "OE0223"),
        (json!({"last_seen": 2_147_483_648_i64}), "OE0224"),
        (json!({"first_seen": -1}), "OE0224"),
        (json!({"active": 1}), "OE0226"),
        (json!({"tags": [1]}), "OE0344"),
        (json!({"resource_type": "K8s Pod"}), "OE0212"),
    ];
    for name in ["_id", "created_at", "deleted_at", "is_environment"] {
        bad.push((json!({ name: 1 }), "OE0211"));
    }
    for name in [
        "cluster_id",
        "cluster_type_id",
        "constraint_violated",
        "total_cost",
        "last_expense",
        "_first_seen_date",
        "organization_id",
        "applied_rules",
        "k8s_cluster",
    ] {
        bad.push((json!({ name: 1 }), "OE0212"));
    }
    for (fields, code) in bad {
        let items = [with(&json!({"cloud_resource_id": "good"})), with(&fields)];
        let found = refusal(&fake, Method::POST, BULK, &json!({ "resources": items })).await;
        assert_eq!(found, (400, code.to_owned()), "{fields}");
    }
    assert_eq!(documents.all(), Vec::<Document>::new());
}

#[tokio::test]
async fn an_item_at_its_limits_is_taken() {
    let (fake, documents) = fake().await;
    let at_limit = with(&json!({"cloud_resource_id": "é".repeat(512), "name": "é".repeat(512),
        "k8s_node": "é".repeat(255), "k8s_service": null, "last_seen": 2_147_483_647,
        "resource_type": "K8s Pod", "meta": {"k8s_cluster": "c", "pod_ip": "1.2.3.4"}}));
    assert_eq!(bulk(&fake, &[at_limit]).await.0, 200);
    assert_eq!(documents.all().len(), 1);
}

#[tokio::test]
async fn an_account_that_there_is_not_is_an_internal_error() {
    let (fake, documents) = fake().await;
    let path = BULK.replace("/a/", "/b/");
    let found = refusal(&fake, Method::POST, &path, &json!({"resources": [item()]})).await;
    assert_eq!(found, (500, "U0500".to_owned()));
    assert_eq!(documents.all().len(), 0);
}

#[tokio::test]
async fn a_new_document_has_a_uuid_dates_pool_owner_and_encoded_tags() {
    let (fake, documents) = fake().await;
    let (status, body) = bulk(&fake, &[item()]).await;
    let [document] = &documents.all()[..] else { panic!("one") };
    let id = document.get_str("_id").unwrap();
    assert!(uuid::Uuid::parse_str(id).is_ok() && id.len() == 36, "{id}");
    assert_eq!((status, &body["resources"][0]["id"]), (200, &json!(id)));
    let midnight = |seconds: i64| DateTime::from_millis((seconds - seconds % 86_400) * 1_000);
    let rule = fake.world().rules[0].clone();
    let applied = doc! {"id": rule.id, "name": rule.name, "pool_id": &rule.pool_id};
    let wanted = doc! {
        "_id": id, "cloud_resource_id": "k8s-ns-1", "cloud_account_id": "a",
        "name": "Namespace: default", "resource_type": "K8s Namespace",
        "service_name": "Kubernetes", "active": true, "k8s_namespace": "default",
        "first_seen": (NOW - 600) as i32, "last_seen": NOW as i32,
        "_first_seen_date": midnight(NOW - 600), "_last_seen_date": midnight(NOW),
        "created_at": NOW as i32, "deleted_at": 0, "tags": {"dGVhbQ==": "blue"},
        "pool_id": rule.pool_id, "employee_id": rule.owner_id, "applied_rules": [applied],
    };
    let sorted = |document: &Document| {
        let mut fields: Vec<_> = document.clone().into_iter().collect();
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        fields
    };
    assert_eq!(sorted(document), sorted(&wanted), "meta is dropped, no cluster keys");
    assert_eq!(body["resources"][0]["tags"], json!({"team": "blue"}));
    assert!(body["resources"][0].get("_first_seen_date").is_none());
}

#[tokio::test]
async fn the_first_rule_that_fits_gives_the_pool_and_else_it_is_the_root_pool() {
    let (fake, documents) = fake().await;
    let root = fake.world().organizations["o"]["pool_id"].clone();
    let team = Rule {
        pool_id: "team-pool".to_owned(),
        conditions: vec![Condition::NameContains("PAYMENTS".to_owned())],
        ..fake.world().rules[0].clone()
    };
    let tagged = Rule {
        pool_id: "tag-pool".to_owned(),
        conditions: vec![Condition::TagIs("team".to_owned(), "red".to_owned())],
        ..team.clone()
    };
    fake.world().rules = vec![team, tagged];
    let items = [
        with(&json!({"cloud_resource_id": "1", "name": "Namespace: payments"})),
        with(&json!({"cloud_resource_id": "2", "tags": {"team": "red"}})),
        with(&json!({"cloud_resource_id": "3"})),
    ];
    bulk(&fake, &items).await;
    let pools: Vec<_> =
        documents.all().iter().map(|d| d.get_str("pool_id").unwrap().to_owned()).collect();
    assert_eq!(pools, ["team-pool", "tag-pool", root.as_str().unwrap()]);
}

/// A document of the item's id that somebody else made.
fn other(fields: Document) -> Document {
    let mut document = doc! {"_id": "other", "cloud_resource_id": "k8s-ns-1",
    "cloud_account_id": "a", "name": "Mine", "service_name": "Other", "pool_id": "p",
    "employee_id": "e", "first_seen": (NOW - 60) as i32, "last_seen": (NOW + 60) as i32,
    "_first_seen_date": DateTime::from_millis(0), "_last_seen_date": DateTime::from_millis(0),
    "deleted_at": 0, "active": true, "tags": {"b3duZXI=": "me", "YXdzOng=": "1"},
    "meta": {"k": "v"}};
    document.extend(fields);
    document
}

#[tokio::test]
async fn an_existing_document_keeps_name_and_pool_and_gets_service_tags_and_times() {
    for (query, tags) in [
        ("", doc! {"YXdzOng=": "1", "dGVhbQ==": "blue"}),
        ("&is_report_import=true", doc! {"YXdzOng=": "1", "b3duZXI=": "me", "dGVhbQ==": "blue"}),
    ] {
        let (fake, documents) = fake().await;
        documents.put(other(doc! {"pool_id": Bson::Null}));
        let path = format!("{BULK}{query}");
        let body = json!({"resources": [item()]});
        let (status, body) = call(&fake, Method::POST, &path, &body).await;
        assert_eq!((status, &body["resources"][0]["id"]), (200, &json!("other")));
        let [document] = &documents.all()[..] else { panic!("one") };
        let times = doc! {"first_seen": (NOW - 600) as i32, "service_name": "Kubernetes",
        "_last_seen_date": DateTime::from_millis((NOW - NOW % 86_400) * 1_000)};
        let wanted = other(doc! {"pool_id": Bson::Null, "tags": tags}).into_iter().chain(times);
        assert_eq!(document, &wanted.collect::<Document>(), "{query}");
    }
}

#[tokio::test]
async fn a_deleted_document_is_found_and_changed_but_not_revived() {
    let (fake, documents) = fake().await;
    documents.put(other(doc! {"deleted_at": 99}));
    let (status, body) = bulk(&fake, &[item()]).await;
    assert_eq!((status, &body["resources"][0]["deleted_at"]), (200, &json!(99)));
    let [document] = &documents.all()[..] else { panic!("one") };
    assert_eq!(document.get_str("service_name"), Ok("Kubernetes"));
    assert_eq!(document.get_i32("deleted_at"), Ok(99));
}

#[tokio::test]
async fn a_stored_tag_key_that_is_not_encoded_fails_the_call() {
    let (fake, documents) = fake().await;
    documents.put(other(doc! {"tags": {"plain key": "x"}}));
    assert_eq!(bulk(&fake, &[item()]).await.0, 500);
}

#[tokio::test]
async fn a_change_of_an_account_is_checked_value_by_value() {
    let (fake, _) = fake().await;
    let long = "é".repeat(256);
    for (body, code) in [
        (json!({"last_import_at": 1.5}), "OE0223"),
        (json!({"last_import_at": "5"}), "OE0223"),
        (json!({"last_import_attempt_at": true}), "OE0223"),
        (json!({"last_import_at": -1}), "OE0224"),
        (json!({"last_import_attempt_at": 2_147_483_648_i64}), "OE0224"),
        (json!({"last_import_at": null}), "OE0003"),
        (json!({"last_import_attempt_error": long}), "OE0215"),
        (json!({"last_import_attempt_error": " \n "}), "OE0416"),
        (json!({"last_import_attempt_error": 5}), "OE0214"),
        (json!({"status": "green"}), "OE0212"),
        (json!({"organization_id": "x"}), "OE0211"),
        (json!({"auto_import": 1}), "OE0226"),
    ] {
        let found = refusal(&fake, Method::PATCH, "cloud_accounts/a", &body).await;
        assert_eq!(found, (400, code.to_owned()), "{body}");
    }
    let right = json!({"last_import_at": 0, "last_import_attempt_at": 2_147_483_647,
        "last_import_attempt_error": "é".repeat(255)});
    assert_eq!(call(&fake, Method::PATCH, "cloud_accounts/a", &right).await.0, 200);
    let cleared = json!({"last_import_attempt_error": null});
    let (status, body) = call(&fake, Method::PATCH, "cloud_accounts/a", &cleared).await;
    assert_eq!((status, &body["last_import_attempt_error"]), (200, &Value::Null));
    assert_eq!(body["last_import_attempt_at"], json!(2_147_483_647));
}

#[tokio::test]
async fn a_discovery_record_is_made_once_a_type_and_its_time_set_afterwards() {
    let (fake, _) = fake().await;
    let (list, bulk) = ("cloud_accounts/a/discovery_info", "cloud_accounts/a/discovery_info/bulk");
    for (body, code) in [
        (json!([]), "OE0233"),
        (json!({}), "OE0216"),
        (json!({"discovery_info": "x"}), "OE0385"),
        (json!({"discovery_info": ["x"]}), "OE0217"),
        (json!({"discovery_info": [{}]}), "OE0216"),
        (json!({"discovery_info": [{"resource_type": "region"}]}), "OE0384"),
        (json!({"discovery_info": [{"resource_type": "k8s_pod", "x": 1}]}), "OE0212"),
        (
            json!({"discovery_info": [{"resource_type": "k8s_pod", "last_discovery_at": 1}]}),
            "OE0211",
        ),
    ] {
        assert_eq!(
            refusal(&fake, Method::POST, bulk, &body).await,
            (400, code.to_owned()),
            "{body}"
        );
    }
    let pods = json!({"discovery_info": [{"resource_type": "k8s_pod", "enabled": false}]});
    let (status, body) = call(&fake, Method::POST, bulk, &pods).await;
    assert_eq!((status, &body["discovery_info"][0]["last_discovery_at"]), (200, &json!(0)));
    assert_eq!(refusal(&fake, Method::POST, bulk, &pods).await, (409, "OE0518".to_owned()));
    let id = body["discovery_info"][0]["id"].as_str().unwrap();
    let path = format!("discovery_info/{id}");
    for (body, code) in [
        (json!({"enabled": true}), "OE0212"),
        (json!({"last_discovery_at": 1.0}), "OE0223"),
        (json!({"last_discovery_at": -1}), "OE0224"),
        (json!({"last_discovery_at": null}), "OE0003"),
    ] {
        assert_eq!(
            refusal(&fake, Method::PATCH, &path, &body).await,
            (400, code.to_owned()),
            "{body}"
        );
    }
    assert_eq!(call(&fake, Method::PATCH, &path, &json!({"last_discovery_at": NOW})).await.0, 200);
    let found =
        call(&fake, Method::GET, &format!("{list}?resource_type=k8s_pod"), &json!(null)).await;
    assert_eq!(found.1["discovery_info"][0]["last_discovery_at"], json!(NOW));
    let none =
        call(&fake, Method::GET, &format!("{list}?resource_type=volume"), &json!(null)).await;
    assert_eq!(none.1, json!({"discovery_info": []}));
    let unknown = "cloud_accounts/b/discovery_info?resource_type=x";
    assert_eq!(
        refusal(&fake, Method::GET, unknown, &json!(null)).await,
        (400, "OE0384".to_owned())
    );
    let deleted = call(&fake, Method::DELETE, bulk, &json!({"discovery_info": [id]})).await;
    assert_eq!(deleted.0, 204);
    assert_eq!(call(&fake, Method::POST, bulk, &pods).await.0, 200, "its place is free again");
}

#[tokio::test]
async fn pools_are_shown_one_by_one_with_all_that_are_below() {
    let (fake, _) = fake().await;
    let root = fake.world().organizations["o"]["pool_id"].as_str().unwrap().to_owned();
    let own = fake.world().rules[0].pool_id.clone();
    let below = fake.world().add_pool("o", "below", Some(&own), None);
    let deleted = fake.world().add_pool("o", "deleted", Some(&own), None);
    set(&mut fake.world().pools, &deleted, "deleted_at", json!(5));
    let path = format!("pools/{root}?children=true");
    let (_, body) = call(&fake, Method::GET, &path, &json!(null)).await;
    let children = body["children"].as_array().unwrap();
    let ids: Vec<_> = children.iter().map(|pool| pool["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [own, below]);
    let (_, body) = call(&fake, Method::GET, &format!("pools/{root}"), &json!(null)).await;
    assert!(body.get("children").is_none());
}
