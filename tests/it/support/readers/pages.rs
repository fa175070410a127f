//! Pages of expenses: the list of resources, its summary, and breakdowns by a field.

use std::collections::BTreeMap;

use mongodb::bson::{Document, doc};

use super::costs::Daily;
use super::matching::midnight;
use super::{Filter, Readers, id_text, text};

const DAY_SECONDS: i64 = 86_400;

/// A resource in the list of expenses.
#[derive(Clone, Debug)]
pub(crate) struct ReaderRow {
    /// `_id`, as text.
    pub(crate) id: String,
    /// USD over the range; 0 where the ledger has nothing.
    pub(crate) cost: f64,
    /// The document, as MongoDB has it.
    pub(crate) document: Document,
}

impl ReaderRow {
    /// A field of the document that holds a text.
    pub(crate) fn text(&self, field: &str) -> Option<String> {
        text(&self.document, field)
    }
}

/// The list of expenses.
#[derive(Clone, Debug)]
pub(crate) struct CleanExpenses {
    /// The dearest first.
    pub(crate) rows: Vec<ReaderRow>,
    /// USD, as the second query has it.
    pub(crate) total_cost: f64,
    /// How many resources there are.
    pub(crate) total_count: usize,
}

/// Expenses of a range and of the range before it, by day and value of a field.
#[derive(Clone, Debug)]
pub(crate) struct Breakdown {
    /// USD by day and value; `None` is "not set".
    pub(crate) days: Daily,
    /// USD of the range.
    pub(crate) total: f64,
    /// USD of as long a range before it.
    pub(crate) previous_total: f64,
}

impl Breakdown {
    /// USD of the range by value.
    pub(crate) fn by_value(&self) -> BTreeMap<Option<String>, f64> {
        let mut out = BTreeMap::new();
        for ((_, value), usd) in &self.days {
            *out.entry(value.clone()).or_default() += usd;
        }
        out
    }
}

impl Readers<'_> {
    async fn grouped(&self, matched: Document, by: Option<&str>) -> Vec<Document> {
        let mut id = doc! {
            "cloud_account_id": "$cloud_account_id",
            "cluster_id": "$cluster_id",
            "is_environment": "$is_environment",
            "day": {"$trunc": {"$divide": ["$first_seen", DAY_SECONDS]}},
        };
        if let Some(field) = by {
            id.insert(field, format!("${field}"));
        }
        let group = doc! {"_id": id, "resources": {"$addToSet": "$_id"}};
        let groups = self.aggregate(vec![doc! {"$match": matched}, doc! {"$group": group}]).await;
        for group in &groups {
            let id = group.get_document("_id").unwrap();
            assert_eq!(text(id, "cluster_id"), None, "in a group of resources, so hidden: {group}");
        }
        groups
    }

    /// The list of expenses.
    pub(crate) async fn clean_expenses(&self, filter: &Filter) -> CleanExpenses {
        let groups = self.grouped(filter.matched(self, filter.start), None).await;
        let ids: Vec<_> =
            groups.iter().flat_map(|group| group.get_array("resources").unwrap().clone()).collect();
        let accounts = filter.chosen_accounts(self);
        let texts: Vec<String> = ids.iter().map(id_text).collect();
        let (sums, total_cost) = self.sums(&accounts, &texts, (filter.start, filter.end)).await;
        let chosen = doc! {"_id": {"$in": &ids}, "$or": [{"cloud_account_id": {"$in": &accounts}}]};
        let mut rows: Vec<ReaderRow> = self
            .find(chosen)
            .await
            .into_iter()
            .map(|document| {
                assert_readable(&document);
                let id = id_text(document.get("_id").unwrap());
                ReaderRow { cost: sums.get(&id).copied().unwrap_or(0.0), id, document }
            })
            .collect();
        rows.sort_by(|a, b| b.cost.total_cmp(&a.cost).then_with(|| a.id.cmp(&b.id)));
        CleanExpenses { total_count: texts.len(), rows, total_cost }
    }

    /// What stands above the list: how many resources, and USD of all of them.
    pub(crate) async fn summary(&self, filter: &Filter) -> (usize, f64) {
        let mut matched = filter.matched(self, filter.start);
        let group = doc! {
            "_id": {
                "cluster_id": {"$ifNull": ["$cluster_id", null]},
                "cluster_type_id": {"$ifNull": ["$cluster_type_id", null]},
                "cloud_account_id": {"$ifNull": ["$cloud_account_id", null]},
                "first_seen": {"$trunc": {"$divide": ["$first_seen", DAY_SECONDS]}},
            },
            "resource_ids": {"$addToSet": "$_id"},
        };
        matched = doc! {"$match": matched};
        let groups = self.aggregate(vec![matched, doc! {"$group": group}]).await;
        let ids: Vec<String> = groups
            .iter()
            .flat_map(|group| group.get_array("resource_ids").unwrap().iter().map(id_text))
            .collect();
        let (_, usd) = self.sums(&self.accounts, &ids, (filter.start, filter.end)).await;
        (ids.len(), usd)
    }

    /// Expenses by a field of documents, or only by day.
    pub(crate) async fn breakdown(&self, filter: &Filter, by: Option<&str>) -> Breakdown {
        let start = filter.start - filter.start.rem_euclid(DAY_SECONDS);
        let end = filter.end - filter.end.rem_euclid(DAY_SECONDS) + DAY_SECONDS - 1;
        let previous = (start - (end - start + 1)).max(0);
        let mut values: BTreeMap<String, Option<String>> = BTreeMap::new();
        for group in self.grouped(filter.matched(self, previous), by).await {
            let id = group.get_document("_id").unwrap();
            let value = by.and_then(|field| text(id, field));
            if let (Some(field), Some(value)) = (by, &value) {
                self.must_exist(field, value);
            }
            for resource in group.get_array("resources").unwrap() {
                values.insert(id_text(resource), value.clone());
            }
        }
        let all = self.daily(&values, (previous, end)).await;
        let (days, before): (Daily, Daily) =
            all.into_iter().partition(|((day, _), _)| *day >= start);
        let sum = |daily: &Daily| daily.values().sum::<f64>();
        Breakdown { total: sum(&days), previous_total: sum(&before), days }
    }

    /// Expenses of pools, owners or accounts (the home page): by day and value of a field, for the
    /// documents whose `field` has one of these values.
    pub(crate) async fn expenses_of(
        &self,
        (field, of): (&str, &[&str]),
        (start, end): (i64, i64),
        by: &str,
    ) -> Daily {
        let filter = doc! {
            field: {"$in": of},
            "_last_seen_date": {"$gte": midnight(start)},
            "last_seen": {"$gte": start},
            "deleted_at": 0,
        };
        let values = self
            .find(filter)
            .await
            .iter()
            .map(|document| (id_text(document.get("_id").unwrap()), text(document, by)))
            .collect();
        self.daily(&values, (start, end)).await
    }
}

/// What the reader does with each document of the list before it is shown.
fn assert_readable(document: &Document) {
    let is_active = document.get_bool("active").unwrap_or(false);
    // The reader writes into `meta` of what is not active; an absent one is an empty one.
    let is_writable = document.get("meta").is_none_or(|meta| meta.as_document().is_some());
    assert!(is_active || is_writable, "HTTP 500: meta is no object: {document}");
    if let Ok(tags) = document.get_document("tags") {
        tags.keys().for_each(|key| drop(super::base64::decoded(key)));
    }
}
