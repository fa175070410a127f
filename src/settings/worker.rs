//! The settings of `kubecost-worker`, command by command: a command cannot fail for a setting that
//! it does not use.

use std::time::Duration;

use crate::cost::Phase;

use super::currency::code;
use super::reader::{ReadSettings, Reader};
use super::run::{catch_up_days, fail_on, lease, phase};
use super::secret::Secret;
use super::serving::ServingSettings;
use super::tls::ClientTlsSettings;
use super::{metrics, resources, worker_names as names};

pub use super::accounts::{AccountSelection, AccountsConfig, Shard};
pub use super::auth::Auth;
pub use super::metrics::MetricsConfig;
pub use super::resources::{LabelTags, PoolOwner, ResourcesConfig, RestConfig};
pub use super::run::{FailOn, GapPolicy, LEASE_MIN, RunConfig};
pub use super::serving::Serving;
pub use super::source::QueryConfig;
pub use super::store::{CloudTunerConfig, MongoConfig, StoreConfig};
pub use super::verify::HopsConfig;
pub use super::worker_names::SETTINGS;

/// Read by every command: they count at every server.
pub const CLIENT_TLS: ClientTlsSettings = ClientTlsSettings {
    authorities: &[names::CA_FILE],
    certificate: names::CLIENT_CERT_FILE,
    key: names::CLIENT_KEY_FILE,
};

/// What reading, deciding and applying need: `plan` and `backfill`, and the greater part of `run`
/// and `schedule`.
#[derive(Clone, Debug)]
pub struct PipelineSettings {
    /// Where costs are read.
    pub query: QueryConfig,
    /// Which accounts.
    pub selection: AccountSelection,
    /// Where costs are kept.
    pub store: StoreConfig,
    /// CloudTuner's REST API, where it is configured.
    pub rest: Option<RestConfig>,
    /// How resource documents are made.
    pub resources: ResourcesConfig,
    /// How days are computed and protected.
    pub run: RunConfig,
}

/// What `run` needs.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// What reading, deciding and applying need.
    pub pipeline: PipelineSettings,
    /// Where the run's metrics go.
    pub metrics: MetricsConfig,
    /// Whether a failed account makes the run fail.
    pub fail_on: FailOn,
}

/// What `schedule` needs.
#[derive(Clone, Debug)]
pub struct ScheduleSettings {
    /// What reading, deciding and applying need.
    pub pipeline: PipelineSettings,
    /// Where metrics are served, if anywhere.
    pub metrics_serving: Option<Serving>,
    /// How those who read them authenticate.
    pub metrics_access: Auth,
    /// Whether a failed account makes a run fail.
    pub fail_on: FailOn,
}

/// What `serve` needs.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// What reading and deciding need.
    pub pipeline: PipelineSettings,
    /// Where it is served.
    pub serving: Serving,
    /// The header `Secret` of those who ask.
    pub secret: Secret,
    /// How long an answer is used again.
    pub cache: Duration,
    /// Whether those who ask add the ledger's rows by themselves.
    pub is_ledger_added: bool,
    /// The currency of all costs.
    pub currency: String,
    /// How those who read the metrics authenticate.
    pub metrics_access: Auth,
}

/// What `audit` needs.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// Which accounts.
    pub selection: AccountSelection,
    /// Where costs are kept.
    pub store: StoreConfig,
    /// How long a lease holds.
    pub lease: Duration,
    /// How many past days are looked after by runs.
    pub catch_up_days: u32,
    /// Pool and owner of documents by default, if set.
    pub owner: Option<PoolOwner>,
    /// CloudTuner's REST API, where it is configured.
    pub rest: Option<RestConfig>,
}

/// What `report` and `anomalies` need.
#[derive(Clone, Debug)]
pub struct ReportSettings {
    /// Which accounts.
    pub selection: AccountSelection,
    /// Where costs are kept.
    pub store: StoreConfig,
    /// The ledger's currency.
    pub currency: String,
}

/// What `recommend` needs.
#[derive(Clone, Debug)]
pub struct RecommendSettings {
    /// Where metrics are read.
    pub query: QueryConfig,
    /// Which accounts.
    pub selection: AccountSelection,
}

/// What `migrate` needs.
#[derive(Clone, Debug)]
pub struct MigrateSettings {
    /// Where costs are kept.
    pub store: StoreConfig,
}

/// What `accounts` needs.
#[derive(Clone, Debug)]
pub struct AccountsSettings {
    /// Which accounts.
    pub selection: AccountSelection,
}

/// What `accounts --disable-auto-import` needs.
#[derive(Clone, Debug)]
pub struct RestSettings {
    /// CloudTuner's REST API.
    pub rest: RestConfig,
}

/// What `verify` needs.
#[derive(Clone, Debug)]
pub struct VerifySettings {
    /// Where costs are read.
    pub query: QueryConfig,
    /// Which accounts.
    pub selection: AccountSelection,
    /// Where costs are kept.
    pub store: StoreConfig,
    /// The phase to use, if not chosen by what there is.
    pub phase: Option<Phase>,
    /// Hops beside those of a run.
    pub hops: HopsConfig,
}

/// Whether log lines are JSON. Every command has it, and logs before it has read the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Whether log lines are JSON.
    pub is_json: bool,
}

impl ReadSettings for LogSettings {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let is_json = reader.choice(names::LOG_FORMAT, &[("text", false), ("json", true)])?;
        Some(Self { is_json })
    }
}

/// Which accounts, of those that the query layer may hold.
fn selection(reader: &mut Reader<'_>, query: Option<&QueryConfig>) -> Option<AccountSelection> {
    AccountSelection::read(reader, query.is_some_and(QueryConfig::is_one_tenant))
}

impl ReadSettings for PipelineSettings {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let query = QueryConfig::read(reader);
        let store = StoreConfig::read(reader);
        let selection = selection(reader, query.as_ref());
        let rest = RestConfig::optional(reader);
        let resources = ResourcesConfig::read(reader);
        let run = RunConfig::read(reader);
        let log = LogSettings::read(reader);
        log?;
        Some(Self {
            query: query?,
            selection: selection?,
            store: store?,
            rest,
            resources: resources?,
            run: run?,
        })
    }
}

impl ReadSettings for RunSettings {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let pipeline = PipelineSettings::read(reader);
        let metrics = MetricsConfig::read(reader);
        let fail_on = fail_on(reader);
        Some(Self { pipeline: pipeline?, metrics: metrics?, fail_on: fail_on? })
    }
}

impl ReadSettings for ScheduleSettings {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let pipeline = PipelineSettings::read(reader);
        let metrics_serving = metrics::SERVING.read(reader);
        let metrics_access = metrics::ACCESS.read(reader);
        let fail_on = fail_on(reader);
        Some(Self {
            pipeline: pipeline?,
            metrics_serving: metrics_serving?,
            metrics_access: metrics_access?,
            fail_on: fail_on?,
        })
    }
}

const SERVE: ServingSettings = ServingSettings {
    address: names::SERVE_ADDR,
    example: "0.0.0.0:8969",
    certificate: names::SERVE_TLS_CERT_FILE,
    key: names::SERVE_TLS_KEY_FILE,
};

impl ReadSettings for ServeSettings {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let pipeline = PipelineSettings::read(reader);
        let serving = SERVE.required(reader);
        let why = "it is the header Secret of those who ask";
        let secret = reader.required_secret(names::CLUSTER_SECRET, why);
        let cache = reader.duration(names::SERVE_CACHE, Duration::ZERO, Duration::from_secs(600));
        let is_ledger_added = reader.flag(names::LEDGER_ADDED);
        let currency = code(reader, names::CURRENCY);
        let metrics_access = metrics::ACCESS.read(reader);
        Some(Self {
            pipeline: pipeline?,
            serving: serving?,
            secret: secret?,
            cache: cache?,
            is_ledger_added: is_ledger_added?,
            currency: currency?,
            metrics_access: metrics_access?,
        })
    }
}

impl ReadSettings for AuditSettings {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let store = StoreConfig::read(reader);
        let selection = AccountSelection::read(reader, false);
        let lease = lease(reader);
        let catch_up_days = catch_up_days(reader);
        let owner = resources::owner(reader);
        let rest = RestConfig::optional(reader);
        let log = LogSettings::read(reader);
        log?;
        Some(Self {
            selection: selection?,
            store: store?,
            lease: lease?,
            catch_up_days: catch_up_days?,
            owner,
            rest,
        })
    }
}

impl ReadSettings for ReportSettings {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let store = StoreConfig::read(reader);
        let selection = AccountSelection::read(reader, false);
        let currency = reader.required_text(names::CURRENCY, "costs are shown in it");
        let log = LogSettings::read(reader);
        log?;
        Some(Self { selection: selection?, store: store?, currency: currency? })
    }
}

impl ReadSettings for RecommendSettings {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let query = QueryConfig::read(reader);
        let selection = selection(reader, query.as_ref());
        let log = LogSettings::read(reader);
        log?;
        Some(Self { query: query?, selection: selection? })
    }
}

impl ReadSettings for MigrateSettings {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let store = StoreConfig::read(reader);
        let log = LogSettings::read(reader);
        log?;
        Some(Self { store: store? })
    }
}

impl ReadSettings for AccountsSettings {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let selection = AccountSelection::read(reader, false);
        let log = LogSettings::read(reader);
        log?;
        Some(Self { selection: selection? })
    }
}

impl ReadSettings for RestSettings {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let rest = RestConfig::required(reader, "--disable-auto-import needs it");
        let log = LogSettings::read(reader);
        log?;
        Some(Self { rest: rest? })
    }
}

impl ReadSettings for VerifySettings {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let query = QueryConfig::read(reader);
        let store = StoreConfig::read(reader);
        let selection = selection(reader, query.as_ref());
        let phase = phase(reader);
        let hops = HopsConfig::read(reader);
        let log = LogSettings::read(reader);
        log?;
        Some(Self {
            query: query?,
            selection: selection?,
            store: store?,
            phase: phase?,
            hops: hops?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::RawSettings;

    fn read<S: ReadSettings>(pairs: &[(&str, &str)]) -> Result<S, String> {
        S::validate(RawSettings::of(SETTINGS, pairs)).map_err(|errors| errors.to_string())
    }

    const STORES: [(&str, &str); 2] =
        [("MONGO_URL", "mongodb://m/"), ("CLICKHOUSE_URL", "http://c:8123")];

    #[test]
    fn no_command_fails_for_a_setting_that_it_does_not_use() {
        let noise = [
            ("EXPORTER_URL", "nowhere"),
            ("METRICS_ADDR", "9091"),
            ("METRICS_PUSHGATEWAY_URL", "gateway:9091"),
            ("PROMETHEUS_URL", "nowhere"),
            ("SHRINK_LIMIT", "20%"),
        ];
        let pairs = [&STORES[..], &noise].concat();
        read::<MigrateSettings>(&pairs).unwrap();
        read::<AuditSettings>(&pairs).unwrap();
        read::<AccountsSettings>(&[&STORES[..1], &noise].concat()).unwrap();
        let error = read::<RunSettings>(&pairs).unwrap_err();
        let named = ["PROMETHEUS_URL: ", "SHRINK_LIMIT: ", "METRICS_PUSHGATEWAY_URL: "];
        assert!(named.iter().all(|name| error.contains(name)), "{error}");
        assert!(!error.contains("EXPORTER_URL") && !error.contains("METRICS_ADDR"), "{error}");
    }

    #[test]
    fn accounts_of_a_list_need_no_server() {
        let settings = read::<AccountsSettings>(&[("ACCOUNTS", "a, b")]).unwrap();
        assert!(matches!(settings.selection.accounts, AccountsConfig::List(ids) if ids.len() == 2));
        let error = read::<AccountsSettings>(&[("ACCOUNTS", "mongo")]).unwrap_err();
        assert!(error.starts_with("MONGO_URL: is not set"), "{error}");
    }

    #[test]
    fn a_setting_that_two_parts_read_is_named_once() {
        let error = read::<RunSettings>(&[("ACCOUNTS", "rest"), ("REST_URL", "nowhere")]);
        let error = error.unwrap_err();
        assert_eq!(error.matches("REST_URL: ").count(), 1, "{error}");
        let error = read::<RunSettings>(&[]).unwrap_err();
        assert_eq!(error.matches("MONGO_URL: ").count(), 1, "{error}");
    }

    #[test]
    fn nothing_switches_off() {
        let pairs = [("PROMETHEUS_URL", "http://p:9090"), ("ACCOUNTS", "a"), STORES[0], STORES[1]];
        let schedule = read::<ScheduleSettings>(&pairs).unwrap();
        let address = schedule.metrics_serving.unwrap().address;
        assert_eq!(address, std::net::SocketAddr::from(([0, 0, 0, 0], 19_090)));
        let off = [&pairs[..], &[("METRICS_ADDR", "")]].concat();
        assert!(read::<ScheduleSettings>(&off).unwrap().metrics_serving.is_none());
        let off =
            [&pairs[..], &[("METRICS_TEXTFILE", ""), ("METRICS_PUSHGATEWAY_URL", "")]].concat();
        let metrics = read::<RunSettings>(&off).unwrap().metrics;
        assert!(metrics.textfile.is_none() && metrics.pushgateway.is_none());
        let off = [&pairs[..], &[("EXPORTER_URL", "")]].concat();
        let hops = read::<VerifySettings>(&off).unwrap().hops;
        assert!(hops.exporter.is_none() && hops.diproxy.is_none());
    }

    #[test]
    fn what_is_no_address_is_named() {
        let schedule = read::<ScheduleSettings>(&[("METRICS_ADDR", "9091")]).unwrap_err();
        assert!(schedule.contains("METRICS_ADDR: '9091'"), "{schedule}");
        let verify = read::<VerifySettings>(&[("DIPROXY_USER", "u")]).unwrap_err();
        assert!(verify.contains("DIPROXY_PASSWORD: is not set, but DIPROXY_USER is"), "{verify}");
    }
}
