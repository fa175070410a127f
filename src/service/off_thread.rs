//! Work that takes long, on a thread where it holds up nobody else.

use super::failure::{Failure, Hop, Kind, REPORT};

/// Does work on a thread of its own; `what` names it, as "computing costs".
///
/// # Errors
/// When the work panicked.
pub async fn off_thread<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        let what = format!("{what} broke off: {error}");
        Failure::new(Hop::Worker, Kind::Internal, what, REPORT)
    })
}
