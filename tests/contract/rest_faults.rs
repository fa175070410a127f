//! A REST API that is down, slow, refuses, breaks off, or is none: each call says so and what to
//! do, never panics, and never shows a secret.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect};
use axum::routing::{any, get};
use kubecost_worker::rest_api::{
    AccountOwner, CloudAccounts, DiscoveryInfo, ImportOutcome, ImportStatus, ResourceCreator,
    RestClient, RestLimits,
};
use kubecost_worker::service::failure::{Failure, Hop, Kind};

use crate::rest_api::{Fault, SECRET};
use crate::rest_client::{NOW, Setup, account, client, client_with, setup};
use crate::rest_writes::resource;

const SUCCESS: ImportOutcome = ImportOutcome::Succeeded { at_seconds: NOW };
/// The secrets of the client, and of the accounts that the API shows.
const SECRETS: [&str; 3] = [SECRET, "pass2", "account-hunter2"];

/// The failure of every call, by the call's name.
async fn failures(client: &RestClient) -> Vec<(&'static str, Failure)> {
    let a = account("a");
    let found = vec![
        ("accounts", client.cloud_accounts().await.unwrap_err()),
        ("pool_owner", client.pool_owner(&a).await.unwrap_err()),
        ("create", client.create(&a, &[resource("x")]).await.unwrap_err()),
        ("report", client.report(&a, &SUCCESS).await.unwrap_err()),
        ("pod_discovery", client.pod_discovery(&a).await.unwrap_err()),
        ("set_pod_discovery", client.set_pod_discovery(&a, NOW).await.unwrap_err()),
    ];
    for (name, failure) in &found {
        assert_eq!(failure.hop, Hop::RestApi, "{name}: {failure}");
        let text = format!("{failure} {failure:?}");
        assert!(SECRETS.iter().all(|secret| !text.contains(secret)), "{name}: {text}");
        assert!(!failure.fix.is_empty(), "{name}: {failure}");
    }
    found
}

#[tokio::test]
async fn every_call_names_what_a_refusal_means() {
    let Setup { fake, .. } = setup().await;
    for (fault, kind, part) in [
        (Fault::Status(401), Kind::Denied, "CLUSTER_SECRET"),
        (Fault::Status(403), Kind::Denied, "CLUSTER_SECRET"),
        (Fault::Status(404), Kind::BadReply, "accounts"),
        (Fault::Page(404), Kind::BadReply, "REST_URL"),
        (Fault::Status(429), Kind::Overloaded, "fewer requests"),
        (Fault::Status(500), Kind::BadReply, "log"),
        (Fault::Page(500), Kind::Unavailable, "log"),
        (Fault::Page(503), Kind::Unavailable, "503"),
        (Fault::Page(400), Kind::BadReply, "REST_URL"),
    ] {
        fake.fail(fault, "", None);
        for (name, failure) in failures(&client(&fake.url)).await {
            assert_eq!(failure.kind, kind, "{fault:?} {name}: {failure}");
            assert!(failure.to_string().contains(part), "{fault:?} {name}: {failure}");
        }
    }
}

#[tokio::test]
async fn what_is_asked_names_the_account_and_the_address() {
    let Setup { fake, .. } = setup().await;
    fake.fail(Fault::Page(404), "cloud_accounts/a", None);
    let failure = client(&fake.url).report(&account("a"), &SUCCESS).await.unwrap_err();
    let address = format!("{}/restapi/v2/cloud_accounts/a", fake.url);
    assert!(failure.what.contains(&address), "{failure}");
}

#[tokio::test]
async fn a_server_that_is_down_is_unavailable() {
    let Setup { mut fake, .. } = setup().await;
    fake.stop().await;
    for (name, failure) in failures(&client(&fake.url)).await {
        assert_eq!(failure.kind, Kind::Unavailable, "{name}: {failure}");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_a_time_out_and_writes_are_not_sent_again() {
    let Setup { fake, .. } = setup().await;
    fake.fail(Fault::Slow, "", None);
    let timeout = Duration::from_millis(200);
    let limits = RestLimits {
        request_timeout: timeout,
        bulk_timeout: timeout,
        retries_max: 1,
        retry_delay: Duration::from_millis(1),
    };
    for (name, failure) in failures(&client_with(&fake.url, limits)).await {
        assert_eq!(failure.kind, Kind::Timeout, "{name}: {failure}");
    }
    let writes = fake.asked().iter().filter(|asked| asked.method != "GET").count();
    assert_eq!(writes, 2, "one of create, one of report");
}

#[tokio::test]
async fn a_reply_that_breaks_off_is_a_failure_and_no_panic() {
    let Setup { fake, .. } = setup().await;
    fake.fail(Fault::Cut, "", None);
    for (name, failure) in failures(&client(&fake.url)).await {
        let is_right = matches!(failure.kind, Kind::Unavailable | Kind::BadReply);
        assert!(is_right, "{name}: {failure}");
    }
}

#[tokio::test]
async fn what_fails_for_a_moment_succeeds_when_it_is_sent_again() {
    let Setup { fake, documents, .. } = setup().await;
    let (client, a) = (client(&fake.url), account("a"));
    fake.fail(Fault::Status(500), "organizations", Some(3));
    assert_eq!(client.cloud_accounts().await.unwrap().len(), 1);
    fake.fail(Fault::Status(503), "bulk", Some(3));
    assert_eq!(client.create(&a, &[resource("x")]).await.unwrap().resources.len(), 1);
    fake.fail(Fault::Status(429), "cloud_accounts", Some(3));
    client.report(&a, &SUCCESS).await.unwrap();
    fake.recover();
    client.set_pod_discovery(&a, NOW).await.unwrap();
    assert_eq!(documents.all().len(), 1);
}

#[tokio::test]
async fn a_write_is_not_sent_again_after_an_internal_error_nor_without_end() {
    let Setup { fake, .. } = setup().await;
    let (client, a) = (client(&fake.url), account("a"));
    for (status, count) in [(500, 1), (503, 4), (429, 4), (403, 1), (400, 1)] {
        let before = fake.asked().len();
        fake.fail(Fault::Status(status), "", None);
        client.report(&a, &SUCCESS).await.unwrap_err();
        assert_eq!(fake.asked().len() - before, count, "{status}");
    }
}

#[tokio::test]
async fn a_new_record_of_discovery_is_sent_once() {
    let Setup { fake, .. } = setup().await;
    fake.fail(Fault::Status(503), "discovery_info/bulk", None);
    client(&fake.url).set_pod_discovery(&account("a"), NOW).await.unwrap_err();
    let posts = fake.asked().iter().filter(|asked| asked.method == "POST").count();
    assert_eq!(posts, 1);
}

/// A server of a test's own.
async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}")
}

#[tokio::test]
async fn a_server_that_repeats_our_secrets_does_not_bring_them_into_messages() {
    for (status, form) in
        [(400, "sent "), (200, "sent "), (500, "{\"error\":{\"error_code\":\"E\",\"reason\":\"")]
    {
        let echo = move |headers: HeaderMap| async move {
            let secret = headers["secret"].to_str().unwrap().to_owned();
            let end = if form.starts_with('{') { "\"}}" } else { "" };
            (StatusCode::from_u16(status).unwrap(), format!("{form}{secret} pass2{end}"))
        };
        let url = serve(Router::new().fallback(any(echo))).await;
        for (name, failure) in failures(&client(&url)).await {
            assert!(failure.what.contains("[secret]"), "{status} {name}: {failure}");
        }
    }
}

#[tokio::test]
async fn a_reply_of_accounts_that_cannot_be_read_does_not_show_their_credentials() {
    let body = r#"{"cloud_accounts": [{"config": {"password": "account-hunter2"}, "id": 5}],
        "organizations": [{"config": "account-hunter2"}], "resources": [{"x": "account-hunter2"}],
        "discovery_info": [{"x": "account-hunter2"}]"#;
    let url = serve(Router::new().fallback(any(move || async move { body }))).await;
    for (name, failure) in failures(&client(&url)).await {
        assert_eq!(failure.kind, Kind::BadReply, "{name}: {failure}");
        assert!(failure.what.contains("cannot be read"), "{name}: {failure}");
    }
}

#[tokio::test]
async fn a_write_that_a_redirect_turned_into_a_read_is_no_success() {
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = reads.clone();
    let there = any(move || async move {
        counted.fetch_add(1, Ordering::SeqCst);
        r#"{"resources": [], "id": "a"}"#
    });
    let router = Router::new()
        .route("/elsewhere", there)
        .fallback(any(|| async { Redirect::to("/elsewhere").into_response() }));
    let url = serve(router).await;
    let client = client(&url);
    let failure = client.report(&account("a"), &SUCCESS).await.unwrap_err();
    assert!(failure.fix.contains("REST_URL"), "{failure}");
    let failure = client.create(&account("a"), &[resource("x")]).await.unwrap_err();
    assert!(failure.what.contains("redirected"), "{failure}");
    assert_eq!(reads.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_reply_without_end_is_not_read_to_the_end() {
    let long = get(|| async { " ".repeat((32 << 20) + 1) });
    let url = serve(Router::new().fallback(long)).await;
    let failure = client(&url).pod_discovery(&account("a")).await.unwrap_err();
    assert_eq!(failure.kind, Kind::BadReply);
    assert!(failure.what.contains("longer than"), "{failure}");
}
