//! `run`: once over all accounts.

use std::sync::Arc;

use crate::run::metrics::publish::publish;
use crate::run::plan::PlannedQuery;
use crate::run::{RunSummary, run as run_once};
use crate::service::failure::Failure;
use crate::settings::WorkerConfig;
use crate::settings::worker::Needs;

use super::request::{request, stop_on_signal};
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
