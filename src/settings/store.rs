//! Where costs are kept.

use std::path::PathBuf;

use super::mongo_url::check_url;
use super::reader::{ReadSettings, Reader};
use super::secret::{Endpoint, Secret};
use super::worker_names as names;

const WHY: &str = "STORE=cloudtuner needs it";

/// Where costs are kept.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// CloudTuner's MongoDB and ClickHouse.
    CloudTuner(Box<CloudTunerConfig>),
    /// One SQLite file in their place.
    Sqlite(PathBuf),
}

/// CloudTuner's two stores.
#[derive(Clone, Debug)]
pub struct CloudTunerConfig {
    /// MongoDB's connection string, credentials included.
    pub mongo_url: Secret,
    /// MongoDB database.
    pub mongo_database: String,
    /// Collection of resources; `None`: the one that has documents.
    pub resources_collection: Option<String>,
    /// ClickHouse's HTTP address.
    pub clickhouse: Endpoint,
    /// ClickHouse database.
    pub clickhouse_database: String,
    /// ClickHouse user.
    pub clickhouse_user: String,
    /// ClickHouse password.
    pub clickhouse_password: Secret,
}

/// One database of MongoDB.
#[derive(Clone, Debug)]
pub struct MongoConfig {
    /// The connection string, credentials included.
    pub url: Secret,
    /// The database.
    pub database: String,
}

/// What `STORE` names, before the settings of its servers are read.
pub(super) enum StoreKind {
    /// CloudTuner's servers.
    CloudTuner,
    /// An SQLite file.
    Sqlite(PathBuf),
}

impl ReadSettings for StoreKind {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let store = reader.text(names::STORE).unwrap_or_default();
        match store.strip_prefix("sqlite:") {
            Some("") => {
                let what = "'sqlite:' names no file; an example: sqlite:costs.sqlite";
                reader.error(names::STORE, what);
                None
            }
            Some(path) => Some(Self::Sqlite(PathBuf::from(path))),
            None if store == "cloudtuner" => Some(Self::CloudTuner),
            None => {
                let what = format!("'{store}' is neither cloudtuner nor sqlite:PATH");
                reader.error(names::STORE, &what);
                None
            }
        }
    }
}

impl ReadSettings for StoreConfig {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(match StoreKind::read(reader)? {
            StoreKind::CloudTuner => Self::CloudTuner(Box::new(CloudTunerConfig::read(reader)?)),
            StoreKind::Sqlite(path) => Self::Sqlite(path),
        })
    }
}

impl ReadSettings for CloudTunerConfig {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mongo = MongoConfig::read(reader);
        let collection = reader.required_text(names::RESOURCES_COLLECTION, WHY);
        let clickhouse = reader.required_endpoint(names::CLICKHOUSE_URL, WHY);
        let database = reader.required_text(names::CLICKHOUSE_DATABASE, WHY);
        let user = reader.required_text(names::CLICKHOUSE_USER, WHY);
        let password = reader.secret(names::CLICKHOUSE_PASSWORD);
        let (mongo, clickhouse) = (mongo?, clickhouse?);
        Some(Self {
            mongo_url: mongo.url,
            mongo_database: mongo.database,
            resources_collection: collection.filter(|name| name != "auto"),
            clickhouse_database: database?,
            clickhouse_user: user?,
            clickhouse_password: password
                .or_else(|| clickhouse.credentials().map(|(_, password)| password.clone()))
                // ClickHouse's user has no password unless one was set.
                .unwrap_or_else(|| Secret::new("")),
            clickhouse,
        })
    }
}

impl ReadSettings for MongoConfig {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let url = reader.required_secret(names::MONGO_URL, WHY);
        let database = reader.required_text(names::MONGO_DATABASE, WHY);
        let url = url?;
        let text = url.expose();
        if !text.starts_with("mongodb://") && !text.starts_with("mongodb+srv://") {
            let what = "does not begin with mongodb:// or mongodb+srv://";
            reader.error(names::MONGO_URL, what);
        } else if let Err(form) = check_url(&url) {
            reader.error(names::MONGO_URL, &format!("is no usable address: {form}"));
        }
        Some(Self { url, database: database? })
    }
}
