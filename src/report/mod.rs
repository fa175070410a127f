//! Reports over what is stored: the ledger's rows under the names of their documents.
//!
//! ```text
//! ledger + documents + day status ──► facts ──► series ──► report ──► text, JSON, CSV, HTML, FOCUS
//! ```
//!
//! `read` goes through days one at a time and is the only module that reads anything; the others
//! are functions of values. What belongs here: what is shown of stored costs. What does not:
//! where a number came from (`explain`), and any writing.

pub mod anomalies;
pub mod bound;
pub mod build;
pub mod csv;
pub mod focus;
mod focus_fields;
mod focus_split;
pub mod forecast;
pub mod group;
pub mod html;
pub mod model;
pub mod read;
mod row;
pub mod series;
pub mod text;

pub use anomalies::Anomaly;
pub use build::build;
pub use forecast::{Forecast, forecast};
pub use group::{By, Group};
pub use model::{DayFact, Line, Report};
pub use read::{ReportStores, Scope, each_day, read};
pub use row::Row;
