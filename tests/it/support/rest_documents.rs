//! The fake REST API's documents in a real collection.

use async_trait::async_trait;
use futures_util::TryStreamExt;
use mongodb::Collection;
use mongodb::bson::{Document, doc};

use crate::rest_api::Documents;

/// A collection that the fake writes to.
pub(crate) struct MongoDocuments(pub(crate) Collection<Document>);

#[async_trait]
impl Documents for MongoDocuments {
    async fn find(&self, account: &str, cloud_resource_ids: &[String]) -> Vec<Document> {
        let filter = doc! {"cloud_account_id": account,
        "cloud_resource_id": {"$in": cloud_resource_ids}};
        self.0.find(filter).await.unwrap().try_collect().await.unwrap()
    }

    async fn upsert(&self, filter: &Document, update: &Document) {
        self.0.update_one(filter.clone(), update.clone()).upsert(true).await.unwrap();
    }
}
