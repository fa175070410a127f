//! Brings the stores to the schema that a run needs: `kubecost-worker migrate`.
//!
//! What is to be done is data (`migrations/`, read by [`plan`]); what is there already is left as
//! it is. [`documents`] alone changes data: it repairs what version 0.1.0 wrote.

use serde::Serialize;

pub mod clickhouse;
pub mod documents;
pub mod mongo;
pub mod plan;

/// What became of one migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// It was there before.
    Present,
    /// It was applied.
    Applied,
    /// It would be applied, but this is a dry run.
    Pending,
}

/// One migration and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The file, below `migrations/`.
    pub name: String,
    /// What became of it.
    pub state: StepState,
    /// The statement, or the index as JSON.
    pub statement: String,
}
