//! What an operator should know of a day that is stored all the same.

use serde::{Deserialize, Serialize};

use crate::service::shown::shown;

/// What a warning is about, as far as alerts tell warnings apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum WarningKind {
    /// Costs in another currency than the ledger's.
    Currency,
    /// Resources beyond the limit have no rows of their own.
    Folded,
    /// Rows of another writer lie among the account's.
    ForeignRows,
    /// Anything else.
    #[default]
    Other,
}

impl WarningKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Currency, Self::Folded, Self::ForeignRows, Self::Other];

    /// The kind's name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Currency => "currency",
            Self::Folded => "folded",
            Self::ForeignRows => "foreign-rows",
            Self::Other => "other",
        }
    }
}

/// A sentence that names its subject. It is written and read as its text: the kind is for metrics.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Warning {
    /// What it is about.
    pub kind: WarningKind,
    text: String,
}

impl Warning {
    /// A warning of a kind. Names in it may be anybody's.
    #[must_use]
    pub fn new(kind: WarningKind, text: &str) -> Self {
        Self { kind, text: shown(text) }
    }
}

impl From<String> for Warning {
    fn from(text: String) -> Self {
        Self::new(WarningKind::Other, &text)
    }
}

impl From<Warning> for String {
    fn from(warning: Warning) -> Self {
        warning.text
    }
}

impl std::ops::Deref for Warning {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl std::fmt::Display for Warning {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}
