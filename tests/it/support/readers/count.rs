//! How many resources there are, by day and value of a field.

use std::collections::BTreeMap;

use mongodb::bson::{Bson, Document, doc};

use super::{Filter, Readers, number, text};

const DAY_SECONDS: i64 = 86_400;

/// Resources of a range.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Count {
    /// All of them.
    pub(crate) total: i64,
    /// By value of the field; `None` is "not set".
    pub(crate) by_value: BTreeMap<Option<String>, i64>,
    /// By day (Unix seconds) and value: those that were there on that day.
    pub(crate) by_day: BTreeMap<(i64, Option<String>), i64>,
}

fn midnight_of(field: &str) -> Document {
    let field = format!("${field}");
    doc! {"$subtract": [&field, {"$mod": [&field, DAY_SECONDS]}]}
}

fn pipeline(matched: Document, by: &str, days: &[i64]) -> Vec<Document> {
    let value = if by == "resource_type" {
        Bson::Document(doc! {
            "resource_type": "$resource_type",
            "is_cluster": "$cluster_type_id",
            "is_environment": "$is_environment",
        })
    } else {
        Bson::String(format!("${by}"))
    };
    let mut facets = Document::new();
    for field in ["cloud_account_id", "employee_id", "pool_id"] {
        let of = format!("${field}");
        let project = doc! {"_id": 1, field: &of};
        let group = doc! {"_id": null, field: {"$addToSet": &of}};
        facets.insert(field, vec![doc! {"$project": project}, doc! {"$group": group}]);
    }
    facets.insert("total", vec![doc! {"$count": "count"}]);
    let totals = doc! {"$group": {"_id": value.clone(), "count": {"$sum": 1}}};
    facets.insert("totals", vec![totals]);
    let mut daily = doc! {"_id": value};
    for day in days {
        let there = doc! {"$and": [
            {"$lte": ["$first_breakdown", day]},
            {"$gte": ["$last_breakdown", day]},
        ]};
        daily.insert(day.to_string(), doc! {"$sum": {"$cond": [there, 1, 0]}});
    }
    facets.insert("breakdowns", vec![doc! {"$group": daily}]);
    vec![
        doc! {"$match": matched},
        doc! {"$addFields": {
            "first_breakdown": midnight_of("first_seen"),
            "last_breakdown": midnight_of("last_seen"),
            "cloud_account_id": {"$ifNull": ["$cloud_account_id", null]},
        }},
        doc! {"$facet": facets},
    ]
}

/// The value that a group of `totals` or `breakdowns` stands for.
fn value_of(group: &Document, by: &str) -> Option<String> {
    if by != "resource_type" {
        return text(group, "_id");
    }
    let id = group.get_document("_id").unwrap();
    let name = text(id, "resource_type")?;
    match (text(id, "is_cluster"), id.get_bool("is_environment")) {
        (Some(_), _) => Some(format!("{name}:cluster")),
        (_, Ok(true)) => Some(format!("{name}:environment")),
        _ => Some(name),
    }
}

impl Readers<'_> {
    /// The count of resources, by a field of documents.
    pub(crate) async fn resource_count(&self, filter: &Filter, by: &str) -> Count {
        let first = filter.start - filter.start.rem_euclid(DAY_SECONDS);
        let days: Vec<i64> = (first..=filter.end).step_by(86_400).collect();
        let matched = filter.matched_for_count(self);
        let facets = self.aggregate(pipeline(matched, by, &days)).await.remove(0);
        let documents = |facet: &str| -> Vec<Document> {
            let groups = facets.get_array(facet).unwrap().iter();
            groups.map(|group| group.as_document().unwrap().clone()).collect()
        };
        for field in ["cloud_account_id", "employee_id", "pool_id"] {
            for group in documents(field) {
                let values = group.get_array(field).unwrap().iter();
                values.filter_map(Bson::as_str).for_each(|value| self.must_exist(field, value));
            }
        }
        let total = documents("total").first().map_or(0, |t| number(t.get("count").unwrap()));
        let mut out = Count { total, ..Count::default() };
        for group in documents("totals") {
            out.by_value.insert(value_of(&group, by), number(group.get("count").unwrap()));
        }
        for group in documents("breakdowns") {
            for day in &days {
                let count = number(group.get(day.to_string()).unwrap());
                out.by_day.insert((*day, value_of(&group, by)), count);
            }
        }
        out
    }
}
