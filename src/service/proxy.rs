//! Which proxy an HTTP client of this process goes through, as the environment says, and what a
//! proxy's failures mean.

use std::sync::OnceLock;

use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{Response, StatusCode};
use url::Url;

use crate::service::failure::{Failure, Hop, Kind, causes, excerpt};

const FIX_CREDENTIALS: &str =
    "put a user and a password into HTTPS_PROXY and HTTP_PROXY, or let NO_PROXY name the server";

/// The proxy before a server, without its credentials: `http://proxy.example.org:3128`.
fn before(server: &Url) -> Option<String> {
    // The HTTP library reads the environment by the same rules.
    static OF_ENVIRONMENT: OnceLock<Matcher> = OnceLock::new();
    found(OF_ENVIRONMENT.get_or_init(Matcher::from_system), server)
}

fn found(proxies: &Matcher, server: &Url) -> Option<String> {
    let intercept = proxies.intercept(&server.as_str().parse::<Uri>().ok()?)?;
    let proxy = intercept.uri();
    let port = proxy.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}://{}{port}", proxy.scheme_str()?, proxy.host()?))
}

/// The failure of a connection that did not come about through a proxy, if one is in the way.
#[must_use]
pub fn connect_failure(hop: Hop, what: &str, error: &reqwest::Error) -> Option<Failure> {
    let proxy = before(error.url()?)?;
    error.is_connect().then(|| of_connection(hop, what, &proxy, &causes(error)))
}

fn of_connection(hop: Hop, what: &str, proxy: &str, causes: &str) -> Failure {
    if causes.contains("proxy authorization required") {
        return wants_credentials(hop, what, Some(proxy));
    }
    let what = format!("{what} through the proxy {proxy}: {}", excerpt(causes));
    let fix = "check that the proxy is up and lets this server be reached, or let NO_PROXY name \
               the server";
    Failure::new(hop, Kind::Unavailable, what, fix)
}

/// The failure of a reply that is a proxy's: it asks for credentials of its own.
#[must_use]
pub fn refusal(hop: Hop, what: &str, response: &Response) -> Option<Failure> {
    let is_refused = response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED;
    is_refused.then(|| wants_credentials(hop, what, before(response.url()).as_deref()))
}

fn wants_credentials(hop: Hop, what: &str, proxy: Option<&str>) -> Failure {
    let proxy = proxy.map_or_else(|| "a proxy".to_owned(), |proxy| format!("the proxy {proxy}"));
    let what = format!("{what}: {proxy} asks for a user and a password (407)");
    Failure::new(hop, Kind::Denied, what, FIX_CREDENTIALS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> Matcher {
        let proxy = "http://user:hunter2@proxy.example:3128";
        Matcher::builder().http(proxy).https(proxy).no("localhost,.svc").build()
    }

    #[test]
    fn the_proxy_in_use_is_found_and_its_password_is_not_shown() {
        let found = |url: &str| found(&proxies(), &Url::parse(url).unwrap());
        let proxy = Some("http://proxy.example:3128".to_owned());
        assert_eq!(found("https://thanos.example/?token=hush"), proxy);
        assert_eq!(found("http://thanos.example:9090"), proxy);
        assert_eq!(found("http://localhost:9090"), None);
        assert_eq!(found("http://thanos.monitoring.svc:9090"), None);
    }

    #[test]
    fn what_fails_at_a_proxy_names_it() {
        let refused =
            "client error (Connect): tcp connect error: Connection refused (os error 111)";
        let failure = of_connection(Hop::RestApi, "asking", "http://p:3128", refused);
        assert_eq!(failure.kind, Kind::Unavailable);
        assert!(failure.what.contains("through the proxy http://p:3128: "), "{failure}");
        assert!(failure.fix.contains("NO_PROXY"), "{failure}");
        let tunnel = "client error (Connect): tunnel error: proxy authorization required";
        let failure = of_connection(Hop::RestApi, "asking", "http://p:3128", tunnel);
        assert_eq!(failure.kind, Kind::Denied);
        assert!(failure.what.contains("http://p:3128 asks for a user"), "{failure}");
        assert!(failure.fix.contains("HTTPS_PROXY"), "{failure}");
    }
}
