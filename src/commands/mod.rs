//! The command line of `kubecost-worker`: arguments in, an exit code out.
//!
//! Exit codes: 0 all accounts done; 1 some account failed; 2 the settings are wrong; 3 nothing
//! could be done, because a store or the query layer is down.

use std::io::Write;

use clap::ArgMatches;

pub mod accounts;
pub mod anomalies;
pub mod args;
mod args_parts;
mod args_reports;
pub mod audit;
pub mod audit_output;
pub mod audit_summary;
pub mod backfill;
mod command_settings;
pub mod connect;
mod context;
pub mod demo;
pub mod explain;
pub mod job_manifest;
pub mod migrate;
pub mod output;
pub mod plan;
pub mod plan_output;
mod progress;
pub mod recommend;
pub mod report;
mod request;
pub mod run;
pub mod run_output;
pub mod schedule;
pub mod screen;
pub mod serve;
pub mod shell_files;
mod traces;
pub mod verify;

pub use context::{CliError, Context, EXIT_CONFIG, EXIT_DOWN};

/// Runs the program; returns its exit code.
pub async fn run(arguments: Vec<std::ffi::OsString>) -> u8 {
    let matches = match args::command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version go to standard output with code 0, errors to standard error with 2.
            let code = u8::try_from(error.exit_code()).unwrap_or(EXIT_CONFIG);
            let _ = error.print();
            return code;
        }
    };
    let done = dispatch(&matches).await;
    crate::stores::mongo::shut_down().await;
    match done {
        Ok(code) => code,
        Err(ended) => {
            let _ = writeln!(std::io::stderr(), "error: {ended}");
            ended.exit_code()
        }
    }
}

async fn dispatch(matches: &ArgMatches) -> Result<u8, CliError> {
    let (name, matches) = match matches.subcommand() {
        Some((name, matches)) => (name, matches.clone()),
        None => return Err(CliError::Argument("no command given: see --help".to_owned())),
    };
    let context = Context::new(matches)?;
    // The demo's report is what it is for; its log would hide it.
    let traces = context.start_logging(name == "demo")?;
    let done = command(name, &context).await;
    traces.end().await;
    done
}

async fn command(name: &str, context: &Context) -> Result<u8, CliError> {
    match name {
        "run" => run::run(context).await,
        "explain" => explain::explain(context).await,
        "recommend" => recommend::recommend(context).await,
        "report" => report::report(context).await,
        "anomalies" => anomalies::anomalies(context).await,
        "audit" => audit::audit(context).await,
        "plan" => plan::plan(context).await,
        "backfill" => backfill::backfill(context).await,
        "schedule" => schedule::schedule(context).await,
        "serve" => serve::serve(context).await,
        "migrate" => migrate::migrate(context).await,
        "accounts" => accounts::accounts(context).await,
        "verify" => verify::verify(context).await,
        "job-manifest" => job_manifest::job_manifest(context),
        "completions" => shell_files::completions(context),
        "man" => shell_files::man(context),
        "demo" => demo::demo(context).await,
        other => Err(CliError::Argument(format!("'{other}' is no command"))),
    }
}
