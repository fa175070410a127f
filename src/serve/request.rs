//! Questions: the parameters of a request, checked.

use std::collections::BTreeMap;

use crate::cost::AccountId;

use super::error::ApiError;
use super::span::{DAYS_MAX, Span};

/// Unix time of 2106-01-01, the end of what stores can date.
const END_SECONDS_MAX: i64 = 4_291_747_200;
/// The most metrics that one question may name.
const METRICS_MAX: usize = 50;

/// The pages that answer about costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Page {
    ClusterCosts,
    Metrics,
    Savings,
}

impl Page {
    /// The parameters that it reads; others are no concern of its.
    fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::ClusterCosts => &["cloud_account_id", "start_date", "end_date", "detail_level"],
            Self::Metrics => &["cloud_account_id", "start_date", "end_date", "metrics"],
            Self::Savings => &["cloud_account_id", "start_date", "end_date"],
        }
    }
}

/// What all pages ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) account: AccountId,
    pub(super) span: Span,
    /// Whether costs by namespace are wanted.
    pub(super) by_namespace: bool,
    /// The metrics that are asked for; `None`: all.
    pub(super) metrics: Option<Vec<String>>,
}

impl Question {
    /// Reads the query string of a request for a page.
    pub(super) fn parse(page: Page, query: &str) -> Result<Self, ApiError> {
        let given = parameters(page, query)?;
        let account = required(&given, "cloud_account_id")?;
        let account = AccountId::new(account)
            .map_err(|error| ApiError::bad_request(format!("cloud_account_id: {error}")))?;
        let span = Span { start: time(&given, "start_date")?, end: time(&given, "end_date")? };
        if span.start >= span.end {
            return Err(ApiError::bad_request("start_date must lie before end_date"));
        }
        if span.end - span.start > DAYS_MAX * 86_400 {
            let reason = format!("at most {DAYS_MAX} days can be asked for at once");
            return Err(ApiError::bad_request(reason));
        }
        let by_namespace = match given.get("detail_level").map(String::as_str) {
            // Among the metrics are those of namespaces.
            None | Some("" | "cluster") => page == Page::Metrics,
            Some("namespace") => true,
            Some(_) => {
                return Err(ApiError::bad_request("detail_level must be cluster or namespace"));
            }
        };
        Ok(Self { account, span, by_namespace, metrics: metrics(&given)? })
    }
}

/// The page's parameters by name. One that is given twice has no meaning that all would agree on.
fn parameters(page: Page, query: &str) -> Result<BTreeMap<String, String>, ApiError> {
    let mut given = BTreeMap::new();
    let all = url::form_urlencoded::parse(query.as_bytes());
    for (name, value) in all.filter(|(name, _)| page.parameters().contains(&name.as_ref())) {
        if given.insert(name.clone().into_owned(), value.into_owned()).is_some() {
            return Err(ApiError::bad_request(format!("{name} is given twice")));
        }
    }
    Ok(given)
}

fn required<'a>(given: &'a BTreeMap<String, String>, name: &str) -> Result<&'a str, ApiError> {
    let value = given.get(name).map(String::as_str).filter(|value| !value.is_empty());
    value.ok_or_else(|| ApiError::bad_request(format!("{name} is missing")))
}

fn time(given: &BTreeMap<String, String>, name: &str) -> Result<i64, ApiError> {
    let seconds = required(given, name)?.parse().ok();
    seconds.filter(|seconds| (0..=END_SECONDS_MAX).contains(seconds)).ok_or_else(|| {
        ApiError::bad_request(format!("{name} must be whole Unix seconds between 1970 and 2105"))
    })
}

fn metrics(given: &BTreeMap<String, String>) -> Result<Option<Vec<String>>, ApiError> {
    let Some(text) = given.get("metrics").filter(|text| !text.is_empty()) else { return Ok(None) };
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    let fits = |name: &String| {
        let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        !name.is_empty() && name.len() <= 200 && name.chars().all(is_letter)
    };
    if names.len() > METRICS_MAX || !names.iter().all(fits) {
        let reason = format!("metrics must be at most {METRICS_MAX} names of metrics, by commas");
        return Err(ApiError::bad_request(reason));
    }
    Ok(Some(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "cloud_account_id=a-1&start_date=1795132800&end_date=1795219200";

    #[test]
    fn what_is_asked_is_read() {
        let detailed = format!("{GOOD}&detail_level=namespace&x=1");
        let asked = Question::parse(Page::ClusterCosts, &detailed).unwrap();
        assert_eq!(asked.account.as_str(), "a-1");
        assert_eq!(asked.span, Span { start: 1_795_132_800, end: 1_795_219_200 });
        assert!(asked.by_namespace);
        let metrics = Question::parse(Page::Metrics, &format!("{GOOD}&metrics=a,b%2Cc")).unwrap();
        assert_eq!(metrics.metrics.unwrap(), ["a", "b", "c"]);
        assert!(metrics.by_namespace);
        let plain = Question::parse(Page::ClusterCosts, GOOD).unwrap();
        assert!(!plain.by_namespace && plain.metrics.is_none());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (query, part) in [
            ("", "cloud_account_id is missing"),
            ("cloud_account_id=&start_date=1&end_date=2", "cloud_account_id is missing"),
            ("cloud_account_id=a'b&start_date=1&end_date=2", "cloud_account_id: "),
            ("cloud_account_id=a&start_date=1", "end_date is missing"),
            ("cloud_account_id=a&start_date=2026-11-20&end_date=2", "start_date must be whole"),
            ("cloud_account_id=a&start_date=-1&end_date=2", "start_date must be whole"),
            ("cloud_account_id=a&start_date=1&end_date=1e99", "end_date must be whole"),
            ("cloud_account_id=a&start_date=2&end_date=2", "must lie before"),
            ("cloud_account_id=a&start_date=0&end_date=34560001", "at most 400 days"),
            ("cloud_account_id=a&cloud_account_id=b&start_date=1&end_date=2", "given twice"),
            ("cloud_account_id=a&start_date=1&end_date=2&detail_level=pod", "detail_level"),
            ("cloud_account_id=a&start_date=1&end_date=2&metrics=a,,b", "metrics must be"),
            ("cloud_account_id=a&start_date=1&end_date=2&metrics=a{}", "metrics must be"),
        ] {
            let page = if query.contains("metrics=") { Page::Metrics } else { Page::ClusterCosts };
            let error = Question::parse(page, query).unwrap_err();
            assert_eq!(error.status, 400, "{query}");
            assert!(format!("{error:?}").contains(part), "{query}: {error:?}");
        }
    }

    #[test]
    fn what_a_page_does_not_use_is_not_checked() {
        for (page, more) in [
            (Page::ClusterCosts, "x=1&x=2"),
            (Page::ClusterCosts, "metrics=a{}"),
            (Page::Metrics, "detail_level=pod&detail_level=node"),
            (Page::Savings, "metrics=a{}&detail_level=pod"),
        ] {
            let asked = Question::parse(page, &format!("{GOOD}&{more}"));
            assert!(asked.is_ok(), "{page:?} {more}: {asked:?}");
        }
    }
}
