//! `run`: once over all accounts.

use crate::run::metrics::publish::publish;
use crate::run::{RunRequest, RunSummary, preview, run as run_once, run_plan};
use crate::service::failure::Failure;
use crate::settings::worker::RunSettings;

use super::progress::Bar;
use super::request::{end_on_signal, request};
use super::screen::Screen;
use super::{CliError, Context, plan, run_output};

/// `run`: once over all accounts.
///
/// # Errors
/// When settings or arguments are wrong, or an address cannot be used.
pub async fn run(context: &Context) -> Result<u8, CliError> {
    let bar = Bar::over("accounts");
    let request = RunRequest { progress: bar.target(), ..request(context)? };
    let is_dry = context.switch("dry-run");
    let config: RunSettings = context.settings()?;
    let start = RunSummary::start(context.clock.now_seconds(), is_dry);
    let environment = match context.environment(&config.pipeline).await {
        Ok(environment) => environment,
        Err(failure) => {
            return fail_before_start(context, &config, &request, start, &failure).await;
        }
    };
    let plan = plan::load_plan(context)?;
    tracing::info!(source = environment.readers.source.describe(), "run");
    let stop = end_on_signal()?;
    let mut summary = match &plan {
        _ if is_dry => preview(&environment.readers, &request, &stop).await.0,
        Some(plan) => run_plan(&environment, &request, plan, &stop).await,
        None => run_once(&environment, &request, &stop).await,
    };
    bar.end();
    summary.exit_code = config.fail_on.exit_code(summary.exit_code, summary.accounts_done);
    publish_whole(context, &config, &request, &summary).await;
    let shown = (context.form, Screen::stdout());
    run_output::summary(&mut std::io::stdout().lock(), &summary, shown)?;
    Ok(summary.exit_code)
}

/// A run that cannot even begin ends as every run does: with its summary.
async fn fail_before_start(
    context: &Context,
    config: &RunSettings,
    request: &RunRequest,
    mut summary: RunSummary,
    failure: &Failure,
) -> Result<u8, CliError> {
    summary.abort(failure);
    publish_whole(context, config, request, &summary).await;
    let shown = (context.form, Screen::stdout());
    run_output::summary(&mut std::io::stdout().lock(), &summary, shown)?;
    Ok(summary.exit_code)
}

/// Publishes the metrics of a run over all accounts. They replace those of the run
/// before, so of a narrowed run they would take every other account away.
async fn publish_whole(
    context: &Context,
    config: &RunSettings,
    request: &RunRequest,
    summary: &RunSummary,
) {
    let metrics = &config.metrics;
    if !request.is_narrowed() && context.argument("plan").is_none() {
        publish(metrics, config.pipeline.selection.shard, summary).await;
    } else if metrics.textfile.is_some() || metrics.pushgateway.is_some() {
        tracing::info!("no metrics published: --account or --plan narrows the run");
    }
}
