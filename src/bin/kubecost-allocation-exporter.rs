//! The allocation exporter: arguments to settings to `exporter::run`.
#![expect(clippy::print_stderr, reason = "a program tells its user what is wrong")]

use std::process::ExitCode;

use kubecost_worker::exporter::run;
use kubecost_worker::service::logging;
use kubecost_worker::settings::former_names;

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
        Ok(runtime) => runtime.block_on(run::run(config)).map_err(|error| error.to_string()),
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
