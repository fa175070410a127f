//! The repair of a document as an update of MongoDB's.

use mongodb::bson::{Bson, Document as Bdoc, doc};

use crate::cost::AccountId;

use super::bson_statement::{FIRST_SEEN_DATE, LAST_SEEN_DATE, UpdateStatement, any_of, date};
use super::document::{ENVIRONMENT_KEY, MetaValue, OWNER_KEYS, PoolOwner};
use super::repair::Repair;

/// Repairs a document, where what is wrong with it is still wrong.
#[must_use]
pub fn repair(account: &AccountId, id: &str, repair: &Repair) -> UpdateStatement {
    let any_of = any_of(id);
    let has_one_form = matches!(any_of, Bson::String(_));
    let mut filter = doc! { "_id": any_of };
    // An `_id` alone, which was found by the account, is what servers find the fastest.
    if *repair != Repair::default() || !has_one_form {
        filter.insert("cloud_account_id", account.as_str());
    }
    let (mut set, mut unset) = (Bdoc::new(), Bdoc::new());
    let dates =
        [(FIRST_SEEN_DATE, repair.first_seen_date), (LAST_SEEN_DATE, repair.last_seen_date)];
    for (field, day) in dates {
        let Some(day) = day else { continue };
        filter.insert(field, doc! { "$not": { "$type": "date" } });
        set.insert(field, date(day));
    }
    for key in &repair.unset_nulls {
        filter.insert(*key, Bson::Null);
        unset.insert(*key, "");
    }
    if repair.unset_environment {
        filter.insert(ENVIRONMENT_KEY, false);
        unset.insert(ENVIRONMENT_KEY, "");
    }
    if let Some(PoolOwner { pool_id, employee_id }) = &repair.owner {
        for (key, value) in OWNER_KEYS.into_iter().zip([pool_id, employee_id]) {
            filter.insert(key, Bson::Null);
            set.insert(key, value.as_str());
        }
    }
    change_meta(repair, &mut set, &mut unset);
    if let Some(node) = &repair.k8s_node {
        set.insert("k8s_node", node.as_str());
    }
    if let Some(cluster) = &repair.k8s_cluster {
        set.insert("k8s_cluster", cluster.as_str());
    }
    let min = repair.lower_first_seen_date.map(|day| doc! { FIRST_SEEN_DATE: date(day) });
    let max = repair.raise_last_seen_date.map(|day| doc! { LAST_SEEN_DATE: date(day) });
    let parts = [("$set", Some(set)), ("$unset", Some(unset)), ("$min", min), ("$max", max)];
    let parts = parts.into_iter().filter_map(|(name, part)| {
        let part = part.filter(|part| !part.is_empty())?;
        Some((name.to_owned(), Bson::Document(part)))
    });
    UpdateStatement::one(filter, parts.collect())
}

/// Puts what changes about `meta`. Servers refuse a field below a null, a list or a text.
fn change_meta(repair: &Repair, set: &mut Bdoc, unset: &mut Bdoc) {
    let fields = repair.set_meta.iter().map(|(key, value)| (key.clone(), meta_bson(value)));
    if repair.makes_meta {
        if !repair.set_meta.is_empty() {
            set.insert("meta", fields.collect::<Bdoc>());
        }
        return;
    }
    for key in &repair.unset_meta {
        unset.insert(format!("meta.{key}"), "");
    }
    set.extend(fields.map(|(key, value)| (format!("meta.{key}"), value)));
}

fn meta_bson(value: &MetaValue) -> Bson {
    match value {
        MetaValue::Text(text) => text.as_str().into(),
        MetaValue::Flag(flag) => (*flag).into(),
        MetaValue::Whole(number) => (*number).into(),
        MetaValue::Number(number) => (*number).into(),
    }
}
