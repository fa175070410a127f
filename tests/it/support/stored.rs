//! What an account has in the stores of a day, by namespace and pod.

use std::collections::BTreeMap;

use clickhouse::Row;
use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use serde::Deserialize;

use super::servers::Stores;
use crate::truth::PodName;

/// Costs of a day, USD.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) total: f64,
    pub(crate) namespaces: BTreeMap<String, f64>,
    pub(crate) pods: BTreeMap<PodName, f64>,
    pub(crate) nodes: BTreeMap<PodName, String>,
    /// By node, whatever the rows are of.
    pub(crate) by_node: BTreeMap<String, f64>,
}

#[derive(Row, Deserialize)]
struct StoredRow {
    resource_id: String,
    namespace: String,
    node: String,
    usd: f64,
}

/// What `account` has on the day that starts at this Unix time.
pub(crate) async fn stored(stores: &Stores, account: &str, day_start: i64) -> Stored {
    let rows = stores
        .client()
        .query(
            "SELECT resource_id, ifNull(k8s_namespace, ''), ifNull(k8s_node, ''), sum(cost * sign) \
             FROM expenses WHERE cloud_account_id = ? AND toUInt32(date) = ? \
             GROUP BY resource_id, k8s_namespace, k8s_node HAVING sum(sign) > 0",
        )
        .bind(account)
        .bind(u32::try_from(day_start).unwrap())
        .fetch_all::<StoredRow>()
        .await
        .unwrap();
    let pods: Vec<Document> = stores
        .mongo()
        .await
        .collection::<Document>("cloud_resource")
        .find(doc! { "resource_type": "K8s Pod" })
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let pod_of: BTreeMap<&str, &str> = pods
        .iter()
        .map(|pod| {
            let name = pod.get_document("meta").unwrap().get_str("name").unwrap();
            (pod.get_str("_id").unwrap(), name)
        })
        .collect();
    let mut stored = Stored::default();
    for row in rows {
        stored.total += row.usd;
        if !row.node.is_empty() {
            *stored.by_node.entry(row.node.clone()).or_default() += row.usd;
        }
        if !row.namespace.is_empty() {
            *stored.namespaces.entry(row.namespace.clone()).or_default() += row.usd;
        }
        if let Some(pod) = pod_of.get(row.resource_id.as_str()) {
            let name = (row.namespace, (*pod).to_owned());
            stored.pods.insert(name.clone(), row.usd);
            stored.nodes.insert(name, row.node);
        }
    }
    stored
}
