//! CloudTuner's REST API: what this program asks of it, and what it writes there.
//!
//! Each trait is a role, so that a run without a REST API has none of them, and tests have their
//! own. [`RestClient`] is all of them. What belongs here: the calls, their limits, and the pure
//! rules of what may be sent. What does not: when a run makes which call.

pub mod accounts;
pub mod client;
pub mod discovery;
mod form;
pub mod import_status;
pub mod nodes;
pub mod owner;
mod refusal;
pub mod resources;

pub use accounts::{ACCOUNT_TYPE, CloudAccount, CloudAccounts};
pub use client::{RestClient, RestLimits};
pub use discovery::{DiscoveryInfo, PodDiscovery};
pub use form::SECONDS_MAX;
pub use import_status::{ImportOutcome, ImportStatus, SentStatus};
pub use nodes::{NodesTab, TabNode, TabNodes};
pub use owner::{AccountOwner, PoolSource, ResolvedOwner};
pub use resources::{BulkResult, CreatedResource, NewResource, RefusedResource, ResourceCreator};

/// All roles of the REST API.
pub trait CloudTunerApi:
    ResourceCreator + AccountOwner + CloudAccounts + ImportStatus + DiscoveryInfo + NodesTab
{
}

impl<T> CloudTunerApi for T where
    T: ResourceCreator + AccountOwner + CloudAccounts + ImportStatus + DiscoveryInfo + NodesTab
{
}
