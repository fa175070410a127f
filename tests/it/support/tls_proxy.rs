//! A certificate authority of a test's own, and TLS before a server that has none.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A certificate authority that nobody trusts by default.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// An authority with a key of its own. All have one name: it is the key that counts.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        params.distinguished_name.push(DnType::CommonName, "an authority of the tests");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Writes the certificate that makes others trust it.
    pub(crate) fn write(&self, path: &Path) {
        std::fs::write(path, &self.pem).unwrap();
    }

    /// Writes a client's certificate and its key; returns the settings that name them.
    pub(crate) fn client(&self, directory: &Path) -> [(&'static str, String); 2] {
        let (certificate, key) = self.signed("a client of the tests");
        let files = [
            ("CLIENT_CERT_FILE", "client.crt", certificate.pem()),
            ("CLIENT_KEY_FILE", "client.key", key.serialize_pem()),
        ];
        files.map(|(setting, name, pem)| {
            let path = directory.join(name);
            std::fs::write(&path, pem).unwrap();
            (setting, path.to_str().unwrap().to_owned())
        })
    }

    fn signed(&self, name: &str) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// What a server on this machine needs to prove itself, and whose clients it serves, if it
    /// asks for certificates of theirs.
    fn server(&self, clients: Option<&Self>) -> ServerConfig {
        let (certificate, key) = self.signed("a server of the tests");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(clients.pem.as_bytes()).unwrap()).unwrap();
                let roots = Arc::new(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        builder.with_single_cert(vec![certificate.der().clone()], key).unwrap()
    }
}

/// TLS before a server.
pub(crate) struct TlsProxy {
    /// `localhost:PORT`.
    pub(crate) address: String,
    trusted: Arc<AtomicUsize>,
}

impl TlsProxy {
    /// Takes connections for the server of a URL, with a certificate of this authority. With
    /// `clients` it serves only those who show a certificate of that authority.
    pub(crate) async fn before(
        url: &str,
        authority: &Authority,
        clients: Option<&Authority>,
    ) -> Self {
        let url = url::Url::parse(url).unwrap();
        let server = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("localhost:{}", listener.local_addr().unwrap().port());
        let acceptor = TlsAcceptor::from(Arc::new(authority.server(clients)));
        let trusted = Arc::new(AtomicUsize::new(0));
        let count = trusted.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, server, count) = (acceptor.clone(), server.clone(), count.clone());
                tokio::spawn(async move {
                    let mut stream = match acceptor.accept(stream).into_fallible().await {
                        Ok(stream) => stream,
                        // One of the two does not trust the other. What the client still sends is
                        // read, for closing at once would take the reason from it.
                        Err((_, mut stream)) => {
                            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                            return;
                        }
                    };
                    let mut server = TcpStream::connect(server).await.unwrap();
                    count.fetch_add(1, Ordering::SeqCst);
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
                });
            }
        });
        Self { address, trusted }
    }

    /// How many connections came about, each side trusting the other.
    pub(crate) fn trusted(&self) -> usize {
        self.trusted.load(Ordering::SeqCst)
    }
}
