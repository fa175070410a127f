//! Clients that take what they can get, on loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::settings::worker_names::METRICS_ADDR;

/// No step of a test takes so long, however slow the machine.
const FOREVER: Duration = Duration::from_secs(60);

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

async fn serve(limits: Limits, router: Router) -> Running {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let serving = Serving { address, address_setting: METRICS_ADDR, tls: None };
    let server = Server::bind(&serving, Hop::Worker).await.unwrap().with_limits(limits);
    let address = server.address;
    let (stop, stopped) = oneshot::channel();
    let ended = tokio::spawn(server.run(router, async {
        // A test that drops the sender wants the server to go on.
        if stopped.await.is_err() {
            std::future::pending().await
        }
    }));
    Running { address, stop, ended }
}

#[test]
fn a_stop_is_over_long_before_a_pod_is_killed() {
    assert_eq!(Limits::DEFAULT.stop_timeout, Duration::from_secs(5));
}

fn pages() -> Router {
    Router::new().route("/", get(|| async { "here" }))
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// All that the server still sends; empty where it closes or resets the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(FOREVER, stream.read_to_end(&mut bytes)).await;
    // An error is a reset, which ends what was sent as well.
    let _ = read.expect("the server never ends the connection");
    String::from_utf8(bytes).unwrap()
}

async fn ask(address: SocketAddr) -> String {
    let mut stream = connect(address).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    rest(&mut stream).await
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_do_not_keep_others_from_an_answer() {
    let server = serve(Limits::DEFAULT, pages()).await;
    let mut half_open = Vec::new();
    for _ in 0..250 {
        let mut stream = connect(server.address).await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
        half_open.push(stream);
    }
    for _ in 0..10 {
        assert!(ask(server.address).await.ends_with("here"));
    }
    // The longest waiting gave way; all but the newest 64 are closed without any time passing.
    for stream in &mut half_open[..250 - Limits::DEFAULT.connections_max] {
        assert_eq!(rest(stream).await, "");
    }
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_its_connection() {
    let limits = Limits { header_timeout: Duration::from_millis(100), ..Limits::DEFAULT };
    let server = serve(limits, pages()).await;
    for sent in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\n"] {
        let mut stream = connect(server.address).await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        assert_eq!(rest(&mut stream).await, "", "after {sent:?}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let server = serve(Limits::DEFAULT, pages()).await;
    let head = |bytes: usize| {
        let line = "GET / HTTP/1.1\r\nConnection: close\r\nx: ";
        format!("{line}{}\r\n\r\n", "y".repeat(bytes - line.len() - 4))
    };
    for (bytes, status) in [(15 << 10, "200"), (17 << 10, "431"), (380_000, "431")] {
        let mut stream = connect(server.address).await;
        // The server answers before it has read all of it.
        let _ = stream.write_all(head(bytes).as_bytes()).await;
        let answer = rest(&mut stream).await;
        // What was not read makes the kernel reset the connection, which may take the answer along.
        let is_reset = answer.is_empty() && status != "200";
        assert!(is_reset || answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    let mut many = connect(server.address).await;
    let headers: String = (0..200).map(|n| format!("h{n}: 1\r\n")).collect();
    many.write_all(format!("GET / HTTP/1.1\r\n{headers}\r\n").as_bytes()).await.unwrap();
    assert!(rest(&mut many).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_cut_off() {
    const PAGE: usize = 64 << 20;
    let limits = Limits {
        connections_max: 1,
        header_timeout: Duration::from_millis(100),
        answer_timeout: Duration::from_millis(100),
        ..Limits::DEFAULT
    };
    let router = pages().route("/long", get(|| async { vec![b'x'; PAGE] }));
    let endless = get(|| async {
        Body::from_stream(futures_util::stream::repeat_with(|| {
            Ok::<_, Infallible>(vec![b'x'; 4096])
        }))
    });
    let server = serve(limits, router.route("/endless", endless)).await;
    for path in ["/long", "/endless"] {
        let mut stuck = connect(server.address).await;
        stuck.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
        // It is being answered once its first byte is there.
        stuck.read_u8().await.unwrap();
        let mut answer = String::new();
        for _ in 0..600 {
            answer = ask(server.address).await;
            if !answer.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(answer.ends_with("here"), "{path}: {answer}");
        assert!(rest(&mut stuck).await.len() < PAGE, "{path} was read after all");
    }
}

#[tokio::test]
async fn what_is_being_answered_is_not_cut_off_for_others() {
    let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let notes = (Arc::clone(&entered), Arc::clone(&go_on));
    let slow = get(move || async move {
        notes.0.notify_one();
        notes.1.notified().await;
        "done"
    });
    let limits = Limits { connections_max: 1, ..Limits::DEFAULT };
    let server = serve(limits, pages().route("/slow", slow)).await;
    let mut busy = connect(server.address).await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nConnection: close\r\n\r\n").await.unwrap();
    entered.notified().await;
    assert_eq!(ask(server.address).await, "");
    go_on.notify_one();
    assert!(rest(&mut busy).await.ends_with("done"));
}

#[tokio::test]
async fn a_stop_finishes_what_is_being_answered_and_closes_the_others() {
    let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let notes = (Arc::clone(&entered), Arc::clone(&go_on));
    let slow = get(move || async move {
        notes.0.notify_one();
        notes.1.notified().await;
        "done"
    });
    let server = serve(Limits::DEFAULT, pages().route("/slow", slow)).await;
    let mut idle = connect(server.address).await;
    idle.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut busy = connect(server.address).await;
    busy.write_all(b"GET /slow HTTP/1.1\r\n\r\n").await.unwrap();
    entered.notified().await;
    server.stop.send(()).unwrap();
    assert!(rest(&mut idle).await.ends_with("here"));
    go_on.notify_one();
    assert!(rest(&mut busy).await.ends_with("done"));
    tokio::time::timeout(FOREVER, server.ended).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_client_for_ever() {
    let limits = Limits { stop_timeout: Duration::from_millis(50), ..Limits::DEFAULT };
    let never = get(std::future::pending::<String>);
    let server = serve(limits, pages().route("/never", never)).await;
    let mut stuck = connect(server.address).await;
    stuck.write_all(b"GET /never HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(ask(server.address).await.ends_with("here"));
    server.stop.send(()).unwrap();
    tokio::time::timeout(FOREVER, server.ended).await.unwrap().unwrap();
    assert_eq!(rest(&mut stuck).await, "");
}
