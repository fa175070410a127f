//! A proxy between the worker and a server: it notes what is sent and can hold it back.

use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::Response;
use tokio::sync::watch;

/// A proxy that runs until the test ends.
pub(crate) struct Proxy {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<String>>>,
    arrived: watch::Receiver<usize>,
    gate: watch::Sender<bool>,
}

#[derive(Clone)]
struct Shared {
    upstream: String,
    seen: Arc<Mutex<Vec<String>>>,
    arrived: Arc<watch::Sender<usize>>,
    is_open: watch::Receiver<bool>,
    held: &'static str,
    client: reqwest::Client,
}

impl Proxy {
    /// In front of `upstream`; requests whose query has the word `held` wait until [`Self::open`].
    pub(crate) async fn holding(upstream: &str, held: &'static str) -> Self {
        kubecost_worker::service::http::install_tls();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (arrived_at, arrived) = watch::channel(0);
        let (gate, is_open) = watch::channel(false);
        let shared = Shared {
            upstream: upstream.to_owned(),
            seen: Arc::clone(&seen),
            arrived: Arc::new(arrived_at),
            is_open,
            held,
            client: reqwest::Client::builder().no_gzip().build().unwrap(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = axum::Router::new().fallback(pass).with_state(shared);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, seen, arrived, gate }
    }

    /// In front of `upstream`, holding nothing back.
    pub(crate) async fn open_to(upstream: &str) -> Self {
        Self::holding(upstream, "no query has this").await
    }

    /// Waits until a request is held.
    pub(crate) async fn something_is_held(&self) {
        self.arrived.clone().wait_for(|count| *count > 0).await.unwrap();
    }

    /// Lets through what is held, and all that comes.
    pub(crate) fn open(&self) {
        self.gate.send_replace(true);
    }

    /// The queries so far: `query` of the URL, or the body where there is none.
    pub(crate) fn queries(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn pass(State(shared): State<Shared>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let url = reqwest::Url::parse(&format!("{}{path}", shared.upstream)).unwrap();
    let named = url.query_pairs().find(|(name, _)| name == "query");
    let query = named.map_or_else(
        || String::from_utf8_lossy(&body).into_owned(),
        |(_, query)| query.into_owned(),
    );
    let is_held = query.contains(shared.held);
    shared.seen.lock().unwrap().push(query);
    if is_held {
        shared.arrived.send_modify(|count| *count += 1);
        shared.is_open.clone().wait_for(|open| *open).await.unwrap();
    }
    let mut headers = parts.headers.clone();
    for hop_by_hop in ["host", "content-length", "transfer-encoding", "connection"] {
        headers.remove(hop_by_hop);
    }
    // Old servers want a length even where there is nothing.
    headers.insert("content-length", body.len().into());
    let sent = shared.client.request(parts.method, url).headers(headers).body(body).send().await;
    let answer = sent.unwrap();
    let mut reply = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if !["content-length", "transfer-encoding", "connection"].contains(&name.as_str()) {
            reply = reply.header(name, value);
        }
    }
    reply.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}
