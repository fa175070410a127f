//! What the program says of itself: its log while it works, its metrics after each run.

pub mod exposition;
pub mod logging;
pub mod metrics;
pub mod publish;
pub mod serve;
