//! The walk: probes of independent servers at once, judgements in the order of the hops.

use reqwest::Client;

use crate::cost::{AccountId, Day};
use crate::documents::collection;
use crate::service::clock::{Clock, SystemClock};
use crate::service::failure::Failure;
use crate::settings::headers::RequestHeaders;
use crate::settings::worker::{AccountsConfig, QueryConfig, StoreConfig, VerifySettings};
use crate::source::Phase;

use super::finding::{Check, HopFinding, HopState};
use super::http::{self, PromServer, timed, within};
use super::judge_query::{self, TenantFacts, TenantQuestion, WindowFacts};
use super::judge_reader::{self, Tried};
use super::judge_rest::{self, Question};
use super::judge_source::{self, TargetFacts, likely_cause};
use super::judge_stores::RowFacts;
use super::probe_rest::RestProbe;
use super::{judge_documents, judge_stores};
use super::{probe_query, probe_source, probe_stores};

/// The hops of one account, from the exporter to the REST API.
pub(super) struct AccountCheck<'a> {
    pub(super) config: &'a VerifySettings,
    /// The account, if any is known.
    pub(super) account: Option<&'a AccountId>,
    /// Whether the customer's settings can only be this account's.
    pub(super) is_alone: bool,
    /// Ids of all accounts, as far as they could be listed.
    pub(super) known: &'a [String],
    /// Why the accounts could not be listed, if they could not.
    pub(super) listing: Option<&'a Failure>,
    /// Now, or the time of `--at`.
    pub(super) now_seconds: i64,
}

/// A value and the milliseconds that it took.
type Timed<T> = (T, u64);

/// What the query layer text of an account: its id there, its samples, its windows.
type OfAccount = (String, Timed<Result<TenantFacts, Failure>>, Timed<Result<WindowFacts, Failure>>);

struct QueryAnswers {
    reachable: Timed<Result<http::InstantResult, Failure>>,
    rest: Option<OfAccount>,
}

const NO_ACCOUNT: &str = "no account is known: give --account ID";
const NOT_ALONE: &str = "the customer's hops are one account's: give --account ID";

impl AccountCheck<'_> {
    pub(super) async fn hops(&self) -> Vec<Check> {
        let client = match http::client() {
            Ok(client) => client,
            Err(failure) => {
                let finding = HopFinding::failed(&failure, "this machine's TLS cannot be used");
                return vec![finding.at("worker", 0)];
            }
        };
        let (source, query, metroculus, stores, rest) = tokio::join!(
            self.ask_source(&client),
            self.ask_query(&client),
            timed(self.ask_metroculus()),
            self.ask_stores(),
            self.ask_rest(&client)
        );
        let (mut checks, target) = source;
        let (of_query, phase) = self.judge_query(query, target.as_ref());
        checks.extend(of_query);
        let finding = metroculus.0.map_or_else(|f| f, |n| judge_query::metroculus(&n, phase));
        checks.push(finding.at("metroculus", metroculus.1));
        let (stores, ledger_usd) = stores;
        checks.extend(stores);
        checks.extend(Self::judge_rest(rest, ledger_usd));
        for check in &mut checks {
            check.account = self.account.map(ToString::to_string);
        }
        checks
    }

    fn id(&self) -> Option<&str> {
        self.account.map(AccountId::as_str)
    }

    /// The customer's cluster, and diproxy.
    async fn ask_source(&self, client: &Client) -> (Vec<Check>, Option<TargetFacts>) {
        let hops = &self.config.hops;
        let now = self.now_seconds;
        let is_of_others = !self.is_alone;
        let exporter = async {
            match &hops.exporter {
                None => HopFinding::not_configured("EXPORTER_URL"),
                Some(_) if is_of_others => HopFinding::skipped(NOT_ALONE),
                Some(endpoint) => {
                    let asked = probe_source::exporter(client, endpoint).await;
                    judge_source::exporter(&asked, self.id(), now)
                }
            }
        };
        let prometheus = async {
            let Some((endpoint, auth)) = &hops.source else {
                let finding = || HopFinding::not_configured("SOURCE_PROMETHEUS_URL");
                return (finding(), finding(), None);
            };
            if is_of_others {
                return (HopFinding::skipped(NOT_ALONE), HopFinding::skipped(NOT_ALONE), None);
            }
            let headers = &RequestHeaders::default();
            let prom =
                PromServer { client, endpoint, auth, headers, settings: "SOURCE_PROMETHEUS" };
            let (target, write) = tokio::join!(
                probe_source::target(prom, now),
                probe_source::remote_write(prom, now)
            );
            let findings =
                (judge_source::target(&target, self.id()), judge_source::remote_write(&write));
            (findings.0, findings.1, target.ok())
        };
        let diproxy = async {
            match (&hops.diproxy, self.id()) {
                (None, _) => HopFinding::not_configured("DIPROXY_URL"),
                (Some(_), _) if is_of_others => HopFinding::skipped(NOT_ALONE),
                (Some(_), None) => HopFinding::skipped(NO_ACCOUNT),
                (Some((endpoint, auth)), Some(id)) => {
                    let asked = probe_source::diproxy(client, (endpoint, auth), id).await;
                    judge_source::diproxy(&asked)
                }
            }
        };
        let (exporter, prometheus, diproxy) =
            tokio::join!(timed(exporter), timed(prometheus), timed(diproxy));
        let ((target, write, facts), milliseconds) = prometheus;
        let checks = vec![
            exporter.0.at("exporter", exporter.1),
            target.at("target", milliseconds),
            write.at("remote-write", milliseconds),
            diproxy.0.at("diproxy", diproxy.1),
        ];
        (checks, facts)
    }

    /// What the query layer answers; `None` where it is none that is asked by PromQL.
    async fn ask_query(&self, client: &Client) -> Option<QueryAnswers> {
        let QueryConfig::Prometheus { endpoint, auth, headers, tenant_label, .. } =
            &self.config.query
        else {
            return None;
        };
        let headers = &headers.for_account(self.id().unwrap_or_default());
        let prom = PromServer { client, endpoint, auth, headers, settings: "PROMETHEUS" };
        let (label, now) = (tenant_label.as_deref(), self.now_seconds);
        let reachable = timed(probe_query::reachable(prom, now)).await;
        let account = match (&reachable.0, self.account) {
            (Ok(_), Some(account)) => account.as_str(),
            _ => return Some(QueryAnswers { reachable, rest: None }),
        };
        let (tenants, windows) = tokio::join!(
            timed(probe_query::tenants(prom, label, account, now)),
            timed(probe_query::windows(prom, label, account, now))
        );
        // Without a tenant label all series are the one account's.
        let id = label.map_or(String::new(), |_| account.to_owned());
        Some(QueryAnswers { reachable, rest: Some((id, tenants, windows)) })
    }

    fn judge_query(
        &self,
        answers: Option<QueryAnswers>,
        source: Option<&TargetFacts>,
    ) -> (Vec<Check>, Option<Phase>) {
        let now_seconds = self.now_seconds;
        let Some(QueryAnswers { reachable, rest }) = answers else {
            let why = "QUERY_LAYER is not prometheus";
            return (skipped(&["query-layer", "tenant", "lag"], why), None);
        };
        let finding = judge_query::reachable(&reachable.0, SystemClock.now_seconds());
        let mut checks = vec![finding.at("query-layer", reachable.1)];
        let Some((id, tenants, windows)) = rest else {
            let is_down = reachable.0.is_err();
            let why = if is_down { "query-layer is broken" } else { NO_ACCOUNT };
            checks.extend(skipped(&["tenant", "lag"], why));
            return (checks, None);
        };
        let phase = tenants.0.as_ref().ok().and_then(|facts| facts.newest(&id, now_seconds));
        let phase = phase.map(|(phase, _)| phase);
        let (forced, known) = (self.config.phase, self.known);
        let question = TenantQuestion { account: &id, known, forced, source, now_seconds };
        checks.push(judge_query::tenant(&tenants.0, question).at("tenant", tenants.1));
        checks.push(judge_query::lag(&windows.0, phase, now_seconds).at("lag", windows.1));
        (checks, phase)
    }

    /// What Metroculus answers, or why it is not asked.
    async fn ask_metroculus(&self) -> Result<Result<usize, Failure>, HopFinding> {
        let hops = &self.config.hops;
        match (&hops.metroculus, &hops.secret, self.account) {
            (None, ..) => Err(HopFinding::not_configured("METROCULUS_URL")),
            (_, None, _) => Err(HopFinding::not_configured("CLUSTER_SECRET")),
            (_, _, None) => Err(HopFinding::skipped(NO_ACCOUNT)),
            (Some(endpoint), Some(secret), Some(account)) => {
                Ok(probe_query::metroculus(endpoint, secret, account, self.now_seconds).await)
            }
        }
    }

    /// MongoDB and ClickHouse, and what the ledger has of yesterday and today, USD.
    async fn ask_stores(&self) -> (Vec<Check>, Option<f64>) {
        const HOPS: [&str; 6] = ["mongodb", "account", "index", "documents", "clickhouse", "rows"];
        let StoreConfig::CloudTuner(config) = &self.config.store else {
            let absent = || HopFinding::not_configured("STORE=sqlite: MONGO_URL");
            return (HOPS.map(|hop| absent().at(hop, 0)).to_vec(), None);
        };
        let connected = async {
            let database = probe_stores::connect(config).await?;
            let time = probe_stores::mongodb(&database).await?;
            Ok((database, time))
        };
        let ((connected, mongo_ms), (schema, schema_ms)) =
            tokio::join!(timed(connected), timed(probe_stores::schema(config)));
        let time = connected.as_ref().map(|(_, time)| *time).map_err(Clone::clone);
        let system_seconds = SystemClock.now_seconds();
        let mut checks = vec![judge_stores::mongodb(&time, system_seconds).at("mongodb", mongo_ms)];
        let clickhouse = judge_stores::works(&schema, "expenses has the columns that are needed")
            .at("clickhouse", schema_ms);
        let Ok((database, _)) = &connected else {
            checks.extend(skipped(&HOPS[1..4], "mongodb is broken"));
            checks.push(clickhouse);
            checks.extend(skipped(&HOPS[5..], "mongodb is broken"));
            return (checks, None);
        };
        let chosen = within(
            "looking for the collection of resources",
            collection::choose(database, config.resources_collection.as_deref()),
        );
        let resources = match chosen.await {
            Ok(name) => name,
            Err(failure) => {
                let finding = HopFinding::failed(&failure, likely_cause(&failure));
                checks.push(
                    HopFinding::skipped("the collection of resources is not known").at(HOPS[1], 0),
                );
                checks.push(finding.at(HOPS[2], 0));
                checks.extend(skipped(&HOPS[3..4], "the collection of resources is not known"));
                checks.push(clickhouse);
                checks.extend(skipped(&HOPS[5..], "the collection of resources is not known"));
                return (checks, None);
            }
        };
        let rows = async {
            match self.account {
                _ if clickhouse.state == HopState::Broken => {
                    (HopFinding::skipped("clickhouse is broken"), None)
                }
                None => (HopFinding::skipped(NO_ACCOUNT), None),
                Some(account) => {
                    let asked =
                        probe_stores::rows(config, database, &resources, account, self.now_seconds);
                    let facts = asked.await;
                    let usd = facts.as_ref().ok().map(RowFacts::total_usd);
                    (judge_stores::rows(&facts, self.now_seconds), usd)
                }
            }
        };
        let (documents, ((rows, usd), rows_ms)) =
            tokio::join!(self.ask_account(database, &resources), timed(rows));
        checks.extend(documents);
        checks.push(clickhouse);
        checks.push(rows.at("rows", rows_ms));
        (checks, usd)
    }

    /// The account and its documents.
    async fn ask_account(&self, database: &mongodb::Database, collection: &str) -> Vec<Check> {
        let account = async {
            match (&self.config.selection.accounts, self.account, self.listing) {
                (AccountsConfig::Mongo { .. }, Some(id), _) => {
                    judge_stores::account(&probe_stores::account(database, id).await)
                }
                (_, Some(_), _) => HopFinding::skipped("ACCOUNTS does not say mongo"),
                (_, None, Some(failure)) => {
                    HopFinding::failed(failure, judge_source::likely_cause(failure))
                }
                (_, None, None) => HopFinding::broken(
                    "there is no account",
                    "no live cloud account of type kubernetes_cnr exists",
                    "create one in CloudTuner, or set ACCOUNTS",
                ),
            }
        };
        let documents = async {
            let Some(id) = self.account else { return HopFinding::skipped(NO_ACCOUNT) };
            let today = Day::of_unix(self.now_seconds);
            let asked = probe_stores::documents(database, collection, id, today).await;
            judge_documents::documents(&asked)
        };
        let index = probe_stores::index(database, collection);
        let (account, index, documents) =
            tokio::join!(timed(account), timed(index), timed(documents));
        let is_there = judge_stores::works(&index.0, "the unique index is there");
        vec![
            account.0.at("account", account.1),
            is_there.at("index", index.1),
            documents.0.at("documents", documents.1),
        ]
    }

    /// What the UI would get.
    async fn ask_rest(&self, client: &Client) -> RestAnswers {
        let hops = &self.config.hops;
        let stopped = |checks| RestAnswers { checks, expenses: None };
        let (endpoint, account) = match (&hops.rest, self.account) {
            (None, _) => {
                let absent = |hop| HopFinding::not_configured("REST_URL").at(hop, 0);
                return stopped(REST_HOPS.map(absent).to_vec());
            }
            (Some(_), None) => return stopped(skipped(&REST_HOPS, NO_ACCOUNT)),
            (Some(endpoint), Some(account)) => (endpoint, account),
        };
        let rest = RestProbe { client, endpoint, hops, account, now: self.now_seconds };
        let (found, milliseconds) = timed(rest.account()).await;
        let known = match judge_rest::body(Question::Account, &found) {
            Ok(known) => known,
            Err(finding) => {
                let why = "the account cannot be read there";
                let mut checks = skipped(&REST_HOPS[..1], why);
                checks.push(finding.at("rest-filters", milliseconds));
                checks.extend(skipped(&REST_HOPS[2..], why));
                return stopped(checks);
            }
        };
        let organization = known["organization_id"].as_str().unwrap_or_default();
        let (filters, expenses) = tokio::join!(
            timed(rest.ask(Question::Filters, organization, None)),
            timed(rest.ask(Question::Expenses, organization, None))
        );
        let offered = judge_rest::body(Question::Filters, &filters.0);
        let offered = offered.map_or_else(|_| Vec::new(), |body| judge_reader::offered(&body));
        let tried = offered.into_iter().map(|(field, value)| {
            let rest = &rest;
            async move {
                let filter = Some((field, value.as_str()));
                let asked = rest.ask(Question::Expenses, organization, filter).await;
                Tried { field, value, asked }
            }
        });
        let tried = timed(futures_util::future::join_all(tried)).await;
        let checks = vec![
            judge_rest::auto_import(&known).at("auto-import", milliseconds),
            judge_rest::filters(&filters.0).at("rest-filters", filters.1),
        ];
        RestAnswers { checks, expenses: Some((expenses, tried)) }
    }

    /// The hops at the REST API; its expenses are held against what the ledger has.
    fn judge_rest(answers: RestAnswers, ledger_usd: Option<f64>) -> Vec<Check> {
        let RestAnswers { mut checks, expenses } = answers;
        if let Some((expenses, tried)) = expenses {
            let total = judge_reader::expenses(&expenses.0, ledger_usd);
            checks.push(total.at("rest-expenses", expenses.1));
            checks.push(judge_reader::filtered(&tried.0).at("rest-reader", tried.1));
        }
        checks
    }
}

const REST_HOPS: [&str; 4] = ["auto-import", "rest-filters", "rest-expenses", "rest-reader"];

/// What the REST API answers: hops that are judged, and the expenses, where they were asked for.
struct RestAnswers {
    checks: Vec<Check>,
    expenses: Option<(TimedReply, Timed<Vec<Tried>>)>,
}

type TimedReply = Timed<Result<http::HttpReply, Failure>>;

fn skipped(hops: &[&'static str], why: &str) -> Vec<Check> {
    hops.iter().map(|hop| HopFinding::skipped(why).at(hop, 0)).collect()
}
