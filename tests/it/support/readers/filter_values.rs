//! The values that the UI's filters offer.

use std::collections::{BTreeMap, BTreeSet};

use mongodb::bson::{Bson, Document, doc};

use super::base64::decoded;
use super::{Filter, Readers, text};

const DAY_SECONDS: i64 = 86_400;
const COLLECTED: [&str; 9] = [
    "service_name",
    "pool_id",
    "employee_id",
    "k8s_node",
    "region",
    "resource_type",
    "k8s_namespace",
    "k8s_service",
    "cloud_account_id",
];

/// What each filter offers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FilterValues {
    /// By field; `None` is "not set".
    pub(crate) fields: BTreeMap<String, BTreeSet<Option<String>>>,
    /// `K8s Pod:regular` and the like, as the filter takes them.
    pub(crate) resource_types: BTreeSet<String>,
    /// Whether something is active, and whether something is not.
    pub(crate) active: BTreeSet<bool>,
    /// Whether something violates a constraint, and whether something does not.
    pub(crate) constraint_violated: BTreeSet<bool>,
    /// Keys of tags, in plain text.
    pub(crate) tags: BTreeSet<String>,
    /// Keys of `meta`.
    pub(crate) meta: BTreeSet<String>,
    /// All stable ids.
    pub(crate) cloud_resource_ids: BTreeSet<String>,
}

impl FilterValues {
    /// The texts that a field offers, in order.
    pub(crate) fn texts(&self, field: &str) -> Vec<&str> {
        let values = self.fields.get(field).into_iter().flatten();
        values.filter_map(|value| value.as_deref()).collect()
    }

    fn take(&mut self, group: &Document) {
        let id = group.get_document("_id").unwrap();
        let identity = match (id.get("cluster_type_id"), id.get("is_environment")) {
            (Some(Bson::String(_)), _) => "cluster",
            (_, Some(Bson::Boolean(true))) => "environment",
            _ => "regular",
        };
        for field in COLLECTED {
            for value in group.get_array(field).unwrap() {
                let value = text(&doc! {field: value.clone()}, field);
                if field == "resource_type" {
                    let name = value.as_deref().unwrap_or_default();
                    self.resource_types.insert(format!("{name}:{identity}"));
                }
                self.fields.entry(field.to_owned()).or_default().insert(value);
            }
        }
        let flags = |field: &str| group.get_array(field).unwrap().iter().filter_map(Bson::as_bool);
        self.active.extend(flags("active"));
        self.constraint_violated.extend(flags("constraint_violated"));
        let texts = |field: &str| -> Vec<String> {
            let all = group.get_array(field).unwrap().iter();
            all.map(|value| value.as_str().unwrap().to_owned()).collect()
        };
        self.tags.extend(texts("tags").iter().map(|key| decoded(key)));
        self.meta.extend(texts("meta"));
        self.cloud_resource_ids.extend(texts("cloud_resource_ids"));
    }
}

/// The keys of an object, an absent one being empty; a list or a text fails the page.
fn keys_of(field: &str) -> Document {
    doc! {"$map": {
        "input": {"$objectToArray": {"$ifNull": [format!("${field}"), {}]}},
        "as": "entry",
        "in": "$$entry.k",
    }}
}

fn union_of(field: &str) -> Document {
    doc! {"$reduce": {
        "input": format!("${field}"),
        "initialValue": [],
        "in": {"$setUnion": ["$$value", "$$this"]},
    }}
}

fn pipeline(mut matched: Document) -> Vec<Document> {
    for branch in matched.get_array_mut("$or").unwrap() {
        // A null here finds what has no such key, and what has a null there.
        let conditions = branch.as_document_mut().unwrap().get_array_mut("$and").unwrap();
        conditions.push(doc! {"cluster_id": null}.into());
    }
    let mut group = doc! {"_id": {
        "cloud_account_id": "$cloud_account_id",
        "cluster_type_id": "$cluster_type_id",
        "is_environment": "$is_environment",
        "day": {"$trunc": {"$divide": ["$first_seen", DAY_SECONDS]}},
    }};
    for field in COLLECTED {
        group.insert(field, doc! {"$addToSet": {"$ifNull": [format!("${field}"), null]}});
    }
    for flag in ["active", "constraint_violated"] {
        let is_true = doc! {"$eq": [format!("${flag}"), true]};
        let value = doc! {"$cond": {"if": is_true, "then": true, "else": false}};
        group.insert(flag, doc! {"$addToSet": value});
    }
    group.insert("tags", doc! {"$push": "$tagKeys"});
    group.insert("meta", doc! {"$push": "$metaKeys"});
    group.insert("cloud_resource_ids", doc! {"$addToSet": "$cloud_resource_id"});
    vec![
        doc! {"$match": matched},
        doc! {"$addFields": {"tagKeys": keys_of("tags"), "metaKeys": keys_of("meta")}},
        doc! {"$group": group},
        doc! {"$addFields": {"tags": union_of("tags")}},
        doc! {"$addFields": {"meta": union_of("meta")}},
    ]
}

impl Readers<'_> {
    /// What the filters of the UI offer for a page.
    pub(crate) async fn available_filters(&self, filter: &Filter) -> FilterValues {
        let mut out = FilterValues::default();
        for group in self.aggregate(pipeline(filter.matched(self, filter.start))).await {
            out.take(&group);
        }
        out
    }
}
