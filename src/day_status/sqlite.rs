//! Day status in the embedded store.

use async_trait::async_trait;

use crate::cost::{AccountId, Day};
use crate::service::failure::{Failure, Hop};
use crate::stores::sqlite::{SqliteStore, json_error, parsed};

use super::{AccountDay, DayRecords};

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
pub struct SqliteDays {
    store: SqliteStore,
}

impl SqliteDays {
    /// Day status of this file.
    #[must_use]
    pub fn new(store: SqliteStore) -> Self {
        Self { store }
    }
}

#[async_trait]
impl DayRecords for SqliteDays {
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
