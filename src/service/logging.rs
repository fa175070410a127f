//! Logs: to standard error, as text or JSON, at the level of `RUST_LOG`.

use tracing_subscriber::filter::{FilterExt, LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

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

/// Starts logging, at `info` where `RUST_LOG` is absent or invalid; a warning names an invalid one. A
/// second call changes nothing.
pub fn start(is_json: bool, rust_log: Option<&str>, traces: Option<TraceLayer>) {
    let asked = rust_log.unwrap_or("info").parse::<Targets>();
    let unread = asked.as_ref().err().map(ToString::to_string);
    let filter =
        asked.unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO)).and(caps());
    let logs = tracing_subscriber::fmt::layer().with_writer(LogLines::default);
    let logs: Box<dyn Layer<_> + Send + Sync> = if is_json {
        logs.json().flatten_event(true).with_filter(filter).boxed()
    } else {
        logs.with_target(false).with_ansi(is_terminal()).with_filter(filter).boxed()
    };
    // An error means that logging was started before.
    let _ = tracing_subscriber::registry().with(traces).with(logs).try_init();
    if let Some(error) = unread {
        tracing::warn!("RUST_LOG cannot be read ({error}): info is logged");
    }
}

/// What is logged at the most, whatever is asked for.
fn caps() -> Targets {
    let capped = CAPPED.map(|name| (name, LevelFilter::WARN));
    // Lines name their account and day themselves.
    let spans = (spans::TARGET, LevelFilter::OFF);
    Targets::new().with_default(LevelFilter::TRACE).with_targets(capped).with_targets([spans])
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn parts_of_capped_libraries_are_capped_too() {
        let caps = caps();
        for target in ["hyper", "hyper::client", "mongodb::cmap", "hickory_proto::xfer"] {
            assert!(!caps.would_enable(target, &Level::INFO), "{target}");
            assert!(caps.would_enable(target, &Level::WARN), "{target}");
        }
        assert!(caps.would_enable("kubecost_worker::run", &Level::TRACE));
        assert!(!caps.would_enable(spans::TARGET, &Level::ERROR));
    }
}
