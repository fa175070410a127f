//! The pages of CloudTuner's UI, asked for as its REST API asks the two stores.
//!
//! Written from the facts of that software, with its types: `_first_seen_date` and
//! `_last_seen_date` are compared with BSON Dates, "not in a group of resources" is a key that does
//! not exist, and rows are found by MongoDB's `_id` in a table that travels with the query. A
//! document or row that a page lacks here is one that a person does not see. Nothing here uses the
//! worker's own code.

mod base64;
mod costs;
mod count;
mod filter_values;
mod matching;
mod pages;
mod pods;

pub(crate) use pods::POD_KEYS;

use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document};

pub(crate) use matching::Filter;
pub(crate) use pages::CleanExpenses;

use super::servers::Stores;

/// What the API writes for "not set" in a filter.
pub(crate) const NOT_SET: &str = "00000000-0000-0000-0000-000000000000";

/// The fields that expenses can be broken down by; a page without one is the tenth form.
pub(crate) const BREAKDOWNS: [&str; 9] = [
    "employee_id",
    "pool_id",
    "cloud_account_id",
    "service_name",
    "region",
    "resource_type",
    "k8s_node",
    "k8s_namespace",
    "k8s_service",
];

/// The readers of one organization.
pub(crate) struct Readers<'s> {
    stores: &'s Stores,
    /// Where they look for documents.
    pub(crate) collection: String,
    /// The organization's accounts.
    pub(crate) accounts: Vec<String>,
    /// The organization's pools: a document with another one breaks a page.
    pub(crate) pools: Vec<String>,
    /// The organization's employees, likewise.
    pub(crate) employees: Vec<String>,
}

impl<'s> Readers<'s> {
    /// The readers of an organization that has these accounts, and no pool or employee yet.
    pub(crate) fn new(stores: &'s Stores, accounts: &[&str]) -> Self {
        Self {
            stores,
            collection: "cloud_resource".to_owned(),
            accounts: accounts.iter().map(|account| (*account).to_owned()).collect(),
            pools: Vec::new(),
            employees: Vec::new(),
        }
    }

    /// The same, with these pools and employees.
    pub(crate) fn with_people(mut self, pools: &[&str], employees: &[&str]) -> Self {
        self.pools = pools.iter().map(|pool| (*pool).to_owned()).collect();
        self.employees = employees.iter().map(|employee| (*employee).to_owned()).collect();
        self
    }

    async fn find(&self, filter: Document) -> Vec<Document> {
        let collection = self.stores.mongo().await.collection::<Document>(&self.collection);
        collection.find(filter).await.unwrap().try_collect().await.unwrap()
    }

    async fn aggregate(&self, pipeline: Vec<Document>) -> Vec<Document> {
        let collection = self.stores.mongo().await.collection::<Document>(&self.collection);
        collection.aggregate(pipeline).await.unwrap().try_collect().await.unwrap()
    }

    /// As the API looks up the pools, owners and accounts of a page: one that does not exist is a
    /// server error, not an empty name.
    fn must_exist(&self, field: &str, value: &str) {
        let known = match field {
            "pool_id" => &self.pools,
            "employee_id" => &self.employees,
            "cloud_account_id" => &self.accounts,
            _ => return,
        };
        assert!(known.iter().any(|id| id == value), "HTTP 500: no {field} {value} exists");
    }
}

/// An `_id` as it travels to ClickHouse.
fn id_text(id: &Bson) -> String {
    match id {
        Bson::ObjectId(id) => id.to_hex(),
        Bson::String(id) => id.clone(),
        other => panic!("HTTP 500: {other} is no _id"),
    }
}

/// A value to group by: texts, and nothing where the key is absent or null.
fn text(document: &Document, field: &str) -> Option<String> {
    match document.get(field) {
        None | Some(Bson::Null) => None,
        Some(Bson::String(text)) => Some(text.clone()),
        Some(other) => panic!("{field} is {other}, which is no text"),
    }
}

/// A whole number of whichever type the server chose.
fn number(value: &Bson) -> i64 {
    match value {
        Bson::Int32(number) => i64::from(*number),
        Bson::Int64(number) => *number,
        #[expect(clippy::cast_possible_truncation, reason = "whole numbers")]
        Bson::Double(number) => *number as i64,
        other => panic!("{other} is no number"),
    }
}
