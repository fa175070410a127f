//! The contracts on the embedded store, and what only a file can be asked: that two connections,
//! and two processes, share it safely.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kubecost_worker::day_status::sqlite::SqliteDayStatus;
use kubecost_worker::documents::ResourceDocument;
use kubecost_worker::documents::sqlite::SqliteResources;
use kubecost_worker::lease::sqlite::SqliteLeases;
use kubecost_worker::lease::{Acquired, Leases};
use kubecost_worker::ledger::memory::StoredRow;
use kubecost_worker::ledger::sqlite::SqliteLedger;
use kubecost_worker::ledger::{Dimensions, Entry, LedgerReader, LedgerWriter};
use kubecost_worker::rate_journal::sqlite::SqliteJournal;
use kubecost_worker::stores::sqlite::SqliteStore;
use tempfile::TempDir;

use crate::contract::leases::{StoreClock, leases_contract, leases_race_contract};
use crate::contract::ledger::{RawLedgerAccess, expense_ledger_contract};
use crate::contract::records::{day_status_contract, rate_journal_contract};
use crate::contract::resources::{RawDocumentAccess, resource_store_contract};
use crate::contract::{account, day};

/// The setting through which a child process learns the file.
const CHILD_FILE: &str = "CONTRACT_TEST_LEASE_FILE";

struct File {
    _directory: TempDir,
    path: PathBuf,
}

impl File {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("costs.sqlite");
        Self { _directory: directory, path }
    }

    async fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.path).await.unwrap()
    }
}

struct DocumentsRawAccess<'a> {
    documents: SqliteResources,
    path: &'a Path,
}

#[async_trait]
impl RawDocumentAccess for DocumentsRawAccess<'_> {
    async fn put(&self, document: ResourceDocument) {
        self.documents.put_document(&document).await.unwrap();
    }

    async fn get(&self, id: &str) -> Option<ResourceDocument> {
        self.documents.document(id).await.unwrap()
    }

    async fn put_meta(&self, id: &str, meta: serde_json::Value) {
        let connection = rusqlite::Connection::open(self.path).unwrap();
        let sql = "UPDATE cloud_resource SET rest = json_set(rest, '$.meta', json(?2)) \
                   WHERE _id = ?1";
        connection.execute(sql, (id, meta.to_string())).unwrap();
    }
}

struct RowsRawAccess<'a>(&'a Path);

#[async_trait]
impl RawLedgerAccess for RowsRawAccess<'_> {
    async fn insert_raw(&self, rows: Vec<StoredRow>) {
        let connection = rusqlite::Connection::open(self.0).unwrap();
        for row in rows {
            let sql = "INSERT INTO expenses (cloud_account_id, resource_id, date, cost, sign) \
                       VALUES (?1, ?2, ?3, ?4, ?5)";
            let values =
                (row.account.as_str(), row.resource_id, row.date_seconds, row.cost_usd, row.sign);
            connection.execute(sql, values).unwrap();
        }
    }

    async fn hold_merges(&self, _is_held: bool) {
        // This ledger has no parts, and merges none.
    }

    async fn merge(&self) -> bool {
        false
    }
}

/// Time passes by turning back the ends of all leases.
struct LeasesOf<'a>(&'a Path);

#[async_trait]
impl StoreClock for LeasesOf<'_> {
    async fn pass(&self, seconds: i64) {
        let connection = rusqlite::Connection::open(self.0).unwrap();
        let back = "UPDATE kubecost_lease SET expires_at = expires_at - ?1";
        connection.execute(back, [seconds]).unwrap();
    }
}

#[tokio::test]
async fn resources_in_a_file_keep_the_contract() {
    let file = File::new();
    let store = SqliteResources::new(file.open().await);
    let documents = SqliteResources::new(file.open().await);
    let raw = DocumentsRawAccess { documents, path: &file.path };
    resource_store_contract(&store, &raw, "t").await;
}

#[tokio::test]
async fn the_ledger_in_a_file_keeps_the_contract() {
    let file = File::new();
    let ledger = SqliteLedger::new(file.open().await);
    expense_ledger_contract(&ledger, &RowsRawAccess(&file.path), "t").await;
}

#[tokio::test]
async fn records_in_a_file_keep_the_contract() {
    let file = File::new();
    let store = file.open().await;
    day_status_contract(&SqliteDayStatus::new(store.clone()), "t").await;
    leases_contract(&SqliteLeases::new(store.clone()), &LeasesOf(&file.path), "t").await;
    rate_journal_contract(&SqliteJournal::new(store), "t").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_connections_to_a_new_file_one_gets_the_lease() {
    let file = File::new();
    let mut opened = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let path = file.path.clone();
        opened.spawn(async move { SqliteStore::open(&path).await.unwrap() });
    }
    let stores = opened.join_all().await;
    let contenders =
        stores.into_iter().map(|store| Arc::new(SqliteLeases::new(store)) as Arc<dyn Leases>);
    leases_race_contract(contenders.collect(), &LeasesOf(&file.path), "t").await;
}

/// What each child process does: says that it is ready, waits for a word, takes the lease.
#[tokio::test]
async fn child_process_takes_a_lease_when_told_to() {
    let Ok(path) = std::env::var(CHILD_FILE) else { return };
    let records = SqliteLeases::new(SqliteStore::open(Path::new(&path)).await.unwrap());
    println!("\nready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let holder = std::process::id().to_string();
    let (asked, length) = ([account("t", "processes")], Duration::from_secs(3_600));
    for answer in records.acquire(&asked, &holder, length).await.unwrap() {
        match answer {
            Acquired::Granted(lease) => println!("\ngranted {}", lease.holder),
            Acquired::HeldBy { lease, .. } => println!("\nheld {}", lease.holder),
        }
    }
}

#[test]
fn of_many_processes_one_gets_the_lease() {
    let file = File::new();
    let mut children: Vec<_> = (0..4)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "sqlite::child_process_takes_a_lease_when_told_to"])
                .args(["--nocapture", "--test-threads=1"])
                .env(CHILD_FILE, &file.path)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut answers: Vec<_> = children
        .iter_mut()
        .map(|child| BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap))
        .collect();
    for lines in &mut answers {
        assert!(lines.any(|line| line == "ready"));
    }
    for child in &mut children {
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }
    let mut outcomes: Vec<(String, String)> = answers
        .iter_mut()
        .map(|lines| {
            let line = lines.find(|line| line.starts_with("granted") || line.starts_with("held"));
            let line = line.unwrap();
            let (outcome, holder) = line.split_once(' ').unwrap();
            (outcome.to_owned(), holder.to_owned())
        })
        .collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    outcomes.sort();
    let [granted, held @ ..] = outcomes.as_slice() else { panic!("no outcome") };
    assert_eq!(granted.0, "granted");
    assert!(held.iter().all(|other| other.0 == "held" && other.1 == granted.1), "{outcomes:?}");
}

#[tokio::test]
async fn rows_of_an_append_that_failed_midway_are_not_there() {
    let file = File::new();
    let ledger = SqliteLedger::new(file.open().await);
    let entry = |sign| Entry {
        resource_id: "x".into(),
        date_seconds: day().start_seconds(),
        cost_usd: 1.0,
        sign,
        dimensions: Dimensions::default(),
    };
    let ours = account("t", "midway");
    ledger.append(&ours, day(), &[entry(1), entry(2)]).await.unwrap_err();
    assert_eq!(ledger.states(&ours, day()).await.unwrap(), []);
}

#[tokio::test]
async fn what_is_stored_is_there_when_the_file_is_opened_again() {
    let file = File::new();
    let entries = [Entry {
        resource_id: "x".into(),
        date_seconds: day().start_seconds(),
        cost_usd: 1.5,
        sign: 1,
        dimensions: Dimensions { namespace: Some("shop".into()), ..Dimensions::default() },
    }];
    let ours = account("t", "again");
    SqliteLedger::new(file.open().await).append(&ours, day(), &entries).await.unwrap();
    let states = SqliteLedger::new(file.open().await).states(&ours, day()).await.unwrap();
    assert_eq!(states.len(), 1);
    let shell = rusqlite::Connection::open(&file.path).unwrap();
    let shown: (String, String, f64) = shell
        .query_row("SELECT day, k8s_namespace, cost FROM expenses_by_day", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    assert_eq!(shown, ("2026-11-20".into(), "shop".into(), 1.5));
}
