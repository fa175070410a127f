//! Documents and their changes in MongoDB's types, as values: what an update command holds, and
//! what a found document means. The store in memory carries the same updates out.

use std::collections::BTreeMap;

use mongodb::bson::{Bson, Document as Bdoc, doc, from_document, to_document};

use crate::cost::{AccountId, Day, Part, Parts};

use super::bson_statement::any_of;
use super::cost_parts::{CostParts, EFFICIENCY_KEYS, PARTS_KEY, PartsUpdate, TOP_LEVEL_PARTS};
use super::document::{
    ABSENT_KEYS, ENVIRONMENT_KEY, LastExpense, MetaValue, OWNER_KEYS, PoolOwner, ResourceDocument,
};
use super::merge::{AdoptUpdate, DeleteUpdate, DocumentUpdate, midnight};
use super::repair::Repair;
use super::stored::{StoredDate, StoredResource};
use super::tags::{RECORD_KEY, TagUpdate};
use super::{CostSummary, NewDocument, merge::SeenUpdate};

pub use super::bson_repair::repair;
pub use super::bson_statement::{
    FIRST_SEEN_DATE, LAST_SEEN_DATE, UpdateStatement, date, id_forms, in_list,
};
pub use crate::stores::bson::{number, whole};

/// What [`stored`] reads of a document.
pub const STORED_FIELDS: [&str; 24] = [
    "cloud_resource_id",
    "resource_type",
    "first_seen",
    "last_seen",
    FIRST_SEEN_DATE,
    LAST_SEEN_DATE,
    "active",
    "total_cost",
    "last_expense",
    "cluster_id",
    "cluster_type_id",
    "pool_id",
    "employee_id",
    "k8s_cluster",
    ENVIRONMENT_KEY,
    "meta",
    "deleted_at",
    "tags",
    "k8s_namespace",
    "k8s_node",
    RECORD_KEY,
    PARTS_KEY,
    EFFICIENCY_KEYS[0],
    EFFICIENCY_KEYS[1],
];

/// A whole document in MongoDB's types.
///
/// # Errors
/// When it has no such form, with the reason.
pub fn to_bson(document: &ResourceDocument) -> Result<Bdoc, String> {
    let mut fields = to_document(document).map_err(|error| error.to_string())?;
    fields.insert(FIRST_SEEN_DATE, date(document.first_seen_date));
    fields.insert(LAST_SEEN_DATE, date(document.last_seen_date));
    Ok(fields)
}

/// A whole document out of MongoDB's types.
///
/// # Errors
/// When it lacks a field or has one of another type, with the reason.
pub fn from_bson(mut found: Bdoc) -> Result<ResourceDocument, String> {
    for field in [FIRST_SEEN_DATE, LAST_SEEN_DATE] {
        if let StoredDate::Date(seconds) = stored_date(found.get(field)) {
            found.insert(field, Day::of_unix(seconds).to_string());
        }
    }
    from_document(found).map_err(|error| error.to_string())
}

/// A new document with its costs.
///
/// # Errors
/// When it has no form in MongoDB's types, with the reason.
pub fn new_document(new: &NewDocument) -> Result<Bdoc, String> {
    let mut fields = to_bson(&new.document)?;
    if let Some(costs) = &new.costs {
        fields.extend(cost_fields(costs).0);
    }
    Ok(fields)
}

/// Inserts a document unless a live one with its stable id is there; then only times move.
///
/// # Errors
/// When the document has no form in MongoDB's types, with the reason.
pub fn insert(new: &NewDocument) -> Result<UpdateStatement, String> {
    let mut fields = new_document(new)?;
    let mut take = |names: &[&str]| -> Bdoc {
        names.iter().filter_map(|name| Some(((*name).to_owned(), fields.remove(name)?))).collect()
    };
    let filter = take(&["cloud_resource_id", "cloud_account_id", "deleted_at"]);
    let min = take(&["first_seen", FIRST_SEEN_DATE]);
    let max = take(&["last_seen", LAST_SEEN_DATE]);
    let change = doc! { "$setOnInsert": fields, "$min": min, "$max": max };
    Ok(UpdateStatement { filter, change, is_upsert: true, is_multi: false })
}

/// Moves a document's times and repairs it.
#[must_use]
pub fn update(account: &AccountId, update: &DocumentUpdate) -> UpdateStatement {
    let mut statement = repair(account, &update.id, &update.repair);
    put(&mut statement, "$min", "first_seen", update.first_seen.into());
    put(&mut statement, "$max", "last_seen", update.last_seen.into());
    if update.activate {
        put(&mut statement, "$set", "active", true.into());
    }
    tags(&update.tags, &mut |name, field, value| put(&mut statement, name, field, value));
    statement
}

/// Adds a field to one of a statement's operators.
fn put(statement: &mut UpdateStatement, operator: &str, field: &str, value: Bson) {
    let fields = statement.change.entry(operator.to_owned()).or_insert_with(|| Bdoc::new().into());
    if let Bson::Document(fields) = fields {
        fields.insert(field, value);
    }
}

/// Puts the changes of tags with `put`, by operator and field.
fn tags(update: &TagUpdate, put: &mut dyn FnMut(&str, &str, Bson)) {
    let object = |tags: &BTreeMap<String, String>| -> Bson {
        let pairs = tags.iter().map(|(key, value)| (key.clone(), Bson::from(value.as_str())));
        Bson::Document(pairs.collect())
    };
    if update.makes_tags && !update.set.is_empty() {
        put("$set", "tags", object(&update.set));
    } else {
        for (key, value) in &update.set {
            put("$set", &format!("tags.{key}"), value.as_str().into());
        }
    }
    for key in &update.unset {
        put("$unset", &format!("tags.{key}"), "".into());
    }
    if let Some(record) = &update.record {
        put("$set", RECORD_KEY, object(record));
    }
}

/// Moves `last_seen` of many documents of one account to one time.
#[must_use]
pub fn seen(account: &AccountId, ids: &[String], update: &SeenUpdate) -> UpdateStatement {
    let filter = doc! {
        "_id": in_list(ids),
        "cloud_account_id": account.as_str(),
        "last_seen": { "$lt": update.last_seen },
    };
    let change = doc! {
        "$max": { "last_seen": update.last_seen, LAST_SEEN_DATE: date(Day::of_unix(update.last_seen)) },
    };
    UpdateStatement { is_multi: true, ..UpdateStatement::one(filter, change) }
}

/// Gives a document pool, owner and tags of another one.
#[must_use]
pub fn adopt(account: &AccountId, update: &AdoptUpdate) -> UpdateStatement {
    let filter = doc! { "_id": any_of(&update.id), "cloud_account_id": account.as_str() };
    let mut set = Bdoc::new();
    if let Some(PoolOwner { pool_id, employee_id }) = &update.owner {
        set.insert("pool_id", pool_id.as_str());
        set.insert("employee_id", employee_id.as_str());
    }
    if update.makes_tags {
        let tags: Bdoc =
            update.tags.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
        set.insert("tags", tags);
    } else {
        set.extend(update.tags.iter().map(|(k, v)| (format!("tags.{k}"), v.as_str().into())));
    }
    UpdateStatement::one(filter, doc! { "$set": set })
}

/// Marks a document as deleted.
#[must_use]
pub fn delete(account: &AccountId, update: &DeleteUpdate) -> UpdateStatement {
    let filter = doc! {
        "_id": any_of(&update.id), "cloud_account_id": account.as_str(), "deleted_at": 0,
    };
    let change = doc! { "$set": { "deleted_at": update.at_seconds, "active": false } };
    UpdateStatement::one(filter, change)
}

/// Sets a document's costs, and what else changes in it.
#[must_use]
pub fn costs(account: &AccountId, summary: &CostSummary) -> UpdateStatement {
    let mut statement = match &summary.document_update {
        Some(changed) => update(account, changed),
        // Nothing to repair: the document alone is named.
        None => repair(account, &summary.id, &Repair::default()),
    };
    let (set, unset) = cost_fields(summary);
    for (operator, fields) in [("$set", set), ("$unset", unset)] {
        for (field, value) in fields {
            put(&mut statement, operator, &field, value);
        }
    }
    statement
}

/// What costs set in a document, and what they unset.
fn cost_fields(summary: &CostSummary) -> (Bdoc, Bdoc) {
    let mut set = doc! { "total_cost": summary.total_cost };
    let mut unset = Bdoc::new();
    match summary.last_expense {
        Some(last) => {
            set.insert("last_expense", doc! { "date": last.date, "cost": last.cost });
        }
        None => drop(unset.insert("last_expense", "")),
    }
    parts(&summary.parts, &mut set, &mut unset);
    (set, unset)
}

/// What an update sets and unsets of what costs are made of.
fn parts(update: &PartsUpdate, set: &mut Bdoc, unset: &mut Bdoc) {
    let none = CostParts::default();
    let parts = match update {
        PartsUpdate::Keep => return,
        PartsUpdate::Set(parts) => parts,
        PartsUpdate::Unset => &none,
    };
    let last = parts.last_day();
    let mut put = |key: &str, value: Option<f64>| match value {
        Some(value) => drop(set.insert(key, value)),
        None => drop(unset.insert(key, "")),
    };
    for (part, key) in TOP_LEVEL_PARTS {
        put(key, last.map(|(_, parts)| parts.get(&part).copied().unwrap_or(0.0)));
    }
    put(EFFICIENCY_KEYS[0], parts.cpu_efficiency);
    put(EFFICIENCY_KEYS[1], parts.ram_efficiency);
    let (Some((day, of_day)), Some((since, of_month))) = (last, parts.month_to_date()) else {
        unset.insert(PARTS_KEY, "");
        return;
    };
    let mut last_day = doc! { "date": day.start_seconds() };
    last_day.extend(usd_by_part(of_day));
    let mut month = doc! { "since": since.start_seconds() };
    month.extend(usd_by_part(&of_month));
    let days = parts.days.iter();
    let days: Bdoc =
        days.map(|(day, of)| (day.to_string(), Bson::Document(usd_by_part(of)))).collect();
    let value = doc! { "last_day": last_day, "month_to_date": month, "days": days };
    set.insert(PARTS_KEY, value);
}

fn usd_by_part(parts: &Parts) -> Bdoc {
    parts.iter().map(|(part, usd)| (part.as_str().to_owned(), Bson::Double(*usd))).collect()
}

/// What a document's costs are made of; `None` where it does not say, or in another form.
fn stored_parts(found: &Bdoc) -> Option<CostParts> {
    let of_day = |(day, parts): (&String, &Bson)| -> Option<(Day, Parts)> {
        let parts = parts.as_document()?;
        let usd = |part: Part| Some((part, number(parts.get(part.as_str()))?));
        Some((day.parse().ok()?, Part::ALL.into_iter().filter_map(usd).collect()))
    };
    let days = found.get_document(PARTS_KEY).ok()?.get_document("days").ok()?;
    let days: Option<BTreeMap<Day, Parts>> = days.iter().map(of_day).collect();
    Some(CostParts {
        days: days.filter(|days| !days.is_empty())?,
        cpu_efficiency: number(found.get(EFFICIENCY_KEYS[0])),
        ram_efficiency: number(found.get(EFFICIENCY_KEYS[1])),
    })
}

/// Marks documents as inactive whose last day lies before `day`.
#[must_use]
pub fn retire(account: &AccountId, own_form: &str, day: Day) -> UpdateStatement {
    let filter = doc! {
        "cloud_account_id": account.as_str(),
        "deleted_at": 0,
        "active": true,
        LAST_SEEN_DATE: { "$lt": date(day) },
        // Last: of documents that were seen lately, no server need match it.
        "cloud_resource_id": { "$regex": own_form },
    };
    let change = doc! { "$set": { "active": false } };
    UpdateStatement { is_multi: true, ..UpdateStatement::one(filter, change) }
}

/// An `_id` as text.
#[must_use]
pub fn id_text(id: Option<&Bson>) -> Option<String> {
    match id? {
        Bson::String(text) => Some(text.clone()),
        Bson::ObjectId(object_id) => Some(object_id.to_hex()),
        _ => None,
    }
}

fn stored_date(value: Option<&Bson>) -> StoredDate {
    match value {
        None | Some(Bson::Null) => StoredDate::Missing,
        Some(Bson::DateTime(date)) => StoredDate::Date(date.timestamp_millis().div_euclid(1_000)),
        Some(_) => StoredDate::NotADate,
    }
}

/// A value of `meta` as text; `None` for lists, documents and the like.
fn meta_text(value: &Bson) -> Option<String> {
    let value = match value {
        Bson::String(text) => MetaValue::Text(text.clone()),
        Bson::Boolean(flag) => MetaValue::Flag(*flag),
        Bson::Int32(number) => MetaValue::Whole(i64::from(*number)),
        Bson::Int64(number) => MetaValue::Whole(*number),
        Bson::Double(number) => MetaValue::Number(*number),
        _ => return None,
    };
    Some(value.to_string())
}

/// The texts of a document.
fn texts(found: &Bdoc) -> BTreeMap<String, String> {
    let text = |(key, value): (&String, &Bson)| Some((key.clone(), value.as_str()?.to_owned()));
    found.iter().filter_map(text).collect()
}

/// What a found document says; `None` where it has no `_id` or stable id that is a text.
#[must_use]
pub fn stored(found: &Bdoc) -> Option<StoredResource> {
    let last_expense = found.get_document("last_expense").ok().and_then(|last| {
        Some(LastExpense { date: whole(last.get("date"))?, cost: number(last.get("cost"))? })
    });
    let text = |key: &str| found.get_str(key).ok().map(str::to_owned);
    let is_null = |key: &&str| found.get(key) == Some(&Bson::Null);
    let has = |key: &&str| found.get(key).is_some_and(|value| *value != Bson::Null);
    let has_odd_meta = found.get("meta").is_some_and(|meta| meta.as_document().is_none());
    let meta = found
        .get_document("meta")
        .map(|meta| meta.iter().map(|(key, value)| (key.clone(), meta_text(value))));
    Some(StoredResource {
        id: id_text(found.get("_id"))?,
        cloud_resource_id: text("cloud_resource_id")?,
        resource_type: text("resource_type"),
        first_seen: whole(found.get("first_seen")),
        last_seen: whole(found.get("last_seen")),
        first_seen_date: stored_date(found.get(FIRST_SEEN_DATE)),
        last_seen_date: stored_date(found.get(LAST_SEEN_DATE)),
        active: found.get_bool("active").ok(),
        total_cost: number(found.get("total_cost")),
        last_expense,
        null_keys: ABSENT_KEYS.into_iter().chain(OWNER_KEYS).filter(is_null).collect(),
        has_false_environment: found.get(ENVIRONMENT_KEY) == Some(&Bson::Boolean(false)),
        has_owner: OWNER_KEYS.iter().any(has),
        pool_id: text("pool_id"),
        employee_id: text("employee_id"),
        is_deleted: whole(found.get("deleted_at")) != Some(0),
        tags: found.get_document("tags").ok().map(texts),
        cost_parts: stored_parts(found),
        label_tags: found.get_document(RECORD_KEY).map(texts).unwrap_or_default(),
        k8s_namespace: text("k8s_namespace"),
        k8s_node: text("k8s_node"),
        k8s_cluster: text("k8s_cluster"),
        meta: meta.map_or_else(|_| BTreeMap::new(), Iterator::collect),
        has_odd_meta,
    })
}

/// Whether a stored date lies at a midnight: what readers and this program write.
#[must_use]
pub fn is_midnight(seconds: i64) -> bool {
    midnight(seconds) == seconds
}
