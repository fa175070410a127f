//! From settings to hops: the one place that knows which product plays which role.

use std::sync::Arc;

use crate::accounts::mongo::MongoAccounts;
use crate::accounts::rest::RestAccounts;
use crate::accounts::shard::ShardedAccounts;
use crate::accounts::{AccountList, AccountSource, OnlyAccount};
use crate::allocation_api::client::{AllocationClient, ClientOptions};
use crate::clock::Clock;
use crate::config::WorkerConfig;
use crate::config::worker::{AccountsConfig, Auth, QueryConfig, RunConfig, StoreConfig};
use crate::embedded::Embedded;
use crate::failure::{Failure, Hop, Kind};
use crate::ledger::ExpenseLedger;
use crate::ledger::clickhouse::ClickHouseLedger;
use crate::ledger::sqlite::SqliteLedger;
use crate::mongo;
use crate::query::CostQuery;
use crate::query::allocation_api::AllocationApiQuery;
use crate::query::asking::PrometheusSettings;
use crate::query::metroculus::MetroculusQuery;
use crate::query::metroculus_client::MetroculusClient;
use crate::query::prometheus::PrometheusQuery;
use crate::records::mongo::MongoRecords;
use crate::records::sqlite::SqliteRecords;
use crate::records::{DayRecords, Leases, RateJournal};
use crate::resources::ResourceStore;
use crate::resources::mongo::MongoResources;
use crate::resources::sqlite::SqliteResources;
use crate::worker::Environment;

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
            let records = Arc::new(MongoRecords::new(&database));
            Ok(Stores {
                resources: Arc::new(MongoResources::new(database, &config.resources_collection)),
                ledger: Arc::new(ClickHouseLedger::new(config)),
                days: records.clone(),
                leases: records.clone(),
                journal: records,
            })
        }
        StoreConfig::Sqlite(path) => {
            let store = Embedded::open(path).await?;
            let records = Arc::new(SqliteRecords::new(store.clone()));
            Ok(Stores {
                resources: Arc::new(SqliteResources::new(store.clone())),
                ledger: Arc::new(SqliteLedger::new(store)),
                days: records.clone(),
                leases: records.clone(),
                journal: records,
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
        (AccountsConfig::Rest { endpoint, secret }, _) => {
            Arc::new(RestAccounts::new(endpoint.clone(), secret)?)
        }
        (AccountsConfig::Mongo, StoreConfig::CloudTuner(store)) => {
            let database = mongo::connect(&store.mongo_url, &store.mongo_database).await?;
            Arc::new(MongoAccounts::new(&database))
        }
        (AccountsConfig::Mongo, StoreConfig::Sqlite(_)) => {
            let what = "accounts from MongoDB, with an embedded store";
            return Err(Failure::new(Hop::Worker, Kind::Internal, what, "set ACCOUNTS to ids"));
        }
    })
}

fn query(
    config: &QueryConfig,
    run: &RunConfig,
    journal: Arc<dyn RateJournal>,
) -> Result<Arc<dyn CostQuery>, Failure> {
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
        clock,
        settings: config.run.clone(),
    })
}
