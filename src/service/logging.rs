//! Logs: to standard error, as text or JSON, at the level of `RUST_LOG`.

use tracing_subscriber::filter::Directive;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::spans;
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

/// What sends spans and events to a trace collector.
pub type TraceLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts logging. A second call changes nothing.
pub fn start(is_json: bool, rust_log: Option<&str>, traces: Option<TraceLayer>) {
    let mut filter =
        EnvFilter::try_new(rust_log.unwrap_or("info")).unwrap_or_else(|_| EnvFilter::new("info"));
    // Lines name their account and day themselves.
    let spans_off = format!("{}=off", spans::TARGET);
    let capped = CAPPED.map(|name| format!("{name}=warn"));
    for text in capped.into_iter().chain([spans_off]) {
        if let Ok(directive) = text.parse::<Directive>() {
            filter = filter.add_directive(directive);
        }
    }
    let logs = tracing_subscriber::fmt::layer().with_writer(LogLines::default);
    let logs: Box<dyn Layer<_> + Send + Sync> = if is_json {
        logs.json().flatten_event(true).with_filter(filter).boxed()
    } else {
        logs.with_target(false).with_ansi(is_terminal()).with_filter(filter).boxed()
    };
    // An error means that logging was started before.
    let _ = tracing_subscriber::registry().with(traces).with(logs).try_init();
}
