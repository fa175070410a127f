//! Cloud accounts, as the API lists them.

use async_trait::async_trait;
use reqwest::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::cost::AccountId;
use crate::service::failure::{Failure, Hop, Kind, excerpt};

use super::client::{Call, RestClient};
use super::form::path_part;
use super::import_status::SentStatus;

/// Lists accounts, with their status.
#[async_trait]
pub trait CloudAccounts: Send + Sync {
    /// The live `kubernetes_cnr` accounts of all organizations, in the order of their ids.
    ///
    /// # Errors
    /// When a call fails, or an account's id cannot be used.
    async fn cloud_accounts(&self) -> Result<Vec<CloudAccount>, Failure>;
}

/// The type of cloud account that this program works on.
pub const ACCOUNT_TYPE: &str = "kubernetes_cnr";

/// A live cloud account of type `kubernetes_cnr`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudAccount {
    /// Its id.
    pub id: AccountId,
    /// Its name for people.
    pub name: Option<String>,
    /// The organization that it belongs to.
    pub organization_id: Option<String>,
    /// Its pool, where the API shows one; upstream's does not.
    pub pool_id: Option<String>,
    /// Whether CloudTuner's own importer imports it too, and then overwrites its status.
    pub auto_import: Option<bool>,
    /// The last successful import, Unix seconds; 0: none yet.
    pub last_import_at: Option<i64>,
    /// The last import, successful or not, Unix seconds; 0: none yet.
    pub last_import_attempt_at: Option<i64>,
    /// What the last failed import ended with.
    pub last_import_attempt_error: Option<String>,
    /// When it was made, Unix seconds.
    pub created_at: Option<i64>,
}

impl CloudAccount {
    /// What its status says now, whoever reported it; `None` where there is none yet.
    #[must_use]
    pub fn status(&self) -> Option<SentStatus> {
        let sent_seconds = self.last_import_attempt_at.filter(|at| *at > 0)?;
        let error = if self.last_import_at == Some(sent_seconds) {
            None
        } else {
            Some(self.last_import_attempt_error.clone().unwrap_or_default())
        };
        Some(SentStatus { sent_seconds, error })
    }
}

#[derive(Deserialize)]
struct Organizations {
    organizations: Vec<Organization>,
}

#[derive(Deserialize)]
struct Organization {
    id: String,
    #[serde(default)]
    deleted_at: Option<i64>,
}

#[derive(Deserialize)]
struct ListedAccounts {
    cloud_accounts: Vec<Listed>,
}

/// An account as the API shows it. Its `config` holds credentials and is not read.
#[derive(Deserialize)]
pub(super) struct Listed {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    deleted_at: Option<i64>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    organization_id: Option<String>,
    #[serde(default)]
    pool_id: Option<String>,
    #[serde(default)]
    auto_import: Option<bool>,
    #[serde(default)]
    last_import_at: Option<i64>,
    #[serde(default)]
    last_import_attempt_at: Option<i64>,
    #[serde(default)]
    last_import_attempt_error: Option<String>,
    #[serde(default)]
    created_at: Option<i64>,
}

/// 0 and null both stand for "not deleted".
pub(super) fn is_live(deleted_at: Option<i64>) -> bool {
    deleted_at.unwrap_or(0) == 0
}

fn account(listed: Listed) -> Result<CloudAccount, Failure> {
    let id = AccountId::new(listed.id).map_err(|error| {
        let what = format!("a cloud account cannot be used: {}", excerpt(&error.to_string()));
        let fix = "look at the organization's cloud accounts";
        Failure::new(Hop::RestApi, Kind::BadData, what, fix)
    })?;
    Ok(CloudAccount {
        id,
        name: listed.name,
        organization_id: listed.organization_id,
        pool_id: listed.pool_id,
        auto_import: listed.auto_import,
        last_import_at: listed.last_import_at,
        last_import_attempt_at: listed.last_import_attempt_at,
        last_import_attempt_error: listed.last_import_attempt_error,
        created_at: listed.created_at,
    })
}

#[async_trait]
impl CloudAccounts for RestClient {
    async fn cloud_accounts(&self) -> Result<Vec<CloudAccount>, Failure> {
        let listed: Organizations = self.get("/restapi/v2/organizations".to_owned()).await?;
        let mut accounts = Vec::new();
        for organization in listed.organizations.iter().filter(|o| is_live(o.deleted_at)) {
            let id = path_part(&organization.id);
            let path = format!("/restapi/v2/organizations/{id}/cloud_accounts");
            let listed: ListedAccounts = match self.get(path).await {
                Ok(listed) => listed,
                // It was deleted since the organizations were listed.
                Err(refusal) if refusal.is_missing() => {
                    let failure = Failure::from(refusal);
                    tracing::warn!(%failure, "an organization is left out");
                    continue;
                }
                Err(refusal) => return Err(refusal.into()),
            };
            let live = |a: &Listed| a.kind == ACCOUNT_TYPE && is_live(a.deleted_at);
            for listed in listed.cloud_accounts.into_iter().filter(live) {
                match account(listed) {
                    Ok(account) => accounts.push(account),
                    Err(failure) => tracing::warn!(%failure, "an account is left out"),
                }
            }
        }
        accounts.sort_by(|a, b| a.id.cmp(&b.id));
        accounts.dedup_by(|a, b| a.id == b.id);
        Ok(accounts)
    }
}

impl RestClient {
    /// One account.
    ///
    /// # Errors
    /// When the call fails, or the API does not have the account.
    pub async fn cloud_account(&self, id: &AccountId) -> Result<CloudAccount, Failure> {
        let path = format!("/restapi/v2/cloud_accounts/{}", path_part(id.as_str()));
        account(self.get(path).await?)
    }

    /// Switches off that CloudTuner's own importer imports an account too.
    ///
    /// # Errors
    /// When the call fails, or the API does not have the account.
    pub async fn disable_auto_import(&self, id: &AccountId) -> Result<(), Failure> {
        let call = Call {
            method: Method::PATCH,
            path: format!("/restapi/v2/cloud_accounts/{}", path_part(id.as_str())),
            query: &[],
            body: Some(json!({ "auto_import": false })),
        };
        let IgnoredAny = self.call(&call, self.request_timeout()).await?;
        Ok(())
    }
}
