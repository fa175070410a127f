//! `migrate`: the schema that a run needs.

use std::io::Write;

use crate::documents::collection;
use crate::migrate;
use crate::settings::worker::{MigrateSettings, StoreConfig};
use crate::stores::mongo;

use super::{CliError, Context, connect, output};

/// `migrate`: the schema that a run needs.
///
/// # Errors
/// When settings are wrong, or a store cannot be used.
pub async fn migrate(context: &Context) -> Result<u8, CliError> {
    let config: MigrateSettings = context.settings()?;
    let is_dry = context.switch("dry-run");
    let mut out = std::io::stdout().lock();
    match &config.store {
        StoreConfig::Sqlite(path) => {
            connect::stores(&config.store).await?;
            if context.is_json {
                output::steps(&mut out, &[], true)?;
            } else {
                let shown = path.display();
                writeln!(out, "{shown} makes its own tables: there is nothing to migrate")?;
            }
        }
        StoreConfig::CloudTuner(store) => {
            let database = mongo::connect(&store.mongo_url, &store.mongo_database).await?;
            let setting = store.resources_collection.as_deref();
            let collection = collection::choose(&database, setting).await?;
            let mut steps = migrate::mongo::migrate(&database, &collection, is_dry).await?;
            steps.extend(migrate::clickhouse::migrate(store, is_dry).await?);
            steps.push(migrate::documents::migrate(&database, &collection, is_dry).await?);
            output::steps(&mut out, &steps, context.is_json)?;
        }
    }
    Ok(0)
}
