//! Resource documents: MongoDB's `cloud_resource`, behind one trait.
//!
//! What belongs here: the form of a document ([`document`]), what observed resources change about
//! the stored ones ([`merge`], [`repair`]), and the stores. What does not: costs of days, and the
//! ledger.

use std::collections::BTreeSet;

use async_trait::async_trait;

use crate::cost::{AccountId, Day};
use crate::service::failure::Failure;

pub mod bson_form;
pub mod bson_repair;
pub mod bson_statement;
pub mod collection;
pub mod cost_parts;
pub mod costs;
pub mod document;
pub mod earlier;
pub mod memory;
mod memory_update;
pub mod merge;
pub mod mongo;
pub mod names;
pub mod repair;
pub mod sqlite;
mod sqlite_update;
pub mod stored;
pub mod tags;

pub use cost_parts::PartsUpdate;
pub use document::{LastExpense, PoolOwner, ResourceDocument};
pub use merge::{
    Change, CostSummary, DocumentInputs, DocumentUpdate, NewDocument, ObservedResource, SeenNow,
    plan_changes,
};
pub use names::{DocumentNames, ResourceNames};
pub use stored::{StoredDate, StoredResource};

/// Reads resource documents.
#[async_trait]
pub trait DocumentReader: Send + Sync {
    /// Sees that the store answers and has its unique index.
    ///
    /// # Errors
    /// When it is down, refuses the credentials, or lacks the index.
    async fn check(&self) -> Result<(), Failure>;

    /// The live documents of an account with these stable ids.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn find(
        &self,
        account: &AccountId,
        cloud_resource_ids: &[String],
    ) -> Result<Vec<StoredResource>, Failure>;

    /// Which of these `_id`s are taken by any document at all, deleted ones included.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn taken_ids(&self, ids: &[String]) -> Result<BTreeSet<String>, Failure>;

    /// Which of these `_id`s some document has, in this store or in another one that readers may go
    /// by: CloudTuner's forks and upstream name the collection differently ([`collection`]).
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn known_ids(&self, ids: &[String]) -> Result<BTreeSet<String>, Failure> {
        self.taken_ids(ids).await
    }

    /// Which of these `_id`s belong to documents of this account whose stable id has this program's
    /// form; deleted ones too, for their rows are still to be taken back.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn own_ids(
        &self,
        account: &AccountId,
        ids: &[String],
    ) -> Result<BTreeSet<String>, Failure>;

    /// All documents of an account whose stable id has this program's form, deleted ones included;
    /// not those of earlier software.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn own_documents(&self, account: &AccountId) -> Result<Vec<StoredResource>, Failure>;

    /// The live documents of an account that software before this program made
    /// ([`earlier::is_earlier`]).
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn earlier_documents(&self, account: &AccountId) -> Result<Vec<StoredResource>, Failure>;

    /// The sum of `total_cost` over all documents whose stable id has this program's form, USD.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn total_cost(&self, account: &AccountId) -> Result<f64, Failure>;
}

/// What changes came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Documents that were inserted or changed.
    pub changed: u64,
    /// New documents that this call is known to have inserted, under their own `_id`s.
    pub inserted: u64,
}

/// Writes resource documents.
#[async_trait]
pub trait DocumentWriter: Send + Sync {
    /// Makes the changes; a document that somebody else made in the meantime is kept.
    ///
    /// # Errors
    /// When a write failed; what was written stays and is found by the next run.
    async fn apply(&self, account: &AccountId, changes: &[Change]) -> Result<Written, Failure>;

    /// Sets `total_cost`, `last_expense` and what they are made of, of documents that a reader found as
    /// the account's. Returns how many documents changed.
    ///
    /// # Errors
    /// When a write failed.
    async fn set_costs(
        &self,
        account: &AccountId,
        summaries: &[CostSummary],
    ) -> Result<u64, Failure>;

    /// Marks documents as inactive that were last seen before a day and whose stable id has this
    /// program's form. Returns how many.
    ///
    /// # Errors
    /// When the write failed.
    async fn retire(&self, account: &AccountId, last_seen_before: Day) -> Result<u64, Failure>;
}

/// Both halves of the store of resource documents.
pub trait ResourceStore: DocumentReader + DocumentWriter {}

impl<T: DocumentReader + DocumentWriter> ResourceStore for T {}
