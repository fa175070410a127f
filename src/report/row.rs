//! A row of the ledger under the names of its document.

use std::collections::BTreeMap;

use crate::cost::{AccountId, Day};

/// A stored row under the names of its document.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The account.
    pub account: AccountId,
    /// The day.
    pub day: Day,
    /// The ledger's `resource_id`.
    pub resource_id: String,
    /// The stable id; empty where there is no document.
    pub cloud_resource_id: String,
    /// `resource_type`; empty where there is no document.
    pub resource_type: String,
    /// The document's name for people.
    pub resource_name: String,
    /// Whether there is a document.
    pub is_known: bool,
    /// The cluster.
    pub cluster: Option<String>,
    /// The namespace.
    pub namespace: Option<String>,
    /// The node.
    pub node: Option<String>,
    /// The pod.
    pub pod: Option<String>,
    /// The service.
    pub service: Option<String>,
    /// Tags by their plain keys.
    pub tags: BTreeMap<String, String>,
    /// USD, as stored.
    pub usd: f64,
}
