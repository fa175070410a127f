//! Which accounts there are: the `kubernetes_cnr` cloud accounts of CloudTuner.

use async_trait::async_trait;

use crate::allocation::AccountId;
use crate::failure::{Failure, Hop, Kind};

pub mod mongo;
pub mod rest;
pub mod shard;

/// The cloud account type this worker serves.
pub const ACCOUNT_TYPE: &str = "kubernetes_cnr";

/// A cloud account of type `kubernetes_cnr`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Account {
    /// Its id: the `tenant_id` label and the `Cloud-Account-Id` header.
    pub id: AccountId,
    /// Its name for people, where the source of accounts has one.
    pub name: Option<String>,
}

impl Account {
    /// An account known by its id only.
    #[must_use]
    pub fn unnamed(id: AccountId) -> Self {
        Self { id, name: None }
    }
}

/// Accounts in the order of their ids, each once.
fn sorted(mut accounts: Vec<Account>) -> Vec<Account> {
    accounts.sort_by(|a, b| a.id.cmp(&b.id));
    accounts.dedup_by(|a, b| a.id == b.id);
    accounts
}

/// Lists the accounts.
#[async_trait]
pub trait AccountSource: Send + Sync {
    /// Where the list comes from, for messages.
    fn describe(&self) -> String;

    /// All accounts, in the order of their ids.
    ///
    /// # Errors
    /// When the list cannot be had.
    async fn accounts(&self) -> Result<Vec<Account>, Failure>;
}

/// The accounts of another source, as long as they are not more than one: for query layers whose
/// costs cannot be told apart by account, so that none is charged with another's.
pub struct OnlyAccount(pub std::sync::Arc<dyn AccountSource>);

#[async_trait]
impl AccountSource for OnlyAccount {
    fn describe(&self) -> String {
        self.0.describe()
    }

    async fn accounts(&self) -> Result<Vec<Account>, Failure> {
        let accounts = self.0.accounts().await?;
        if accounts.len() <= 1 {
            return Ok(accounts);
        }
        let what = format!(
            "{} has {} accounts, but a server of one tenant (TENANT_LABEL empty, or \
             QUERY_LAYER=allocation-api) serves exactly one",
            self.describe(),
            accounts.len()
        );
        let fix = "set ACCOUNTS to the id of the account whose costs the server holds";
        Err(Failure::new(Hop::Worker, Kind::Refused, what, fix))
    }
}

/// Accounts written down in the settings.
#[derive(Clone, Debug)]
pub struct AccountList(Vec<Account>);

impl AccountList {
    /// A list of these ids.
    #[must_use]
    pub fn new(mut ids: Vec<AccountId>) -> Self {
        ids.sort();
        ids.dedup();
        Self(ids.into_iter().map(Account::unnamed).collect())
    }
}

#[async_trait]
impl AccountSource for AccountList {
    fn describe(&self) -> String {
        "the setting ACCOUNTS".to_owned()
    }

    async fn accounts(&self) -> Result<Vec<Account>, Failure> {
        Ok(self.0.clone())
    }
}
