//! A proxy before ClickHouse that acknowledges an insert at once and hands it on later: what
//! asynchronous inserts and queues do. Or one that stores it and then answers with an error, as a
//! server does where another shard, or a materialized view, could not take the insert.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::Response;

const TOO_MANY_PARTS: &str = "Code: 252, e.displayText() = DB::Exception: Too many parts";

/// The proxy; it ends with the test's runtime.
pub(crate) struct EarlyAnswer {
    pub(crate) url: String,
    inserts: Arc<AtomicUsize>,
    stored: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Shared {
    upstream: String,
    late: Duration,
    refuses: bool,
    inserts: Arc<AtomicUsize>,
    stored: Arc<AtomicUsize>,
    client: reqwest::Client,
}

impl EarlyAnswer {
    /// In front of `upstream`, which gets each insert `late` after its acknowledgement.
    pub(crate) async fn before(upstream: &str, late: Duration) -> Self {
        Self::with(upstream, late, false).await
    }

    /// In front of `upstream`, which stores each insert; the answer is an error nevertheless.
    pub(crate) async fn refusing(upstream: &str) -> Self {
        Self::with(upstream, Duration::ZERO, true).await
    }

    async fn with(upstream: &str, late: Duration, refuses: bool) -> Self {
        kubecost_worker::service::http::install_tls();
        let (inserts, stored) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let shared = Shared {
            upstream: upstream.to_owned(),
            late,
            refuses,
            inserts: Arc::clone(&inserts),
            stored: Arc::clone(&stored),
            client: reqwest::Client::builder().no_gzip().build().unwrap(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = axum::Router::new().fallback(pass).with_state(shared);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, inserts, stored }
    }

    /// How many inserts were acknowledged, and how many of them are stored.
    pub(crate) fn inserts(&self) -> (usize, usize) {
        (self.inserts.load(Ordering::SeqCst), self.stored.load(Ordering::SeqCst))
    }
}

async fn pass(State(shared): State<Shared>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let url = reqwest::Url::parse(&format!("{}{path}", shared.upstream)).unwrap();
    let is_insert =
        url.query_pairs().any(|(name, value)| name == "query" && value.starts_with("INSERT"));
    let mut headers = parts.headers.clone();
    for hop_by_hop in ["host", "content-length", "transfer-encoding", "connection"] {
        headers.remove(hop_by_hop);
    }
    headers.insert("content-length", body.len().into());
    let sent = shared.client.request(parts.method, url).headers(headers).body(body);
    if is_insert {
        shared.inserts.fetch_add(1, Ordering::SeqCst);
        let (late, stored, refuses) = (shared.late, shared.stored, shared.refuses);
        let storing = tokio::spawn(async move {
            tokio::time::sleep(late).await;
            let answer = sent.send().await.unwrap();
            assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
            stored.fetch_add(1, Ordering::SeqCst);
        });
        if refuses {
            storing.await.unwrap();
            return Response::builder().status(500).body(Body::from(TOO_MANY_PARTS)).unwrap();
        }
        return Response::new(Body::empty());
    }
    let answer = sent.send().await.unwrap();
    let mut reply = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if !["content-length", "transfer-encoding", "connection"].contains(&name.as_str()) {
            reply = reply.header(name, value);
        }
    }
    reply.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}
