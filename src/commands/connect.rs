//! From settings to hops: the one place that knows which product plays which role.

use std::sync::Arc;
use std::time::Duration;

use crate::account_writer::Writers;
use crate::allocation_api::client::{AllocationClient, ClientOptions};
use crate::day_status::DayStatusStore;
use crate::day_status::mongo::MongoDayStatus;
use crate::day_status::sqlite::SqliteDayStatus;
use crate::documents::mongo::MongoResources;
use crate::documents::sqlite::SqliteResources;
use crate::documents::{DocumentNames, ResourceStore, collection};
use crate::lease::Leases;
use crate::lease::mongo::MongoLeases;
use crate::lease::sqlite::SqliteLeases;
use crate::ledger::clickhouse::ClickHouseLedger;
use crate::ledger::sqlite::SqliteLedger;
use crate::ledger::{ExpenseLedger, ReadBack};
use crate::rate_journal::RateJournal;
use crate::rate_journal::mongo::MongoJournal;
use crate::rate_journal::read_only::ReadOnlyJournal;
use crate::rate_journal::sqlite::SqliteJournal;
use crate::recommendations::RecommendationStore;
use crate::recommendations::mongo::MongoRecommendations;
use crate::recommendations::sqlite::SqliteRecommendations;
use crate::rest_api::RestClient;
use crate::run::rest::RestApi;
use crate::run::{Environment, Readers};
use crate::service::clock::Clock;
use crate::service::failure::Failure;
use crate::settings::worker::{PipelineSettings, QueryConfig, RestConfig, RunConfig, StoreConfig};
use crate::source::CostSource;
use crate::source::allocation_api::AllocationApiQuery;
use crate::source::metroculus::client::MetroculusClient;
use crate::source::metroculus::{MetroculusQuery, MetroculusSettings};
use crate::source::prometheus::client::PromClient;
use crate::source::prometheus::session::PrometheusSettings;
use crate::source::prometheus::{BatchSettings, PrometheusQuery};
use crate::stores::mongo;
use crate::stores::sqlite::SqliteStore;

pub use crate::accounts::connect::accounts;

/// The stores of one setting.
pub struct Stores {
    /// Resource documents.
    pub documents: Arc<dyn ResourceStore>,
    /// The names of documents, for reports.
    pub names: Arc<dyn DocumentNames>,
    /// Expense rows.
    pub ledger: Arc<dyn ExpenseLedger>,
    /// Day status.
    pub status: Arc<dyn DayStatusStore>,
    /// Who may write.
    pub leases: Arc<dyn Leases>,
    /// Rates seen.
    pub journal: Arc<dyn RateJournal>,
    /// Stored recommendations.
    pub recommendations: Arc<dyn RecommendationStore>,
}

impl Stores {
    /// The write halves, from which an account's writer is made.
    #[must_use]
    pub fn writers(&self, lease_length: Duration) -> Writers {
        Writers {
            documents: self.documents.clone(),
            ledger: self.ledger.clone(),
            status: self.status.clone(),
            leases: self.leases.clone(),
            lease_length,
            read_back: ReadBack::DEFAULT,
        }
    }
}

/// Opens the stores.
///
/// # Errors
/// When an address cannot be used, or the file cannot be opened.
pub async fn stores(config: &StoreConfig) -> Result<Stores, Failure> {
    match config {
        StoreConfig::CloudTuner(config) => {
            let database = mongo::connect(&config.mongo_url, &config.mongo_database).await?;
            let setting = config.resources_collection.as_deref();
            let collection = collection::choose(&database, setting).await?;
            let documents = Arc::new(MongoResources::new(database.clone(), &collection));
            Ok(Stores {
                ledger: Arc::new(ClickHouseLedger::new(config)),
                status: Arc::new(MongoDayStatus::new(&database)),
                leases: Arc::new(MongoLeases::new(&database)),
                journal: Arc::new(MongoJournal::new(&database)),
                recommendations: Arc::new(MongoRecommendations::new(&database)),
                names: documents.clone(),
                documents,
            })
        }
        StoreConfig::Sqlite(path) => {
            let store = SqliteStore::open(path).await?;
            let documents = Arc::new(SqliteResources::new(store.clone()));
            Ok(Stores {
                names: documents.clone(),
                documents,
                ledger: Arc::new(SqliteLedger::new(store.clone())),
                status: Arc::new(SqliteDayStatus::new(store.clone())),
                leases: Arc::new(SqliteLeases::new(store.clone())),
                journal: Arc::new(SqliteJournal::new(store.clone())),
                recommendations: Arc::new(SqliteRecommendations::new(store)),
            })
        }
    }
}

fn query(
    config: &QueryConfig,
    run: &RunConfig,
    journal: Arc<dyn RateJournal>,
) -> Result<Arc<dyn CostSource>, Failure> {
    Ok(match config {
        QueryConfig::Prometheus {
            endpoint,
            auth,
            headers,
            tenant_label,
            cluster_label,
            samples_max,
            currency,
        } => {
            let settings = PrometheusSettings {
                tenant_label: tenant_label.clone(),
                cluster_label: cluster_label.clone(),
                samples_max: *samples_max,
                default_cluster: run.default_cluster.clone(),
                levels: run.levels,
                currency: currency.clone(),
                limits: run.limits,
                batches: BatchSettings {
                    accounts_max: run.parallel.batch_accounts,
                    samples_max: *samples_max,
                    concurrency: run.parallel.concurrency,
                },
            };
            let client = PromClient::new(endpoint.clone(), auth.clone(), headers.clone())?;
            Arc::new(PrometheusQuery::new(client, settings))
        }
        QueryConfig::Metroculus { endpoint, secret, currency } => {
            let client = MetroculusClient::new(endpoint.clone(), secret.clone())?;
            let settings = MetroculusSettings {
                default_cluster: run.default_cluster.clone(),
                levels: run.levels,
                phase: run.phase,
                currency: currency.clone(),
                limits: run.limits,
            };
            Arc::new(MetroculusQuery::new(client, journal, settings))
        }
        QueryConfig::AllocationApi { endpoint, auth, cluster_filter, currency } => {
            let cluster = cluster_filter.clone();
            let options = ClientOptions { cluster, ..ClientOptions::for_days(auth.clone()) };
            let client = AllocationClient::new(endpoint.clone(), options)?;
            let cluster = run.default_cluster.clone();
            Arc::new(AllocationApiQuery::new(client, cluster, run.levels.pod, currency.clone()))
        }
    })
}

/// CloudTuner's REST API, where it is configured. An embedded store has no CloudTuner behind it.
///
/// # Errors
/// When its secret cannot be sent, or no HTTP client can be made.
pub fn rest(config: Option<&RestConfig>, store: &StoreConfig) -> Result<RestApi, Failure> {
    match (config, store) {
        (Some(rest), StoreConfig::CloudTuner(_)) => {
            let client = RestClient::new(rest.endpoint.clone(), &rest.secret)?;
            Ok(RestApi::new(Arc::new(client)))
        }
        _ => Ok(RestApi::default()),
    }
}

/// Whether the rates that are seen may be noted in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Journal {
    /// They are those of the run's time.
    Written,
    /// The run's time is made up (`--at`): they would land in a slot that is not theirs.
    ReadOnly,
}

/// All hops of a run.
///
/// # Errors
/// When a hop's address cannot be used; whether it answers is seen by the run itself.
pub async fn environment(
    config: &PipelineSettings,
    clock: Arc<dyn Clock>,
    journal: Journal,
) -> Result<Environment, Failure> {
    let stores = stores(&config.store).await?;
    let rates: Arc<dyn RateJournal> = match journal {
        Journal::Written => stores.journal.clone(),
        Journal::ReadOnly => Arc::new(ReadOnlyJournal::new(stores.journal.clone())),
    };
    let readers = Readers {
        accounts: accounts(&config.selection).await?,
        source: query(&config.query, &config.run, rates)?,
        documents: stores.documents.clone(),
        ledger: stores.ledger.clone(),
        status: stores.status.clone(),
        rest: rest(config.rest.as_ref(), &config.store)?,
        clock,
        settings: config.run.clone(),
        resource_settings: config.resources.clone(),
    };
    Ok(Environment { readers, writers: stores.writers(config.run.lease) })
}
