//! Why a stored number is what it is: from the row back to the samples.
//!
//! ```text
//! stored row + document + status        (stores)
//! source's numbers of the day, again    (query layer) ──► same roll-up ──► equal to the row, or why not
//! ```
//!
//! `read` is the only module that reads anything; `build` and `questions` are functions of values.
//! What belongs here: one number. What does not: sums over days (`report`).

pub mod build;
pub mod model;
pub mod number;
mod pod;
pub mod questions;
pub mod read;
pub mod text;

pub use build::build;
pub use model::{Explanation, Hour, Question, Wanted};
pub use number::ExplainStores;
pub use questions::{Asked, Layer};
pub use read::{HourReader, explain};
