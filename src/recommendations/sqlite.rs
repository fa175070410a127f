//! Recommendations in the embedded store. Their table is made when it is needed first, so that
//! files of earlier versions stay as they are.

use async_trait::async_trait;

use crate::cost::AccountId;
use crate::service::failure::{Failure, Hop};
use crate::stores::sqlite::{SqliteStore, json_error, parsed};

use super::{RecommendationReader, RecommendationWriter, Set};

const TABLE: &str = "
CREATE TABLE IF NOT EXISTS kubecost_recommendations (
    cloud_account_id TEXT NOT NULL,
    module           TEXT NOT NULL,
    created_at       INTEGER NOT NULL,
    record           TEXT NOT NULL,     -- JSON: the whole set
    PRIMARY KEY (cloud_account_id, module)
)";
const IS_THERE: &str = "SELECT COUNT(*) FROM sqlite_master WHERE name = 'kubecost_recommendations'";
const SETS: &str = "
SELECT record FROM kubecost_recommendations WHERE cloud_account_id = ?1 ORDER BY module";
const REPLACE: &str = "
INSERT OR REPLACE INTO kubecost_recommendations (cloud_account_id, module, created_at, record)
VALUES (?1, ?2, ?3, ?4)";

/// The recommendations in a SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteRecommendations {
    store: SqliteStore,
}

impl SqliteRecommendations {
    /// The recommendations of this file.
    #[must_use]
    pub fn new(store: SqliteStore) -> Self {
        Self { store }
    }
}

#[async_trait]
impl RecommendationReader for SqliteRecommendations {
    async fn sets(&self, account: &AccountId) -> Result<Vec<Set>, Failure> {
        let account = account.as_str().to_owned();
        self.store
            .read(Hop::MongoDb, "reading recommendations", move |connection| {
                let tables: i64 = connection.query_row(IS_THERE, [], |row| row.get(0))?;
                if tables == 0 {
                    return Ok(Vec::new());
                }
                connection.prepare_cached(SETS)?.query_map([account], parsed)?.collect()
            })
            .await
    }
}

#[async_trait]
impl RecommendationWriter for SqliteRecommendations {
    async fn replace(&self, set: &Set) -> Result<(), Failure> {
        let set = set.clone();
        self.store
            .write(Hop::MongoDb, "replacing recommendations", move |transaction| {
                transaction.execute_batch(TABLE)?;
                let json = serde_json::to_string(&set).map_err(json_error)?;
                let account = set.cloud_account_id.as_str();
                let values = (account, set.module.as_str(), set.created_at, json);
                transaction.prepare_cached(REPLACE)?.execute(values)?;
                Ok(())
            })
            .await
    }
}
