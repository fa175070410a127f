//! Headers that every request to a server has, such as `X-Scope-OrgID: tenant`.

use reqwest::header::{HeaderName, HeaderValue};

use super::secret::Secret;

/// What stands for the account's id in a header's value.
const ACCOUNT: &str = "{account}";

/// Headers by name. Values are secret: a token may be among them.
#[derive(Clone, Debug, Default)]
pub struct RequestHeaders(Vec<(HeaderName, Secret)>);

impl RequestHeaders {
    /// Parses `Name: value`, several on lines of their own or separated by commas.
    ///
    /// # Errors
    /// What is wrong, without any value.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines: Vec<String> = Vec::new();
        for line in text.lines() {
            for (index, piece) in line.split(',').enumerate() {
                match lines.last_mut() {
                    // A comma inside of a value.
                    Some(last) if index > 0 && !begins_header(piece) => {
                        last.push(',');
                        last.push_str(piece);
                    }
                    _ => lines.push(piece.to_owned()),
                }
            }
        }
        lines.retain(|line| !line.trim().is_empty());
        let parsed = lines.iter().zip(1..).map(|(line, number)| {
            let wrong = || format!("header {number} is not of the form 'Name: value'");
            let (name, value) = line.split_once(':').ok_or_else(wrong)?;
            let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
            let value = value.trim();
            if value.is_empty() || HeaderValue::from_str(value).is_err() {
                return Err(format!("the value of the header {name} is empty or no header's"));
            }
            Ok((name, Secret::new(value)))
        });
        parsed.collect::<Result<_, _>>().map(Self)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether some value names the account: then one request can be about one account only.
    #[must_use]
    pub fn name_account(&self) -> bool {
        self.0.iter().any(|(_, value)| value.expose().contains(ACCOUNT))
    }

    /// The same headers, with the account's id where it belongs.
    #[must_use]
    pub fn for_account(&self, account: &str) -> Self {
        let of = |(name, value): &(HeaderName, Secret)| {
            (name.clone(), Secret::new(value.expose().replace(ACCOUNT, account)))
        };
        Self(self.0.iter().map(of).collect())
    }

    /// Puts the headers into a request, but none that lacks its account's id.
    pub fn apply(&self, mut request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        for (name, value) in self.0.iter().filter(|(_, value)| !value.expose().contains(ACCOUNT)) {
            if let Ok(mut value) = HeaderValue::from_str(value.expose()) {
                value.set_sensitive(true);
                request = request.header(name, value);
            }
        }
        request
    }
}

/// Whether a text begins like `Name: ` does, unlike an address.
fn begins_header(text: &str) -> bool {
    let Some((name, value)) = text.trim_start().split_once(':') else { return false };
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !name.is_empty() && name.chars().all(is_name) && !value.starts_with("//")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(text: &str, account: &str) -> Vec<(String, String)> {
        crate::service::http::install_tls();
        let client = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
        let headers = RequestHeaders::parse(text).unwrap().for_account(account);
        let request = headers.apply(client.get("http://h/")).build().unwrap();
        let of = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        request.headers().iter().map(of).collect()
    }

    #[test]
    fn headers_are_lines_or_a_comma_list_and_may_name_the_account() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let wanted = [pair("x-scope-orgid", "kube-a-1"), pair("x-extra", "b, c d")];
        assert_eq!(sent("X-Scope-OrgID: kube-{account}\nX-Extra: b, c d\n", "a-1"), wanted);
        assert_eq!(sent("X-Scope-OrgID:kube-{account},X-Extra: b, c d", "a-1"), wanted);
        let one = sent("X-From: a,http://b,c", "");
        assert_eq!(one, [pair("x-from", "a,http://b,c")]);
    }

    #[test]
    fn a_header_that_lacks_its_account_is_not_sent() {
        let headers = RequestHeaders::parse("X-Scope-OrgID: {account}").unwrap();
        assert!(headers.name_account());
        let client = reqwest::Client::builder().tls_certs_only([]);
        crate::service::http::install_tls();
        let request = headers.apply(client.build().unwrap().get("http://h/")).build().unwrap();
        assert!(request.headers().is_empty());
    }

    #[test]
    fn what_is_wrong_is_said_without_any_value() {
        for text in ["hunter2", "X-A hunter2", "X A: hunter2", "X-A: hunter2\nhunter2"] {
            let error = RequestHeaders::parse(text).unwrap_err();
            assert!(!error.contains("hunter2") && error.contains("header"), "{error}");
        }
        assert!(RequestHeaders::parse("X-A: ").unwrap_err().contains("x-a"));
        assert!(!format!("{:?}", RequestHeaders::parse("X-A: hunter2")).contains("hunter2"));
        assert!(RequestHeaders::parse("\n").unwrap().is_empty());
    }
}
