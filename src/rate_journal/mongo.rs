//! The rate journal in MongoDB: the collection `kubecost_rate_journal`, `_id` "account:slot", with
//! a date `expires_at` for a TTL index.

use async_trait::async_trait;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::{Collection, Database};

use crate::cost::AccountId;
use crate::service::failure::Failure;
use crate::stores::mongo::{bounded, found, found_fields, is_duplicate_key, to_document};

use super::{RateJournal, SLOT_KEPT_SECONDS, SlotHead, SlotRates};

/// The collection of the rate journal.
pub const JOURNAL_COLLECTION: &str = "kubecost_rate_journal";
/// The journal's field that its TTL index (`expireAfterSeconds: 0`) goes by.
pub const JOURNAL_EXPIRY_FIELD: &str = "expires_at";

/// The journal in a MongoDB database.
#[derive(Clone, Debug)]
pub struct MongoJournal {
    journal: Collection<Document>,
}

impl MongoJournal {
    /// The journal in this database, which [`crate::stores::mongo::connect`] gave.
    #[must_use]
    pub fn new(database: &Database) -> Self {
        Self { journal: database.collection(JOURNAL_COLLECTION) }
    }
}

/// Ten digits, so that the order of ids is that of slots.
fn slot_id(account: &AccountId, slot_seconds: i64) -> String {
    format!("{account}:{slot_seconds:010}")
}

/// Selects slots that start in `from_seconds..until_seconds`.
fn of_slots(account: &AccountId, (from_seconds, until_seconds): (i64, i64)) -> Document {
    doc! {
        "_id": {"$gte": slot_id(account, from_seconds), "$lt": slot_id(account, until_seconds)},
        "account": account.as_str(),
    }
}

#[async_trait]
impl RateJournal for MongoJournal {
    async fn note(&self, slot: &SlotRates) -> Result<(), Failure> {
        let what = "noting rates";
        let mut document = to_document(what, slot)?;
        let expires_at = (slot.slot_seconds + SLOT_KEPT_SECONDS).saturating_mul(1_000);
        document.insert(JOURNAL_EXPIRY_FIELD, DateTime::from_millis(expires_at));
        let filter = doc! {"_id": slot_id(&slot.account, slot.slot_seconds)};
        let journal = self.journal.clone();
        bounded(what, async move {
            let noted = journal.update_one(filter, doc! {"$setOnInsert": document}).upsert(true);
            match noted.await {
                // Another process was first, and its note stands.
                Err(error) if is_duplicate_key(&error) => Ok(()),
                other => other.map(|_| ()),
            }
        })
        .await
    }

    async fn slots(
        &self,
        account: &AccountId,
        from_seconds: i64,
        until_seconds: i64,
    ) -> Result<Vec<SlotRates>, Failure> {
        let filter = of_slots(account, (from_seconds, until_seconds));
        found(&self.journal, "reading the rate journal", filter).await
    }

    async fn heads(
        &self,
        account: &AccountId,
        from_seconds: i64,
        until_seconds: i64,
    ) -> Result<Vec<SlotHead>, Failure> {
        let filter = of_slots(account, (from_seconds, until_seconds));
        let fields = doc! {"slot_seconds": 1, "phase": 1, "lag_seconds": 1};
        found_fields(&self.journal, "reading the rate journal", filter, fields).await
    }
}
