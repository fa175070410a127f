//! What a first run of a large account costs beside the least that its parts can cost.
//!
//! `cargo bench --bench floors` makes a day of history in a real Prometheus and has the worker write
//! it to empty stores, once through a proxy that keeps its questions, once directly. Then it does the
//! parts alone, on the same data and servers: the same questions, whose replies nobody reads; a parse
//! of these replies to values that are thrown away; the same rows by this program's own ledger, and by
//! one plain insert in ClickHouse's own format; the same documents by this program's own store, and by
//! plain `insert` commands of 1 000 documents; and new costs of all documents, by this program's own
//! store and by plain `update` commands. Each write is done `TIMES` (3) and the fastest counts.
//! `PODS` (25 000) sets the size; `WORKER` names another build of the program.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench prints its table and fails by panicking"
)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt;
use kubecost_worker::cost::{AccountId, Day};
use kubecost_worker::documents::mongo::MongoResources;
use kubecost_worker::documents::{
    Change, CostSummary, DocumentWriter, LastExpense, NewDocument, PartsUpdate, bson_form,
};
use kubecost_worker::ledger::clickhouse::ClickHouseLedger;
use kubecost_worker::ledger::{Entry, LedgerReader, LedgerWriter};
use mongodb::bson::{Document, doc};

#[path = "support/large_day.rs"]
mod large_day;
#[path = "support/recorder.rs"]
mod recorder;
#[path = "../tests/it/support/servers.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod servers;
mod support;
#[path = "support/upstream.rs"]
mod upstream;
#[path = "../tests/it/support/worker.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod worker;

use large_day::{RUN, START, migrated, pods, prometheus};
use recorder::Recorder;
use servers::Stores;
use support::{ACCOUNT, NAMESPACES, measure, number};

/// Questions that are asked at once: as many as the worker has under way by default.
const AT_ONCE: usize = 4;
/// Documents, or updates, of a plain command.
const DOCUMENTS: usize = 1_000;

#[tokio::main]
async fn main() {
    let data = tempfile::tempdir().unwrap();
    let prometheus = prometheus(data.path());
    let recorder = Recorder::new(&prometheus.url);
    first_run(&recorder.listen().await).await;
    let (stores, done) = first_run(&prometheus.url).await;
    println!("A first run had {:.0} MiB at most.\n", done.peak_mib);
    println!("| {} pods, {NAMESPACES} namespaces, one day | s |\n|---|--:|", pods());
    println!("| a first run, whole | {:.2} |", done.seconds);
    println!("| its own CPU | {:.2} |", done.cpu_seconds);

    let (asked, replies) = recorder.ask_again(AT_ONCE).await;
    let bytes: usize = replies.iter().map(Bytes::len).sum();
    let mib = bytes as f64 / f64::from(1 << 20);
    put(&format!("its {} questions alone, {AT_ONCE} at a time", recorder.count()), asked);
    put(&format!("a parse of the {mib:.1} MiB of replies to values"), parse(&replies));

    let ledger = rows(&stores).await;
    let (inserts, updates) = documents(&stores).await;
    let greatest = asked.max(ledger.own).max(inserts.own).as_secs_f64();
    println!("\n| what | measured | goal |\n|---|--:|--:|");
    println!(
        "| a first run beside the longest of its parts | {:.2} | 1.5 |",
        done.seconds / greatest
    );
    println!("| speed of the ledger's write beside its floor | {:.2} | 0.7 |", ledger.speed());
    println!("| speed of the documents' inserts beside theirs | {:.2} | 0.7 |", inserts.speed());
    println!("| speed of their updates beside theirs | {:.2} | 0.7 |", updates.speed());
}

fn put(what: &str, took: Duration) {
    println!("| {what} | {:.2} |", took.as_secs_f64());
}

/// Stores that are empty, and ready for a worker.
async fn empty_stores() -> Stores {
    let stores = Stores::new("floors").await;
    worker::run(&stores.settings(), &["migrate"]).expect_success();
    stores
}

/// A run on empty stores.
async fn first_run(prometheus_url: &str) -> (Stores, support::Measured) {
    let stores = Stores::new("floors").await;
    let done = measure(&migrated(&stores, prometheus_url), &RUN);
    assert_eq!(done.summary["exit_code"], 0, "{}", done.summary);
    (stores, done)
}

/// Parses each reply to a tree of values and throws it away.
fn parse(replies: &[Bytes]) -> Duration {
    let started = Instant::now();
    // Pages that a Prometheus does not have, such as Thanos' list of stores, are text.
    for reply in replies.iter().filter(|reply| reply.starts_with(b"{")) {
        let value: serde_json::Value = serde_json::from_slice(reply).unwrap();
        assert!(value.is_object());
    }
    started.elapsed()
}

/// A write by this program, and the least that it can take.
struct Write {
    own: Duration,
    floor: Duration,
}

impl Write {
    fn none() -> Self {
        Self { own: Duration::MAX, floor: Duration::MAX }
    }

    fn speed(&self) -> f64 {
        self.floor.as_secs_f64() / self.own.as_secs_f64()
    }
}

/// The rows of a run, written again: by this program's ledger, and in one insert.
async fn rows(stores: &Stores) -> Write {
    let (account, day) = (AccountId::new(ACCOUNT).unwrap(), Day::of_unix(START));
    let states = ClickHouseLedger::new(&stores.config()).states(&account, day).await.unwrap();
    let entries: Vec<Entry> = states.into_iter().map(entry).collect();
    let native = native_rows(stores).await;
    let mut write = Write::none();
    for _ in 0..number("TIMES", 3) {
        let empty = empty_stores().await;
        let ledger = ClickHouseLedger::new(&empty.config());
        ledger.check().await.unwrap();
        let started = Instant::now();
        ledger.append(&account, day, &entries).await.unwrap();
        write.own = write.own.min(started.elapsed());

        let empty = empty_stores().await;
        let started = Instant::now();
        insert_native(&empty, native.clone()).await;
        write.floor = write.floor.min(started.elapsed());
        let count = "SELECT count() FROM expenses";
        let written = empty.client().query(count).fetch_one::<u64>().await.unwrap();
        assert_eq!(written, entries.len() as u64);
    }
    put(&format!("its {} rows by its own ledger", entries.len()), write.own);
    put("the same by one insert", write.floor);
    write
}

fn entry(state: kubecost_worker::ledger::KeyState) -> Entry {
    Entry {
        resource_id: state.resource_id,
        date_seconds: state.date_seconds,
        cost_usd: state.cost_usd,
        sign: 1,
        dimensions: state.dimensions,
    }
}

/// All rows in the format that servers send each other: nothing is left to parse.
async fn native_rows(stores: &Stores) -> Bytes {
    let asked = post(stores).body("SELECT * FROM expenses FORMAT Native");
    asked.send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap()
}

async fn insert_native(stores: &Stores, rows: Bytes) {
    let asked = post(stores).query(&[("query", "INSERT INTO expenses FORMAT Native")]);
    asked.body(rows).send().await.unwrap().error_for_status().unwrap();
}

fn post(stores: &Stores) -> reqwest::RequestBuilder {
    let asked = reqwest::Client::new().post(&stores.clickhouse.url);
    asked.query(&[("database", stores.database.as_str())])
}

/// The documents of a run, written again and given other costs: by this program's store, and by plain
/// commands.
async fn documents(stores: &Stores) -> (Write, Write) {
    let account = AccountId::new(ACCOUNT).unwrap();
    let found = stores.mongo().await.collection::<Document>("cloud_resource");
    let found: Vec<Document> = found.find(doc! {}).await.unwrap().try_collect().await.unwrap();
    let new = |document: &Document| {
        let document = bson_form::from_bson(document.clone()).unwrap();
        Change::Insert(Box::new(NewDocument { document, costs: None }))
    };
    let changes: Vec<Change> = found.iter().map(new).collect();
    let costs: Vec<CostSummary> = found.iter().map(other_costs).collect();
    let (mut inserts, mut updates) = (Write::none(), Write::none());
    for _ in 0..number("TIMES", 3) {
        let empty = empty_stores().await;
        let store = MongoResources::new(empty.mongo().await, "cloud_resource");
        let started = Instant::now();
        let written = store.apply(&account, &changes).await.unwrap();
        inserts.own = inserts.own.min(started.elapsed());
        assert_eq!(written.inserted, found.len() as u64);
        let started = Instant::now();
        let changed = store.set_costs(&account, &costs).await.unwrap();
        updates.own = updates.own.min(started.elapsed());
        assert_eq!(changed, found.len() as u64);

        let empty = empty_stores().await.mongo().await;
        let started = Instant::now();
        for documents in found.chunks(DOCUMENTS) {
            plain(&empty, doc! { "insert": "cloud_resource", "documents": documents }).await;
        }
        inserts.floor = inserts.floor.min(started.elapsed());
        let started = Instant::now();
        for costs in costs.chunks(DOCUMENTS) {
            let updates: Vec<Document> = costs.iter().map(plain_update).collect();
            plain(&empty, doc! { "update": "cloud_resource", "updates": updates }).await;
        }
        updates.floor = updates.floor.min(started.elapsed());
    }
    put(&format!("its {} documents by its own store", found.len()), inserts.own);
    put("the same by plain insert commands", inserts.floor);
    put("other costs of all of them by its own store", updates.own);
    put("the same by plain update commands", updates.floor);
    (inserts, updates)
}

fn other_costs(document: &Document) -> CostSummary {
    CostSummary {
        id: document.get_str("_id").unwrap().to_owned(),
        total_cost: 1.5,
        last_expense: Some(LastExpense { date: START, cost: 1.5 }),
        parts: PartsUpdate::Keep,
        document_update: None,
    }
}

fn plain_update(costs: &CostSummary) -> Document {
    let last = doc! { "date": START, "cost": costs.total_cost };
    let set = doc! { "$set": { "total_cost": costs.total_cost, "last_expense": last } };
    doc! { "q": { "_id": &costs.id }, "u": set }
}

/// Carries out a command, all of it.
async fn plain(database: &mongodb::Database, mut command: Document) {
    command.extend(doc! { "ordered": false, "writeConcern": { "w": "majority" } });
    let answer = database.run_command(command).await.unwrap();
    assert!(!answer.contains_key("writeErrors"), "{answer}");
}
