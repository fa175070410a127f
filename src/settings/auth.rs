//! How this program authenticates at a server: the settings `NAME_USER`, `NAME_PASSWORD`,
//! `NAME_TOKEN`, or credentials inside `NAME_URL`.

use super::raw::Setting;
use super::reader::Reader;
use super::secret::{Endpoint, Secret};

/// How requests to a server are authenticated.
#[derive(Clone, Debug)]
pub enum Auth {
    /// Not at all.
    None,
    /// By user name and password.
    Basic(String, Secret),
    /// By a bearer token.
    Bearer(Secret),
}

impl Auth {
    /// The credentials that stand in an address, if any do.
    #[must_use]
    pub fn in_address(endpoint: &Endpoint) -> Self {
        endpoint
            .credentials()
            .cloned()
            .map_or(Self::None, |(user, password)| Self::Basic(user, password))
    }

    /// Puts the credentials into a request.
    pub fn apply(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match self {
            Self::None => request,
            Self::Basic(user, password) => request.basic_auth(user, Some(password.expose())),
            Self::Bearer(token) => request.bearer_auth(token.expose()),
        }
    }
}

/// The settings that say how to authenticate at one server.
#[derive(Clone, Copy, Debug)]
pub struct AuthSettings {
    /// The server's address, which may hold credentials.
    pub url: Setting,
    /// User name for basic authentication.
    pub user: Setting,
    /// Its password.
    pub password: Setting,
    /// Bearer token.
    pub token: Setting,
}

impl AuthSettings {
    /// Reads them; `endpoint` is the address, where it could be read.
    pub(super) fn read(self, reader: &mut Reader<'_>, endpoint: Option<&Endpoint>) -> Option<Auth> {
        let user = reader.text(self.user);
        let password = reader.secret(self.password);
        let token = reader.secret(self.token);
        let in_url = endpoint.map_or(Auth::None, Auth::in_address);
        let ways = [user.is_some(), token.is_some(), !matches!(in_url, Auth::None)];
        let [url_name, user_name, token_name] = [self.url, self.user, self.token].map(|s| s.name);
        if ways.iter().filter(|way| **way).count() > 1 {
            let what = format!(
                "is one of several ways to authenticate that are set: keep one of {user_name}, \
                 {token_name} and credentials in {url_name}"
            );
            reader.error(self.user, &what);
        }
        match (user, password, token) {
            (Some(user), Some(password), _) => Some(Auth::Basic(user, password)),
            (Some(_), None, _) => {
                reader.error(self.password, &format!("is not set, but {user_name} is"));
                None
            }
            (None, Some(_), _) => {
                let password_name = self.password.name;
                reader.error(self.user, &format!("is not set, but {password_name} is"));
                None
            }
            (None, None, Some(token)) => Some(Auth::Bearer(token)),
            (None, None, None) => Some(in_url),
        }
    }
}
