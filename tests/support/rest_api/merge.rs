//! How the API puts a resource into documents: what a new one gets, what changes in one there is.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mongodb::bson::{Bson, DateTime, Document, doc};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::check::is_falsy;
use super::reply::ApiError;
use super::world::{Condition, Row, World, is_live};

const DAY_SECONDS: i64 = 86_400;
/// The keys of `meta` that are kept of a resource that may be there already.
const META_KEPT: [&str; 18] = [
    "os",
    "preinstalled",
    "cpu_count",
    "flavor",
    "payment_option",
    "offering_type",
    "purchase_term",
    "applied_region",
    "start",
    "end",
    "sku",
    "clusterNodeType",
    "clusterOwnerUserId",
    "clusterOwnerUserName",
    "workspaceId",
    "zone",
    "platform",
    "instance_type",
];

/// A value as the API's driver stores it: an integer that fits 32 bits has 32.
pub(crate) fn bson(value: &Value) -> Bson {
    match value {
        Value::Null => Bson::Null,
        Value::Bool(value) => Bson::Boolean(*value),
        Value::String(text) => Bson::String(text.clone()),
        Value::Array(items) => Bson::Array(items.iter().map(bson).collect()),
        Value::Object(fields) => {
            Bson::Document(fields.iter().map(|(key, value)| (key.clone(), bson(value))).collect())
        }
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => i32::try_from(integer).map_or(Bson::Int64(integer), Bson::Int32),
            (None, float) => Bson::Double(float.unwrap_or(f64::NAN)),
        },
    }
}

/// Tags with encoded keys.
pub(crate) fn encoded(tags: &BTreeMap<String, Bson>) -> Document {
    tags.iter().map(|(key, value)| (STANDARD.encode(key), value.clone())).collect()
}

/// Tags with plain keys. One stored key that is not encoded, and the call fails.
pub(crate) fn decoded(tags: Option<&Bson>) -> Result<BTreeMap<String, Bson>, ApiError> {
    let Some(Bson::Document(tags)) = tags else { return Ok(BTreeMap::new()) };
    let plain =
        |key: &str| STANDARD.decode(key).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    tags.iter()
        .map(|(key, value)| Some((plain(key)?, value.clone())))
        .collect::<Option<_>>()
        .ok_or_else(ApiError::internal)
}

/// Pool, owner and applied rules of a resource: those that it brings, where its owner has that
/// pool; else those of the first rule that fits; else the root pool and its default owner.
fn assignment(world: &World, account: &Row, resource: &Map<String, Value>) -> Document {
    let text = |key: &str| resource.get(key).and_then(Value::as_str);
    let organization = &account["organization_id"];
    if let (Some(pool), Some(owner)) = (text("pool_id"), text("employee_id").or(text("owner_id"))) {
        let has_pool = world.pools.get(pool).is_some_and(|row| row["default_owner_id"] == owner);
        if has_pool {
            return doc! {"pool_id": pool, "employee_id": owner};
        }
    }
    let fits = |condition: &Condition| match condition {
        Condition::CloudIs(id) => account["id"] == id.as_str(),
        Condition::NameContains(part) => [text("name"), text("cloud_resource_id")]
            .into_iter()
            .flatten()
            .any(|name| name.to_lowercase().contains(&part.to_lowercase())),
        Condition::TagIs(key, value) => resource
            .get("tags")
            .and_then(|tags| tags.get(key))
            .is_some_and(|found| found == value.as_str()),
    };
    let mut rules =
        world.rules.iter().filter(|rule| *organization == rule.organization_id.as_str());
    if let Some(rule) = rules.find(|rule| rule.conditions.iter().all(fits)) {
        return doc! {
            "pool_id": &rule.pool_id, "employee_id": &rule.owner_id,
            "applied_rules": [{"id": &rule.id, "name": &rule.name, "pool_id": &rule.pool_id}],
        };
    }
    let is_root = |row: &&Row| {
        is_live(row) && row["organization_id"] == *organization && row["parent_id"].is_null()
    };
    let root = world.pools.values().find(is_root).unwrap();
    doc! {"pool_id": bson(&root["id"]), "employee_id": bson(&root["default_owner_id"])}
}

/// The times and the service that a resource changes in its document.
fn changed_fields(
    resource: &Map<String, Value>,
    stored: Option<&Document>,
    now_seconds: i64,
) -> Document {
    let mut changed = Document::new();
    for key in ["service_name", "first_seen", "last_seen"] {
        let in_store = stored.and_then(|stored| stored.get(key));
        let value = match resource.get(key) {
            Some(value) if is_falsy(value) => continue,
            Some(value) => bson(value),
            None if key == "service_name" => continue,
            None => in_store.cloned().unwrap_or_else(|| bson(&now_seconds.into())),
        };
        if in_store != Some(&value) {
            changed.insert(key, value);
        }
    }
    changed
}

/// Moves a time, and the midnight before it, outwards only.
fn move_time(update: &mut Document, changed: &mut Document, operator: &str, key: &str) {
    let Some(value) = changed.remove(key) else { return };
    let seconds = match value {
        Bson::Int32(seconds) => i64::from(seconds),
        Bson::Int64(seconds) => seconds,
        ref other => panic!("{other} is no time"),
    };
    let midnight = seconds.div_euclid(DAY_SECONDS) * DAY_SECONDS;
    let date = DateTime::from_millis(midnight * 1_000);
    update.insert(operator, doc! {key: value, format!("_{key}_date"): date});
}

/// The tags that a document gets: the resource's; of those that it has and the resource has not,
/// those of AWS, and all where a report is imported.
fn merged_tags(
    resource: &Map<String, Value>,
    stored: Option<&Document>,
    is_report_import: bool,
) -> Result<Document, ApiError> {
    let mut tags: BTreeMap<String, Bson> = match resource.get("tags") {
        Some(Value::Object(tags)) => {
            tags.iter().map(|(key, value)| (key.clone(), bson(value))).collect()
        }
        _ => BTreeMap::new(),
    };
    for (key, value) in decoded(stored.and_then(|stored| stored.get("tags")))? {
        if key.starts_with("aws:") || is_report_import {
            tags.entry(key).or_insert(value);
        }
    }
    Ok(encoded(&tags))
}

/// `meta`, of which only some keys are kept; `None` where there is none to write.
fn merged_meta(resource: &Map<String, Value>, stored: Option<&Document>) -> Option<Document> {
    let mut meta =
        stored.and_then(|stored| stored.get_document("meta").ok().cloned()).unwrap_or_default();
    let sent = resource.get("meta").and_then(Value::as_object);
    for key in META_KEPT {
        if let Some(value) = sent.and_then(|sent| sent.get(key)).filter(|value| !is_falsy(value)) {
            meta.insert(key, bson(value));
        }
    }
    (!meta.is_empty()).then_some(meta)
}

/// The filter and the update for a resource, where what exists is kept.
pub(crate) fn upsert_of(
    world: &World,
    account: &Row,
    resource: &Map<String, Value>,
    stored: Option<&Document>,
    is_report_import: bool,
) -> Result<(Document, Document), ApiError> {
    let apart = [
        "pool_id",
        "employee_id",
        "owner_id",
        "tags",
        "meta",
        "service_name",
        "first_seen",
        "last_seen",
    ];
    let mut on_insert: Document = resource
        .iter()
        .filter(|(key, _)| !apart.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), bson(value)))
        .collect();
    on_insert.insert("cloud_account_id", bson(&account["id"]));
    on_insert.insert("_id", Uuid::new_v4().to_string());
    on_insert.insert("created_at", bson(&world.now_seconds.into()));
    on_insert.insert("deleted_at", 0);
    on_insert.extend(assignment(world, account, resource));
    let mut changed = changed_fields(resource, stored, world.now_seconds);
    let mut update = Document::new();
    move_time(&mut update, &mut changed, "$min", "first_seen");
    move_time(&mut update, &mut changed, "$max", "last_seen");
    if let Some(meta) = merged_meta(resource, stored) {
        changed.insert("meta", meta);
    }
    let tags = merged_tags(resource, stored, is_report_import)?;
    if stored.is_some() {
        changed.insert("tags", tags);
    } else {
        on_insert.insert("tags", tags);
    }
    if !changed.is_empty() {
        update.insert("$set", changed);
    }
    let filter = doc! {
        "cloud_resource_id": bson(&resource["cloud_resource_id"]),
        "cloud_account_id": bson(&account["id"]),
    };
    update.insert("$setOnInsert", on_insert);
    Ok((filter, update))
}
