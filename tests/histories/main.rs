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

use kubecost_worker::account_writer::Writers;
use kubecost_worker::accounts::{AccountList, AccountSource};
use kubecost_worker::cost::{AccountId, Day, Levels, NodeLevel};
use kubecost_worker::day_status::DayStatusReader;
use kubecost_worker::day_status::memory::MemoryDayStatus;
use kubecost_worker::documents::memory::{MemoryResources, total_costs};
use kubecost_worker::lease::memory::MemoryLeases;
use kubecost_worker::ledger::memory::{MemoryLedger, StoredRow};
use kubecost_worker::ledger::{LedgerReader, ReadBack};
use kubecost_worker::run::rest::RestApi;
use kubecost_worker::run::{Environment, Readers, RunRequest, RunSummary, Stop, run};
use kubecost_worker::service::clock::{Clock, FixedClock};
use kubecost_worker::settings::parallel::ParallelConfig;
use kubecost_worker::settings::worker::{GapPolicy, LabelTags, ResourcesConfig, RunConfig};

mod chance;
mod counts;
mod documents;
mod faults;
mod late;
mod source;

use chance::Chance;
use counts::{Counts, count};
use faults::{Faulty, Hops, LEASE};
use source::Source;

/// From how many histories on each kind of fault has struck.
const HISTORIES_WITH_ALL: u64 = 1_000;
/// How many histories a test run goes through, unless `HISTORIES` says otherwise.
const HISTORIES: u64 = 5_000;
/// Looks do not take time here: others go on between them.
const READ_BACK: ReadBack =
    ReadBack { pause: Duration::ZERO, pause_max: Duration::ZERO, looks_max: 8 };
/// How far a worker's clock may be from the store's.
const SKEW_SECONDS_MAX: u32 = 300;
/// 2028-02-28, the day before a leap day, at 22:30.
const START: i64 = 1_835_389_800;

fn account() -> AccountId {
    AccountId::new("a").unwrap()
}

fn settings(levels: Levels, today_refresh: Duration) -> RunConfig {
    RunConfig {
        levels,
        phase: None,
        default_cluster: String::new(),
        lease: LEASE,
        catch_up_days: 35,
        shrink_limit: 0.2,
        gap_policy: GapPolicy::None,
        today_refresh,
        account_deadline: Duration::from_secs(600),
        limits: kubecost_worker::cost::Limits::default(),
        parallel: ParallelConfig::default(),
    }
}

fn environment(hops: &Hops, worker: &Arc<Faulty>) -> Environment {
    let accounts: Arc<dyn AccountSource> = Arc::new(AccountList::new(vec![account()]));
    let readers = Readers {
        accounts,
        source: worker.clone(),
        documents: worker.clone(),
        ledger: worker.clone(),
        status: worker.clone(),
        rest: RestApi::default(),
        resource_settings: ResourcesConfig {
            label_tags: LabelTags::Off,
            by_rest: false,
            owner: None,
            seen_interval: Duration::from_secs(1_800),
            status_interval: Duration::from_secs(900),
        },
        clock: hops.clock.clone(),
        settings: settings(hops.levels, hops.today_refresh),
    };
    let writers = Writers {
        documents: worker.clone(),
        ledger: worker.clone(),
        status: worker.clone(),
        leases: worker.clone(),
        lease_length: LEASE,
        read_back: READ_BACK,
    };
    Environment { readers, writers }
}

/// A run without faults.
async fn work(hops: &Hops, counts: &Arc<Counts>, chance: &mut Chance) -> RunSummary {
    let worker = Arc::new(Faulty::new(hops, counts, chance.fork(), 0));
    run(&environment(hops, &worker), &RunRequest::default(), &Stop::default()).await
}

/// A run with faults, whose clock may not be the store's, and which may be dropped.
async fn work_badly(hops: &Hops, counts: &Arc<Counts>, chance: &mut Chance, rate: u32) {
    let worker = Arc::new(Faulty::new(hops, counts, chance.fork(), rate));
    let mut environment = environment(hops, &worker);
    if chance.happens(rate * 2) {
        count(&counts.other_clocks);
        let skew_seconds =
            i64::from(chance.below(2 * SKEW_SECONDS_MAX)) - i64::from(SKEW_SECONDS_MAX);
        let clock = FixedClock::at(hops.clock.now_seconds() + skew_seconds);
        environment.readers.clock = Arc::new(clock);
    }
    let (request, stop) = (RunRequest::default(), Stop::default());
    tokio::select! {
        _ = run(&environment, &request, &stop) => {}
        () = worker.cancel.notified() => {}
    }
}

fn hops(source: Arc<Source>, now_seconds: i64) -> Hops {
    let clock = Arc::new(FixedClock::at(now_seconds));
    Hops {
        source,
        resources: Arc::new(MemoryResources::default()),
        ledger: Arc::new(MemoryLedger::default()),
        status: Arc::new(MemoryDayStatus::default()),
        leases: Arc::new(MemoryLeases::new(clock.clone())),
        clock,
        late: Arc::default(),
        today_refresh: Duration::ZERO,
        levels: Levels::ALL,
        under_way: Arc::default(),
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
        tokio::join!(
            work_badly(hops, counts, &mut one, rate),
            work_badly(hops, counts, &mut two, rate)
        );
    } else {
        work_badly(hops, counts, chance, rate).await;
    }
    // Inserts of dropped runs go on to their end.
    while hops.under_way.load(Ordering::Relaxed) > 0 {
        tokio::task::yield_now().await;
    }
    let today = Day::of_unix(hops.clock.now_seconds());
    let status = hops.status.statuses(&account(), today, today).await.unwrap();
    if status.iter().any(|status| status.older_pods_at().is_some()) {
        count(&counts.kept_pods);
    }
    if chance.happens(300) {
        hops.ledger.merge_some(0, usize::MAX);
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
            // Rows that add up to nothing may stay until they are merged.
            if state.sign_sum == 0 && state.cost_usd == 0.0 {
                continue;
            }
            let dimensions = state.dimensions;
            let key =
                (state.resource_id, state.date_seconds, dimensions.namespace, dimensions.node);
            rows.insert(key, (state.cost_usd.to_bits(), state.sign_sum));
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
    let mut hops = hops(Arc::new(Source::new(first, &mut chance)), START);
    let refresh_seconds = [0_u64, 300, 900][chance.below(3) as usize];
    hops.today_refresh = Duration::from_secs(refresh_seconds);
    // Without nodes, pods that keep their rows are not read.
    if chance.happens(500) {
        hops.levels.node = NodeLevel::Off;
    }
    for _ in 0..2 + chance.below(4) {
        episode(&hops, counts, &mut chance).await;
    }
    counts.late_samples.fetch_add(hops.source.complete(), Ordering::Relaxed);
    // By then the rows of pods are old enough, whatever clock they were written by.
    let refresh_seconds = refresh_seconds.cast_signed() + i64::from(SKEW_SECONDS_MAX);
    hops.clock.set(hops.clock.now_seconds() + 600 + refresh_seconds);
    work(&hops, counts, &mut chance).await;
    hops.ledger.merge_some(chance.below(40) as usize, 60);
    let mut last_run = work(&hops, counts, &mut chance).await;
    if healed(&last_run) > 0 {
        // A merge came between the rows of a correction: docs/adr has what takes one more run.
        last_run = work(&hops, counts, &mut chance).await;
    }
    assert_eq!(last_run.exit_code, 0, "{}", serde_json::to_string_pretty(&last_run).unwrap());
    let third = work(&hops, counts, &mut chance).await;
    assert_eq!((third.rows_written, third.documents_written), (0, 0));

    let last = Day::of_unix(hops.clock.now_seconds());
    let rows = stored(&hops, first.previous(), last).await;
    check_invariants(&hops, &rows);
    let mut calm = self::hops(hops.source.clone(), hops.clock.now_seconds());
    calm.levels = hops.levels;
    work(&calm, counts, &mut chance).await;
    assert_eq!(rows, stored(&calm, first.previous(), last).await);

    // What is stored outlives its source.
    hops.source.vanish();
    work(&hops, counts, &mut chance).await;
    assert_eq!(rows, stored(&hops, first.previous(), last).await, "after the source was gone");
}

fn healed(run: &RunSummary) -> u64 {
    run.accounts.iter().flat_map(|account| &account.days).map(|day| day.keys_healed).sum()
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn one(seed: u64, counts: &Arc<Counts>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(history(seed, counts));
}

#[tokio::test]
async fn a_row_that_stands_twice_is_healed_by_one_insert_and_no_merge() {
    let (counts, mut chance) = (Arc::new(Counts::default()), Chance::new(1));
    let today = Day::of_unix(START);
    let hops = hops(Arc::new(Source::new(today.previous(), &mut chance)), START);
    hops.source.complete();
    work(&hops, &counts, &mut chance).await;
    let healthy = stored(&hops, today.previous(), today).await;
    let row = hops.ledger.rows().into_iter().next_back().unwrap();
    let twice = StoredRow { cost_usd: row.cost_usd + 1.0, sign: 1, ..row.clone() };
    hops.ledger.insert_raw(twice);
    let before = hops.ledger.rows();
    let inserts = counts.inserts.load(Ordering::Relaxed);
    let day = Day::of_unix(row.date_seconds);
    let request = RunRequest { days: Some((day, day)), ..RunRequest::default() };
    let worker = Arc::new(Faulty::new(&hops, &counts, chance.fork(), 0));
    run(&environment(&hops, &worker), &request, &Stop::default()).await;
    let after = hops.ledger.rows();
    assert_eq!(counts.inserts.load(Ordering::Relaxed), inserts + 1);
    assert_eq!(after[..before.len()], before, "no row is changed or taken away");
    assert_eq!(after.len(), before.len() + 3, "each of the two is taken back, and one written");
    assert_eq!(stored(&hops, today.previous(), today).await, healthy);
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
    let kinds = counts.kinds();
    println!("{histories} histories: {}", kinds.map(|(kind, n)| format!("{n} {kind}")).join(", "));
    assert!(failed.is_empty(), "HISTORY=SEED repeats one of {failed:?}");
    for (kind, happened) in kinds {
        // A fault that never strikes proves nothing. Few histories may be without one.
        assert!(happened > 0 || histories < HISTORIES_WITH_ALL, "no history had {kind}");
    }
}
