//! Whether readers can use an account's documents: each field by its kind and type.

use std::collections::BTreeMap;

use mongodb::bson::{Bson, Document};

use crate::cost::Day;
use crate::cost::resource_id::has_own_form;
use crate::documents::bson_form::{FIRST_SEEN_DATE, LAST_SEEN_DATE, id_text, stored, whole};
use crate::documents::document::{ABSENT_KEYS, ENVIRONMENT_KEY, OWNER_KEYS, REFUSED_POD_META_KEYS};
use crate::service::failure::Failure;

use super::finding::HopFinding;
use super::judge_source::likely_cause;

const MIGRATE: &str = "kubecost-worker migrate converts them in place";
const RUN: &str =
    "kubecost-worker run writes the times anew; correct what another program made there";

/// What is wrong with one document for readers: the field, what it is, and what repairs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldFault {
    /// The field, or `meta.KEY`.
    pub field: &'static str,
    /// What is wrong with it, of several documents.
    pub what: &'static str,
    /// What repairs it.
    pub fix: &'static str,
}

fn fault(field: &'static str, what: &'static str, fix: &'static str) -> FieldFault {
    FieldFault { field, what, fix }
}

/// The faults of one document, the worst first.
#[must_use]
pub fn faults(document: &Document) -> Vec<FieldFault> {
    let mut out = Vec::new();
    for field in [FIRST_SEEN_DATE, LAST_SEEN_DATE] {
        match document.get(field) {
            Some(Bson::DateTime(_)) => {}
            Some(Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_)) => {
                out.push(fault(field, "is a number in the place of a date", MIGRATE));
            }
            _ => out.push(fault(field, "is no date", RUN)),
        }
    }
    for field in ["first_seen", "last_seen"] {
        if whole(document.get(field)).is_none() {
            out.push(fault(field, "is no number of seconds", RUN));
        }
    }
    if whole(document.get("deleted_at")).is_none() {
        out.push(fault("deleted_at", "is not there", "set deleted_at: 0 on it"));
    }
    for field in ABSENT_KEYS {
        if document.get(field) == Some(&Bson::Null) {
            out.push(fault(field, "is null, but must be absent", MIGRATE));
        }
    }
    if document.get(ENVIRONMENT_KEY) == Some(&Bson::Boolean(false)) {
        out.push(fault(ENVIRONMENT_KEY, "is false, but must be absent", MIGRATE));
    }
    for field in ["tags", "meta"] {
        if !matches!(document.get(field), None | Some(Bson::Null | Bson::Document(_))) {
            out.push(fault(field, "is no object", "make it an object"));
        }
    }
    if document.get_document("tags").is_ok_and(|tags| !tags.keys().all(|key| is_base64(key))) {
        let fix = "rename the tag in CloudTuner's UI, which encodes it";
        out.push(fault("tags", "has a key that is not base64", fix));
    }
    let is_pod = document.get_str("resource_type") == Ok("K8s Pod");
    let meta = document.get_document("meta").ok();
    if is_pod && let Some(meta) = meta {
        let refused = REFUSED_POD_META_KEYS.iter().any(|key| meta.contains_key(key));
        if refused {
            out.push(fault("meta", "has a key that the readers' class for pods refuses", MIGRATE));
        }
    }
    out
}

/// Standard base64 with padding: how CloudTuner encodes the keys of tags.
fn is_base64(key: &str) -> bool {
    let body = key.trim_end_matches('=');
    key.len().is_multiple_of(4)
        && key.len() - body.len() <= 2
        && body.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}

/// What an account's documents are for readers that ask for yesterday and today.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentFacts {
    /// How many there are.
    pub count: u64,
    /// How many readers find.
    pub visible: u64,
    /// Why the first of the others are not found.
    pub hidden: Option<&'static str>,
    /// How many have each fault.
    pub faults: BTreeMap<FieldFault, u64>,
    /// Live documents without pool and owner.
    pub unowned: u64,
    /// Documents whose `_id` has not the form of a UUID.
    pub invalid_ids: u64,
}

/// Sums up documents.
#[must_use]
pub fn facts(documents: &[Document], today: Day) -> DocumentFacts {
    let mut out = DocumentFacts::default();
    for document in documents {
        out.count += 1;
        let is_own = document.get_str("cloud_resource_id").is_ok_and(has_own_form);
        let of_document = faults(document);
        let is_live = whole(document.get("deleted_at")) == Some(0);
        match hidden(document, today) {
            None => out.visible += 1,
            why => out.hidden = out.hidden.or(why),
        }
        if !is_own {
            continue;
        }
        for fault in of_document {
            *out.faults.entry(fault).or_default() += 1;
        }
        let has = |key: &&str| document.get(key).is_some_and(|value| *value != Bson::Null);
        out.unowned += u64::from(is_live && !OWNER_KEYS.iter().any(has));
        let id = id_text(document.get("_id")).unwrap_or_default();
        out.invalid_ids += u64::from(uuid::Uuid::try_parse(&id).is_err() || id.len() != 36);
    }
    out
}

/// Why readers that ask for yesterday and today do not find a document.
fn hidden(document: &Document, today: Day) -> Option<&'static str> {
    if whole(document.get("deleted_at")) != Some(0) {
        return Some("their deleted_at is not 0");
    }
    let found = stored(document)?;
    if found.is_visible_on(today) || found.is_visible_on(today.previous()) {
        return None;
    }
    let is_later = found.first_seen.is_some_and(|seconds| seconds >= today.end_seconds());
    Some(if is_later {
        "they are first seen in the future: milliseconds, or a clock that is off"
    } else {
        "they were last seen before yesterday: no run wrote them since"
    })
}

/// Whether the documents are there, and readers can use them.
#[must_use]
pub fn documents(asked: &Result<DocumentFacts, Failure>) -> HopFinding {
    let facts = match asked {
        Ok(facts) => facts,
        Err(failure) => return HopFinding::failed(failure, likely_cause(failure)),
    };
    if facts.count == 0 {
        return HopFinding::broken(
            "the account has no documents",
            "no run has written it yet, or it writes another RESOURCES_COLLECTION",
            "kubecost-worker run; see its summary",
        );
    }
    if let Some((worst, count)) = facts.faults.iter().max_by_key(|(_, count)| **count) {
        return HopFinding::broken(
            format!("{count} of {} documents: {} {}", facts.count, worst.field, worst.what),
            "readers do not see such documents, or fail on them: version 0.1.0 or another program \
             wrote them",
            worst.fix,
        );
    }
    if facts.visible == 0 {
        return HopFinding::broken(
            format!("all {} documents are invisible to readers", facts.count),
            facts.hidden.unwrap_or("their times are not those of yesterday and today"),
            RUN,
        );
    }
    let mut text = format!("{} of {} documents are visible now", facts.visible, facts.count);
    if facts.unowned > 0 {
        text.push_str(&format!(
            "; {} have neither pool nor owner, so pages by pool and owner and the month total lack \
             them: set DEFAULT_POOL_ID and DEFAULT_EMPLOYEE_ID, or REST_URL",
            facts.unowned
        ));
    }
    if facts.invalid_ids > 0 {
        text.push_str(&format!(
            "; {} have an _id of the first form, which constraints and bookings refuse: see audit",
            facts.invalid_ids
        ));
    }
    HopFinding::ok(text)
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{DateTime, doc};

    use super::*;
    use crate::verify::HopState;

    const MIDNIGHT: i64 = 1_795_132_800;

    fn right() -> Document {
        let date = Bson::DateTime(DateTime::from_millis(MIDNIGHT * 1_000));
        doc! {
            "_id": "f8a434ff-b16a-88b7-ba9a-79f84732cae1",
            "cloud_resource_id": "k8s-pod-0123456789abcdef",
            "resource_type": "K8s Pod",
            "first_seen": MIDNIGHT, "last_seen": MIDNIGHT,
            FIRST_SEEN_DATE: date.clone(), LAST_SEEN_DATE: date,
            "deleted_at": 0, "tags": { "dGVhbQ==": "blue" }, "meta": { "name": "p" },
            "pool_id": "p", "employee_id": "e",
        }
    }

    fn judged(documents: &[Document]) -> HopFinding {
        documents_of(documents, Day::of_unix(MIDNIGHT))
    }

    fn documents_of(found: &[Document], today: Day) -> HopFinding {
        documents(&Ok(facts(found, today)))
    }

    #[test]
    fn a_document_that_readers_can_use_has_no_fault() {
        assert_eq!(faults(&right()), []);
        let finding = judged(&[right()]);
        assert_eq!(finding.state, HopState::Ok);
        assert_eq!(finding.what, "1 of 1 documents are visible now");
    }

    #[test]
    fn each_field_of_another_kind_is_named_with_what_repairs_it() {
        for (field, value, part, fix) in [
            (FIRST_SEEN_DATE, Bson::Int64(MIDNIGHT), "a number in the place", "migrate"),
            (LAST_SEEN_DATE, Bson::Double(1.0), "a number in the place", "migrate"),
            (LAST_SEEN_DATE, Bson::Null, "is no date", "run"),
            ("first_seen", Bson::String("x".into()), "is no number", "run"),
            ("deleted_at", Bson::Null, "is not there", "deleted_at"),
            ("cluster_id", Bson::Null, "must be absent", "migrate"),
            (ENVIRONMENT_KEY, Bson::Boolean(false), "must be absent", "migrate"),
            ("tags", Bson::Array(vec![]), "is no object", "object"),
            ("tags", Bson::Document(doc! {"team!": "x"}), "not base64", "rename"),
            ("meta", Bson::Document(doc! {"namespace": "n"}), "class for pods", "migrate"),
        ] {
            let mut broken = right();
            broken.insert(field, value.clone());
            let found = faults(&broken);
            assert_eq!(found.len(), 1, "{field} {value:?}: {found:?}");
            assert!(found[0].field == field && found[0].what.contains(part), "{found:?}");
            let finding = judged(&[broken]);
            assert_eq!(finding.state, HopState::Broken);
            assert!(finding.fix.contains(fix), "{finding:?}");
        }
    }

    #[test]
    fn documents_without_owner_and_with_old_ids_are_counted() {
        let mut old = right();
        old.insert("_id", "k8s-pod-0123456789abcdef");
        old.remove("pool_id");
        old.remove("employee_id");
        let finding = judged(&[old, right()]);
        assert_eq!(finding.state, HopState::Ok);
        for part in ["1 have neither pool nor owner", "1 have an _id of the first form"] {
            assert!(finding.what.contains(part), "{}", finding.what);
        }
    }

    #[test]
    fn documents_that_nobody_sees_are_a_finding() {
        let later = Day::of_unix(MIDNIGHT + 5 * 86_400);
        assert_eq!(documents_of(&[right()], later).state, HopState::Broken);
        assert_eq!(documents_of(&[], later).state, HopState::Broken);
        let mut deleted = right();
        deleted.insert("deleted_at", 99);
        assert_eq!(judged(&[deleted]).state, HopState::Broken);
    }
}
