//! The bulk call that makes resource documents.

use std::collections::BTreeMap;

use mongodb::bson::{Bson, Document};
use serde_json::{Map, Value, json};

use super::check;
use super::merge::{decoded, upsert_of};
use super::reply::{Answer, ApiError};
use super::world::live;
use super::{Call, Shared, lock};

const REQUIRED: [&str; 2] = ["resource_type", "cloud_account_id"];
const IMMUTABLE: [&str; 9] = [
    "created_at",
    "deleted_at",
    "id",
    "_id",
    "resource_id",
    "pool_name",
    "pool_purpose",
    "owner_name",
    "is_environment",
];
const OPTIONAL: [&str; 22] = [
    "name",
    "region",
    "pool_id",
    "meta",
    "tags",
    "first_seen",
    "last_seen",
    "created_by_kind",
    "created_by_name",
    "k8s_namespace",
    "k8s_node",
    "k8s_service",
    "cloud_created_at",
    "shareable",
    "env_properties",
    "service_name",
    "active",
    "cloud_resource_id",
    "cloud_resource_hash",
    "owner_id",
    "employee_id",
    "power_schedule",
];
/// The keys of a pod's `meta`: those of its model, and those of every model.
const POD_META: [&str; 24] = [
    "name",
    "created_by_kind",
    "created_by_name",
    "host_ip",
    "instance_address",
    "k8s_node",
    "k8s_namespace",
    "pod_ip",
    "k8s_service",
    "k8s_cluster",
    "cloud_resource_id",
    "cloud_account_name",
    "region",
    "organization_id",
    "pool_id",
    "owner_id",
    "last_seen",
    "active",
    "tags",
    "cloud_console_link",
    "cluster_id",
    "cluster_type_id",
    "cloud_type",
    "meta",
];

/// The documents of some ids: of several with one id, the last.
type Stored = BTreeMap<String, Document>;

/// Makes resources. All are checked before one is written.
pub(crate) async fn save(shared: &Shared, account: &str, call: &Call<'_>) -> Answer {
    let behavior = call.parameter("behavior").unwrap_or_else(|| "error_existing".to_owned());
    if !["error_existing", "skip_existing", "update_existing"].contains(&behavior.as_str()) {
        return Err(ApiError::wrong("OE0425", &[&behavior]));
    }
    assert_eq!(behavior, "skip_existing", "no other behavior is faked");
    let is_returning = call.flag("return_resources")?;
    let is_report_import = call.flag("is_report_import")?;
    let resources = resources_of(call)?;
    if resources.iter().any(|r| r.get("env_properties").is_some_and(|v| !v.is_null())) {
        return Err(ApiError::wrong("OE0212", &["env_properties"]));
    }
    let has_id = |r: &Map<String, Value>| {
        ["cloud_resource_id", "cloud_resource_hash"]
            .iter()
            .any(|key| r.get(*key).is_some_and(|value| !value.is_null()))
    };
    if !resources.iter().all(has_id) {
        return Err(ApiError::wrong("OE0517", &["cloud_resource_id", "cloud_resource_hash"]));
    }
    if resources.is_empty() {
        let body = is_returning.then(|| json!({"resources": []}));
        return Ok((if is_returning { 200 } else { 204 }, body));
    }
    let row = live(&lock(&shared.world).accounts, account).cloned();
    // The API looks the account up in a map.
    let row = row.ok_or_else(ApiError::internal)?;
    let ids: Vec<String> = resources.iter().filter_map(id_of).collect();
    let stored = by_id(shared.documents.find(account, &ids).await);
    let mut upserts = Vec::new();
    for mut resource in resources {
        let given = resource.entry("cloud_account_id").or_insert(Value::Null);
        if check::is_falsy(given) {
            *given = json!(account);
        }
        check_resource(&resource)?;
        let found = id_of(&resource).and_then(|id| stored.get(&id));
        let world = lock(&shared.world).clone();
        if id_of(&resource).is_some_and(|id| world.refused_ids.contains(&id)) {
            return Err(ApiError::wrong("OE0212", &["a_field_of_a_later_version"]));
        }
        upserts.push(upsert_of(&world, &row, &resource, found, is_report_import)?);
    }
    for (filter, update) in &upserts {
        shared.documents.upsert(filter, update).await;
    }
    if !is_returning {
        return Ok((204, None));
    }
    let found = by_id(shared.documents.find(account, &ids).await);
    let shown: Result<Vec<Value>, ApiError> = found.into_values().map(shown).collect();
    Ok((200, Some(json!({ "resources": shown? }))))
}

fn resources_of(call: &Call<'_>) -> Result<Vec<Map<String, Value>>, ApiError> {
    let Value::Object(mut body) = call.json()? else {
        return Err(ApiError::wrong("OE0426", &[]));
    };
    if body.contains_key("cloud_account_id") {
        return Err(ApiError::wrong("OE0456", &["cloud_account_id"]));
    }
    let items = match body.remove("resources") {
        Some(Value::Array(items)) => items,
        None | Some(Value::Null) => return Err(ApiError::wrong("OE0216", &["resources"])),
        Some(_) => return Err(ApiError::wrong("OE0385", &["resources"])),
    };
    if let Some(name) = body.keys().next() {
        return Err(ApiError::wrong("OE0212", &[name]));
    }
    let objects = items.into_iter().map(|item| match item {
        Value::Object(item) => Ok(item),
        _ => Err(ApiError::internal()),
    });
    objects.collect()
}

fn id_of(resource: &Map<String, Value>) -> Option<String> {
    resource.get("cloud_resource_id").and_then(Value::as_str).map(str::to_owned)
}

fn by_id(documents: Vec<Document>) -> Stored {
    let with_id = |document: Document| {
        Some((document.get_str("cloud_resource_id").ok()?.to_owned(), document))
    };
    documents.into_iter().filter_map(with_id).collect()
}

/// Checks one resource.
fn check_resource(resource: &Map<String, Value>) -> Result<(), ApiError> {
    for name in REQUIRED {
        check::string(name, resource.get(name).unwrap_or(&Value::Null), 255)?;
    }
    for name in OPTIONAL {
        let Some(value) = resource.get(name).filter(|value| !value.is_null()) else { continue };
        match name {
            "meta" | "tags" | "env_properties" if check::is_falsy(value) => {}
            "meta" | "tags" | "env_properties" => check::object(name, value)?,
            "first_seen" | "last_seen" | "cloud_created_at" => check::integer(name, value)?,
            "active" => check::boolean(name, value)?,
            "shareable" => {
                check::boolean(name, value)?;
                if *value == true {
                    return Err(ApiError::wrong("OE0479", &[name]));
                }
            }
            "name" | "cloud_resource_id" => check::string(name, value, 512)?,
            _ => check::string(name, value, 255)?,
        }
    }
    if let Some(name) = resource.keys().find(|name| IMMUTABLE.contains(&name.as_str())) {
        return Err(ApiError::wrong("OE0211", &[name]));
    }
    let is_known = |name: &str| REQUIRED.contains(&name) || OPTIONAL.contains(&name);
    if let Some(name) = resource.keys().find(|name| !is_known(name)) {
        return Err(ApiError::wrong("OE0212", &[name]));
    }
    // Clusters, namespaces and nodes have no model there.
    let meta = resource.get("meta").and_then(Value::as_object);
    let mut keys = meta.into_iter().flat_map(Map::keys);
    if resource["resource_type"] == "K8s Pod"
        && let Some(name) = keys.find(|name| !POD_META.contains(&name.as_str()))
    {
        return Err(ApiError::wrong("OE0212", &[name]));
    }
    Ok(())
}

/// A document as the API shows it: `id` for `_id`, no other key that begins with `_`, plain tags.
fn shown(document: Document) -> Result<Value, ApiError> {
    let mut shown = Map::new();
    let tags = decoded(document.get("tags"))?;
    let is_active = document.get_bool("active").unwrap_or(false);
    for (key, value) in document {
        match key.as_str() {
            "_id" => drop(shown.insert("id".to_owned(), json_of(&value))),
            key if key.starts_with('_') => {}
            _ => drop(shown.insert(key, json_of(&value))),
        }
    }
    for name in ["name", "region", "employee_id", "pool_id"] {
        shown.entry(name).or_insert(Value::Null);
    }
    shown.entry("last_seen").or_insert(json!(0));
    shown.entry("sub_resources").or_insert(json!([]));
    shown.entry("is_environment").or_insert(json!(false));
    shown.entry("env_properties").or_insert(json!({}));
    let meta = shown.entry("meta").or_insert(json!({}));
    if !is_active {
        let meta = meta.as_object_mut().ok_or_else(ApiError::internal)?;
        meta.insert("cloud_console_link".to_owned(), Value::Null);
    }
    let tags = tags.iter().map(|(key, value)| (key.clone(), json_of(value))).collect();
    shown.insert("tags".to_owned(), Value::Object(tags));
    Ok(Value::Object(shown))
}

fn json_of(value: &Bson) -> Value {
    match value {
        Bson::Null => Value::Null,
        Bson::Boolean(value) => json!(value),
        Bson::Int32(number) => json!(number),
        Bson::Int64(number) => json!(number),
        Bson::Double(number) => json!(number),
        Bson::String(text) => json!(text),
        Bson::Array(items) => Value::Array(items.iter().map(json_of).collect()),
        Bson::Document(fields) => {
            Value::Object(fields.iter().map(|(key, value)| (key.clone(), json_of(value))).collect())
        }
        other => panic!("{other} is not shown here"),
    }
}
