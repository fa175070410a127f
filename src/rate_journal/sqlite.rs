//! The rate journal in the embedded store.

use async_trait::async_trait;

use crate::cost::AccountId;
use crate::service::failure::{Failure, Hop};
use crate::stores::sqlite::{SqliteStore, json_error, parsed};

use super::{RateJournal, SLOT_KEPT_SECONDS, SlotHead, SlotRates};

const NOTE_SLOT: &str = "
INSERT INTO kubecost_rate_journal (account, slot_seconds, phase, slot)
VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";

/// Stands in for the TTL index that the collection has.
const EXPIRE_SLOTS: &str = "
DELETE FROM kubecost_rate_journal WHERE account = ?1 AND slot_seconds < ?2";

const SLOTS: &str = "
SELECT slot FROM kubecost_rate_journal
WHERE account = ?1 AND slot_seconds >= ?2 AND slot_seconds < ?3 ORDER BY slot_seconds";

const HEADS: &str = "
SELECT slot_seconds, phase, json_extract(slot, '$.lag_seconds') FROM kubecost_rate_journal
WHERE account = ?1 AND slot_seconds >= ?2 AND slot_seconds < ?3 ORDER BY slot_seconds";

/// The rate journal in a SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteJournal {
    store: SqliteStore,
}

impl SqliteJournal {
    /// The rate journal of this file.
    #[must_use]
    pub fn new(store: SqliteStore) -> Self {
        Self { store }
    }
}

#[async_trait]
impl RateJournal for SqliteJournal {
    async fn note(&self, slot: &SlotRates) -> Result<(), Failure> {
        let slot = slot.clone();
        self.store
            .write(Hop::MongoDb, "noting rates", move |transaction| {
                let json = serde_json::to_string(&slot).map_err(json_error)?;
                let account = slot.account.as_str();
                let values = (account, slot.slot_seconds, slot.phase, json);
                transaction.prepare_cached(NOTE_SLOT)?.execute(values)?;
                let oldest = slot.slot_seconds - SLOT_KEPT_SECONDS;
                transaction.prepare_cached(EXPIRE_SLOTS)?.execute((account, oldest))?;
                Ok(())
            })
            .await
    }

    async fn slots(
        &self,
        account: &AccountId,
        from_seconds: i64,
        until_seconds: i64,
    ) -> Result<Vec<SlotRates>, Failure> {
        let range = (account.as_str().to_owned(), from_seconds, until_seconds);
        self.store
            .read(Hop::MongoDb, "reading the rate journal", move |connection| {
                connection.prepare_cached(SLOTS)?.query_map(range, parsed)?.collect()
            })
            .await
    }

    async fn heads(
        &self,
        account: &AccountId,
        from_seconds: i64,
        until_seconds: i64,
    ) -> Result<Vec<SlotHead>, Failure> {
        let range = (account.as_str().to_owned(), from_seconds, until_seconds);
        let head = |row: &rusqlite::Row<'_>| {
            Ok(SlotHead { slot_seconds: row.get(0)?, phase: row.get(1)?, lag_seconds: row.get(2)? })
        };
        self.store
            .read(Hop::MongoDb, "reading the rate journal", move |connection| {
                connection.prepare_cached(HEADS)?.query_map(range, head)?.collect()
            })
            .await
    }
}
