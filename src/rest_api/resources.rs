//! The bulk call, by which the API makes resource documents and gives them pool and owner.
//!
//! The API refuses a whole call for one item that it does not take, so each item is checked by
//! the same rules before ([`check`]); should one be refused all the same, the batch is halved
//! until that one is alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_trait::async_trait;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::cost::AccountId;
use crate::service::failure::Failure;

use super::client::{Call, RestClient};
use super::form::{SECONDS_MAX, TEXT_CHARACTERS_MAX, check_text, path_part};
use super::refusal::RefusedCall;

/// Makes resource documents, so that CloudTuner's assignment rules give them pool and owner.
#[async_trait]
pub trait ResourceCreator: Send + Sync {
    /// Makes those of `items` that the account does not have yet, and returns the documents of
    /// all, whether they are new, were there before or are deleted. An item that the API would
    /// refuse is left out and named; it never keeps the others from being made.
    ///
    /// A document that was there before keeps its name, pool and owner; its `service_name` is
    /// overwritten, its tags are merged with the item's, and its times move outwards.
    ///
    /// # Errors
    /// When a call fails. What was made before it stays; asking again returns it.
    async fn create(
        &self,
        account: &AccountId,
        items: &[NewResource],
    ) -> Result<BulkResult, Failure>;
}

/// How many items one call has at most.
pub const BATCH_ITEMS_MAX: usize = 1_000;
/// How often one batch is halved at most: six items that each stand alone in a full batch.
const SPLITS_MAX: usize = 64;
/// With `is_report_import` tags that a user added stay; without, the item's take their place.
const QUERY: [(&str, &str); 3] =
    [("behavior", "skip_existing"), ("return_resources", "true"), ("is_report_import", "true")];

/// A resource to be made: the fields that the API accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewResource {
    /// The stable id; 1 to 512 characters.
    pub cloud_resource_id: String,
    /// For people; 1 to 512 characters.
    pub name: String,
    /// Such as `K8s Namespace`; 1 to 255 characters, like all texts below.
    pub resource_type: String,
    /// Region or zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Tags with plain keys; the API encodes them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Such as `Kubernetes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// Unix seconds, from 1: the API takes 0 for none.
    pub first_seen: i64,
    /// Unix seconds, from 1.
    pub last_seen: i64,
    /// Whether it is running.
    pub active: bool,
    /// Namespace; absent, not empty, where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k8s_namespace: Option<String>,
    /// Node; absent, not empty, where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k8s_node: Option<String>,
    /// Service; absent, not empty, where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k8s_service: Option<String>,
}

/// A document that the API has for an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedResource {
    /// The stable id.
    pub cloud_resource_id: String,
    /// `_id`, which is the ledger's `resource_id`.
    pub id: String,
    /// When it was deleted, Unix seconds; 0: it is live. The API finds deleted documents too, and
    /// does not revive them: no reader shows one.
    pub deleted_at: i64,
    /// Its pool, by the assignment rules.
    pub pool_id: Option<String>,
    /// Its owner, by the assignment rules.
    pub employee_id: Option<String>,
}

impl CreatedResource {
    /// Whether readers show it.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.deleted_at == 0
    }
}

/// An item that was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedResource {
    /// Its stable id.
    pub cloud_resource_id: String,
    /// Why, for people.
    pub reason: String,
}

/// What became of the items of a bulk call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BulkResult {
    /// The documents, one for each item that was not refused.
    pub resources: Vec<CreatedResource>,
    /// The items that were not made.
    pub refused: Vec<RefusedResource>,
}

/// Sees whether the API takes an item.
///
/// # Errors
/// The first field that it does not take, and why.
pub fn check(item: &NewResource) -> Result<(), String> {
    check_text("cloud_resource_id", &item.cloud_resource_id, 512)?;
    check_text("name", &item.name, 512)?;
    check_text("resource_type", &item.resource_type, TEXT_CHARACTERS_MAX)?;
    let optional = [
        ("region", &item.region),
        ("service_name", &item.service_name),
        ("k8s_namespace", &item.k8s_namespace),
        ("k8s_node", &item.k8s_node),
        ("k8s_service", &item.k8s_service),
    ];
    for (field, value) in optional {
        if let Some(value) = value {
            check_text(field, value, TEXT_CHARACTERS_MAX)?;
        }
    }
    for (field, seconds) in [("first_seen", item.first_seen), ("last_seen", item.last_seen)] {
        if !(1..=SECONDS_MAX).contains(&seconds) {
            return Err(format!("{field} is {seconds}, not within 1 to {SECONDS_MAX}"));
        }
    }
    if item.tags.contains_key("") {
        return Err("a tag has an empty key".to_owned());
    }
    Ok(())
}

/// The items that the API takes, and the others. Of items with one id the first is taken.
fn sorted_out(items: &[NewResource]) -> (Vec<&NewResource>, Vec<RefusedResource>) {
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    let mut ids = BTreeSet::new();
    for item in items {
        let checked = check(item).and_then(|()| {
            let is_new = ids.insert(item.cloud_resource_id.as_str());
            if is_new { Ok(()) } else { Err("another item has its cloud_resource_id".to_owned()) }
        });
        match checked {
            Ok(()) => taken.push(item),
            Err(reason) => refused.push(refused_for(item, &reason)),
        }
    }
    (taken, refused)
}

fn refused_for(item: &NewResource, reason: &str) -> RefusedResource {
    RefusedResource { cloud_resource_id: item.cloud_resource_id.clone(), reason: reason.to_owned() }
}

#[derive(Deserialize)]
struct BulkReply {
    resources: Vec<Returned>,
}

#[derive(Deserialize)]
struct Returned {
    #[serde(alias = "_id")]
    id: String,
    #[serde(default)]
    cloud_resource_id: Option<String>,
    #[serde(default)]
    deleted_at: Option<i64>,
    #[serde(default)]
    pool_id: Option<String>,
    #[serde(default)]
    employee_id: Option<String>,
}

impl BulkResult {
    /// Adds what the API returned for a batch. It must return a document for each item.
    fn add(&mut self, batch: &[&NewResource], returned: Vec<Returned>) {
        let mut by_id: HashMap<String, Returned> = HashMap::new();
        for document in returned {
            if let Some(id) = &document.cloud_resource_id {
                by_id.insert(id.clone(), document);
            }
        }
        for item in batch {
            let Some(document) = by_id.remove(&item.cloud_resource_id) else {
                self.refused.push(refused_for(item, "the REST API returned no document for it"));
                continue;
            };
            self.resources.push(CreatedResource {
                cloud_resource_id: item.cloud_resource_id.clone(),
                id: document.id,
                deleted_at: document.deleted_at.unwrap_or(0),
                pool_id: document.pool_id,
                employee_id: document.employee_id,
            });
        }
    }
}

impl RestClient {
    async fn bulk(
        &self,
        account: &AccountId,
        batch: &[&NewResource],
    ) -> Result<Vec<Returned>, RefusedCall> {
        let id = path_part(account.as_str());
        let call = Call {
            method: Method::POST,
            path: format!("/restapi/v2/cloud_accounts/{id}/cloud_resources/bulk"),
            query: &QUERY,
            body: Some(json!({ "resources": batch })),
        };
        let reply: BulkReply = self.call(&call, self.bulk_timeout()).await?;
        Ok(reply.resources)
    }

    /// One batch, halved while the API refuses it for what it holds.
    async fn make_batch(
        &self,
        account: &AccountId,
        batch: &[&NewResource],
        result: &mut BulkResult,
    ) -> Result<(), Failure> {
        let mut splits_left = SPLITS_MAX;
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            let refusal = match self.bulk(account, part).await {
                Ok(returned) => {
                    result.add(part, returned);
                    continue;
                }
                Err(refusal) => refusal,
            };
            if !refusal.is_about_content() {
                return Err(refusal.into());
            }
            if part.len() > 1 && splits_left > 0 {
                splits_left -= 1;
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            } else {
                let reason = &refusal.failure.what;
                result.refused.extend(part.iter().map(|item| refused_for(item, reason)));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl ResourceCreator for RestClient {
    async fn create(
        &self,
        account: &AccountId,
        items: &[NewResource],
    ) -> Result<BulkResult, Failure> {
        let (taken, refused) = sorted_out(items);
        let mut result = BulkResult { resources: Vec::new(), refused };
        for batch in taken.chunks(BATCH_ITEMS_MAX) {
            self.make_batch(account, batch, &mut result).await?;
        }
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: &str) -> NewResource {
        NewResource {
            cloud_resource_id: id.to_owned(),
            name: "Namespace: default".to_owned(),
            resource_type: "K8s Namespace".to_owned(),
            region: None,
            tags: BTreeMap::new(),
            service_name: Some("Kubernetes".to_owned()),
            first_seen: 1,
            last_seen: SECONDS_MAX,
            active: true,
            k8s_namespace: Some("default".to_owned()),
            k8s_node: None,
            k8s_service: None,
        }
    }

    #[test]
    fn an_item_is_taken_up_to_its_limits_and_not_beyond() {
        let text = |count: usize| "é".repeat(count);
        let mut longest = item(&text(512));
        longest.name = text(512);
        longest.resource_type = text(255);
        longest.k8s_node = Some(text(255));
        assert_eq!(check(&longest), Ok(()));
        type Spoil = fn(&mut NewResource);
        let spoil: [(&str, Spoil); 12] = [
            ("cloud_resource_id", |i| i.cloud_resource_id = "x".repeat(513)),
            ("cloud_resource_id", |i| i.cloud_resource_id.clear()),
            ("name", |i| i.name = "x".repeat(513)),
            ("name", |i| i.name = " \u{1f}\u{a0}".to_owned()),
            ("resource_type", |i| i.resource_type = "x".repeat(256)),
            ("region", |i| i.region = Some("\t".to_owned())),
            ("service_name", |i| i.service_name = Some("x".repeat(256))),
            ("k8s_node", |i| i.k8s_node = Some(String::new())),
            ("k8s_service", |i| i.k8s_service = Some("x".repeat(256))),
            ("first_seen", |i| i.first_seen = 0),
            ("last_seen", |i| i.last_seen = SECONDS_MAX + 1),
            ("tag", |i| drop(i.tags.insert(String::new(), "v".to_owned()))),
        ];
        for (field, spoil) in spoil {
            let mut spoilt = longest.clone();
            spoil(&mut spoilt);
            let reason = check(&spoilt).unwrap_err();
            assert!(reason.contains(field), "{field}: {reason}");
        }
    }

    #[test]
    fn a_bad_item_and_a_second_of_one_id_are_named_and_the_others_taken() {
        let mut bad = item("bad");
        bad.k8s_namespace = Some(String::new());
        let items = [item("a"), bad, item("a"), item("b")];
        let (taken, refused) = sorted_out(&items);
        let ids: Vec<_> = taken.iter().map(|item| item.cloud_resource_id.as_str()).collect();
        assert_eq!(ids, ["a", "b"]);
        let ids: Vec<_> = refused.iter().map(|item| item.cloud_resource_id.as_str()).collect();
        assert_eq!(ids, ["bad", "a"]);
    }

    #[test]
    fn what_is_absent_is_not_sent() {
        let sent = serde_json::to_value(item("a")).unwrap();
        let wanted = json!({"cloud_resource_id": "a", "name": "Namespace: default",
            "resource_type": "K8s Namespace", "service_name": "Kubernetes", "first_seen": 1,
            "last_seen": SECONDS_MAX, "active": true, "k8s_namespace": "default"});
        assert_eq!(sent, wanted);
    }

    #[test]
    fn an_item_without_a_document_in_the_reply_is_named() {
        let (a, b) = (item("a"), item("b"));
        let reply: BulkReply = serde_json::from_value(json!({"resources": [
            {"id": "1", "cloud_resource_id": "a", "deleted_at": 9, "pool_id": "p"},
            {"id": "2", "cloud_resource_id": "other"}, {"id": "3", "cloud_resource_id": null}]}))
        .unwrap();
        let mut result = BulkResult::default();
        result.add(&[&a, &b], reply.resources);
        let [found] = &result.resources[..] else { panic!("{result:?}") };
        assert_eq!((found.id.as_str(), found.deleted_at, found.is_live()), ("1", 9, false));
        assert_eq!(found.pool_id.as_deref(), Some("p"));
        assert_eq!(result.refused[0].cloud_resource_id, "b");
    }
}
