//! The embedded store: one SQLite file in the place of MongoDB and ClickHouse, for trying the job
//! without servers.
//!
//! What belongs here: the file, its schema, and running work on it. What does not: what the tables
//! mean, which `documents::sqlite`, `ledger::sqlite` and their like know. Tables and columns
//! have the names that the servers' collections and tables have, for people with a `sqlite3` shell.
//!
//! Several processes may use one file: writes run in immediate transactions, so each sees what the
//! others have written, and waits for [`BUSY_TIMEOUT`] at most.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, Row, Transaction, TransactionBehavior};

use crate::service::failure::{Failure, Hop, Kind, excerpt};

/// How long a write waits for another process' write.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// What marks a file as this program's, in SQLite's `application_id`: "kcwk".
const APPLICATION_ID: i32 = 0x6b63_776b;
/// The form of the tables, in SQLite's `user_version`.
const SCHEMA_VERSION: i32 = 2;

const SCHEMA: &str = "
CREATE TABLE cloud_resource (
    _id               TEXT PRIMARY KEY NOT NULL,
    cloud_resource_id TEXT NOT NULL,
    cloud_account_id  TEXT NOT NULL,
    name              TEXT NOT NULL,
    resource_type     TEXT NOT NULL,
    k8s_namespace     TEXT,
    k8s_node          TEXT,
    k8s_service       TEXT,
    pool_id           TEXT,
    employee_id       TEXT,
    first_seen        INTEGER NOT NULL, -- Unix seconds, as all times
    last_seen         INTEGER NOT NULL,
    _first_seen_date  TEXT NOT NULL,    -- 2026-11-20: a date, never a number
    _last_seen_date   TEXT NOT NULL,
    active            INTEGER NOT NULL,
    deleted_at        INTEGER NOT NULL,
    total_cost        REAL NOT NULL,    -- USD
    last_expense_date INTEGER,
    last_expense_cost REAL,
    rest              TEXT NOT NULL     -- JSON: the document's other fields
);
CREATE UNIQUE INDEX cloud_resource_unique
    ON cloud_resource (cloud_account_id, cloud_resource_id) WHERE deleted_at = 0;

CREATE TABLE expenses (
    cloud_account_id TEXT NOT NULL,
    resource_id      TEXT NOT NULL,     -- cloud_resource._id
    date             INTEGER NOT NULL,  -- Unix seconds of a midnight UTC
    cost             REAL NOT NULL,     -- USD
    sign             INTEGER NOT NULL CHECK (sign IN (-1, 1)),
    k8s_namespace    TEXT,
    k8s_node         TEXT,
    k8s_service      TEXT
);
CREATE INDEX expenses_by_date ON expenses (cloud_account_id, date, resource_id);
CREATE INDEX expenses_by_resource ON expenses (cloud_account_id, resource_id, date);

CREATE VIEW expenses_by_day AS
    SELECT cloud_account_id, date(date, 'unixepoch') AS day, k8s_namespace,
           SUM(cost * sign) AS cost
    FROM expenses GROUP BY cloud_account_id, date, k8s_namespace HAVING SUM(sign) > 0;

CREATE TABLE kubecost_account_day (
    account          TEXT NOT NULL,
    day              TEXT NOT NULL,     -- 2026-11-20
    state            TEXT NOT NULL,
    cause            TEXT NOT NULL,
    source_total_usd REAL NOT NULL,
    stored_total_usd REAL NOT NULL,
    settled          INTEGER NOT NULL,
    run_id           TEXT NOT NULL,
    updated_at       INTEGER NOT NULL,
    record           TEXT NOT NULL,     -- JSON: the whole record
    PRIMARY KEY (account, day)
);

CREATE TABLE kubecost_lease (
    account    TEXT PRIMARY KEY NOT NULL,
    holder     TEXT NOT NULL,
    token      INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
);

CREATE TABLE kubecost_rate_journal (
    account      TEXT NOT NULL,
    slot_seconds INTEGER NOT NULL,
    phase        INTEGER NOT NULL,
    slot         TEXT NOT NULL,         -- JSON: the whole slot
    PRIMARY KEY (account, slot_seconds)
);
";

/// A SQLite file that is open. Clones share one connection.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    path: PathBuf,
    connection: Arc<Mutex<Connection>>,
}

impl SqliteStore {
    /// Opens the file at `path`, or makes it.
    ///
    /// # Errors
    /// When it cannot be opened or written, is no SQLite database, or is somebody else's.
    pub async fn open(path: &Path) -> Result<Self, Failure> {
        let path = path.to_owned();
        blocking(Hop::Worker, move || {
            let failure = |error| sqlite_failure(Hop::Worker, &path, "opening it", &error);
            if let Some(failure) = unusable_path(&path) {
                return Err(failure);
            }
            let mut connection = Connection::open(&path).map_err(failure)?;
            configure(&connection).map_err(failure)?;
            let foreign = prepare(&mut connection).map_err(failure)?;
            if let Some(what) = foreign {
                let what = format!("the file {} {what}", path.display());
                let fix = "let STORE=sqlite:PATH name another file; a new one is made";
                return Err(Failure::new(Hop::Worker, Kind::Schema, what, fix));
            }
            Ok(Self { path: path.clone(), connection: Arc::new(Mutex::new(connection)) })
        })
        .await
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs reading work on a thread that may block. `hop` is the server in whose place the file
    /// stands, and `what` says what is being done, as "reading documents".
    ///
    /// # Errors
    /// What [`sqlite_failure`] makes of the work's error.
    pub async fn read<T, W>(&self, hop: Hop, what: &'static str, work: W) -> Result<T, Failure>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let shared = self.clone();
        blocking(hop, move || {
            let connection = shared.connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&connection).map_err(|error| sqlite_failure(hop, &shared.path, what, &error))
        })
        .await
    }

    /// Runs writing work in one immediate transaction: all of it is stored, or nothing.
    ///
    /// # Errors
    /// What [`sqlite_failure`] makes of the work's error; nothing is stored then.
    pub async fn write<T, W>(&self, hop: Hop, what: &'static str, work: W) -> Result<T, Failure>
    where
        T: Send + 'static,
        W: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let shared = self.clone();
        blocking(hop, move || {
            let mut connection = shared.connection.lock().unwrap_or_else(PoisonError::into_inner);
            let done = connection.transaction_with_behavior(TransactionBehavior::Immediate);
            done.and_then(|transaction| {
                let answer = work(&transaction)?;
                transaction.commit()?;
                Ok(answer)
            })
            .map_err(|error| sqlite_failure(hop, &shared.path, what, &error))
        })
        .await
    }

    /// Sees that the file can be read and still has these tables and indexes.
    ///
    /// # Errors
    /// When one is missing; it is named.
    pub async fn check(&self, hop: Hop, names: &'static [&'static str]) -> Result<(), Failure> {
        let missing = self
            .read(hop, "reading its schema", move |connection| {
                let mut query =
                    connection.prepare("SELECT COUNT(*) FROM sqlite_master WHERE name = ?1")?;
                for name in names {
                    if query.query_row([name], |row| row.get::<_, i64>(0))? == 0 {
                        return Ok(Some(*name));
                    }
                }
                Ok(None)
            })
            .await?;
        let Some(name) = missing else { return Ok(()) };
        let what = format!("the file {} lacks {name}", self.path.display());
        let fix = "let STORE=sqlite:PATH name another file; a new one is made";
        Err(Failure::new(hop, Kind::Schema, what, fix))
    }
}

/// A list of texts as a parameter for `IN (SELECT value FROM json_each(?))`.
#[must_use]
pub fn json_list(texts: &[String]) -> String {
    serde_json::Value::from(texts).to_string()
}

/// Turns an error in stored JSON, or in making it, into one of the column that holds it.
#[must_use]
pub fn json_error(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
}

async fn blocking<T, W>(hop: Hop, work: W) -> Result<T, Failure>
where
    T: Send + 'static,
    W: FnOnce() -> Result<T, Failure> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        let what = "work on the embedded store ended without an answer";
        Err(Failure::new(hop, Kind::Internal, what, "run again; if it stays, report it"))
    })
}

/// What is wrong with the path itself: SQLite only says that it cannot open it.
fn unusable_path(path: &Path) -> Option<Failure> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let what = if path.is_dir() {
        format!("{} is a directory, not a file", path.display())
    } else if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
        format!("the directory {} does not exist", directory.display())
    } else {
        return None;
    };
    let fix = "let STORE=sqlite:PATH name a file in a directory that exists";
    Some(Failure::new(Hop::Worker, Kind::Unavailable, what, fix))
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let mode = connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()));
    match mode {
        // Another process is at the same thing, and the mode is the file's, not the connection's.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(()),
        other => other,
    }
}

/// Brings a file of version 0.1.0 up: dates were numbers, and a pod's `meta` had other keys.
const FROM_VERSION_1: &str = "
UPDATE cloud_resource SET
    _first_seen_date = date(first_seen, 'unixepoch'),
    _last_seen_date = date(last_seen, 'unixepoch'),
    rest = json_remove(json_set(rest, '$.k8s_cluster', json_extract(rest, '$.meta.cluster')),
        '$.cluster_id', '$.cluster_type_id', '$.is_environment');
UPDATE cloud_resource SET
    rest = json_set(rest, '$.meta', json_object('name', json_extract(rest, '$.meta.pod'),
        'k8s_cluster', json_extract(rest, '$.meta.cluster'),
        'k8s_namespace', json_extract(rest, '$.meta.namespace')))
WHERE resource_type = 'K8s Pod';";

/// Makes the schema in a new file, or brings an older one up. Says what is wrong with a file that is somebody else's. The
/// immediate transaction also finds out whether the file can be written at all.
fn prepare(connection: &mut Connection) -> rusqlite::Result<Option<String>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let number = |pragma| transaction.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let (application_id, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 =
        transaction.query_row("SELECT COUNT(*) FROM sqlite_master", [], |row| row.get(0))?;
    if application_id == APPLICATION_ID && version == SCHEMA_VERSION {
        return Ok(None);
    }
    if application_id == APPLICATION_ID && version == 1 {
        transaction.execute_batch(FROM_VERSION_1)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        transaction.commit()?;
        return Ok(None);
    }
    if application_id == APPLICATION_ID {
        let what = format!("has form {version}, and this program knows form {SCHEMA_VERSION}");
        return Ok(Some(what));
    }
    if application_id != 0 || tables != 0 {
        return Ok(Some("is a SQLite database of something else".to_owned()));
    }
    transaction.execute_batch(SCHEMA)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.commit()?;
    Ok(None)
}

/// What an error of SQLite means: `what` says what was being done.
#[must_use]
pub fn sqlite_failure(hop: Hop, path: &Path, what: &str, error: &rusqlite::Error) -> Failure {
    let (kind, fix) = match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen) => {
            (Kind::Unavailable, "check that the file and its directory may be read and written")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            (Kind::Denied, "make the file and its directory writable for this user")
        }
        Some(ErrorCode::DiskFull) => (Kind::Unavailable, "free space on the disk"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (Kind::Conflict, "another process holds the file; end it, or run again later")
        }
        Some(ErrorCode::NotADatabase) => {
            (Kind::Schema, "let STORE=sqlite:PATH name another file; a new one is made")
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            (Kind::BadData, "the file is damaged: restore it, or move it away and run again")
        }
        Some(ErrorCode::SystemIoFailure) => (Kind::Unavailable, "check the disk"),
        Some(ErrorCode::ConstraintViolation) => {
            (Kind::Conflict, "another writer was at the same rows; run again")
        }
        _ if matches!(error, rusqlite::Error::FromSqlConversionFailure(..)) => {
            (Kind::BadData, "the row was changed by something else: correct or delete it")
        }
        _ => (Kind::Schema, "let STORE=sqlite:PATH name another file; a new one is made"),
    };
    let cause = excerpt(&error.to_string());
    Failure::new(hop, kind, format!("the file {}: {what}: {cause}", path.display()), fix)
}

/// The first column's JSON as a value.
///
/// # Errors
/// When the JSON was damaged.
pub fn parsed<T: serde::de::DeserializeOwned>(row: &Row<'_>) -> rusqlite::Result<T> {
    serde_json::from_str(&row.get::<_, String>(0)?).map_err(json_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refusal(path: &Path) -> Failure {
        SqliteStore::open(path).await.unwrap_err()
    }

    fn touched(path: &Path, sql: &str) {
        Connection::open(path).unwrap().execute_batch(sql).unwrap();
    }

    #[tokio::test]
    async fn a_path_that_can_hold_no_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let failure = refusal(&directory.path().join("missing/costs.sqlite")).await;
        assert_eq!((failure.hop, failure.kind), (Hop::Worker, Kind::Unavailable));
        assert!(failure.what.contains("missing does not exist"), "{failure}");
        let failure = refusal(directory.path()).await;
        assert!(failure.what.contains("is a directory"), "{failure}");
        assert!(failure.fix.contains("STORE"), "{failure}");
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes.txt");
        let text = "not a database, but long enough to be looked at ".repeat(40);
        std::fs::write(&path, &text).unwrap();
        let failure = refusal(&path).await;
        assert_eq!(failure.kind, Kind::Schema, "{failure}");
        assert!(failure.what.contains("notes.txt"), "{failure}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }

    #[tokio::test]
    async fn a_database_of_something_else_or_of_a_later_version_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let theirs = directory.path().join("theirs.sqlite");
        touched(&theirs, "CREATE TABLE photos (name TEXT)");
        assert!(refusal(&theirs).await.what.contains("something else"));
        let later = directory.path().join("later.sqlite");
        SqliteStore::open(&later).await.unwrap();
        touched(&later, "PRAGMA user_version = 99");
        assert!(refusal(&later).await.what.contains("form 2"));
    }

    #[tokio::test]
    async fn what_cannot_be_written_whole_is_not_written_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("costs.sqlite")).await.unwrap();
        let insert = |transaction: &Transaction<'_>| {
            let sql = "INSERT INTO kubecost_lease VALUES (?1, ?2, 1, 0)";
            for number in 0..1_000 {
                transaction.execute(sql, (number.to_string(), "x".repeat(1_000)))?;
            }
            Ok(())
        };
        let limit = |connection: &Connection| connection.pragma_update(None, "max_page_count", 40);
        store.read(Hop::MongoDb, "limiting the file", limit).await.unwrap();
        let failure = store.write(Hop::MongoDb, "writing leases", insert).await.unwrap_err();
        assert_eq!((failure.hop, failure.kind), (Hop::MongoDb, Kind::Unavailable), "{failure}");
        assert!(failure.what.contains("writing leases"), "{failure}");
        assert!(failure.fix.contains("space"), "{failure}");
        let count = "SELECT COUNT(*) FROM kubecost_lease";
        let rows = store
            .read(Hop::MongoDb, "counting", |c| c.query_row(count, [], |row| row.get::<_, i64>(0)));
        assert_eq!(rows.await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_file_opened_read_only_is_denied() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("costs.sqlite")).await.unwrap();
        let deny = |connection: &Connection| connection.pragma_update(None, "query_only", true);
        store.read(Hop::ClickHouse, "closing the file to writes", deny).await.unwrap();
        let write = store.write(Hop::ClickHouse, "writing rows", |transaction| {
            transaction.execute("DELETE FROM expenses", [])
        });
        let failure = write.await.unwrap_err();
        assert_eq!((failure.hop, failure.kind), (Hop::ClickHouse, Kind::Denied), "{failure}");
    }

    #[tokio::test]
    async fn a_table_that_was_dropped_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("costs.sqlite");
        let store = SqliteStore::open(&path).await.unwrap();
        store.check(Hop::ClickHouse, &["expenses"]).await.unwrap();
        touched(&path, "DROP TABLE expenses");
        let failure = store.check(Hop::ClickHouse, &["expenses"]).await.unwrap_err();
        assert_eq!(failure.kind, Kind::Schema);
        assert!(failure.what.contains("lacks expenses"), "{failure}");
    }
}
