//! Which files hold the certificates and the key for connections to servers.

use std::path::PathBuf;

use super::raw::Setting;
use super::reader::Reader;

/// A file, and the setting that names it.
#[derive(Clone, Debug)]
pub struct NamedFile {
    /// The setting, for messages.
    pub setting: Setting,
    /// Where the file is.
    pub path: PathBuf,
}

/// The files for connections to servers.
#[derive(Clone, Debug, Default)]
pub struct ClientTls {
    /// PEM file of certificate authorities to trust beside the usual ones.
    pub authorities: Option<NamedFile>,
    /// The client's own certificate.
    pub identity: Option<IdentityFiles>,
}

/// The files by which a client proves itself.
#[derive(Clone, Debug)]
pub struct IdentityFiles {
    /// PEM file of the certificate chain.
    pub certificate: NamedFile,
    /// PEM file of its private key.
    pub key: NamedFile,
}

/// The settings that name these files.
#[derive(Clone, Copy, Debug)]
pub struct ClientTlsSettings {
    /// The authorities' file, by each of its names; one of them may be set.
    pub authorities: &'static [Setting],
    /// The client's certificate.
    pub certificate: Setting,
    /// Its key.
    pub key: Setting,
}

impl ClientTlsSettings {
    /// Reads them.
    pub fn read(self, reader: &mut Reader<'_>) -> ClientTls {
        let mut authorities: Option<NamedFile> = None;
        for setting in self.authorities {
            let Some(file) = named_file(reader, *setting) else { continue };
            match &authorities {
                Some(first) => {
                    let what = format!("is set, and {} too: keep one", first.setting.name);
                    reader.error(*setting, &what);
                }
                None => authorities = Some(file),
            }
        }
        ClientTls { authorities, identity: self.identity(reader) }
    }

    fn identity(self, reader: &mut Reader<'_>) -> Option<IdentityFiles> {
        let certificate = named_file(reader, self.certificate);
        let key = named_file(reader, self.key);
        let (missing, set) = match (certificate, key) {
            (Some(certificate), Some(key)) => return Some(IdentityFiles { certificate, key }),
            (None, None) => return None,
            (Some(_), None) => (self.key, self.certificate),
            (None, Some(_)) => (self.certificate, self.key),
        };
        reader.error(missing, &format!("is not set, but {} is", set.name));
        None
    }
}

fn named_file(reader: &mut Reader<'_>, setting: Setting) -> Option<NamedFile> {
    let path = reader.optional_text(setting).map(PathBuf::from)?;
    Some(NamedFile { setting, path })
}
