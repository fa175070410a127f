//! `backfill`: past days, resumable, with a progress bar on a terminal.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cost::{AccountId, Day};
use crate::run::RunRequest;
use crate::run::backfill::{Progress, backfill as work};
use crate::settings::worker::PipelineSettings;

use super::{CliError, Context, request};

struct Bar(ProgressBar);

impl Progress for Bar {
    fn begin(&mut self, days: u64) {
        self.0.set_length(days);
    }

    fn step(&mut self, account: &AccountId, day: Day) {
        self.0.set_message(format!("{account} {day}"));
        self.0.inc(1);
    }
}

fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let form = "{bar:30} {pos}/{len} days, {eta} left: {msg}";
    let style = ProgressStyle::with_template(form);
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// `backfill`: computes the days that are not settled and complete yet.
///
/// # Errors
/// When settings or arguments are wrong, an address cannot be used, or accounts or records cannot
/// be read.
pub async fn backfill(context: &Context) -> Result<u8, CliError> {
    let force_reason = request::force_reason(context)?;
    let request = RunRequest { force_reason, ..request::days_and_accounts(context)? };
    let config: PipelineSettings = context.settings()?;
    let environment = context.environment(&config).await?;
    let stop = request::stop_on_signal()?;
    let mut bar = Bar(bar());
    let summary = work(&environment, &request, &stop, &mut bar).await?;
    bar.0.finish_and_clear();
    let line = serde_json::to_string(&summary).map_err(std::io::Error::other)?;
    let mut out = std::io::stdout().lock();
    if !context.is_json {
        writeln!(
            out,
            "{} of {} days computed, {} were complete, {} failed; {} rows and {} documents \
             written in {:.1} s",
            summary.days_done,
            summary.days_total,
            summary.days_skipped,
            summary.days_failed,
            summary.rows_written,
            summary.documents_written,
            summary.duration_ms as f64 / 1_000.0
        )?;
    }
    writeln!(out, "{line}")?;
    Ok(summary.exit_code)
}
