//! From a question to an answer: gathered once, kept for a while, bounded in time and number.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::accounts::Account;
use crate::cost::{AccountId, Day};
use crate::service::failure::Failure;

use super::cache::{Bounds, Cache};
use super::costs::AccountCosts;
use super::error::ApiError;
use super::gather::Gatherer;
use super::reply::{self, Terms};
use super::request::{Page, Question};
use super::savings::Savings;

/// The most answers that are kept: of 100 accounts, some spans and both levels of detail.
const KEPT_MAX: usize = 2_000;
/// About how many bytes they may take. Those by namespace are the large ones: some 100 KB each, a
/// few MB of an account of 5 000 namespaces.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(25);
/// For how long `serve` is not ready at the most, while it reads the running days of all accounts.
const WARM_UP_TIMEOUT: Duration = Duration::from_secs(30);

type Key = (AccountId, Day, Day, bool);

/// Answers questions.
pub struct Answers {
    gatherer: Arc<Gatherer>,
    savings: Savings,
    kept: Cache<Key, Arc<AccountCosts>, Failure>,
    currency: String,
    is_ledger_added: bool,
    is_warm: AtomicBool,
}

/// An answer, and whether what it rests on was kept from before.
pub(super) struct Answer {
    /// JSON.
    pub(super) body: String,
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
        let bounds =
            Bounds { lifetime, renews: true, entries_max: KEPT_MAX, bytes_max: KEPT_BYTES_MAX };
        let kept = Cache::new(bounds, |costs: &Arc<AccountCosts>| costs.bytes());
        // No answer is kept then that is made anew beside, and its look with it.
        let gatherer =
            if is_ledger_added { gatherer.with_renewed_looks(lifetime) } else { gatherer };
        let gatherer = Arc::new(gatherer);
        // Where nothing is kept there is nothing to read before it is asked for.
        let is_warm = AtomicBool::new(lifetime.is_zero());
        Self { gatherer, savings, kept, currency, is_ledger_added, is_warm }
    }

    /// Reads the running days of all accounts, so that the first answers need not wait for them.
    pub(super) async fn warm_up(&self) {
        if self.is_warm.load(Ordering::Relaxed) {
            return;
        }
        match timeout(WARM_UP_TIMEOUT, self.gatherer.warm_up()).await {
            Ok(Ok((accounts, failed))) => tracing::info!(accounts, failed, "running days are read"),
            Ok(Err(failure)) => tracing::warn!(%failure, "running days are read when asked for"),
            Err(_) => {
                let seconds = WARM_UP_TIMEOUT.as_secs();
                tracing::warn!("not all running days could be read within {seconds} s");
            }
        }
        self.is_warm.store(true, Ordering::Relaxed);
    }

    /// Sees that every hop answers, and that running days were read once.
    pub(super) async fn check(&self) -> Result<(), ApiError> {
        let checked = timeout(ANSWER_TIMEOUT, self.gatherer.check()).await;
        checked.map_err(|_| ApiError::too_slow(ANSWER_TIMEOUT.as_secs()))??;
        if self.is_warm.load(Ordering::Relaxed) { Ok(()) } else { Err(ApiError::not_ready()) }
    }

    /// Checks the query layer again and again: only so is a store that it has lost, or has again,
    /// noticed where nobody asks for `/readyz`. Never ends.
    pub(super) async fn watch_query_layer(&self, every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match timeout(ANSWER_TIMEOUT, self.gatherer.check_query_layer()).await {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => tracing::warn!(%failure, "the query layer is not ready"),
                Err(_) => {
                    let seconds = ANSWER_TIMEOUT.as_secs();
                    tracing::warn!("the query layer did not answer its check within {seconds} s");
                }
            }
        }
    }

    /// The answer to a page's question.
    pub(super) async fn answer(&self, page: Page, query: &str) -> Result<Answer, ApiError> {
        let question = Question::parse(page, query)?;
        let answered = timeout(ANSWER_TIMEOUT, self.find(page, question)).await;
        answered.map_err(|_| ApiError::too_slow(ANSWER_TIMEOUT.as_secs()))?
    }

    async fn find(&self, page: Page, question: Question) -> Result<Answer, ApiError> {
        let Some(account) = self.gatherer.account(&question.account).await? else {
            let reason = format!("there is no account {}", question.account);
            return Err(ApiError::not_found(reason));
        };
        if page == Page::Savings {
            let body = self.savings.reply(&question.account, question.span).await?;
            return Ok(Answer { body, is_kept: false });
        }
        // Rows are added to what they lack: with an answer from before a run, that run's rows would
        // count twice.
        let rests_on_rows = self.is_ledger_added && page == Page::ClusterCosts;
        let (costs, is_kept) = if rests_on_rows {
            (self.gather(&account, &question).await?, false)
        } else {
            self.kept_costs(&account, &question).await?
        };
        let now_seconds = self.gatherer.now_seconds();
        let terms =
            Terms { currency: &self.currency, is_ledger_added: self.is_ledger_added, now_seconds };
        let body = match page {
            Page::Metrics => reply::metrics(&costs, &question, now_seconds),
            _ => reply::cluster_costs(&costs, &question, terms),
        };
        Ok(Answer { body: body.to_string(), is_kept })
    }

    /// What an account costs, used again for a while.
    async fn kept_costs(
        &self,
        account: &Account,
        question: &Question,
    ) -> Result<(Arc<AccountCosts>, bool), Failure> {
        let (first, last) = question.span.days();
        let key = (account.id.clone(), first, last, question.by_namespace);
        self.kept.get(key, || self.gather(account, question)).await
    }

    fn gather(
        &self,
        account: &Account,
        question: &Question,
    ) -> impl Future<Output = Result<Arc<AccountCosts>, Failure>> + Send + use<> {
        let (gatherer, account) = (Arc::clone(&self.gatherer), account.clone());
        let (days, by_namespace) = (question.span.days(), question.by_namespace);
        async move { gatherer.costs(&account, days, by_namespace).await.map(Arc::new) }
    }
}
