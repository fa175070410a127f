//! What Kubernetes says of namespaces and pods beside their costs.

use std::collections::BTreeMap;

/// What Kubernetes says of a namespace or a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubernetesFacts {
    /// Labels that become tags, by name; `None` where they were not to be had.
    pub labels: Option<BTreeMap<String, String>>,
    /// Kind and name of what made a pod.
    pub created_by: Option<(String, String)>,
    /// How many pods a namespace has.
    pub pod_count: Option<u64>,
}
