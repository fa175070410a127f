//! The newcomer's first minute: the whole job over recorded input, without any server.
//!
//! Replies of a real OpenCost (`fixtures/opencost-run`) are served over HTTP on loopback and read
//! by the same query layer, rolled up by the same core and stored through the same traits as in
//! earnest, in a SQLite file. A second account is derived from the first.

use std::path::Path;
use std::sync::Arc;

use crate::account_writer::Writers;
use crate::accounts::{Account, AccountList};
use crate::allocation_api::client::{AllocationClient, ClientOptions};
use crate::cost::{AccountId, Day, Levels};
use crate::day_status::sqlite::SqliteDayStatus;
use crate::documents::sqlite::SqliteResources;
use crate::explain::{Asked, ExplainStores, Explanation, Layer, Wanted, explain};
use crate::lease::sqlite::SqliteLeases;
use crate::ledger::sqlite::SqliteLedger;
use crate::ledger::{LedgerReader, ReadBack};
use crate::report;
use crate::report::anomalies::{Limits, of_report};
use crate::report::build::Shown;
use crate::report::html::PageExtras;
use crate::run::rest::RestApi;
use crate::run::{Environment, Readers, RunRequest, RunSummary, Stop, run};
use crate::service::clock::FixedClock;
use crate::service::failure::{Failure, Hop, Kind, REPORT};
use crate::settings::Endpoint;
use crate::settings::parallel::ParallelConfig;
use crate::settings::worker::{Auth, GapPolicy, LabelTags, ResourcesConfig, RunConfig};
use crate::source::allocation_api::AllocationApiQuery;
use crate::stores::sqlite::SqliteStore;

pub mod server;

/// The account whose costs were recorded.
pub const RECORDED_ACCOUNT: &str = "demo-production";
/// The account derived from it: the same cluster at half the price.
pub const DERIVED_ACCOUNT: &str = "demo-staging";
/// The namespace whose number is explained.
const EXPLAINED_NAMESPACE: &str = "shop-backend";
/// When the demo takes place: shortly after the recorded days. 2026-11-21 04:10 UTC.
const NOW_SECONDS: i64 = 1_795_234_200;

/// A name and what it costs on a day.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct DemoLine {
    /// The account.
    pub account: String,
    /// The day.
    pub day: Day,
    /// The namespace; `None` for what the cluster costs beside its namespaces.
    pub namespace: Option<String>,
    /// USD, as stored.
    pub usd: f64,
}

/// What the demo shows.
#[derive(Clone, Debug, serde::Serialize)]
pub struct DemoReport {
    /// What is stored, by account, day and namespace.
    pub lines: Vec<DemoLine>,
    /// What the source says, USD, over all accounts and days.
    pub source_total_usd: f64,
    /// Rows and documents that the first run wrote.
    pub first_run: (u64, u64),
    /// Rows and documents that the second run wrote: none.
    pub second_run: (u64, u64),
    /// Why one of the numbers is what it is.
    pub explained: Explanation,
    /// The report of all days as HTML.
    #[serde(skip)]
    pub page: String,
}

/// Does the job twice in the SQLite file at `path` and reads back what is stored.
///
/// # Errors
/// When the file cannot be used, or a run fails.
pub async fn demonstrate(path: &Path) -> Result<DemoReport, Failure> {
    let store = SqliteStore::open(path).await?;
    let mut first = Vec::new();
    let mut second = Vec::new();
    let mut explained = None;
    for (account, factor) in [(RECORDED_ACCOUNT, 1.0), (DERIVED_ACCOUNT, 0.5)] {
        let server = server::RecordedServer::start(factor).await?;
        let environment = environment(&store, account, &server)?;
        first.push(once(&environment).await?);
        second.push(once(&environment).await?);
        if account == RECORDED_ACCOUNT {
            explained = Some(explanation(&store, &environment.readers).await?);
        }
    }
    let internal = |what: &str| Failure::new(Hop::Worker, Kind::Internal, what, REPORT);
    let explained = explained.ok_or_else(|| internal("the demo has explained no number"))?;
    let written = |runs: &[RunSummary]| {
        let rows = runs.iter().map(|run| run.rows_written).sum();
        (rows, runs.iter().map(|run| run.documents_written).sum())
    };
    let days = || first.iter().flat_map(|run| &run.accounts).flat_map(|account| &account.days);
    Ok(DemoReport {
        lines: stored(&SqliteLedger::new(store.clone())).await?,
        source_total_usd: days().map(|day| day.source_total_usd).sum(),
        first_run: written(&first),
        second_run: written(&second),
        explained,
        page: page(&store).await?,
    })
}

/// Why the demo's namespace costs what it costs.
async fn explanation(store: &SqliteStore, readers: &Readers) -> Result<Explanation, Failure> {
    let stores = ExplainStores {
        ledger: readers.ledger.as_ref(),
        names: &SqliteResources::new(store.clone()),
        status: readers.status.as_ref(),
        source: readers.source.as_ref(),
        settings: &readers.settings,
    };
    let wanted =
        Wanted::Names { cluster: None, namespace: Some(EXPLAINED_NAMESPACE.to_owned()), pod: None };
    let (_, day) = demo_days()?;
    let account = account(RECORDED_ACCOUNT)?;
    let asked = Asked::of_layer(Layer::AllocationApi, account.id.clone(), (day, NOW_SECONDS));
    explain(&stores, &account, (day, &wanted), NOW_SECONDS, (asked, None)).await
}

/// The report of both accounts as HTML.
async fn page(store: &SqliteStore) -> Result<String, Failure> {
    let (ledger, names, status) = (
        SqliteLedger::new(store.clone()),
        SqliteResources::new(store.clone()),
        SqliteDayStatus::new(store.clone()),
    );
    let stores = report::ReportStores { ledger: &ledger, names: &names, status: &status };
    let scope = report::Scope {
        by: report::By::Namespace,
        days: demo_days()?,
        accounts: vec![account(RECORDED_ACCOUNT)?, account(DERIVED_ACCOUNT)?],
    };
    let sums = report::read(&stores, &scope, Day::of_unix(NOW_SECONDS)).await?;
    let shown = Shown { top: None, made_at: NOW_SECONDS, currency: "USD".to_owned() };
    let report = report::build(sums, shown);
    let odd = of_report(&report, Limits::default());
    report::html::render(&report, PageExtras { anomalies: &odd, savings: &[] }).map_err(|error| {
        Failure::new(Hop::Worker, Kind::Internal, format!("the HTML report: {error}"), REPORT)
    })
}

fn demo_days() -> Result<(Day, Day), Failure> {
    let bad = |error| Failure::new(Hop::Worker, Kind::Internal, format!("{error}"), REPORT);
    Ok((server::FIRST_DAY.parse().map_err(bad)?, server::LAST_DAY.parse().map_err(bad)?))
}

fn account(id: &str) -> Result<Account, Failure> {
    let id = AccountId::new(id)
        .map_err(|error| Failure::new(Hop::Worker, Kind::Internal, error.to_string(), REPORT))?;
    Ok(Account::unnamed(id))
}

fn environment(
    store: &SqliteStore,
    id: &str,
    server: &server::RecordedServer,
) -> Result<Environment, Failure> {
    let endpoint = Endpoint::parse(&server.url)
        .map_err(|error| Failure::new(Hop::Worker, Kind::Internal, error, REPORT))?;
    let client = AllocationClient::new(endpoint, ClientOptions::for_days(Auth::None))?;
    let seconds = std::time::Duration::from_secs;
    let documents = Arc::new(SqliteResources::new(store.clone()));
    let ledger = Arc::new(SqliteLedger::new(store.clone()));
    let status = Arc::new(SqliteDayStatus::new(store.clone()));
    let readers = Readers {
        accounts: Arc::new(AccountList::new(vec![account(id)?.id])),
        source: Arc::new(AllocationApiQuery::new(
            client,
            "test-cluster".to_owned(),
            false,
            "USD".to_owned(),
        )),
        documents: documents.clone(),
        ledger: ledger.clone(),
        status: status.clone(),
        rest: RestApi::default(),
        clock: Arc::new(FixedClock::at(NOW_SECONDS)),
        settings: RunConfig {
            levels: Levels::DEFAULT,
            phase: None,
            default_cluster: "test-cluster".to_owned(),
            lease: seconds(120),
            catch_up_days: 35,
            shrink_limit: 0.2,
            gap_policy: GapPolicy::None,
            today_refresh: seconds(3_600),
            account_deadline: seconds(120),
            limits: crate::cost::Limits::default(),
            parallel: ParallelConfig::default(),
        },
        resource_settings: ResourcesConfig {
            label_tags: LabelTags::Off,
            by_rest: false,
            owner: None,
            seen_interval: seconds(1_800),
            status_interval: seconds(900),
        },
    };
    let writers = Writers {
        documents,
        ledger,
        status,
        leases: Arc::new(SqliteLeases::new(store.clone())),
        lease_length: seconds(120),
        read_back: ReadBack::DEFAULT,
    };
    Ok(Environment { readers, writers })
}

async fn once(environment: &Environment) -> Result<RunSummary, Failure> {
    let request = RunRequest { days: Some(demo_days()?), ..RunRequest::default() };
    let summary = run(environment, &request, &Stop::default()).await;
    let failed = summary.accounts.iter().find_map(|account| account.failure.as_ref());
    match summary.failure.as_ref().or(failed) {
        None => Ok(summary),
        Some(failure) => {
            let what = format!("{}: {}", failure.hop, failure.what);
            Err(Failure::new(Hop::Worker, Kind::Internal, what, failure.fix.clone()))
        }
    }
}

async fn stored(ledger: &SqliteLedger) -> Result<Vec<DemoLine>, Failure> {
    let (first, last) = demo_days()?;
    let mut lines = Vec::new();
    for id in [RECORDED_ACCOUNT, DERIVED_ACCOUNT] {
        for day in first.through(last) {
            let mut states = ledger.states(&account(id)?.id, day).await?;
            states.sort_by(|a, b| a.dimensions.cmp(&b.dimensions));
            lines.extend(states.into_iter().map(|state| DemoLine {
                account: id.to_owned(),
                day,
                namespace: state.dimensions.namespace,
                usd: state.cost_usd,
            }));
        }
    }
    Ok(lines)
}
