//! Which accounts there are: the `kubernetes_cnr` cloud accounts of CloudTuner.

use async_trait::async_trait;

use crate::cost::AccountId;
use crate::service::failure::{Failure, Hop, Kind};
use crate::service::shown::shown;

pub mod connect;
pub mod mongo;
pub mod rest;
pub mod shard;

/// The cloud account type this worker serves.
pub use crate::rest_api::ACCOUNT_TYPE;

/// A cloud account of type `kubernetes_cnr`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Account {
    /// Its id: the `tenant_id` label and the `Cloud-Account-Id` header.
    pub id: AccountId,
    /// Its name for people, where the source of accounts has one.
    pub name: Option<String>,
}

impl Account {
    /// An account with the name that a customer gave it, which is shown as any foreign text is.
    #[must_use]
    pub fn named(id: AccountId, name: Option<&str>) -> Self {
        Self { id, name: name.map(shown) }
    }

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

/// The accounts of a source that are asked for: all where none is named. One that is named must be
/// there: a typing error is no empty success.
///
/// # Errors
/// [`Kind::Refused`] when one is not there; or when the list cannot be had.
pub async fn select_accounts(
    source: &dyn AccountSource,
    asked: &[AccountId],
) -> Result<Vec<Account>, Failure> {
    let mut accounts = source.accounts().await?;
    if asked.is_empty() {
        return Ok(accounts);
    }
    if let Some(id) = asked.iter().find(|id| !accounts.iter().any(|account| account.id == **id)) {
        let what = format!("{} has no account {id}", source.describe());
        let fix = "see kubecost-worker accounts for the ids there are";
        return Err(Failure::new(Hop::Worker, Kind::Refused, what, fix));
    }
    accounts.retain(|account| asked.contains(&account.id));
    Ok(accounts)
}

/// The accounts of another source, as long as they are not more than one: for query layers whose
/// costs carry no account's id, so that none is charged with another's.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accounts_that_are_asked_for_must_be_there() {
        let id = |text: &str| AccountId::new(text).unwrap();
        let list = AccountList::new(vec![id("a"), id("b")]);
        let ids = |found: Vec<Account>| found.into_iter().map(|a| a.id).collect::<Vec<_>>();
        assert_eq!(ids(select_accounts(&list, &[]).await.unwrap()), [id("a"), id("b")]);
        assert_eq!(ids(select_accounts(&list, &[id("b")]).await.unwrap()), [id("b")]);
        let failure = select_accounts(&list, &[id("b"), id("c")]).await.unwrap_err();
        assert!(failure.is_misuse() && failure.what.ends_with("has no account c"), "{failure}");
    }
}
