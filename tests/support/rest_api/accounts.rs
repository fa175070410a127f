//! Organizations, accounts, pools and employees.

use serde_json::{Value, json};

use super::Call;
use super::check;
use super::reply::{Answer, ApiError};
use super::world::{Row, Table, World, is_live, live};

/// The columns of an account that a change may set.
const CHANGEABLE: [&str; 12] = [
    "name",
    "config",
    "auto_import",
    "process_recommendations",
    "last_import_at",
    "last_import_modified_at",
    "last_import_attempt_at",
    "last_import_attempt_error",
    "last_getting_metrics_at",
    "last_getting_metric_attempt_at",
    "last_getting_metric_attempt_error",
    "cleaned_at",
];

fn shown(row: &Row) -> Value {
    Value::Object(row.clone())
}

fn one(table: &Table, kind: &str, id: &str) -> Answer {
    let row = live(table, id).ok_or_else(|| ApiError::missing(kind, id))?;
    Ok((200, Some(shown(row))))
}

pub(crate) fn organizations(world: &World) -> (u16, Option<Value>) {
    let rows: Vec<Value> =
        world.organizations.values().filter(|row| is_live(row)).map(shown).collect();
    (200, Some(json!({ "organizations": rows })))
}

pub(crate) fn organization(world: &World, id: &str) -> Answer {
    one(&world.organizations, "Organization", id)
}

pub(crate) fn of_organization(world: &World, organization: &str) -> Answer {
    if live(&world.organizations, organization).is_none() {
        return Err(ApiError::missing("Organization", organization));
    }
    let rows: Vec<Value> = world
        .accounts
        .values()
        .filter(|row| is_live(row) && row["organization_id"] == organization)
        .map(shown)
        .collect();
    Ok((200, Some(json!({ "cloud_accounts": rows }))))
}

pub(crate) fn account(world: &World, id: &str) -> Answer {
    one(&world.accounts, "CloudAccount", id)
}

pub(crate) fn employee(world: &World, id: &str) -> Answer {
    one(&world.employees, "Employee", id)
}

/// A pool; with `children=true` all pools below it, in one list.
pub(crate) fn pool(world: &World, id: &str, call: &Call<'_>) -> Answer {
    let pool = live(&world.pools, id).ok_or_else(|| ApiError::missing("Pool", id))?;
    let mut pool = pool.clone();
    if call.flag("children")? {
        pool.insert("children".to_owned(), Value::Array(below(world, id)));
    }
    Ok((200, Some(Value::Object(pool))))
}

fn below(world: &World, id: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for pool in world.pools.values().filter(|pool| is_live(pool) && pool["parent_id"] == id) {
        found.push(shown(pool));
        found.extend(below(world, pool["id"].as_str().unwrap()));
    }
    found
}

/// Changes an account.
pub(crate) fn change(world: &mut World, id: &str, body: &Value) -> Answer {
    let found = world.accounts.get_mut(id).filter(|row| is_live(row));
    let row = found.ok_or_else(|| ApiError::missing("CloudAccount", id))?;
    let changes = body.as_object().ok_or_else(ApiError::internal)?;
    for (name, value) in changes.iter().filter(|(_, value)| !check::is_falsy(value)) {
        match name.as_str() {
            "last_import_attempt_error" => check::string(name, value, 255)?,
            "last_import_at" | "last_import_modified_at" | "last_import_attempt_at" => {
                check::integer(name, value)?;
            }
            _ => {}
        }
    }
    let is_changeable = |name: &&String| CHANGEABLE.contains(&name.as_str());
    if let Some(name) = changes.keys().find(|name| row.contains_key(*name) && !is_changeable(name))
    {
        return Err(ApiError::wrong("OE0211", &[name]));
    }
    if let Some(name) = changes.keys().find(|name| !row.contains_key(*name)) {
        return Err(ApiError::wrong("OE0212", &[name]));
    }
    for (name, value) in changes {
        change_column(name, value)?;
    }
    row.extend(changes.clone());
    let mut shown = row.clone();
    // What is protected is not shown to whom changes it.
    shown.remove("config");
    Ok((200, Some(Value::Object(shown))))
}

/// What the columns themselves refuse.
fn change_column(name: &str, value: &Value) -> Result<(), ApiError> {
    let is_nullable = name.ends_with("_error");
    match name {
        _ if value.is_null() && !is_nullable => Err(ApiError::wrong("OE0003", &[name])),
        "last_import_at" | "last_import_modified_at" if !is_integer(value) => {
            Err(ApiError::wrong("OE0223", &[name]))
        }
        "auto_import" | "process_recommendations" => check::boolean(name, value),
        "name" => check::string(name, value, 255),
        _ => Ok(()),
    }
}

/// What Python takes for an integer: false is one.
fn is_integer(value: &Value) -> bool {
    value.is_boolean() || (value.is_number() && !value.is_f64())
}
