//! What an account has in the stores of a day, by namespace and pod.

use std::collections::BTreeMap;

use clickhouse::Row;
use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
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
    /// What documents say of their last day, which is this one: USD by part, by `_id`.
    pub(crate) parts: BTreeMap<String, BTreeMap<String, f64>>,
    /// What documents say of the efficiency of CPU and memory, by namespace; `""`: the cluster's.
    pub(crate) efficiencies: BTreeMap<String, [Option<f64>; 2]>,
    /// Rows by `_id`.
    pub(crate) rows: BTreeMap<String, f64>,
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

impl Stored {
    /// USD by part over all rows, of which each must be the sum of its document's parts.
    pub(crate) fn parts_of_rows(&self) -> BTreeMap<String, f64> {
        let mut out: BTreeMap<String, f64> = BTreeMap::new();
        for (id, usd) in &self.rows {
            let parts = &self.parts[id];
            assert_eq!(parts.values().sum::<f64>().to_bits(), usd.to_bits(), "{id}: {parts:?}");
            for (part, usd) in parts {
                *out.entry(part.clone()).or_default() += usd;
            }
        }
        out
    }
}

/// The parts of a document's last day, if that is the day.
fn last_day_parts(document: &Document, day_start: i64) -> Option<BTreeMap<String, f64>> {
    let last = document.get_document("cost_parts").ok()?.get_document("last_day").unwrap();
    let usd = |(part, usd): (&String, &Bson)| Some((part.clone(), usd.as_f64()?));
    (last.get_i64("date").unwrap() == day_start).then(|| last.iter().filter_map(usd).collect())
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
    let documents: Vec<Document> = stores
        .mongo()
        .await
        .collection::<Document>("cloud_resource")
        .find(doc! {})
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let pod_of: BTreeMap<&str, &str> = documents
        .iter()
        .filter(|document| document.get_str("resource_type") == Ok("K8s Pod"))
        .map(|pod| {
            let name = pod.get_document("meta").unwrap().get_str("name").unwrap();
            (pod.get_str("_id").unwrap(), name)
        })
        .collect();
    let mut stored = Stored::default();
    for document in &documents {
        if let Some(parts) = last_day_parts(document, day_start) {
            stored.parts.insert(document.get_str("_id").unwrap().to_owned(), parts);
        }
        let kind = document.get_str("resource_type").unwrap();
        if ["K8s Cluster", "K8s Namespace"].contains(&kind) {
            let name = document.get_str("k8s_namespace").unwrap_or_default().to_owned();
            let of = |key: &str| document.get_f64(key).ok();
            stored.efficiencies.insert(name, ["cpu_efficiency", "ram_efficiency"].map(of));
        }
    }
    for row in rows {
        stored.total += row.usd;
        *stored.rows.entry(row.resource_id.clone()).or_default() += row.usd;
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
