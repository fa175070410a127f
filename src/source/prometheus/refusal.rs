//! What a server means that refuses a query: less is to be asked, later, or nothing helps.
//!
//! The servers and the proxies before them have words and statuses of their own for one thing:
//! Prometheus and Thanos 422 and 503, Cortex and Mimir 400, 422 and 429, gRPC behind them 500,
//! VictoriaMetrics 422 with the reason behind the query's text.

use crate::service::failure::Kind;

/// What to do about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The query asks for too much at once.
    TooMuch(Kind),
    /// The server, or a gateway before it, cannot now: it may be down, or this may be too much.
    Busy(Kind),
    /// The server does not answer for that time.
    OutOfReach,
    /// Anything else.
    Final(Kind),
}

/// Words of limits, in lower case.
const LIMITS: [&str; 19] = [
    "too many",
    "exceed",
    "the limit",
    "limit of",
    "limit:",
    "limit (",
    "limit reached",
    "violated (got",
    "timed out",
    "too large",
    "too long",
    "larger than max",
    "select more than",
    "not enough memory",
    "out of memory",
    "must not span",
    "resourceexhausted",
    "resource exhausted",
    "deadline",
];
/// Words of times that a server does not answer for, in lower case.
const OUT_OF_REACH: [&str; 3] = ["retention", "too far in the past", "too old"];

/// Classifies a refusal by its status, the `errorType` of its body and its text.
pub(super) fn classify(status: u16, error_type: &str, text: &str) -> Class {
    let words = without_query(text).to_lowercase();
    let has_any = |of: &[&str]| of.iter().any(|word| words.contains(word));
    match (status, error_type) {
        (401 | 403, _) => Class::Final(Kind::Denied),
        (_, "timeout") => Class::TooMuch(Kind::Timeout),
        (413, _) => Class::TooMuch(Kind::Overloaded),
        (400 | 422 | 500 | 503, _) if has_any(&OUT_OF_REACH) => Class::OutOfReach,
        (400 | 422 | 500, _) if has_any(&LIMITS) => Class::TooMuch(Kind::Overloaded),
        (422, _) => Class::Final(Kind::BadData),
        (429, _) => Class::Busy(Kind::Overloaded),
        (408 | 502..=504 | 524, _) => Class::Busy(Kind::Unavailable),
        (500..=599, _) => Class::Final(Kind::Unavailable),
        _ => Class::Final(Kind::BadReply),
    }
}

/// What an operator can do about it; `setting` is the address' setting.
pub(super) fn fix(class: Class, status: u16) -> &'static str {
    match (class, status) {
        (Class::Final(Kind::Denied), _) => {
            "set PROMETHEUS_USER and PROMETHEUS_PASSWORD_FILE, or PROMETHEUS_TOKEN_FILE, or a \
             header such as X-Scope-OrgID in PROMETHEUS_HEADERS_FILE, to what the server wants"
        }
        (Class::TooMuch(Kind::Timeout), _) => {
            "give the query layer more time or memory, or lower MAX_SAMPLES"
        }
        (Class::TooMuch(_), _) => "lower MAX_SAMPLES, or raise the server's query limits",
        (Class::OutOfReach, _) => {
            "lower CATCH_UP_DAYS to the days that the query layer keeps, or raise its retention"
        }
        (Class::Busy(Kind::Overloaded), _) => {
            "the query layer limits its callers: run fewer workers at once"
        }
        (Class::Busy(_), _) => {
            "see that the query layer is up and ready, and what its gateway allows"
        }
        (Class::Final(Kind::BadData), _) => {
            "the stored series contradict each other: see docs/RUNBOOK.md, query layer"
        }
        (Class::Final(Kind::Unavailable), _) => "see that the query layer is up and ready",
        (Class::Final(_), 404) => {
            "see that PROMETHEUS_URL, with its path, is where /api/v1/query is served"
        }
        (Class::Final(_), 200..=299) => {
            "see that PROMETHEUS_URL is a Prometheus or Thanos Query: this is no reply of one"
        }
        (Class::Final(_), _) => {
            "see that PROMETHEUS_URL is a Prometheus or Thanos Query of a version with /api/v1/query"
        }
    }
}

/// A server's text without the queries that it repeats in quotes: what is wrong stands behind
/// them, and their label values are no words of the server.
pub(super) fn without_query(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, quoted)) = rest.split_once('"') {
        let mut is_escaped = false;
        let end = quoted.find(|c: char| {
            let is_end = c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            is_end
        });
        let (inside, after) = match end {
            Some(end) => (&quoted[..end], &quoted[end + 1..]),
            None => (quoted, ""),
        };
        out.push_str(before);
        match inside.contains(['{', '(']) {
            true => out.push('…'),
            false => out.push_str(&rest[before.len()..rest.len() - after.len()]),
        }
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOO_MUCH: Class = Class::TooMuch(Kind::Overloaded);

    #[test]
    fn limits_of_every_dialect_ask_for_less() {
        for (status, text) in [
            (422, "query processing would load too many samples into memory in query execution"),
            (400, "exceeded maximum resolution of 11,000 points per timeseries"),
            (400, "the range must not span over 32 days. RequestId: 0"),
            (
                400,
                "the total query time range exceeds the limit (query length: 864h0m0s, limit: \
                 768h0m0s) (err-mimir-max-total-query-length)",
            ),
            (422, "expanding series: the query hit the max number of series limit (limit: 5)"),
            (
                500,
                "rpc error: code = ResourceExhausted desc = grpc: received message larger than max",
            ),
            (
                500,
                "exceeded series limit: rpc error: code = Code(422) desc = limit 10 violated (got 11)",
            ),
            (
                422,
                "error when executing query=\"sum(x{a=\\\"b\\\"})\" for (time=1, step=2): cannot \
                 select more than -search.maxSamplesPerQuery=50000 samples; possible solutions",
            ),
            (422, "not enough memory for processing 33 data points across 4 time series"),
            (413, ""),
        ] {
            assert_eq!(classify(status, "execution", text), TOO_MUCH, "{status} {text}");
        }
        assert_eq!(classify(503, "timeout", "query timed out"), Class::TooMuch(Kind::Timeout));
    }

    #[test]
    fn contradictions_and_mistakes_are_no_limits() {
        let duplicate = "found duplicate series for the match group {pod=\"rate-limiter\"}";
        assert_eq!(classify(422, "execution", duplicate), Class::Final(Kind::BadData));
        let quoted = "error when executing query=\"x{a=\\\"too many\\\"}\": duplicate time series";
        assert_eq!(classify(422, "422", quoted), Class::Final(Kind::BadData));
        let parse = "invalid parameter \"query\": 1:1: parse error: no expression found in input";
        assert_eq!(classify(400, "bad_data", parse), Class::Final(Kind::BadReply));
        assert_eq!(classify(401, "", "no org id"), Class::Final(Kind::Denied));
        assert_eq!(classify(500, "internal", "boom"), Class::Final(Kind::Unavailable));
    }

    #[test]
    fn servers_that_are_busy_are_told_from_times_that_they_do_not_keep() {
        assert_eq!(
            classify(429, "", "too many outstanding requests"),
            Class::Busy(Kind::Overloaded)
        );
        for status in [502, 503, 504, 524] {
            assert_eq!(classify(status, "", ""), Class::Busy(Kind::Unavailable), "{status}");
        }
        let text = "the given time range [2026-01-01, 2026-01-02] is outside the allowed \
                    -retentionPeriod=30d according to -denyQueriesOutsideRetention";
        assert_eq!(classify(503, "503", text), Class::OutOfReach);
    }

    #[test]
    fn the_reason_is_shown_and_not_the_query() {
        let text = "error when executing query=\"a{b=\\\"c\\\"}\" for (time=1): cannot evaluate \
                    \"a{b=\\\"c\\\"}\": cannot select";
        assert_eq!(
            without_query(text),
            "error when executing query=… for (time=1): cannot evaluate …: cannot select"
        );
        assert_eq!(without_query("query=\"a{cut"), "query=…");
        let named = "invalid parameter \"query\": no expression";
        assert_eq!(without_query(named), named);
    }
}
