//! Updates as commands have them, and the forms of what selects documents.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, Document as Bdoc, doc};

use crate::cost::Day;

/// The field with the day of `first_seen`.
pub const FIRST_SEEN_DATE: &str = "_first_seen_date";
/// The field with the day of `last_seen`.
pub const LAST_SEEN_DATE: &str = "_last_seen_date";

/// One update of an update command.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdateStatement {
    /// Which documents.
    pub filter: Bdoc,
    /// What changes.
    pub change: Bdoc,
    /// Whether a missing document is inserted.
    pub is_upsert: bool,
    /// Whether all documents that match change, not only the first.
    pub is_multi: bool,
}

impl UpdateStatement {
    pub(super) fn one(filter: Bdoc, change: Bdoc) -> Self {
        Self { filter, change, is_upsert: false, is_multi: false }
    }

    /// The statement as an element of the command `update`.
    #[must_use]
    pub fn into_element(self) -> Bdoc {
        doc! {
            "q": self.filter, "u": self.change, "upsert": self.is_upsert, "multi": self.is_multi,
        }
    }
}

/// A day as readers compare it: a BSON date at midnight UTC.
#[must_use]
pub fn date(day: Day) -> Bson {
    Bson::DateTime(DateTime::from_millis(day.start_seconds().saturating_mul(1_000)))
}

/// The forms that an `_id` of this text may have: other importers' may be ObjectIds, which this
/// program knows by their 24 hex digits; texts of 24 hex digits exist too.
#[must_use]
pub fn id_forms(id: &str) -> Vec<Bson> {
    let text = Bson::String(id.to_owned());
    match ObjectId::parse_str(id) {
        Ok(object_id) => vec![text, Bson::ObjectId(object_id)],
        Err(_) => vec![text],
    }
}

pub(super) fn any_of(id: &str) -> Bson {
    let mut forms = id_forms(id);
    match (forms.len(), forms.pop()) {
        (1, Some(only)) => only,
        _ => in_list(std::slice::from_ref(&id.to_owned())).into(),
    }
}

/// A filter on `_id`s.
#[must_use]
pub fn in_list(ids: &[String]) -> Bdoc {
    doc! { "$in": ids.iter().flat_map(|id| id_forms(id)).collect::<Vec<_>>() }
}
