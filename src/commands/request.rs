//! What the arguments of a run ask for, and the signals that end one.

use tokio::signal::unix::{SignalKind, signal};

use crate::cost::{AccountId, Day};
use crate::run::{RunRequest, Stop};

use super::{CliError, Context};

/// The request of `run`.
pub(super) fn request(context: &Context) -> Result<RunRequest, CliError> {
    Ok(RunRequest { force_reason: force_reason(context)?, ..days_and_accounts(context)? })
}

/// Why guards are overridden, if they are: for the records, so it must say something.
pub(super) fn force_reason(context: &Context) -> Result<Option<String>, CliError> {
    match context.argument("reason").map(str::trim) {
        Some("") => {
            let what = "--reason is empty: say why the days are written, for their records";
            Err(CliError::Argument(what.to_owned()))
        }
        reason => Ok(reason.map(str::to_owned)),
    }
}

/// What `--from`, `--to` and `--account` ask for.
pub(super) fn days_and_accounts(context: &Context) -> Result<RunRequest, CliError> {
    let day = |name: &str| -> Result<Option<Day>, CliError> {
        let Some(text) = context.argument(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|error| CliError::Argument(format!("--{name}: {error}")))
    };
    let days = match (day("from")?, day("to")?) {
        (Some(from), Some(to)) => Some((from, to)),
        _ => None,
    };
    let today = Day::of_unix(context.clock.now_seconds());
    match days {
        Some((from, to)) if from > to => {
            return Err(CliError::Argument(format!("--from {from} is after --to {to}")));
        }
        Some((_, to)) if to > today => {
            return Err(CliError::Argument(format!(
                "--to {to} is in the future: today is {today}"
            )));
        }
        _ => {}
    }
    Ok(RunRequest { days, accounts: accounts(context)?, ..RunRequest::default() })
}

/// What `--account` asks for.
pub(super) fn accounts(context: &Context) -> Result<Vec<AccountId>, CliError> {
    let ids = context.matches.get_many::<String>("account").into_iter().flatten();
    let accounts: Result<Vec<AccountId>, _> = ids.map(|id| AccountId::new(id.clone())).collect();
    accounts.map_err(|error| CliError::Argument(format!("--account: {error}")))
}

/// A stop that SIGTERM or SIGINT asks for.
pub(super) fn stop_on_signal() -> Result<Stop, CliError> {
    let stop = Stop::default();
    let asked = stop.clone();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop: no further day is begun");
        asked.ask();
    });
    Ok(stop)
}
