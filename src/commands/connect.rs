//! From settings to hops: the one place that knows which product plays which role.

use std::sync::Arc;

use crate::accounts::mongo::MongoAccounts;
use crate::accounts::rest::RestAccounts;
use crate::accounts::shard::ShardedAccounts;
use crate::accounts::{AccountList, AccountSource, OnlyAccount};
use crate::allocation_api::client::{AllocationClient, ClientOptions};
use crate::day_status::DayRecords;
use crate::day_status::mongo::MongoDays;
use crate::day_status::sqlite::SqliteDays;
use crate::documents::mongo::MongoResources;
use crate::documents::sqlite::SqliteResources;
use crate::documents::{ResourceStore, collection};
use crate::lease::Leases;
use crate::lease::mongo::MongoLeases;
use crate::lease::sqlite::SqliteLeases;
use crate::ledger::ExpenseLedger;
use crate::ledger::clickhouse::ClickHouseLedger;
use crate::ledger::sqlite::SqliteLedger;
use crate::rate_journal::RateJournal;
use crate::rate_journal::mongo::MongoJournal;
use crate::rate_journal::sqlite::SqliteJournal;
use crate::rest_api::RestClient;
use crate::run::Environment;
use crate::run::rest::RestApi;
use crate::service::clock::Clock;
use crate::service::failure::{Failure, Hop, Kind};
use crate::settings::WorkerConfig;
use crate::settings::worker::{AccountsConfig, Auth, QueryConfig, RunConfig, StoreConfig};
use crate::source::CostSource;
use crate::source::allocation_api::AllocationApiQuery;
use crate::source::metroculus::MetroculusQuery;
use crate::source::metroculus::client::MetroculusClient;
use crate::source::prometheus::PrometheusQuery;
use crate::source::prometheus::session::PrometheusSettings;
use crate::stores::mongo;
use crate::stores::sqlite::SqliteStore;

/// The stores of one setting.
pub struct Stores {
    /// Resource documents.
    pub resources: Arc<dyn ResourceStore>,
    /// Expense rows.
    pub ledger: Arc<dyn ExpenseLedger>,
    /// What became of days.
    pub days: Arc<dyn DayRecords>,
    /// Who may write.
    pub leases: Arc<dyn Leases>,
    /// Rates seen.
    pub journal: Arc<dyn RateJournal>,
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
            Ok(Stores {
                ledger: Arc::new(ClickHouseLedger::new(config)),
                days: Arc::new(MongoDays::new(&database)),
                leases: Arc::new(MongoLeases::new(&database)),
                journal: Arc::new(MongoJournal::new(&database)),
                resources: Arc::new(MongoResources::new(database, &collection)),
            })
        }
        StoreConfig::Sqlite(path) => {
            let store = SqliteStore::open(path).await?;
            Ok(Stores {
                resources: Arc::new(SqliteResources::new(store.clone())),
                ledger: Arc::new(SqliteLedger::new(store.clone())),
                days: Arc::new(SqliteDays::new(store.clone())),
                leases: Arc::new(SqliteLeases::new(store.clone())),
                journal: Arc::new(SqliteJournal::new(store)),
            })
        }
    }
}

/// The source of accounts, of this worker's shard.
///
/// # Errors
/// When an address cannot be used.
pub async fn accounts(config: &WorkerConfig) -> Result<Arc<dyn AccountSource>, Failure> {
    let mut source = all_accounts(config).await?;
    // Before sharding: each shard alone may well have one account.
    if config.query.is_one_tenant() {
        source = Arc::new(OnlyAccount(source));
    }
    let shard = config.operation.shard;
    if shard.count == 1 { Ok(source) } else { Ok(Arc::new(ShardedAccounts::new(source, shard))) }
}

async fn all_accounts(config: &WorkerConfig) -> Result<Arc<dyn AccountSource>, Failure> {
    Ok(match (&config.accounts, &config.store) {
        (AccountsConfig::List(ids), _) => Arc::new(AccountList::new(ids.clone())),
        (AccountsConfig::Rest(rest), _) => {
            Arc::new(RestAccounts::new(rest.endpoint.clone(), &rest.secret)?)
        }
        (AccountsConfig::Mongo { must_exist }, StoreConfig::CloudTuner(store)) => {
            let database = mongo::connect(&store.mongo_url, &store.mongo_database).await?;
            let accounts = MongoAccounts::new(&database);
            Arc::new(if *must_exist { accounts.that_must_exist() } else { accounts })
        }
        (AccountsConfig::Mongo { .. }, StoreConfig::Sqlite(_)) => {
            let what = "accounts from MongoDB, with an embedded store";
            return Err(Failure::new(Hop::Worker, Kind::Internal, what, "set ACCOUNTS to ids"));
        }
    })
}

fn query(
    config: &QueryConfig,
    run: &RunConfig,
    journal: Arc<dyn RateJournal>,
) -> Result<Arc<dyn CostSource>, Failure> {
    Ok(match config {
        QueryConfig::Prometheus { endpoint, auth, tenant_label, samples_max } => {
            let settings = PrometheusSettings {
                tenant_label: tenant_label.clone(),
                samples_max: *samples_max,
                default_cluster: run.default_cluster.clone(),
                levels: run.levels,
            };
            Arc::new(PrometheusQuery::new(endpoint.clone(), auth.clone(), settings)?)
        }
        QueryConfig::Metroculus { endpoint, secret } => {
            let client = MetroculusClient::new(endpoint.clone(), secret.clone())?;
            let cluster = run.default_cluster.clone();
            Arc::new(MetroculusQuery::new(client, journal, cluster, run.levels, run.phase))
        }
        QueryConfig::AllocationApi { endpoint } => {
            let options = ClientOptions::for_days(Auth::None);
            let client = AllocationClient::new(endpoint.clone(), options)?;
            let cluster = run.default_cluster.clone();
            Arc::new(AllocationApiQuery::new(client, cluster, run.levels.pod))
        }
    })
}

/// CloudTuner's REST API, where it is configured. An embedded store has no CloudTuner behind it.
fn rest(config: &WorkerConfig) -> Result<RestApi, Failure> {
    match (&config.rest, &config.store) {
        (Some(rest), StoreConfig::CloudTuner(_)) => {
            let client = RestClient::new(rest.endpoint.clone(), &rest.secret)?;
            Ok(RestApi::new(Arc::new(client)))
        }
        _ => Ok(RestApi::default()),
    }
}

/// All hops of a run.
///
/// # Errors
/// When a hop's address cannot be used; whether it answers is seen by the run itself.
pub async fn environment(
    config: &WorkerConfig,
    clock: Arc<dyn Clock>,
) -> Result<Environment, Failure> {
    let stores = stores(&config.store).await?;
    Ok(Environment {
        query: query(&config.query, &config.run, stores.journal)?,
        accounts: accounts(config).await?,
        resources: stores.resources,
        ledger: stores.ledger,
        days: stores.days,
        leases: stores.leases,
        rest: rest(config)?,
        resource_settings: config.resources.clone(),
        clock,
        settings: config.run.clone(),
    })
}
