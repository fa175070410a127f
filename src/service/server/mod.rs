//! The one HTTP server of both programs: bounded in connections, time and memory.
//!
//! A client can hold a connection, a few KiB of memory and a few seconds, and no more. When all
//! connections are taken, the one that waits longest for its client gives way: half-open
//! connections do not keep others from being answered.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::service::failure::{Failure, Hop, Kind};
use crate::settings::serving::Serving;

use certificate::Certificate;
use slots::{Slot, Slots};

mod certificate;
mod slots;

/// Pause after a failed accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Most headers of a request.
const HEADERS_MAX: usize = 100;

/// What clients can take from the server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections.
    pub connections_max: usize,
    /// Bytes of a request's head; a longer one is answered with 431.
    pub header_bytes_max: usize,
    /// Time for a TLS handshake, and for each request's head.
    pub header_timeout: Duration,
    /// Time from a request's head to the last byte of its answer.
    pub answer_timeout: Duration,
    /// Time that answers under way are given when the server stops.
    pub stop_timeout: Duration,
}

impl Limits {
    /// Those of both programs.
    pub const DEFAULT: Self = Self {
        connections_max: 64,
        header_bytes_max: 16 << 10,
        header_timeout: Duration::from_secs(10),
        answer_timeout: Duration::from_secs(60),
        stop_timeout: Duration::from_secs(5),
    };
}

/// A server that listens; nobody is answered before [`run`](Self::run).
pub struct Server {
    listener: TcpListener,
    certificate: Option<Certificate>,
    address: SocketAddr,
    limits: Limits,
}

impl Server {
    /// Listens where the settings say.
    ///
    /// # Errors
    /// When the address cannot be listened on, or the certificate and its key cannot be used.
    pub async fn bind(serving: &Serving, hop: Hop) -> Result<Self, Failure> {
        let name = serving.address_setting.name;
        let unusable = |error: std::io::Error| {
            let what = format!("cannot listen on {name} {}: {error}", serving.address);
            Failure::new(hop, Kind::Unavailable, what, format!("set {name} to a free address"))
        };
        let listener = TcpListener::bind(serving.address).await.map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;
        let certificate = match &serving.tls {
            Some(files) => Some(Certificate::read(files, hop)?),
            None => None,
        };
        Ok(Self { listener, certificate, address, limits: Limits::DEFAULT })
    }

    /// The same server with other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Where it listens, as `http://127.0.0.1:9091`.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Answers until `stop` is done, then finishes what is being answered.
    pub async fn run(mut self, router: Router, stop: impl Future<Output = ()> + Send) {
        let slots = Slots::new(self.limits.connections_max);
        let (stopping, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            let Ok((stream, peer)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let Some(slot) = slots.take(Instant::now()) else {
                tracing::warn!(%peer, "all connections are busy: this one is closed");
                continue;
            };
            let connection = Connection {
                slot: Arc::new(slot),
                limits: self.limits,
                acceptor: self.certificate.as_mut().map(Certificate::acceptor),
                router: router.clone(),
                stopped: stopped.clone(),
            };
            connections.spawn(async move {
                if let Err(error) = connection.serve(stream).await {
                    tracing::debug!(%peer, "connection ended: {error}");
                }
            });
        }
        drop(self.listener);
        let _ = stopping.send(true);
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(self.limits.stop_timeout, all).await.is_err() {
            tracing::warn!("clients that read too slowly are cut off");
        }
    }
}

/// Why a connection ended otherwise than by its client's wish.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the TLS handshake failed: {0}")]
    Handshake(#[from] std::io::Error),
    #[error("the TLS handshake took too long")]
    SlowHandshake,
    #[error("it gave way to another one")]
    GaveWay,
    #[error("its answer took too long")]
    SlowAnswer,
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

/// What serves one connection.
struct Connection {
    slot: Arc<Slot>,
    limits: Limits,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    stopped: watch::Receiver<bool>,
}

impl Connection {
    async fn serve(self, stream: TcpStream) -> Result<(), Ended> {
        let Some(acceptor) = self.acceptor.clone() else { return self.answer(stream).await };
        let handshake = tokio::time::timeout(self.limits.header_timeout, acceptor.accept(stream));
        let stream = tokio::select! {
            done = handshake => done.map_err(|_| Ended::SlowHandshake)??,
            () = self.slot.gives_way() => return Err(Ended::GaveWay),
        };
        self.answer(stream).await
    }

    async fn answer(
        mut self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<(), Ended> {
        let router = TowerToHyperService::new(self.router);
        let slot = Arc::clone(&self.slot);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let (router, slot) = (router.clone(), Arc::clone(&slot));
            slot.answering(Instant::now());
            async move {
                let response = router.call(request.map(Body::new) as Request).await?;
                Ok::<Response, Infallible>(response.map(|inner| Body::new(Held { inner, slot })))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_timeout)
            .max_buf_size(self.limits.header_bytes_max)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let slot = self.slot;
        let cut_off = async {
            tokio::select! {
                () = slot.gives_way() => Ended::GaveWay,
                () = answers_too_slowly(&slot, self.limits.answer_timeout) => Ended::SlowAnswer,
            }
        };
        let mut cut_off = std::pin::pin!(cut_off);
        tokio::select! {
            ended = connection.as_mut() => return Ok(ended?),
            why = &mut cut_off => return Err(why),
            // The sender is never dropped before it has sent.
            _ = self.stopped.wait_for(|stopped| *stopped) => {
                connection.as_mut().graceful_shutdown();
            }
        }
        tokio::select! {
            ended = connection => Ok(ended?),
            why = cut_off => Err(why),
        }
    }
}

/// Done when one request has been answered for longer than `most`.
async fn answers_too_slowly(slot: &Slot, most: Duration) {
    loop {
        // A request that begins while this sleeps is looked at when it wakes.
        let since = slot.answering_since().unwrap_or_else(Instant::now);
        tokio::time::sleep_until(since + most).await;
        if slot.answering_since().is_some_and(|since| since.elapsed() >= most) {
            return;
        }
    }
}

/// An answer's body; its connection waits for its client again when the body is done with.
struct Held {
    inner: Body,
    slot: Arc<Slot>,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.slot.waiting(Instant::now());
    }
}

#[cfg(test)]
mod tests;
