//! What the arguments of a run ask for, and the signals that end one.

use std::time::Duration;

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

/// How long after a signal the process ends, whatever is under way then.
const END_WITHIN: Duration = Duration::from_secs(9);

/// A stop that SIGTERM or SIGINT asks for. Where that does not end the process in time, because a
/// server does not answer, it ends as though it were killed: the next run goes on.
pub(super) fn end_on_signal() -> Result<Stop, CliError> {
    let stop = stop_on_signal()?;
    let asked = stop.clone();
    tokio::spawn(async move {
        asked.asked().await;
        // Not a task: it must not wait for one that keeps a thread busy.
        std::thread::spawn(|| {
            std::thread::sleep(END_WITHIN);
            let seconds = END_WITHIN.as_secs();
            tracing::error!(
                "not all has ended {seconds} s after the signal: the process ends as though it were \
                 killed, and the next run goes on"
            );
            std::process::exit(1);
        });
    });
    Ok(stop)
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
