//! The import status of an account: what is sent, and when.

use async_trait::async_trait;
use reqwest::Method;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::cost::AccountId;
use crate::service::failure::{Failure, Hop, Kind};

use super::client::{Call, RestClient};
use super::form::{SECONDS_MAX, is_blank, path_part};

/// Reports how an import went, for the account's page, budgets and alerts.
#[async_trait]
pub trait ImportStatus: Send + Sync {
    /// Reports it. [`due`] decides whether to.
    ///
    /// # Errors
    /// When the call fails, or a time cannot be sent.
    async fn report(&self, account: &AccountId, outcome: &ImportOutcome) -> Result<(), Failure>;
}

/// The longest error text that the API takes, characters.
const ERROR_CHARACTERS_MAX: usize = 255;
/// Stands for an error without text: the API refuses blanks.
const NO_TEXT: &str = "the import failed; see the log of kubecost-worker";

/// How an import went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportOutcome {
    /// All that was due is in the stores.
    Succeeded {
        /// Unix seconds.
        at_seconds: i64,
    },
    /// Something is not.
    Failed {
        /// Unix seconds.
        at_seconds: i64,
        /// Why, for the account's page; without secrets.
        error: String,
    },
}

/// A status that the API has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentStatus {
    /// When it was sent, Unix seconds.
    pub sent_seconds: i64,
    /// The error, as it was sent; `None` for a success.
    pub error: Option<String>,
}

impl SentStatus {
    /// The status after an outcome was reported.
    #[must_use]
    pub fn of(outcome: &ImportOutcome) -> Self {
        match outcome {
            ImportOutcome::Succeeded { at_seconds } => {
                Self { sent_seconds: *at_seconds, error: None }
            }
            ImportOutcome::Failed { at_seconds, error } => {
                Self { sent_seconds: *at_seconds, error: Some(error_text(error)) }
            }
        }
    }
}

/// Whether to report an outcome: at once where it differs from the last that was sent, else every
/// `interval_seconds`. A clock that went back is no reason to wait.
#[must_use]
pub fn due(
    previous: Option<&SentStatus>,
    outcome: &ImportOutcome,
    now_seconds: i64,
    interval_seconds: i64,
) -> bool {
    let Some(previous) = previous else { return true };
    let age_seconds = now_seconds.saturating_sub(previous.sent_seconds);
    previous.error != SentStatus::of(outcome).error
        || age_seconds < 0
        || age_seconds >= interval_seconds
}

/// An error as the API takes it: one line of 1 to 255 characters, not blank.
#[must_use]
pub fn error_text(error: &str) -> String {
    let one_line: String =
        error.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let cut: String = one_line.trim().chars().take(ERROR_CHARACTERS_MAX).collect();
    if is_blank(&cut) { NO_TEXT.to_owned() } else { cut.trim_end().to_owned() }
}

/// What is sent: a success moves both times to one value, which is what the account's page calls
/// a success; a failure leaves the time of the last success alone.
fn payload(account: &AccountId, outcome: &ImportOutcome) -> Result<Value, Failure> {
    let (ImportOutcome::Succeeded { at_seconds } | ImportOutcome::Failed { at_seconds, .. }) =
        outcome;
    if !(0..=SECONDS_MAX).contains(at_seconds) {
        let what = format!(
            "the import status of account {account} cannot be sent: its time {at_seconds} is not \
             within 0 to {SECONDS_MAX}"
        );
        let fix = "check this machine's clock";
        return Err(Failure::new(Hop::Worker, Kind::Internal, what, fix));
    }
    Ok(match outcome {
        ImportOutcome::Succeeded { at_seconds } => {
            json!({"last_import_at": at_seconds, "last_import_attempt_at": at_seconds})
        }
        ImportOutcome::Failed { at_seconds, error } => json!({
            "last_import_attempt_at": at_seconds,
            "last_import_attempt_error": error_text(error),
        }),
    })
}

#[async_trait]
impl ImportStatus for RestClient {
    async fn report(&self, account: &AccountId, outcome: &ImportOutcome) -> Result<(), Failure> {
        let call = Call {
            method: Method::PATCH,
            path: format!("/restapi/v2/cloud_accounts/{}", path_part(account.as_str())),
            query: &[],
            body: Some(payload(account, outcome)?),
        };
        let IgnoredAny = self.call(&call, self.request_timeout()).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn failed(at_seconds: i64, error: &str) -> ImportOutcome {
        ImportOutcome::Failed { at_seconds, error: error.to_owned() }
    }

    #[test]
    fn what_did_not_change_is_sent_once_an_interval() {
        let success = ImportOutcome::Succeeded { at_seconds: 1_000 };
        let sent = SentStatus::of(&success);
        assert!(due(None, &success, 1_000, 900));
        assert!(!due(Some(&sent), &success, 1_899, 900));
        assert!(due(Some(&sent), &success, 1_900, 900));
        assert!(due(Some(&sent), &success, 999, 900), "the clock went back");
        assert!(due(Some(&sent), &failed(1_300, "x"), 1_300, 900), "another outcome");
        let sent = SentStatus::of(&failed(1_000, "x"));
        assert!(!due(Some(&sent), &failed(1_300, "x"), 1_300, 900));
        assert!(!due(Some(&sent), &failed(1_300, " x\n"), 1_300, 900), "the same when sent");
        assert!(due(Some(&sent), &failed(1_300, "y"), 1_300, 900), "another error");
        assert!(due(Some(&sent), &success, 1_300, 900), "it went well again");
    }

    #[test]
    fn an_error_is_cut_between_characters_and_never_blank() {
        let long = "é".repeat(300);
        assert_eq!(error_text(&long), "é".repeat(255));
        assert_eq!(error_text("a\nb\tc\0"), "a b c");
        for blank in ["", " ", "\n\t", "\u{a0}\u{2003}", "\u{1c}\u{1f}"] {
            assert_eq!(error_text(blank), NO_TEXT, "{blank:?}");
        }
        let blank_after = format!("{}x", " ".repeat(300));
        assert_eq!(error_text(&blank_after), "x");
    }

    #[test]
    fn a_success_moves_both_times_and_a_failure_leaves_the_last_success() {
        let account = AccountId::new("a").unwrap();
        let sent = payload(&account, &ImportOutcome::Succeeded { at_seconds: 7 }).unwrap();
        assert_eq!(sent, json!({"last_import_at": 7, "last_import_attempt_at": 7}));
        let sent = payload(&account, &failed(SECONDS_MAX, "down")).unwrap();
        let wanted = json!({"last_import_attempt_at": SECONDS_MAX,
            "last_import_attempt_error": "down"});
        assert_eq!(sent, wanted);
        for at_seconds in [-1, SECONDS_MAX + 1] {
            let failure = payload(&account, &failed(at_seconds, "x")).unwrap_err();
            assert!(failure.what.contains("account a"), "{failure}");
        }
    }

    proptest! {
        #[test]
        fn every_error_text_is_one_that_the_api_takes(
            characters in proptest::collection::vec(any::<char>(), 0..300),
            start in "[ \\x00-\\x1fa]{0,9}",
        ) {
            let text = start + &characters.into_iter().collect::<String>();
            let sent = error_text(&text);
            prop_assert!((1..=255).contains(&sent.chars().count()));
            prop_assert!(!is_blank(&sent) && !sent.chars().any(char::is_control));
            prop_assert_eq!(error_text(&sent), sent);
        }
    }
}
