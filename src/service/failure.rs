//! The one error type of the edges: what failed, at which hop, and what to do about it.
//!
//! An operator reads it at night, so a message always names the hop and a fix. Pure modules have
//! their own small error enums; everything that talks to a server answers with a [`Failure`].

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// A system on the way from Kubecost to CloudTuner, named in messages and metrics.
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
    /// The worker: its settings, files, invariants.
    Worker,
    /// The allocation exporter: its settings, files, invariants.
    Exporter,
    /// The Kubecost or OpenCost that the exporter polls.
    AllocationApi,
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
            Self::Exporter => "exporter",
            Self::AllocationApi => "kubecost/opencost",
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
    /// Costs in another currency than the ledger's, without a rate.
    Currency,
    /// Rows that were written cannot be read yet, or a server that lacks some answered.
    NotVisible,
    /// A table, column or index that is missing or of another type.
    Schema,
    /// Another worker is writing.
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
            Self::Currency => "currency",
            Self::NotVisible => "not-visible",
            Self::Schema => "schema",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::Internal => "internal",
        }
    }
}

/// What a certificate that is not trusted means; it is followed by the setting's name.
pub const UNKNOWN_AUTHORITY: &str = "the certificate is signed by an unknown authority: set";

/// What to do about an invariant that does not hold.
pub const REPORT: &str = "report it as a bug, with the lines of the log before it";

/// The error under a failure. `Debug` shows its text only, as its fields may hold a secret.
#[derive(Clone)]
pub struct Cause(Arc<dyn Error + Send + Sync>);

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&excerpt(&chain(self.0.as_ref())))
    }
}

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        chain(self.0.as_ref()) == chain(other.0.as_ref())
    }
}

impl Eq for Cause {}

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
    /// The error under it, for [`Error::source`]; its text is in `what` already.
    pub cause: Option<Cause>,
}

impl Failure {
    /// A failure at `hop`.
    pub fn new(hop: Hop, kind: Kind, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { hop, kind, what: what.into(), fix: fix.into(), cause: None }
    }

    /// A failure of the query layer.
    pub fn query(kind: Kind, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(Hop::QueryLayer, kind, what, fix)
    }

    /// The failure of a server whose certificate is not trusted; `setting` names those that are.
    #[must_use]
    pub fn unknown_authority(hop: Hop, what: &str, setting: &str) -> Self {
        let what = format!("{what}: {UNKNOWN_AUTHORITY} {setting}");
        let fix = format!(
            "{setting} is a PEM file of the certificate authorities to trust beside the usual ones"
        );
        Self::new(hop, Kind::Denied, what, fix)
    }

    /// The same failure with the error under it.
    #[must_use]
    pub fn caused_by(self, error: impl Error + Send + Sync + 'static) -> Self {
        Self { cause: Some(Cause(Arc::new(error))), ..self }
    }

    /// Whether asking again soon may help. Writes are never asked again blindly.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, Kind::Unavailable | Kind::Timeout | Kind::Overloaded)
    }

    /// Whether a write that failed so has ended for sure: the server answered and named a reason
    /// that it gives before or instead of writing.
    #[must_use]
    pub fn says_nothing_was_written(&self) -> bool {
        match self.kind {
            Kind::Denied
            | Kind::ReadOnly
            | Kind::Overloaded
            | Kind::BadData
            | Kind::Currency
            | Kind::Schema
            | Kind::Conflict
            | Kind::Refused => true,
            Kind::Unavailable
            | Kind::Timeout
            | Kind::BadReply
            | Kind::NotVisible
            | Kind::Internal => false,
        }
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

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let cause: &(dyn Error + 'static) = self.cause.as_ref()?.0.as_ref();
        Some(cause)
    }
}

/// An error and what lies under it, outermost first, on one line: the top alone often says only
/// that something failed.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// What lies under an error, without its own text: a client's may hold the address' credentials.
#[must_use]
pub fn causes(error: &dyn Error) -> String {
    error.source().map(chain).unwrap_or_default()
}

/// Cuts a server's text to what a log line can bear, on a character boundary, on one line.
#[must_use]
pub fn excerpt(text: &str) -> String {
    const CHARACTERS_MAX: usize = 200;
    let flat: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(CHARACTERS_MAX).collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() { format!("{flat}…") } else { flat }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_failure_keeps_the_errors_under_it() {
        let under = Outer(std::io::Error::other("inner"));
        assert_eq!(chain(&under), "outer: inner");
        let failure = Failure::query(Kind::Internal, "what", "fix").caused_by(under);
        let outer = failure.source().unwrap();
        assert!(outer.downcast_ref::<Outer>().is_some());
        assert_eq!(outer.source().unwrap().to_string(), "inner");
        assert_eq!(failure.to_string(), "query layer: what (fix: fix)");
        assert_eq!(failure.clone(), failure);
    }
}
