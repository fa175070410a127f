//! A user whose profile pins a setting that statements need: refused before anything is written.

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};

use crate::support::small::{AT, Small};
use crate::support::worker::run;

#[derive(Clone)]
struct Pinned {
    upstream: String,
    setting: &'static str,
    client: reqwest::Client,
}

/// Answers as a server whose constraints pin a setting; old servers have no constraints.
async fn pass(State(pinned): State<Pinned>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let url = reqwest::Url::parse(&format!("{}{path}", pinned.upstream)).unwrap();
    if url.query_pairs().any(|(name, _)| name == pinned.setting) {
        let text = format!(
            "Code: 452. DB::Exception: Setting {} should not be changed. \
             (SETTING_CONSTRAINT_VIOLATION)",
            pinned.setting
        );
        let mut reply = Response::new(Body::from(text));
        *reply.status_mut() = StatusCode::FORBIDDEN;
        return reply;
    }
    let mut headers = parts.headers.clone();
    for hop_by_hop in ["host", "content-length", "transfer-encoding", "connection"] {
        headers.remove(hop_by_hop);
    }
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let sent = pinned.client.request(parts.method, url).headers(headers).body(body);
    let answer = sent.send().await.unwrap();
    let status = answer.status();
    let mut reply = Response::new(Body::from(answer.bytes().await.unwrap()));
    *reply.status_mut() = status;
    reply
}

async fn before(upstream: &str, setting: &'static str) -> String {
    kubecost_worker::service::http::install_tls();
    let client = reqwest::Client::builder().no_gzip().build().unwrap();
    let pinned = Pinned { upstream: upstream.to_owned(), setting, client };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = axum::Router::new().fallback(pass).with_state(pinned);
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_pins_a_needed_setting_is_refused_with_what_to_set() {
    let small = Small::new("pinned").await;
    for setting in ["insert_distributed_sync", "insert_deduplicate"] {
        let url = before(&small.setting("CLICKHOUSE_URL"), setting).await;
        let settings = small.with_settings(&[("CLICKHOUSE_URL", &url)]);
        let refused = tokio::task::spawn_blocking(move || run(&settings, &["--at", AT, "run"]));
        let refused = refused.await.unwrap();
        assert_eq!(refused.code, 3, "{}\n{}", refused.stdout, refused.stderr);
        for part in [format!("may not set {setting} to"), format!("set {setting} to")] {
            assert!(refused.stderr.contains(&part), "'{part}' is missing in {}", refused.stderr);
        }
    }
    // What the profile has right already may be pinned.
    let url = before(&small.setting("CLICKHOUSE_URL"), "skip_unavailable_shards").await;
    let settings = small.with_settings(&[("CLICKHOUSE_URL", &url)]);
    let done = tokio::task::spawn_blocking(move || run(&settings, &["--at", AT, "run"]));
    done.await.unwrap().expect_success();
    assert_eq!(small.stored().await.len(), 6);
}
