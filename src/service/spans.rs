//! The steps of a run as spans. Logs leave them out; traces (the feature `otlp`) are made of them.
//!
//! What a span is called and holds is in `docs/OPERATIONS.md`. None holds a secret or a query.

/// The target of every span.
pub const TARGET: &str = "spans";

/// A span of a step: `step!("read")`, with fields as those of [`tracing::info_span`].
macro_rules! step {
    ($name:literal $(, $($fields:tt)*)?) => {
        tracing::info_span!(target: $crate::service::spans::TARGET, $name $(, $($fields)*)?)
    };
}
pub(crate) use step;
