//! What ClickHouse's errors mean to an operator.

use clickhouse::error::Error;

use crate::service::certificate_failure::certificate_failure;
use crate::service::failure::{Failure, Hop, Kind, excerpt};

/// Classifies an error of the client or the server; `what` says what was being done.
#[must_use]
pub fn clickhouse_failure(what: &str, address: &str, error: &Error) -> Failure {
    let said = said(error);
    if matches!(error, Error::Network(_)) {
        let what = format!("{what} at {address} failed");
        if let Some(failure) = certificate_failure(Hop::ClickHouse, &what, &said) {
            return failure;
        }
    }
    let (kind, fix) = match (error, code(&said)) {
        (_, Some(192 | 193 | 194 | 497 | 516)) => (
            Kind::Denied,
            "set CLICKHOUSE_USER and CLICKHOUSE_PASSWORD_FILE to a user that may read and insert",
        ),
        (_, Some(60 | 81 | 16 | 47)) => {
            (Kind::Schema, "set CLICKHOUSE_DATABASE, and run kubecost-worker migrate")
        }
        _ if said.contains("No space left on device") => {
            (Kind::ReadOnly, "free space on ClickHouse's disk")
        }
        (_, Some(243)) => (Kind::ReadOnly, "free space on ClickHouse's disk"),
        (_, Some(164)) => (
            Kind::ReadOnly,
            "let the user of CLICKHOUSE_USER write: its settings profile must not be readonly, \
             nor the server or its disk",
        ),
        (_, Some(242)) => (
            Kind::ReadOnly,
            "see why the table's replica is read-only: mostly it does not reach its Keeper",
        ),
        (_, Some(159 | 160)) | (Error::TimedOut, _) => {
            (Kind::Timeout, "see ClickHouse's load and the network between")
        }
        (_, Some(241 | 202 | 252)) => (Kind::Overloaded, "see ClickHouse's memory and merges"),
        (Error::Network(_), _) => {
            (Kind::Unavailable, "see that CLICKHOUSE_URL is right and ClickHouse is up")
        }
        // Something else that answers HTTP: a page, or bytes that are no rows.
        (_, None) => {
            (Kind::BadReply, "see that CLICKHOUSE_URL is ClickHouse's HTTP port (8123 or 8443)")
        }
        _ => (Kind::BadReply, "see ClickHouse's log"),
    };
    let what = format!("{what} at {address} failed: {}", excerpt(&said));
    Failure::new(Hop::ClickHouse, kind, what, fix)
}

/// The innermost cause: the outer ones only say that there is one.
fn said(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    text
}

/// The server's error code of an error, if it answered with one.
#[must_use]
pub fn code_of(error: &Error) -> Option<u32> {
    code(&said(error))
}

/// The server's error code, as in `Code: 516. DB::Exception: ...` (`Code: 516,` on old servers).
fn code(said: &str) -> Option<u32> {
    let rest = said.split_once("Code: ")?.1;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_servers_codes_are_read() {
        for text in [
            "Code: 60, e.displayText() = DB::Exception: Table default.expenses doesn't exist.",
            "Code: 60. DB::Exception: Unknown table expression identifier 'expenses'",
        ] {
            let failure =
                clickhouse_failure("reading", "http://h", &Error::BadResponse(text.into()));
            assert_eq!(failure.kind, Kind::Schema, "{text}");
        }
        for (text, kind, advice) in [
            (
                "Code: 164, e.displayText() = DB::Exception: Cannot insert into table in readonly mode",
                Kind::ReadOnly,
                "CLICKHOUSE_USER",
            ),
            (
                "Code: 164. DB::Exception: worker: Cannot execute query in readonly mode. (READONLY)",
                Kind::ReadOnly,
                "CLICKHOUSE_USER",
            ),
            (
                "Code: 242. DB::Exception: Table is in readonly mode (TABLE_IS_READ_ONLY)",
                Kind::ReadOnly,
                "replica",
            ),
        ] {
            let error = Error::BadResponse(text.into());
            let failure = clickhouse_failure("inserting expenses", "http://h", &error);
            assert_eq!(failure.kind, kind, "{text}");
            assert!(failure.fix.contains(advice), "{}", failure.fix);
            assert!(failure.what.contains("readonly mode"), "{}", failure.what);
        }
        let tls = std::io::Error::other("invalid peer certificate: UnknownIssuer");
        let failure = clickhouse_failure("reading", "https://h", &Error::Network(tls.into()));
        assert!(failure.what.contains("unknown authority: set CA_FILE"), "{failure}");
        assert!(!failure.fix.contains("ClickHouse is up"), "{failure}");
        let html = Error::BadResponse("<html>".into());
        assert_eq!(clickhouse_failure("reading", "http://h", &html).kind, Kind::BadReply);
    }
}
