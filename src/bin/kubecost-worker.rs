//! `kubecost-worker`: brings Kubernetes costs into CloudTuner. See `kubecost-worker --help`.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Replies, documents and rows are many small values; with the system's allocator a third of the
/// worker's CPU went to it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    ExitCode::from(kubecost_worker::commands::run(std::env::args_os().collect()).await)
}
