//! How a server knows us: the settings `NAME_USER`, `NAME_PASSWORD`, `NAME_TOKEN`, or credentials
//! inside `NAME_URL`.

use super::parse::Reader;
use super::secret::{Endpoint, Secret};

/// How a server knows us.
#[derive(Clone, Debug)]
pub enum Auth {
    /// It does not.
    None,
    /// By user name and password.
    Basic(String, Secret),
    /// By a bearer token.
    Bearer(Secret),
}

impl Auth {
    /// Puts the credentials into a request.
    pub fn apply(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match self {
            Self::None => request,
            Self::Basic(user, password) => request.basic_auth(user, Some(password.expose())),
            Self::Bearer(token) => request.bearer_auth(token.expose()),
        }
    }
}

/// The credentials for the server whose settings begin with `name`, such as `PROMETHEUS`.
pub(super) fn auth(reader: &mut Reader<'_>, name: &str, endpoint: Option<&Endpoint>) -> Auth {
    let setting = |end: &str| format!("{name}_{end}");
    let user = reader.text(&setting("USER"));
    let password = reader.secret(&setting("PASSWORD"));
    let token = reader.secret(&setting("TOKEN"));
    let in_url = endpoint.and_then(|e| e.credentials().cloned());
    let ways = [user.is_some(), token.is_some(), in_url.is_some()];
    if ways.iter().filter(|way| **way).count() > 1 {
        let what = format!(
            "is one of several ways to authenticate that are set: keep one of \
             {name}_USER, {name}_TOKEN and credentials in {name}_URL"
        );
        reader.error(&setting("USER"), &what);
    }
    match (user, password, token, in_url) {
        (Some(user), Some(password), ..) => Auth::Basic(user, password),
        (Some(_), None, ..) => {
            let what = format!("is not set, but {name}_USER is");
            reader.error(&setting("PASSWORD"), &what);
            Auth::None
        }
        (None, Some(_), ..) => {
            let what = format!("is not set, but {name}_PASSWORD is");
            reader.error(&setting("USER"), &what);
            Auth::None
        }
        (None, None, Some(token), _) => Auth::Bearer(token),
        (None, None, None, Some((user, password))) => Auth::Basic(user, password),
        (None, None, None, None) => Auth::None,
    }
}
