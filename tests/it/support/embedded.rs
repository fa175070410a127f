//! A worker with the embedded store: quick, and everything in one file that a test may look into.

use std::path::PathBuf;

use rusqlite::Connection;
use tempfile::TempDir;

use super::worker::{Finished, run};

/// A SQLite file, and the settings that lead to it.
pub(crate) struct SqliteStore {
    /// The settings.
    pub(crate) settings: Vec<(&'static str, String)>,
    path: PathBuf,
    _directory: TempDir,
}

impl SqliteStore {
    /// A store of these accounts, with further settings.
    pub(crate) fn new(accounts: &[&str], more: &[(&'static str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.sqlite");
        let mut settings =
            vec![("STORE", format!("sqlite:{}", path.display())), ("ACCOUNTS", accounts.join(","))];
        settings.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        Self { settings, path, _directory: directory }
    }

    /// Runs the worker.
    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        run(&self.settings, arguments)
    }

    /// The file itself.
    pub(crate) fn open(&self) -> Connection {
        Connection::open(&self.path).unwrap()
    }

    /// One text of the store.
    pub(crate) fn text(&self, sql: &str) -> String {
        self.open().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Somebody else has the lease of an account from now on.
    pub(crate) fn hold_lease(&self, account: &str) {
        let sql = "INSERT OR REPLACE INTO kubecost_lease (account, holder, token, expires_at) \
                   VALUES (?1, 'run x on another host', 99, 4102444800)";
        self.open().execute(sql, [account]).unwrap();
    }
}
