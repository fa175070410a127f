//! Recommendations as they are stored, for CloudTuner's UI and for reports: MongoDB's collection
//! `kubecost_recommendations`, one document per account and kind, in the item form of its own
//! checklists.
//!
//! What belongs here: that form, and what stays when a set is replaced. What does not: finding
//! what could cost less (`recommend`).

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::cost::AccountId;
use crate::service::failure::Failure;

pub mod memory;
pub mod mongo;
pub mod sqlite;

/// Items of one set; the dearest are kept, so that a document stays far below 16 MB.
pub const ITEMS_MAX: usize = 5_000;

/// Who something belongs to, by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The id.
    pub id: String,
}

/// One recommendation, as CloudTuner's pages expect an item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// `_id` of the resource's document; null where it has none.
    pub resource_id: Option<String>,
    /// Its name.
    pub resource_name: String,
    /// Its stable id.
    pub cloud_resource_id: String,
    /// Its region; Kubernetes resources have none.
    pub region: Option<String>,
    /// The account.
    pub cloud_account_id: AccountId,
    /// Always `kubernetes_cnr`.
    pub cloud_type: String,
    /// The account's name.
    pub cloud_account_name: String,
    /// The resource's owner.
    pub owner: Option<Named>,
    /// The resource's pool.
    pub pool: Option<Named>,
    /// Whether somebody does not want to see it; kept when the set is replaced.
    pub is_excluded: bool,
    /// USD a month.
    pub saving: f64,
    /// When it was found first, Unix seconds; kept when the set is replaced.
    pub detected_at: i64,
    /// The kind.
    pub kind: String,
    /// The cluster.
    pub cluster: String,
    /// What of the cluster: `namespace/controller/container`, a namespace, a volume, or nothing.
    pub subject: String,
    /// What to do.
    pub what: String,
    /// What it rests on.
    pub evidence: String,
    /// `low`, `medium` or `high`.
    pub confidence: String,
    /// What would make it wrong.
    pub wrong_if: String,
}

impl Item {
    fn is_same(&self, other: &Self) -> bool {
        (&self.kind, &self.cluster, &self.subject) == (&other.kind, &other.cluster, &other.subject)
    }
}

/// All recommendations of one kind for an account: replaced as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Set {
    /// The account.
    pub cloud_account_id: AccountId,
    /// The kind, as `kubecost_requests`.
    pub module: String,
    /// When the set was made, Unix seconds.
    pub created_at: i64,
    /// Its items, the dearest first.
    pub data: Vec<Item>,
    /// How many more there were than [`ITEMS_MAX`].
    pub left_out: u64,
    /// USD a month of all items, those that are left out too.
    pub saving: f64,
}

impl Set {
    /// A set of items.
    #[must_use]
    pub fn new(account: &AccountId, module: &str, created_at: i64, mut data: Vec<Item>) -> Self {
        data.sort_by(|a, b| b.saving.total_cmp(&a.saving));
        let saving = data.iter().map(|item| item.saving).sum::<f64>() + 0.0;
        let left_out = data.len().saturating_sub(ITEMS_MAX) as u64;
        data.truncate(ITEMS_MAX);
        let (cloud_account_id, module) = (account.clone(), module.to_owned());
        Self { cloud_account_id, module, created_at, data, left_out, saving }
    }

    /// The set with what stays of the one that it replaces: since when an item is known, and
    /// whether somebody excluded it.
    #[must_use]
    pub fn after(mut self, before: Option<&Self>) -> Self {
        for item in &mut self.data {
            let known = before.and_then(|set| set.data.iter().find(|other| item.is_same(other)));
            if let Some(known) = known {
                item.detected_at = known.detected_at;
                item.is_excluded = known.is_excluded;
            }
        }
        self
    }
}

/// Reads stored recommendations.
#[async_trait]
pub trait RecommendationReader: Send + Sync {
    /// The sets of an account, in the order of their modules.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn sets(&self, account: &AccountId) -> Result<Vec<Set>, Failure>;
}

/// Replaces stored recommendations.
#[async_trait]
pub trait RecommendationWriter: Send + Sync {
    /// Puts a set in the place of the account's one of that module.
    ///
    /// # Errors
    /// When the write failed.
    async fn replace(&self, set: &Set) -> Result<(), Failure>;
}

/// Both halves of the store of recommendations.
pub trait RecommendationStore: RecommendationReader + RecommendationWriter {}

impl<T: RecommendationReader + RecommendationWriter> RecommendationStore for T {}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An item of account `a`.
    pub(crate) fn item(subject: &str, saving: f64, detected_at: i64) -> Item {
        Item {
            resource_id: Some("u".into()),
            resource_name: "Namespace: shop".into(),
            cloud_resource_id: "k8s-ns-1".into(),
            region: None,
            cloud_account_id: AccountId::new("a").unwrap(),
            cloud_type: "kubernetes_cnr".into(),
            cloud_account_name: "Shop".into(),
            owner: None,
            pool: Some(Named { id: "p".into() }),
            is_excluded: false,
            saving,
            detected_at,
            kind: "requests".into(),
            cluster: "c".into(),
            subject: subject.into(),
            what: "request less".into(),
            evidence: "7 days".into(),
            confidence: "high".into(),
            wrong_if: "a peak".into(),
        }
    }

    fn set(items: Vec<Item>) -> Set {
        Set::new(&AccountId::new("a").unwrap(), "kubecost_requests", 9, items)
    }

    #[test]
    fn a_set_that_is_replaced_keeps_since_when_its_items_are_known_and_who_excluded_them() {
        let mut before = set(vec![item("web", 3.0, 1), item("gone", 2.0, 1)]);
        before.data[0].is_excluded = true;
        let after = set(vec![item("new", 9.0, 7), item("web", 4.0, 7)]).after(Some(&before));
        let of =
            |item: &Item| (item.subject.clone(), item.saving, item.detected_at, item.is_excluded);
        let found: Vec<_> = after.data.iter().map(of).collect();
        assert_eq!(found, [("new".into(), 9.0, 7, false), ("web".into(), 4.0, 1, true)]);
        assert_eq!(set(vec![item("web", 4.0, 7)]).after(None).data[0].detected_at, 7);
    }

    #[test]
    fn the_dearest_items_are_kept_and_all_are_counted() {
        let many = (0..ITEMS_MAX + 3).map(|n| item(&n.to_string(), n as f64, 0)).collect();
        let set = set(many);
        assert_eq!((set.data.len(), set.left_out), (ITEMS_MAX, 3));
        assert_eq!(set.data[0].saving, (ITEMS_MAX + 2) as f64);
        assert_eq!(set.saving, ((ITEMS_MAX + 2) * (ITEMS_MAX + 3) / 2) as f64);
    }
}
