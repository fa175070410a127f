//! `kubecost-worker`: brings Kubernetes costs into CloudTuner. See `kubecost-worker --help`.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// The C library's allocator took a third of the worker's own CPU: `cargo bench --bench size`, 10 000
/// pods, each allocator preloaded.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    ExitCode::from(kubecost_worker::commands::run(std::env::args_os().collect()).await)
}
