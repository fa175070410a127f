//! The few of MongoDB's operators that this program's updates use, as functions of values, with
//! MongoDB's order between types: a number is before any date.

use std::cmp::Ordering;

use mongodb::bson::{Bson, Document as Bdoc};

use crate::service::failure::{Failure, Hop, Kind};

use super::bson_form::number;

/// Whether a document matches a filter of equalities, `$in`, `$lt`, `$lte`, `$gte`, `$exists` and
/// `$not: {$type: "date"}`.
#[must_use]
pub(super) fn matches(filter: &Bdoc, document: &Bdoc) -> bool {
    filter.iter().all(|(key, condition)| {
        let value = document.get(key);
        match condition {
            Bson::Document(operators) if is_operators(operators) => {
                operators.iter().all(|(name, operand)| holds(name, operand, value))
            }
            wanted => equals(value, wanted),
        }
    })
}

fn is_operators(document: &Bdoc) -> bool {
    document.keys().next().is_some_and(|key| key.starts_with('$'))
}

/// A null in a filter also matches a key that is not there.
fn equals(value: Option<&Bson>, wanted: &Bson) -> bool {
    match value {
        None => *wanted == Bson::Null,
        Some(value) => compare(value, wanted) == Ordering::Equal,
    }
}

fn holds(operator: &str, operand: &Bson, value: Option<&Bson>) -> bool {
    let is = |wanted: &[Ordering]| {
        // MongoDB compares values of one kind only in filters.
        value.is_some_and(|value| {
            rank(value) == rank(operand) && wanted.contains(&compare(value, operand))
        })
    };
    match (operator, operand) {
        ("$in", Bson::Array(wanted)) => wanted.iter().any(|wanted| equals(value, wanted)),
        ("$lt", _) => is(&[Ordering::Less]),
        ("$lte", _) => is(&[Ordering::Less, Ordering::Equal]),
        ("$gte", _) => is(&[Ordering::Greater, Ordering::Equal]),
        ("$exists", Bson::Boolean(wanted)) => value.is_some() == *wanted,
        ("$not", Bson::Document(inner)) if inner.get_str("$type") == Ok("date") => {
            !matches!(value, Some(Bson::DateTime(_)))
        }
        _ => false,
    }
}

/// Where a type stands in MongoDB's order of types.
fn rank(value: &Bson) -> u8 {
    match value {
        Bson::Null | Bson::Undefined => 1,
        Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) => 2,
        Bson::String(_) => 3,
        Bson::Document(_) => 4,
        Bson::Array(_) => 5,
        Bson::ObjectId(_) => 7,
        Bson::Boolean(_) => 8,
        Bson::DateTime(_) => 9,
        _ => 10,
    }
}

fn compare(a: &Bson, b: &Bson) -> Ordering {
    let by_value = match (a, b) {
        (Bson::String(a), Bson::String(b)) => a.cmp(b),
        (Bson::Boolean(a), Bson::Boolean(b)) => a.cmp(b),
        (Bson::DateTime(a), Bson::DateTime(b)) => a.cmp(b),
        (Bson::ObjectId(a), Bson::ObjectId(b)) => a.cmp(b),
        _ => match (number(Some(a)), number(Some(b))) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ if a == b => Ordering::Equal,
            _ => Ordering::Less,
        },
    };
    rank(a).cmp(&rank(b)).then(by_value)
}

/// Carries `$setOnInsert`, `$set`, `$unset`, `$min` and `$max` out; whether anything changed.
///
/// # Errors
/// When a field is to be made below a value that is no document, as MongoDB refuses it (code 28);
/// then nothing changes.
pub(super) fn apply_change(
    change: &Bdoc,
    document: &mut Bdoc,
    is_insert: bool,
) -> Result<bool, Failure> {
    refuse_fields_below_values(change, document, is_insert)?;
    let mut is_changed = false;
    for (operator, fields) in change {
        let Bson::Document(fields) = fields else { continue };
        if operator == "$setOnInsert" && !is_insert {
            continue;
        }
        for (path, value) in fields {
            if operator == "$unset" && !has_parent(document, path) {
                continue;
            }
            let (parent, key) = parent_of(document, path);
            match operator.as_str() {
                "$unset" => is_changed |= parent.remove(key).is_some(),
                "$min" if parent.get(key).is_some_and(|old| compare(value, old).is_ge()) => {}
                "$max" if parent.get(key).is_some_and(|old| compare(value, old).is_le()) => {}
                _ if parent.get(key) == Some(value) => {}
                _ => {
                    parent.insert(key, value.clone());
                    is_changed = true;
                }
            }
        }
    }
    Ok(is_changed)
}

fn refuse_fields_below_values(
    change: &Bdoc,
    document: &Bdoc,
    is_insert: bool,
) -> Result<(), Failure> {
    for (operator, fields) in change {
        let Bson::Document(fields) = fields else { continue };
        if operator == "$unset" || (operator == "$setOnInsert" && !is_insert) {
            continue;
        }
        let is_refused = |path: &&String| {
            let parent = path.split_once('.').and_then(|(parent, _)| document.get(parent));
            parent.is_some_and(|value| value.as_document().is_none())
        };
        if let Some(path) = fields.keys().find(is_refused) {
            let what =
                format!("error 28: Cannot create field {path} in an element of another type");
            return Err(Failure::new(Hop::MongoDb, Kind::BadReply, what, "look at MongoDB's log"));
        }
    }
    Ok(())
}

/// Whether there is a document that may hold the last part of a path.
fn has_parent(document: &Bdoc, path: &str) -> bool {
    path.split_once('.')
        .is_none_or(|(parent, _)| matches!(document.get(parent), Some(Bson::Document(_))))
}

/// The document that holds the last part of a path of at most two parts, and that part.
fn parent_of<'a, 'b>(document: &'a mut Bdoc, path: &'b str) -> (&'a mut Bdoc, &'b str) {
    let Some((parent, key)) = path.split_once('.') else { return (document, path) };
    if !matches!(document.get(parent), Some(Bson::Document(_))) {
        document.insert(parent, Bdoc::new());
    }
    match document.get_mut(parent) {
        Some(Bson::Document(inner)) => (inner, key),
        // It was just made one.
        _ => unreachable!("{parent} is a document"),
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{DateTime, doc};

    use super::*;

    fn changes(change: &Bdoc, document: &mut Bdoc, is_insert: bool) -> bool {
        apply_change(change, document, is_insert).unwrap()
    }

    #[test]
    fn a_field_below_a_value_that_is_no_document_is_refused_and_one_to_remove_is_not_there() {
        for odd in [Bson::Null, Bson::String("x".into()), Bson::Array(Vec::new())] {
            let mut document = doc! { "meta": odd };
            let before = document.clone();
            let set = doc! { "$set": { "name": "x", "meta.name": "p" } };
            let failure = apply_change(&set, &mut document, false).unwrap_err();
            assert!(failure.what.contains("meta.name"), "{failure}");
            assert!(!changes(&doc! { "$unset": { "meta.name": "" } }, &mut document, false));
            assert_eq!(document, before);
            assert!(changes(&doc! { "$set": { "meta": { "name": "p" } } }, &mut document, false));
        }
    }

    #[test]
    fn a_number_is_before_any_date() {
        let date = Bson::DateTime(DateTime::from_millis(1_000));
        let mut document = doc! { "a": date.clone(), "b": 5_i64 };
        assert!(!changes(&doc! { "$max": { "a": 9_i64 } }, &mut document, false));
        assert!(changes(&doc! { "$min": { "a": 9_i64 } }, &mut document, false));
        assert!(changes(&doc! { "$max": { "b": date.clone() } }, &mut document, false));
        assert_eq!(document, doc! { "a": 9_i64, "b": date.clone() });
        assert!(!matches(&doc! { "a": { "$lt": date.clone() } }, &document), "other kinds");
        assert!(!matches(&doc! { "b": { "$not": { "$type": "date" } } }, &document));
        assert!(matches(
            &doc! { "a": { "$not": { "$type": "date" } }, "c": Bson::Null },
            &document
        ));
    }

    #[test]
    fn set_on_insert_and_paths_of_two_parts() {
        let change = doc! {
            "$setOnInsert": { "name": "x" },
            "$set": { "meta.name": "p" },
            "$unset": { "meta.pod": "" },
        };
        let mut document = doc! { "meta": { "pod": "p", "other": 1 } };
        assert!(changes(&change, &mut document, false));
        assert_eq!(document, doc! { "meta": { "other": 1, "name": "p" } });
        assert!(changes(&change, &mut document, true));
        assert_eq!(document.get_str("name"), Ok("x"));
    }
}
