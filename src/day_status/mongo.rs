//! Day status in MongoDB: the collection `kubecost_account_day`, `_id` "account:day".
//!
//! Only operations of single documents that servers from 4.4 on have, so that a standalone server
//! will do; all look-ups go by `_id`, so no further index is needed.

use async_trait::async_trait;
use mongodb::bson::{Document, doc};
use mongodb::{Collection, Database};

use crate::cost::{AccountId, Day};
use crate::service::failure::Failure;
use crate::stores::mongo::{bounded, found, is_duplicate_key, to_document};

use super::{DayStatus, DayStatusReader, DayStatusWriter};

/// The collection of day status.
pub const DAYS_COLLECTION: &str = "kubecost_account_day";

/// Day status in a MongoDB database.
#[derive(Clone, Debug)]
pub struct MongoDayStatus {
    days: Collection<Document>,
}

impl MongoDayStatus {
    /// The day status in this database, which [`crate::stores::mongo::connect`] gave.
    #[must_use]
    pub fn new(database: &Database) -> Self {
        Self { days: database.collection(DAYS_COLLECTION) }
    }
}

fn day_id(account: &AccountId, day: Day) -> String {
    format!("{account}:{day}")
}

#[async_trait]
impl DayStatusReader for MongoDayStatus {
    async fn statuses(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<Vec<DayStatus>, Failure> {
        let filter = doc! {
            "_id": {"$gte": day_id(account, first), "$lte": day_id(account, last)},
            // Ids of another account may lie between: "a:2026-11-20:2026-11-21" between "a"'s.
            "account": account.as_str(),
        };
        found(&self.days, "reading the status of days", filter).await
    }
}

#[async_trait]
impl DayStatusWriter for MongoDayStatus {
    async fn put(&self, status: &DayStatus) -> Result<(), Failure> {
        let what = "writing the status of a day";
        let document = to_document(what, status)?;
        let filter = doc! {"_id": day_id(&status.account, status.day)};
        let days = self.days.clone();
        bounded(what, async move {
            let put = || days.replace_one(filter.clone(), &document).upsert(true);
            match put().await {
                // Another process made it in between; now it is there to be replaced.
                Err(error) if is_duplicate_key(&error) => put().await,
                other => other,
            }
        })
        .await
        .map(|_| ())
    }
}
