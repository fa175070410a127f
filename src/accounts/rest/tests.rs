//! Tests of the accounts from the REST API, against a small server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::*;
use crate::rest_api::RestLimits;
use crate::rest_api::client::REPLY_BYTES_MAX;
use crate::service::failure::{Hop, Kind};

const SECRET: &str = "hunter2";
const ORGANIZATIONS: &str = "/restapi/v2/organizations";

/// The accounts that a server with these routes gives.
async fn asked(router: Router) -> Result<Vec<Account>, Failure> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let endpoint = Endpoint::parse(&format!("http://user:pass2@{address}")).unwrap();
    let limits = RestLimits { retry_delay: Duration::from_millis(1), ..RestLimits::default() };
    let client = RestClient::with_limits(endpoint, &Secret::new(SECRET), limits).unwrap();
    RestAccounts::of(client).accounts().await
}

/// The failure of a server that always gives this answer, and how often it was asked.
async fn refusal(status: u16, body: &'static str) -> (Failure, usize) {
    let count = Arc::new(AtomicUsize::new(0));
    let asked_count = count.clone();
    let answer = move || async move {
        asked_count.fetch_add(1, Ordering::SeqCst);
        (StatusCode::from_u16(status).unwrap(), body)
    };
    let failure = asked(Router::new().route(ORGANIZATIONS, get(answer))).await.unwrap_err();
    assert_eq!(failure.hop, Hop::RestApi, "{failure}");
    let text = format!("{failure} {failure:?}");
    assert!(!text.contains(SECRET) && !text.contains("pass2"), "{text}");
    (failure, count.load(Ordering::SeqCst))
}

async fn of_organization(Path(id): Path<String>, headers: HeaderMap) -> Response {
    if headers.get("secret").is_none_or(|secret| secret != SECRET) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match id.as_str() {
        "org 1" => {
            r#"{"cloud_accounts": [
            {"id": "b", "name": "B", "type": "kubernetes_cnr", "deleted_at": 0, "x": {}},
            {"id": "aws", "name": "A", "type": "aws_cnr", "deleted_at": 0},
            {"id": "gone", "name": "G", "type": "kubernetes_cnr", "deleted_at": 99}]}"#
        }
        "org2" => {
            r#"{"cloud_accounts": [{"id": "a", "type": "kubernetes_cnr", "deleted_at": null},
            {"id": "b", "name": "B", "type": "kubernetes_cnr"}]}"#
        }
        _ => r#"{"cloud_accounts": []}"#,
    }
    .into_response()
}

#[tokio::test]
async fn live_kubernetes_accounts_of_all_organizations_come_once_in_order() {
    let organizations = r#"{"organizations": [{"id": "org 1", "deleted_at": 0},
        {"id": "org2"}, {"id": "org3", "deleted_at": 12}]}"#;
    let router = Router::new()
        .route(ORGANIZATIONS, get(move || async move { organizations }))
        .route("/restapi/v2/organizations/{id}/cloud_accounts", get(of_organization));
    let accounts = asked(router).await.unwrap();
    let shown: Vec<_> = accounts.iter().map(|a| (a.id.as_str(), a.name.as_deref())).collect();
    assert_eq!(shown, [("a", None), ("b", Some("B"))]);
}

#[tokio::test]
async fn refusals_say_what_to_do_and_are_asked_again_only_where_it_may_help() {
    for (status, body, kind, count, part) in [
        (401, "{}", Kind::Denied, 1, "CLUSTER_SECRET"),
        (403, "", Kind::Denied, 1, "CLUSTER_SECRET"),
        (404, "<html>nginx</html>", Kind::BadReply, 1, "REST_URL"),
        (429, "slow down", Kind::Overloaded, 4, "slow down"),
        (500, "oops", Kind::Unavailable, 4, "oops"),
        (503, "", Kind::Unavailable, 4, "503"),
    ] {
        let (failure, asked_count) = refusal(status, body).await;
        assert_eq!((failure.kind, asked_count), (kind, count), "{failure}");
        assert!(failure.to_string().contains(part), "{failure}");
    }
}

#[tokio::test]
async fn a_reply_that_is_no_list_is_shown_for_what_it_is() {
    for (body, part) in [
        ("<!DOCTYPE html><html>", "an HTML page"),
        ("{\"organizations\": [{\"id\"", "cannot be read"),
        ("{\"accounts\": []}", "organizations"),
        ("Error", "Error"),
        ("", "nothing"),
    ] {
        let (failure, asked_count) = refusal(200, body).await;
        assert_eq!((failure.kind, asked_count), (Kind::BadReply, 1), "{failure}");
        assert!(failure.what.contains(part), "{failure}");
        assert!(failure.fix.contains("REST_URL"), "{failure}");
    }
}

#[tokio::test]
async fn a_server_that_recovers_is_asked_until_it_answers() {
    let count = Arc::new(AtomicUsize::new(0));
    let answer = move || async move {
        if count.fetch_add(1, Ordering::SeqCst) < 2 {
            return StatusCode::BAD_GATEWAY.into_response();
        }
        r#"{"organizations": []}"#.into_response()
    };
    assert_eq!(asked(Router::new().route(ORGANIZATIONS, get(answer))).await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_reply_without_end_is_not_read_to_the_end() {
    let answer = || async { " ".repeat(usize::try_from(REPLY_BYTES_MAX).unwrap() + 1) };
    let failure = asked(Router::new().route(ORGANIZATIONS, get(answer))).await.unwrap_err();
    assert_eq!(failure.kind, Kind::BadReply);
    assert!(failure.what.contains("longer than"), "{failure}");
}

#[tokio::test]
async fn an_account_without_a_usable_id_and_an_organization_that_is_gone_leave_the_others() {
    const GONE: &str = r#"{"error": {"error_code": "OE0002", "reason": "not found"}}"#;
    let accounts = r#"{"cloud_accounts": [{"id": "a b", "type": "kubernetes_cnr"},
        {"id": "a-1", "type": "kubernetes_cnr", "name": "A\u001b[2J\n"}]}"#;
    let router = Router::new()
        .route(
            ORGANIZATIONS,
            get(|| async { r#"{"organizations": [{"id": "gone"}, {"id": "o"}]}"# }),
        )
        .route(
            "/restapi/v2/organizations/gone/cloud_accounts",
            get(|| async { (StatusCode::NOT_FOUND, GONE) }),
        )
        .route("/restapi/v2/organizations/o/cloud_accounts", get(move || async move { accounts }));
    let found = asked(router).await.unwrap();
    let ids: Vec<&str> = found.iter().map(|account| account.id.as_str()).collect();
    assert_eq!(ids, ["a-1"]);
    // A name may not control a terminal.
    assert_eq!(found[0].name.as_deref(), Some("A\\u{1b}[2J\\u{a}"));
}

#[test]
fn a_secret_that_no_header_can_hold_is_refused_unseen() {
    let endpoint = Endpoint::parse("http://h").unwrap();
    let failure = RestAccounts::new(endpoint, &Secret::new("hun\nter2")).unwrap_err();
    assert!(failure.fix.contains("CLUSTER_SECRET"), "{failure}");
    assert!(!failure.to_string().contains("ter2"), "{failure}");
}
