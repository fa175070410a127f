//! Who may read a page: credentials compared in a time that does not depend on what they are.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::settings::auth::Auth;

/// A secret that others must show. What is kept of it is a hash: hashes are of one length, so a
/// comparison says nothing about how long the secret is either.
#[derive(Clone)]
pub struct ExpectedSecret([u8; 32]);

impl ExpectedSecret {
    /// The secret to be shown.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Whether what was shown is the secret.
    #[must_use]
    pub fn is(&self, shown: &[u8]) -> bool {
        let shown: [u8; 32] = Sha256::digest(shown).into();
        self.0.ct_eq(&shown).into()
    }
}

/// Who may read `/metrics`.
#[derive(Clone)]
pub enum Access {
    /// Everybody.
    Open,
    /// Who shows this user name and password, joined by a colon.
    Basic(ExpectedSecret),
    /// Who shows this token.
    Bearer(ExpectedSecret),
}

impl Access {
    /// Those who authenticate in this way.
    #[must_use]
    pub fn of(auth: &Auth) -> Self {
        match auth {
            Auth::None => Self::Open,
            Auth::Basic(user, password) => {
                Self::Basic(ExpectedSecret::new(&format!("{user}:{}", password.expose())))
            }
            Auth::Bearer(token) => Self::Bearer(ExpectedSecret::new(token.expose())),
        }
    }

    /// Lets a request pass.
    ///
    /// # Errors
    /// The answer to one that shows no credentials, or other ones: 401.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Box<Response>> {
        let shown = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
        let shown = shown.and_then(|value| std::str::from_utf8(value).ok());
        let (scheme, credentials) = shown.and_then(|v| v.split_once(' ')).unwrap_or_default();
        let (wanted, is_right) = match self {
            Self::Open => return Ok(()),
            Self::Basic(expected) => {
                let decoded = BASE64_STANDARD.decode(credentials.trim()).unwrap_or_default();
                ("Basic", expected.is(&decoded))
            }
            Self::Bearer(expected) => ("Bearer", expected.is(credentials.trim().as_bytes())),
        };
        if is_right && scheme.eq_ignore_ascii_case(wanted) {
            return Ok(());
        }
        let challenge = [(header::WWW_AUTHENTICATE, format!("{wanted} realm=\"metrics\""))];
        let refusal = (StatusCode::UNAUTHORIZED, challenge, "credentials are needed\n");
        Err(Box::new(refusal.into_response()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Secret;

    fn answer(access: &Access, authorization: Option<&str>) -> u16 {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        access.check(&headers).map_or_else(|response| response.status().as_u16(), |()| 200)
    }

    #[test]
    fn only_the_right_credentials_pass() {
        let basic = Access::of(&Auth::Basic("me".into(), Secret::new("hush:hush")));
        let right = format!("Basic {}", BASE64_STANDARD.encode("me:hush:hush"));
        assert_eq!(answer(&basic, Some(&right)), 200);
        assert_eq!(answer(&basic, Some(&right.replace("Basic", "basic"))), 200);
        let bearer = Access::of(&Auth::Bearer(Secret::new("t0ken")));
        assert_eq!(answer(&bearer, Some("Bearer t0ken")), 200);
        let wrong = format!("Basic {}", BASE64_STANDARD.encode("me:hush"));
        for shown in [None, Some(""), Some("Basic"), Some("Basic !"), Some(&wrong)] {
            assert_eq!(answer(&basic, shown), 401, "{shown:?}");
            assert_eq!(answer(&Access::Open, shown), 200, "{shown:?}");
        }
        for shown in
            [None, Some("Bearer t0ken2"), Some("Bearer "), Some("Basic t0ken"), Some(&right)]
        {
            assert_eq!(answer(&bearer, shown), 401, "{shown:?}");
        }
    }
}
