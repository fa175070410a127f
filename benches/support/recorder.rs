//! A proxy before the query layer that keeps what it is asked, and asks it again.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;

use crate::upstream::{Question, Upstream, listen};

/// The questions of a run.
#[derive(Clone)]
pub(crate) struct Recorder {
    upstream: Upstream,
    questions: Arc<Mutex<Vec<Question>>>,
}

impl Recorder {
    pub(crate) fn new(upstream: &str) -> Self {
        Self { upstream: Upstream::new(upstream), questions: Arc::default() }
    }

    /// Listens; ends with the program. Returns its address.
    pub(crate) async fn listen(&self) -> String {
        listen(axum::Router::new().fallback(pass).with_state(self.clone())).await
    }

    pub(crate) fn count(&self) -> usize {
        self.questions.lock().unwrap().len()
    }

    /// Asks all of them again, `at_once` of them at a time. Returns how long that took and the replies.
    pub(crate) async fn ask_again(&self, at_once: usize) -> (Duration, Vec<Bytes>) {
        let questions = self.questions.lock().unwrap().clone();
        let started = Instant::now();
        let replies = questions.iter().map(|question| self.upstream.ask(question));
        let replies = futures_util::stream::iter(replies).buffer_unordered(at_once);
        let replies: Vec<_> = replies.collect().await;
        (started.elapsed(), replies.into_iter().map(|(_, reply)| reply).collect())
    }
}

async fn pass(State(recorder): State<Recorder>, request: Request) -> Response {
    let question = Question::of(request).await;
    let (status, reply) = recorder.upstream.ask(&question).await;
    recorder.questions.lock().unwrap().push(question);
    (status, [(CONTENT_TYPE, "application/json")], reply).into_response()
}
