//! Leases in the embedded store.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Row, Transaction};

use crate::cost::AccountId;
use crate::service::failure::{Failure, Hop};
use crate::stores::sqlite::SqliteStore;

use super::{Acquired, Lease, Leases};

const LEASE: &str = "SELECT holder, token, expires_at FROM kubecost_lease WHERE account = ?1";

const PUT_LEASE: &str = "
INSERT OR REPLACE INTO kubecost_lease (account, holder, token, expires_at)
VALUES (?1, ?2, ?3, ?4)";

const RENEW_LEASE: &str = "
UPDATE kubecost_lease SET expires_at = ?1
WHERE account = ?2 AND token = ?3 AND holder = ?4 AND expires_at > ?5";

const RELEASE_LEASE: &str = "
UPDATE kubecost_lease SET expires_at = 0 WHERE account = ?1 AND token = ?2 AND holder = ?3";

/// Leases in a SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteLeases {
    store: SqliteStore,
}

impl SqliteLeases {
    /// Leases of this file.
    #[must_use]
    pub fn new(store: SqliteStore) -> Self {
        Self { store }
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
impl Leases for SqliteLeases {
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
