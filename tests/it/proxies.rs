//! The proxy of the environment at an HTTP hop: used, gone around, down, and asking for a password.
//! Where it is at fault it is named, without its credentials.

use crate::support::bench::{Bench, DAY, ended, with};
use crate::support::fake_prometheus;
use crate::support::http::{FakeServer, reply};
use crate::support::worker::{Finished, run};

/// A name that no resolver knows, so only a proxy reaches it.
const FAR: &str = "http://thanos.invalid:9090";
const FAR_TLS: &str = "https://thanos.invalid";
/// Nothing listens there.
const DOWN: &str = "http://user:hunter2@127.0.0.1:9";

fn asked(bench: &Bench, url: &str, proxies: &[(&'static str, &str)]) -> Finished {
    run(&with(&bench.settings(url), proxies), &DAY)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_used_unless_no_proxy_names_the_server() {
    let bench = Bench::new("proxies").await;
    // It answers whatever host it is asked for, as a proxy does.
    let prometheus = fake_prometheus::start(|_| None).await;
    asked(&bench, FAR, &[("HTTP_PROXY", &prometheus.url)]).expect_success();
    assert_eq!(bench.stored().await, (2, 2));
    let count = prometheus.asked().len();
    assert!(count > 0);
    let around = [("HTTP_PROXY", DOWN), ("NO_PROXY", "localhost,127.0.0.1,.svc")];
    asked(&bench, &prometheus.url, &around).expect_success();
    assert!(prometheus.asked().len() > count);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_lets_nothing_through_is_named() {
    let bench = Bench::new("proxy_faults").await;
    let strict = FakeServer::start(|_| reply(407, "text/html", "<html>who are you?")).await;
    let address = strict.url.strip_prefix("http://").unwrap();
    let with_password = format!("http://user:hunter2@{address}");
    let wanted = format!("the proxy http://{address} asks for a user and a password (407)");
    let down = "through the proxy http://127.0.0.1:9: ";
    for (url, name, proxy, part) in [
        (FAR, "HTTP_PROXY", DOWN, down),
        (FAR_TLS, "HTTPS_PROXY", DOWN, down),
        (FAR, "HTTP_PROXY", &*with_password, &*wanted),
        (FAR_TLS, "HTTPS_PROXY", &*with_password, &*wanted),
    ] {
        let finished = asked(&bench, url, &[(name, proxy)]);
        ended(&finished, 3, &[part, "NO_PROXY"]);
        let text = format!("{}\n{}", finished.stdout, finished.stderr);
        assert!(!text.contains("hunter2"), "{text}");
    }
}
