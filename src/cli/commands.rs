//! What each command does once its arguments are read.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;
use tokio_cron_scheduler::{Job, JobScheduler};

use crate::allocation::{AccountId, Day};
use crate::config::WorkerConfig;
use crate::config::worker::{Needs, StoreConfig};
use crate::failure::{Failure, Hop, Kind};
use crate::migrate;
use crate::mongo;
use crate::telemetry::publish::publish;
use crate::telemetry::serve::{self, Metrics};
use crate::worker::plan::PlannedQuery;
use crate::worker::run::Stop;
use crate::worker::{Environment, RunRequest, RunSummary, run as run_once};

use super::{Context, Ended, connect, output, plan};

/// `run`: once over all accounts.
///
/// # Errors
/// When settings or arguments are wrong, or an address cannot be used.
pub async fn run(context: &Context) -> Result<u8, Ended> {
    let mut request = request(context)?;
    let config = context.config(Needs::Everything)?;
    let begun = RunSummary::begun(context.clock.now_seconds(), request.is_dry);
    let mut environment = match connect::environment(&config, Arc::clone(&context.clock)).await {
        Ok(environment) => environment,
        Err(failure) => return never_began(context, &config, begun, &failure).await,
    };
    if let Some(plan) = plan::to_carry_out(context)? {
        environment.query = Arc::new(PlannedQuery(Arc::clone(&plan)));
        request.accounts = plan.accounts.iter().map(|plan| plan.account.clone()).collect();
        request.plan = Some(plan);
    }
    tracing::info!(query = environment.query.describe(), "run");
    let stop = stop_on_signal()?;
    let summary = run_once(&environment, &request, &stop).await;
    publish(&config.operation.metrics, config.operation.shard, &summary).await;
    output::summary(&mut std::io::stdout().lock(), &summary, context.is_json)?;
    Ok(summary.exit_code)
}

/// A run that cannot even begin ends as every run does: with its summary.
async fn never_began(
    context: &Context,
    config: &WorkerConfig,
    mut summary: RunSummary,
    failure: &Failure,
) -> Result<u8, Ended> {
    summary.ended_by(failure);
    publish(&config.operation.metrics, config.operation.shard, &summary).await;
    output::summary(&mut std::io::stdout().lock(), &summary, context.is_json)?;
    Ok(summary.exit_code)
}

fn request(context: &Context) -> Result<RunRequest, Ended> {
    Ok(RunRequest {
        is_dry: context.switch("dry-run"),
        force_reason: force_reason(context)?,
        ..days_and_accounts(context)?
    })
}

/// Why guards are overridden, if they are: for the records, so it must say something.
pub(super) fn force_reason(context: &Context) -> Result<Option<String>, Ended> {
    match context.argument("reason").map(str::trim) {
        Some("") => {
            let what = "--reason is empty: say why the days are written, for their records";
            Err(Ended::Argument(what.to_owned()))
        }
        reason => Ok(reason.map(str::to_owned)),
    }
}

/// What `--from`, `--to` and `--account` ask for.
pub(super) fn days_and_accounts(context: &Context) -> Result<RunRequest, Ended> {
    let day = |name: &str| -> Result<Option<Day>, Ended> {
        let Some(text) = context.argument(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|error| Ended::Argument(format!("--{name}: {error}")))
    };
    let days = match (day("from")?, day("to")?) {
        (Some(from), Some(to)) => Some((from, to)),
        _ => None,
    };
    let today = Day::of_unix(context.clock.now_seconds());
    match days {
        Some((from, to)) if from > to => {
            return Err(Ended::Argument(format!("--from {from} is after --to {to}")));
        }
        Some((_, to)) if to > today => {
            return Err(Ended::Argument(format!("--to {to} is in the future: today is {today}")));
        }
        _ => {}
    }
    let ids = context.matches.get_many::<String>("account").into_iter().flatten();
    let accounts: Result<Vec<AccountId>, _> = ids.map(|id| AccountId::new(id.clone())).collect();
    let accounts = accounts.map_err(|error| Ended::Argument(format!("--account: {error}")))?;
    Ok(RunRequest { days, accounts, ..RunRequest::default() })
}

/// A stop that SIGTERM or SIGINT asks for.
pub(super) fn stop_on_signal() -> Result<Stop, Ended> {
    let stop = Stop::default();
    let asked = stop.clone();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop: ending after the account at hand");
        asked.ask();
    });
    Ok(stop)
}

/// `schedule`: runs by a cron expression until asked to stop.
///
/// # Errors
/// When settings or the expression are wrong, or an address cannot be used.
pub async fn schedule(context: &Context) -> Result<u8, Ended> {
    let expression = context.argument("cron").unwrap_or("*/5 * * * *").to_owned();
    let config = context.config(Needs::Everything)?;
    let environment = connect::environment(&config, Arc::clone(&context.clock)).await?;
    let stop = stop_on_signal()?;
    let metrics = Metrics::default();
    let (ended, serving) = (stop.clone(), metrics.clone());
    if let Some(address) = config.operation.metrics.listen {
        serve::serve(address, serving, async move { ended.asked().await }).await?;
    }
    let work = Arc::new(Scheduled {
        environment,
        metrics,
        stop: stop.clone(),
        is_json: context.is_json,
        running: Mutex::new(()),
        exit_code: AtomicU8::new(0),
    });
    let mut scheduler = JobScheduler::new().await.map_err(|error| internal(&error))?;
    let job = job(&expression, &work)?;
    scheduler.add(job).await.map_err(|error| internal(&error))?;
    scheduler.start().await.map_err(|error| internal(&error))?;
    tracing::info!(cron = expression, "scheduled");
    stop.asked().await;
    scheduler.shutdown().await.map_err(|error| internal(&error))?;
    // A run that is under way ends after its account; only then is the lock free.
    drop(work.running.lock().await);
    Ok(work.exit_code.load(Ordering::SeqCst))
}

struct Scheduled {
    environment: Environment,
    metrics: Metrics,
    stop: Stop,
    is_json: bool,
    running: Mutex<()>,
    exit_code: AtomicU8,
}

impl Scheduled {
    async fn tick(&self) {
        let Ok(_running) = self.running.try_lock() else {
            tracing::warn!("the run before is still going: this one is left out");
            return;
        };
        if self.stop.is_asked() {
            return;
        }
        let summary = run_once(&self.environment, &RunRequest::default(), &self.stop).await;
        self.exit_code.store(summary.exit_code, Ordering::SeqCst);
        self.metrics.add(&summary);
        if let Err(error) = output::summary(&mut std::io::stdout().lock(), &summary, self.is_json) {
            tracing::error!(%error, "the summary could not be written");
        }
    }
}

fn job(expression: &str, work: &Arc<Scheduled>) -> Result<Job, Ended> {
    // The scheduler counts seconds first; people write five fields.
    let with_seconds = match expression.split_whitespace().count() {
        5 => format!("0 {expression}"),
        _ => expression.to_owned(),
    };
    let work = Arc::clone(work);
    Job::new_async(with_seconds.as_str(), move |_, _| {
        let work = Arc::clone(&work);
        Box::pin(async move { work.tick().await })
    })
    .map_err(|error| {
        let example = "an example: '*/5 * * * *'";
        Ended::Argument(format!("--cron '{expression}' is no cron expression: {error}; {example}"))
    })
}

fn internal(error: &impl std::fmt::Display) -> Failure {
    Failure::new(Hop::Worker, Kind::Internal, format!("the scheduler failed: {error}"), "")
}

/// `migrate`: the schema that a run needs.
///
/// # Errors
/// When settings are wrong, or a store cannot be used.
pub async fn migrate(context: &Context) -> Result<u8, Ended> {
    let config = context.config(Needs::Stores)?;
    let is_dry = context.switch("dry-run");
    let mut out = std::io::stdout().lock();
    match &config.store {
        StoreConfig::Sqlite(path) => {
            connect::stores(&config.store).await?;
            let shown = path.display();
            writeln!(out, "{shown} makes its own tables: there is nothing to migrate")?;
        }
        StoreConfig::CloudTuner(store) => {
            let database = mongo::connect(&store.mongo_url, &store.mongo_database).await?;
            let collection = &store.resources_collection;
            let mut steps = migrate::mongo::migrate(&database, collection, is_dry).await?;
            steps.extend(migrate::clickhouse::migrate(store, is_dry).await?);
            output::steps(&mut out, &steps, context.is_json)?;
        }
    }
    Ok(0)
}

/// `accounts`: which accounts a run works on.
///
/// # Errors
/// When settings are wrong, or the list cannot be had.
pub async fn accounts(context: &Context) -> Result<u8, Ended> {
    let config = context.config(Needs::Accounts)?;
    let accounts = connect::accounts(&config).await?.accounts().await?;
    output::accounts(&mut std::io::stdout().lock(), &accounts, context.is_json)?;
    Ok(0)
}

/// `verify`: walks every hop and names the first broken one.
///
/// # Errors
/// When settings or the account's id are wrong.
pub async fn verify(context: &Context) -> Result<u8, Ended> {
    let account = context.argument("account").map(AccountId::new).transpose();
    let account = account.map_err(|error| Ended::Argument(format!("--account: {error}")))?;
    let config = context.config(Needs::Everything)?;
    let report = crate::verify::verify(&config, &context.clock, account).await;
    output::verify(&mut std::io::stdout().lock(), &report, context.is_json)?;
    Ok(report.exit_code)
}

/// `demo`: the whole job over recorded input.
///
/// # Errors
/// When the SQLite file cannot be used, or the job fails.
pub async fn demo(context: &Context) -> Result<u8, Ended> {
    let kept = context.argument("keep").map(std::path::PathBuf::from);
    let name = format!("kubecost-worker-demo-{}.sqlite", uuid::Uuid::new_v4().simple());
    let path = kept.clone().unwrap_or_else(|| std::env::temp_dir().join(name));
    let report = crate::demo::demonstrate(&path).await;
    if kept.is_none() {
        for end in ["", "-wal", "-shm"] {
            let mut file = path.clone().into_os_string();
            file.push(end);
            // What is not there need not be removed.
            let _ = std::fs::remove_file(file);
        }
    }
    output::demo(&mut std::io::stdout().lock(), &report?, context.is_json)?;
    Ok(0)
}
