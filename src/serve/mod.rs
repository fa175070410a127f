//! `serve`: Metroculus' answers about Kubernetes costs, from the ledger and the query layer.
//!
//! ```text
//! request ──► gather (ledger, day status) ◄── look (query layer) ──► costs ──► sums ──► reply
//! (pure)      (reads)                         (reads)                 (pure)
//! ```
//!
//! Past days are read from the ledger. A day that is not settled is computed from the query layer
//! by the same code as a run's, so that what is answered is what the next run stores. What belongs
//! here: questions, answers and their bounds. What does not: money rules (`cost`, `run::day`).

mod answers;
mod cache;
mod costs;
mod day;
mod error;
mod gather;
mod look;
mod metrics;
pub mod openapi;
mod reply;
mod request;
pub mod router;
mod savings;
mod span;
mod sums;

pub use answers::Answers;
pub use gather::Gatherer;
pub use router::{Pages, router};
pub use savings::Savings;
