//! Statements to the ClickHouse that holds `expenses`: reads that show all that was written, and
//! inserts that are stored when they are acknowledged.
//!
//! What belongs here: what every statement needs. What does not: which statements there are
//! (`clickhouse`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clickhouse::query::Query;
use clickhouse::{Client, Row};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::service::failure::{Failure, Hop, Kind};
use crate::service::tls::{self, Tls};
use crate::settings::worker::CloudTunerConfig;
use crate::stores::WRITE_TIMEOUT;

use super::clickhouse_failure::{clickhouse_failure, code_of};
use super::clickhouse_settings::{Setting, StatementSettings, names};
use super::clickhouse_topology::{BEHIND_CODE, LocalTable, Topology, is_collapsing};
use super::visible::ReadBack;

/// The table.
pub const TABLE: &str = "expenses";
/// How long one statement that reads may take.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(120);
/// How often a read is sent again when the connection breaks: behind a Service another server may
/// answer.
const RECONNECTS_MAX: u32 = 2;
/// How often a read is sent while replicas were behind a moment ago.
const LOOKS_WHILE_BEHIND: u32 = 4;
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

#[derive(Row, Deserialize)]
struct SettingRow {
    name: String,
    value: String,
}

#[derive(Row, Deserialize)]
struct EngineRow {
    database: String,
    engine: String,
    engine_full: String,
}

/// What is learned of the server once, before the first statement that needs it.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) settings: StatementSettings,
    pub(super) topology: Topology,
    /// Why the table's engine does not fit, if so: then nothing of the table is read or written.
    pub(super) unfit_engine: Option<String>,
}

/// The way to the server.
#[derive(Clone)]
pub(super) struct Connection {
    client: Client,
    pub(super) address: String,
    server: Arc<OnceCell<Server>>,
    /// Whether the last read was given up: then the next ones, of other accounts mostly, do not wait
    /// as long again.
    is_behind: Arc<AtomicBool>,
}

/// A client for the settings; nothing is sent yet.
#[must_use]
pub fn client(config: &CloudTunerConfig) -> Client {
    let user = config.clickhouse.credentials().map(|(user, _)| user.as_str());
    over(tls::of_process())
        .with_url(config.clickhouse.redacted())
        .with_database(&config.clickhouse_database)
        .with_user(user.unwrap_or(&config.clickhouse_user))
        .with_password(config.clickhouse_password.expose())
        .with_validation(false)
}

/// A client like the library's own, which takes no certificates.
fn over(tls: &Tls) -> Client {
    const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
    /// The server closes idle connections after three.
    const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
    let mut tcp = HttpConnector::new();
    tcp.set_keepalive(Some(TCP_KEEPALIVE));
    tcp.enforce_http(false);
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls.config())
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .build(connector);
    Client::with_http_client(http)
}

impl Connection {
    pub(super) fn new(config: &CloudTunerConfig) -> Self {
        let address = config.clickhouse.redacted().to_owned();
        Self { client: client(config), address, server: Arc::default(), is_behind: Arc::default() }
    }

    /// What is known of the server.
    pub(super) async fn server(&self) -> Result<&Server, Failure> {
        self.server.get_or_try_init(|| self.learn()).await
    }

    async fn learn(&self) -> Result<Server, Failure> {
        let names: Vec<String> = names().map(|name| format!("'{name}'")).collect();
        let sql =
            format!("SELECT name, value FROM system.settings WHERE name IN ({})", names.join(", "));
        let rows: Vec<SettingRow> = self.fetch("reading the settings", || self.query(&sql)).await?;
        let values: BTreeMap<_, _> = rows.into_iter().map(|row| (row.name, row.value)).collect();
        let settings = StatementSettings::of_server(&values);
        let query = || {
            let sql = "SELECT database, engine, engine_full FROM system.tables \
                       WHERE database = currentDatabase() AND name = ?";
            self.query(sql).bind(TABLE)
        };
        let tables: Vec<EngineRow> = self.fetch("reading the schema", query).await?;
        let table = tables.into_iter().next();
        let Some(EngineRow { database, engine, engine_full }) = table else {
            return Err(self.schema(format!("there is no table {TABLE}")));
        };
        let is_fit = engine == "Distributed" || is_collapsing(&engine);
        let unfit_engine =
            (!is_fit).then(|| format!("its engine is {engine}, not CollapsingMergeTree"));
        let own = LocalTable { database, name: TABLE.to_owned() };
        let topology = Topology::of_engine(own, &engine, &engine_full).ok_or_else(|| {
            self.schema(format!("table {TABLE}: its engine {engine_full} cannot be read"))
        })?;
        Ok(Server { settings, topology, unfit_engine })
    }

    /// What is known of the server, where its table may be read and written.
    async fn fit_server(&self) -> Result<&Server, Failure> {
        let server = self.server().await?;
        match &server.unfit_engine {
            None => Ok(server),
            Some(why) => Err(self.schema(format!("table {TABLE}: {why}"))),
        }
    }

    pub(super) fn query(&self, sql: &str) -> Query {
        self.client.query(sql)
    }

    /// Reads rows of [`TABLE`] that hold all that was written. `make` gets a client whose settings
    /// make reads whole, and a condition that the statement's `WHERE` must have.
    ///
    /// While servers answer that lack rows, the statement is sent again, up to about 20 seconds.
    pub(super) async fn read<T>(
        &self,
        what: &str,
        make: impl Fn(&Client, &str) -> Query,
    ) -> Result<Vec<T>, Failure>
    where
        T: clickhouse::RowOwned + clickhouse::RowRead,
    {
        let server = self.fit_server().await?;
        let client = with_settings(self.client.clone(), &server.settings.read);
        // In the client's statements a question mark stands for a value.
        let fresh = server.topology.freshness().map(|condition| condition.replace('?', "??"));
        let fresh = fresh.as_deref().unwrap_or("1");
        let waits = ReadBack::DEFAULT;
        let mut pause = waits.pause;
        let is_behind = self.is_behind.load(Ordering::Relaxed);
        for _ in 0..if is_behind { LOOKS_WHILE_BEHIND } else { waits.looks_max } {
            match self.fetch(what, || make(&client, fresh)).await {
                Err(failure) if failure.kind == Kind::NotVisible => {
                    tracing::debug!(%failure, "the replica is behind");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(waits.pause_max);
                }
                outcome => {
                    self.is_behind.store(false, Ordering::Relaxed);
                    return outcome;
                }
            }
        }
        self.is_behind.store(true, Ordering::Relaxed);
        Err(self.behind(what))
    }

    /// Sends a statement that only reads, again where the connection breaks.
    pub(super) async fn fetch<T>(
        &self,
        what: &str,
        make: impl Fn() -> Query,
    ) -> Result<Vec<T>, Failure>
    where
        T: clickhouse::RowOwned + clickhouse::RowRead,
    {
        let mut reconnects = 0;
        loop {
            let asked = tokio::time::timeout(STATEMENT_TIMEOUT, make().fetch_all::<T>()).await;
            let is_broken = matches!(asked, Ok(Err(clickhouse::error::Error::Network(_))));
            if !is_broken || reconnects == RECONNECTS_MAX {
                return self.outcome(what, STATEMENT_TIMEOUT, asked);
            }
            reconnects += 1;
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }

    /// Inserts rows as one block; never sent again. After [`WRITE_TIMEOUT`] its outcome is unknown:
    /// a lease outlives that, so that nobody else writes meanwhile.
    pub(super) async fn insert<T>(&self, rows: Vec<T>) -> Result<(), Failure>
    where
        T: clickhouse::RowOwned + clickhouse::RowWrite + Serialize,
    {
        if rows.is_empty() {
            return Ok(());
        }
        let client = with_settings(self.client.clone(), &self.fit_server().await?.settings.insert);
        let work = async {
            let mut insert = client
                .insert::<T>(TABLE)
                .await?
                .with_timeouts(Some(WRITE_TIMEOUT), Some(WRITE_TIMEOUT));
            for row in &rows {
                insert.write(row).await?;
            }
            insert.end().await
        };
        let asked = tokio::time::timeout(WRITE_TIMEOUT, work).await;
        self.outcome("inserting expenses", WRITE_TIMEOUT, asked)
    }

    /// Does several inserts within [`WRITE_TIMEOUT`] in all; those that have not begun by then never
    /// do.
    pub(super) async fn within_write_timeout(
        &self,
        inserts: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        let asked = tokio::time::timeout(WRITE_TIMEOUT, inserts).await;
        asked.unwrap_or_else(|elapsed| {
            self.outcome("inserting expenses", WRITE_TIMEOUT, Err(elapsed))
        })
    }

    /// Sees that the user may set what statements need. A user that may only read can be used for
    /// reading: its inserts fail with that reason.
    pub(super) async fn check_settings(&self) -> Result<(), Failure> {
        /// A read-only user, a constraint, a setting that a proxy does not know.
        const REFUSED: [&str; 3] = ["Code: 164", "Code: 452", "Code: 115"];
        let settings = &self.server().await?.settings;
        let of_inserts = settings.insert.iter().map(|setting| (setting, true));
        let of_reads = settings.read.iter().map(|setting| (setting, false));
        for ((name, value), is_of_inserts) in of_inserts.chain(of_reads) {
            let query = || self.query("SELECT 1").with_setting(*name, *value);
            let Err(failure) = self.fetch::<u8>("trying a setting", query).await else { continue };
            if is_of_inserts && failure.kind == Kind::ReadOnly {
                continue;
            }
            if !REFUSED.iter().any(|code| failure.what.contains(code)) {
                return Err(failure);
            }
            let what = format!(
                "the user of CLICKHOUSE_USER may not set {name} to {value}: {}",
                failure.what
            );
            let fix =
                format!("set {name} to {value} in the user's profile, or let the user change it");
            return Err(Failure::new(Hop::ClickHouse, Kind::Schema, what, fix));
        }
        Ok(())
    }

    fn outcome<T>(
        &self,
        what: &str,
        limit: Duration,
        asked: Result<clickhouse::error::Result<T>, tokio::time::error::Elapsed>,
    ) -> Result<T, Failure> {
        match asked {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if code_of(&error) == Some(BEHIND_CODE) => Err(self.behind(what)),
            Ok(Err(error)) => Err(clickhouse_failure(what, &self.address, &error)),
            Err(_) => Err(Failure::new(
                Hop::ClickHouse,
                Kind::Timeout,
                format!("{what} at {} took over {} s", self.address, limit.as_secs()),
                "see ClickHouse's load and the network between",
            )),
        }
    }

    fn behind(&self, what: &str) -> Failure {
        Failure::new(
            Hop::ClickHouse,
            Kind::NotVisible,
            format!(
                "{what} at {}: each replica that answered lacks inserts of others",
                self.address
            ),
            "see queue_size, last_queue_update and is_readonly in system.replicas, and whether all \
             replicas are up; the next run goes on",
        )
    }

    pub(super) fn schema(&self, what: String) -> Failure {
        let fix = "run kubecost-worker migrate; a column of another type must be changed by hand";
        Failure::new(Hop::ClickHouse, Kind::Schema, what, fix)
    }
}

fn with_settings(client: Client, settings: &[Setting]) -> Client {
    settings.iter().fold(client, |client, (name, value)| client.with_setting(*name, *value))
}
