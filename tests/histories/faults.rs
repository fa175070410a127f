//! Stores and a source that fail at any call: before it, after it (the reply is lost), in the
//! midst of an insert, or for good, as when the process is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use kubecost_worker::accounts::Account;
use kubecost_worker::cost::{AccountId, Day};
use kubecost_worker::day_status::memory::MemoryDays;
use kubecost_worker::day_status::{AccountDay, DayRecords};
use kubecost_worker::documents::memory::MemoryResources;
use kubecost_worker::documents::{Change, CostSummary, ResourceStore, StoredResource};
use kubecost_worker::lease::memory::MemoryLeases;
use kubecost_worker::lease::{Acquired, Lease, Leases};
use kubecost_worker::ledger::blocks::blocks;
use kubecost_worker::ledger::memory::MemoryLedger;
use kubecost_worker::ledger::{DayTotal, Entry, ExpenseLedger, KeyState, ResourceTotal};
use kubecost_worker::service::clock::{Clock, FixedClock};
use kubecost_worker::service::failure::{Failure, Hop, Kind};
use kubecost_worker::source::{CostSource, Phase, Presence, SourceDay};

use crate::chance::Chance;
use crate::source::Source;

/// How many faults of each kind happened, over all cases.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Inserts, whatever became of them.
    pub(crate) inserts: AtomicU64,
    /// Calls that failed before anything was done.
    pub(crate) failed: AtomicU64,
    /// Calls that were done and failed all the same.
    pub(crate) lost_replies: AtomicU64,
    /// Inserts of which a part was done.
    pub(crate) halved_inserts: AtomicU64,
    /// Workers that died.
    pub(crate) killed: AtomicU64,
    /// Times at which a worker stood still until its lease was over.
    pub(crate) pauses: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

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
    days: Arc<MemoryDays>,
    leases: Arc<MemoryLeases>,
    clock: Arc<FixedClock>,
    counts: Arc<Counts>,
    luck: Arc<Mutex<Luck>>,
    per_mille: u32,
    outlasts_lease: bool,
}

/// The hops themselves, which every worker shares.
#[derive(Clone)]
pub(crate) struct Hops {
    pub(crate) source: Arc<Source>,
    pub(crate) resources: Arc<MemoryResources>,
    pub(crate) ledger: Arc<MemoryLedger>,
    pub(crate) days: Arc<MemoryDays>,
    pub(crate) leases: Arc<MemoryLeases>,
    pub(crate) clock: Arc<FixedClock>,
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
            days: hops.days,
            leases: hops.leases,
            clock: hops.clock,
            counts: Arc::clone(counts),
            luck: Arc::new(Mutex::new(Luck { chance, is_dead: false })),
            per_mille,
            outlasts_lease: false,
        }
    }

    /// The same worker, whose merges take longer than its lease is long, while another takes it.
    pub(crate) fn with_slow_merges(self) -> Self {
        Self { outlasts_lease: true, ..self }
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
        for _ in 0..others {
            tokio::task::yield_now().await;
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
impl ExpenseLedger for Faulty {
    async fn check(&self) -> Result<(), Failure> {
        self.call(ExpenseLedger::check(self.ledger.as_ref())).await
    }

    async fn states(&self, account: &AccountId, day: Day) -> Result<Vec<KeyState>, Failure> {
        self.call(self.ledger.states(account, day)).await
    }

    async fn collapsed(&self, account: &AccountId, day: Day) -> Result<Vec<KeyState>, Failure> {
        self.call(self.ledger.collapsed(account, day)).await
    }

    async fn append(
        &self,
        account: &AccountId,
        day: Day,
        entries: &[Entry],
    ) -> Result<(), Failure> {
        count(&self.counts.inserts);
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
        for rows in &inserts[..done] {
            self.ledger.append(account, day, rows).await?;
            tokio::task::yield_now().await;
        }
        match fate {
            Fate::Fine => Ok(()),
            Fate::Part => {
                count(&self.counts.halved_inserts);
                Err(failure("a part of the insert was done"))
            }
            _ => {
                count(&self.counts.lost_replies);
                Err(failure("the insert's reply was lost"))
            }
        }
    }

    async fn merge(&self, day: Day) -> Result<(), Failure> {
        if self.outlasts_lease {
            let later = self.clock.now_seconds() + 150;
            self.clock.set(later);
            let account = AccountId::new("a").map_err(|error| failure(&error.to_string()))?;
            self.leases.acquire(&account, "another run", later, 120).await?;
        }
        self.call(self.ledger.merge(day)).await
    }

    async fn resource_totals(
        &self,
        account: &AccountId,
        resource_ids: &[String],
    ) -> Result<Vec<ResourceTotal>, Failure> {
        self.call(self.ledger.resource_totals(account, resource_ids)).await
    }

    async fn day_totals(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<Vec<DayTotal>, Failure> {
        self.call(self.ledger.day_totals(account, first, last)).await
    }
}

#[async_trait]
impl ResourceStore for Faulty {
    async fn check(&self) -> Result<(), Failure> {
        self.call(ResourceStore::check(self.resources.as_ref())).await
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

    async fn total_cost(&self, account: &AccountId) -> Result<f64, Failure> {
        self.call(self.resources.total_cost(account)).await
    }

    async fn apply(&self, account: &AccountId, changes: &[Change]) -> Result<u64, Failure> {
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
impl DayRecords for Faulty {
    async fn days(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<Vec<AccountDay>, Failure> {
        self.call(self.days.days(account, first, last)).await
    }

    async fn put(&self, record: &AccountDay) -> Result<(), Failure> {
        self.call(self.days.put(record)).await
    }
}

#[async_trait]
impl Leases for Faulty {
    async fn acquire(
        &self,
        account: &AccountId,
        holder: &str,
        now_seconds: i64,
        seconds: i64,
    ) -> Result<Acquired, Failure> {
        self.call(self.leases.acquire(account, holder, now_seconds, seconds)).await
    }

    async fn renew(&self, lease: &Lease, now_seconds: i64, seconds: i64) -> Result<bool, Failure> {
        self.call(self.leases.renew(lease, now_seconds, seconds)).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), Failure> {
        self.call(self.leases.release(lease)).await
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

    async fn day_costs(
        &self,
        account: &Account,
        day: Day,
        phase: Phase,
        now_seconds: i64,
    ) -> Result<SourceDay, Failure> {
        let told = self.call(self.source.day_costs(account, day, phase, now_seconds)).await;
        // A layer that answers, but not with this day: the account's other days go on.
        told.map_err(|failure| {
            let mut luck = self.luck.lock().unwrap_or_else(PoisonError::into_inner);
            let kinds = [Kind::Unavailable, Kind::BadReply, Kind::Overloaded, Kind::Timeout];
            Failure::query(kinds[luck.chance.below(4) as usize], failure.what, failure.fix)
        })
    }
}
