//! `backfill`: past days, resumable, with a progress bar on a terminal.

use crate::run::RunRequest;
use crate::run::backfill::backfill as work;
use crate::settings::worker::PipelineSettings;

use super::progress::Bar;
use super::screen::Screen;
use super::{CliError, Context, request, run_output};

/// `backfill`: computes the days that are not settled and complete yet.
///
/// # Errors
/// When settings or arguments are wrong, an address cannot be used, or accounts or records cannot
/// be read.
pub async fn backfill(context: &Context) -> Result<u8, CliError> {
    let bar = Bar::over("days");
    let force_reason = request::force_reason(context)?;
    let progress = bar.target();
    let request = RunRequest { force_reason, progress, ..request::days_and_accounts(context)? };
    let config: PipelineSettings = context.settings()?;
    let environment = context.environment(&config).await?;
    let stop = request::end_on_signal()?;
    let done = work(&environment, &request, &stop).await;
    bar.end();
    let summary = done?;
    let shown = (context.form, Screen::stdout());
    run_output::backfill(&mut std::io::stdout().lock(), &summary, shown)?;
    Ok(summary.exit_code)
}
