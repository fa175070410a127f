//! A private certificate authority at each hop: trusted where `CA_FILE` names it, and named as the
//! cause where it does not. Servers that ask for a client certificate get that of
//! `CLIENT_CERT_FILE`.

use std::path::PathBuf;

use axum::response::Response;
use tempfile::TempDir;

use crate::support::bench::{ACCOUNT, Bench, DAY, Settings};
use crate::support::fake_prometheus;
use crate::support::http::{Asked, FakeServer, json, reply};
use crate::support::tls_proxy::{Authority, TlsProxy};
use crate::support::worker::{Finished, run};

/// The hops, by the setting of each one's address.
const HOPS: [&str; 5] =
    ["PROMETHEUS_URL", "MONGO_URL", "CLICKHOUSE_URL", "REST_URL", "METRICS_PUSHGATEWAY_URL"];

/// Servers without TLS, and an authority that `CA_FILE` names.
struct World {
    bench: Bench,
    prometheus: FakeServer,
    rest: FakeServer,
    gateway: FakeServer,
    known: Authority,
    /// Of the client certificates that servers ask for.
    clients: Authority,
    directory: TempDir,
}

fn rest(asked: &Asked) -> Response {
    match asked.path.as_str() {
        "/restapi/v2/organizations" => json(r#"{"organizations":[{"id":"o","deleted_at":0}]}"#),
        path if path.ends_with("/cloud_accounts") => json(format!(
            r#"{{"cloud_accounts":[{{"id":"{ACCOUNT}","name":"A","type":"kubernetes_cnr"}}]}}"#
        )),
        _ => reply(404, "text/plain", "no such page"),
    }
}

impl World {
    async fn start(name: &str) -> Self {
        let known = Authority::new();
        let directory = tempfile::tempdir().unwrap();
        known.write(&directory.path().join("ca.pem"));
        Self {
            bench: Bench::new(name).await,
            prometheus: fake_prometheus::start(|_| None).await,
            rest: FakeServer::start(rest).await,
            gateway: FakeServer::start(|_| reply(200, "text/plain", "")).await,
            known,
            clients: Authority::new(),
            directory,
        }
    }

    fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// TLS before each server, at one hop by an authority that nobody knows; those of `asking` want
    /// a client certificate. Returns the settings and how each hop is reached.
    async fn over_tls(
        &self,
        unknown_at: Option<&str>,
        asking: &[&str],
    ) -> (Settings, Vec<TlsProxy>) {
        let plain = self.bench.settings(&self.prometheus.url);
        let of = |name: &str| {
            let found = plain.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let mut settings: Settings = plain.clone();
        let mut proxies = Vec::new();
        let unknown = Authority::new();
        for hop in HOPS {
            let url = match hop {
                "REST_URL" => self.rest.url.clone(),
                "METRICS_PUSHGATEWAY_URL" => self.gateway.url.clone(),
                name => of(name),
            };
            let authority = if unknown_at == Some(hop) { &unknown } else { &self.known };
            let clients = asking.contains(&hop).then_some(&self.clients);
            let proxy = TlsProxy::before(&url, authority, clients).await;
            settings.push((
                hop,
                match hop {
                    "MONGO_URL" => {
                        format!("mongodb://{}/?tls=true&directConnection=true", proxy.address)
                    }
                    _ => format!("https://{}", proxy.address),
                },
            ));
            proxies.push(proxy);
        }
        settings.push(("ACCOUNTS", "rest".to_owned()));
        settings.push(("CLUSTER_SECRET", "the-cluster-secret".to_owned()));
        settings.push(("CA_FILE", self.ca_file().to_str().unwrap().to_owned()));
        (settings, proxies)
    }

    /// Settings for one of the other query layers, that is reached over TLS.
    fn of_layer(&self, layer: &str, url: &'static str, proxy: &TlsProxy) -> Settings {
        let mut settings = self.bench.settings("http://localhost");
        settings.extend([
            ("QUERY_LAYER", layer.to_owned()),
            (url, format!("https://{}", proxy.address)),
            ("CLUSTER_SECRET", "the-cluster-secret".to_owned()),
            ("CA_FILE", self.ca_file().to_str().unwrap().to_owned()),
        ]);
        settings
    }
}

/// The other query layers, and the setting of each one's address.
const OTHER_LAYERS: [(&str, &str); 2] =
    [("metroculus", "METROCULUS_URL"), ("allocation-api", "KUBECOST_URL")];

fn names_the_certificate(finished: &Finished, hop: &str) {
    let text = format!("{}\n{}", finished.stdout, finished.stderr);
    let cause = "the certificate is signed by an unknown authority: set CA_FILE";
    assert!(text.contains(cause), "{hop}: {text}");
    assert!(!text.contains("panicked"), "{hop}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_is_trusted_at_each_hop_where_ca_file_names_it() {
    let world = World::start("authorities").await;
    let (mut settings, proxies) = world.over_tls(None, &[]).await;
    run(&settings, &DAY).expect_success();
    assert_eq!(world.bench.stored().await, (2, 2));
    for (hop, proxy) in HOPS.iter().zip(&proxies) {
        assert!(proxy.trusted() > 0, "{hop} was not reached over TLS");
    }
    // Without the setting no hop is trusted: the first that is asked names the cause.
    settings.retain(|(name, _)| *name != "CA_FILE");
    let refused = run(&settings, &DAY);
    assert_eq!(refused.code, 3, "{}", refused.stdout);
    names_the_certificate(&refused, "without CA_FILE");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authority_at_one_hop_is_named_as_the_cause() {
    let world = World::start("other_authority").await;
    for (hop, name, code) in [
        ("PROMETHEUS_URL", "query layer", 3),
        ("MONGO_URL", "mongodb", 3),
        ("CLICKHOUSE_URL", "clickhouse", 3),
        ("REST_URL", "rest api", 3),
        // Metrics that cannot be left cost no dollar.
        ("METRICS_PUSHGATEWAY_URL", "METRICS_PUSHGATEWAY_URL", 0),
    ] {
        let (settings, proxies) = world.over_tls(Some(hop), &[]).await;
        let finished = run(&settings, &DAY);
        assert_eq!(finished.code, code, "{hop}: {}\n{}", finished.stdout, finished.stderr);
        names_the_certificate(&finished, hop);
        let text = format!("{}\n{}", finished.stdout, finished.stderr);
        assert!(text.contains(name), "{hop}: {text}");
        let index = HOPS.iter().position(|one| *one == hop).unwrap();
        assert_eq!(proxies[index].trusted(), 0, "{hop} was trusted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_query_layers_trust_the_authority_of_ca_file_too() {
    let world = World::start("layer_authority").await;
    for (layer, url) in OTHER_LAYERS {
        for is_known in [true, false] {
            let server = FakeServer::start(|_| reply(404, "text/plain", "no such page")).await;
            let unknown = Authority::new();
            let authority = if is_known { &world.known } else { &unknown };
            let proxy = TlsProxy::before(&server.url, authority, None).await;
            let settings = world.of_layer(layer, url, &proxy);
            let finished = run(&settings, &DAY);
            assert_ne!(finished.code, 0, "{layer}: {}", finished.stdout);
            assert_eq!(!server.asked().is_empty(), is_known, "{layer}: {}", finished.stdout);
            if !is_known {
                names_the_certificate(&finished, layer);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_shown_at_each_hop_that_asks_for_one() {
    let world = World::start("client_certificates").await;
    let (mut settings, proxies) = world.over_tls(None, &HOPS).await;
    settings.extend(world.clients.client(world.directory.path()));
    run(&settings, &DAY).expect_success();
    assert_eq!(world.bench.stored().await, (2, 2));
    for (hop, proxy) in HOPS.iter().zip(&proxies) {
        assert!(proxy.trusted() > 0, "{hop} was not reached with the certificate");
    }
    // One of another authority is no better than none.
    let stranger = tempfile::tempdir().unwrap();
    settings.extend(Authority::new().client(stranger.path()));
    let refused = run(&settings, &DAY);
    assert_eq!(refused.code, 3, "{}", refused.stdout);
    let text = format!("{}\n{}", refused.stdout, refused.stderr);
    assert!(text.contains("the server refuses the client certificate"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_client_certificate_a_hop_that_asks_for_one_serves_nothing() {
    let world = World::start("no_client_certificate").await;
    for hop in HOPS {
        let (settings, proxies) = world.over_tls(None, &[hop]).await;
        let finished = run(&settings, &DAY);
        // Metrics that cannot be left cost no dollar.
        let code = if hop == "METRICS_PUSHGATEWAY_URL" { 0 } else { 3 };
        assert_eq!(finished.code, code, "{hop}: {}\n{}", finished.stdout, finished.stderr);
        let index = HOPS.iter().position(|one| *one == hop).unwrap();
        assert_eq!(proxies[index].trusted(), 0, "{hop} was served");
        let text = format!("{}\n{}", finished.stdout, finished.stderr);
        // Over TLS 1.3 a server refuses after the handshake, and its words may be lost.
        let causes = ["the server asks for a client certificate", "was closed at once"];
        assert!(causes.iter().any(|cause| text.contains(cause)), "{hop}: {text}");
        assert!(text.contains("CLIENT_CERT_FILE"), "{hop}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_query_layers_are_shown_the_client_certificate_too() {
    let world = World::start("layer_certificates").await;
    for (layer, url) in OTHER_LAYERS {
        for has_certificate in [true, false] {
            let server = FakeServer::start(|_| reply(404, "text/plain", "no such page")).await;
            let proxy = TlsProxy::before(&server.url, &world.known, Some(&world.clients)).await;
            let mut settings = world.of_layer(layer, url, &proxy);
            if has_certificate {
                settings.extend(world.clients.client(world.directory.path()));
            }
            let finished = run(&settings, &DAY);
            assert_ne!(finished.code, 0, "{layer}: {}", finished.stdout);
            assert_eq!(!server.asked().is_empty(), has_certificate, "{layer}: {}", finished.stdout);
        }
    }
}
