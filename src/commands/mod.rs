//! The command line of `kubecost-worker`: arguments in, an exit code out.
//!
//! Exit codes: 0 all accounts done; 1 some account failed; 2 the settings are wrong; 3 nothing
//! could be done, because a store or the query layer is down.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ArgMatches;

use crate::service::clock::{Clock, FixedClock, SystemClock};
use crate::service::failure::Failure;
use crate::service::logging;
use crate::settings::worker::{Needs, SETTINGS};
use crate::settings::{ConfigErrors, RawSettings, WorkerConfig};

pub mod accounts;
pub mod args;
pub mod audit;
pub mod backfill;
pub mod connect;
pub mod demo;
pub mod migrate;
pub mod output;
pub mod plan;
mod request;
pub mod run;
pub mod schedule;
pub mod verify;

/// The exit code for settings that are wrong.
pub const EXIT_CONFIG: u8 = 2;
/// The exit code when nothing could be done.
pub const EXIT_DOWN: u8 = 3;

/// Why a command ended before it could do its work.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The settings are wrong.
    #[error("the settings are wrong:\n{0}")]
    Settings(#[from] ConfigErrors),
    /// An argument is wrong.
    #[error("{0}")]
    Argument(String),
    /// A hop failed.
    #[error("{0}")]
    Failed(#[from] Failure),
    /// The output could not be written.
    #[error("the output could not be written: {0}")]
    Output(#[from] std::io::Error),
}

impl Ended {
    /// The exit code that tells of it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) | Self::Argument(_) => EXIT_CONFIG,
            Self::Failed(failure) if failure.is_misuse() => EXIT_CONFIG,
            Self::Failed(_) => EXIT_DOWN,
            Self::Output(_) => 1,
        }
    }
}

/// What every command gets.
pub struct Context {
    matches: ArgMatches,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Whether standard output shall be JSON.
    pub is_json: bool,
}

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

async fn dispatch(matches: &ArgMatches) -> Result<u8, Ended> {
    let (name, matches) = match matches.subcommand() {
        Some((name, matches)) => (name, matches.clone()),
        None => return Err(Ended::Argument("a command is wanted: see --help".to_owned())),
    };
    let context = Context {
        clock: clock(&matches)?,
        is_json: matches.get_one::<String>("output").is_some_and(|output| output == "json"),
        matches,
    };
    // The demo's report is what it is for; its log would hide it.
    context.start_logging(name == "demo");
    match name {
        "run" => run::run(&context).await,
        "audit" => audit::audit(&context).await,
        "plan" => plan::plan(&context).await,
        "backfill" => backfill::backfill(&context).await,
        "schedule" => schedule::schedule(&context).await,
        "migrate" => migrate::migrate(&context).await,
        "accounts" => accounts::accounts(&context).await,
        "verify" => verify::verify(&context).await,
        "demo" => demo::demo(&context).await,
        other => Err(Ended::Argument(format!("'{other}' is no command"))),
    }
}

/// The machine's clock, or one that stands at `--at`.
fn clock(matches: &ArgMatches) -> Result<Arc<dyn Clock>, Ended> {
    let Some(text) = matches.get_one::<String>("at") else { return Ok(Arc::new(SystemClock)) };
    let time = chrono::DateTime::parse_from_rfc3339(text).map_err(|error| {
        let example = "an example: 2026-11-20T23:58:00Z";
        Ended::Argument(format!("--at '{text}' is no RFC 3339 time: {error}; {example}"))
    })?;
    Ok(Arc::new(FixedClock::at(time.timestamp())))
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Context {
    fn raw(&self) -> RawSettings {
        let path = self.matches.get_one::<String>("config").map(PathBuf::from);
        RawSettings::collect(SETTINGS, &self.matches, &environment, path.as_deref())
    }

    /// The settings, validated for what the command needs.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn config(&self, needs: Needs) -> Result<WorkerConfig, ConfigErrors> {
        WorkerConfig::validate(self.raw(), needs)
    }

    fn start_logging(&self, quiet: bool) {
        let raw = self.raw();
        let format = SETTINGS.iter().find(|setting| setting.name == "LOG_FORMAT");
        let is_json = format.and_then(|setting| raw.value(setting)) == Some("json");
        let level = environment("RUST_LOG").or_else(|| quiet.then(|| "error".to_owned()));
        logging::start(is_json, level.as_deref());
    }

    /// The value of an argument that is no setting.
    #[must_use]
    pub fn argument(&self, name: &str) -> Option<&str> {
        self.matches.get_one::<String>(name).map(String::as_str)
    }

    /// Whether a switch was given.
    #[must_use]
    pub fn switch(&self, name: &str) -> bool {
        self.matches.get_flag(name)
    }
}
