//! What a store has of a document, as far as a run reads it.

use std::collections::BTreeMap;

use crate::cost::{Day, Level};

use super::cost_parts::CostParts;
use super::document::{LastExpense, resource_type};

/// A stored `_first_seen_date` or `_last_seen_date`. Readers compare it with dates, so a document
/// with anything else there is invisible to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoredDate {
    /// No such key, or null.
    #[default]
    Missing,
    /// A date, Unix seconds.
    Date(i64),
    /// A number, as version 0.1.0 wrote it, or another type.
    NotADate,
}

impl StoredDate {
    /// Whether readers can compare it.
    #[must_use]
    pub fn is_date(self) -> bool {
        matches!(self, Self::Date(_))
    }
}

/// What a store has of a resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredResource {
    /// `_id`, which is the ledger's `resource_id`.
    pub id: String,
    /// The stable id.
    pub cloud_resource_id: String,
    /// `resource_type`, where it is a text.
    pub resource_type: Option<String>,
    /// Unix seconds; `None` when the document lacks it and so is invisible to readers.
    pub first_seen: Option<i64>,
    /// Unix seconds.
    pub last_seen: Option<i64>,
    /// The day of `first_seen`.
    pub first_seen_date: StoredDate,
    /// The day of `last_seen`.
    pub last_seen_date: StoredDate,
    /// Whether it was seen of late.
    pub active: Option<bool>,
    /// USD over all days.
    pub total_cost: Option<f64>,
    /// The last day's cost.
    pub last_expense: Option<LastExpense>,
    /// What its costs are made of, where it says so.
    pub cost_parts: Option<CostParts>,
    /// Keys of [`super::document::ABSENT_KEYS`] and [`super::document::OWNER_KEYS`] that are null.
    pub null_keys: Vec<&'static str>,
    /// Whether [`super::document::ENVIRONMENT_KEY`] is there and false.
    pub has_false_environment: bool,
    /// Whether the document has a pool or an owner.
    pub has_owner: bool,
    /// `pool_id`, where it is a text.
    pub pool_id: Option<String>,
    /// `employee_id`, where it is a text.
    pub employee_id: Option<String>,
    /// Whether it is marked as deleted.
    pub is_deleted: bool,
    /// `tags` by their encoded keys; `None` where they are no object.
    pub tags: Option<BTreeMap<String, String>>,
    /// The record of tags that this program set ([`super::tags`]).
    pub label_tags: BTreeMap<String, String>,
    /// `k8s_namespace`, where it is a text.
    pub k8s_namespace: Option<String>,
    /// `k8s_node`, where it is a text.
    pub k8s_node: Option<String>,
    /// `k8s_cluster` at the top level, where it is a text.
    pub k8s_cluster: Option<String>,
    /// The keys of `meta`, with those values that are texts, numbers or flags, as text.
    pub meta: BTreeMap<String, Option<String>>,
    /// Whether `meta` is there and no object: a null, a list or a text.
    pub has_odd_meta: bool,
}

impl StoredResource {
    /// A text in `meta`.
    #[must_use]
    pub fn meta_text(&self, key: &str) -> Option<String> {
        self.meta.get(key).cloned().flatten()
    }

    /// The level of a document by its `resource_type`.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        let stored = self.resource_type.as_deref()?;
        Level::ALL.into_iter().find(|level| resource_type(*level) == stored)
    }

    /// Whether readers find the document on `day`: what their match on times asks for. (They also
    /// ask for `deleted_at: 0`, which [`super::DocumentReader::find`] does.)
    #[must_use]
    pub fn is_visible_on(&self, day: Day) -> bool {
        let (start, end) = (day.start_seconds(), day.end_seconds() - 1);
        let begins = |stored: StoredDate| matches!(stored, StoredDate::Date(date) if date <= start);
        let lasts = |stored: StoredDate| matches!(stored, StoredDate::Date(date) if date >= start);
        begins(self.first_seen_date)
            && lasts(self.last_seen_date)
            && self.first_seen.is_some_and(|seconds| seconds <= end)
            && self.last_seen.is_some_and(|seconds| seconds >= start)
    }
}
