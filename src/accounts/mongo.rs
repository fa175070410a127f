//! Accounts from MongoDB: the collection `cloud_account`, which some forks call `cloudaccount`.

use async_trait::async_trait;
use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use mongodb::{Collection, Database};

use crate::cost::AccountId;
use crate::service::failure::{Failure, Hop, Kind, excerpt};
use crate::stores::mongo::bounded;

use super::{ACCOUNT_TYPE, Account, AccountSource, sorted};

/// The names that the collection of accounts has.
pub const ACCOUNTS_COLLECTIONS: [&str; 2] = ["cloud_account", "cloudaccount"];

/// The accounts of a MongoDB database.
#[derive(Clone, Debug)]
pub struct MongoAccounts {
    collections: [Collection<Document>; 2],
    must_exist: bool,
}

impl MongoAccounts {
    /// The accounts of this database, which [`crate::stores::mongo::connect`] gave.
    #[must_use]
    pub fn new(database: &Database) -> Self {
        let collections = ACCOUNTS_COLLECTIONS.map(|name| database.collection(name));
        Self { collections, must_exist: false }
    }

    /// The same, where no account at all is an error: no setting says that accounts are here.
    #[must_use]
    pub fn that_must_exist(self) -> Self {
        Self { must_exist: true, ..self }
    }

    async fn listed(collection: &Collection<Document>) -> Result<Vec<Document>, Failure> {
        let collection = collection.clone();
        bounded("reading the accounts", async move {
            let live = doc! {"type": ACCOUNT_TYPE, "deleted_at": 0};
            let found = collection.find(live).projection(doc! {"_id": 1, "name": 1});
            found.await?.try_collect().await
        })
        .await
    }
}

/// An account of a document. Its `_id` is the account's id: a text, or an ObjectId in hex.
fn account(document: &Document) -> Result<Account, Failure> {
    let unusable = |why: String| {
        let what = format!("a document of {} is no account: {why}", ACCOUNTS_COLLECTIONS[0]);
        let fix = "give its _id the form that the label tenant_id has, or set deleted_at on it";
        Failure::new(Hop::MongoDb, Kind::BadData, what, fix)
    };
    let text = match document.get("_id") {
        Some(Bson::String(text)) => text.clone(),
        Some(Bson::ObjectId(id)) => id.to_hex(),
        Some(other) => {
            let id = excerpt(&other.to_string());
            return Err(unusable(format!("its _id {id} is neither a text nor an ObjectId")));
        }
        None => return Err(unusable("it has no _id".to_owned())),
    };
    let id = AccountId::new(text)
        .map_err(|error| unusable(format!("its _id {}", excerpt(&error.to_string()))))?;
    Ok(Account::named(id, document.get_str("name").ok()))
}

/// The accounts of documents; one that is none stands in nobody's way.
#[must_use]
pub fn usable(documents: &[Document]) -> Vec<Account> {
    let or_warning = |failure: &Failure| tracing::warn!(%failure, "an account is left out");
    sorted(documents.iter().filter_map(|one| account(one).inspect_err(or_warning).ok()).collect())
}

#[async_trait]
impl AccountSource for MongoAccounts {
    fn describe(&self) -> String {
        format!("MongoDB's collection {}", ACCOUNTS_COLLECTIONS.join(" or "))
    }

    async fn accounts(&self) -> Result<Vec<Account>, Failure> {
        let mut documents = Vec::new();
        for collection in &self.collections {
            documents = Self::listed(collection).await?;
            if !documents.is_empty() {
                break;
            }
        }
        if documents.is_empty() && self.must_exist {
            let what = format!(
                "{} has no live account of type {ACCOUNT_TYPE}, and no REST API is set",
                self.describe()
            );
            let fix = "set REST_URL and CLUSTER_SECRET, or ACCOUNTS to a comma list of ids";
            return Err(Failure::new(Hop::Worker, Kind::Refused, what, fix));
        }
        Ok(usable(&documents))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::oid::ObjectId;

    #[test]
    fn an_id_is_a_text_or_an_object_id_and_a_name_is_optional() {
        let named = account(&doc! {"_id": "acc-1", "name": "Prod"}).unwrap();
        assert_eq!((named.id.as_str(), named.name.as_deref()), ("acc-1", Some("Prod")));
        let id = ObjectId::parse_str("65f0c0ffee65f0c0ffee65f0").unwrap();
        let unnamed = account(&doc! {"_id": id, "name": Bson::Null}).unwrap();
        assert_eq!((unnamed.id.as_str(), unnamed.name), ("65f0c0ffee65f0c0ffee65f0", None));
    }

    #[test]
    fn a_document_without_a_usable_id_is_left_out_and_the_others_are_not() {
        let documents =
            [doc! {"_id": "b"}, doc! {"_id": 42}, doc! {"name": "x"}, doc! {"_id": "a"}];
        let ids: Vec<_> = usable(&documents).into_iter().map(|a| a.id.to_string()).collect();
        assert_eq!(ids, ["a", "b"]);
    }

    #[test]
    fn a_document_without_a_usable_id_is_an_error_that_names_it() {
        for (document, part) in [
            (doc! {"_id": 42}, "42"),
            (doc! {"_id": "a b"}, "'a b'"),
            (doc! {"_id": ""}, "''"),
            (doc! {"name": "x"}, "no _id"),
        ] {
            let failure = account(&document).unwrap_err();
            assert_eq!((failure.hop, failure.kind), (Hop::MongoDb, Kind::BadData));
            assert!(failure.what.contains(part), "{failure}");
            assert!(failure.fix.contains("tenant_id"), "{failure}");
        }
    }
}
