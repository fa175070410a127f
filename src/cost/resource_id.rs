//! Stable names of resources.
//!
//! An id is a prefix and the first 16 hex digits of SHA-256 over the UTF-8 of kind, account,
//! cluster, namespace and pod (as many as the kind has), joined by 0x1F, a byte that no
//! Kubernetes name holds. The account and the cluster are part of it, so `default` of one account
//! is not `default` of another.

use std::fmt;

use sha2::{Digest, Sha256};

use super::costs::Level;

/// The id of a CloudTuner cloud account; also its `tenant_id` label and `Cloud-Account-Id` header.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct AccountId(String);

/// A text that is no account id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is not an account id (1 to 128 letters, digits, '-', '_', '.' or ':')")]
pub struct BadAccountId(pub String);

impl AccountId {
    /// Takes a text as an account id.
    ///
    /// # Errors
    /// [`BadAccountId`] when it is empty, longer than 128 bytes or holds other characters than
    /// letters, digits, `-`, `_`, `.` and `:`.
    pub fn new(text: impl Into<String>) -> Result<Self, BadAccountId> {
        let text = text.into();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if text.is_empty() || text.len() > 128 || !text.bytes().all(fits) {
            return Err(BadAccountId(text));
        }
        Ok(Self(text))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a cost is of, within an account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKey {
    /// A whole cluster.
    Cluster {
        /// Name of the cluster; empty where the source has none and no default is set.
        cluster: String,
    },
    /// A node of a cluster.
    Node {
        /// Name of the cluster.
        cluster: String,
        /// Name of the node.
        node: String,
    },
    /// A namespace of a cluster.
    Namespace {
        /// Name of the cluster.
        cluster: String,
        /// Name of the namespace.
        namespace: String,
    },
    /// A pod of a namespace.
    Pod {
        /// Name of the cluster.
        cluster: String,
        /// Name of the namespace.
        namespace: String,
        /// Name of the pod.
        pod: String,
    },
}

/// The prefixes of ids, by level.
const PREFIXES: [(Level, &str); 4] = [
    (Level::Cluster, "k8s-cluster-"),
    (Level::Node, "k8s-node-"),
    (Level::Namespace, "k8s-ns-"),
    (Level::Pod, "k8s-pod-"),
];

impl ResourceKey {
    /// The level that the resource is of.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::Cluster { .. } => Level::Cluster,
            Self::Node { .. } => Level::Node,
            Self::Namespace { .. } => Level::Namespace,
            Self::Pod { .. } => Level::Pod,
        }
    }

    /// The cluster's name.
    #[must_use]
    pub fn cluster(&self) -> &str {
        match self {
            Self::Cluster { cluster }
            | Self::Node { cluster, .. }
            | Self::Namespace { cluster, .. }
            | Self::Pod { cluster, .. } => cluster,
        }
    }

    /// The node's name, if it is a node.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        match self {
            Self::Node { node, .. } => Some(node),
            _ => None,
        }
    }

    /// The namespace's name, of a namespace and of a pod.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::Cluster { .. } | Self::Node { .. } => None,
            Self::Namespace { namespace, .. } | Self::Pod { namespace, .. } => Some(namespace),
        }
    }

    /// The pod's name, if it is a pod.
    #[must_use]
    pub fn pod(&self) -> Option<&str> {
        match self {
            Self::Pod { pod, .. } => Some(pod),
            _ => None,
        }
    }

    /// The stable id: `k8s-ns-5aed2a58e9b3f1fd` and the like.
    #[must_use]
    pub fn id(&self, account: &AccountId) -> String {
        let kind = self.level().as_str();
        let mut hash = Sha256::new();
        hash.update(kind.as_bytes());
        let parts = [
            Some(account.as_str()),
            Some(self.cluster()),
            self.node(),
            self.namespace(),
            self.pod(),
        ];
        for part in parts.into_iter().flatten() {
            hash.update([0x1F]);
            hash.update(part.as_bytes());
        }
        let mut id = String::with_capacity(28);
        id.push_str(prefix(self.level()));
        id.push_str(&hex(&hash.finalize()[..8]));
        id
    }
}

/// Bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The `_id` of the document of a resource that is new to the store: a UUID of version 8, made from
/// the first 16 bytes of SHA-256 over the UTF-8 of `_id`, account id and stable id, joined by 0x1F
/// (RFC 9562, section 5.8). Readers refuse ids of any other form.
///
/// `attempt` is 1; where a deleted document holds that `_id`, the next attempts (2, 3, ...) add
/// their number as a fourth part.
#[must_use]
pub fn document_id(account: &AccountId, cloud_resource_id: &str, attempt: u32) -> String {
    let mut hash = Sha256::new();
    hash.update(b"_id");
    let attempt = (attempt > 1).then(|| attempt.to_string());
    for part in [Some(account.as_str()), Some(cloud_resource_id), attempt.as_deref()] {
        let Some(part) = part else { continue };
        hash.update([0x1F]);
        hash.update(part.as_bytes());
    }
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

fn prefix(level: Level) -> &'static str {
    PREFIXES.iter().find(|(of, _)| *of == level).map_or("", |(_, prefix)| prefix)
}

/// Whether an id has the form of ours: a known prefix and 16 lower-case hex digits.
#[must_use]
pub fn has_own_form(id: &str) -> bool {
    PREFIXES.iter().any(|(_, prefix)| {
        id.strip_prefix(prefix).is_some_and(|digits| {
            digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Golden {
        vectors: Vec<Vector>,
    }

    #[derive(serde::Deserialize)]
    struct Vector {
        kind: String,
        parts: Vec<String>,
        id: String,
    }

    fn key(vector: &Vector) -> ResourceKey {
        let part = |index: usize| vector.parts[index].clone();
        match vector.kind.as_str() {
            "cluster" => ResourceKey::Cluster { cluster: part(1) },
            "node" => ResourceKey::Node { cluster: part(1), node: part(2) },
            "namespace" => ResourceKey::Namespace { cluster: part(1), namespace: part(2) },
            "pod" => ResourceKey::Pod { cluster: part(1), namespace: part(2), pod: part(3) },
            other => panic!("unknown kind {other}"),
        }
    }

    #[test]
    fn ids_are_the_golden_ones() {
        let golden: Golden =
            serde_json::from_str(include_str!("../../fixtures/golden/ids.json")).unwrap();
        assert!(golden.vectors.len() >= 12);
        for vector in &golden.vectors {
            let account = AccountId::new(vector.parts[0].clone()).unwrap();
            assert_eq!(key(vector).id(&account), vector.id, "{:?}", vector.parts);
            assert!(has_own_form(&vector.id));
        }
    }

    #[test]
    fn document_ids_are_the_golden_uuids() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../fixtures/golden/uuids.json")).unwrap();
        let vectors = golden["vectors"].as_array().unwrap();
        assert!(vectors.len() >= 10);
        for vector in vectors {
            let account = AccountId::new(vector["account"].as_str().unwrap()).unwrap();
            let stable = vector["cloud_resource_id"].as_str().unwrap();
            assert_eq!(document_id(&account, stable, 1), vector["_id"].as_str().unwrap());
            let next = document_id(&account, stable, 2);
            assert_ne!(next, vector["_id"].as_str().unwrap());
            assert_eq!(uuid::Uuid::parse_str(&next).unwrap().get_version_num(), 8);
        }
    }

    #[test]
    fn only_our_own_form_is_ours() {
        for id in [
            "k8s-ns-5AED2A58E9B3F1FD",
            "k8s-ns-5aed",
            "k8s-ns-5aed2a58e9b3f1fd0",
            "k8s-ns-5aed2a58e9b3f1fg",
            "k8s-service-5aed2a58e9b3f1fd",
            "",
        ] {
            assert!(!has_own_form(id), "{id}");
        }
    }

    #[test]
    fn a_key_knows_its_names_and_its_level() {
        let (cluster, namespace, pod) = ("c".to_owned(), "n".to_owned(), "p".to_owned());
        let names = |key: &ResourceKey| {
            (
                key.level(),
                key.cluster().to_owned(),
                key.namespace().map(str::to_owned),
                key.pod().map(str::to_owned),
            )
        };
        let key = ResourceKey::Cluster { cluster: cluster.clone() };
        assert_eq!(names(&key), (Level::Cluster, "c".into(), None, None));
        let key = ResourceKey::Node { cluster: cluster.clone(), node: "m".to_owned() };
        assert_eq!((key.node(), names(&key)), (Some("m"), (Level::Node, "c".into(), None, None)));
        let key = ResourceKey::Namespace { cluster: cluster.clone(), namespace: namespace.clone() };
        assert_eq!(names(&key), (Level::Namespace, "c".into(), Some("n".into()), None));
        let key = ResourceKey::Pod { cluster, namespace, pod };
        assert_eq!(names(&key), (Level::Pod, "c".into(), Some("n".into()), Some("p".into())));
    }

    #[test]
    fn an_account_is_shown_by_its_id() {
        let account = AccountId::new("a-1").unwrap();
        assert_eq!(format!("{account} {account:?} {}", account.as_str()), "a-1 a-1 a-1");
    }

    #[test]
    fn account_ids_are_plain_words() {
        for text in ["", "a b", "a\"b", "a\nb", "é"] {
            assert_eq!(AccountId::new(text), Err(BadAccountId(text.to_owned())));
        }
        assert!(AccountId::new("bc55eb8c-5db2-4c32-b976-2df0edb0619a").is_ok());
        assert!(AccountId::new("x".repeat(128)).is_ok());
        assert!(AccountId::new("x".repeat(129)).is_err());
    }
}
