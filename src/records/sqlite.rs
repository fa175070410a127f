//! Records, leases and the rate journal in the embedded store.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Row, Transaction};

use crate::allocation::{AccountId, Day};
use crate::embedded::{Embedded, json_error};
use crate::failure::{Failure, Hop};

use super::{
    AccountDay, Acquired, DayRecords, Lease, Leases, RateJournal, SLOT_KEPT_SECONDS, SlotRates,
};

const DAYS: &str = "
SELECT record FROM kubecost_account_day
WHERE account = ?1 AND day BETWEEN ?2 AND ?3 ORDER BY day";

const PUT_DAY: &str = "
INSERT OR REPLACE INTO kubecost_account_day
    (account, day, state, cause, source_total_usd, stored_total_usd, settled, run_id, updated_at,
     record)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

const LEASE: &str = "SELECT holder, token, expires_at FROM kubecost_lease WHERE account = ?1";

const PUT_LEASE: &str = "
INSERT OR REPLACE INTO kubecost_lease (account, holder, token, expires_at)
VALUES (?1, ?2, ?3, ?4)";

const RENEW_LEASE: &str = "
UPDATE kubecost_lease SET expires_at = ?1
WHERE account = ?2 AND token = ?3 AND holder = ?4 AND expires_at > ?5";

const RELEASE_LEASE: &str = "
UPDATE kubecost_lease SET expires_at = 0 WHERE account = ?1 AND token = ?2 AND holder = ?3";

const NOTE_SLOT: &str = "
INSERT INTO kubecost_rate_journal (account, slot_seconds, phase, slot)
VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";

/// Stands in for the TTL index that the collection has.
const EXPIRE_SLOTS: &str = "
DELETE FROM kubecost_rate_journal WHERE account = ?1 AND slot_seconds < ?2";

const SLOTS: &str = "
SELECT slot FROM kubecost_rate_journal
WHERE account = ?1 AND slot_seconds >= ?2 AND slot_seconds < ?3 ORDER BY slot_seconds";

/// Records in a SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteRecords {
    store: Embedded,
}

impl SqliteRecords {
    /// The records of this file.
    #[must_use]
    pub fn new(store: Embedded) -> Self {
        Self { store }
    }
}

/// The first column's JSON as a value.
fn parsed<T: serde::de::DeserializeOwned>(row: &Row<'_>) -> rusqlite::Result<T> {
    serde_json::from_str(&row.get::<_, String>(0)?).map_err(json_error)
}

#[async_trait]
impl DayRecords for SqliteRecords {
    async fn days(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<Vec<AccountDay>, Failure> {
        let range = (account.as_str().to_owned(), first.to_string(), last.to_string());
        self.store
            .read(Hop::MongoDb, "reading the records of days", move |connection| {
                connection.prepare_cached(DAYS)?.query_map(range, parsed)?.collect()
            })
            .await
    }

    async fn put(&self, record: &AccountDay) -> Result<(), Failure> {
        let record = record.clone();
        self.store
            .write(Hop::MongoDb, "writing the record of a day", move |transaction| {
                let json = serde_json::to_string(&record).map_err(json_error)?;
                transaction.prepare_cached(PUT_DAY)?.execute((
                    record.account.as_str(),
                    record.day.to_string(),
                    record.state.as_str(),
                    &record.cause,
                    record.source_total_usd,
                    record.stored_total_usd,
                    record.settled,
                    &record.run_id,
                    record.updated_at,
                    json,
                ))?;
                Ok(())
            })
            .await
    }
}

fn stored_lease(
    transaction: &Transaction<'_>,
    account: &AccountId,
) -> rusqlite::Result<Option<Lease>> {
    let lease = |row: &Row<'_>| {
        Ok(Lease {
            account: account.clone(),
            holder: row.get(0)?,
            token: row.get(1)?,
            expires_at: row.get(2)?,
        })
    };
    transaction.query_row(LEASE, [account.as_str()], lease).optional()
}

#[async_trait]
impl Leases for SqliteRecords {
    async fn acquire(
        &self,
        account: &AccountId,
        holder: &str,
        now_seconds: i64,
        seconds: i64,
    ) -> Result<Acquired, Failure> {
        let (account, holder) = (account.clone(), holder.to_owned());
        self.store
            .write(Hop::MongoDb, "taking a lease", move |transaction| {
                let token = match stored_lease(transaction, &account)? {
                    Some(held) if held.expires_at > now_seconds => {
                        return Ok(Acquired::HeldBy(held));
                    }
                    Some(old) => old.token + 1,
                    None => 1,
                };
                let expires_at = now_seconds + seconds;
                transaction.execute(PUT_LEASE, (account.as_str(), &holder, token, expires_at))?;
                Ok(Acquired::Granted(Lease { account, holder, token, expires_at }))
            })
            .await
    }

    async fn renew(&self, lease: &Lease, now_seconds: i64, seconds: i64) -> Result<bool, Failure> {
        let lease = lease.clone();
        self.store
            .write(Hop::MongoDb, "renewing a lease", move |transaction| {
                let account = lease.account.as_str();
                let until = now_seconds + seconds;
                let values = (until, account, lease.token, &lease.holder, now_seconds);
                Ok(transaction.execute(RENEW_LEASE, values)? == 1)
            })
            .await
    }

    async fn release(&self, lease: &Lease) -> Result<(), Failure> {
        let lease = lease.clone();
        self.store
            .write(Hop::MongoDb, "giving a lease back", move |transaction| {
                let values = (lease.account.as_str(), lease.token, &lease.holder);
                transaction.execute(RELEASE_LEASE, values).map(|_| ())
            })
            .await
    }
}

#[async_trait]
impl RateJournal for SqliteRecords {
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
}
