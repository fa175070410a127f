//! What errors of TLS libraries mean: whose certificate is not accepted, why, and what mends it.

use crate::service::failure::{Failure, Hop, Kind, excerpt};

use Fault::{ClientRefused, ClientWanted, ClosedAtOnce, Expired, OtherName, UnknownAuthority};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The server asks for a certificate and got none.
    ClientWanted,
    /// The server does not accept the client's.
    ClientRefused,
    /// It closed the connection right after the handshake, before it was asked anything: with TLS
    /// 1.3 a server refuses a client's certificate then, and its words may be lost.
    ClosedAtOnce,
    /// The server's is over, or not valid yet.
    Expired,
    /// The server's is of another host.
    OtherName,
    /// The server's is of an authority that is not trusted.
    UnknownAuthority,
}

/// Words of the libraries, in lower case; the first that is found decides. An alert is what the
/// server says of the client, in the same words as the client's of the server.
const WORDS: &[(&str, Fault)] = &[
    ("alert: certificaterequired", ClientWanted),
    ("alert certificate required", ClientWanted),
    ("alert: unknownca", ClientRefused),
    ("alert: badcertificate", ClientRefused),
    ("alert: certificate", ClientRefused),
    ("alert: unsupportedcertificate", ClientRefused),
    // Its authority has a name that the server knows, with another key.
    ("alert: decrypterror", ClientRefused),
    ("certificate expired", Expired),
    ("certificate has expired", Expired),
    ("certificate not valid yet", Expired),
    ("peer certificate: notvalidyet", Expired),
    ("peer certificate: expired", Expired),
    ("certificate not valid for name", OtherName),
    ("peer certificate: notvalidforname", OtherName),
    ("unknownissuer", UnknownAuthority),
    // An authority of a known name, with another key.
    ("badsignature", UnknownAuthority),
    ("unknown issuer", UnknownAuthority),
    ("unknown ca", UnknownAuthority),
    ("self-signed certificate", UnknownAuthority),
    ("self signed certificate", UnknownAuthority),
    ("local issuer certificate", UnknownAuthority),
    // Of hyper; any other word says more.
    ("connection was not ready", ClosedAtOnce),
];

/// The failure of a certificate that is not accepted, if an error's text says so; `what` says what
/// was being done.
#[must_use]
pub fn certificate_failure(hop: Hop, what: &str, text: &str) -> Option<Failure> {
    let lower = text.to_ascii_lowercase();
    let found = WORDS.iter().find_map(|(word, fault)| Some((lower.find(word)?, *fault)));
    let (at, fault) = found?;
    let (cause, fix) = match fault {
        UnknownAuthority => return Some(Failure::unknown_authority(hop, what, "CA_FILE")),
        // Without TLS it has nothing to do with certificates.
        ClosedAtOnce => return what.contains("https:").then(|| closed_at_once(hop, what)),
        ClientWanted => (
            "the server asks for a client certificate".to_owned(),
            "set CLIENT_CERT_FILE and CLIENT_KEY_FILE",
        ),
        ClientRefused => (
            format!("the server refuses the client certificate: {}", excerpt(&text[at..])),
            "let CLIENT_CERT_FILE be a certificate that has not expired, of an authority that the \
             server trusts",
        ),
        Expired => (
            format!("the server's certificate is not valid now: {}", excerpt(&text[at..])),
            "renew the server's certificate; if it is valid, put this machine's clock right",
        ),
        OtherName => (
            format!("the server's certificate is of another host: {}", excerpt(&text[at..])),
            "let the address have a name that the certificate has",
        ),
    };
    Some(Failure::new(hop, Kind::Denied, format!("{what}: {cause}"), fix))
}

fn closed_at_once(hop: Hop, what: &str) -> Failure {
    let what = format!("{what}: the connection was closed at once, before anything was asked");
    let fix = "see that the server is up; if it asks for a client certificate, set \
               CLIENT_CERT_FILE and CLIENT_KEY_FILE";
    Failure::new(hop, Kind::Unavailable, what, fix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{AlertDescription, CertificateError, Error};
    use std::time::Duration;

    fn said(error: &str) -> String {
        certificate_failure(Hop::ClickHouse, "reading", error).unwrap().to_string()
    }

    #[test]
    fn certificates_of_unknown_authorities_are_known_by_every_library_s_words() {
        for text in [
            "client error (Connect): invalid peer certificate: UnknownIssuer",
            "error 20: unable to get local issuer certificate",
            "certificate verify failed: self-signed certificate in certificate chain",
        ] {
            let wanted = "the certificate is signed by an unknown authority: set CA_FILE";
            assert!(said(text).contains(wanted), "{text}");
        }
        let failure = certificate_failure(Hop::ClickHouse, "reading", "unknown ca").unwrap();
        assert!(!failure.is_retryable());
        assert!(certificate_failure(Hop::ClickHouse, "reading", "connection refused").is_none());
    }

    #[test]
    fn a_connection_that_is_closed_at_once_may_lack_a_client_certificate() {
        let failure = |what| certificate_failure(Hop::ClickHouse, what, "connection was not ready");
        let over_tls = failure("reading at https://a:1 failed").unwrap();
        assert!(over_tls.to_string().contains("CLIENT_CERT_FILE") && over_tls.is_retryable());
        assert!(failure("reading at http://a:1 failed").is_none());
    }

    #[test]
    fn other_faults_of_certificates_are_told_apart() {
        let time = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let expired = CertificateError::ExpiredContext { time: time(9), not_after: time(8) };
        let early = CertificateError::NotValidYetContext { time: time(8), not_before: time(9) };
        let name = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("here.example").unwrap(),
            presented: vec!["DnsName(\"there.example\")".to_owned()],
        };
        for (error, part) in [
            (Error::InvalidCertificate(expired), "not valid now: certificate expired"),
            (Error::InvalidCertificate(CertificateError::Expired), "certificate is not valid now"),
            (Error::InvalidCertificate(early), "not valid now: certificate not valid yet"),
            (Error::InvalidCertificate(name), "there.example"),
            (
                Error::InvalidCertificate(CertificateError::NotValidForName),
                "certificate is of another host",
            ),
            (
                Error::AlertReceived(AlertDescription::CertificateRequired),
                "asks for a client certificate (fix: set CLIENT_CERT_FILE",
            ),
            (
                Error::AlertReceived(AlertDescription::UnknownCA),
                "refuses the client certificate: alert: UnknownCA (fix: let CLIENT_CERT_FILE",
            ),
            (
                Error::AlertReceived(AlertDescription::CertificateExpired),
                "refuses the client certificate: alert: CertificateExpired",
            ),
        ] {
            let text = said(&error.to_string());
            assert!(text.contains(part), "{text}");
            assert!(!text.contains("unknown authority"), "{text}");
        }
    }
}
