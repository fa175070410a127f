//! The way to MongoDB: connecting, calls that end in time, and errors as [`Failure`]s.
//!
//! What belongs here: what every MongoDB implementation of a role needs. What does not: documents
//! of one role (`documents::mongo`, `lease::mongo`, `accounts::mongo`). No message holds the
//! connection string or a part of it, for a password that is not percent-encoded may turn up in
//! any part.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::bson::{self, Bson, Document, doc};
use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::options::{ClientOptions, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Client, Collection, Database, IndexModel};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::service::certificate_failure::certificate_failure;
use crate::service::failure::{Failure, Hop, Kind, excerpt};
use crate::settings::Secret;
use crate::settings::mongo_url::{FIX_URL, has_bare_at_sign};

use super::mongo_tls;

/// How long the driver looks for a server that answers, unless MONGO_URL says otherwise.
const SERVER_SELECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one TCP connection may take to come about, unless MONGO_URL says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long saying goodbye to the server may take.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one call may take in [`bounded`]: the selection of a server and a slow answer.
pub const CALL_TIMEOUT: Duration = super::WRITE_TIMEOUT;

/// The server's code for a second document under a unique key.
pub(super) const DUPLICATE_KEY: i32 = 11_000;

const FIX_CREDENTIALS: &str = "check user, password and authSource in MONGO_URL, and that the \
                               user may read and write the database MONGO_DATABASE";
const FIX_CONCERN: &str = "see that the replica set has enough members up for the write concern \
                           (majority, unless MONGO_URL has another w); the next run goes on";
const FIX_REACH: &str = "check that MongoDB runs, that host and port in MONGO_URL are right and \
                         reachable from here, and that both sides agree on TLS";

/// A handle on a database. Nothing is sent yet, so a server that is down shows at the first call,
/// or at [`ping`]. (For `mongodb+srv://` the name is looked up here.)
///
/// # Errors
/// When `url` is no connection string that the driver can use.
pub async fn connect(url: &Secret, database: &str) -> Result<Database, Failure> {
    connect_within(url, database, None).await
}

/// Like [`connect`], with less patience: a server that is down is an error after `limit`, whatever
/// MONGO_URL says.
///
/// # Errors
/// When `url` is no connection string that the driver can use.
pub async fn connect_within(
    url: &Secret,
    database: &str,
    limit: Option<Duration>,
) -> Result<Database, Failure> {
    let refused =
        || Failure::new(Hop::MongoDb, Kind::Denied, "MONGO_URL is no usable address", FIX_URL);
    if has_bare_at_sign(url.expose()) || database.is_empty() {
        return Err(refused());
    }
    let mut options = ClientOptions::parse(url.expose()).await.map_err(|error| {
        // The driver's text quotes what it could not read, which may be a piece of the password.
        if let ErrorKind::DnsResolve { .. } = error.kind.as_ref() {
            let what = "the host of MONGO_URL (mongodb+srv) could not be looked up";
            return Failure::new(Hop::MongoDb, Kind::Unavailable, what, FIX_REACH);
        }
        refused()
    })?;
    mongo_tls::apply(&mut options)?;
    options.app_name.get_or_insert_with(|| "kubecost-worker".to_owned());
    options.server_selection_timeout.get_or_insert(SERVER_SELECTION_TIMEOUT);
    options.connect_timeout.get_or_insert(CONNECT_TIMEOUT);
    if limit.is_some() {
        (options.server_selection_timeout, options.connect_timeout) = (limit, limit);
    }
    // Reads decide on writes, so they must see every write, and writes must stay.
    options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    options.write_concern.get_or_insert_with(WriteConcern::majority);
    let client = Client::with_options(options).map_err(|_| refused())?;
    open_clients().push(client.clone());
    Ok(client.database(database))
}

/// The clients that [`shut_down`] will end. A client whose last handle is dropped ends its sessions
/// in a task that panics when the program ends at that moment.
fn open_clients() -> MutexGuard<'static, Vec<Client>> {
    static OPEN: Mutex<Vec<Client>> = Mutex::new(Vec::new());
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends all sessions and connections of the program: to be called before it ends.
pub async fn shut_down() {
    let clients = std::mem::take(&mut *open_clients());
    for client in clients {
        // A server that went away meanwhile forgets the sessions by itself.
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, client.shutdown().immediate(true)).await;
    }
}

/// Sees that the server answers and takes the credentials.
///
/// # Errors
/// When it does not.
pub async fn ping(database: &Database) -> Result<(), Failure> {
    let database = database.clone();
    let what = "asking whether the server answers";
    bounded(what, async move { database.run_command(doc! {"ping": 1}).await }).await.map(|_| ())
}

/// The server's time, Unix seconds: whole seconds that have passed.
///
/// # Errors
/// When the server does not answer, or does not state its time.
pub async fn server_seconds(database: &Database) -> Result<i64, Failure> {
    let what = "asking for the server's time";
    let database = database.clone();
    let hello = bounded(what, async move { database.run_command(doc! {"hello": 1}).await }).await?;
    let time = hello.get_datetime("localTime").map_err(|_| {
        let what = format!("{what}: its reply to hello has no localTime");
        let fix = "check that MONGO_URL leads to a MongoDB server of version 4.4 or later";
        Failure::new(Hop::MongoDb, Kind::BadReply, what, fix)
    })?;
    Ok(time.timestamp_millis().div_euclid(1_000))
}

/// A write that the primary has, but not as many members as were asked for.
pub(super) fn concern_failure(what: &str, code: impl std::fmt::Display, message: &str) -> Failure {
    let what =
        format!("{what}: the write concern was not met (error {code}): {}", excerpt(message));
    Failure::new(Hop::MongoDb, Kind::Unavailable, what, FIX_CONCERN)
}

/// Runs a call of the driver for at most [`CALL_TIMEOUT`]; `what` says what is being done.
///
/// The call runs in a task of its own, because the driver wants its futures driven to their end:
/// after a timeout it goes on unseen, so the outcome of a write is then unknown.
///
/// # Errors
/// What [`mongo_failure`] makes of the call's error, or a time-out.
pub async fn bounded<T, F>(what: &str, call: F) -> Result<T, Failure>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    match tokio::time::timeout(CALL_TIMEOUT, tokio::spawn(call)).await {
        Ok(Ok(answer)) => answer.map_err(|error| mongo_failure(what, &error)),
        Ok(Err(_)) => {
            let what = format!("{what}: the call ended without an answer");
            Err(Failure::new(Hop::MongoDb, Kind::Internal, what, "run again"))
        }
        Err(_) => {
            let what = format!("{what}: no answer within {} s", CALL_TIMEOUT.as_secs());
            let fix = "look at MongoDB's load and at the network between";
            Err(Failure::new(Hop::MongoDb, Kind::Timeout, what, fix))
        }
    }
}

/// The indexes of a collection; none where it does not exist yet.
///
/// # Errors
/// When the server cannot be asked.
pub async fn indexes(collection: &Collection<Document>) -> Result<Vec<IndexModel>, Failure> {
    /// The server's code for a collection that does not exist.
    const NAMESPACE_NOT_FOUND: i32 = 26;
    let collection = collection.clone();
    bounded("listing indexes", async move {
        match collection.list_indexes().await {
            Ok(cursor) => cursor.try_collect().await,
            Err(error) => match error.kind.as_ref() {
                ErrorKind::Command(command) if command.code == NAMESPACE_NOT_FOUND => {
                    Ok(Vec::new())
                }
                _ => Err(error),
            },
        }
    })
    .await
}

/// Whether a write was refused because another document has the same unique key.
#[must_use]
pub fn is_duplicate_key(error: &Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => command.code == DUPLICATE_KEY,
        ErrorKind::Write(WriteFailure::WriteError(write)) => write.code == DUPLICATE_KEY,
        _ => false,
    }
}

/// What a driver's error means: `what` says what was being done, as "reading the accounts".
#[must_use]
pub fn mongo_failure(what: &str, error: &Error) -> Failure {
    let (kind, cause, fix) = match error.kind.as_ref() {
        // The mechanism's text may quote the user's name; the code says enough.
        ErrorKind::Authentication { .. } => {
            (Kind::Denied, "the credentials were refused".to_owned(), FIX_CREDENTIALS)
        }
        ErrorKind::ServerSelection { message, .. } => return selection_failure(what, message),
        ErrorKind::Io(io) if io.kind() == std::io::ErrorKind::TimedOut => {
            (Kind::Timeout, "the connection timed out".to_owned(), FIX_REACH)
        }
        ErrorKind::Io(io) => {
            if let Some(failure) = certificate_failure(Hop::MongoDb, what, &io.to_string()) {
                return failure;
            }
            (Kind::Unavailable, format!("the connection broke: {io}"), FIX_REACH)
        }
        ErrorKind::ConnectionPoolCleared { message, .. } => {
            (Kind::Unavailable, format!("the connection broke: {message}"), FIX_REACH)
        }
        ErrorKind::InvalidTlsConfig { message, .. } => (
            Kind::Denied,
            format!("the TLS settings cannot be used: {message}"),
            "check the tls options in MONGO_URL",
        ),
        ErrorKind::Command(command) => return code_failure(what, command.code, &command.message),
        ErrorKind::Write(WriteFailure::WriteError(write)) => {
            return code_failure(what, write.code, &write.message);
        }
        ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => {
            return concern_failure(what, concern.code, &concern.message);
        }
        ErrorKind::InsertMany(many) => {
            let first = many.write_errors.as_ref().and_then(|errors| errors.first());
            let (code, message) = first.map_or((0, ""), |e| (e.code, e.message.as_str()));
            return code_failure(what, code, message);
        }
        ErrorKind::BsonDeserialization(error) => (
            Kind::BadData,
            format!("a document does not have the form it should: {error}"),
            "look at the document; was it written by something else?",
        ),
        ErrorKind::InvalidResponse { message, .. }
        | ErrorKind::IncompatibleServer { message, .. } => (
            Kind::BadReply,
            format!("the answer cannot be used: {message}"),
            "check that MONGO_URL leads to a MongoDB server of version 4.4 or later",
        ),
        // Kinds with texts of their own that say nothing of addresses or credentials.
        other => {
            let text = other.to_string();
            let by_words = setting_of_others(&text).map(|fix| (Kind::Refused, fix));
            let (kind, fix) =
                by_words.unwrap_or((Kind::Internal, "run again; if it stays, report it"));
            (kind, text, fix)
        }
    };
    Failure::new(Hop::MongoDb, kind, format!("{what}: {}", excerpt(&cause)), fix)
}

/// What it means that no server was found. The driver's text has every server's last error.
fn selection_failure(what: &str, message: &str) -> Failure {
    // After a refusal the driver takes the server for lost, and says so from then on.
    if message.to_ascii_lowercase().contains("authentication failed") {
        let what = format!("{what}: the credentials were refused");
        return Failure::new(Hop::MongoDb, Kind::Denied, what, FIX_CREDENTIALS);
    }
    if let Some(failure) = certificate_failure(Hop::MongoDb, what, message) {
        return failure;
    }
    // With a cause known for some server it is down; without one, it is just silent.
    let is_known = message.contains("Error: ");
    let kind = if is_known { Kind::Unavailable } else { Kind::Timeout };
    let from = message.find("Address: ").unwrap_or(0);
    let cause = message[from..].split(", labels: ").next().unwrap_or_default();
    let what = format!("{what}: no server could be reached: {}", excerpt(cause));
    Failure::new(Hop::MongoDb, kind, what, FIX_REACH)
}

/// The settings that servers of MongoDB's protocol want (DocumentDB, CosmosDB) and name only in
/// words, and words of their refusals in lower case.
const SETTINGS_OF_OTHERS: [(&str, &str); 6] = [
    ("retryable writes", FIX_RETRY_WRITES),
    ("retrywrites", FIX_RETRY_WRITES),
    ("transaction numbers are only allowed", FIX_RETRY_WRITES),
    ("unsupported mechanism", FIX_MECHANISM),
    ("order-by item is excluded", FIX_INDEXES),
    ("cannot create unique index when collection contains documents", FIX_UNIQUE_INDEX),
];
const FIX_RETRY_WRITES: &str = "add retryWrites=false to the options of MONGO_URL";
const FIX_MECHANISM: &str = "add authMechanism=SCRAM-SHA-1 to the options of MONGO_URL";
const FIX_INDEXES: &str = "run kubecost-worker migrate: the server sorts by indexed fields only";
const FIX_UNIQUE_INDEX: &str =
    "the server makes unique indexes of empty collections only: run migrate before the first run";

/// What a server of another make wants, by its words.
fn setting_of_others(message: &str) -> Option<&'static str> {
    let message = message.to_lowercase();
    let found = SETTINGS_OF_OTHERS.iter().find(|(words, _)| message.contains(words));
    found.map(|(_, fix)| *fix)
}

/// What a server's error code means.
pub(super) fn code_failure(what: &str, code: i32, message: &str) -> Failure {
    let by_words = setting_of_others(message).map(|fix| (Kind::Refused, fix));
    let (kind, fix) = by_words.unwrap_or_else(|| meaning_of_code(code));
    let what = format!("{what}: error {code}: {}", excerpt(message));
    Failure::new(Hop::MongoDb, kind, what, fix)
}

fn meaning_of_code(code: i32) -> (Kind, &'static str) {
    match code {
        13 | 18 | 8000 => (Kind::Denied, FIX_CREDENTIALS),
        50 | 89 | 262 => (Kind::Timeout, "look at MongoDB's load"),
        6 | 7 | 91 | 189 | 9001 | 10_107 | 11_600 | 11_602 | 13_435 | 13_436 => {
            (Kind::Unavailable, "wait for the servers to agree on a primary; the next run goes on")
        }
        16_500 => (Kind::Overloaded, "the server asks for less; the next run goes on"),
        14_031 => (Kind::Unavailable, "free disk space on the MongoDB server"),
        112 | DUPLICATE_KEY => {
            (Kind::Conflict, "another writer was at the same documents; the next run goes on")
        }
        121 => (Kind::Schema, "the collection's validation rules refuse the document"),
        59 | 115 | 303 | 304 => (
            Kind::Schema,
            "the server does not have this operation; MongoDB 4.4 or later is needed",
        ),
        _ => (Kind::BadReply, "look at MongoDB's log"),
    }
}

/// A value as a document.
///
/// # Errors
/// When it has no form that can be stored.
pub fn to_document<T: Serialize>(what: &str, value: &T) -> Result<Document, Failure> {
    bson::to_document(value).map_err(|error| {
        let what = format!("{what}: it has no form that can be stored: {error}");
        Failure::new(Hop::MongoDb, Kind::Internal, what, "report it")
    })
}

/// A document as a value.
///
/// # Errors
/// When it was changed by another program into what cannot be read.
pub fn from_document<T: DeserializeOwned>(of: &str, document: Document) -> Result<T, Failure> {
    let id = document.get("_id").cloned().unwrap_or(Bson::Null);
    bson::from_document(document).map_err(|error| {
        let what = format!("the document {id} of {of} cannot be read: {error}");
        let fix = format!("delete the document {id} of {of}; it was changed by something else");
        Failure::new(Hop::MongoDb, Kind::BadData, what, fix)
    })
}

/// All documents that match, in the order of their ids.
///
/// # Errors
/// When the collection cannot be read, or one of them has another form.
pub async fn found<T: DeserializeOwned>(
    collection: &Collection<Document>,
    what: &str,
    filter: Document,
) -> Result<Vec<T>, Failure> {
    found_fields(collection, what, filter, Document::new()).await
}

/// The same of some fields only, where `fields` names them.
///
/// # Errors
/// When the store cannot be read, or a document is of another form.
pub async fn found_fields<T: DeserializeOwned>(
    collection: &Collection<Document>,
    what: &str,
    filter: Document,
    fields: Document,
) -> Result<Vec<T>, Failure> {
    let reading = collection.clone();
    let documents: Vec<Document> = bounded(what, async move {
        reading.find(filter).projection(fields).sort(doc! {"_id": 1}).await?.try_collect().await
    })
    .await?;
    documents.into_iter().map(|document| from_document(collection.name(), document)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refusal(url: &str) -> Failure {
        match connect(&Secret::new(url), "restapi").await {
            Ok(database) => ping(&database).await.unwrap_err(),
            Err(failure) => failure,
        }
    }

    #[tokio::test]
    async fn no_piece_of_a_password_is_in_any_message() {
        for url in [
            "mongodb://user:hun/ter2@127.0.0.1/",
            "mongodb://user:12/hunter2@127.0.0.1/",
            "mongodb://user:hun?ter2@127.0.0.1/",
            "mongodb://user:hun#ter2@127.0.0.1/",
            "mongodb://user:hun@ter2@127.0.0.1/",
            "mongodb://user:hun:ter2@127.0.0.1/",
            "mongodb://user:hun%ter2@127.0.0.1/",
            "mongodb+srv://user:hun:ter2@127.0.0.1/",
            "mongodb://127.0.0.1:hunter2/",
            "hunter2",
        ] {
            let url = format!("{url}?serverSelectionTimeoutMS=1");
            let failure = refusal(&url).await;
            let text = format!("{failure} {failure:?}");
            assert!(!text.contains("ter2") && !text.contains("hun"), "{url}: {text}");
            assert!(text.contains("MONGO_URL"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_down_is_named_with_its_cause() {
        let url = "mongodb://user:hunter2@127.0.0.1:1/?serverSelectionTimeoutMS=200";
        let failure = refusal(url).await;
        assert_eq!((failure.hop, failure.kind), (Hop::MongoDb, Kind::Unavailable), "{failure}");
        assert!(failure.what.contains("127.0.0.1:1"), "{failure}");
        assert!(failure.what.contains("refused"), "{failure}");
        assert!(!failure.to_string().contains("hunter2"), "{failure}");
    }

    #[test]
    fn a_server_lost_after_a_refusal_is_a_refusal_still() {
        let message = "Server selection timeout: No available servers. Topology: { Type: Single, \
                       Servers: [ { Address: h:27017, Type: Unknown, Error: Kind: SCRAM failure: \
                       Authentication failed., labels: {}, source: None } ] }";
        let failure = selection_failure("reading", message);
        assert_eq!(failure.kind, Kind::Denied, "{failure}");
        let other = message.replace("SCRAM failure: Authentication failed.", "I/O error: broken");
        let failure = selection_failure("reading", &other);
        assert_eq!(failure.kind, Kind::Unavailable, "{failure}");
        assert!(failure.what.ends_with("I/O error: broken"), "{failure}");
        let failure = selection_failure("reading", "Address: h:27017, Type: Unknown");
        assert_eq!(failure.kind, Kind::Timeout, "{failure}");
    }

    #[test]
    fn servers_of_another_make_have_their_setting_named() {
        for (code, message, part) in [
            (301, "Retryable writes are not supported", "retryWrites=false"),
            (
                2,
                "Retryable writes are not supported. Please disable retryable writes by specifying \
                 \"retrywrites=false\" in the connection string",
                "retryWrites=false",
            ),
            (20, "Transaction numbers are only allowed on a replica set", "retryWrites=false"),
            (301, "Unsupported mechanism [ -301 ]", "authMechanism=SCRAM-SHA-1"),
            (
                2,
                "The index path corresponding to the specified order-by item is excluded.",
                "migrate",
            ),
        ] {
            let failure = code_failure("writing", code, message);
            assert_eq!(failure.kind, Kind::Refused, "{failure}");
            assert!(failure.fix.contains(part), "{failure}");
        }
        assert_eq!(
            code_failure("reading", 304, "Aggregation stage not supported").kind,
            Kind::Schema
        );
        let message = "Address: h:27017, Type: Unknown, Error: Kind: I/O error: invalid peer \
                       certificate: UnknownIssuer, labels: {}";
        let failure = selection_failure("reading", message);
        assert!(failure.what.contains("unknown authority: set CA_FILE"), "{failure}");
    }

    #[test]
    fn server_codes_decide_on_kind_and_fix() {
        for (code, kind, part) in [
            (18, Kind::Denied, "MONGO_URL"),
            (13, Kind::Denied, "MONGO_DATABASE"),
            (11_000, Kind::Conflict, "another writer"),
            (50, Kind::Timeout, "load"),
            (10_107, Kind::Unavailable, "primary"),
            (59, Kind::Schema, "4.4"),
        ] {
            let failure = code_failure("reading", code, "it is so");
            assert_eq!(failure.kind, kind, "{code}");
            assert!(failure.fix.contains(part), "{code}: {failure}");
            assert!(failure.what.contains("it is so"), "{failure}");
        }
    }
}
