//! Stores and a source that fail at any call: before it, after it (the reply is lost), in the
//! midst of an insert, or for good, as when the process is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kubecost_worker::accounts::Account;
use kubecost_worker::cost::{AccountId, Day, Levels};
use kubecost_worker::day_status::memory::MemoryDayStatus;
use kubecost_worker::day_status::{DayStatus, DayStatusReader, DayStatusWriter};
use kubecost_worker::documents::memory::MemoryResources;
use kubecost_worker::documents::{
    Change, CostSummary, DocumentReader, DocumentWriter, StoredResource, Written,
};
use kubecost_worker::lease::memory::MemoryLeases;
use kubecost_worker::lease::{Acquired, Lease, Leases};
use kubecost_worker::ledger::blocks::blocks;
use kubecost_worker::ledger::memory::MemoryLedger;
use kubecost_worker::ledger::{
    DayTotal, Entry, KeyState, LedgerReader, LedgerWriter, ResourceTotal,
};
use kubecost_worker::service::clock::{Clock, FixedClock};
use kubecost_worker::service::failure::{Failure, Hop, Kind};
use kubecost_worker::source::{CostSource, Phase, Presence, Running, SourceDay};
use tokio::sync::Notify;

use crate::chance::Chance;
use crate::counts::{Counts, count};
use crate::late::LateRows;
use crate::source::Source;

/// How long a lease is.
pub(crate) const LEASE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Fine,
    Before,
    After,
    Part,
    DieBefore,
    DieAfter,
}

struct Luck {
    chance: Chance,
    is_dead: bool,
}

/// One worker's view of the hops, with its luck.
#[derive(Clone)]
pub(crate) struct Faulty {
    source: Arc<Source>,
    resources: Arc<MemoryResources>,
    ledger: Arc<MemoryLedger>,
    status: Arc<MemoryDayStatus>,
    leases: Arc<MemoryLeases>,
    clock: Arc<FixedClock>,
    late: Arc<LateRows>,
    under_way: Arc<AtomicU64>,
    /// Drops the run.
    pub(crate) cancel: Arc<Notify>,
    counts: Arc<Counts>,
    luck: Arc<Mutex<Luck>>,
    per_mille: u32,
}

/// The hops themselves, which every worker shares.
#[derive(Clone)]
pub(crate) struct Hops {
    pub(crate) source: Arc<Source>,
    pub(crate) resources: Arc<MemoryResources>,
    pub(crate) ledger: Arc<MemoryLedger>,
    pub(crate) status: Arc<MemoryDayStatus>,
    pub(crate) leases: Arc<MemoryLeases>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) late: Arc<LateRows>,
    /// `TODAY_REFRESH` of all workers.
    pub(crate) today_refresh: Duration,
    /// `LEVELS` of all workers.
    pub(crate) levels: Levels,
    /// Inserts that are under way, of dropped runs too.
    pub(crate) under_way: Arc<AtomicU64>,
}

fn failure(what: &str) -> Failure {
    Failure::new(Hop::Worker, Kind::Unavailable, what, "none: it is a test")
}

impl Faulty {
    /// A worker whose calls fail `per_mille` times in a thousand.
    pub(crate) fn new(hops: &Hops, counts: &Arc<Counts>, chance: Chance, per_mille: u32) -> Self {
        let hops = hops.clone();
        Self {
            source: hops.source,
            resources: hops.resources,
            ledger: hops.ledger,
            status: hops.status,
            leases: hops.leases,
            clock: hops.clock,
            late: hops.late,
            under_way: hops.under_way,
            cancel: Arc::new(Notify::new()),
            counts: Arc::clone(counts),
            luck: Arc::new(Mutex::new(Luck { chance, is_dead: false })),
            per_mille,
        }
    }

    fn fate(&self) -> Fate {
        self.fate_at(self.per_mille)
    }

    fn fate_at(&self, per_mille: u32) -> Fate {
        let mut luck = self.luck.lock().unwrap_or_else(PoisonError::into_inner);
        if luck.is_dead {
            return Fate::Before;
        }
        if !luck.chance.happens(per_mille) {
            return Fate::Fine;
        }
        let all = [Fate::Before, Fate::After, Fate::Part, Fate::DieBefore, Fate::DieAfter];
        let fate = all[luck.chance.below(5) as usize];
        luck.is_dead = matches!(fate, Fate::DieBefore | Fate::DieAfter);
        if luck.is_dead {
            count(&self.counts.killed);
        }
        fate
    }

    /// Lets the other worker go on, and sometimes time too: longer than a lease holds.
    async fn pause(&self) {
        let (yields, is_long) = {
            let mut luck = self.luck.lock().unwrap_or_else(PoisonError::into_inner);
            let per_mille = self.per_mille / 2;
            (luck.chance.below(3), !luck.is_dead && luck.chance.happens(per_mille))
        };
        let others = if is_long { 200 } else { yields };
        if is_long {
            count(&self.counts.pauses);
            self.clock.set(self.clock.now_seconds() + 150);
        }
        self.merge();
        for _ in 0..others {
            tokio::task::yield_now().await;
        }
    }

    fn happens(&self, per_mille: u32) -> bool {
        let mut luck = self.luck.lock().unwrap_or_else(PoisonError::into_inner);
        !luck.is_dead && luck.chance.happens(per_mille)
    }

    fn below(&self, bound: u32) -> u32 {
        self.luck.lock().unwrap_or_else(PoisonError::into_inner).chance.below(bound)
    }

    /// The engine merges some parts, whatever the run is doing.
    fn merge(&self) {
        if self.happens(self.per_mille) {
            count(&self.counts.merges);
            let first = self.below(40) as usize;
            self.ledger.merge_some(first, first + 2 + self.below(20) as usize);
        }
    }

    /// Reads the ledger: rows whose time has come show, and sometimes no replica has all of them.
    async fn look<T>(&self, read: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        self.late.look(&self.ledger, self.clock.now_seconds());
        if self.happens(self.per_mille / 2) {
            count(&self.counts.replicas_behind);
            let what = "no replica has all rows";
            return Err(Failure::new(
                Hop::ClickHouse,
                Kind::NotVisible,
                what,
                "none: it is a test",
            ));
        }
        self.call(read).await
    }

    /// Adds the rows of one insert, at once or for later looks.
    async fn insert(&self, account: &AccountId, day: Day, rows: &[Entry]) -> Result<(), Failure> {
        if self.happens(self.per_mille * 2) {
            count(&self.counts.late_rows);
            // More looks than a run takes, at times.
            let looks = 1 + self.below(12);
            self.late.hide(account, rows, looks, self.clock.now_seconds());
            return Ok(());
        }
        self.ledger.append(account, day, rows).await
    }

    /// The caller does not learn what became of an insert, and at times its lease expires.
    fn lose_outcome(&self) {
        if self.happens(500) {
            count(&self.counts.unknown_outcomes);
            self.clock.set(self.clock.now_seconds() + 150);
        }
    }

    /// Makes a call as luck has it.
    async fn call<T>(&self, call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        self.pause().await;
        match self.fate() {
            Fate::Fine => call.await,
            Fate::Before | Fate::Part | Fate::DieBefore => {
                count(&self.counts.failed);
                Err(failure("it failed"))
            }
            Fate::After | Fate::DieAfter => {
                call.await?;
                count(&self.counts.lost_replies);
                Err(failure("the reply was lost"))
            }
        }
    }
}

#[async_trait]
impl LedgerReader for Faulty {
    async fn check(&self) -> Result<(), Failure> {
        self.call(LedgerReader::check(self.ledger.as_ref())).await
    }

    async fn states(&self, account: &AccountId, day: Day) -> Result<Vec<KeyState>, Failure> {
        self.look(self.ledger.states(account, day)).await
    }

    async fn collapsed(&self, account: &AccountId, day: Day) -> Result<Vec<KeyState>, Failure> {
        self.look(self.ledger.collapsed(account, day)).await
    }

    async fn resource_totals(
        &self,
        account: &AccountId,
        resource_ids: &[String],
    ) -> Result<Vec<ResourceTotal>, Failure> {
        self.look(self.ledger.resource_totals(account, resource_ids)).await
    }

    async fn day_totals(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<Vec<DayTotal>, Failure> {
        self.look(self.ledger.day_totals(account, first, last)).await
    }
}

#[async_trait]
impl LedgerWriter for Faulty {
    async fn append(
        &self,
        account: &AccountId,
        day: Day,
        entries: &[Entry],
    ) -> Result<(), Failure> {
        count(&self.counts.inserts);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let appended = self.append_with_luck(account, day, entries).await;
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        appended
    }
}

impl Faulty {
    async fn append_with_luck(
        &self,
        account: &AccountId,
        day: Day,
        entries: &[Entry],
    ) -> Result<(), Failure> {
        self.pause().await;
        // Inserts are few among all calls, and what is left of half of them matters most.
        let fate = self.fate_at(self.per_mille * 5);
        if matches!(fate, Fate::Before | Fate::DieBefore) {
            count(&self.counts.failed);
            return Err(failure("the insert failed"));
        }
        // As the server's: a block's rows without dimensions, then those with, each all or nothing.
        let inserts: Vec<Vec<Entry>> = blocks(entries)
            .into_iter()
            .flat_map(|block| {
                let (plain, others): (Vec<_>, Vec<_>) =
                    block.into_iter().partition(|entry| entry.dimensions.is_empty());
                [plain, others]
            })
            .filter(|rows| !rows.is_empty())
            .collect();
        let done = if fate == Fate::Part { inserts.len() / 2 } else { inserts.len() };
        if self.happens(self.per_mille * 2) {
            count(&self.counts.cancelled);
            self.cancel.notify_one();
            // The run is dropped before the insert goes on.
            tokio::task::yield_now().await;
        }
        for rows in &inserts[..done] {
            self.insert(account, day, rows).await?;
            tokio::task::yield_now().await;
        }
        match fate {
            Fate::Fine => Ok(()),
            Fate::Part => {
                count(&self.counts.halved_inserts);
                self.lose_outcome();
                Err(failure("a part of the insert was done"))
            }
            _ => {
                count(&self.counts.lost_replies);
                self.lose_outcome();
                Err(failure("the insert's reply was lost"))
            }
        }
    }
}

#[async_trait]
impl DocumentReader for Faulty {
    async fn check(&self) -> Result<(), Failure> {
        self.call(DocumentReader::check(self.resources.as_ref())).await
    }

    async fn find(
        &self,
        account: &AccountId,
        cloud_resource_ids: &[String],
    ) -> Result<Vec<StoredResource>, Failure> {
        self.call(self.resources.find(account, cloud_resource_ids)).await
    }

    async fn taken_ids(&self, ids: &[String]) -> Result<BTreeSet<String>, Failure> {
        self.call(self.resources.taken_ids(ids)).await
    }

    async fn own_ids(
        &self,
        account: &AccountId,
        ids: &[String],
    ) -> Result<BTreeSet<String>, Failure> {
        self.call(self.resources.own_ids(account, ids)).await
    }

    async fn own_documents(&self, account: &AccountId) -> Result<Vec<StoredResource>, Failure> {
        self.call(self.resources.own_documents(account)).await
    }

    async fn earlier_documents(&self, account: &AccountId) -> Result<Vec<StoredResource>, Failure> {
        self.call(self.resources.earlier_documents(account)).await
    }

    async fn total_cost(&self, account: &AccountId) -> Result<f64, Failure> {
        self.call(self.resources.total_cost(account)).await
    }
}

#[async_trait]
impl DocumentWriter for Faulty {
    async fn apply(&self, account: &AccountId, changes: &[Change]) -> Result<Written, Failure> {
        self.call(self.resources.apply(account, changes)).await
    }

    async fn set_costs(
        &self,
        account: &AccountId,
        summaries: &[CostSummary],
    ) -> Result<u64, Failure> {
        self.call(self.resources.set_costs(account, summaries)).await
    }

    async fn retire(&self, account: &AccountId, last_seen_before: Day) -> Result<u64, Failure> {
        self.call(self.resources.retire(account, last_seen_before)).await
    }
}

#[async_trait]
impl DayStatusReader for Faulty {
    async fn statuses(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<Vec<DayStatus>, Failure> {
        self.call(self.status.statuses(account, first, last)).await
    }
}

#[async_trait]
impl DayStatusWriter for Faulty {
    async fn put(&self, status: &DayStatus) -> Result<(), Failure> {
        self.call(self.status.put(status)).await
    }
}

#[async_trait]
impl Leases for Faulty {
    async fn acquire(
        &self,
        accounts: &[AccountId],
        holder: &str,
        length: Duration,
    ) -> Result<Vec<Acquired>, Failure> {
        self.call(self.leases.acquire(accounts, holder, length)).await
    }

    async fn renew(&self, leases: &[Lease], length: Duration) -> Result<Vec<bool>, Failure> {
        self.call(self.leases.renew(leases, length)).await
    }

    async fn release(&self, leases: &[Lease]) -> Result<(), Failure> {
        self.call(self.leases.release(leases)).await
    }
}

#[async_trait]
impl CostSource for Faulty {
    fn describe(&self) -> String {
        self.source.describe()
    }

    fn has_history(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<(), Failure> {
        self.call(CostSource::check(self.source.as_ref())).await
    }

    async fn observe(&self, account: &Account, now_seconds: i64) -> Result<(), Failure> {
        self.call(self.source.observe(account, now_seconds)).await
    }

    async fn presence(
        &self,
        account: &Account,
        first: Day,
        last: Day,
        now_seconds: i64,
    ) -> Result<BTreeMap<Day, Presence>, Failure> {
        self.call(self.source.presence(account, first, last, now_seconds)).await
    }

    async fn all_samples(
        &self,
        account: &Account,
        day: Day,
        phase: Phase,
        now_seconds: i64,
    ) -> Result<Option<u64>, Failure> {
        self.call(self.source.all_samples(account, day, phase, now_seconds)).await
    }

    fn takes_checkpoints(&self) -> bool {
        true
    }

    async fn running_day_costs(
        &self,
        account: &Account,
        day: Day,
        phase: Phase,
        now_seconds: i64,
        running: Running,
    ) -> Result<SourceDay, Failure> {
        let mut costs = self.day_costs(account, day, phase, now_seconds).await?;
        if running.without_pods {
            count(&self.counts.unread_pods);
            costs.costs.clear_pods();
        }
        Ok(costs)
    }

    async fn day_costs(
        &self,
        account: &Account,
        day: Day,
        phase: Phase,
        now_seconds: i64,
    ) -> Result<SourceDay, Failure> {
        let costs = self.call(self.source.day_costs(account, day, phase, now_seconds)).await;
        // A layer that answers, but not with this day: the account's other days go on.
        costs.map_err(|failure| {
            let mut luck = self.luck.lock().unwrap_or_else(PoisonError::into_inner);
            let kinds = [Kind::Unavailable, Kind::BadReply, Kind::Overloaded, Kind::Timeout];
            Failure::query(kinds[luck.chance.below(4) as usize], failure.what, failure.fix)
        })
    }
}
