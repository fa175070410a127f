//! The way to HTTP servers: one kind of client, replies of bounded size, errors as [`Failure`]s.
//!
//! What belongs here: what every HTTP client of this program needs. What does not: what a reply
//! means (`query`, `rest_api`).

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use url::Url;

use crate::service::certificate_failure::certificate_failure;
use crate::service::failure::{Failure, Hop, Kind, REPORT, causes, chain, excerpt};
use crate::service::{proxy, tls};

pub use crate::service::tls::install_tls;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How many redirects are followed: a proxy's, say, from one path to another.
const REDIRECTS_MAX: usize = 3;
/// The header `User-Agent`.
const USER_AGENT: &str = concat!("kubecost-worker/", env!("CARGO_PKG_VERSION"));

/// A client whose whole exchanges, from connecting to the last byte, take at most `timeout`.
///
/// # Errors
/// When no client can be built on this machine.
pub fn client(timeout: Duration) -> Result<Client, Failure> {
    let builder = tls::of_process()
        .applied(Client::builder())
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout)
        .redirect(redirects());
    builder.build().map_err(|error| {
        let what = format!("an HTTP client cannot be made: {}", excerpt(&chain(&error)));
        Failure::new(Hop::Worker, Kind::Internal, what, REPORT).caused_by(error)
    })
}

/// Which redirects every client of this program follows: a few, within one origin. The headers go
/// with them, secrets among them. Others are not followed, and so are a reply with a status of 3xx.
#[must_use]
pub fn redirects() -> Policy {
    Policy::custom(|attempt| {
        let stays = attempt
            .previous()
            .last()
            .is_some_and(|from: &Url| from.origin() == attempt.url().origin());
        if attempt.previous().len() > REDIRECTS_MAX {
            attempt.error("too many redirects")
        } else if stays {
            attempt.follow()
        } else {
            attempt.stop()
        }
    })
}

/// The whole body of a reply, unless it is longer than `bytes_max` (after decompression).
///
/// # Errors
/// [`Kind::BadReply`] when it is longer; what [`transport_failure`] says when it breaks off.
pub async fn read_bounded(
    response: Response,
    bytes_max: u64,
    hop: Hop,
) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| transport_failure(hop, "reading the reply", error))?;
        if body.len() as u64 + chunk.len() as u64 > bytes_max {
            return Err(too_long(hop, bytes_max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The failure of a reply that is longer than `bytes_max`.
#[must_use]
pub fn too_long(hop: Hop, bytes_max: u64) -> Failure {
    let what = format!("the reply is longer than {bytes_max} bytes and was not read further");
    let fix = "check that the address is the right one and what it answers";
    Failure::new(hop, Kind::BadReply, what, fix)
}

/// What a client's error says of what stands between it and a server: a certificate, or a proxy.
#[must_use]
pub fn fault_between(hop: Hop, what: &str, error: &reqwest::Error) -> Option<Failure> {
    // Through a proxy, too, it is mostly the server's certificate.
    certificate_failure(hop, what, &causes(error))
        .or_else(|| proxy::connect_failure(hop, what, error))
}

/// What a client's error means: `what` says what was being done, as "asking for accounts".
#[must_use]
pub fn transport_failure(hop: Hop, what: &str, error: reqwest::Error) -> Failure {
    let known = fault_between(hop, what, &error);
    // The address may hold a secret in its query, and the caller names the server anyway.
    let error = error.without_url();
    if let Some(failure) = known {
        return failure.caused_by(error);
    }
    let (kind, fix) = if error.is_timeout() {
        (Kind::Timeout, "check that the server is up and how loaded it is")
    } else if error.is_redirect() {
        (Kind::BadReply, "let the address be the address that it redirects to")
    } else if error.is_decode() {
        (Kind::BadReply, "check what the server, or a proxy before it, answers")
    } else if error.is_builder() {
        (Kind::Internal, "check the address and the credentials for characters they cannot have")
    } else {
        (Kind::Unavailable, "check that the server is up and reachable from here")
    };
    let what = format!("{what}: {}", excerpt(&chain(&error)));
    Failure::new(hop, kind, what, fix).caused_by(error)
}

/// What kind of failure a status other than success is, whichever the server.
#[must_use]
pub fn kind_of_status(status: StatusCode) -> Kind {
    match status.as_u16() {
        401 | 403 | 407 => Kind::Denied,
        429 => Kind::Overloaded,
        500..=599 => Kind::Unavailable,
        _ => Kind::BadReply,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::HeaderMap;
    use axum::routing::get;

    const WAIT: Duration = Duration::from_secs(5);

    async fn serve(router: Router) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        format!("http://{address}")
    }

    async fn body_of(bytes_max: u64, length: usize) -> Result<Vec<u8>, Failure> {
        let url = serve(Router::new().route("/", get(move || async move { "x".repeat(length) })));
        let response = client(WAIT).unwrap().get(url.await).send().await.unwrap();
        read_bounded(response, bytes_max, Hop::RestApi).await
    }

    #[tokio::test]
    async fn a_reply_is_read_up_to_its_limit_and_not_beyond() {
        assert_eq!(body_of(1_000, 1_000).await.unwrap().len(), 1_000);
        let failure = body_of(999, 1_000).await.unwrap_err();
        assert_eq!((failure.hop, failure.kind), (Hop::RestApi, Kind::BadReply));
        assert!(failure.what.contains("999 bytes"), "{failure}");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_unavailable_and_its_address_is_not_shown() {
        let sent = client(WAIT).unwrap().get("http://127.0.0.1:1/?token=hunter2").send().await;
        let failure = transport_failure(Hop::QueryLayer, "asking", sent.unwrap_err());
        assert_eq!(failure.kind, Kind::Unavailable, "{failure}");
        assert!(failure.what.contains("refused"), "{failure}");
        assert!(!failure.to_string().contains("hunter2"), "{failure}");
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_a_time_out() {
        let silent = Router::new().route("/", get(std::future::pending::<String>));
        let client = client(Duration::from_millis(50)).unwrap();
        let sent = client.get(serve(silent).await).send().await;
        let failure = transport_failure(Hop::QueryLayer, "asking", sent.unwrap_err());
        assert_eq!(failure.kind, Kind::Timeout, "{failure}");
    }

    #[tokio::test]
    async fn a_redirect_is_followed_within_its_origin_only() {
        let there = serve(Router::new().route("/", get(|| async { "another port" }))).await;
        let here = |target: String| {
            Router::new()
                .route(
                    "/there",
                    get(|headers: HeaderMap| async move {
                        headers["secret"].to_str().unwrap().to_owned()
                    }),
                )
                .route("/", get(move || async move { axum::response::Redirect::to(&target) }))
        };
        let ask = async |target: &str| {
            let request = client(WAIT).unwrap().get(serve(here(target.to_owned())).await);
            let reply = request.header("Secret", "hush").send().await.unwrap();
            (reply.status().as_u16(), reply.text().await.unwrap())
        };
        assert_eq!(ask("/there").await, (200, "hush".to_owned()));
        let other_host = there.replace("127.0.0.1", "localhost");
        let other_scheme = there.replace("http:", "https:");
        for target in [&there, &other_host, &other_scheme] {
            assert_eq!(ask(target).await, (303, String::new()), "{target}");
        }
    }

    #[tokio::test]
    async fn a_circle_of_redirects_ends() {
        let circle = Router::new().route("/", get(|| async { axum::response::Redirect::to("/") }));
        let sent = client(WAIT).unwrap().get(serve(circle).await).send().await;
        let failure = transport_failure(Hop::QueryLayer, "asking", sent.unwrap_err());
        assert!(failure.what.contains("redirect"), "{failure}");
    }
}
