//! The allocation API of Kubecost and OpenCost: what to ask it for and how to read its answers.
//!
//! `window` (closed windows), `keys`, `number`, `row` and `reply` (answers as typed rows) and `verdict`
//! (what is not to be accepted) are pure; `client` does the asking. What belongs here: everything
//! that both the exporter and the worker need of that API. What does not: gauges (`exporter`) and
//! days of an account (`query::allocation_api`).

pub mod client;
pub mod keys;
mod number;
pub mod reply;
pub mod row;
pub mod verdict;
pub mod window;

pub use client::{AllocationClient, Asker, ClientOptions, Idle, Request};
pub use reply::{Product, Reply};
pub use row::{AllocationSet, Costs, Fault, Faults, Row};
pub use verdict::{Refusal, Selected};
pub use window::Window;
