//! The nodes of an account, which its page lists.

use serde_json::{Map, Value, json};

use super::check;
use super::reply::{Answer, ApiError};
use super::world::{Row, World, is_live, live};

const COLUMNS: [&str; 8] = [
    "cloud_account_id",
    "name",
    "last_seen",
    "flavor",
    "cpu",
    "memory",
    "provider_id",
    "hourly_price",
];
const IMMUTABLE: [&str; 3] = ["id", "created_at", "deleted_at"];

fn account_of<'a>(world: &'a World, id: &str) -> Result<&'a Row, ApiError> {
    let account = live(&world.accounts, id).ok_or_else(|| ApiError::missing("CloudAccount", id))?;
    if account["type"] == "kubernetes_cnr" {
        return Ok(account);
    }
    Err(ApiError::wrong("OE0436", &[account["type"].as_str().unwrap_or_default()]))
}

/// What a node is known by.
fn identity(node: &Row) -> (Value, Value) {
    let value = |name: &str| node.get(name).cloned().unwrap_or(Value::Null);
    (value("name"), value("provider_id"))
}

fn shown(node: &Row) -> Value {
    let mut node = node.clone();
    let provider = node["provider_id"].as_str().and_then(|id| id.split(":///").next());
    let provider = provider.filter(|name| !name.is_empty()).map(|name| format!("{name}_cnr"));
    node.insert("provider".to_owned(), json!(provider));
    Value::Object(node)
}

/// The nodes that were seen in the last import.
pub(crate) fn list(world: &World, account: &str) -> Answer {
    let since = account_of(world, account)?["last_import_at"].as_i64().unwrap_or(0);
    let is_shown = |node: &&Row| {
        is_live(node)
            && node["cloud_account_id"] == account
            && node["last_seen"].as_i64().is_some_and(|seen| seen >= since)
    };
    let nodes: Vec<Value> = world.nodes.values().filter(is_shown).map(shown).collect();
    Ok((200, Some(json!({ "nodes": nodes }))))
}

/// Makes these the nodes of the account that are shown; those that are shown and not among them are
/// deleted.
pub(crate) fn replace(world: &mut World, account: &str, body: &Value) -> Answer {
    let mut fields = body.as_object().cloned().ok_or_else(|| ApiError::wrong("OE0426", &[]))?;
    let nodes = match fields.remove("nodes") {
        None | Some(Value::Null) => return Err(ApiError::wrong("OE0216", &["nodes"])),
        Some(Value::Array(nodes)) => nodes,
        Some(_) => return Err(ApiError::wrong("OE0385", &["nodes"])),
    };
    if let Some(name) = fields.keys().next() {
        return Err(ApiError::wrong("OE0212", &[name]));
    }
    let price = account_of(world, account)?["cost_model"].as_object();
    let price: f64 = price.map_or(0.0, |of| of.values().filter_map(Value::as_f64).sum());
    let mut wanted = Vec::new();
    for node in nodes {
        let Value::Object(mut node) = node else { return Err(ApiError::internal()) };
        check_node(&node)?;
        if node.get("hourly_price").is_none_or(Value::is_null) {
            node.insert("hourly_price".to_owned(), json!(price));
        }
        // Of several with one identity the last counts.
        wanted.retain(|other| identity(other) != identity(&node));
        wanted.push(node);
    }
    let now = world.now_seconds;
    let known = |node: &&mut Row| is_live(node) && node["cloud_account_id"] == account;
    for stored in world.nodes.values_mut().filter(known) {
        match wanted.iter().position(|node| identity(node) == identity(stored)) {
            Some(at) => stored.extend(wanted.remove(at)),
            None => drop(stored.insert("deleted_at".to_owned(), json!(now))),
        }
    }
    for node in wanted {
        world.add_node(account, node);
    }
    list(world, account)
}

fn check_node(node: &Map<String, Value>) -> Result<(), ApiError> {
    let value = |name: &str| node.get(name).unwrap_or(&Value::Null);
    if value("provider_id").is_null() != value("flavor").is_null() {
        return Err(ApiError::wrong("OE0475", &[]));
    }
    if let Some(name) = node.keys().find(|name| IMMUTABLE.contains(&name.as_str())) {
        return Err(ApiError::wrong("OE0211", &[name]));
    }
    if let Some(name) = node.keys().find(|name| !COLUMNS.contains(&name.as_str())) {
        return Err(ApiError::wrong("OE0212", &[name]));
    }
    check::string("name", value("name"), 255)?;
    for name in ["flavor", "provider_id"] {
        if !value(name).is_null() {
            check::string(name, value(name), 255)?;
        }
    }
    for name in ["last_seen", "cpu", "memory"] {
        check::integer(name, value(name))?;
    }
    match value("hourly_price") {
        Value::Null => Ok(()),
        Value::Number(price) if (0.0..=2_147_483_647.0).contains(&price.as_f64().unwrap()) => {
            Ok(())
        }
        Value::Number(_) => Err(ApiError::wrong("OE0224", &["hourly_price", "0", "2147483647"])),
        _ => Err(ApiError::wrong("OE0466", &["hourly_price"])),
    }
}
