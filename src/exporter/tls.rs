//! HTTPS for the metrics: the certificate is read at the start, and again when it changes.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::poller::unusable;
use crate::service::failure::Failure;
use crate::settings::exporter::ServingTls;

/// A client that does not finish its handshake in this time is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that wait to be served; more wait in the kernel.
const QUEUE: usize = 16;
/// Pause after a failed accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Accepts TLS connections; handshakes run beside each other, so a slow one holds up nobody.
pub(super) struct TlsListener {
    accepted: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl TlsListener {
    /// Starts to accept on `listener`.
    pub(super) fn new(listener: TcpListener, files: &ServingTls) -> Result<Self, Failure> {
        let mut certificate = Certificate::read(files)?;
        let address = listener.local_addr().map_err(|error| {
            let what = format!("no address to serve on: {error}");
            unusable(what, "set LISTEN_ADDR to an address of this machine")
        })?;
        let (sender, accepted) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            // Ends with the server: nobody receives any more.
            while !sender.is_closed() {
                let connection = tokio::select! {
                    () = sender.closed() => return,
                    connection = listener.accept() => connection,
                };
                let Ok((stream, peer)) = connection else {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                };
                certificate.refresh();
                let (acceptor, sender) = (certificate.acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                        Ok(Ok(stream)) => drop(sender.send((stream, peer)).await),
                        Ok(Err(error)) => tracing::debug!(%peer, "TLS handshake failed: {error}"),
                        Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
                    }
                });
            }
        });
        Ok(Self { accepted, address })
    }
}

/// The certificate and key that connections are served with, and the state of their files.
struct Certificate {
    files: ServingTls,
    state: [Option<FileState>; 2],
    acceptor: TlsAcceptor,
}

/// What changes when a file is written or replaced.
type FileState = (std::time::SystemTime, u64);

impl Certificate {
    fn read(files: &ServingTls) -> Result<Self, Failure> {
        let state = file_state(files);
        let acceptor = TlsAcceptor::from(Arc::new(server_config(files)?));
        Ok(Self { files: files.clone(), state, acceptor })
    }

    /// Reads the files again when they have changed. Files that cannot be used, such as one half
    /// of a new pair, leave the certificate as it was and are read again at the next connection.
    fn refresh(&mut self) {
        if file_state(&self.files) == self.state {
            return;
        }
        match Self::read(&self.files) {
            Ok(renewed) => {
                tracing::info!("the certificate was read again");
                *self = renewed;
            }
            Err(failure) => tracing::warn!(%failure, "the certificate stays as it was"),
        }
    }
}

fn file_state(files: &ServingTls) -> [Option<FileState>; 2] {
    [&files.certificate, &files.key].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.accepted.recv().await {
            Some(connection) => connection,
            // The accepting task never ends before this listener.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

fn server_config(files: &ServingTls) -> Result<ServerConfig, Failure> {
    let unreadable = |path: &Path, error: &dyn std::fmt::Display| {
        let what = format!("'{}' cannot be used to serve HTTPS: {error}", path.display());
        unusable(what, "see METRICS_TLS_CERT_FILE and METRICS_TLS_KEY_FILE: both must be PEM")
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(&files.certificate, &error))?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| unreadable(&files.key, &error))?;
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unreadable(&files.certificate, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| unreadable(&files.certificate, &error))
}
