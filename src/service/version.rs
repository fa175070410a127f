//! What was built: the package's version, and the commit and day that `build.rs` found.

/// The version alone.
pub const SHORT: &str = env!("CARGO_PKG_VERSION");
/// The version, and what it was built from.
pub const LONG: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("KUBECOST_WORKER_BUILD"), ")");
