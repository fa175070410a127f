//! `kubecost-worker`: brings Kubernetes costs into CloudTuner. See `kubecost-worker --help`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    ExitCode::from(kubecost_worker::commands::run(std::env::args_os().collect()).await)
}
