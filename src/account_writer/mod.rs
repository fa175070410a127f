//! The only holder of the write halves of the stores: one account's writer, which owns its lease.
//!
//! Each write renews the lease first, runs to its end even if the caller stops waiting, and holds
//! the lease meanwhile ([`HeldLease::write`]). Code without an [`AccountWriter`] cannot write.

use std::sync::Arc;
use std::time::Duration;

use crate::cost::{AccountId, Day};
use crate::day_status::{DayStatus, DayStatusWriter};
use crate::documents::{Change, CostSummary, DocumentWriter, Written};
use crate::lease::{HeldLease, Leases};
use crate::ledger::{Entry, ExpenseLedger, KeyState, ReadBack, append_visible};
use crate::service::batcher::Presence;
use crate::service::failure::{Failure, Kind};
use crate::source::checkpoint::Checkpoint;

/// The write halves of the stores, from which an account's writer is made.
#[derive(Clone)]
pub struct Writers {
    /// Resource documents.
    pub documents: Arc<dyn DocumentWriter>,
    /// Expense rows; a writer reads its own rows back.
    pub ledger: Arc<dyn ExpenseLedger>,
    /// Day status.
    pub status: Arc<dyn DayStatusWriter>,
    /// Who may write.
    pub leases: Arc<dyn Leases>,
    /// How long a lease lasts without a heartbeat.
    pub lease_length: Duration,
    /// How long to look for rows after they were written.
    pub read_back: ReadBack,
}

/// The right and the means to write one account.
pub struct AccountWriter {
    lease: HeldLease,
    documents: Arc<dyn DocumentWriter>,
    ledger: Arc<dyn ExpenseLedger>,
    status: Arc<dyn DayStatusWriter>,
    read_back: ReadBack,
}

impl Writers {
    /// Takes an account's lease.
    ///
    /// # Errors
    /// [`Kind::Conflict`] naming the holder when somebody else writes the account; or when the
    /// store of leases fails.
    pub async fn open(&self, account: &AccountId, run_id: &str) -> Result<AccountWriter, Failure> {
        let lease = HeldLease::take(&self.leases, self.lease_length, account, run_id).await?;
        Ok(AccountWriter {
            lease,
            documents: Arc::clone(&self.documents),
            ledger: Arc::clone(&self.ledger),
            status: Arc::clone(&self.status),
            read_back: self.read_back,
        })
    }
}

impl AccountWriter {
    /// The account.
    #[must_use]
    pub fn account(&self) -> &AccountId {
        self.lease.account()
    }

    /// Makes a write of another store under the lease.
    ///
    /// # Errors
    /// When the lease is lost, or the write fails.
    pub async fn write<T, F>(&self, what: &str, write: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        self.lease.write(what, write).await
    }

    /// Inserts and changes documents.
    ///
    /// # Errors
    /// When the lease is lost, or the write fails.
    pub async fn write_documents(&self, changes: Vec<Change>) -> Result<Written, Failure> {
        if changes.is_empty() {
            return Ok(Written::default());
        }
        let (store, account) = (Arc::clone(&self.documents), self.account().clone());
        let write = async move { store.apply(&account, &changes).await };
        self.lease.write("writing documents", write).await
    }

    /// Sets `total_cost` and `last_expense`. Returns how many documents changed.
    ///
    /// # Errors
    /// When the lease is lost, or the write fails.
    pub async fn set_costs(&self, summaries: Vec<CostSummary>) -> Result<u64, Failure> {
        if summaries.is_empty() {
            return Ok(0);
        }
        let (store, account) = (Arc::clone(&self.documents), self.account().clone());
        let write = async move { store.set_costs(&account, &summaries).await };
        self.lease.write("writing the costs of documents", write).await
    }

    /// Marks documents as inactive that were last seen before a day. Returns how many.
    ///
    /// # Errors
    /// When the lease is lost, or the write fails.
    pub async fn retire(&self, last_seen_before: Day) -> Result<u64, Failure> {
        let (store, account) = (Arc::clone(&self.documents), self.account().clone());
        let write = async move { store.retire(&account, last_seen_before).await };
        self.lease.write("marking documents as inactive", write).await
    }

    /// Says that rows of the account will be appended, until what is returned is dropped: others' may
    /// wait for them.
    #[must_use]
    pub fn announce_rows(&self) -> Presence {
        self.ledger.announce()
    }

    /// Appends the rows of a day, once, and reads until they show; `before` is what was stored.
    /// The day's status must be `pending` by then, so that a later run knows that the day may be
    /// half written. Returns what is stored then.
    ///
    /// # Errors
    /// When the lease is lost; when the write fails, or its outcome is unknown; and when the rows
    /// do not show: then the pending status names that cause.
    pub async fn append_rows(
        &self,
        day: Day,
        before: Vec<KeyState>,
        entries: Vec<Entry>,
        pending: Option<DayStatus>,
    ) -> Result<Vec<KeyState>, Failure> {
        let (ledger, status) = (Arc::clone(&self.ledger), Arc::clone(&self.status));
        let (account, read_back) = (self.account().clone(), self.read_back);
        let still_held = self.lease.still_held();
        let write = async move {
            let ledger = ledger.as_ref();
            let appended =
                append_visible(ledger, &account, day, &before, &entries, read_back).await;
            if let (Err(failure), Some(mut pending)) = (&appended, pending)
                && failure.kind == Kind::NotVisible
                // Else the day's status is another worker's by now.
                && still_held.await
            {
                pending.attempt.cause = failure.to_string();
                if let Err(failure) = status.put(&pending).await {
                    tracing::warn!(account.id = %account, %day, %failure, "the cause is not stored");
                }
            }
            appended
        };
        self.lease.write("inserting expenses", write).await
    }

    /// Writes a day's status.
    ///
    /// # Errors
    /// When the lease is lost, or the write fails.
    pub async fn put_status(&self, status: DayStatus) -> Result<(), Failure> {
        let store = Arc::clone(&self.status);
        self.lease
            .write("writing the status of a day", async move { store.put(&status).await })
            .await
    }

    /// Keeps what was answered about the running day.
    ///
    /// # Errors
    /// When the lease is lost, or the write fails.
    pub async fn put_checkpoint(&self, checkpoint: Checkpoint) -> Result<(), Failure> {
        self.lease.keep().await?;
        // One that comes too late says nothing false: what it has is compared with the source.
        self.status.put_checkpoint(self.account(), &checkpoint).await
    }

    /// Gives the lease back, unless the outcome of a write is unknown: then it expires.
    pub async fn release(self) {
        self.lease.release().await;
    }
}
