//! MongoDB's migrations: indexes.

use mongodb::Database;
use mongodb::bson::{Bson, Document, doc};

use crate::service::failure::{Failure, Hop, Kind, REPORT, excerpt};
use crate::stores::mongo::{indexes, is_duplicate_key, mongo_failure};

use super::plan::{Index, MONGODB, index};
use super::{Step, StepState};

/// Makes the indexes that are missing, or only says which would be made.
///
/// # Errors
/// When the server cannot be used, or cannot make an index (documents that contradict a unique
/// one, say).
pub async fn migrate(
    database: &Database,
    resources_collection: &str,
    is_dry: bool,
) -> Result<Vec<Step>, Failure> {
    let mut steps = Vec::new();
    for (name, text) in MONGODB {
        let mut index = index(name, text).map_err(|error| {
            Failure::new(Hop::Worker, Kind::Internal, error.to_string(), REPORT)
        })?;
        if index.collection == "RESOURCES_COLLECTION" {
            resources_collection.clone_into(&mut index.collection);
        }
        let command = command(&index);
        let state = if is_there(database, &index).await? {
            StepState::Present
        } else if is_dry {
            StepState::Pending
        } else {
            create(database, &index, &command).await?
        };
        tracing::info!(migration = name, ?state, "mongodb");
        steps.push(Step { name: (*name).to_owned(), state, statement: command.to_string() });
    }
    Ok(steps)
}

fn keys(index: &Index) -> Document {
    index.keys.iter().map(|(field, way)| (field.clone(), Bson::Int32(*way))).collect()
}

fn command(index: &Index) -> Document {
    let mut definition = doc! { "key": keys(index), "name": &index.name };
    if index.unique {
        definition.insert("unique", true);
    }
    if let Some(seconds) = index.expire_after_seconds {
        definition.insert("expireAfterSeconds", i64::try_from(seconds).unwrap_or(i64::MAX));
    }
    doc! { "createIndexes": &index.collection, "indexes": [definition] }
}

async fn is_there(database: &Database, index: &Index) -> Result<bool, Failure> {
    let collection = database.collection::<Document>(&index.collection);
    let listed = indexes(&collection).await?;
    let wanted: Vec<(&str, i64)> =
        index.keys.iter().map(|(field, way)| (field.as_str(), i64::from(*way))).collect();
    Ok(listed.iter().any(|model| {
        let options = model.options.as_ref();
        let is_unique = options.and_then(|o| o.unique).unwrap_or(false);
        is_unique >= index.unique && key_list(&model.keys) == wanted
    }))
}

/// Fields and directions of an index, of whichever number type its maker chose.
fn key_list(keys: &Document) -> Vec<(&str, i64)> {
    let way = |value: &Bson| match value {
        Bson::Int32(way) => i64::from(*way),
        Bson::Int64(way) => *way,
        #[expect(clippy::cast_possible_truncation, reason = "1 or -1")]
        Bson::Double(way) => *way as i64,
        _ => 0,
    };
    keys.iter().map(|(field, value)| (field.as_str(), way(value))).collect()
}

async fn create(
    database: &Database,
    index: &Index,
    command: &Document,
) -> Result<StepState, Failure> {
    match database.run_command(command.clone()).await {
        Ok(_) => Ok(StepState::Applied),
        // Another process may have made it at the same moment.
        Err(_) if is_there(database, index).await? => Ok(StepState::Present),
        Err(error) => {
            let what = format!("making the index {} on {}", index.name, index.collection);
            if is_duplicate_key(&error) {
                return Err(duplicates(&what, &error.to_string()));
            }
            Err(mongo_failure(&what, &error))
        }
    }
}

/// Documents that a unique index cannot hold; the server names the first of them, at the end of
/// its message.
fn duplicates(what: &str, text: &str) -> Failure {
    let first = text.find("dup key").map_or(text, |at| &text[at..]);
    let what = format!("{what}: there are duplicate documents: {}", excerpt(first));
    let fix = "keep one of the duplicates, delete the others or set their deleted_at, then migrate \
               again; nothing was changed";
    Failure::new(Hop::MongoDb, Kind::BadData, what, fix)
}
