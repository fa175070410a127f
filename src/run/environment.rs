//! What a run works with: every hop behind its role.

use std::sync::Arc;

use crate::account_writer::Writers;
use crate::accounts::AccountSource;
use crate::day_status::DayStatusReader;
use crate::documents::DocumentReader;
use crate::ledger::LedgerReader;
use crate::service::clock::Clock;
use crate::settings::worker::{ResourcesConfig, RunConfig};
use crate::source::CostSource;

use super::rest::RestApi;

/// What a run reads, and the settings that it decides by. Nothing here can write to the stores.
#[derive(Clone)]
pub struct Readers {
    /// Which accounts there are.
    pub accounts: Arc<dyn AccountSource>,
    /// Where costs are read.
    pub source: Arc<dyn CostSource>,
    /// Resource documents.
    pub documents: Arc<dyn DocumentReader>,
    /// Expense rows.
    pub ledger: Arc<dyn LedgerReader>,
    /// Day status.
    pub status: Arc<dyn DayStatusReader>,
    /// CloudTuner's REST API, where it is configured.
    pub rest: RestApi,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How a run goes about it.
    pub settings: RunConfig,
    /// How resource documents are made.
    pub resource_settings: ResourcesConfig,
}

/// The hops of a run.
#[derive(Clone)]
pub struct Environment {
    /// What it reads.
    pub readers: Readers,
    /// What an account's writer is made from.
    pub writers: Writers,
}
