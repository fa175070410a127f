//! From settings to the source of accounts.

use std::sync::Arc;

use crate::service::failure::Failure;
use crate::settings::worker::{AccountSelection, AccountsConfig};
use crate::stores::mongo;

use super::mongo::MongoAccounts;
use super::rest::RestAccounts;
use super::shard::ShardedAccounts;
use super::{AccountList, AccountSource, OnlyAccount};

/// The source of accounts, of this worker's shard.
///
/// # Errors
/// When an address cannot be used.
pub async fn accounts(selection: &AccountSelection) -> Result<Arc<dyn AccountSource>, Failure> {
    let mut source = all_accounts(&selection.accounts).await?;
    // Before sharding: each shard alone may well have one account.
    if selection.is_one_tenant {
        source = Arc::new(OnlyAccount(source));
    }
    let shard = selection.shard;
    if shard.count == 1 { Ok(source) } else { Ok(Arc::new(ShardedAccounts::new(source, shard))) }
}

async fn all_accounts(config: &AccountsConfig) -> Result<Arc<dyn AccountSource>, Failure> {
    Ok(match config {
        AccountsConfig::List(ids) => Arc::new(AccountList::new(ids.clone())),
        AccountsConfig::Rest(rest) => {
            Arc::new(RestAccounts::new(rest.endpoint.clone(), &rest.secret)?)
        }
        AccountsConfig::Mongo { mongo, must_exist } => {
            let database = mongo::connect(&mongo.url, &mongo.database).await?;
            let accounts = MongoAccounts::new(&database);
            Arc::new(if *must_exist { accounts.that_must_exist() } else { accounts })
        }
    })
}
