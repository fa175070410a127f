//! Recommendations in MongoDB: the collection `kubecost_recommendations`, `_id` "account:module".

use async_trait::async_trait;
use mongodb::bson::{Document, doc};
use mongodb::{Collection, Database};

use crate::cost::AccountId;
use crate::service::failure::Failure;
use crate::stores::mongo::{bounded, found, to_document};

use super::{RecommendationReader, RecommendationWriter, Set};

/// The collection of recommendations.
pub const COLLECTION: &str = "kubecost_recommendations";

/// The recommendations in a MongoDB database.
#[derive(Clone, Debug)]
pub struct MongoRecommendations {
    sets: Collection<Document>,
}

impl MongoRecommendations {
    /// The recommendations in this database, which [`crate::stores::mongo::connect`] gave.
    #[must_use]
    pub fn new(database: &Database) -> Self {
        Self { sets: database.collection(COLLECTION) }
    }
}

#[async_trait]
impl RecommendationReader for MongoRecommendations {
    async fn sets(&self, account: &AccountId) -> Result<Vec<Set>, Failure> {
        // By `_id`, which has an index: ';' comes after ':'.
        let filter = doc! {
            "_id": { "$gte": format!("{account}:"), "$lt": format!("{account};") },
            "cloud_account_id": account.as_str(),
        };
        found(&self.sets, "reading recommendations", filter).await
    }
}

#[async_trait]
impl RecommendationWriter for MongoRecommendations {
    async fn replace(&self, set: &Set) -> Result<(), Failure> {
        let what = "replacing recommendations";
        let id = format!("{}:{}", set.cloud_account_id, set.module);
        let mut document = to_document(what, set)?;
        document.insert("_id", &id);
        let sets = self.sets.clone();
        bounded(what, async move {
            sets.replace_one(doc! {"_id": id}, document).upsert(true).await.map(|_| ())
        })
        .await
    }
}
