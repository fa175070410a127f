//! Spans sent to an OTLP receiver by HTTP. The settings are those of every OpenTelemetry program
//! (`OTEL_EXPORTER_OTLP_ENDPOINT` and its kin), which the library reads from the environment:
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>.

use std::time::Duration;

use bytes::Bytes;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::runtime::Handle;

use crate::service::failure::Failure;
use crate::service::{http, version};

/// How long a batch of spans may take to send, and the last one at the end of the program.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most that a receiver's reply may hold.
const REPLY_BYTES_MAX: u64 = 64 << 10;

/// Sends spans until it is [shut down](Self::shut_down).
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Begins to send; needs the runtime of tokio.
    ///
    /// # Errors
    /// What the settings lack.
    pub fn begin() -> Result<Self, String> {
        let client = http::client(TIMEOUT).map_err(|failure: Failure| failure.to_string())?;
        let sender = OnRuntime { client, runtime: Handle::current() };
        let exporter = SpanExporter::builder().with_http().with_http_client(sender).build();
        let exporter = exporter.map_err(|error| error.to_string())?;
        let named = std::env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty());
        let mut resource = Resource::builder();
        if !named {
            resource = resource.with_service_name(env!("CARGO_PKG_NAME"));
        }
        let version = opentelemetry::KeyValue::new("service.version", version::SHORT);
        let resource = resource.with_attribute(version).build();
        let provider = SdkTracerProvider::builder().with_resource(resource);
        Ok(Self(provider.with_batch_exporter(exporter).build()))
    }

    /// Where spans go.
    #[must_use]
    pub fn tracer(&self) -> SdkTracer {
        self.0.tracer(env!("CARGO_PKG_NAME"))
    }

    /// Sends what is left.
    pub async fn shut_down(self) {
        let provider = self.0;
        // It waits for the last batch, which is sent on this runtime.
        let done = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(TIMEOUT));
        if let Ok(Err(error)) = done.await {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

/// This program's HTTP client, for a thread outside of the runtime that the client needs.
#[derive(Clone, Debug)]
struct OnRuntime {
    client: reqwest::Client,
    runtime: Handle,
}

#[async_trait::async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move {
            let response = client.execute(request.try_into()?).await?;
            let status = response.status();
            let hop = crate::service::failure::Hop::Worker;
            let body = http::read_bounded(response, REPLY_BYTES_MAX, hop).await?;
            let mut reply = Response::new(Bytes::from(body));
            *reply.status_mut() = status;
            Ok::<_, HttpError>(reply)
        });
        sent.await?
    }
}
