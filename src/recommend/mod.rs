//! Recommendations: what could cost less, with evidence, and what would make it wrong. What is
//! stored of them is `recommendations`.
//!
//! `rules` are functions of values; `read` asks the query layer, a bounded number of questions for
//! each account. What belongs here: what to change in a cluster. What does not: what was spent
//! (`report`).

pub mod controllers;
pub mod items;
pub mod model;
pub mod read;
pub mod rules;

pub use model::{Confidence, FailedAccount, Kind, Missing, Recommendation, Recommendations};
pub use read::{MetricReader, Scope, recommend};
