//! Four ClickHouse servers in one container (`tests/servers/clickhouse-cluster`), and a proxy that
//! spreads requests over some of them, as a Kubernetes Service does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use clickhouse::Client;
use testcontainers::core::{ExecCommand, IntoContainerPort};
use testcontainers::runners::SyncRunner;
use testcontainers::{Container, GenericImage, ImageExt};
use tokio::sync::watch;

use super::servers::{image, ready, root};

/// Where the container has the program that starts and ends its servers.
const PROGRAM: &str = "/usr/local/bin/cluster";
/// The HTTP ports of the servers 1 to 4.
const PORTS: [u16; 4] = [8121, 8122, 8123, 8124];

/// The cluster; it is gone when this is dropped.
pub(crate) struct Cluster {
    container: Option<Container<GenericImage>>,
    urls: Vec<String>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Removing a container blocks, which async threads must not.
        if let Some(container) = self.container.take() {
            let removed = std::thread::spawn(move || drop(container)).join();
            assert!(removed.is_ok() || std::thread::panicking(), "a container was not removed");
        }
    }
}

impl Cluster {
    /// Starts all four servers, whose users have the settings of `profile` (XML).
    pub(crate) fn start(profile: &'static str) -> Self {
        // testcontainers asks over HTTP whether a container is ready.
        kubecost_worker::service::http::install_tls();
        let program =
            std::fs::read(root().join("tests/servers/clickhouse-cluster/cluster")).unwrap();
        let started = std::thread::spawn(move || {
            let image = PORTS.iter().fold(image("CLICKHOUSE_CLUSTER_IMAGE"), |image, port| {
                image.with_exposed_port(port.tcp()).with_wait_for(ready("/ping", *port))
            });
            let container = image
                .with_entrypoint("bash")
                .with_cmd([PROGRAM, "run"])
                .with_user("root")
                .with_env_var("CLUSTER_PROFILE", profile)
                .with_copy_to(PROGRAM, program)
                .with_startup_timeout(std::time::Duration::from_secs(60))
                .start()
                .unwrap();
            let ports = PORTS.map(|port| container.get_host_port_ipv4(port.tcp()).unwrap());
            (container, ports)
        });
        let (container, ports) = started.join().expect("the cluster could not be started");
        let urls = ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
        Self { container: Some(container), urls }
    }

    /// The address of server `number`, 1 to 4.
    pub(crate) fn url(&self, number: usize) -> &str {
        &self.urls[number - 1]
    }

    /// A client of one server.
    pub(crate) fn client(&self, number: usize) -> Client {
        Client::default().with_url(self.url(number)).with_validation(false)
    }

    /// Runs a statement on one server.
    pub(crate) async fn execute(&self, number: usize, statement: &str) {
        self.client(number).query(statement).execute().await.unwrap();
    }

    /// Ends a server as a crash does.
    pub(crate) fn kill(&self, number: usize) {
        self.control("kill", number);
    }

    /// Starts a server that was killed; it answers some time later.
    pub(crate) fn revive(&self, number: usize) {
        self.control("start", number);
    }

    fn control(&self, word: &str, number: usize) {
        let container = self.container.as_ref().unwrap();
        let number = number.to_string();
        let done = std::thread::scope(|scope| {
            let command = ExecCommand::new(["bash", PROGRAM, word, &number]);
            let run = scope.spawn(move || {
                let mut result = container.exec(command).unwrap();
                let said = result.stderr_to_vec().unwrap();
                (result.exit_code().unwrap(), String::from_utf8_lossy(&said).into_owned())
            });
            run.join().unwrap()
        });
        assert_eq!(done.0.unwrap_or(0), 0, "{word} {number}: {}", done.1);
    }

    /// Waits until a server answers again.
    pub(crate) async fn answers(&self, number: usize) {
        for _ in 0..300 {
            if self.client(number).query("SELECT 1").fetch_one::<u8>().await.is_ok() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("server {number} does not answer");
    }
}

/// A proxy that sends each request to the next of its servers; one that refuses the connection is
/// passed over, as a Service does once it has noticed.
pub(crate) struct Service {
    pub(crate) url: String,
    used: Arc<Vec<AtomicUsize>>,
    inserts: watch::Receiver<usize>,
}

#[derive(Clone)]
struct Spread {
    inserts: Arc<watch::Sender<usize>>,
    servers: Arc<Vec<String>>,
    used: Arc<Vec<AtomicUsize>>,
    next: Arc<AtomicUsize>,
    client: reqwest::Client,
}

impl Service {
    /// In front of these servers of a cluster.
    pub(crate) async fn before(cluster: &Cluster, numbers: &[usize]) -> Self {
        let servers: Vec<String> = numbers.iter().map(|n| cluster.url(*n).to_owned()).collect();
        let used: Arc<Vec<AtomicUsize>> =
            Arc::new(servers.iter().map(|_| AtomicUsize::new(0)).collect());
        let (inserted, inserts) = watch::channel(0);
        let spread = Spread {
            inserts: Arc::new(inserted),
            servers: Arc::new(servers),
            used: Arc::clone(&used),
            next: Arc::default(),
            client: reqwest::Client::builder().no_gzip().pool_max_idle_per_host(0).build().unwrap(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = axum::Router::new().fallback(pass).with_state(spread);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, used, inserts }
    }

    /// How many inserts came so far.
    pub(crate) fn inserts(&self) -> usize {
        *self.inserts.borrow()
    }

    /// Waits until this many inserts have come, and before the last of them is passed on.
    pub(crate) async fn inserts_reach(&self, count: usize) {
        self.inserts.clone().wait_for(|inserts| *inserts >= count).await.unwrap();
    }

    /// How many requests went to each server.
    pub(crate) fn used(&self) -> Vec<usize> {
        self.used.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

async fn pass(State(spread): State<Spread>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return status(StatusCode::BAD_REQUEST);
    };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = parts.headers.clone();
    for hop_by_hop in ["host", "content-length", "transfer-encoding", "connection"] {
        headers.remove(hop_by_hop);
    }
    headers.insert("content-length", body.len().into());
    if parts.uri.query().is_some_and(|query| query.contains("query=INSERT")) {
        spread.inserts.send_modify(|inserts| *inserts += 1);
    }
    for _ in 0..spread.servers.len() {
        let index = spread.next.fetch_add(1, Ordering::Relaxed) % spread.servers.len();
        let url = format!("{}{path}", spread.servers[index]);
        let request = spread.client.request(parts.method.clone(), url).headers(headers.clone());
        match request.body(body.clone()).send().await {
            Err(error) if error.is_connect() => continue,
            // It was sent and not answered: the client must see that, as it would without a proxy.
            Err(_) => return status(StatusCode::BAD_GATEWAY),
            Ok(answer) => {
                spread.used[index].fetch_add(1, Ordering::Relaxed);
                return answered(answer).await;
            }
        }
    }
    status(StatusCode::SERVICE_UNAVAILABLE)
}

async fn answered(answer: reqwest::Response) -> Response<Body> {
    let mut reply = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if !["content-length", "transfer-encoding", "connection"].contains(&name.as_str()) {
            reply = reply.header(name, value);
        }
    }
    match answer.bytes().await {
        Ok(bytes) => reply.body(Body::from(bytes)).unwrap(),
        Err(_) => status(StatusCode::BAD_GATEWAY),
    }
}

fn status(status: StatusCode) -> Response<Body> {
    let mut reply = Response::new(Body::from("the proxy got no answer"));
    *reply.status_mut() = status;
    reply
}
