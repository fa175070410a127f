//! The form of a resource document: every field that CloudTuner's readers expect.
//!
//! Readers match on `deleted_at: 0` and on four times; a document that lacks one of them, or whose
//! two dates are no BSON dates, is invisible. Fields that a user may edit (`name`, `pool_id`,
//! `employee_id`, `tags`) are written once, on insert. The keys that a document and its `meta` may
//! have stand in [`META_KEYS`] and [`ABSENT_KEYS`].

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cost::{AccountId, Day, Level, NodeFacts, ResourceKey};

pub use crate::settings::worker::PoolOwner;

/// The `service_name` of every resource.
pub const SERVICE_NAME: &str = "Kubernetes";

/// The keys of `meta` by level, which name the resource. CloudTuner's class for pods refuses any key
/// but its own; for clusters, nodes and namespaces it has no class, so the names are free.
pub const META_KEYS: [(Level, &[&str]); 4] = [
    (Level::Cluster, &["cluster"]),
    (Level::Node, &["cluster", "name"]),
    (Level::Namespace, &["cluster", "namespace"]),
    (Level::Pod, &["name", "k8s_cluster", "k8s_namespace", "k8s_node", "k8s_service"]),
];

/// The keys that version 0.1.0 wrote into a pod's `meta`, which readers fail on.
pub const REFUSED_POD_META_KEYS: [&str; 3] = ["cluster", "namespace", "pod"];

/// Keys that readers ask for by `{$exists: false}`: a null in their place hides the document.
pub const ABSENT_KEYS: [&str; 2] = ["cluster_id", "cluster_type_id"];

/// Keys that are absent where no value is known: a null hides the document from pages by pool and
/// by owner just as well, and fails others.
pub const OWNER_KEYS: [&str; 2] = ["pool_id", "employee_id"];

/// A key that is absent unless a user makes the resource a shared environment. Readers count
/// documents by type and this key, and show one of the counts where some have false and some none.
pub const ENVIRONMENT_KEY: &str = "is_environment";

/// A value in `meta`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MetaValue {
    /// A name.
    Text(String),
    /// Yes or no.
    Flag(bool),
    /// A whole number, such as bytes.
    Whole(i64),
    /// A number.
    Number(f64),
}

impl fmt::Display for MetaValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Flag(flag) => flag.fmt(f),
            Self::Whole(number) => number.fmt(f),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl From<&str> for MetaValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A whole document, as it is inserted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResourceDocument {
    /// The ledger's `resource_id`: a UUID, see [`crate::cost::resource_id::document_id`].
    #[serde(rename = "_id")]
    pub id: String,
    /// The stable id.
    pub cloud_resource_id: String,
    /// The account.
    pub cloud_account_id: AccountId,
    /// For people.
    pub name: String,
    /// `K8s Cluster`, `K8s Node`, `K8s Namespace` or `K8s Pod`.
    pub resource_type: String,
    /// Always [`SERVICE_NAME`].
    pub service_name: String,
    /// The zone, for nodes where known.
    pub region: Option<String>,
    /// Those of its labels where that is set up; users add theirs, with base64 keys.
    pub tags: BTreeMap<String, String>,
    /// Which tags this program set ([`super::tags`]).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub label_tags: BTreeMap<String, String>,
    /// The names behind the document, by the keys of [`META_KEYS`], and what is known of a node.
    pub meta: BTreeMap<String, MetaValue>,
    /// Cluster.
    pub k8s_cluster: String,
    /// Namespace, for namespaces and pods.
    pub k8s_namespace: Option<String>,
    /// Node, for nodes and pods.
    pub k8s_node: Option<String>,
    /// Service, for pods where known.
    pub k8s_service: Option<String>,
    /// The pool whose budget the costs count against; absent where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_id: Option<String>,
    /// The owner; absent where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub employee_id: Option<String>,
    /// Unix seconds.
    pub first_seen: i64,
    /// Unix seconds.
    pub last_seen: i64,
    /// The day of `first_seen`; in MongoDB a BSON date.
    #[serde(rename = "_first_seen_date")]
    pub first_seen_date: Day,
    /// The day of `last_seen`; in MongoDB a BSON date.
    #[serde(rename = "_last_seen_date")]
    pub last_seen_date: Day,
    /// Whether it was seen today or yesterday.
    pub active: bool,
    /// 0: not deleted.
    pub deleted_at: i64,
    /// Set by CloudTuner's own checks.
    pub constraint_violated: bool,
    /// Unix seconds.
    pub created_at: i64,
    /// USD over all days; follows the ledger.
    pub total_cost: f64,
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
        Level::Node => "K8s Node",
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
        // The name that rows and pods have in k8s_node.
        ResourceKey::Node { node, .. } => node.clone(),
        ResourceKey::Namespace { namespace, .. } => format!("Namespace: {namespace}"),
        // CloudTuner joins a pod's metrics to its document by this name.
        ResourceKey::Pod { pod, .. } => pod.clone(),
    }
}

/// `meta` of a resource, with the keys of its level that have a value.
#[must_use]
pub fn meta(
    key: &ResourceKey,
    node: Option<&str>,
    service: Option<&str>,
) -> BTreeMap<String, MetaValue> {
    let value = |name: &str| match name {
        "cluster" | "k8s_cluster" => Some(key.cluster()),
        "namespace" | "k8s_namespace" => key.namespace(),
        "name" => key.pod().or(key.node()),
        "k8s_node" => node,
        "k8s_service" => service,
        _ => None,
    };
    let keys = META_KEYS.iter().filter(|(level, _)| *level == key.level());
    keys.flat_map(|(_, names)| names.iter())
        .filter_map(|name| Some(((*name).to_owned(), MetaValue::from(value(name)?))))
        .collect()
}

/// What is known of a node, by the keys of its `meta`.
#[must_use]
pub fn node_meta(facts: &NodeFacts) -> BTreeMap<String, MetaValue> {
    let text = |value: &Option<String>| value.as_deref().map(MetaValue::from);
    let bytes = facts.memory_bytes.filter(|bytes| (0.0..=9.0e15).contains(bytes));
    #[expect(clippy::cast_possible_truncation, reason = "bounded just above")]
    let bytes = bytes.map(|bytes| MetaValue::Whole(bytes as i64));
    [
        ("instance_type", text(&facts.instance_type)),
        ("provider_id", text(&facts.provider_id)),
        ("cpu_cores", facts.cores.map(MetaValue::Number)),
        ("memory_bytes", bytes),
        ("is_spot", facts.is_spot.map(MetaValue::Flag)),
        ("hourly_price_usd", facts.price_usd_hourly.map(MetaValue::Number)),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_owned(), value?)))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys that CloudTuner's class for pods takes in `meta`, as its source has them.
    const POD_CLASS_KEYS: [&str; 10] = [
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

    #[test]
    fn a_pods_meta_has_only_keys_that_the_readers_class_for_pods_takes() {
        let (_, keys) = META_KEYS.iter().find(|(level, _)| *level == Level::Pod).unwrap();
        assert!(keys.iter().all(|key| POD_CLASS_KEYS.contains(key)), "{keys:?}");
        assert!(REFUSED_POD_META_KEYS.iter().all(|key| !POD_CLASS_KEYS.contains(key)));
        let [cluster, namespace, pod] = ["c", "n", "p"].map(str::to_owned);
        let pod = ResourceKey::Pod { cluster, namespace, pod };
        let made = meta(&pod, Some("node-1"), None);
        let pairs: Vec<_> =
            made.iter().map(|(key, value)| (key.as_str(), value.to_string())).collect();
        let wanted =
            [("k8s_cluster", "c"), ("k8s_namespace", "n"), ("k8s_node", "node-1"), ("name", "p")];
        let wanted = wanted.map(|(key, value)| (key, value.to_owned()));
        assert_eq!(pairs, wanted);
    }

    #[test]
    fn a_nodes_meta_has_its_name_and_what_is_known_of_the_machine() {
        let node = ResourceKey::Node { cluster: "c".into(), node: "n".into() };
        let names: Vec<_> = meta(&node, Some("n"), None).into_keys().collect();
        assert_eq!(names, ["cluster", "name"]);
        let facts = NodeFacts {
            cores: Some(8.0),
            memory_bytes: Some(34_359_738_368.0),
            is_spot: Some(false),
            ..NodeFacts::default()
        };
        let shown: Vec<_> =
            node_meta(&facts).into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(shown, ["cpu_cores=8", "is_spot=false", "memory_bytes=34359738368"]);
    }

    #[test]
    fn clusters_and_namespaces_keep_the_names_of_their_own() {
        let namespace = ResourceKey::Namespace { cluster: "c".into(), namespace: "n".into() };
        let keys: Vec<_> = meta(&namespace, Some("x"), Some("y")).into_keys().collect();
        assert_eq!(keys, ["cluster", "namespace"]);
        let cluster = ResourceKey::Cluster { cluster: "c".into() };
        assert_eq!(meta(&cluster, None, None).into_keys().collect::<Vec<_>>(), ["cluster"]);
    }
}
