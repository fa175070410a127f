//! What is found at a hop.

use serde::Serialize;

use crate::service::failure::Failure;
use crate::service::shown::shown;

/// The state of a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HopState {
    /// It does what it should.
    Ok,
    /// It does not.
    Broken,
    /// No setting leads to it.
    NotConfigured,
    /// It could not be looked at, because of a hop before it or of how the command was called.
    Skipped,
}

impl HopState {
    /// The state's name in tables and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Broken => "broken",
            Self::NotConfigured => "not-configured",
            Self::Skipped => "skipped",
        }
    }
}

/// What a judgement says of a hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HopFinding {
    /// The hop's state.
    pub state: HopState,
    /// What was seen.
    pub what: String,
    /// The likely cause, when broken.
    pub cause: String,
    /// What to do, when broken.
    pub fix: String,
}

impl HopFinding {
    fn plain(state: HopState, what: impl Into<String>) -> Self {
        Self { state, what: what.into(), cause: String::new(), fix: String::new() }
    }

    /// All is well.
    #[must_use]
    pub fn ok(what: impl Into<String>) -> Self {
        Self::plain(HopState::Ok, what)
    }

    /// Something is wrong.
    #[must_use]
    pub fn broken(
        what: impl Into<String>,
        cause: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        // Labels and replies that others wrote are in it.
        let (what, cause, fix) = (shown(&what.into()), cause.into(), shown(&fix.into()));
        Self { state: HopState::Broken, what, cause, fix }
    }

    /// A call failed: the failure knows what to do.
    #[must_use]
    pub fn failed(failure: &Failure, cause: &str) -> Self {
        Self::broken(failure.what.clone(), cause, failure.fix.clone())
    }

    /// The settings do not lead to the hop.
    #[must_use]
    pub fn not_configured(settings: &str) -> Self {
        Self::plain(HopState::NotConfigured, format!("{settings} is not set"))
    }

    /// It was not looked at.
    #[must_use]
    pub fn skipped(why: impl Into<String>) -> Self {
        Self::plain(HopState::Skipped, why)
    }

    /// The finding at a hop, with the time that the probe took.
    #[must_use]
    pub fn at(self, hop: &'static str, milliseconds: u64) -> Check {
        let Self { state, what, cause, fix } = self;
        Check { hop, account: None, state, what, cause, fix, milliseconds }
    }
}

/// One hop of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The hop's name.
    pub hop: &'static str,
    /// The account that was looked at, if any.
    pub account: Option<String>,
    /// Its state.
    pub state: HopState,
    /// What was seen.
    pub what: String,
    /// The likely cause, when broken.
    pub cause: String,
    /// What to do, when broken.
    pub fix: String,
    /// How long the probe took.
    pub milliseconds: u64,
}

/// Seconds as people say them.
#[must_use]
pub fn ago(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
