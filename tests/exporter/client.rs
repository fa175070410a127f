//! Asking: paths, parameters, credentials, bounds, TLS, and failures that name themselves.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kubecost_worker::allocation_api::{
    AllocationClient, Asker, ClientOptions, Idle, Product, Request, Window,
};
use kubecost_worker::exporter::poller::Poller;
use kubecost_worker::service::failure::{Failure, Kind};
use kubecost_worker::service::tls::{self, Tls};
use kubecost_worker::settings::exporter_names::CA_FILE;
use kubecost_worker::settings::tls::{ClientTls, NamedFile};
use kubecost_worker::settings::worker::Auth;
use kubecost_worker::settings::{Endpoint, Secret};

use crate::support::{Answer, Server, exporter, fixture, scraped, served};

const EMPTY: &str = r#"{"code":200,"data":[{}]}"#;

fn options() -> ClientOptions {
    ClientOptions {
        asker: Asker::Exporter,
        auth: Auth::None,
        tls: tls::of_process().clone(),
        timeout: Duration::from_secs(5),
        attempts: 1,
        reply_bytes_max: 1 << 20,
        cluster: None,
    }
}

fn request(idle: Idle) -> Request {
    let window = Window { start: 1_795_190_400, end: 1_795_194_000 };
    Request {
        window,
        step_hours: Some(1),
        aggregate: "namespace",
        idle,
        is_idle_by_node: false,
        resolution: None,
    }
}

async fn ask(url: &str, mut options: ClientOptions) -> Result<Product, Failure> {
    let endpoint = Endpoint::parse(url).unwrap();
    if let Auth::None = options.auth {
        options.auth = Auth::in_address(&endpoint);
    }
    let client = AllocationClient::new(endpoint, options)?;
    client.allocations(&request(Idle::Separate)).await.map(|reply| reply.product)
}

#[tokio::test]
async fn both_products_are_found_wherever_they_serve() {
    // A Kubecost behind its frontend, a Kubecost's container, an OpenCost, its user interface
    // that forwards /model, and one that answers its page for what it does not know.
    let html = || Answer(200, "text/html", b"<!doctype html><title>OpenCost</title>".to_vec());
    let kubecost = || Answer::json(EMPTY);
    let opencost = || Answer::json(r#"{"code":200,"status":"success","data":[{}]}"#);
    let served = Server::start(move |seen| match seen.path.as_str() {
        "/a/model/allocation" => kubecost(),
        "/b/allocation" => kubecost(),
        "/c/allocation" => opencost(),
        "/d/model/allocation" => opencost(),
        "/e/allocation" => opencost(),
        path if path.starts_with("/e/") => html(),
        _ => Answer::not_found(),
    })
    .await;
    for (base, product) in [
        ("/a", Product::Kubecost),
        ("/a/model", Product::Kubecost),
        ("/b", Product::Kubecost),
        ("/c", Product::OpenCost),
        ("/d", Product::OpenCost),
        ("/e", Product::OpenCost),
    ] {
        let url = format!("{}{base}", served.url);
        assert_eq!(ask(&url, options()).await.unwrap(), product, "{base}");
    }
    let failure = ask(&format!("{}/f", served.url), options()).await.unwrap_err();
    assert_eq!(failure.kind, Kind::BadReply);
    assert!(failure.to_string().contains("404"), "{failure}");
}

#[tokio::test]
async fn the_path_is_remembered_and_found_anew_when_it_goes() {
    let moved = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let switch = std::sync::Arc::clone(&moved);
    let server = Server::start(move |seen| {
        let is_moved = switch.load(std::sync::atomic::Ordering::SeqCst);
        let path = if is_moved { "/model/allocation" } else { "/allocation" };
        if seen.path == path { Answer::json(EMPTY) } else { Answer::not_found() }
    })
    .await;
    let endpoint = Endpoint::parse(&server.url).unwrap();
    let client = AllocationClient::new(endpoint, options()).unwrap();
    for _ in 0..2 {
        client.allocations(&request(Idle::Separate)).await.unwrap();
    }
    moved.store(true, std::sync::atomic::Ordering::SeqCst);
    client.allocations(&request(Idle::Separate)).await.unwrap();
    let paths: Vec<_> = server.seen().into_iter().map(|seen| seen.path).collect();
    let (new, old) = ("/model/allocation", "/allocation");
    assert_eq!(paths, [new, old, old, old, new]);
}

#[tokio::test]
async fn credentials_are_sent_and_never_told() {
    let server = Server::start(|seen| match seen.authorization.as_deref() {
        Some("Basic bWU6aHVzaC1odXNo" | "Bearer hush-hush") => Answer::json(EMPTY),
        _ => Answer(401, "text/plain", b"who are you".to_vec()),
    })
    .await;
    let secret = || Secret::new("hush-hush");
    for auth in [Auth::Basic("me".to_owned(), secret()), Auth::Bearer(secret())] {
        ask(&server.url, ClientOptions { auth, ..options() }).await.unwrap();
    }
    let in_url = server.url.replace("http://", "http://me:hush-hush@");
    ask(&in_url, options()).await.unwrap();
    let wrong = server.url.replace("http://", "http://me:hush-wrong@");
    let failure = ask(&wrong, options()).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Denied);
    let nobody = in_url.replace(server.url.rsplit(':').next().unwrap(), "1");
    for failure in [failure, ask(&nobody, options()).await.unwrap_err()] {
        assert!(!format!("{failure} {failure:?}").contains("hush"), "{failure}");
    }
}

#[tokio::test]
async fn each_failure_says_what_it_is() {
    for (status, body, kind, part) in [
        (403, "", Kind::Denied, "403"),
        (429, "slow down", Kind::Overloaded, "slow down"),
        (500, r#"{"code":500,"message":"Error: no pods"}"#, Kind::Unavailable, "no pods"),
        (502, "<html>Bad Gateway</html>", Kind::Unavailable, "an HTML page"),
        (504, "<html>Time-out</html>", Kind::Timeout, "504"),
        (405, "Method Not Allowed", Kind::BadReply, "405"),
    ] {
        let server = Server::start(move |_| Answer(status, "text/plain", body.into())).await;
        let failure = ask(&server.url, options()).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.to_string().contains(part), "{failure}");
        assert!(failure.to_string().contains(&server.url), "{failure}");
    }
    let failure = ask("http://127.0.0.1:1", options()).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Unavailable);
    assert!(failure.to_string().contains("refused"), "{failure}");
}

#[tokio::test]
async fn what_may_pass_is_asked_again_and_what_will_not_is_not() {
    for (status, attempts) in [(500, 3), (429, 3), (401, 1), (400, 1)] {
        let server = Server::start(move |_| Answer(status, "text/plain", Vec::new())).await;
        let options = ClientOptions { attempts: 3, ..options() };
        ask(&server.url, options).await.unwrap_err();
        assert_eq!(server.seen().len(), attempts, "{status}");
    }
}

#[tokio::test]
async fn a_reply_that_is_too_large_is_refused_before_it_is_read() {
    let server = Server::start(|_| Answer::json(vec![b' '; 3 << 20])).await;
    let failure = ask(&server.url, options()).await.unwrap_err();
    assert_eq!(failure.kind, Kind::BadReply);
    assert!(failure.to_string().contains("more than 1048576 bytes"), "{failure}");
}

#[tokio::test]
async fn a_server_that_never_ends_its_answer_times_out() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let options = ClientOptions { timeout: Duration::from_millis(200), ..options() };
    let failure = ask(&url, options).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Timeout, "{failure}");
    holding.abort();
}

#[tokio::test]
async fn compressed_replies_are_read_and_bounded_by_their_true_size() {
    use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
    let bytes = std::fs::read(crate::support::fixture_path(
        "opencost-run/alloc/hour16-namespace-idle.json.gz",
    ))
    .unwrap();
    let headers = [(CONTENT_TYPE, "application/json"), (CONTENT_ENCODING, "gzip")];
    let router = axum::Router::new().fallback(move || async move { (headers, bytes) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    assert_eq!(ask(&url, options()).await.unwrap(), Product::OpenCost);
    let failure =
        ask(&url, ClientOptions { reply_bytes_max: 10_000, ..options() }).await.unwrap_err();
    assert!(failure.to_string().contains("more than 10000 bytes"), "{failure}");
}

async fn served_over_tls(poller: &Arc<Poller>, certificate: &Path, key: &Path) -> String {
    let files = [
        ("METRICS_TLS_CERT_FILE", certificate.to_str().unwrap()),
        ("METRICS_TLS_KEY_FILE", key.to_str().unwrap()),
    ];
    format!("https://{}", served(poller, &files).await.replace("127.0.0.1", "localhost"))
}

/// What a process has whose `CA_FILE` holds this.
fn trusting(pem: &str) -> Tls {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem).unwrap();
    let authorities = NamedFile { setting: CA_FILE, path: file.path().to_owned() };
    Tls::read(&ClientTls { authorities: Some(authorities), identity: None }).unwrap()
}

#[tokio::test]
async fn a_private_certificate_is_trusted_by_its_ca_file_only() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    // The exporter's own server speaks TLS; its index page is an answer, if no allocation.
    let (poller, _) = exporter("http://127.0.0.1:1", "2026-11-20T17:05:00Z", &[]);
    let url = served_over_tls(&poller, &certificate, &key).await;
    let known = ClientOptions { tls: trusting(&made.cert.pem()), ..options() };
    let failure = ask(&url, known).await.unwrap_err();
    assert!(failure.to_string().contains("HTTP 404"), "it was understood: {failure}");
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let unknown = ClientOptions { tls: trusting(&other.cert.pem()), ..options() };
    let failure = ask(&url, unknown).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Denied, "{failure}");
    let wanted = "the certificate is signed by an unknown authority: set CA_FILE";
    assert!(failure.to_string().contains(wanted), "{failure}");
}

#[tokio::test]
async fn a_renewed_certificate_is_served_without_a_restart() {
    let made = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let write = |made: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    };
    let (first, second) = (made(), made());
    write(&first);
    let (poller, _) = exporter("http://127.0.0.1:1", "2026-11-20T17:05:00Z", &[]);
    let url = served_over_tls(&poller, &certificate, &key).await;
    let trusting = |made: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        ask(&url, ClientOptions { tls: trusting(&made.cert.pem()), ..options() })
    };
    // An understood answer is a 404 of the exporter's own server.
    assert_eq!(trusting(&first).await.unwrap_err().kind, Kind::BadReply);
    // A half-written file leaves the certificate as it was.
    std::fs::write(&certificate, "half").unwrap();
    assert_eq!(trusting(&first).await.unwrap_err().kind, Kind::BadReply);
    write(&second);
    assert_eq!(trusting(&second).await.unwrap_err().kind, Kind::BadReply);
    // It is of an authority that those who trust the first do not know.
    assert_eq!(trusting(&first).await.unwrap_err().kind, Kind::Denied);
}

#[tokio::test]
async fn an_opencost_cannot_share_idle_evenly_and_it_is_said() {
    let server = Server::opencost(|_| {
        Answer::json(fixture("opencost-run/alloc/hour16-namespace-shareidle.json.gz"))
    })
    .await;
    let (poller, _) = exporter(&server.url, "2026-11-20T17:05:00Z", &[("SHARE_IDLE", "even")]);
    poller.poll().await;
    let shown = scraped(&poller);
    assert_eq!(shown["exporter_scrape_errors_total{reason=\"refused\"}"], 1.0);
    assert!(!shown.contains_key("cluster_total_cost"));
}

/// What is advised can be followed: each program is told of its own settings only.
#[tokio::test]
async fn each_asker_is_named_to_the_server_and_told_of_its_own_settings() {
    for (asker, agent, own, foreign) in [
        (Asker::Exporter, "kubecost-allocation-exporter/", "KUBECOST_TOKEN_FILE", "LEVELS"),
        (Asker::Worker, "kubecost-worker/", "KUBECOST_URL", "KUBECOST_TOKEN_FILE"),
    ] {
        let server = Server::start(|_| Answer(401, "text/plain", Vec::new())).await;
        let failure = ask(&server.url, ClientOptions { asker, ..options() }).await.unwrap_err();
        assert!(failure.fix.contains(own) && !failure.fix.contains(foreign), "{failure}");
        let seen = server.seen()[0].user_agent.clone();
        assert_eq!(seen, format!("{agent}{}", env!("CARGO_PKG_VERSION")));
        let large = Server::start(|_| Answer::json(vec![b' '; 3 << 20])).await;
        let failure = ask(&large.url, ClientOptions { asker, ..options() }).await.unwrap_err();
        assert_eq!(failure.fix.contains("MAX_REPLY_BYTES"), asker == Asker::Exporter, "{failure}");
    }
}
