//! Recommendations, as values.

use serde::Serialize;

/// What kind of change it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Requests of a controller's pods are above what they use.
    Requests,
    /// Nodes of a cluster stand idle.
    Idle,
    /// A volume that no pod mounts.
    UnmountedVolume,
    /// A namespace that neither works nor talks.
    IdleNamespace,
    /// Pods that may run on nodes that can be taken away.
    #[serde(rename = "spot-candidate")]
    Spot,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::Requests, Self::Idle, Self::UnmountedVolume, Self::IdleNamespace, Self::Spot];

    /// The name of the kind's set in `kubecost_recommendations`.
    #[must_use]
    pub fn module(self) -> &'static str {
        match self {
            Self::Requests => "kubecost_requests",
            Self::Idle => "kubecost_idle_nodes",
            Self::UnmountedVolume => "kubecost_unmounted_volumes",
            Self::IdleNamespace => "kubecost_idle_namespaces",
            Self::Spot => "kubecost_spot_candidates",
        }
    }

    /// The kind's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Idle => "idle",
            Self::UnmountedVolume => "unmounted-volume",
            Self::IdleNamespace => "idle-namespace",
            Self::Spot => "spot-candidate",
        }
    }
}

/// How sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// A bound, or few days of evidence.
    Low,
    /// At least three days of evidence.
    Medium,
    /// At least a week of evidence.
    High,
}

impl Confidence {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// Something to change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recommendation {
    /// What kind of change.
    pub kind: Kind,
    /// The account.
    pub account: String,
    /// The cluster.
    pub cluster: String,
    /// The namespace, where it is of one.
    pub namespace: Option<String>,
    /// What it is of: `namespace/controller/container`, a volume, or empty for a whole cluster.
    pub name: String,
    /// What it saves, USD in 730 hours.
    pub usd_per_month: f64,
    /// What to do.
    pub what: String,
    /// What it rests on.
    pub evidence: String,
    /// How sure it is.
    pub confidence: Confidence,
    /// What would make it wrong.
    pub wrong_if: &'static str,
}

/// A metric that a kind of recommendation needs and that is not there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Missing {
    /// The account.
    pub account: String,
    /// The metric.
    pub metric: &'static str,
    /// What is not recommended without it.
    pub lacks: &'static str,
    /// How to forward it.
    pub fix: &'static str,
}

/// An account that could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedAccount {
    /// The account.
    pub account: String,
    /// What failed, where, and what helps.
    pub cause: String,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Recommendations {
    /// The dearest first.
    pub recommendations: Vec<Recommendation>,
    /// What could not be looked at.
    pub missing: Vec<Missing>,
    /// Accounts that could not be looked at.
    pub failed: Vec<FailedAccount>,
}
