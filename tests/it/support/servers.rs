//! Real servers, each started once while some test holds it.
//!
//! An address in `TEST_*_URL` wins; else a container of the image that `tests/servers/prepare`
//! chose. A container in a `static` would never be removed, so the statics here are weak.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use clickhouse::Client;
use kubecost_worker::settings::worker::CloudTunerConfig;
use kubecost_worker::settings::{Endpoint, Secret};
use testcontainers::core::wait::HttpWaitStrategy;
use testcontainers::core::{IntoContainerPort, Mount, WaitFor};
use testcontainers::runners::SyncRunner;
use testcontainers::{Container, GenericImage, ImageExt};

/// A server and its address; the container lives as long as this.
pub(crate) struct Server {
    /// `http://127.0.0.1:PORT` or `mongodb://127.0.0.1:PORT/`.
    pub(crate) url: String,
    container: Option<Container<GenericImage>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Removing a container blocks, which async threads must not.
        if let Some(container) = self.container.take() {
            let removed = std::thread::spawn(move || drop(container)).join();
            assert!(removed.is_ok() || std::thread::panicking(), "a container was not removed");
        }
    }
}

impl Server {
    /// The container's id, for stopping and starting it.
    pub(crate) fn container_id(&self) -> Option<&str> {
        self.container.as_ref().map(Container::id)
    }
}

/// The directory of this checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What `tests/servers/prepare` wrote.
fn prepared(name: &str) -> String {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_path_buf();
    let path = target.join("test-servers.env");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}: run `bash tests/servers/prepare` first", path.display())
    });
    let values: BTreeMap<_, _> = text.lines().filter_map(|line| line.split_once('=')).collect();
    values.get(name).unwrap_or_else(|| panic!("{} lacks {name}", path.display())).to_string()
}

/// `promtool` of this host.
pub(crate) fn promtool() -> PathBuf {
    PathBuf::from(prepared("PROMTOOL"))
}

pub(super) fn image(name: &str) -> GenericImage {
    let full = prepared(name);
    assert!(!full.is_empty(), "{name} is empty: run `bash tests/servers/prepare` again");
    let (image, tag) = full.rsplit_once(':').unwrap();
    GenericImage::new(image, tag)
}

pub(super) fn ready(path: &str, port: u16) -> WaitFor {
    WaitFor::http(
        HttpWaitStrategy::new(path).with_port(port.tcp()).with_expected_status_code(200u16),
    )
}

/// Starts a container off the async threads.
fn start(
    scheme: &str,
    port: u16,
    make: impl FnOnce() -> testcontainers::ContainerRequest<GenericImage> + Send + 'static,
) -> Server {
    // testcontainers asks over HTTP whether a container is ready.
    kubecost_worker::service::http::install_tls();
    let started = std::thread::spawn(move || {
        let container = make().with_startup_timeout(Duration::from_secs(60)).start().unwrap();
        let mapped = container.get_host_port_ipv4(port.tcp()).unwrap();
        (container, mapped)
    });
    let (container, mapped) = started.join().expect("a container could not be started");
    let slash = if scheme == "mongodb" { "/" } else { "" };
    Server { url: format!("{scheme}://127.0.0.1:{mapped}{slash}"), container: Some(container) }
}

fn shared(slot: &Mutex<Weak<Server>>, make: impl FnOnce() -> Server) -> Arc<Server> {
    let mut slot: MutexGuard<'_, Weak<Server>> =
        slot.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = slot.upgrade() {
        return server;
    }
    let server = Arc::new(make());
    *slot = Arc::downgrade(&server);
    server
}

fn given(variable: &str) -> Option<Server> {
    let url = std::env::var(variable).ok().filter(|url| !url.is_empty())?;
    Some(Server { url: url.trim_end_matches('/').to_owned(), container: None })
}

/// A ClickHouse whose `default` user has no password and whose `worker` has
/// `worker-test-password`.
pub(crate) fn clickhouse() -> Arc<Server> {
    static SLOT: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    shared(&SLOT, || given("TEST_CLICKHOUSE_URL").unwrap_or_else(own_clickhouse))
}

/// The newest ClickHouse, whose `default` user has no password.
pub(crate) fn newest_clickhouse() -> Arc<Server> {
    static SLOT: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    shared(&SLOT, || {
        given("TEST_CLICKHOUSE_NEWEST_URL")
            .unwrap_or_else(|| open_clickhouse("CLICKHOUSE_NEWEST_IMAGE"))
    })
}

/// The ClickHouse that is deployed; else why there is none here, as `tests/servers/prepare` said.
pub(crate) fn deployed_clickhouse() -> Result<Arc<Server>, String> {
    static SLOT: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    const ADDRESS: &str = "TEST_CLICKHOUSE_DEPLOYED_URL";
    let missing = prepared("CLICKHOUSE_DEPLOYED_MISSING");
    if given(ADDRESS).is_none() && !missing.is_empty() {
        return Err(missing);
    }
    let make = || given(ADDRESS).unwrap_or_else(|| open_clickhouse("CLICKHOUSE_DEPLOYED_IMAGE"));
    Ok(shared(&SLOT, make))
}

/// A ClickHouse with the users that its image has: `default` without a password.
fn open_clickhouse(name: &'static str) -> Server {
    start("http", 8123, move || {
        image(name)
            .with_exposed_port(8123.tcp())
            .with_wait_for(ready("/ping", 8123))
            .with_env_var("CLICKHOUSE_SKIP_USER_SETUP", "1")
    })
}

/// Where a ClickHouse has the users of [`clickhouse_users`].
pub(crate) const CLICKHOUSE_USERS: &str = "/etc/clickhouse-server/users.d/worker.xml";

/// The settings of the user `worker`.
pub(crate) fn clickhouse_users() -> String {
    std::fs::read_to_string(root().join("tests/servers/clickhouse/users.xml")).unwrap()
}

/// A ClickHouse of one test alone, to stop and start.
pub(crate) fn own_clickhouse() -> Server {
    clickhouse_with(clickhouse_users())
}

/// A ClickHouse of one test alone with these users.
pub(crate) fn clickhouse_with(users: String) -> Server {
    start("http", 8123, || {
        image("CLICKHOUSE_IMAGE")
            .with_exposed_port(8123.tcp())
            .with_wait_for(ready("/ping", 8123))
            .with_env_var("CLICKHOUSE_SKIP_USER_SETUP", "1")
            .with_copy_to(CLICKHOUSE_USERS, users.into_bytes())
    })
}

/// A ClickHouse whose disk has no more than `size` (as `48m`), in memory.
pub(crate) fn small_clickhouse(size: &'static str) -> Server {
    start("http", 8123, move || {
        image("CLICKHOUSE_IMAGE")
            .with_exposed_port(8123.tcp())
            .with_wait_for(ready("/ping", 8123))
            .with_env_var("CLICKHOUSE_SKIP_USER_SETUP", "1")
            // The server wants to own its directory, and a tmpfs is root's.
            .with_user("root")
            .with_mount(Mount::tmpfs_mount("/var/lib/clickhouse").with_size(size))
    })
}

/// A MongoDB without users.
pub(crate) fn mongodb() -> Arc<Server> {
    static SLOT: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    shared(&SLOT, || given("TEST_MONGODB_URL").unwrap_or_else(own_mongodb))
}

/// A MongoDB of one test alone, to stop and start.
pub(crate) fn own_mongodb() -> Server {
    start("mongodb", 27017, || {
        image("MONGODB_IMAGE")
            .with_exposed_port(27017.tcp())
            .with_wait_for(WaitFor::message_on_stdout("Waiting for connections"))
            .into()
    })
}

/// A MongoDB that wants the user `root` with the password `root-test-password`.
pub(crate) fn mongodb_with_users() -> Server {
    start("mongodb", 27017, || {
        image("MONGODB_IMAGE")
            .with_exposed_port(27017.tcp())
            .with_wait_for(WaitFor::message_on_stdout("Waiting for connections"))
            .with_env_var("MONGO_INITDB_ROOT_USERNAME", "root")
            .with_env_var("MONGO_INITDB_ROOT_PASSWORD", "root-test-password")
    })
}

/// Which Prometheus: their subqueries treat the left bound differently.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PrometheusVersion {
    /// Closed ranges.
    Two,
    /// Left-open ranges.
    Three,
}

/// A Prometheus on a directory of blocks.
pub(crate) fn prometheus(version: PrometheusVersion, data: &Path) -> Server {
    prometheus_with(version, data, &[])
}

/// A Prometheus on a directory of blocks, with further arguments.
pub(crate) fn prometheus_with(version: PrometheusVersion, data: &Path, more: &[&str]) -> Server {
    let name = match version {
        PrometheusVersion::Two => "PROMETHEUS_IMAGE",
        PrometheusVersion::Three => "PROMETHEUS3_IMAGE",
    };
    let data = data.to_path_buf();
    let more: Vec<String> = more.iter().map(|argument| (*argument).to_owned()).collect();
    start("http", 9090, move || {
        let arguments = [
            "--config.file=/etc/prometheus/prometheus.yml",
            "--storage.tsdb.path=/prometheus",
            "--storage.tsdb.retention.time=20y",
            "--web.enable-remote-write-receiver",
            "--web.enable-lifecycle",
        ];
        image(name)
            .with_exposed_port(9090.tcp())
            .with_wait_for(ready("/-/ready", 9090))
            .with_user("root")
            .with_cmd(arguments.map(str::to_owned).into_iter().chain(more))
            .with_copy_to(
                "/etc/prometheus/prometheus.yml",
                root().join("tests/servers/prometheus/prometheus.yml"),
            )
            .with_copy_to("/prometheus", data)
    })
}

/// An address of this machine as containers see it.
fn from_container(url: &str) -> String {
    url.replace("127.0.0.1", "host.docker.internal")
}

/// Thanos' query-frontend before a PromQL server of this machine, with a results cache in memory.
pub(crate) fn query_frontend(downstream: &str) -> Server {
    const CACHE: &str = "type: IN-MEMORY\nconfig:\n  max_size: 64MB\n";
    let downstream = from_container(downstream);
    start("http", 10_902, move || {
        image("THANOS_IMAGE")
            .with_exposed_port(10_902.tcp())
            .with_wait_for(ready("/-/ready", 10_902))
            .with_host("host.docker.internal", testcontainers::core::Host::HostGateway)
            .with_cmd([
                "query-frontend".to_owned(),
                "--http-address=0.0.0.0:10902".to_owned(),
                format!("--query-frontend.downstream-url={downstream}"),
                format!("--query-range.response-cache-config={CACHE}"),
            ])
    })
}

/// A VictoriaMetrics that holds series, written in its text form.
pub(crate) async fn victoriametrics(series: String, more: &'static [&'static str]) -> Server {
    let server = start("http", 8_428, move || {
        image("VICTORIAMETRICS_IMAGE")
            .with_exposed_port(8_428.tcp())
            .with_wait_for(ready("/health", 8_428))
            .with_cmd(
                [
                    "-storageDataPath=/storage",
                    "-retentionPeriod=100y",
                    "-search.latencyOffset=1s",
                    "-selfScrapeInterval=0s",
                ]
                .iter()
                .chain(more)
                .copied(),
            )
    });
    let client = reqwest::Client::builder().no_gzip().build().unwrap();
    let address = |path: &str| format!("{}{path}", server.url);
    let import = client.post(address("/api/v1/import/prometheus")).body(series);
    assert!(import.send().await.unwrap().status().is_success());
    let flush = client.get(address("/internal/force_flush")).send().await.unwrap();
    assert!(flush.status().is_success());
    server
}

/// Time passes: all leases of a MongoDB's database expire. Returns how many were held.
pub(crate) async fn expire_leases(url: &str, database: &str) -> u64 {
    let database = mongodb::Client::with_uri_str(url).await.unwrap().database(database);
    let leases = database.collection::<mongodb::bson::Document>("kubecost_lease");
    let held = mongodb::bson::doc! { "expires_at": { "$gt": 0 } };
    let over = mongodb::bson::doc! { "$set": { "expires_at": 0_i64 } };
    leases.update_many(held, over).await.unwrap().modified_count
}

/// A name that no other test has: for databases.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::new_v4().simple())
}

/// The two stores, with databases of a test's own.
pub(crate) struct Stores {
    /// The ClickHouse, mostly the shared one.
    pub(crate) clickhouse: Arc<Server>,
    /// The shared MongoDB.
    pub(crate) mongodb: Arc<Server>,
    /// The databases' name in both.
    pub(crate) database: String,
}

impl Stores {
    /// Both servers and an empty ClickHouse database.
    pub(crate) async fn new(prefix: &str) -> Self {
        Self::on(clickhouse(), prefix).await
    }

    /// The same with another ClickHouse than the shared one.
    pub(crate) async fn on(clickhouse: Arc<Server>, prefix: &str) -> Self {
        let stores = Self { clickhouse, mongodb: mongodb(), database: unique(prefix) };
        stores.create_database().await;
        stores
    }

    /// Creates the test's ClickHouse database.
    pub(crate) async fn create_database(&self) {
        let client = Client::default().with_url(&self.clickhouse.url).with_validation(false);
        let statement = format!("CREATE DATABASE {}", self.database);
        client.query(&statement).execute().await.unwrap();
    }

    /// A client for the test's ClickHouse database.
    pub(crate) fn client(&self) -> Client {
        Client::default()
            .with_url(&self.clickhouse.url)
            .with_database(&self.database)
            .with_validation(false)
    }

    /// The test's MongoDB database.
    pub(crate) async fn mongo(&self) -> mongodb::Database {
        mongodb::Client::with_uri_str(&self.mongodb.url).await.unwrap().database(&self.database)
    }

    /// The settings that lead to these stores.
    pub(crate) fn config(&self) -> CloudTunerConfig {
        CloudTunerConfig {
            mongo_url: Secret::new(self.mongodb.url.clone()),
            mongo_database: self.database.clone(),
            resources_collection: Some("cloud_resource".to_owned()),
            clickhouse: Endpoint::parse(&self.clickhouse.url).unwrap(),
            clickhouse_database: self.database.clone(),
            clickhouse_user: "default".to_owned(),
            clickhouse_password: Secret::new(""),
        }
    }

    /// Time passes: all leases expire. Returns how many were held.
    pub(crate) async fn expire_leases(&self) -> u64 {
        expire_leases(&self.mongodb.url, &self.database).await
    }

    /// Settings of the worker's environment that lead to these stores.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("MONGO_URL", self.mongodb.url.clone()),
            ("MONGO_DATABASE", self.database.clone()),
            ("CLICKHOUSE_URL", self.clickhouse.url.clone()),
            ("CLICKHOUSE_DATABASE", self.database.clone()),
        ]
    }

    /// Runs a statement in the test's ClickHouse database.
    pub(crate) async fn execute(&self, statement: &str) {
        self.client().query(statement).execute().await.unwrap();
    }

    /// Creates `expenses` with all columns, as the parameters say.
    pub(crate) async fn create_expenses(&self, sort_order: &str, partition: &str) {
        self.execute(&format!(
            "CREATE TABLE expenses (cloud_account_id String, resource_id String, date DateTime, \
             cost Float64, sign Int8, k8s_namespace Nullable(String), k8s_node Nullable(String), \
             k8s_service Nullable(String)) ENGINE = CollapsingMergeTree(sign) {partition} \
             ORDER BY {sort_order}"
        ))
        .await;
    }
}
