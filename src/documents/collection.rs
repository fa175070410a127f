//! Which collection holds the resources: forks call it `cloud_resource`, upstream `resources`.

use mongodb::Database;
use mongodb::bson::{Document, doc};

use crate::service::failure::{Failure, Hop, Kind};
use crate::stores::mongo::bounded;

/// The names in use, the one for new databases first.
pub const COLLECTIONS: [&str; 2] = ["cloud_resource", "resources"];

/// The collection that was set, else the one that has documents, else the first of
/// [`COLLECTIONS`].
///
/// # Errors
/// When both have documents, which only the operator can decide; or when MongoDB cannot be read.
pub async fn choose(database: &Database, setting: Option<&str>) -> Result<String, Failure> {
    if let Some(name) = setting {
        return Ok(name.to_owned());
    }
    let mut found = Vec::new();
    for name in COLLECTIONS {
        let collection = database.collection::<Document>(name);
        let first = bounded("looking for the collection of resources", async move {
            collection.find_one(doc! {}).projection(doc! { "_id": 1 }).await
        });
        if first.await?.is_some() {
            found.push(name);
        }
    }
    decide(&found)
}

fn decide(found: &[&str]) -> Result<String, Failure> {
    match found {
        [] => {
            let name = COLLECTIONS[0];
            tracing::info!(
                collection = name,
                "no collection has resources yet: RESOURCES_COLLECTION=auto takes this one"
            );
            Ok(name.to_owned())
        }
        [only] => Ok((*only).to_owned()),
        both => {
            let what = format!("the collections {} both have documents", both.join(" and "));
            let fix = "set RESOURCES_COLLECTION to the one that CloudTuner's REST API reads";
            Err(Failure::new(Hop::Worker, Kind::Refused, what, fix))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_collection_with_documents_is_taken_and_two_are_refused() {
        assert_eq!(decide(&[]).unwrap(), "cloud_resource");
        assert_eq!(decide(&["resources"]).unwrap(), "resources");
        let failure = decide(&COLLECTIONS).unwrap_err();
        assert!(failure.is_misuse() && failure.fix.contains("RESOURCES_COLLECTION"), "{failure}");
    }
}
