//! The certificate that HTTPS is served with: read at the start, and again when its files change.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::service::failure::{Failure, Hop, Kind};
use crate::settings::serving::ServingTls;

/// What changes when a file is written or replaced.
type FileState = (SystemTime, u64);

/// The certificate and key that connections are served with, and the state of their files.
pub(super) struct Certificate {
    files: ServingTls,
    hop: Hop,
    state: [Option<FileState>; 2],
    acceptor: TlsAcceptor,
}

impl Certificate {
    pub(super) fn read(files: &ServingTls, hop: Hop) -> Result<Self, Failure> {
        let state = file_state(files);
        let acceptor = TlsAcceptor::from(Arc::new(server_config(files, hop)?));
        Ok(Self { files: files.clone(), hop, state, acceptor })
    }

    /// What the next connection is accepted with.
    ///
    /// Files that have changed are read again. Files that cannot be used, such as one half of a
    /// new pair, leave the certificate as it was and are read again at the next connection.
    pub(super) fn acceptor(&mut self) -> TlsAcceptor {
        if file_state(&self.files) != self.state {
            match Self::read(&self.files, self.hop) {
                Ok(renewed) => {
                    tracing::info!("the certificate was read again");
                    *self = renewed;
                }
                Err(failure) => tracing::warn!(%failure, "the certificate stays as it was"),
            }
        }
        self.acceptor.clone()
    }
}

fn file_state(files: &ServingTls) -> [Option<FileState>; 2] {
    [&files.certificate, &files.key].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

fn server_config(files: &ServingTls, hop: Hop) -> Result<ServerConfig, Failure> {
    let [certificate_setting, key_setting] = files.settings.map(|setting| setting.name);
    let unusable = |path: &Path, error: &dyn std::fmt::Display| {
        let what = format!("'{}' cannot be used to serve HTTPS: {error}", path.display());
        let fix = format!("see {certificate_setting} and {key_setting}: both must be PEM");
        Failure::new(hop, Kind::Internal, what, fix)
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(&files.certificate, &error))?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| unusable(&files.key, &error))?;
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&files.certificate, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| unusable(&files.certificate, &error))
}
