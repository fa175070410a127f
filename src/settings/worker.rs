//! The settings of `kubecost-worker`.

use std::path::PathBuf;
use std::time::Duration;

use crate::cost::{AccountId, Levels};
use crate::source::Phase;
use crate::stores::mongo;

use super::auth::auth;
use super::cloudtuner::{ResourcesConfig, RestConfig, resources, rest};
use super::operation::{OperationConfig, operation};
use super::parse::Reader;
use super::raw::{ConfigErrors, RawSettings};
use super::secret::{Endpoint, Secret};

pub use super::auth::Auth;
pub use super::table::SETTINGS;

/// Validated settings of the worker.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Where costs are read.
    pub query: QueryConfig,
    /// Which accounts.
    pub accounts: AccountsConfig,
    /// Where costs are kept.
    pub store: StoreConfig,
    /// CloudTuner's REST API, where it is configured.
    pub rest: Option<RestConfig>,
    /// How resource documents are made.
    pub resources: ResourcesConfig,
    /// How a run goes about it.
    pub run: RunConfig,
    /// What lies beside the job: shards, the worker's own metrics, further hops to verify.
    pub operation: OperationConfig,
}

/// Where costs are read.
#[derive(Clone, Debug)]
pub enum QueryConfig {
    /// A server that understands PromQL.
    Prometheus {
        /// Its address.
        endpoint: Endpoint,
        /// How it knows us.
        auth: Auth,
        /// The label that holds the account's id, if any.
        tenant_label: Option<String>,
        /// Most samples one query may touch.
        samples_max: u64,
    },
    /// CloudTuner's metrics service.
    Metroculus {
        /// Its address.
        endpoint: Endpoint,
        /// The header `Secret`.
        secret: Secret,
    },
    /// A Kubecost or an OpenCost.
    AllocationApi {
        /// Its address.
        endpoint: Endpoint,
    },
}

impl QueryConfig {
    /// Whether the server's costs cannot be told apart by account.
    #[must_use]
    pub fn is_one_tenant(&self) -> bool {
        match self {
            Self::Prometheus { tenant_label, .. } => tenant_label.is_none(),
            Self::Metroculus { .. } => false,
            Self::AllocationApi { .. } => true,
        }
    }
}

/// Which accounts.
#[derive(Clone, Debug)]
pub enum AccountsConfig {
    /// Those of MongoDB's `cloud_account` or `cloudaccount`.
    Mongo {
        /// Whether there must be one: where nobody said that accounts are in MongoDB, none there
        /// means that they are somewhere else.
        must_exist: bool,
    },
    /// Those the REST API lists.
    Rest(RestConfig),
    /// These.
    List(Vec<AccountId>),
}

/// Where costs are kept.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// CloudTuner's MongoDB and ClickHouse.
    CloudTuner(Box<CloudTunerConfig>),
    /// One SQLite file in their place.
    Sqlite(PathBuf),
}

/// CloudTuner's two stores.
#[derive(Clone, Debug)]
pub struct CloudTunerConfig {
    /// MongoDB's connection string, credentials included.
    pub mongo_url: Secret,
    /// MongoDB database.
    pub mongo_database: String,
    /// Collection of resources; `None`: the one that has documents.
    pub resources_collection: Option<String>,
    /// ClickHouse's HTTP address.
    pub clickhouse: Endpoint,
    /// ClickHouse database.
    pub clickhouse_database: String,
    /// ClickHouse user.
    pub clickhouse_user: String,
    /// ClickHouse password.
    pub clickhouse_password: Secret,
}

/// What a day with gaps costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapPolicy {
    /// What was seen.
    None,
    /// What was seen, divided by the coverage.
    Scale,
}

/// How a run goes about it.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Levels that have rows of their own.
    pub levels: Levels,
    /// The phase to use, if not chosen by what there is.
    pub phase: Option<Phase>,
    /// Cluster name of series that have none.
    pub default_cluster: String,
    /// How long a lease holds.
    pub lease: Duration,
    /// How many past days are looked after.
    pub catch_up_days: u32,
    /// By which share a day's total may fall.
    pub shrink_limit: f64,
    /// What a day with gaps costs.
    pub gap_policy: GapPolicy,
    /// Time one account may take in a run.
    pub account_deadline: Duration,
}

/// What a command connects to, so that nothing else need be set for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Query layer, accounts and stores.
    Everything,
    /// The stores only (`migrate`).
    Stores,
    /// The stores and the source of accounts (`audit`).
    StoresAndAccounts,
    /// The source of accounts only.
    Accounts,
}

impl WorkerConfig {
    /// Validates raw settings; what a command does not need may be left out.
    ///
    /// # Errors
    /// All errors at once, each naming its setting.
    pub fn validate(mut raw: RawSettings, needs: Needs) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::new(SETTINGS, &mut raw);
        let query = query(&mut reader, needs);
        let store = store(&mut reader, needs);
        let is_sqlite = matches!(store, Some(StoreConfig::Sqlite(_)));
        let accounts = accounts(&mut reader, is_sqlite, needs);
        let rest = rest(&mut reader);
        let resources = resources(&mut reader, is_sqlite);
        let run = run(&mut reader);
        check_tenants(&mut reader, query.as_ref(), accounts.as_ref(), needs);
        log_format(&mut reader);
        let operation = operation(&mut reader);
        match (query, store, accounts) {
            (Some(query), Some(store), Some(accounts)) if raw.errors.is_empty() => {
                Ok(Self { query, accounts, store, rest, resources, run, operation })
            }
            _ => Err(ConfigErrors(raw.errors)),
        }
    }
}

fn log_format(reader: &mut Reader<'_>) {
    let _ = reader.choice("LOG_FORMAT", &[("text", ()), ("json", ())]);
}

/// Stands in for a query layer that the command does not use.
fn unused_query() -> QueryConfig {
    QueryConfig::Metroculus { endpoint: Endpoint::unused(), secret: Secret::new("") }
}

fn query(reader: &mut Reader<'_>, needs: Needs) -> Option<QueryConfig> {
    if needs != Needs::Everything {
        return Some(unused_query());
    }
    let layers = [("prometheus", 0), ("metroculus", 1), ("allocation-api", 2)];
    match reader.choice("QUERY_LAYER", &layers)? {
        0 => {
            let why = "QUERY_LAYER=prometheus needs it";
            let endpoint = reader.required_endpoint("PROMETHEUS_URL", why);
            let auth = auth(reader, "PROMETHEUS", endpoint.as_ref());
            let tenant_label = tenant_label(reader);
            let samples_max = reader.number("MAX_SAMPLES", 1_440, 1_000_000_000);
            Some(QueryConfig::Prometheus { endpoint: endpoint?, auth, tenant_label, samples_max })
        }
        1 => {
            let why = "QUERY_LAYER=metroculus needs it";
            let endpoint = reader.required_endpoint("METROCULUS_URL", why);
            let secret = reader.required_secret("CLUSTER_SECRET", why);
            Some(QueryConfig::Metroculus { endpoint: endpoint?, secret })
        }
        _ => {
            let why = "QUERY_LAYER=allocation-api needs it";
            let endpoint = reader.required_endpoint("KUBECOST_URL", why)?;
            Some(QueryConfig::AllocationApi { endpoint })
        }
    }
}

fn tenant_label(reader: &mut Reader<'_>) -> Option<String> {
    let label = reader.text("TENANT_LABEL").unwrap_or_default();
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if label.starts_with(|c: char| c.is_ascii_digit()) || !label.chars().all(fits) {
        reader.error("TENANT_LABEL", &format!("'{label}' is no label name"));
    }
    (!label.is_empty()).then_some(label)
}

fn store(reader: &mut Reader<'_>, needs: Needs) -> Option<StoreConfig> {
    let store = reader.text("STORE").unwrap_or_default();
    if let Some(path) = store.strip_prefix("sqlite:") {
        if path.is_empty() {
            reader.error("STORE", "'sqlite:' names no file; an example: sqlite:costs.sqlite");
        }
        return Some(StoreConfig::Sqlite(PathBuf::from(path)));
    }
    if store != "cloudtuner" {
        reader.error("STORE", &format!("'{store}' is neither cloudtuner nor sqlite:PATH"));
        return None;
    }
    let why = "STORE=cloudtuner needs it";
    let mongo_url = mongo_url(reader, needs);
    let clickhouse = if needs == Needs::Accounts {
        Some(Endpoint::unused())
    } else {
        reader.required_endpoint("CLICKHOUSE_URL", why)
    };
    let config = CloudTunerConfig {
        mongo_url,
        mongo_database: reader.required_text("MONGO_DATABASE", why),
        resources_collection: collection(reader),
        clickhouse_database: reader.required_text("CLICKHOUSE_DATABASE", why),
        clickhouse_user: reader.required_text("CLICKHOUSE_USER", why),
        clickhouse_password: reader
            .secret("CLICKHOUSE_PASSWORD")
            .or_else(|| clickhouse.as_ref()?.credentials().map(|(_, password)| password.clone()))
            .unwrap_or_else(|| Secret::new("")),
        clickhouse: clickhouse?,
    };
    Some(StoreConfig::CloudTuner(Box::new(config)))
}

/// The collection that was named, unless it is to be found out.
fn collection(reader: &mut Reader<'_>) -> Option<String> {
    let name = reader.required_text("RESOURCES_COLLECTION", "STORE=cloudtuner needs it");
    (name != "auto").then_some(name)
}

fn mongo_url(reader: &mut Reader<'_>, needs: Needs) -> Secret {
    let accounts = reader.text("ACCOUNTS").unwrap_or_default();
    let in_mongo = accounts == "mongo" || (accounts == "auto" && rest(reader).is_none());
    if needs == Needs::Accounts && !in_mongo {
        return Secret::new("");
    }
    let url = reader.required_secret("MONGO_URL", "STORE=cloudtuner needs it");
    let text = url.expose();
    let fits = text.starts_with("mongodb://") || text.starts_with("mongodb+srv://");
    if !text.is_empty() && !fits {
        reader.error("MONGO_URL", "does not begin with mongodb:// or mongodb+srv://");
    } else if let (false, Err(form)) = (text.is_empty(), mongo::check_url(&url)) {
        reader.error("MONGO_URL", &format!("is no usable address: {form}"));
    }
    url
}

fn accounts(reader: &mut Reader<'_>, is_sqlite: bool, needs: Needs) -> Option<AccountsConfig> {
    if needs == Needs::Stores {
        return Some(AccountsConfig::List(Vec::new()));
    }
    let text = reader.text("ACCOUNTS").unwrap_or_default();
    match text.as_str() {
        "auto" if rest(reader).is_some() => rest(reader).map(AccountsConfig::Rest),
        "auto" | "mongo" if is_sqlite => {
            let what =
                format!("is '{text}', but STORE=sqlite has no MongoDB: give a comma list of ids");
            reader.error("ACCOUNTS", &what);
            None
        }
        "auto" => Some(AccountsConfig::Mongo { must_exist: true }),
        "mongo" => Some(AccountsConfig::Mongo { must_exist: false }),
        "rest" => {
            let why = "ACCOUNTS=rest needs it";
            let endpoint = reader.required_endpoint("REST_URL", why);
            let secret = reader.required_secret("CLUSTER_SECRET", why);
            Some(AccountsConfig::Rest(RestConfig { endpoint: endpoint?, secret }))
        }
        list => {
            let mut ids = Vec::new();
            for id in list.split(',').map(str::trim) {
                match AccountId::new(id) {
                    Ok(id) => ids.push(id),
                    Err(error) => reader.error("ACCOUNTS", &error.to_string()),
                }
            }
            Some(AccountsConfig::List(ids))
        }
    }
}

fn run(reader: &mut Reader<'_>) -> RunConfig {
    let seconds = Duration::from_secs;
    let phases = [("auto", None), ("1", Some(Phase::Raw)), ("2", Some(Phase::Exporter))];
    let catch_up_days = reader.number("CATCH_UP_DAYS", 1, 400);
    RunConfig {
        levels: levels(reader),
        phase: reader.choice("PHASE", &phases).flatten(),
        default_cluster: reader.text("DEFAULT_CLUSTER").unwrap_or_default(),
        lease: reader.duration("LEASE_SECONDS", seconds(10), seconds(3_600)),
        catch_up_days: u32::try_from(catch_up_days).unwrap_or(400),
        shrink_limit: reader.share("SHRINK_LIMIT"),
        gap_policy: reader
            .choice("GAP_POLICY", &[("none", GapPolicy::None), ("scale", GapPolicy::Scale)])
            .unwrap_or(GapPolicy::None),
        account_deadline: reader.duration("ACCOUNT_DEADLINE_SECONDS", seconds(5), seconds(86_400)),
    }
}

fn levels(reader: &mut Reader<'_>) -> Levels {
    let text = reader.text("LEVELS").unwrap_or_default();
    let mut levels = Levels { cluster: false, namespace: false, pod: false };
    for word in text.split(',').map(str::trim) {
        match word {
            "cluster" => levels.cluster = true,
            "namespace" => levels.namespace = true,
            "pod" => levels.pod = true,
            other => {
                let what = format!("'{other}' is no level: cluster, namespace or pod");
                reader.error("LEVELS", &what);
            }
        }
    }
    levels
}

/// Without a tenant label the server's costs cannot be told apart by account.
fn check_tenants(
    reader: &mut Reader<'_>,
    query: Option<&QueryConfig>,
    accounts: Option<&AccountsConfig>,
    needs: Needs,
) {
    if needs != Needs::Everything {
        return;
    }
    let one_tenant = query.is_some_and(QueryConfig::is_one_tenant);
    if let (true, Some(AccountsConfig::List(ids))) = (one_tenant, accounts)
        && ids.len() != 1
    {
        let what = format!(
            "names {} accounts, but a server of one tenant (TENANT_LABEL empty, or \
             QUERY_LAYER=allocation-api) serves exactly one",
            ids.len()
        );
        reader.error("ACCOUNTS", &what);
    }
}
