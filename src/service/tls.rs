//! Whom this process trusts over TLS, and how it proves itself: the same at every hop.
//!
//! What belongs here: the built-in authorities, the system's and those of the settings, joined, and
//! the client's own certificate.
//! What does not: what a failed handshake means (`failure`).

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once, OnceLock};

use base64::Engine;
use reqwest::ClientBuilder;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};

use crate::settings::raw::{RawSettings, SettingError};
use crate::settings::reader::Reader;
use crate::settings::tls::{ClientTls, ClientTlsSettings, IdentityFiles, NamedFile};

/// The longest file of certificates that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Of a directory of certificates this many files are read.
const DIRECTORY_FILES_MAX: usize = 2_000;
/// Where systems keep the authorities they trust, in one file each.
const SYSTEM_FILES: [&str; 6] = [
    // Debian, Alpine, Arch, Gentoo.
    "/etc/ssl/certs/ca-certificates.crt",
    // Fedora and RHEL, of today and earlier.
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    // openSUSE.
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/ssl/cert.pem",
];

/// Chooses the process' TLS implementation, once; a client cannot be built before.
pub fn install_tls() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // It fails only where one is chosen already, and then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// Whom clients trust, and how they prove themselves. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Tls {
    config: ClientConfig,
    trusted_pem: Option<Vec<u8>>,
    identity_pem: Option<Vec<u8>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files that settings name, and the system's.
    ///
    /// # Errors
    /// All that is wrong with the files of the settings; never a part of their text. What is wrong
    /// with the system's is ignored, as every program does.
    pub fn read(files: &ClientTls) -> Result<Self, Vec<SettingError>> {
        let own = files.authorities.as_ref().map(authorities).transpose();
        let identity = files.identity.as_ref().map(Identity::read).transpose();
        let (own, identity) = match (own, identity) {
            (Ok(own), Ok(identity)) => (own, identity),
            (own, identity) => return Err(own.err().into_iter().chain(identity.err()).collect()),
        };
        let (file, directories) = (std::env::var_os(FILE), std::env::var_os(DIRECTORIES));
        Ok(Self::of(system_pem(file.as_deref(), directories.as_deref()), own, identity))
    }

    /// Trusts the built-in authorities and these.
    fn of(system_pem: Vec<u8>, own_pem: Option<Vec<u8>>, identity: Option<Identity>) -> Self {
        install_tls();
        let roots = joined(&system_pem, own_pem.as_deref().unwrap_or_default());
        let trusted_pem = own_pem.map(|own| [system_pem, own].join(&b'\n'));
        let builder = ClientConfig::builder().with_root_certificates(roots);
        match identity {
            None => Self { config: builder.with_no_client_auth(), trusted_pem, identity_pem: None },
            Some(Identity { certified, pem }) => {
                let resolver = Arc::new(SingleCertAndKey::from(certified));
                let config = builder.with_client_cert_resolver(resolver);
                Self { config, trusted_pem, identity_pem: Some(pem) }
            }
        }
    }

    /// For clients that take the library's own form.
    #[must_use]
    pub fn config(&self) -> ClientConfig {
        self.config.clone()
    }

    /// Has an HTTP client use it.
    pub fn applied(&self, builder: ClientBuilder) -> ClientBuilder {
        let mut config = self.config();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        builder.tls_backend_preconfigured(config)
    }

    /// For clients that read files only: the system's authorities and those of the settings, in
    /// PEM. `None`: the settings name none. The built-in ones have no such form.
    #[must_use]
    pub fn trusted_pem(&self) -> Option<&[u8]> {
        self.trusted_pem.as_deref()
    }

    /// For clients that read files only: the client's certificate chain and its key, in PEM. It is
    /// a secret.
    #[must_use]
    pub fn identity_pem(&self) -> Option<&[u8]> {
        self.identity_pem.as_deref()
    }
}

static OF_PROCESS: OnceLock<Tls> = OnceLock::new();

/// What the clients of this process use: what [`set_up`] found, or else what needs no settings.
pub fn of_process() -> &'static Tls {
    OF_PROCESS.get_or_init(|| {
        Tls::read(&ClientTls::default()).unwrap_or_else(|_| Tls::of(Vec::new(), None, None))
    })
}

/// Has the clients of this process use the files that the settings name, and notes what is wrong
/// with them. The first set holds for the whole process.
pub fn set_up(settings: ClientTlsSettings, raw: &mut RawSettings) {
    let files = settings.read(&mut Reader::new(raw));
    match Tls::read(&files) {
        Ok(tls) => drop(OF_PROCESS.set(tls)),
        Err(errors) => errors.iter().for_each(|error| raw.error(&error.name, &error.what)),
    }
}

/// How a client proves itself.
struct Identity {
    certified: CertifiedKey,
    /// Chain and key. A secret.
    pem: Vec<u8>,
}

impl Identity {
    /// What is wrong never quotes the files: a key that is not quite PEM would be shown.
    fn read(files: &IdentityFiles) -> Result<Self, SettingError> {
        let chain = certificates(&files.certificate, &read_named(&files.certificate)?)?;
        let key = PrivateKeyDer::from_pem_slice(&read_named(&files.key)?);
        let key = key.map_err(|_| {
            wrong(&files.key, "holds no private key in PEM (PKCS#8, PKCS#1 or SEC1, not encrypted)")
        })?;
        let mut pem = Vec::new();
        for certificate in &chain {
            write_pem(&mut pem, "CERTIFICATE", certificate);
        }
        let kind = match &key {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        write_pem(&mut pem, kind, key.secret_der());
        let provider = rustls::crypto::ring::default_provider();
        let certified =
            CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    let of = files.certificate.path.display();
                    wrong(&files.key, &format!("is not the key of the certificate in '{of}'"))
                }
                rustls::Error::InvalidCertificate(_) => {
                    wrong(&files.certificate, "holds no certificate that can be used")
                }
                _ => wrong(&files.key, "holds a private key that cannot be used"),
            })?;
        Ok(Self { certified, pem })
    }
}

fn write_pem(text: &mut Vec<u8>, kind: &str, der: &[u8]) {
    const LINE_LENGTH: usize = 64;
    let encoded = base64::engine::general_purpose::STANDARD.encode(der);
    text.extend_from_slice(format!("-----BEGIN {kind}-----\n").as_bytes());
    for line in encoded.as_bytes().chunks(LINE_LENGTH) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend_from_slice(format!("-----END {kind}-----\n").as_bytes());
}

/// A file of authorities with at least one that can be used.
fn authorities(file: &NamedFile) -> Result<Vec<u8>, SettingError> {
    let pem = read_named(file)?;
    if RootCertStore::empty().add_parsable_certificates(certificates(file, &pem)?).0 == 0 {
        return Err(wrong(file, "holds no certificate that can be used"));
    }
    Ok(pem)
}

/// The certificates in a file with this text: at least one.
fn certificates(
    file: &NamedFile,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, SettingError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(wrong(file, "holds no certificate in PEM")),
        Ok(found) => Ok(found),
        Err(_) => Err(wrong(file, "holds what is no certificate in PEM")),
    }
}

fn read_named(file: &NamedFile) -> Result<Vec<u8>, SettingError> {
    read_bounded(&file.path).map_err(|error| wrong(file, &format!("cannot be read: {error}")))
}

fn wrong(file: &NamedFile, what: &str) -> SettingError {
    let what = format!("'{}' {what}", file.path.display());
    SettingError { name: file.setting.name.to_owned(), what }
}

/// The built-in authorities and these beside them.
fn joined(system_pem: &[u8], own_pem: &[u8]) -> RootCertStore {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for pem in [system_pem, own_pem] {
        let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
        roots.add_parsable_certificates(certificates);
    }
    roots
}

/// The variables that name other places than the system's, as OpenSSL has them.
const FILE: &str = "SSL_CERT_FILE";
const DIRECTORIES: &str = "SSL_CERT_DIR";

/// The system's authorities: those of the file and the directories that the environment names, or
/// else of the first file that there is.
fn system_pem(file: Option<&OsStr>, directories: Option<&OsStr>) -> Vec<u8> {
    let [file, directories] =
        [file, directories].map(|value| value.filter(|value| !value.is_empty()));
    if file.is_none() && directories.is_none() {
        let read = |path: &&str| read_bounded(Path::new(path)).ok();
        return SYSTEM_FILES.iter().find_map(read).unwrap_or_default();
    }
    let directories = directories.into_iter().flat_map(std::env::split_paths);
    let files =
        file.map(PathBuf::from).into_iter().chain(directories.flat_map(|path| files_in(&path)));
    let texts: Vec<_> = files.filter_map(|path| read_bounded(&path).ok()).collect();
    texts.join(&b'\n')
}

fn files_in(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .take(DIRECTORY_FILES_MAX)
        .collect()
}

/// A file that is no longer than one of certificates can be.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::worker::{CLIENT_TLS, SETTINGS};

    fn certificate() -> String {
        let name = vec!["localhost".to_owned()];
        rcgen::generate_simple_self_signed(name).unwrap().cert.pem()
    }

    #[test]
    fn authorities_of_the_settings_stand_beside_the_systems_and_the_built_in_ones() {
        let (system, own) = (certificate(), certificate());
        let roots = joined(system.as_bytes(), own.as_bytes());
        let built_in = webpki_roots::TLS_SERVER_ROOTS;
        assert!(built_in.len() > 100);
        assert_eq!(roots.len(), built_in.len() + 2);
        assert!(built_in.iter().all(|anchor| roots.roots.contains(anchor)));
        let tls = Tls::of(system.clone().into_bytes(), Some(own.clone().into_bytes()), None);
        let joined = String::from_utf8(tls.trusted_pem().unwrap().to_vec()).unwrap();
        assert!(joined.contains(&system) && joined.contains(&own));
        assert!(Tls::of(system.into_bytes(), None, None).trusted_pem().is_none());
    }

    #[test]
    fn the_systems_authorities_are_where_the_environment_says() {
        let folder = tempfile::tempdir().unwrap();
        let (file, inside) = (folder.path().join("one.pem"), folder.path().join("more"));
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(&file, "one").unwrap();
        std::fs::write(inside.join("two.pem"), "two").unwrap();
        let found = |file: Option<&Path>, directories: Option<&Path>| {
            let pem = system_pem(file.map(Path::as_os_str), directories.map(Path::as_os_str));
            String::from_utf8(pem).unwrap()
        };
        assert_eq!(found(Some(&file), None), "one");
        assert_eq!(found(None, Some(&inside)), "two");
        assert_eq!(found(Some(&file), Some(&inside)), "one\ntwo");
        assert_eq!(found(Some(Path::new("/no/such/file")), None), "");
        assert_eq!(found(Some(Path::new("")), None), found(None, None));
    }

    #[test]
    fn a_file_without_a_usable_certificate_is_named_by_its_setting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let garbled = "-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n";
        for (text, part) in [
            ("", "holds no certificate in PEM"),
            ("-----BEGIN CERTIFICATE-----\nx", "holds what is no certificate in PEM"),
            (garbled, "holds no certificate that can be used"),
        ] {
            std::fs::write(&path, text).unwrap();
            let mut raw = RawSettings::of(SETTINGS, &[("CA_FILE", path.to_str().unwrap())]);
            set_up(CLIENT_TLS, &mut raw);
            assert!(
                raw.errors[0].name == "CA_FILE" && raw.errors[0].what.contains(part),
                "{raw:?}"
            );
        }
    }

    struct Identified {
        folder: tempfile::TempDir,
        made: rcgen::CertifiedKey<rcgen::KeyPair>,
    }

    impl Identified {
        fn new() -> Self {
            let name = vec!["worker".to_owned()];
            let made = rcgen::generate_simple_self_signed(name).unwrap();
            let this = Self { folder: tempfile::tempdir().unwrap(), made };
            this.write(&this.made.cert.pem(), &this.made.signing_key.serialize_pem());
            this
        }

        fn write(&self, certificate: &str, key: &str) {
            std::fs::write(self.folder.path().join("tls.crt"), certificate).unwrap();
            std::fs::write(self.folder.path().join("tls.key"), key).unwrap();
        }

        fn read(&self) -> Result<Tls, Vec<SettingError>> {
            let paths = ["tls.crt", "tls.key"].map(|name| self.folder.path().join(name));
            let [certificate, key] = paths.map(|path| path.to_str().unwrap().to_owned());
            let pairs = [("CLIENT_CERT_FILE", &*certificate), ("CLIENT_KEY_FILE", &*key)];
            let mut raw = RawSettings::of(SETTINGS, &pairs);
            Tls::read(&CLIENT_TLS.read(&mut Reader::new(&mut raw)))
        }
    }

    #[test]
    fn a_client_certificate_is_shown_and_its_key_is_not() {
        let identified = Identified::new();
        let tls = identified.read().unwrap();
        assert!(tls.config().client_auth_cert_resolver.has_certs());
        let pem = tls.identity_pem().unwrap().to_vec();
        let key = PrivateKeyDer::from_pem_slice(&pem).unwrap();
        assert_eq!(key.secret_der(), identified.made.signing_key.serialized_der());
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem).map(Result::unwrap).collect();
        assert_eq!(chain, [identified.made.cert.der().clone()]);
        assert_eq!(format!("{tls:?}"), "Tls { .. }");
        assert!(!Tls::of(Vec::new(), None, None).config().client_auth_cert_resolver.has_certs());
    }

    #[test]
    fn what_is_wrong_with_a_client_certificate_quotes_no_key() {
        let (one, other) = (Identified::new(), Identified::new());
        let certificate = one.made.cert.pem();
        let key = one.made.signing_key.serialize_pem();
        let other_key = other.made.signing_key.serialize_pem();
        let flat = key.replace('\n', "");
        for (certificate, key, name, part) in [
            (&*certificate, &*other_key, "CLIENT_KEY_FILE", "is not the key of the certificate"),
            (&*certificate, &*flat, "CLIENT_KEY_FILE", "holds no private key in PEM"),
            (&*certificate, &*certificate, "CLIENT_KEY_FILE", "holds no private key in PEM"),
            (&*key, &*key, "CLIENT_CERT_FILE", "holds no certificate in PEM"),
        ] {
            one.write(certificate, key);
            let errors = one.read().unwrap_err();
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].name == name && errors[0].what.contains(part), "{errors:?}");
            let secret = key.lines().find(|line| !line.starts_with("-----")).unwrap_or("MIG");
            assert!(!errors[0].what.contains(secret), "{errors:?}");
        }
        let mut raw = RawSettings::of(SETTINGS, &[("CLIENT_CERT_FILE", "/tls.crt")]);
        set_up(CLIENT_TLS, &mut raw);
        assert_eq!(raw.errors[0].name, "CLIENT_KEY_FILE", "{raw:?}");
        assert!(raw.errors[0].what.contains("CLIENT_CERT_FILE is"), "{raw:?}");
    }

    #[test]
    fn all_that_is_wrong_with_the_files_is_noted_at_once() {
        let pairs = [
            ("CA_FILE", "/no/such/ca"),
            ("CLIENT_CERT_FILE", "/no/such/crt"),
            ("CLIENT_KEY_FILE", "/no/such/key"),
        ];
        let mut raw = RawSettings::of(SETTINGS, &pairs);
        set_up(CLIENT_TLS, &mut raw);
        let names: Vec<_> = raw.errors.iter().map(|error| error.name.as_str()).collect();
        assert_eq!(names, ["CA_FILE", "CLIENT_CERT_FILE"]);
    }
}
