//! The allocation exporter: arguments to settings to `exporter::run`.
#![expect(clippy::print_stderr, reason = "a program tells its user what is wrong")]

use std::process::ExitCode;
use std::time::Duration;

use kubecost_worker::exporter::run;
use kubecost_worker::service::logging;
use kubecost_worker::settings::former_names;

/// How long a DNS lookup that hangs in a thread of its own may hold the end of the process.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let matches = run::command().get_matches();
    let config = match run::settings(&matches, &|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("wrong settings:\n{errors}\n\nSee --help.");
            return ExitCode::from(2);
        }
    };
    logging::start(config.logs_json, std::env::var("RUST_LOG").ok().as_deref(), None);
    for warning in former_names::translate(&|name| std::env::var(name).ok()).warnings {
        tracing::warn!("{warning}");
    }
    // One thread is enough, and each more would cost memory.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(run::run(config));
            // Dropping the runtime would wait for blocking threads without a limit.
            runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
            outcome.map_err(|error| error.to_string())
        }
        Err(error) => Err(format!("no runtime: {error}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(3)
        }
    }
}
