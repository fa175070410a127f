//! Day status in the embedded store.

use async_trait::async_trait;

use crate::cost::{AccountId, Day};
use crate::service::failure::{Failure, Hop};
use crate::stores::sqlite::{SqliteStore, json_error, parsed};

use super::{DayStatus, DayStatusReader, DayStatusWriter};

const DAYS: &str = "
SELECT record FROM kubecost_account_day
WHERE account = ?1 AND day BETWEEN ?2 AND ?3 ORDER BY day";

const PUT_DAY: &str = "
INSERT OR REPLACE INTO kubecost_account_day
    (account, day, state, cause, source_total_usd, stored_total_usd, settled, run_id, updated_at,
     record)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

/// Day status in a SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteDayStatus {
    store: SqliteStore,
}

impl SqliteDayStatus {
    /// Day status of this file.
    #[must_use]
    pub fn new(store: SqliteStore) -> Self {
        Self { store }
    }
}

#[async_trait]
impl DayStatusReader for SqliteDayStatus {
    async fn statuses(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<Vec<DayStatus>, Failure> {
        let range = (account.as_str().to_owned(), first.to_string(), last.to_string());
        self.store
            .read(Hop::MongoDb, "reading the status of days", move |connection| {
                connection.prepare_cached(DAYS)?.query_map(range, parsed)?.collect()
            })
            .await
    }
}

#[async_trait]
impl DayStatusWriter for SqliteDayStatus {
    async fn put(&self, status: &DayStatus) -> Result<(), Failure> {
        let status = status.clone();
        self.store
            .write(Hop::MongoDb, "writing the status of a day", move |transaction| {
                let json = serde_json::to_string(&status).map_err(json_error)?;
                transaction.prepare_cached(PUT_DAY)?.execute((
                    status.account.as_str(),
                    status.day.to_string(),
                    status.attempt.state.as_str(),
                    &status.attempt.cause,
                    status.stored.source_total_usd,
                    status.stored.total_usd,
                    status.attempt.is_settled,
                    &status.attempt.run_id,
                    status.attempt.at_seconds,
                    json,
                ))?;
                Ok(())
            })
            .await
    }
}
