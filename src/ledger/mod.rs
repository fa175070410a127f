//! Expense rows: ClickHouse's `expenses`, behind one trait.
//!
//! Rows are never changed, only added: a row with sign -1 takes back what a row with sign +1 said
//! (CollapsingMergeTree). A key is an account, a resource and a day; its cost is
//! `sum(cost * sign)`, and it is live while `sum(sign)` is 1. What belongs here: reading keys'
//! states, the difference to what is wanted ([`diff`]), appending it. What does not: where costs
//! come from, and documents.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::cost::{AccountId, Day};
use crate::service::batcher::Presence;
use crate::service::failure::Failure;

pub mod blocks;
pub mod clickhouse;
mod clickhouse_batches;
pub mod clickhouse_connection;
pub mod clickhouse_failure;
pub mod clickhouse_settings;
pub mod clickhouse_topology;
mod clickhouse_totals;
pub mod collapse;
pub mod diff;
pub mod entry;
pub mod heal;
pub mod memory;
pub mod sqlite;
pub mod unpaired;
pub mod visible;

pub use diff::{Difference, difference};
pub use entry::{DayTotal, Dimensions, Entry, KeyState, ResourceTotal, SignedCost, WantedRow};
pub use heal::take_back;
pub use visible::{ReadBack, append_visible};

/// Reads the ledger of expenses.
#[async_trait]
pub trait LedgerReader: Send + Sync {
    /// Sees that the ledger answers and that its table fits.
    ///
    /// # Errors
    /// When it is down, refuses the credentials, or lacks a table or column (named in the error).
    async fn check(&self) -> Result<(), Failure>;

    /// What is stored for an account whose date falls on a day, grouped by resource, exact date
    /// and dimensions, without groups whose rows cancel out. It holds all that was appended and
    /// acknowledged before, whichever server answers.
    ///
    /// # Errors
    /// When the ledger cannot be read; [`Kind::NotVisible`](crate::service::failure::Kind) when no server
    /// that has all rows answered within a bounded time.
    async fn states(&self, account: &AccountId, day: Day) -> Result<Vec<KeyState>, Failure>;

    /// The live rows that the engine will keep of a day's keys once all parts have merged: what a
    /// reader with `FINAL` sees, by resource and exact date, without dimensions.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    async fn collapsed(&self, account: &AccountId, day: Day) -> Result<Vec<KeyState>, Failure>;

    /// What resources cost over all days, and on their last day with a live row. Keys whose signs
    /// do not add up count with their cost, as in every other sum.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    async fn resource_totals(
        &self,
        account: &AccountId,
        resource_ids: &[String],
    ) -> Result<Vec<ResourceTotal>, Failure>;

    /// What is stored at the midnights of `first..=last`, whoever wrote it, by day; days without
    /// any row may be left out. Must be cheap: every run asks for it, for reconciled accounts over
    /// their whole history.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    async fn day_totals(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<Vec<DayTotal>, Failure>;

    /// What is stored between the midnights of `first..=last`, by day, USD: rows of other writers,
    /// which readers count on the day that they fall on. Days without any may be left out.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    async fn off_midnight_totals(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<BTreeMap<Day, f64>, Failure> {
        let mut totals = BTreeMap::new();
        for day in first.through(last) {
            let states = self.states(account, day).await?;
            for state in states.iter().filter(|one| one.date_seconds != day.start_seconds()) {
                *totals.entry(day).or_insert(0.0) += state.cost_usd;
            }
        }
        totals.retain(|_, usd| *usd != 0.0);
        Ok(totals)
    }

    /// What is stored of `first..=last`, at any time of a day and whoever wrote it, by namespace,
    /// USD; rows of no namespace are under the empty name.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    async fn namespace_totals(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<BTreeMap<String, f64>, Failure> {
        let mut totals: BTreeMap<String, f64> = BTreeMap::new();
        for day in first.through(last) {
            for state in self.states(account, day).await? {
                *totals.entry(state.dimensions.namespace.unwrap_or_default()).or_default() +=
                    state.cost_usd;
            }
        }
        Ok(totals)
    }
}

/// Adds to the ledger of expenses.
#[async_trait]
pub trait LedgerWriter: Send + Sync {
    /// Says that rows will be added, until what is returned is dropped: others' may wait for them.
    fn announce(&self) -> Presence {
        Presence::default()
    }

    /// Adds rows: those without dimensions in one insert of 5 columns, the others in one of 8,
    /// each of them one block, in the given order. Not retried: after an error what was written
    /// is unknown. Callers use [`append_visible`], which reads again.
    ///
    /// # Errors
    /// When an insert failed or its outcome is unknown.
    async fn append(&self, account: &AccountId, day: Day, entries: &[Entry])
    -> Result<(), Failure>;
}

/// Both halves of the ledger: a writer reads what it has written.
pub trait ExpenseLedger: LedgerReader + LedgerWriter {}

impl<T: LedgerReader + LedgerWriter> ExpenseLedger for T {}
