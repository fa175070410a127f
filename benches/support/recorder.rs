//! A proxy before the query layer that keeps what it is asked, and asks it again.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;

/// A question as it came.
#[derive(Clone)]
struct Question {
    method: Method,
    path: String,
    content_type: HeaderValue,
    body: Bytes,
}

/// The questions of a run.
#[derive(Clone)]
pub(crate) struct Recorder {
    upstream: String,
    client: reqwest::Client,
    questions: Arc<Mutex<Vec<Question>>>,
}

impl Recorder {
    pub(crate) fn new(upstream: &str) -> Self {
        kubecost_worker::service::http::install_tls();
        let client = reqwest::Client::builder().build().unwrap();
        Self { upstream: upstream.to_owned(), client, questions: Arc::default() }
    }

    /// Listens; ends with the program. Returns its address.
    pub(crate) async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(pass).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    pub(crate) fn count(&self) -> usize {
        self.questions.lock().unwrap().len()
    }

    /// Asks all of them again, `at_once` of them at a time. Returns how long that took and the replies.
    pub(crate) async fn ask_again(&self, at_once: usize) -> (Duration, Vec<Bytes>) {
        let questions = self.questions.lock().unwrap().clone();
        let started = Instant::now();
        let replies = futures_util::stream::iter(&questions).map(|question| self.ask(question));
        let replies: Vec<_> = replies.buffer_unordered(at_once).collect().await;
        (started.elapsed(), replies.into_iter().map(|(_, reply)| reply).collect())
    }

    async fn ask(&self, question: &Question) -> (reqwest::StatusCode, Bytes) {
        let address = format!("{}{}", self.upstream, question.path);
        let asked = self.client.request(question.method.clone(), address);
        let asked = asked.header(header::CONTENT_TYPE, &question.content_type);
        let answer = asked.body(question.body.clone()).send().await.unwrap();
        (answer.status(), answer.bytes().await.unwrap())
    }
}

async fn pass(State(recorder): State<Recorder>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    let question = Question {
        method: parts.method,
        path: parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        content_type: parts.headers.get(header::CONTENT_TYPE).cloned().unwrap_or(form),
        body: to_bytes(body, usize::MAX).await.unwrap(),
    };
    recorder.questions.lock().unwrap().push(question.clone());
    let (status, reply) = recorder.ask(&question).await;
    (status, [(header::CONTENT_TYPE, "application/json")], reply).into_response()
}
