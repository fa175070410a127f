//! Whom this process trusts over TLS: one set of certificate authorities for every hop.
//!
//! What belongs here: the built-in authorities, the system's and those of the settings, joined.
//! What does not: what a failed handshake means (`failure`).

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Once, OnceLock};

use reqwest::ClientBuilder;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::settings::raw::{RawSettings, SettingError};
use crate::settings::reader::Reader;
use crate::settings::tls::{ClientTls, ClientTlsSettings, NamedFile};

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

/// Whom clients trust.
#[derive(Clone)]
pub struct Tls {
    config: ClientConfig,
    trusted_pem: Option<Vec<u8>>,
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
        let own = match files.authorities.as_ref().map(authorities).transpose() {
            Ok(own) => own,
            Err(error) => return Err(vec![error]),
        };
        let (file, directories) = (std::env::var_os(FILE), std::env::var_os(DIRECTORIES));
        Ok(Self::of(system_pem(file.as_deref(), directories.as_deref()), own))
    }

    /// Trusts the built-in authorities and these.
    fn of(system_pem: Vec<u8>, own_pem: Option<Vec<u8>>) -> Self {
        install_tls();
        let roots = joined(&system_pem, own_pem.as_deref().unwrap_or_default());
        let trusted_pem = own_pem.map(|own| [system_pem, own].join(&b'\n'));
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self { config, trusted_pem }
    }

    /// For clients that take the library's own form.
    #[must_use]
    pub fn config(&self) -> ClientConfig {
        self.config.clone()
    }

    /// Has an HTTP client use it.
    #[must_use]
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
}

static OF_PROCESS: OnceLock<Tls> = OnceLock::new();

/// What the clients of this process use: what [`set_up`] found, or else what needs no settings.
pub fn of_process() -> &'static Tls {
    OF_PROCESS.get_or_init(|| {
        Tls::read(&ClientTls::default()).unwrap_or_else(|_| Tls::of(Vec::new(), None))
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

/// The certificates in a file of the settings: at least one that can be used.
fn authorities(file: &NamedFile) -> Result<Vec<u8>, SettingError> {
    let shown = file.path.display();
    let wrong = |what| SettingError { name: file.setting.name.to_owned(), what };
    let pem = read_bounded(&file.path)
        .map_err(|error| wrong(format!("'{shown}' cannot be read: {error}")))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| wrong(format!("'{shown}' holds what is no certificate in PEM")))?;
    if certificates.is_empty() {
        return Err(wrong(format!("'{shown}' holds no certificate in PEM")));
    }
    if RootCertStore::empty().add_parsable_certificates(certificates).0 == 0 {
        return Err(wrong(format!("'{shown}' holds no certificate that can be used")));
    }
    Ok(pem)
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
        let tls = Tls::of(system.clone().into_bytes(), Some(own.clone().into_bytes()));
        let joined = String::from_utf8(tls.trusted_pem().unwrap().to_vec()).unwrap();
        assert!(joined.contains(&system) && joined.contains(&own));
        assert!(Tls::of(system.into_bytes(), None).trusted_pem().is_none());
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
}
