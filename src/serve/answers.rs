//! From a question to an answer: gathered once, kept for a while, bounded in time and number.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;

use crate::accounts::Account;
use crate::cost::{AccountId, Day};

use super::cache::Cache;
use super::error::ApiError;
use super::gather::{AccountCosts, Gatherer};
use super::reply::{self, Terms};
use super::request::Question;
use super::savings::Savings;

/// The most answers that are kept. Those by namespace are the large ones: some 100 KB each.
const KEPT_MAX: usize = 200;
/// How many questions are put to stores and the query layer at a time.
const ASKED_AT_ONCE: usize = 16;
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(25);

type Key = (AccountId, Day, Day, bool);

/// The pages that answer about costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Page {
    ClusterCosts,
    Metrics,
    Savings,
}

/// Answers questions.
pub struct Answers {
    gatherer: Gatherer,
    savings: Savings,
    kept: Cache<Key, Arc<AccountCosts>>,
    asking: Semaphore,
    currency: String,
    is_ledger_added: bool,
}

/// An answer, and whether what it rests on was kept from before.
pub(super) struct Answer {
    pub(super) body: Value,
    pub(super) is_kept: bool,
}

impl Answers {
    /// Answers from what `gatherer` and `savings` read, each used again for `lifetime`.
    #[must_use]
    pub fn new(
        gatherer: Gatherer,
        savings: Savings,
        lifetime: Duration,
        currency: String,
        is_ledger_added: bool,
    ) -> Self {
        let kept = Cache::new(lifetime, KEPT_MAX);
        let asking = Semaphore::new(ASKED_AT_ONCE);
        Self { gatherer, savings, kept, asking, currency, is_ledger_added }
    }

    /// Sees that every hop answers.
    pub(super) async fn check(&self) -> Result<(), ApiError> {
        let checked = tokio::time::timeout(ANSWER_TIMEOUT, self.gatherer.check()).await;
        Ok(checked.map_err(|_| ApiError::too_slow(ANSWER_TIMEOUT.as_secs()))??)
    }

    /// The answer to a page's question.
    pub(super) async fn answer(&self, page: Page, query: &str) -> Result<Answer, ApiError> {
        let question = Question::parse(query)?;
        let answered = tokio::time::timeout(ANSWER_TIMEOUT, self.find(page, question)).await;
        answered.map_err(|_| ApiError::too_slow(ANSWER_TIMEOUT.as_secs()))?
    }

    async fn find(&self, page: Page, mut question: Question) -> Result<Answer, ApiError> {
        let Some(account) = self.gatherer.account(&question.account).await? else {
            let reason = format!("there is no account {}", question.account);
            return Err(ApiError::not_found(reason));
        };
        if page == Page::Savings {
            let _asking = self.asking.acquire().await.map_err(|_| ApiError::busy())?;
            let body = self.savings.reply(&question.account, question.span).await?;
            return Ok(Answer { body, is_kept: false });
        }
        if page == Page::Metrics {
            question.by_namespace = true;
        }
        let (costs, is_kept) = self.costs(&account, &question).await?;
        let terms = Terms {
            currency: &self.currency,
            is_ledger_added: self.is_ledger_added,
            now_seconds: self.gatherer.now_seconds(),
        };
        let body = match page {
            Page::Metrics => reply::metrics(&costs, &question, terms),
            _ => reply::cluster_costs(&costs, &question, terms),
        };
        Ok(Answer { body, is_kept })
    }

    async fn costs(
        &self,
        account: &Account,
        question: &Question,
    ) -> Result<(Arc<AccountCosts>, bool), ApiError> {
        let days = question.span.days();
        let key = (account.id.clone(), days.0, days.1, question.by_namespace);
        let gather = async {
            let _asking = self.asking.acquire().await.map_err(|_| ApiError::busy())?;
            let costs = self.gatherer.costs(account, days, question.by_namespace).await?;
            Ok(Arc::new(costs))
        };
        self.kept.get(key, gather).await
    }
}
