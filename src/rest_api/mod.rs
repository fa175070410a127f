//! CloudTuner's REST API: what this program asks of it, and what it writes there.
//!
//! Each trait is a role, so that a run without a REST API has none of them, and tests have their
//! own. [`RestClient`] is all of them. What belongs here: the calls, their limits, and the pure
//! rules of what may be sent. What does not: when a run makes which call.

use async_trait::async_trait;

use crate::cost::AccountId;
use crate::service::failure::Failure;

pub mod accounts;
pub mod client;
pub mod discovery;
pub mod import_status;
pub mod owner;
mod refusal;
pub mod resources;

pub use accounts::CloudAccount;
pub use client::{RestClient, RestLimits};
pub use discovery::PodDiscovery;
pub use import_status::{ImportOutcome, SentStatus};
pub use owner::{PoolOwner, PoolSource};
pub use resources::{BulkResult, CreatedResource, NewResource, RefusedResource};

/// Makes resource documents, so that CloudTuner's assignment rules give them pool and owner.
#[async_trait]
pub trait ResourceCreator: Send + Sync {
    /// Makes those of `items` that the account does not have yet, and returns the documents of
    /// all, whether they are new, were there before or are deleted. An item that the API would
    /// refuse is left out and named; it never keeps the others from being made.
    ///
    /// A document that was there before keeps its name, pool and owner; its `service_name` is
    /// overwritten, its tags are merged with the item's, and its times move outwards.
    ///
    /// # Errors
    /// When a call fails. What was made before it stays; asking again returns it.
    async fn create(
        &self,
        account: &AccountId,
        items: &[NewResource],
    ) -> Result<BulkResult, Failure>;
}

/// Lists accounts, with their status.
#[async_trait]
pub trait CloudAccounts: Send + Sync {
    /// The live `kubernetes_cnr` accounts of all organizations, in the order of their ids.
    ///
    /// # Errors
    /// When a call fails, or an account's id cannot be used.
    async fn cloud_accounts(&self) -> Result<Vec<CloudAccount>, Failure>;
}

/// All roles of the REST API.
pub trait CloudTunerApi:
    ResourceCreator + AccountOwner + CloudAccounts + ImportStatus + DiscoveryInfo
{
}

impl<T: ResourceCreator + AccountOwner + CloudAccounts + ImportStatus + DiscoveryInfo> CloudTunerApi
    for T
{
}

/// Looks up the pool and the owner of an account's resources.
#[async_trait]
pub trait AccountOwner: Send + Sync {
    /// The account's own pool and its default owner; where it has none, the organization's root
    /// pool and its default owner. `None` where the API shows neither with an owner that exists.
    ///
    /// # Errors
    /// When a call fails, or the API does not have the account.
    async fn pool_owner(&self, account: &AccountId) -> Result<Option<PoolOwner>, Failure>;
}

/// Reports how an import went, for the account's page, budgets and alerts.
#[async_trait]
pub trait ImportStatus: Send + Sync {
    /// Reports it. [`import_status::due`] decides whether to.
    ///
    /// # Errors
    /// When the call fails, or a time cannot be sent.
    async fn report(&self, account: &AccountId, outcome: &ImportOutcome) -> Result<(), Failure>;
}

/// The time of the last discovery of an account's pods: a pod that was last seen before it loses
/// its `active`, and where it is 0 all pods do.
#[async_trait]
pub trait DiscoveryInfo: Send + Sync {
    /// What the API has; `None` where the account has no record of the kind `k8s_pod`.
    ///
    /// # Errors
    /// When the call fails, or the API does not have the account.
    async fn pod_discovery(&self, account: &AccountId) -> Result<Option<PodDiscovery>, Failure>;

    /// Sets the time, in a new record where there is none. [`discovery::correction`] says which.
    ///
    /// # Errors
    /// When a call fails, or the time cannot be sent.
    async fn set_pod_discovery(&self, account: &AccountId, at_seconds: i64) -> Result<(), Failure>;
}

/// The latest time that the API takes, Unix seconds.
pub const SECONDS_MAX: i64 = 2_147_483_647;

/// A text that the API counts as blank: its white space is Python's, four control characters more
/// than Unicode's.
fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}

/// An id as one part of a path.
fn path_part(id: &str) -> String {
    url::form_urlencoded::byte_serialize(id.as_bytes()).collect::<String>().replace('+', "%20")
}
