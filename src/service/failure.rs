//! The one error type of the edges: what failed, at which hop, and what to do about it.
//!
//! An operator reads it at night, so a message always names the hop and a fix. Pure modules have
//! their own small error enums; everything that talks to a server answers with a [`Failure`].

use std::fmt;

/// A place on the way of a dollar, as messages and metrics call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hop {
    /// Prometheus, Thanos, Metroculus or an allocation API.
    QueryLayer,
    /// MongoDB, or the embedded store in its place.
    MongoDb,
    /// ClickHouse, or the embedded store in its place.
    ClickHouse,
    /// The CloudTuner REST API.
    RestApi,
    /// This process: settings, files, invariants.
    Worker,
}

impl Hop {
    /// The hop's name in messages and metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueryLayer => "query layer",
            Self::MongoDb => "mongodb",
            Self::ClickHouse => "clickhouse",
            Self::RestApi => "rest api",
            Self::Worker => "worker",
        }
    }
}

/// What kind of failure it is: decides on retries, exit codes and metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// No connection, a connection that broke, a 5xx.
    Unavailable,
    /// No answer within the time allowed.
    Timeout,
    /// Wrong or missing credentials.
    Denied,
    /// A server that answers but takes no writes: its disk is full, or it may only be read.
    ReadOnly,
    /// The server asks for less: 429, or a query over its limits.
    Overloaded,
    /// An answer that cannot be read as what was asked for.
    BadReply,
    /// An answer whose numbers or labels cannot be true.
    BadData,
    /// A table, column or index that is missing or of another type.
    Schema,
    /// Somebody else is writing.
    Conflict,
    /// What was asked for is refused to protect what is stored.
    Refused,
    /// An invariant of this program does not hold.
    Internal,
}

impl Kind {
    /// The kind's name in metric labels and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Denied => "denied",
            Self::ReadOnly => "read-only",
            Self::Overloaded => "overloaded",
            Self::BadReply => "bad-reply",
            Self::BadData => "bad-data",
            Self::Schema => "schema",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::Internal => "internal",
        }
    }
}

/// Something failed at a hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where.
    pub hop: Hop,
    /// Of which kind.
    pub kind: Kind,
    /// What was being done and what came of it. Never holds a secret.
    pub what: String,
    /// What the operator can do.
    pub fix: String,
}

impl Failure {
    /// A failure at `hop`.
    pub fn new(hop: Hop, kind: Kind, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { hop, kind, what: what.into(), fix: fix.into() }
    }

    /// A failure of the query layer.
    pub fn query(kind: Kind, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(Hop::QueryLayer, kind, what, fix)
    }

    /// Whether asking again soon may help. Writes are never asked again blindly.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, Kind::Unavailable | Kind::Timeout | Kind::Overloaded)
    }

    /// Whether settings or arguments ask for what there is not, and only found out when looked up.
    #[must_use]
    pub fn is_misuse(&self) -> bool {
        self.hop == Hop::Worker && self.kind == Kind::Refused
    }

    /// Whether the server behind the hop could not be used at all.
    #[must_use]
    pub fn is_hop_down(&self) -> bool {
        matches!(
            self.kind,
            Kind::Unavailable | Kind::Timeout | Kind::Denied | Kind::Schema | Kind::Overloaded
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.hop.as_str(), self.what)?;
        if self.fix.is_empty() { Ok(()) } else { write!(f, " (fix: {})", self.fix) }
    }
}

impl std::error::Error for Failure {}

/// Cuts a server's text to what a log line can bear, on a character boundary, on one line.
#[must_use]
pub fn excerpt(text: &str) -> String {
    const CHARACTERS_MAX: usize = 200;
    let flat: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(CHARACTERS_MAX).collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() { format!("{flat}…") } else { flat }
}
