//! Logs: to standard error, as text or JSON, at the level of `RUST_LOG`.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

use super::terminal::{LogLines, is_terminal};

/// Libraries whose detailed logs may hold headers or connection strings: they are capped,
/// whatever `RUST_LOG` says.
const CAPPED: [&str; 11] = [
    "h2",
    "hyper",
    "hyper_util",
    "hyper_rustls",
    "reqwest",
    "rustls",
    "mongodb",
    "clickhouse",
    "hickory_proto",
    "hickory_resolver",
    "tokio_cron_scheduler",
];

/// Starts logging. A second call changes nothing.
pub fn start(is_json: bool, rust_log: Option<&str>) {
    let mut filter =
        EnvFilter::try_new(rust_log.unwrap_or("info")).unwrap_or_else(|_| EnvFilter::new("info"));
    for name in CAPPED {
        if let Ok(directive) = format!("{name}=warn").parse::<Directive>() {
            filter = filter.add_directive(directive);
        }
    }
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(LogLines::default);
    // An error means that logging was started before.
    let _ = if is_json {
        logs.json().flatten_event(true).try_init()
    } else {
        logs.with_target(false).with_ansi(is_terminal()).try_init()
    };
}
