//! The match that every page begins with.

use mongodb::bson::{Bson, DateTime, Document, doc};

use super::base64::encoded;
use super::{NOT_SET, Readers};

const DAY_SECONDS: i64 = 86_400;
/// Filters whose "not set" is a null.
const TEXT_FIELDS: [&str; 9] = [
    "service_name",
    "created_by_kind",
    "created_by_name",
    "k8s_namespace",
    "k8s_node",
    "k8s_service",
    "region",
    "pool_id",
    "employee_id",
];

/// What a page is asked for: a range of days, and any of the filters of the UI.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    /// Unix seconds, the first midnight of the range.
    pub(crate) start: i64,
    /// Unix seconds, the last second of the range.
    pub(crate) end: i64,
    accounts: Vec<String>,
    resource_types: Vec<String>,
    conditions: Vec<Document>,
}

impl Filter {
    /// Everything of the days from `start` to `end` (Unix seconds, both included).
    pub(crate) fn days(start: i64, end: i64) -> Self {
        let (accounts, resource_types, conditions) = (Vec::new(), Vec::new(), Vec::new());
        Self { start, end, accounts, resource_types, conditions }
    }

    /// Only these values of a field of documents; [`NOT_SET`] is one of them. Owners are the field
    /// `employee_id`.
    pub(crate) fn by(mut self, field: &str, values: &[&str]) -> Self {
        match field {
            "cloud_account_id" => self.accounts = owned(values),
            // `K8s Pod:regular`: the type, and which kind of resource has it.
            "resource_type" => self.resource_types = owned(values),
            _ => {
                assert!(TEXT_FIELDS.contains(&field), "the UI has no filter {field}");
                let values: Vec<Bson> = values
                    .iter()
                    .map(|value| if *value == NOT_SET { Bson::Null } else { (*value).into() })
                    .collect();
                self.conditions.push(doc! {field: {"$in": values}});
            }
        }
        self
    }

    /// Only what is active, or only what is not.
    pub(crate) fn active(self, is_active: bool) -> Self {
        self.flag("active", is_active)
    }

    /// Only what violates a constraint, or only what does not.
    pub(crate) fn constraint_violated(self, is_violated: bool) -> Self {
        self.flag("constraint_violated", is_violated)
    }

    fn flag(mut self, field: &str, value: bool) -> Self {
        let value = if value { Bson::Boolean(true) } else { doc! {"$ne": true}.into() };
        self.conditions.push(doc! {"$or": [{field: value}]});
        self
    }

    /// Only what has one of these tags (plain keys).
    pub(crate) fn tag(self, keys: &[&str]) -> Self {
        self.tags(keys, true)
    }

    /// Only what lacks one of these tags (plain keys).
    pub(crate) fn without_tag(self, keys: &[&str]) -> Self {
        self.tags(keys, false)
    }

    fn tags(mut self, keys: &[&str], exists: bool) -> Self {
        let of = |key: &&str| match (*key, exists) {
            (NOT_SET, true) => doc! {"tags": {}},
            (NOT_SET, false) => doc! {"tags": {"$ne": {}}},
            (key, _) => doc! {format!("tags.{}", encoded(key)): {"$exists": exists}},
        };
        self.conditions.push(doc! {"$or": keys.iter().map(of).collect::<Vec<_>>()});
        self
    }

    /// Only what has one of these keys in its `meta`.
    pub(crate) fn meta(mut self, keys: &[&str]) -> Self {
        let of = |key: &&str| doc! {format!("meta.{key}"): {"$exists": true}};
        self.conditions.push(doc! {"$or": keys.iter().map(of).collect::<Vec<_>>()});
        self
    }

    /// Only names in which this text stands, in upper or lower case. (Letters and digits only:
    /// nothing here escapes what regular expressions treat otherwise.)
    pub(crate) fn name_like(mut self, part: &str) -> Self {
        self.conditions.push(doc! {"name": {"$regex": part, "$options": "i"}});
        self
    }

    /// Only what was seen first or last within these bounds, Unix seconds.
    pub(crate) fn seen(mut self, field: &str, operator: &str, seconds: i64) -> Self {
        let date_field = format!("_{field}_date");
        self.conditions.push(doc! {field: {operator: seconds}});
        self.conditions.push(doc! {date_field: {operator: midnight(seconds)}});
        self
    }

    /// The accounts that are looked at: the chosen ones, else all and "none".
    pub(super) fn chosen_accounts(&self, readers: &Readers<'_>) -> Vec<String> {
        if self.accounts.is_empty() {
            let mut all = readers.accounts.clone();
            all.push(NOT_SET.to_owned());
            all
        } else {
            self.accounts.clone()
        }
    }

    /// The match of pages of expenses.
    pub(super) fn matched(&self, readers: &Readers<'_>, start: i64) -> Document {
        let types = self.resource_type_conditions(Kinds::Expenses);
        self.whole(readers, start, types)
    }

    /// The match of the count of resources: without a type, whatever is in no group.
    pub(super) fn matched_for_count(&self, readers: &Readers<'_>) -> Document {
        let mut types = self.resource_type_conditions(Kinds::Count);
        if types.is_empty() {
            types.push(doc! {"cluster_id": {"$exists": false}});
        }
        self.whole(readers, self.start, types)
    }

    fn whole(&self, readers: &Readers<'_>, start: i64, types: Vec<Document>) -> Document {
        let accounts = self.chosen_accounts(readers);
        let mut common = vec![
            doc! {"deleted_at": 0},
            doc! {
                "first_seen": {"$lte": self.end},
                "_first_seen_date": {"$lte": midnight(self.end)},
                "last_seen": {"$gte": start},
                "_last_seen_date": {"$gte": midnight(start)},
            },
        ];
        if !types.is_empty() {
            common.push(doc! {"$or": types});
        }
        common.extend(self.conditions.iter().cloned());
        let branch = |first: Document| -> Document {
            let all: Vec<Document> = std::iter::once(first).chain(common.clone()).collect();
            doc! {"$and": all}
        };
        let mut branches = vec![branch(doc! {"cloud_account_id": {"$in": &accounts}})];
        if accounts.iter().any(|account| account == NOT_SET) {
            // Groups of resources belong to the organization, not to an account.
            branches.push(branch(
                doc! {"organization_id": "an-organization", "cloud_account_id": null},
            ));
        }
        doc! {"$or": branches}
    }

    fn resource_type_conditions(&self, kinds: Kinds) -> Vec<Document> {
        let of = |identity: &str| -> Vec<String> {
            let wanted = self.resource_types.iter().map(|given| {
                given.rsplit_once(':').unwrap_or_else(|| panic!("HTTP 400 OE0218: {given}"))
            });
            wanted.filter(|(_, i)| *i == identity).map(|(name, _)| name.to_owned()).collect()
        };
        let mut out = Vec::new();
        for identity in ["regular", "cluster", "environment"] {
            let names = of(identity);
            if names.is_empty() {
                continue;
            }
            let is_cluster = identity == "cluster";
            let environment: Bson = match identity {
                "environment" => true.into(),
                _ => doc! {"$ne": true}.into(),
            };
            let mut condition =
                doc! {"is_environment": environment, "resource_type": {"$in": names}};
            if is_cluster && kinds == Kinds::Expenses {
                let either =
                    ["cluster_type_id", "cluster_id"].map(|key| doc! {key: {"$exists": true}});
                condition.insert("$or", either.to_vec());
            } else {
                condition.insert("cluster_type_id", doc! {"$exists": is_cluster});
                condition.insert("cluster_id", doc! {"$exists": false});
            }
            out.push(doc! {"$and": [condition]});
        }
        out
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kinds {
    Expenses,
    Count,
}

fn owned(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

/// Midnight before a Unix time, as the driver of the API sends a datetime.
pub(super) fn midnight(seconds: i64) -> DateTime {
    DateTime::from_millis((seconds - seconds.rem_euclid(DAY_SECONDS)) * 1_000)
}
