//! What the client writes to the nodes tab of an account.

use kubecost_worker::cost::NodeFacts;
use kubecost_worker::rest_api::nodes::tab_nodes;
use kubecost_worker::rest_api::{NodesTab, TabNode};
use kubecost_worker::service::failure::Kind;
use serde_json::{Value, json};

use crate::rest_api::world::set;
use crate::rest_api::{FakeRestApi, Fault};
use crate::rest_client::{NOW, Setup, account, client, setup};

fn node(name: &str) -> TabNode {
    TabNode {
        name: name.to_owned(),
        cpu: 2,
        memory: 8,
        flavor: None,
        provider_id: None,
        hourly_price: Some(0.5),
    }
}

/// What the account's page lists, as the API's own call has it.
async fn listed(fake: &FakeRestApi) -> Vec<Value> {
    let url = format!("{}/restapi/v2/cloud_accounts/a/nodes", fake.url);
    let request = reqwest::Client::new().get(url).header("Secret", crate::rest_api::SECRET);
    let reply: Value = request.send().await.unwrap().json().await.unwrap();
    reply["nodes"].as_array().unwrap().clone()
}

fn names(nodes: &[Value]) -> Vec<&str> {
    let mut names: Vec<&str> = nodes.iter().map(|node| node["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn the_tab_shows_the_nodes_that_were_sent_and_no_others() {
    let Setup { fake, .. } = setup().await;
    let client = client(&fake.url);
    let facts = NodeFacts {
        instance_type: Some("m5.large".into()),
        provider_id: Some("aws:///eu-west-1a/i-1".into()),
        cores: Some(2.0),
        memory_bytes: Some(8e9),
        price_usd_hourly: Some(0.096),
        ..NodeFacts::default()
    };
    let machine = tab_nodes([("n1", &facts)].into_iter()).shown;
    let first = [machine.clone(), vec![TabNode { hourly_price: None, ..node("n2") }]].concat();
    assert_eq!(client.show_nodes(&account("a"), &first, NOW).await, Ok(true));
    let shown = listed(&fake).await;
    assert_eq!(names(&shown), ["n1", "n2"]);
    let of = |name: &str| shown.iter().find(|node| node["name"] == name).unwrap();
    assert_eq!(of("n1")["provider"], "aws_cnr");
    assert_eq!((&of("n1")["cpu"], &of("n1")["memory"]), (&json!(2), &json!(8)));
    assert_eq!(of("n1")["hourly_price"], 0.096);
    assert_eq!(of("n2")["hourly_price"], 0.003, "the account's own price");
    let again = [machine, vec![node("n3")]].concat();
    assert_eq!(client.show_nodes(&account("a"), &again, NOW + 300).await, Ok(true));
    set(&mut fake.world().accounts, "a", "last_import_at", json!(NOW + 300));
    assert_eq!(names(&listed(&fake).await), ["n1", "n3"]);
    // An import that saw none of them hides them.
    set(&mut fake.world().accounts, "a", "last_import_at", json!(NOW + 600));
    assert_eq!(listed(&fake).await, Vec::<Value>::new());
}

#[tokio::test]
async fn an_api_without_the_call_is_no_failure_and_an_account_that_there_is_not_is_one() {
    let Setup { fake, .. } = setup().await;
    let client = client(&fake.url);
    let nodes = [node("n")];
    let missing = client.show_nodes(&account("nobody"), &nodes, NOW).await.unwrap_err();
    assert!(missing.what.contains("nobody"), "{missing}");
    fake.fail(Fault::Page(404), "nodes", Some(1));
    assert_eq!(client.show_nodes(&account("a"), &nodes, NOW).await, Ok(false));
    let late = client.show_nodes(&account("a"), &nodes, 1 << 40).await.unwrap_err();
    assert_ne!(late.kind, Kind::Unavailable, "{late}");
    assert_eq!(listed(&fake).await, Vec::<Value>::new());
}
