//! Traces of the real program, as a receiver gets them. Built with the feature `otlp` alone:
//! `cargo test --features otlp --test traces`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use serde_json::Value;

/// The demo: two runs on stores of its own.
fn demo(endpoint: &str) -> Output {
    let room = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_kubecost-worker"))
        .arg("demo")
        .current_dir(room.path())
        .env_clear()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20not-to-be-logged")
        .output()
        .unwrap()
}

/// A span, as the test looks at it.
#[derive(Clone, Debug)]
struct Span {
    name: String,
    parent: String,
    is_timed: bool,
}

/// A receiver of OTLP by HTTP: its address, and the spans that it got, by id.
async fn receiver() -> (String, Arc<Mutex<BTreeMap<String, Span>>>) {
    let spans = Arc::new(Mutex::new(BTreeMap::new()));
    let got = Arc::clone(&spans);
    let take = move |body: Bytes| {
        let body: Value = serde_json::from_slice(&body).unwrap();
        let text = |span: &Value, key: &str| span[key].as_str().unwrap_or_default().to_owned();
        let nanoseconds = |span: &Value, key: &str| text(span, key).parse::<u64>().unwrap();
        for resource in body["resourceSpans"].as_array().unwrap() {
            let attributes = resource["resource"]["attributes"].to_string();
            assert!(attributes.contains("kubecost-worker"), "{attributes}");
            for scope in resource["scopeSpans"].as_array().unwrap() {
                for span in scope["spans"].as_array().unwrap() {
                    let (start, end) = (
                        nanoseconds(span, "startTimeUnixNano"),
                        nanoseconds(span, "endTimeUnixNano"),
                    );
                    let (name, parent) = (text(span, "name"), text(span, "parentSpanId"));
                    let one = Span { name, parent, is_timed: 0 < start && start <= end };
                    got.lock().unwrap().insert(text(span, "spanId"), one);
                }
            }
        }
        async { ([(CONTENT_TYPE, "application/json")], "{}") }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/traces", post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, spans)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_gets_the_steps_of_each_run_in_one_tree() {
    let (address, spans) = receiver().await;
    let done = tokio::task::spawn_blocking(move || demo(&address)).await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let spans = spans.lock().unwrap().clone();
    let parents_of = |name: &str| -> Vec<&str> {
        let of_name = spans.values().filter(|span| span.name == name);
        of_name.map(|span| spans.get(&span.parent).map_or("", |parent| &parent.name)).collect()
    };
    assert_eq!(parents_of("run"), [""; 4], "two accounts, each in a run and one more");
    for (name, parent) in [
        ("begin", "run"),
        ("account", "run"),
        ("lease", "account"),
        ("read state", "account"),
        ("day", "account"),
        ("read", "day"),
        ("decide", "day"),
        ("apply", "day"),
        ("documents", "apply"),
        ("rows", "apply"),
    ] {
        let found = parents_of(name);
        assert!(!found.is_empty(), "no span {name} among {spans:?}");
        assert!(found.iter().all(|one| *one == parent), "{name}: {found:?}");
    }
    assert!(spans.values().all(|span| span.is_timed), "{spans:?}");
}

#[test]
fn a_receiver_that_is_down_is_said_and_costs_nothing_else() {
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let done = demo(&address);
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{errors}");
    assert!(String::from_utf8_lossy(&done.stdout).contains("equal to the last bit"));
    assert!(!errors.contains("not-to-be-logged"), "{errors}");
}

#[test]
fn an_address_that_is_none_is_an_error_of_the_settings() {
    let done = demo("no address");
    let errors = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{errors}");
    assert!(errors.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{errors}");
}
