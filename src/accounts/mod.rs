//! Which accounts there are: the `kubernetes_cnr` cloud accounts of CloudTuner.

use async_trait::async_trait;

use crate::allocation::AccountId;
use crate::failure::Failure;

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
