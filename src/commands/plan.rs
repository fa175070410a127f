//! `plan`: what a run would change; `run --plan FILE` carries it out unchanged.

use std::io::Write;
use std::path::Path;

use crate::run::plan::Plan;
use crate::run::{RunRequest, RunSummary, preview};
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
        write_plan(path, &plan, &summary)?;
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

/// Writes a plan to the file that `--out` names. One that lacks what failed would look whole there:
/// it is not written, and a file that is there stays as it is.
fn write_plan(path: &str, plan: &Plan, summary: &RunSummary) -> Result<(), CliError> {
    if let Some(why) = why_not_to_be_kept(summary) {
        writeln!(std::io::stderr(), "error: no plan was written to {path}: {why}")?;
        return Ok(());
    }
    let text = serde_json::to_string(plan).map_err(std::io::Error::other)?;
    write_private(Path::new(path), &text)
        .map_err(|error| CliError::Argument(format!("--out {path}: no plan was written: {error}")))
}

/// Why a plan is not to be carried out later, if so. One that lacks accounts or days because the
/// time was up says so itself.
fn why_not_to_be_kept(summary: &RunSummary) -> Option<String> {
    match (&summary.failure, summary.accounts_failed) {
        (Some(failure), _) => Some(format!("nothing could be planned: {}", failure.what)),
        (None, 0) => None,
        (None, failed) => {
            let all = summary.accounts.len();
            Some(format!("{failed} of {all} accounts failed, and it would lack their changes"))
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::failure::{Failure, Kind};

    /// The plan of a run that would change nothing.
    fn empty(summary: &RunSummary) -> Plan {
        Plan {
            made_at: 0,
            run_id: summary.run_id.clone(),
            is_of_due_days: true,
            accounts: Vec::new(),
            accounts_left: 0,
        }
    }

    #[test]
    fn a_plan_that_lacks_what_failed_is_not_written_over_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("plan.json");
        let path = file.to_str().unwrap();
        let whole = RunSummary::start(0, true);
        let plan = empty(&whole);
        let one_failed = RunSummary { accounts_failed: 1, ..whole.clone() };
        let mut aborted = whole.clone();
        aborted.abort(&Failure::query(Kind::Refused, "no such account", "name another"));
        for failed in [one_failed, aborted] {
            write_plan(path, &plan, &failed).unwrap();
            assert!(!file.exists(), "{failed:?}");
        }
        write_plan(path, &plan, &whole).unwrap();
        assert!(file.exists());
        let left = RunSummary { accounts_left: 1, exit_code: 1, ..whole };
        assert_eq!(why_not_to_be_kept(&left), None, "the plan itself says that it is of a part");
    }

    #[test]
    fn a_path_that_cannot_be_written_is_named_with_its_argument() {
        let summary = RunSummary::start(0, true);
        let plan = empty(&summary);
        let said = write_plan("/no/such/plan.json", &plan, &summary).unwrap_err().to_string();
        assert!(said.contains("--out /no/such/plan.json"), "{said}");
    }
}
