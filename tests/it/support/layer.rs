//! What stands before a Prometheus in the field: a proxy that changes, refuses or loses what is
//! asked, as a test says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::Response;

use super::http::reply;

/// A request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    /// GET or POST.
    pub(crate) method: Method,
    /// The path.
    pub(crate) path: String,
    /// The parameters of the address and of the form.
    pub(crate) parameters: BTreeMap<String, String>,
    /// The headers.
    pub(crate) headers: HeaderMap,
}

impl Query {
    /// A parameter as text; empty when there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }

    /// A parameter that is a number of seconds.
    pub(crate) fn seconds(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap()
    }

    /// Whether it is a range query.
    pub(crate) fn is_range(&self) -> bool {
        self.path.ends_with("query_range")
    }

    /// The longest range of its expression, seconds.
    pub(crate) fn longest_range(&self) -> i64 {
        let ranges = self.text("query").split('[').skip(1).filter_map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            rest[digits.len()..].starts_with("ms").then(|| digits.parse::<i64>().unwrap() / 1_000)
        });
        ranges.max().unwrap_or(0)
    }
}

/// What becomes of a request.
pub(crate) enum Fate {
    /// It is passed on, as it now is.
    Passed,
    /// It is answered in the server's place: status and body, JSON where it begins with a brace.
    Refused(u16, String),
    /// It is passed on, and text of the answer is replaced.
    Altered(&'static str, &'static str),
}

type Rule = dyn Fn(&mut Query) -> Fate + Send + Sync;

#[derive(Clone)]
struct Shared {
    upstream: String,
    client: reqwest::Client,
    rule: Arc<Rule>,
    seen: Arc<Mutex<Vec<Query>>>,
}

/// A layer that runs until the test ends.
pub(crate) struct Layer {
    /// Its address.
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Query>>>,
}

impl Layer {
    /// Before `upstream`, with a rule for each request.
    pub(crate) async fn new(
        upstream: &str,
        rule: impl Fn(&mut Query) -> Fate + Send + Sync + 'static,
    ) -> Self {
        kubecost_worker::service::http::install_tls();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = Shared {
            upstream: upstream.to_owned(),
            client: reqwest::Client::builder().no_gzip().build().unwrap(),
            rule: Arc::new(rule),
            seen: Arc::clone(&seen),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = axum::Router::new().fallback(pass).with_state(shared);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, seen }
    }

    /// All requests so far, as they came in.
    pub(crate) fn seen(&self) -> Vec<Query> {
        self.seen.lock().unwrap().clone()
    }
}

async fn pass(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let pairs = |bytes: &[u8]| url::form_urlencoded::parse(bytes).into_owned().collect::<Vec<_>>();
    let mut parameters = pairs(parts.uri.query().unwrap_or_default().as_bytes());
    parameters.extend(pairs(&body));
    let mut query = Query {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        parameters: parameters.into_iter().collect(),
        headers: parts.headers,
    };
    shared.seen.lock().unwrap().push(query.clone());
    let fate = (shared.rule)(&mut query);
    let (from, to) = match fate {
        Fate::Refused(status, body) => {
            let kind = if body.starts_with('{') { "application/json" } else { "text/plain" };
            return reply(status, kind, body);
        }
        Fate::Altered(from, to) => (from, to),
        Fate::Passed => ("", ""),
    };
    let address = format!("{}{}", shared.upstream, query.path);
    let sent = shared.client.post(address).form(&query.parameters).send().await.unwrap();
    let status = sent.status().as_u16();
    let kind = sent.headers().get(header::CONTENT_TYPE).cloned();
    let kind = kind.map_or_else(String::new, |kind| kind.to_str().unwrap().to_owned());
    let text = sent.text().await.unwrap();
    let text = if from.is_empty() { text } else { text.replacen(from, to, 1) };
    reply(status, &kind, text)
}
