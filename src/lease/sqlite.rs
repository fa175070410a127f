//! Leases in the embedded store, by the clock that SQLite itself reads.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Row, Transaction};

use crate::cost::AccountId;
use crate::service::failure::{Failure, Hop};
use crate::stores::sqlite::SqliteStore;

use super::{Acquired, Lease, Leases, expiry};

const NOW: &str = "SELECT unixepoch()";

const LEASE: &str = "SELECT holder, token, expires_at FROM kubecost_lease WHERE account = ?1";

const PUT_LEASE: &str = "
INSERT OR REPLACE INTO kubecost_lease (account, holder, token, expires_at)
VALUES (?1, ?2, ?3, ?4)";

const RENEW_LEASE: &str = "
UPDATE kubecost_lease SET expires_at = max(expires_at, ?1)
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

fn now_seconds(transaction: &Transaction<'_>) -> rusqlite::Result<i64> {
    transaction.query_row(NOW, [], |row| row.get(0))
}

/// The account's lease and when it expires, Unix seconds.
fn stored(
    transaction: &Transaction<'_>,
    account: &AccountId,
) -> rusqlite::Result<Option<(Lease, i64)>> {
    let lease = |row: &Row<'_>| {
        let lease = Lease { account: account.clone(), holder: row.get(0)?, token: row.get(1)? };
        Ok((lease, row.get(2)?))
    };
    transaction.query_row(LEASE, [account.as_str()], lease).optional()
}

fn take(
    transaction: &Transaction<'_>,
    account: AccountId,
    holder: &str,
    length: Duration,
) -> rusqlite::Result<Acquired> {
    let now = now_seconds(transaction)?;
    let token = match stored(transaction, &account)? {
        Some((lease, expires_at)) if expires_at > now => {
            return Ok(Acquired::HeldBy { lease, seconds_left: expires_at - now });
        }
        Some((old, _)) => old.token + 1,
        None => 1,
    };
    transaction.execute(PUT_LEASE, (account.as_str(), holder, token, expiry(now, length)))?;
    Ok(Acquired::Granted(Lease { account, holder: holder.to_owned(), token }))
}

#[async_trait]
impl Leases for SqliteLeases {
    async fn acquire(
        &self,
        accounts: &[AccountId],
        holder: &str,
        length: Duration,
    ) -> Result<Vec<Acquired>, Failure> {
        let (accounts, holder) = (accounts.to_vec(), holder.to_owned());
        self.store
            .write(Hop::MongoDb, "taking leases", move |transaction| {
                let take = |account| take(transaction, account, &holder, length);
                accounts.into_iter().map(take).collect()
            })
            .await
    }

    async fn renew(&self, leases: &[Lease], length: Duration) -> Result<Vec<bool>, Failure> {
        let leases = leases.to_vec();
        self.store
            .write(Hop::MongoDb, "renewing leases", move |transaction| {
                let now = now_seconds(transaction)?;
                let renew = |lease: &Lease| {
                    let account = lease.account.as_str();
                    let values = (expiry(now, length), account, lease.token, &lease.holder, now);
                    Ok(transaction.execute(RENEW_LEASE, values)? == 1)
                };
                leases.iter().map(renew).collect()
            })
            .await
    }

    async fn release(&self, leases: &[Lease]) -> Result<(), Failure> {
        let leases = leases.to_vec();
        self.store
            .write(Hop::MongoDb, "releasing leases", move |transaction| {
                for lease in &leases {
                    let values = (lease.account.as_str(), lease.token, &lease.holder);
                    transaction.execute(RELEASE_LEASE, values)?;
                }
                Ok(())
            })
            .await
    }
}
