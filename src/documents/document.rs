//! The form of a resource document: every field that CloudTuner's readers expect.
//!
//! Readers match on `deleted_at: 0` and on the four times; a document that lacks one of them, or
//! whose `tags` is no object, is invisible or breaks a pipeline. Fields that a user may edit
//! (`name`, `pool_id`, `employee_id`, `tags`) are written once, on insert.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cost::{AccountId, Level, ResourceKey};

/// The `service_name` of every resource of ours.
pub const SERVICE_NAME: &str = "Kubernetes";

/// A whole document, as it is inserted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// The ledger's `resource_id`.
    #[serde(rename = "_id")]
    pub id: String,
    /// The stable id; equal to `_id` unless that was taken by a deleted document.
    pub cloud_resource_id: String,
    /// The account.
    pub cloud_account_id: AccountId,
    /// For people.
    pub name: String,
    /// `K8s Cluster`, `K8s Namespace` or `K8s Pod`.
    pub resource_type: String,
    /// Always [`SERVICE_NAME`].
    pub service_name: String,
    /// Kubernetes resources have none.
    pub region: Option<String>,
    /// Empty; users add theirs, with base64 keys.
    pub tags: BTreeMap<String, String>,
    /// What the names are of.
    pub meta: Meta,
    /// Namespace, for namespaces and pods.
    pub k8s_namespace: Option<String>,
    /// Node, for pods.
    pub k8s_node: Option<String>,
    /// Service, for pods where known.
    pub k8s_service: Option<String>,
    /// Assigned by users or rules.
    pub pool_id: Option<String>,
    /// Assigned by users or rules.
    pub employee_id: Option<String>,
    /// Unix seconds.
    pub first_seen: i64,
    /// Unix seconds.
    pub last_seen: i64,
    /// Midnight of `first_seen`, Unix seconds.
    #[serde(rename = "_first_seen_date")]
    pub first_seen_date: i64,
    /// Midnight of `last_seen`, Unix seconds.
    #[serde(rename = "_last_seen_date")]
    pub last_seen_date: i64,
    /// Whether it was seen today or yesterday.
    pub active: bool,
    /// 0: not deleted.
    pub deleted_at: i64,
    /// The CloudTuner cluster (a group of resources) it belongs to: none.
    pub cluster_id: Option<String>,
    /// Type of such a group: none.
    pub cluster_type_id: Option<String>,
    /// Not a shared environment.
    pub is_environment: bool,
    /// Set by CloudTuner's own checks.
    pub constraint_violated: bool,
    /// Unix seconds.
    pub created_at: i64,
    /// USD over all days; follows the ledger.
    pub total_cost: f64,
}

/// The names behind a document; readers add to this object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// Cluster.
    pub cluster: String,
    /// Namespace, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Pod, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
}

/// The cost of a resource's last day with cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastExpense {
    /// Midnight, Unix seconds.
    pub date: i64,
    /// USD.
    pub cost: f64,
}

/// `resource_type` of a level.
#[must_use]
pub fn resource_type(level: Level) -> &'static str {
    match level {
        Level::Cluster => "K8s Cluster",
        Level::Namespace => "K8s Namespace",
        Level::Pod => "K8s Pod",
    }
}

/// `name` of a resource: what people see first.
#[must_use]
pub fn display_name(key: &ResourceKey) -> String {
    match key {
        ResourceKey::Cluster { cluster } if cluster.is_empty() => "Cluster: (unnamed)".to_owned(),
        ResourceKey::Cluster { cluster } => format!("Cluster: {cluster}"),
        ResourceKey::Namespace { namespace, .. } => format!("Namespace: {namespace}"),
        ResourceKey::Pod { pod, .. } => format!("Pod: {pod}"),
    }
}
