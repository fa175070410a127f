//! What every part of both programs stands on: failures, HTTP, the clock, logging.

pub mod access;
pub mod batcher;
pub mod certificate_failure;
pub mod clock;
pub mod failure;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod nameless_file;
pub mod off_thread;
pub mod proxy;
pub mod server;
pub mod shown;
pub mod spans;
pub mod terminal;
pub mod tls;
#[cfg(feature = "otlp")]
pub mod traces;
pub mod usd;
pub mod version;
pub mod whole_file;
pub mod wrap;
