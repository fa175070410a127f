//! Where pages are served, and who may read the metrics among them.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::auth::Auth;
use super::raw::Setting;
use super::reader::Reader;

/// Certificate and key to serve HTTPS with.
#[derive(Clone, Debug)]
pub struct ServingTls {
    /// PEM file of the certificate chain.
    pub certificate: PathBuf,
    /// PEM file of the key.
    pub key: PathBuf,
    /// The settings that name these files, for messages.
    pub settings: [Setting; 2],
}

/// Where pages are served.
#[derive(Clone, Debug)]
pub struct Serving {
    /// The address.
    pub address: SocketAddr,
    /// The setting that names it, for messages.
    pub address_setting: Setting,
    /// Certificate and key, if over HTTPS.
    pub tls: Option<ServingTls>,
}

/// The settings that say where pages are served.
#[derive(Clone, Copy, Debug)]
pub struct ServingSettings {
    /// The address.
    pub address: Setting,
    /// An address, for messages.
    pub example: &'static str,
    /// The certificate's file.
    pub certificate: Setting,
    /// The key's file.
    pub key: Setting,
}

impl ServingSettings {
    /// Reads them. `Some(None)`: the address is empty, so nothing is served.
    pub(super) fn read(self, reader: &mut Reader<'_>) -> Option<Option<Serving>> {
        let tls = self.tls(reader);
        let Some(text) = reader.optional_text(self.address) else { return Some(None) };
        let Ok(address) = text.parse() else {
            let what = format!("'{text}' is no address and port; an example: {}", self.example);
            reader.error(self.address, &what);
            return None;
        };
        Some(Some(Serving { address, address_setting: self.address, tls }))
    }

    /// Reads them where something must be served.
    pub(super) fn required(self, reader: &mut Reader<'_>) -> Option<Serving> {
        let serving = self.read(reader)?;
        if serving.is_none() {
            let what = format!("is empty; an example: {}", self.example);
            reader.error(self.address, &what);
        }
        serving
    }

    fn tls(self, reader: &mut Reader<'_>) -> Option<ServingTls> {
        let certificate = reader.optional_text(self.certificate).map(PathBuf::from);
        let key = reader.optional_text(self.key).map(PathBuf::from);
        match (certificate, key) {
            (Some(certificate), Some(key)) => {
                Some(ServingTls { certificate, key, settings: [self.certificate, self.key] })
            }
            (None, None) => None,
            (Some(_), None) => {
                reader.error(self.key, &format!("is not set, but {} is", self.certificate.name));
                None
            }
            (None, Some(_)) => {
                reader.error(self.certificate, &format!("is not set, but {} is", self.key.name));
                None
            }
        }
    }
}

/// The settings that say who may read the metrics.
#[derive(Clone, Copy, Debug)]
pub struct AccessSettings {
    /// User name for basic authentication.
    pub user: Setting,
    /// Its password.
    pub password: Setting,
    /// Bearer token.
    pub token: Setting,
}

impl AccessSettings {
    /// Reads them; charts set what they have no value for to nothing, which is no credential.
    pub(super) fn read(self, reader: &mut Reader<'_>) -> Option<Auth> {
        let user = reader.optional_text(self.user);
        let password = reader.optional_secret(self.password);
        let token = reader.optional_secret(self.token);
        let [user_name, password_name] = [self.user, self.password].map(|setting| setting.name);
        match (user, password, token) {
            (Some(user), Some(password), None) if !user.contains(':') => {
                Some(Auth::Basic(user, password))
            }
            (None, None, Some(token)) => Some(Auth::Bearer(token)),
            (None, None, None) => Some(Auth::None),
            (Some(_), Some(_), None) => {
                reader.error(self.user, "has a colon, which ends a user name");
                None
            }
            (_, _, Some(_)) => {
                let what = format!("is set, and {user_name} or {password_name} too: keep one way");
                reader.error(self.token, &what);
                None
            }
            (Some(_), None, None) => {
                reader.error(self.password, &format!("is not set, but {user_name} is"));
                None
            }
            (None, Some(_), None) => {
                reader.error(self.user, &format!("is not set, but {password_name} is"));
                None
            }
        }
    }
}
