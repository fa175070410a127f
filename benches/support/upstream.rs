//! A query layer behind a proxy of a bench's own: questions are passed on as they came.

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};

/// A question as it came.
#[derive(Clone)]
pub(crate) struct Question {
    method: Method,
    pub(crate) path: String,
    content_type: HeaderValue,
    pub(crate) body: Bytes,
}

impl Question {
    pub(crate) async fn of(request: Request) -> Self {
        let (parts, body) = request.into_parts();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        Self {
            method: parts.method,
            path: parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            content_type: parts.headers.get(header::CONTENT_TYPE).cloned().unwrap_or(form),
            body: to_bytes(body, usize::MAX).await.unwrap(),
        }
    }
}

/// The server behind it.
#[derive(Clone)]
pub(crate) struct Upstream {
    url: String,
    client: reqwest::Client,
}

impl Upstream {
    pub(crate) fn new(url: &str) -> Self {
        kubecost_worker::service::http::install_tls();
        Self { url: url.to_owned(), client: reqwest::Client::new() }
    }

    pub(crate) async fn ask(&self, question: &Question) -> (StatusCode, Bytes) {
        let address = format!("{}{}", self.url, question.path);
        let asked = self.client.request(question.method.clone(), address);
        let asked = asked.header(header::CONTENT_TYPE, &question.content_type);
        let answer = asked.body(question.body.clone()).send().await.unwrap();
        (answer.status(), answer.bytes().await.unwrap())
    }
}

/// Listens on a port of its own; ends with the program. Returns its address.
pub(crate) async fn listen(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}
