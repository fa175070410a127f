//! Which files hold the certificates for connections to servers.

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
}

/// The settings that name these files.
#[derive(Clone, Copy, Debug)]
pub struct ClientTlsSettings {
    /// The authorities' file, by each of its names; one of them may be set.
    pub authorities: &'static [Setting],
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
        ClientTls { authorities }
    }
}

fn named_file(reader: &mut Reader<'_>, setting: Setting) -> Option<NamedFile> {
    let path = reader.optional_text(setting).map(PathBuf::from)?;
    Some(NamedFile { setting, path })
}
