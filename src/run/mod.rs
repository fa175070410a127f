//! One run: accounts, their days, each day from query layer to stores.
//!
//! `run` is the list of accounts, `account` the list of days, `day` the list of steps; `days` and
//! `guard` decide as functions of values which days are due and what may be written.

pub mod account;
pub mod backfill;
pub mod day;
pub mod days;
pub(crate) mod documents;
pub mod environment;
mod failed;
mod gaps;
pub mod guard;
pub mod metrics;
mod order;
pub mod pipeline;
pub mod plan;
pub mod reconcile;
mod record;
pub mod rest;
mod rows;
pub mod summary;

pub use environment::Environment;
pub use pipeline::{RunRequest, run};
pub use summary::{AccountSummary, DaySummary, RunSummary};
