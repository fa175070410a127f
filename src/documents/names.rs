//! The names behind the ledger's ids: what reports show of documents, whoever made them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base64::Engine;
use mongodb::bson::{Bson, Document as Bdoc, doc};
use serde_json::Value;

use crate::cost::AccountId;
use crate::service::failure::{Failure, Hop};
use crate::stores::sqlite::{json_error, json_list};

use super::bson_form::{id_text, in_list};
use super::mongo::MongoResources;
use super::sqlite::SqliteResources;

/// Ids in one statement.
const IDS_MAX: usize = 5_000;
/// The fields that names come from.
const FIELDS: [&str; 12] = [
    "cloud_resource_id",
    "resource_type",
    "name",
    "k8s_cluster",
    "k8s_namespace",
    "k8s_node",
    "k8s_service",
    "pool_id",
    "employee_id",
    "tags",
    "meta",
    "region",
];

/// What a document says of the resource that costs are of.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ResourceNames {
    /// `_id`, the ledger's `resource_id`.
    pub id: String,
    /// The stable id.
    pub cloud_resource_id: String,
    /// `resource_type`, such as `K8s Pod`.
    pub resource_type: String,
    /// The name that people see first.
    pub name: String,
    /// Its cluster.
    pub cluster: Option<String>,
    /// Its namespace.
    pub namespace: Option<String>,
    /// Its node.
    pub node: Option<String>,
    /// Its service.
    pub service: Option<String>,
    /// Its pool.
    pub pool_id: Option<String>,
    /// Tags by their plain keys.
    pub tags: BTreeMap<String, String>,
}

impl ResourceNames {
    /// The pod's name, where it is a pod.
    #[must_use]
    pub fn pod(&self) -> Option<&str> {
        (self.resource_type == "K8s Pod").then_some(self.name.as_str())
    }
}

/// Reads the names behind the ledger's ids.
#[async_trait]
pub trait DocumentNames: Send + Sync {
    /// The documents of an account with these `_id`s, deleted ones included, for their rows are
    /// still in the ledger. Ids without a document are left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn names(
        &self,
        account: &AccountId,
        ids: &[String],
    ) -> Result<Vec<ResourceNames>, Failure>;
}

#[async_trait]
impl DocumentNames for MongoResources {
    async fn names(
        &self,
        account: &AccountId,
        ids: &[String],
    ) -> Result<Vec<ResourceNames>, Failure> {
        let mut out = Vec::with_capacity(ids.len());
        for ids in ids.chunks(IDS_MAX) {
            let filter = doc! { "_id": in_list(ids), "cloud_account_id": account.as_str() };
            let found = self.find_all(filter, &FIELDS).await?;
            out.extend(found.iter().filter_map(of_bson));
        }
        Ok(out)
    }
}

const NAMES: &str = "
SELECT _id, cloud_resource_id, resource_type, name, k8s_namespace, k8s_node, k8s_service, pool_id,
    rest
FROM cloud_resource
WHERE cloud_account_id = ?1 AND _id IN (SELECT value FROM json_each(?2))";

#[async_trait]
impl DocumentNames for SqliteResources {
    async fn names(
        &self,
        account: &AccountId,
        ids: &[String],
    ) -> Result<Vec<ResourceNames>, Failure> {
        let mut out = Vec::with_capacity(ids.len());
        for ids in ids.chunks(IDS_MAX) {
            let values = (account.as_str().to_owned(), json_list(ids));
            let found: Vec<ResourceNames> = self
                .store
                .read(Hop::MongoDb, "reading documents' names", move |connection| {
                    connection.prepare_cached(NAMES)?.query_map(values, of_row)?.collect()
                })
                .await?;
            out.extend(found);
        }
        Ok(out)
    }
}

fn of_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<ResourceNames> {
    let rest: Value = serde_json::from_str(&row.get::<_, String>(8)?).map_err(json_error)?;
    let tags = rest["tags"].as_object().into_iter().flatten();
    Ok(ResourceNames {
        id: row.get(0)?,
        cloud_resource_id: row.get(1)?,
        resource_type: row.get(2)?,
        name: row.get(3)?,
        cluster: rest["k8s_cluster"].as_str().map(str::to_owned),
        namespace: row.get(4)?,
        node: row.get(5)?,
        service: row.get(6)?,
        pool_id: row.get(7)?,
        tags: tags
            .filter_map(|(key, value)| Some((plain_key(key), value.as_str()?.to_owned())))
            .collect(),
    })
}

fn of_bson(found: &Bdoc) -> Option<ResourceNames> {
    let meta = found.get_document("meta").ok();
    let text = |key: &str| found.get_str(key).ok().filter(|text| !text.is_empty());
    let of_meta = |key: &str| meta.and_then(|meta| meta.get_str(key).ok());
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let tags = found.get_document("tags").ok().into_iter().flatten();
    let resource_type = text("resource_type").unwrap_or_default().to_owned();
    let is_pod = resource_type == "K8s Pod";
    let id = id_text(found.get("_id"))?;
    Some(ResourceNames {
        cloud_resource_id: owned(text("cloud_resource_id")).unwrap_or_default(),
        // A pod's display name may be edited; the name in its meta is the pod's own.
        name: owned(of_meta("name").filter(|_| is_pod).or(text("name")))
            .unwrap_or_else(|| id.clone()),
        cluster: owned(text("k8s_cluster").or(of_meta("k8s_cluster")).or(of_meta("cluster"))),
        namespace: owned(text("k8s_namespace").or(of_meta("namespace"))),
        node: owned(text("k8s_node").or(of_meta("k8s_node"))),
        service: owned(text("k8s_service")),
        pool_id: owned(text("pool_id")),
        tags: tags
            .filter_map(|(key, value): (&String, &Bson)| {
                Some((plain_key(key), value.as_str()?.to_owned()))
            })
            .collect(),
        resource_type,
        id,
    })
}

/// The key of a tag as people write it: CloudTuner stores keys in base64.
fn plain_key(key: &str) -> String {
    let decoded = base64::engine::general_purpose::STANDARD.decode(key).ok();
    decoded.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_columns_and_else_from_meta_and_keys_of_tags_are_decoded() {
        let found = doc! {
            "_id": "u", "cloud_resource_id": "k8s-pod-1", "resource_type": "K8s Pod",
            "name": "renamed by a user", "k8s_namespace": "shop",
            "meta": { "name": "web-0", "k8s_cluster": "c", "k8s_node": "n1" },
            "tags": { "dGVhbQ==": "blue", "=": "raw" },
        };
        let names = of_bson(&found).unwrap();
        assert_eq!(names.pod(), Some("web-0"));
        assert_eq!((names.cluster.as_deref(), names.node.as_deref()), (Some("c"), Some("n1")));
        assert_eq!((names.tags["team"].as_str(), names.tags["="].as_str()), ("blue", "raw"));
        assert_eq!(of_bson(&doc! { "name": "no id" }), None);
    }
}
