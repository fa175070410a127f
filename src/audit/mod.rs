//! Finds, over any range of days, what is wrong with what is stored: `kubecost-worker audit`.
//!
//! [`finding`] decides as a function of what the stores hold; [`survey()`] reads that; [`mend()`] puts
//! right what can be put right from the stores alone. What does not belong here: the source of
//! costs. A day that was mended is marked as not settled, so that the next run computes it again.

pub mod finding;
pub mod mend;
pub mod survey;

pub use finding::{Finding, FindingKind, Survey, findings};
pub use mend::{Mended, mend};
pub use survey::survey;
