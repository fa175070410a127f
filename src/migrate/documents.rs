//! Repairs the documents that version 0.1.0 wrote: dates as numbers, nulls in the place of absent
//! keys, a pod's `meta` that readers fail on. Run again, it finds nothing to do.

use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::bson::{Bson, Document, doc};

use crate::cost::AccountId;
use crate::documents::bson_form::{self, FIRST_SEEN_DATE, LAST_SEEN_DATE, STORED_FIELDS};
use crate::documents::document::{ABSENT_KEYS, ENVIRONMENT_KEY, OWNER_KEYS, REFUSED_POD_META_KEYS};
use crate::documents::mongo::OWN_FORM;
use crate::documents::repair::repair;
use crate::service::failure::Failure;
use crate::stores::mongo::mongo_failure;
use crate::stores::mongo_update::update;

use super::{Step, StepState};

/// Documents repaired by one command.
const BATCH: usize = 1_000;
/// The step's name in the output.
const NAME: &str = "documents/0001_repair_documents_of_0_1_0";

/// What a repair of all documents found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Documents that need a repair.
    pub found: u64,
    /// Documents that were changed.
    pub changed: u64,
}

/// Repairs the collection's documents in batches, or only counts those that need it.
///
/// # Errors
/// When MongoDB cannot be used, or refuses a write.
pub async fn migrate(database: &Database, collection: &str, is_dry: bool) -> Result<Step, Failure> {
    let repaired = repair_all(database, collection, is_dry).await?;
    let state = match repaired {
        Repaired { found: 0, .. } => StepState::Present,
        _ if is_dry => StepState::Pending,
        _ => StepState::Applied,
    };
    tracing::info!(migration = NAME, ?state, documents = repaired.found, "mongodb");
    let statement = format!(
        "{collection}: {} documents with dates as numbers, nulls in the place of absent keys, or a \
         pod's meta that readers fail on; {} changed",
        repaired.found, repaired.changed
    );
    Ok(Step { name: NAME.to_owned(), state, statement })
}

async fn repair_all(
    database: &Database,
    collection: &str,
    is_dry: bool,
) -> Result<Repaired, Failure> {
    let (what, writing) = ("reading documents to repair", "repairing documents");
    let mut fields: Document =
        STORED_FIELDS.iter().map(|field| ((*field).to_owned(), Bson::Int32(1))).collect();
    fields.insert("cloud_account_id", 1);
    let documents = database.collection::<Document>(collection);
    let mut cursor = documents
        .find(broken())
        .projection(fields)
        .await
        .map_err(|error| mongo_failure(what, &error))?;
    let mut out = Repaired::default();
    let mut batch = Vec::new();
    while let Some(document) =
        cursor.try_next().await.map_err(|error| mongo_failure(what, &error))?
    {
        let Some(element) = element(&document) else { continue };
        out.found += 1;
        batch.push(element);
        if batch.len() == BATCH && !is_dry {
            out.changed += update(writing, &documents, std::mem::take(&mut batch)).await?.changed;
        }
    }
    if !batch.is_empty() && !is_dry {
        out.changed += update(writing, &documents, batch).await?.changed;
    }
    Ok(out)
}

/// Documents that may need a repair; [`repair`] decides.
fn broken() -> Document {
    let mut any = vec![
        doc! { FIRST_SEEN_DATE: { "$type": "number" } },
        doc! { LAST_SEEN_DATE: { "$type": "number" } },
    ];
    let own = doc! { "$regex": OWN_FORM };
    for key in ABSENT_KEYS.into_iter().chain(OWNER_KEYS) {
        any.push(doc! { "cloud_resource_id": &own, key: { "$type": "null" } });
    }
    any.push(doc! { "cloud_resource_id": &own, ENVIRONMENT_KEY: false });
    for key in REFUSED_POD_META_KEYS {
        let key = format!("meta.{key}");
        any.push(doc! { "resource_type": "K8s Pod", "cloud_resource_id": &own, key: { "$exists": true } });
    }
    any.push(doc! { "cloud_resource_id": &own, "k8s_cluster": { "$exists": false } });
    doc! { "$or": any }
}

fn element(document: &Document) -> Option<Document> {
    let stored = bson_form::stored(document)?;
    let account = AccountId::new(document.get_str("cloud_account_id").ok()?).ok()?;
    let repair = repair(&stored, None, None);
    (!repair.is_empty()).then(|| bson_form::repair(&account, &stored.id, &repair).into_element())
}
