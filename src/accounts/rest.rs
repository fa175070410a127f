//! Accounts from CloudTuner's REST API: those of every organization.

use async_trait::async_trait;

use crate::rest_api::{CloudAccounts, RestClient};
use crate::service::failure::Failure;
use crate::settings::{Endpoint, Secret};

use super::{Account, AccountSource, sorted};

/// The accounts that a REST API lists.
#[derive(Clone, Debug)]
pub struct RestAccounts(RestClient);

impl RestAccounts {
    /// The accounts that the API at `endpoint` lists for the bearer of `secret`.
    ///
    /// # Errors
    /// When the secret cannot stand in a header, or no HTTP client can be made.
    pub fn new(endpoint: Endpoint, secret: &Secret) -> Result<Self, Failure> {
        RestClient::new(endpoint, secret).map(Self)
    }

    /// The accounts that this client lists.
    #[must_use]
    pub fn of(client: RestClient) -> Self {
        Self(client)
    }
}

#[async_trait]
impl AccountSource for RestAccounts {
    fn describe(&self) -> String {
        format!("the REST API at {}", self.0.address())
    }

    async fn accounts(&self) -> Result<Vec<Account>, Failure> {
        let listed = self.0.cloud_accounts().await?;
        Ok(sorted(listed.into_iter().map(|a| Account::named(a.id, a.name.as_deref())).collect()))
    }
}

#[cfg(test)]
mod tests;
