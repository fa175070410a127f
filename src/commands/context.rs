//! What every command gets, and why one ends before it could do its work.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ArgMatches;

use crate::run::Environment;
use crate::service::clock::{Clock, FixedClock, SystemClock};
use crate::service::failure::Failure;
use crate::service::{logging, tls};
use crate::settings::worker::{CLIENT_TLS, PipelineSettings, SETTINGS};
use crate::settings::worker_names::LOG_FORMAT;
use crate::settings::{ConfigErrors, RawSettings, ReadSettings};

use super::connect;
use super::screen::Form;
use super::traces::Traces;

/// The exit code for settings that are wrong.
pub const EXIT_CONFIG: u8 = 2;
/// The exit code when nothing could be done.
pub const EXIT_DOWN: u8 = 3;

/// Why a command ended before it could do its work.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
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

impl CliError {
    /// The program's exit code for it.
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
    pub(super) matches: ArgMatches,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Whether standard output shall be JSON.
    pub is_json: bool,
    /// What standard output is for, in commands that end in a summary.
    pub form: Form,
}

/// The machine's clock, or one that stands at `--at`.
fn clock(matches: &ArgMatches) -> Result<Arc<dyn Clock>, CliError> {
    let Some(text) = matches.get_one::<String>("at") else { return Ok(Arc::new(SystemClock)) };
    let time = chrono::DateTime::parse_from_rfc3339(text).map_err(|error| {
        let example = "an example: 2026-11-20T23:58:00Z";
        CliError::Argument(format!("--at '{text}' is no RFC 3339 time: {error}; {example}"))
    })?;
    Ok(Arc::new(FixedClock::at(time.timestamp())))
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Context {
    /// The context of a command's arguments.
    pub(super) fn new(matches: ArgMatches) -> Result<Self, CliError> {
        Ok(Self {
            clock: clock(&matches)?,
            form: Form::of(&matches, std::io::stdout().is_terminal()),
            is_json: matches.get_one::<String>("output").is_some_and(|output| output == "json"),
            matches,
        })
    }

    fn raw(&self) -> RawSettings {
        let path = self.matches.get_one::<String>("config").map(PathBuf::from);
        RawSettings::collect(SETTINGS, &self.matches, &environment, path.as_deref())
    }

    /// The command's settings, validated.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn settings<S: ReadSettings>(&self) -> Result<S, ConfigErrors> {
        let mut raw = self.raw();
        tls::set_up(CLIENT_TLS, &mut raw);
        S::validate(raw)
    }

    /// All hops of a run at the command's time.
    ///
    /// # Errors
    /// When a hop's address cannot be used.
    pub async fn environment(&self, config: &PipelineSettings) -> Result<Environment, Failure> {
        let is_made_up = self.argument("at").is_some();
        let journal =
            if is_made_up { connect::Journal::ReadOnly } else { connect::Journal::Written };
        connect::environment(config, Arc::clone(&self.clock), journal).await
    }

    /// Starts logs and traces.
    ///
    /// # Errors
    /// When the settings of traces are wrong.
    pub(super) fn start_logging(&self, quiet: bool) -> Result<Traces, CliError> {
        let raw = self.raw();
        let is_json = raw.value(&LOG_FORMAT) == Some("json");
        let level = environment("RUST_LOG").or_else(|| quiet.then(|| "error".to_owned()));
        // What is wrong with the files is reported with the other settings.
        let trust = || tls::set_up(CLIENT_TLS, &mut self.raw());
        let (traces, trace_layer) =
            Traces::begin(&environment, &trust).map_err(CliError::Argument)?;
        logging::start(is_json, level.as_deref(), trace_layer);
        traces.warn(&environment);
        Ok(traces)
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
