//! Traces of a command, where the environment asks for them as it does of any OpenTelemetry program.

use crate::service::logging::TraceLayer;

/// The value of an environment variable, by its name.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Each of them alone asks for traces.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// What is sent while a command runs.
#[derive(Default)]
pub(super) struct Traces {
    #[cfg(feature = "otlp")]
    sent: Option<crate::service::traces::Traces>,
}

/// The setting that asks for traces, if one does.
fn asked_by(environment: Environment<'_>) -> Option<&'static str> {
    let is_off =
        environment("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"));
    if is_off {
        return None;
    }
    ENDPOINTS.into_iter().find(|name| environment(name).is_some())
}

#[cfg(feature = "otlp")]
impl Traces {
    /// Begins to send, where that is asked for, once `trust` has set the authorities. Returns the layer that takes them.
    ///
    /// # Errors
    /// When the settings of traces are wrong.
    pub(super) fn begin(
        environment: Environment<'_>,
        trust: &dyn Fn(),
    ) -> Result<(Self, Option<TraceLayer>), String> {
        use tracing_subscriber::Layer;
        use tracing_subscriber::filter::{LevelFilter, Targets};

        let Some(name) = asked_by(environment) else { return Ok((Self::default(), None)) };
        trust();
        let sent = crate::service::traces::Traces::begin()
            .map_err(|what| format!("{name}, or what stands beside it: {what}"))?;
        let spans = Targets::new().with_target(crate::service::spans::TARGET, LevelFilter::INFO);
        let layer = tracing_opentelemetry::layer().with_tracer(sent.tracer()).with_filter(spans);
        Ok((Self { sent: Some(sent) }, Some(layer.boxed())))
    }

    /// Sends what is left.
    pub(super) async fn end(self) {
        if let Some(sent) = self.sent {
            sent.shut_down().await;
        }
    }

    /// Says what cannot be done: nothing.
    pub(super) fn warn(&self, _: Environment<'_>) {}
}

#[cfg(not(feature = "otlp"))]
impl Traces {
    /// Nothing to begin.
    ///
    /// # Errors
    /// Never.
    pub(super) fn begin(
        _: Environment<'_>,
        _: &dyn Fn(),
    ) -> Result<(Self, Option<TraceLayer>), String> {
        Ok((Self::default(), None))
    }

    /// Nothing is left.
    pub(super) async fn end(self) {}

    /// Says that none are sent. No error: clusters set such variables for all that runs in them.
    pub(super) fn warn(&self, environment: Environment<'_>) {
        if let Some(name) = asked_by(environment) {
            tracing::warn!(
                "{name} is set, but this program was built without `--features otlp`: no traces"
            );
        }
    }
}
