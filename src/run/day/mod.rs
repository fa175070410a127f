//! One day of one account, as functions of values: what was read in, what would change out.

pub mod accuracy;
pub mod decide;
pub(super) mod failure;
pub(super) mod gap_scaling;
pub mod inputs;
pub mod kept_pods;
#[cfg(test)]
mod never_ok;
pub mod refresh;
pub mod rows;
pub(super) mod status;
pub mod verdict;

pub use decide::{DayDecision, Recount, decide};
pub use inputs::{DayInputs, DueDay};
pub use verdict::Verdict;
