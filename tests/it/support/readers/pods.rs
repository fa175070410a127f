//! The page of one type of resource, which knows the keys that a pod may have.

use mongodb::bson::{Document, doc};

use super::{Readers, number};

/// The keys of `meta` that the reader's type of pods has; it sets one attribute a key, and another
/// key fails the page of the whole organization.
pub(crate) const POD_KEYS: [&str; 10] = [
    "name",
    "created_by_kind",
    "created_by_name",
    "host_ip",
    "instance_address",
    "k8s_node",
    "k8s_namespace",
    "pod_ip",
    "k8s_service",
    "k8s_cluster",
];

impl Readers<'_> {
    /// The active pods that were seen at or after the accounts' last discovery (Unix seconds, over
    /// 0); the observer takes `active` from the others.
    pub(crate) async fn pods(&self, last_discovery_at: i64) -> Vec<Document> {
        let filter = doc! {
            "cloud_account_id": {"$in": &self.accounts},
            "resource_type": "K8s Pod",
            "active": true,
        };
        let mut out = Vec::new();
        for pod in self.find(filter).await {
            if number(pod.get("last_seen").expect("HTTP 500: a pod without last_seen"))
                < last_discovery_at
            {
                continue;
            }
            if let Some(meta) = pod.get("meta") {
                let meta = meta.as_document().expect("HTTP 500: meta is no object");
                let known = |key: &&String| !POD_KEYS.contains(&key.as_str());
                let unknown: Vec<&String> = meta.keys().filter(known).collect();
                assert!(unknown.is_empty(), "HTTP 500: pods have no {unknown:?}: {pod}");
            }
            out.push(pod);
        }
        out
    }
}
