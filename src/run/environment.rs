//! What a run works with: every hop behind its role.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::account_writer::Writers;
use crate::accounts::{Account, AccountSource};
use crate::day_status::DayStatusReader;
use crate::documents::DocumentReader;
use crate::ledger::LedgerReader;
use crate::service::clock::Clock;
use crate::service::failure::{Failure, Kind};
use crate::settings::worker::{ResourcesConfig, RunConfig};
use crate::source::CostSource;

use super::rest::RestApi;

/// How long it may take to observe an account: no account begins before all are observed.
const OBSERVE_TIMEOUT: Duration = Duration::from_secs(60);

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

impl Readers {
    /// Has the source see an account's costs of now, where it knows no other time.
    pub(super) async fn observe(&self, account: &Account) -> Result<(), Failure> {
        let observing = self.source.observe(account, self.clock.now_seconds());
        timeout(OBSERVE_TIMEOUT, observing).await.unwrap_or_else(|_| {
            let what = format!("no answer about now within {} s", OBSERVE_TIMEOUT.as_secs());
            let fix = "see which of the query layer's hops is slow; the next run asks again";
            Err(Failure::query(Kind::Timeout, what, fix))
        })
    }
}

/// The hops of a run.
#[derive(Clone)]
pub struct Environment {
    /// What it reads.
    pub readers: Readers,
    /// What an account's writer is made from.
    pub writers: Writers,
}
