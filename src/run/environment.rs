//! What a run works with: every hop behind its role.

use std::sync::Arc;

use crate::accounts::AccountSource;
use crate::day_status::DayRecords;
use crate::documents::ResourceStore;
use crate::lease::Leases;
use crate::ledger::ExpenseLedger;
use crate::service::clock::Clock;
use crate::settings::cloudtuner::ResourcesConfig;
use crate::settings::worker::RunConfig;

use super::rest::RestApi;
use crate::source::CostSource;

/// The hops of a run and its settings; made by `cli::connect`, or from twins in tests.
#[derive(Clone)]
pub struct Environment {
    /// Where costs are read.
    pub query: Arc<dyn CostSource>,
    /// Which accounts there are.
    pub accounts: Arc<dyn AccountSource>,
    /// Resource documents.
    pub resources: Arc<dyn ResourceStore>,
    /// Expense rows.
    pub ledger: Arc<dyn ExpenseLedger>,
    /// What became of days.
    pub days: Arc<dyn DayRecords>,
    /// Who may write.
    pub leases: Arc<dyn Leases>,
    /// CloudTuner's REST API, where it is configured.
    pub rest: RestApi,
    /// How resource documents are made.
    pub resource_settings: ResourcesConfig,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How a run goes about it.
    pub settings: RunConfig,
}
