//! Records of discovery: when an account's resources of a type were last looked for.

use serde_json::{Value, json};

use super::Call;
use super::check;
use super::reply::{Answer, ApiError};
use super::world::{Row, World, is_live, live};

/// The resource types that the API knows.
const TYPES: [&str; 12] = [
    "instance",
    "volume",
    "snapshot",
    "bucket",
    "k8s_pod",
    "snapshot_chain",
    "rds_instance",
    "ip_address",
    "savings_plan",
    "reserved_instances",
    "image",
    "load_balancer",
];
/// The columns of a record that a change may set.
const CHANGEABLE: [&str; 4] = ["last_discovery_at", "last_error_at", "observe_time", "last_error"];
/// The columns that cannot be set by a new record.
const IMMUTABLE: [&str; 7] = [
    "id",
    "created_at",
    "deleted_at",
    "last_discovery_at",
    "last_error_at",
    "last_error",
    "observe_time",
];

fn known_account(world: &World, account: &str) -> Result<(), ApiError> {
    let found = live(&world.accounts, account);
    found.map(|_| ()).ok_or_else(|| ApiError::missing("CloudAccount", account))
}

fn of_account<'a>(world: &'a World, account: &'a str) -> impl Iterator<Item = &'a Row> {
    world.discovery.values().filter(move |row| is_live(row) && row["cloud_account_id"] == account)
}

pub(crate) fn list(world: &World, account: &str, call: &Call<'_>) -> Answer {
    let wanted = call.parameter("resource_type").filter(|wanted| !wanted.is_empty());
    if let Some(wanted) = wanted.as_deref().filter(|wanted| !TYPES.contains(wanted)) {
        return Err(ApiError::wrong("OE0384", &[wanted]));
    }
    known_account(world, account)?;
    let fits = |row: &&Row| wanted.as_deref().is_none_or(|wanted| row["resource_type"] == wanted);
    let rows: Vec<Value> =
        of_account(world, account).filter(fits).cloned().map(Value::Object).collect();
    Ok((200, Some(json!({ "discovery_info": rows }))))
}

/// The list in a body.
fn listed(body: &Value) -> Result<&[Value], ApiError> {
    let fields = body.as_object().ok_or_else(|| ApiError::wrong("OE0233", &[]))?;
    match fields.get("discovery_info") {
        Some(Value::Array(items)) => Ok(items),
        Some(value) if !check::is_falsy(value) => {
            Err(ApiError::wrong("OE0385", &["discovery_info"]))
        }
        _ => Err(ApiError::wrong("OE0216", &["discovery_info"])),
    }
}

/// New records: all or none.
pub(crate) fn create(world: &mut World, account: &str, body: &Value) -> Answer {
    let items = listed(body)?;
    if items.iter().any(|item| !item.is_object()) {
        return Err(ApiError::wrong("OE0217", &["discovery_info"]));
    }
    let mut after = world.clone();
    let mut made = Vec::new();
    for item in items.iter().filter_map(Value::as_object) {
        if let Some(name) = item.keys().find(|name| IMMUTABLE.contains(&name.as_str())) {
            return Err(ApiError::wrong("OE0211", &[name]));
        }
        let is_known =
            |name: &str| ["resource_type", "enabled", "cloud_account_id"].contains(&name);
        if let Some(name) = item.keys().find(|name| !is_known(name)) {
            return Err(ApiError::wrong("OE0212", &[name]));
        }
        let kind = match item.get("resource_type") {
            Some(Value::String(kind)) if TYPES.contains(&kind.as_str()) => kind,
            Some(value) if !check::is_falsy(value) => {
                return Err(ApiError::wrong("OE0384", &[&value.to_string()]));
            }
            _ => return Err(ApiError::wrong("OE0216", &["resource_type"])),
        };
        if let Some(enabled) = item.get("enabled").filter(|enabled| !enabled.is_null()) {
            check::boolean("enabled", enabled)?;
        }
        known_account(&after, account)?;
        if of_account(&after, account).any(|row| row["resource_type"] == kind.as_str()) {
            return Err(ApiError::new(409, "OE0518", &[kind, account]));
        }
        let id = after.add_discovery(account, kind);
        let row = after.discovery.get_mut(&id).unwrap();
        if let Some(Value::Bool(enabled)) = item.get("enabled") {
            row.insert("enabled".to_owned(), json!(enabled));
        }
        made.push(Value::Object(row.clone()));
    }
    *world = after;
    Ok((200, Some(json!({ "discovery_info": made }))))
}

/// Deletes records by their ids.
pub(crate) fn delete(world: &mut World, account: &str, body: &Value) -> Answer {
    let items = listed(body)?;
    if items.iter().any(|item| !item.is_string()) {
        return Err(ApiError::wrong("OE0218", &["discovery_info"]));
    }
    known_account(world, account)?;
    let now = world.now_seconds;
    for id in items.iter().filter_map(Value::as_str) {
        if let Some(row) = world.discovery.get_mut(id).filter(|row| is_live(row)) {
            row.insert("deleted_at".to_owned(), json!(now));
        }
    }
    Ok((204, None))
}

/// Changes a record.
pub(crate) fn change(world: &mut World, id: &str, body: &Value) -> Answer {
    let found = world.discovery.get_mut(id).filter(|row| is_live(row));
    let row = found.ok_or_else(|| ApiError::missing("DiscoveryInfo", id))?;
    let changes = body.as_object().ok_or_else(ApiError::internal)?;
    if let Some(name) = changes.keys().find(|name| !CHANGEABLE.contains(&name.as_str())) {
        return Err(ApiError::wrong("OE0212", &[name]));
    }
    for (name, value) in changes.iter().filter(|(_, value)| !value.is_null()) {
        if name == "last_error" {
            check::string(name, value, 1_024)?;
        } else {
            check::integer(name, value)?;
        }
    }
    let nulled = changes.iter().find(|(name, value)| value.is_null() && *name != "last_error");
    if let Some((name, _)) = nulled {
        return Err(ApiError::wrong("OE0003", &[name]));
    }
    row.extend(changes.clone());
    Ok((200, Some(Value::Object(row.clone()))))
}
