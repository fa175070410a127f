//! A worker over stores in memory, and `serve` in front of them.

use std::sync::Arc;
use std::time::Duration;

use kubecost_worker::account_writer::Writers;
use kubecost_worker::accounts::AccountList;
use kubecost_worker::cost::{AccountId, Day, Levels};
use kubecost_worker::day_status::DayStatusReader;
use kubecost_worker::day_status::memory::MemoryDayStatus;
use kubecost_worker::documents::memory::MemoryResources;
use kubecost_worker::lease::memory::MemoryLeases;
use kubecost_worker::ledger::memory::{MemoryLedger, StoredRow};
use kubecost_worker::ledger::{Dimensions, ReadBack};
use kubecost_worker::run::rest::RestApi;
use kubecost_worker::run::{Environment, Readers, RunRequest, Stop, run};
use kubecost_worker::serve::{Answers, Gatherer, Pages, Savings, router};
use kubecost_worker::service::access::{Access, ExpectedSecret};
use kubecost_worker::service::clock::FixedClock;
use kubecost_worker::service::failure::Hop;
use kubecost_worker::service::server::Server;
use kubecost_worker::settings::worker::{
    GapPolicy, LabelTags, ResourcesConfig, RunConfig, Serving,
};
use kubecost_worker::settings::worker_names::SERVE_ADDR;

use crate::client::{RestReader, SECRET};
use crate::source::Source;

pub(crate) struct World {
    pub(crate) source: Arc<Source>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) ledger: Arc<MemoryLedger>,
    environment: Environment,
}

fn settings(levels: Levels) -> RunConfig {
    RunConfig {
        levels,
        phase: None,
        default_cluster: "prod".to_owned(),
        lease: Duration::from_secs(120),
        catch_up_days: 35,
        shrink_limit: 0.2,
        gap_policy: GapPolicy::None,
        today_refresh: Duration::from_secs(3_600),
        account_deadline: Duration::from_secs(600),
        limits: kubecost_worker::cost::Limits::default(),
        parallel: kubecost_worker::settings::parallel::ParallelConfig::default(),
    }
}

impl World {
    pub(crate) fn new(accounts: &[&str], now_seconds: i64) -> Self {
        let levels = Levels { has_parts: true, ..Levels::DEFAULT };
        Self::with_levels(accounts, now_seconds, levels)
    }

    /// The same, with these `LEVELS`.
    pub(crate) fn with_levels(accounts: &[&str], now_seconds: i64, levels: Levels) -> Self {
        kubecost_worker::service::http::install_tls();
        let ids = accounts.iter().map(|id| AccountId::new(*id).unwrap()).collect();
        let clock = Arc::new(FixedClock::at(now_seconds));
        let (source, ledger) = (Arc::new(Source::default()), Arc::new(MemoryLedger::default()));
        let documents = Arc::new(MemoryResources::default());
        let status = Arc::new(MemoryDayStatus::default());
        let readers = Readers {
            accounts: Arc::new(AccountList::new(ids)),
            source: source.clone(),
            documents: documents.clone(),
            ledger: ledger.clone(),
            status: status.clone(),
            rest: RestApi::default(),
            clock: clock.clone(),
            settings: settings(levels),
            resource_settings: ResourcesConfig {
                label_tags: LabelTags::Off,
                by_rest: false,
                owner: None,
                seen_interval: Duration::from_secs(1_800),
                status_interval: Duration::from_secs(900),
            },
        };
        let writers = Writers {
            documents,
            ledger: ledger.clone(),
            status,
            leases: Arc::new(MemoryLeases::new(clock.clone())),
            lease_length: Duration::from_secs(120),
            read_back: ReadBack::DEFAULT,
        };
        Self { source, clock, ledger, environment: Environment { readers, writers } }
    }

    /// A run over days; forced, where a reason is given.
    pub(crate) async fn run(&self, days: (Day, Day), force_reason: Option<&str>) {
        let force_reason = force_reason.map(str::to_owned);
        let request = RunRequest { days: Some(days), force_reason, ..RunRequest::default() };
        let summary = run(&self.environment, &request, &Stop::default()).await;
        assert!(summary.failure.is_none(), "{summary:?}");
    }

    /// The pages of `serve`.
    pub(crate) fn pages(&self, cache: Duration, is_ledger_added: bool) -> Pages {
        let gatherer = Gatherer::new(self.environment.readers.clone(), cache);
        let currency = "USD".to_owned();
        let answers = Answers::new(gatherer, Savings::none(), cache, currency, is_ledger_added);
        Pages::new(answers, ExpectedSecret::new(SECRET), Access::Open)
    }

    /// `serve` on loopback, and its reader.
    pub(crate) async fn serve(&self, cache: Duration, is_ledger_added: bool) -> RestReader {
        Self::serve_pages(self.pages(cache, is_ledger_added)).await
    }

    /// The same of pages that are there.
    pub(crate) async fn serve_pages(pages: Pages) -> RestReader {
        let address = "127.0.0.1:0".parse().unwrap();
        let serving = Serving { address, address_setting: SERVE_ADDR, tls: None };
        let server = Server::bind(&serving, Hop::Worker).await.unwrap();
        let url = server.url();
        tokio::spawn(server.run(router(pages), std::future::pending()));
        RestReader::new(&url)
    }

    /// `serve` on loopback that reads day status by way of what `change` makes of its store.
    pub(crate) async fn serve_with_status(
        &self,
        change: impl FnOnce(Arc<dyn DayStatusReader>) -> Arc<dyn DayStatusReader>,
    ) -> RestReader {
        let mut readers = self.environment.readers.clone();
        readers.status = change(readers.status);
        let gatherer = Gatherer::new(readers, Duration::ZERO);
        let savings = Savings::none();
        let answers = Answers::new(gatherer, savings, Duration::ZERO, "USD".to_owned(), false);
        let pages = Pages::new(answers, ExpectedSecret::new(SECRET), Access::Open);
        Self::serve_pages(pages).await
    }

    /// Adds each row of a day once more, or takes it away where `sign` is -1.
    pub(crate) fn repeat_rows(&self, account: &str, day: Day, sign: i8) {
        let rows = self.ledger.rows().into_iter();
        let of_day = rows.filter(|row| row.account.as_str() == account);
        for row in of_day.filter(|row| row.date_seconds == day.start_seconds()) {
            self.ledger.insert_raw(StoredRow { sign: row.sign * sign, ..row });
        }
    }

    /// Adds a row as another program would.
    pub(crate) fn insert_other(&self, account: &str, day: Day, cost_usd: f64) {
        self.insert_other_at(account, day.start_seconds(), cost_usd);
    }

    /// The same at any time of a day, Unix seconds.
    pub(crate) fn insert_other_at(&self, account: &str, date_seconds: i64, cost_usd: f64) {
        self.ledger.insert_raw(StoredRow {
            account: AccountId::new(account).unwrap(),
            resource_id: "a-row-of-another-program".to_owned(),
            date_seconds,
            cost_usd,
            sign: 1,
            dimensions: Dimensions { namespace: Some("shop".to_owned()), ..Dimensions::default() },
        });
    }

    /// What the ledger's readers add up: rows whose date lies in `start..=end`.
    pub(crate) fn stored(&self, account: &str, (start, end): (i64, i64)) -> f64 {
        self.rows(account, (start, end), |_| true)
    }

    /// The same, of one namespace.
    pub(crate) fn stored_of(&self, account: &str, span: (i64, i64), namespace: &str) -> f64 {
        self.rows(account, span, |row| row == Some(namespace))
    }

    fn rows(
        &self,
        account: &str,
        (start, end): (i64, i64),
        keeps: impl Fn(Option<&str>) -> bool,
    ) -> f64 {
        let rows = self.ledger.rows().into_iter();
        rows.filter(|row| row.account.as_str() == account)
            .filter(|row| (start..=end).contains(&row.date_seconds))
            .filter(|row| keeps(row.dimensions.namespace.as_deref()))
            .map(|row| row.cost_usd * f64::from(row.sign))
            .sum()
    }
}
