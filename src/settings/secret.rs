//! Texts that must not be seen, and addresses that may hold one.

use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// A secret text. `Debug` and `Display` never show it.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text itself, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

/// An HTTP address whose user name and password, if any, are kept apart and never shown.
#[derive(Clone, Debug)]
pub struct Endpoint {
    url: Url,
    credentials: Option<(String, Secret)>,
}

impl Endpoint {
    /// Takes `http://[user:password@]host[:port][/path]`.
    ///
    /// # Errors
    /// A text that says what is wrong, without the address' credentials.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut url = Url::parse(text).map_err(|e| format!("is no URL: {e}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("has the scheme '{}', not http or https", url.scheme()));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("has no host".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("has a query or a fragment, which an address cannot have".to_owned());
        }
        let user = percent_decoded(url.username());
        let credentials = match (user.is_empty(), url.password()) {
            (true, None) => None,
            (_, password) => Some((user, Secret::new(percent_decoded(password.unwrap_or(""))))),
        };
        // Both can only fail for URLs without a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok(Self { url, credentials })
    }

    /// The address without credentials.
    #[must_use]
    pub fn redacted(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// The address with a path added to its own.
    #[must_use]
    pub fn join(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{}", path.trim_start_matches('/')));
        url
    }

    /// The credentials that stood in the address.
    #[must_use]
    pub fn credentials(&self) -> Option<&(String, Secret)> {
        self.credentials.as_ref()
    }
}

/// Undoes `%41` and the like; what is no UTF-8 then is kept as replacement characters.
fn percent_decoded(text: &str) -> String {
    let pair = format!("k={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(pair.as_bytes())
        .next()
        .map_or_else(String::new, |(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_out_of_the_address() {
        let endpoint = Endpoint::parse("https://us%40er:p%20w+d@h.example:8443/base/").unwrap();
        assert_eq!(endpoint.redacted(), "https://h.example:8443/base");
        let (user, password) = endpoint.credentials().unwrap();
        assert_eq!((user.as_str(), password.expose()), ("us@er", "p w+d"));
        assert!(!format!("{endpoint:?}").contains("p w+d"));
        assert_eq!(endpoint.join("/api/v1").as_str(), "https://h.example:8443/base/api/v1");
    }

    #[test]
    fn what_is_no_http_address_is_refused_with_the_reason() {
        for (text, part) in [
            ("prometheus:9090", "scheme"),
            ("not a url", "no URL"),
            ("ftp://h", "scheme 'ftp'"),
            ("http://h?x=1", "query"),
        ] {
            let error = Endpoint::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
