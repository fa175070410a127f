//! Many writes of a collection in one command, with their write concern.

use std::collections::BTreeSet;

use mongodb::Collection;
use mongodb::bson::{Bson, Document, RawArrayBuf, RawDocumentBuf};
use mongodb::options::WriteConcern;

use crate::service::failure::{Failure, Hop, Kind, REPORT};

use super::bson::whole;
use super::mongo::{
    CALL_TIMEOUT, DUPLICATE_KEY, bounded, code_failure, concern_failure, to_document,
};

/// What a command does with what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// It holds documents. One whose unique key is taken is a duplicate and changes nothing.
    Insert,
    /// It holds updates (`q`, `u`, `upsert`, `multi`).
    Update,
}

/// What the updates of one command came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Updated {
    /// Documents that were found or made.
    pub matched: u64,
    /// Documents that were made or changed.
    pub changed: u64,
    /// Positions of the updates that made a document.
    pub made: Vec<usize>,
    /// Positions of the updates that met another document with the same unique key.
    pub duplicates: Vec<usize>,
    /// Positions of the updates that the server refused for another reason, and why.
    pub refused: Vec<(usize, Failure)>,
}

impl Updated {
    /// Adds what later updates came to, the first of which has the position `start`.
    pub(super) fn append(&mut self, later: Self, start: usize) {
        self.matched += later.matched;
        self.changed += later.changed;
        self.made.extend(later.made.iter().map(|place| place + start));
        self.duplicates.extend(later.duplicates.iter().map(|place| place + start));
        self.refused.extend(later.refused.into_iter().map(|(place, why)| (place + start, why)));
    }

    /// The whole command's outcome: a failure where an update was refused.
    ///
    /// # Errors
    /// Why the first such update was refused.
    pub fn whole(mut self) -> Result<Self, Failure> {
        if self.refused.is_empty() {
            return Ok(self);
        }
        Err(self.refused.swap_remove(0).1)
    }
}

/// Sends updates (`q`, `u`, `upsert`, `multi`) in one unordered `update` command: every server
/// version has it, while the driver's bulk write wants 8.0.
///
/// # Errors
/// When the server cannot be asked, when it refuses an update for another reason than a duplicate
/// key, or when the write concern was not met: then what was written may be lost again.
pub async fn update(
    what: &str,
    collection: &Collection<Document>,
    updates: Vec<Document>,
) -> Result<Updated, Failure> {
    update_each(what, collection, updates).await?.whole()
}

/// Like [`update`], where updates that the server refuses are no failure of the others.
///
/// # Errors
/// When the server cannot be asked, or when the write concern was not met.
pub async fn update_each(
    what: &str,
    collection: &Collection<Document>,
    updates: Vec<Document>,
) -> Result<Updated, Failure> {
    write_each(Verb::Update, what, collection, &all_encoded(what, updates)?).await
}

/// Documents as they are sent, which takes a fifth of the memory; `what` names the writing.
///
/// # Errors
/// When one of them has no form that can be sent.
pub fn all_encoded(
    what: &str,
    documents: impl IntoIterator<Item = Document>,
) -> Result<Vec<RawDocumentBuf>, Failure> {
    documents.into_iter().map(|one| encoded(what, &one)).collect()
}

/// It has no form that can be sent where a name holds a zero byte.
fn encoded(what: &str, document: &Document) -> Result<RawDocumentBuf, Failure> {
    RawDocumentBuf::from_document(document).map_err(|error| {
        let what = format!("{what}: a document has no form that can be sent: {error}");
        Failure::new(Hop::MongoDb, Kind::BadData, what, REPORT)
    })
}

/// Sends documents or updates in one unordered command. Those that the server refuses are no
/// failure of the others.
///
/// # Errors
/// When the server cannot be asked, or when the write concern was not met.
pub async fn write_each(
    verb: Verb,
    what: &str,
    collection: &Collection<Document>,
    elements: impl IntoIterator<Item = &RawDocumentBuf>,
) -> Result<Updated, Failure> {
    // A command that is run as it is gets no write concern from the client's options.
    let concern = collection.write_concern().cloned().unwrap_or_else(WriteConcern::majority);
    let (command, count) = command(verb, collection.name(), elements, &concern)?;
    let database = collection.client().database(&collection.namespace().db);
    let reply = bounded(what, async move { database.run_raw_command(command).await }).await?;
    let done = updated(&format!("{what} in {}", collection.name()), &reply)?;
    Ok(match verb {
        Verb::Insert => inserted(count, done),
        Verb::Update => done,
    })
}

/// The command, and how many elements it holds.
fn command<'a>(
    verb: Verb,
    collection: &str,
    elements: impl IntoIterator<Item = &'a RawDocumentBuf>,
    concern: &WriteConcern,
) -> Result<(RawDocumentBuf, usize), Failure> {
    let (name, list) = match verb {
        Verb::Insert => ("insert", "documents"),
        Verb::Update => ("update", "updates"),
    };
    let (mut array, mut count) = (RawArrayBuf::new(), 0);
    for element in elements {
        array.push(element.clone());
        count += 1;
    }
    let mut command = RawDocumentBuf::new();
    command.append(name, collection);
    command.append(list, array);
    command.append("ordered", false);
    // The server too ends what nobody waits for any more.
    command.append("maxTimeMS", i64::try_from(CALL_TIMEOUT.as_millis()).unwrap_or(i64::MAX));
    let concern = to_document("a write concern", concern)?;
    command.append("writeConcern", encoded("a write concern", &concern)?);
    Ok((command, count))
}

/// What documents came to: the server names only those that it did not insert, and says how many it
/// did. Where that is another number (it says none where writes are not acknowledged), it is not
/// known which are there.
fn inserted(count: usize, mut done: Updated) -> Updated {
    let refused = done.refused.iter().map(|(place, _)| *place);
    let left_out: BTreeSet<usize> = done.duplicates.iter().copied().chain(refused).collect();
    done.made = (0..count).filter(|place| !left_out.contains(place)).collect();
    if done.matched != done.made.len() as u64 {
        done.made.clear();
    }
    (done.matched, done.changed) = (done.made.len() as u64, done.made.len() as u64);
    done
}

fn updated(what: &str, reply: &Document) -> Result<Updated, Failure> {
    let mut updated = Updated::default();
    let place = |one: &Document| whole(one.get("index")).and_then(|at| usize::try_from(at).ok());
    let list = |name: &str| {
        let list = reply.get_array(name).map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(Bson::as_document)
    };
    for error in list("writeErrors") {
        let code = whole(error.get("code")).and_then(|code| i32::try_from(code).ok());
        let failure = || code_failure(what, code.unwrap_or(0), message_of(error));
        match (code, place(error)) {
            (Some(DUPLICATE_KEY), Some(index)) => updated.duplicates.push(index),
            (_, Some(index)) => updated.refused.push((index, failure())),
            (_, None) => return Err(failure()),
        }
    }
    if let Ok(error) = reply.get_document("writeConcernError") {
        let code = whole(error.get("code")).unwrap_or(0);
        return Err(concern_failure(what, code, message_of(error)));
    }
    let count = |field| whole(reply.get(field)).and_then(|count| u64::try_from(count).ok());
    updated.made = list("upserted").filter_map(place).collect();
    updated.changed = updated.made.len() as u64 + count("nModified").unwrap_or(0);
    updated.matched = count("n").unwrap_or(0);
    Ok(updated)
}

fn message_of(error: &Document) -> &str {
    error.get_str("errmsg").unwrap_or("no reason given")
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{self, doc};

    use super::*;

    fn command_of(verb: Verb, element: Document) -> (Document, usize) {
        let elements = [encoded("writing", &element).unwrap()];
        let (command, count) = command(verb, "c", &elements, &WriteConcern::majority()).unwrap();
        (command.to_document().unwrap(), count)
    }

    #[test]
    fn a_document_that_cannot_be_sent_is_a_failure_that_says_so() {
        let failure = encoded("writing", &doc! { "a\0b": 1 }).unwrap_err();
        assert!(failure.what.starts_with("writing: a document has no form"), "{failure}");
        assert!(failure.says_nothing_was_written());
    }

    fn each(text: &str) -> Result<Updated, Failure> {
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        updated("writing", &bson::to_document(&json).unwrap())
    }

    fn reply(text: &str) -> Result<Updated, Failure> {
        each(text)?.whole()
    }

    #[test]
    fn an_update_asks_for_its_write_concern_and_for_an_end_in_time() {
        let (command, _) = command_of(Verb::Update, doc! {"q": {}, "u": {}});
        assert_eq!(command.get_document("writeConcern"), Ok(&doc! {"w": "majority"}));
        assert_eq!(command.get_i64("maxTimeMS"), Ok(60_000));
        assert_eq!(command.get_bool("ordered"), Ok(false));
        assert_eq!(command.keys().next().map(String::as_str), Some("update"));
    }

    #[test]
    fn what_an_insert_came_to_is_what_the_server_does_not_refuse() {
        let (command, count) = command_of(Verb::Insert, doc! {"a": 1});
        assert_eq!((command.get_array("documents").unwrap().len(), count), (1, 1));
        assert_eq!(command.keys().next().map(String::as_str), Some("insert"));
        let text = r#"{"n": 2, "writeErrors": [{"index": 1, "code": 11000, "errmsg": "duplicate"},
            {"index": 3, "code": 121, "errmsg": "failed validation"}], "ok": 1}"#;
        let done = inserted(4, each(text).unwrap());
        assert_eq!((done.matched, done.changed, done.made), (2, 2, vec![0, 2]));
        assert_eq!((done.duplicates, done.refused.len()), (vec![1], 1));
        assert_eq!(inserted(4, each(r#"{"ok": 1}"#).unwrap()), Updated::default());
    }

    #[test]
    fn what_an_update_came_to_is_counted() {
        let text = r#"{"n": 5, "nModified": 2, "upserted": [{"index": 1, "_id": "x"}],
            "writeErrors": [{"index": 3, "code": 11000, "errmsg": "duplicate"}], "ok": 1}"#;
        let wanted = Updated {
            matched: 5,
            changed: 3,
            made: vec![1],
            duplicates: vec![3],
            refused: Vec::new(),
        };
        assert_eq!(reply(text), Ok(wanted));
        assert_eq!(reply(r#"{"ok": 1}"#), Ok(Updated::default()));
    }

    #[test]
    fn an_update_that_was_refused_is_a_failure_of_its_kind() {
        let text = r#"{"writeErrors": [{"index": 0, "code": 11000, "errmsg": "duplicate"},
            {"index": 1, "code": 121, "errmsg": "failed validation"}]}"#;
        let failure = reply(text).unwrap_err();
        assert_eq!(failure.kind, Kind::Schema, "{failure}");
        assert!(failure.what.contains("failed validation"), "{failure}");
        let of_each = each(text).unwrap();
        assert_eq!((of_each.duplicates, of_each.refused), (vec![0], vec![(1, failure)]));
    }

    #[test]
    fn a_write_concern_that_was_not_met_is_a_failure_with_its_name() {
        let text = r#"{"n": 1, "nModified": 1, "ok": 1, "writeConcernError":
            {"code": 64, "errmsg": "waiting for replication timed out"}}"#;
        let failure = reply(text).unwrap_err();
        assert_eq!((failure.hop, failure.kind), (Hop::MongoDb, Kind::Unavailable), "{failure}");
        for part in ["writing", "write concern", "64", "timed out"] {
            assert!(failure.what.contains(part), "{failure}");
        }
        assert!(failure.fix.contains("majority"), "{failure}");
    }
}
