//! `plan`: what a run would change; `run --plan FILE` carries it out unchanged.

use std::io::Write;
use std::path::Path;

use crate::run::plan::Plan;
use crate::run::{RunRequest, preview};
use crate::service::whole_file::write_private;
use crate::settings::worker::PipelineSettings;

use super::progress::Bar;
use super::screen::Screen;
use super::{CliError, Context, plan_output, request, run_output};

/// `plan`: reads everything, writes nothing to the stores.
///
/// # Errors
/// When settings or arguments are wrong, an address or the plan's file cannot be used.
pub async fn plan(context: &Context) -> Result<u8, CliError> {
    let bar = Bar::over("accounts");
    let request = RunRequest { progress: bar.target(), ..request::days_and_accounts(context)? };
    let config: PipelineSettings = context.settings()?;
    let environment = context.environment(&config).await?;
    let stop = request::end_on_signal()?;
    let (summary, plan) = preview(&environment.readers, &request, &stop).await;
    bar.end();
    if let Some(path) = context.argument("out") {
        let text = serde_json::to_string(&plan).map_err(std::io::Error::other)?;
        write_private(Path::new(path), &text)?;
    }
    let mut out = std::io::stdout().lock();
    if summary.exit_code != 0 {
        run_output::summary(&mut out, &summary, (context.form, Screen::stdout()))?;
    } else if context.is_json {
        writeln!(out, "{}", serde_json::to_string(&plan).map_err(std::io::Error::other)?)?;
    } else {
        plan_output::plan(&mut out, &plan, &summary, Screen::stdout())?;
    }
    // What is shown and written is not what a run would do, then.
    Ok(if plan.is_of_a_part() { summary.exit_code.max(1) } else { summary.exit_code })
}

/// The plan that `run --plan` names.
///
/// # Errors
/// When the file cannot be read as one.
pub(super) fn load_plan(context: &Context) -> Result<Option<Plan>, CliError> {
    let Some(path) = context.argument("plan") else { return Ok(None) };
    let wrong = |error: &dyn std::fmt::Display| {
        CliError::Argument(format!("--plan {path}: {error}; make one with: plan --out FILE"))
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let plan: Plan = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
    Ok(Some(plan))
}
