//! Random histories on the stores in memory: inputs change, runs fail and die at any call, replies
//! get lost, two workers race, leases expire, parts merge, coverage comes and goes.
//!
//! However a history went, after the source told all and two undisturbed runs passed, the stores
//! hold what they would hold had nothing else ever happened. `HISTORIES=100000` runs more of them,
//! `HISTORY=SEED` one alone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kubecost_worker::accounts::{AccountList, AccountSource};
use kubecost_worker::cost::{AccountId, Day, Levels};
use kubecost_worker::day_status::memory::MemoryDays;
use kubecost_worker::documents::memory::{MemoryResources, total_costs};
use kubecost_worker::lease::memory::MemoryLeases;
use kubecost_worker::ledger::memory::MemoryLedger;
use kubecost_worker::ledger::{Entry, ExpenseLedger};
use kubecost_worker::run::pipeline::Stop;
use kubecost_worker::run::rest::RestApi;
use kubecost_worker::run::{Environment, RunRequest, RunSummary, run};
use kubecost_worker::service::clock::{Clock, FixedClock};
use kubecost_worker::settings::cloudtuner::ResourcesConfig;
use kubecost_worker::settings::worker::{GapPolicy, RunConfig};

mod chance;
mod documents;
mod faults;
mod source;

use chance::Chance;
use faults::{Counts, Faulty, Hops};
use source::Source;

/// How many histories a test run goes through, unless `HISTORIES` says otherwise.
const HISTORIES: u64 = 10_000;
/// 2028-02-28, the day before a leap day, at 22:30.
const START: i64 = 1_835_389_800;

fn account() -> AccountId {
    AccountId::new("a").unwrap()
}

fn settings() -> RunConfig {
    RunConfig {
        levels: Levels::ALL,
        phase: None,
        default_cluster: String::new(),
        lease: Duration::from_secs(120),
        catch_up_days: 35,
        shrink_limit: 0.2,
        gap_policy: GapPolicy::None,
        account_deadline: Duration::from_secs(600),
    }
}

fn environment(hops: &Hops, worker: &Arc<Faulty>) -> Environment {
    let accounts: Arc<dyn AccountSource> = Arc::new(AccountList::new(vec![account()]));
    Environment {
        query: worker.clone(),
        accounts,
        resources: worker.clone(),
        ledger: worker.clone(),
        days: worker.clone(),
        leases: worker.clone(),
        rest: RestApi::default(),
        resource_settings: ResourcesConfig {
            by_rest: false,
            owner: None,
            seen_interval: Duration::from_secs(1_800),
            status_interval: Duration::from_secs(900),
        },
        clock: hops.clock.clone(),
        settings: settings(),
    }
}

async fn work(hops: &Hops, counts: &Arc<Counts>, chance: &mut Chance, rate: u32) -> RunSummary {
    let worker = Arc::new(Faulty::new(hops, counts, chance.fork(), rate));
    run(&environment(hops, &worker), &RunRequest::default(), &Stop::default()).await
}

fn hops(source: Arc<Source>, now_seconds: i64) -> Hops {
    Hops {
        source,
        resources: Arc::new(MemoryResources::default()),
        ledger: Arc::new(MemoryLedger::default()),
        days: Arc::new(MemoryDays::default()),
        leases: Arc::new(MemoryLeases::default()),
        clock: Arc::new(FixedClock::at(now_seconds)),
    }
}

/// One change of the world, then a run or two at the same time, with faults.
async fn episode(hops: &Hops, counts: &Arc<Counts>, chance: &mut Chance) {
    let today = Day::of_unix(hops.clock.now_seconds());
    hops.source.change(today, chance);
    if chance.happens(100) {
        hops.source.vanish();
    }
    let passes = [60, 300, 3_600, 7_200, 50_000][chance.below(5) as usize];
    hops.clock.set(hops.clock.now_seconds() + passes);
    hops.source.begin(Day::of_unix(hops.clock.now_seconds()), chance);
    let rate = [0, 10, 30, 100][chance.below(4) as usize];
    if chance.happens(500) {
        let (mut one, mut two) = (chance.fork(), chance.fork());
        tokio::join!(work(hops, counts, &mut one, rate), work(hops, counts, &mut two, rate));
    } else {
        work(hops, counts, chance, rate).await;
    }
    if chance.happens(300) {
        hops.ledger.merge(today).await.unwrap();
    } else {
        let first = chance.below(40) as usize;
        hops.ledger.merge_some(first, first + 2 + chance.below(20) as usize);
    }
}

type Rows = BTreeMap<(String, i64, Option<String>, Option<String>), (u64, i64)>;

/// What is stored, by key, with costs as bits.
async fn stored(hops: &Hops, first: Day, last: Day) -> Rows {
    let mut rows = Rows::new();
    for day in first.through(last) {
        for state in hops.ledger.states(&account(), day).await.unwrap() {
            let dimensions = state.dimensions;
            let key =
                (state.resource_id, state.date_seconds, dimensions.namespace, dimensions.node);
            rows.insert(key, (state.cost_usd.to_bits(), state.sign));
        }
    }
    rows
}

fn check_invariants(hops: &Hops, rows: &Rows) {
    let documents: BTreeMap<String, f64> = total_costs(&hops.resources.documents());
    let mut totals: BTreeMap<&str, f64> = BTreeMap::new();
    for ((id, date, ..), (cost, sign)) in rows {
        assert_eq!(*sign, 1, "{id} {date}");
        assert_eq!(date % 86_400, 0, "{id}");
        assert!(documents.contains_key(id), "the row of {id} has no document");
        *totals.entry(id).or_default() += f64::from_bits(*cost);
    }
    for (id, total) in &documents {
        let wanted = totals.get(id.as_str()).copied().unwrap_or_default();
        assert_eq!(*total, wanted, "total_cost of {id}");
    }
}

async fn history(seed: u64, counts: &Arc<Counts>) {
    let mut chance = Chance::new(seed);
    let first = Day::of_unix(START).previous();
    let hops = hops(Arc::new(Source::new(first, &mut chance)), START);
    for _ in 0..2 + chance.below(4) {
        episode(&hops, counts, &mut chance).await;
    }
    hops.source.complete();
    hops.clock.set(hops.clock.now_seconds() + 600);
    work(&hops, counts, &mut chance, 0).await;
    hops.ledger.merge_some(chance.below(40) as usize, 60);
    let second = work(&hops, counts, &mut chance, 0).await;
    assert_eq!(second.exit_code, 0, "{}", serde_json::to_string_pretty(&second).unwrap());
    let third = work(&hops, counts, &mut chance, 0).await;
    assert_eq!((third.rows_written, third.documents_written), (0, 0));

    let last = Day::of_unix(hops.clock.now_seconds());
    let rows = stored(&hops, first.previous(), last).await;
    check_invariants(&hops, &rows);
    let calm = self::hops(hops.source.clone(), hops.clock.now_seconds());
    work(&calm, counts, &mut chance, 0).await;
    assert_eq!(rows, stored(&calm, first.previous(), last).await);

    // What is stored outlives its source.
    hops.source.vanish();
    work(&hops, counts, &mut chance, 0).await;
    assert_eq!(rows, stored(&hops, first.previous(), last).await, "after the source was gone");
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn one(seed: u64, counts: &Arc<Counts>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(history(seed, counts));
}

#[tokio::test]
async fn a_merge_that_outlasts_the_lease_is_followed_by_no_row() {
    let (counts, mut chance) = (Arc::new(Counts::default()), Chance::new(1));
    let today = Day::of_unix(START);
    let hops = hops(Arc::new(Source::new(today.previous(), &mut chance)), START);
    hops.source.complete();
    work(&hops, &counts, &mut chance, 0).await;
    // A row that stands twice, at another cost: only a merge shows which of them stays.
    let row = hops.ledger.rows().into_iter().next_back().unwrap();
    let twice = Entry {
        resource_id: row.resource_id,
        date_seconds: row.date_seconds,
        cost_usd: row.cost_usd + 1.0,
        sign: 1,
        dimensions: row.dimensions,
    };
    let day = Day::of_unix(row.date_seconds);
    hops.ledger.append(&account(), day, &[twice]).await.unwrap();
    let before = counts.inserts.load(Ordering::Relaxed);
    let worker = Faulty::new(&hops, &counts, chance.fork(), 0).with_slow_merges();
    let request = RunRequest { days: Some((day, day)), ..RunRequest::default() };
    let done = run(&environment(&hops, &Arc::new(worker)), &request, &Stop::default()).await;
    let failure = done.accounts[0].failure.as_ref().unwrap();
    assert!(failure.what.contains("was lost"), "{failure:?}");
    assert_eq!(counts.inserts.load(Ordering::Relaxed), before);
}

#[test]
fn any_history_ends_in_the_state_of_an_undisturbed_run() {
    let counts = Arc::new(Counts::default());
    if let Some(seed) = setting("HISTORY") {
        return one(seed, &counts);
    }
    let histories = setting("HISTORIES").unwrap_or(HISTORIES);
    let failed: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|index| {
                let counts = Arc::clone(&counts);
                scope.spawn(move || {
                    let seeds = (0..histories).filter(|seed| seed % 2 == index);
                    seeds
                        .filter(|seed| {
                            let work = std::panic::AssertUnwindSafe(|| one(*seed, &counts));
                            std::panic::catch_unwind(work).is_err()
                        })
                        .take(5)
                        .collect::<Vec<u64>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let number = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{histories} histories: {} failed calls, {} lost replies, {} halved inserts, {} killed \
         workers, {} pauses beyond the lease",
        number(&counts.failed),
        number(&counts.lost_replies),
        number(&counts.halved_inserts),
        number(&counts.killed),
        number(&counts.pauses),
    );
    assert!(failed.is_empty(), "HISTORY=SEED repeats one of {failed:?}");
}
