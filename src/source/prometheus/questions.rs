//! Questions of several accounts put into one: the accounts of a run ask the same of the same
//! server, and each query keeps accounts apart by their label.
//!
//! A query selects its account by one matcher, `tenant_id="A"`, and all its aggregations keep that
//! label ([`Selector`](super::promql::Selector)). So the same text with `tenant_id=~"A|B"` has the
//! answers of both, series by series, to the bit. A batch that fails, or has a warning, is asked in
//! parts or account by account, so one account's problem affects only that account.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::cost::AccountId;
use crate::service::batcher::{Asked, BatchLimits, Batcher, PATIENCE, Place};
use crate::service::failure::{Failure, Kind, REPORT};

use super::client::{Answer, NoAnswer, PromClient};
use super::promql::{quoted, regex_escaped};

/// Where a batch may hang for an account's sake: then each is asked alone.
const BATCH_TIMEOUT: Duration = Duration::from_secs(15);
/// Stands for the matcher of the account in a query that is not one account's yet.
const ACCOUNT_MATCHER: char = '\u{0}';

/// When a query is evaluated, Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Times {
    /// Once.
    At(i64),
    /// At each step from the first to the last.
    Steps { first: i64, last: i64, step: i64 },
}

/// How many accounts and samples one question may be about.
#[derive(Clone, Copy, Debug)]
pub struct BatchSettings {
    /// Most accounts.
    pub accounts_max: usize,
    /// Most samples, by the callers' estimates.
    pub samples_max: u64,
    /// Most questions under way.
    pub concurrency: usize,
}

/// A query of which the account is left open, and its times.
type Key = (String, Times);

type Outcome = Result<Answer, NoAnswer>;

/// Asks a server, for several accounts at once where that can be.
#[derive(Clone, Debug)]
pub(super) struct Questions {
    client: PromClient,
    /// The label that holds the account's id, if any.
    tenant_label: Option<String>,
    batcher: Arc<Batcher<Key, AccountId, Outcome>>,
    /// Accounts whose questions failed by themselves: they are asked alone from then on.
    alone: Arc<Mutex<BTreeSet<AccountId>>>,
    /// Whether the server was asked to add up pieces and did not do so in time.
    pieces_are_apart: Arc<AtomicBool>,
}

impl Questions {
    pub(super) fn new(
        client: PromClient,
        tenant_label: Option<String>,
        settings: BatchSettings,
    ) -> Self {
        let limits = BatchLimits::of_reads(settings.accounts_max.max(1), settings.samples_max);
        let places = Arc::new(Semaphore::new(settings.concurrency.max(1)));
        Self {
            client,
            tenant_label,
            batcher: Arc::new(Batcher::new(places, limits)),
            alone: Arc::default(),
            pieces_are_apart: Arc::default(),
        }
    }

    pub(super) fn client(&self) -> &PromClient {
        &self.client
    }

    /// Whether the server may be asked to add up pieces of a long answer.
    pub(super) fn joins_pieces(&self) -> bool {
        !self.pieces_are_apart.load(Ordering::Relaxed)
    }

    /// Has the server no more be asked for that.
    pub(super) fn join_no_more_pieces(&self) {
        self.pieces_are_apart.store(true, Ordering::Relaxed);
    }

    /// Forgets which accounts are to be asked about alone: a new run tries all together again.
    pub(super) fn begin(&self) {
        self.lock().clear();
    }

    /// The answer to an account's query, which touches about so many samples.
    pub(super) async fn ask(
        &self,
        account: &AccountId,
        query: &str,
        times: Times,
        samples: u64,
    ) -> Outcome {
        if self.client.is_per_account() {
            return ask_client(&self.client.for_account(account), query, times).await;
        }
        let Some(template) = self.template(account, query) else {
            return ask_client(&self.client, query, times).await;
        };
        if self.lock().contains(account) {
            return ask_client(&self.client, query, times).await;
        }
        let key = (template, times);
        let (questions, of_batch) = (self.clone(), key.clone());
        let answer = move |asked: Asked<AccountId, Outcome>, place| async move {
            questions.answer_batch(&of_batch, asked, place).await;
        };
        let answered = self.batcher.ask_in_place(key, account.clone(), samples, answer).await;
        answered.unwrap_or_else(|| {
            let what = "a question to the query layer ended without an answer";
            Err(NoAnswer::Failed(Failure::query(Kind::Internal, what.to_owned(), REPORT)))
        })
    }

    /// The query with its account left open; `None` where it does not select one.
    fn template(&self, account: &AccountId, query: &str) -> Option<String> {
        let matcher = self.matcher(&[account])?;
        let is_open = query.contains(ACCOUNT_MATCHER);
        (query.contains(&matcher) && !is_open)
            .then(|| query.replace(&matcher, &ACCOUNT_MATCHER.to_string()))
    }

    fn matcher(&self, accounts: &[&AccountId]) -> Option<String> {
        let label = self.tenant_label.as_ref()?;
        Some(match accounts {
            [one] => format!("{label}={}", quoted(one.as_str())),
            several => {
                let ids: Vec<String> =
                    several.iter().map(|one| regex_escaped(one.as_str())).collect();
                format!("{label}=~{}", quoted(&ids.join("|")))
            }
        })
    }

    /// Answers each account, as soon as its answer is there.
    fn answer_batch<'a>(
        &'a self,
        key: &'a Key,
        mut asked: Asked<AccountId, Outcome>,
        place: Place,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if asked.len() < 2 {
                if let Some((account, reply)) = asked.pop() {
                    reply.send(self.answer_alone(key, &account, place).await);
                }
                return;
            }
            let accounts: Vec<AccountId> = asked.iter().map(|(one, _)| one.clone()).collect();
            let together = self.ask_together(key, &accounts);
            match tokio::time::timeout(BATCH_TIMEOUT, together).await {
                Ok(Ok(answers)) => {
                    for ((_, reply), answer) in asked.into_iter().zip(answers) {
                        reply.send(Ok(answer));
                    }
                }
                Ok(Err(BatchRefused::TooMuch)) => {
                    let other = asked.split_off(asked.len() / 2);
                    let others = async {
                        let place = self.batcher.place().await;
                        self.answer_batch(key, other, place).await;
                    };
                    futures_util::future::join(self.answer_batch(key, asked, place), others).await;
                }
                Ok(Err(BatchRefused::OutOfReach(failure))) => {
                    for (_, reply) in asked {
                        reply.send(Err(NoAnswer::OutOfReach(failure.clone())));
                    }
                }
                Ok(Err(BatchRefused::AskEach)) | Err(_) => {
                    drop(place);
                    self.answer_each(key, asked).await;
                }
            }
        })
    }

    /// Answers each account by itself. One that is slow goes on without its place, so that it
    /// holds up no other.
    async fn answer_each(&self, key: &Key, asked: Asked<AccountId, Outcome>) {
        let mut all = Vec::with_capacity(asked.len());
        for (account, reply) in asked {
            all.push(async move {
                let place = self.batcher.place().await;
                reply.send(self.answer_alone(key, &account, place).await);
            });
        }
        futures_util::future::join_all(all).await;
    }

    /// The answers to several accounts' questions, in their order.
    async fn ask_together(
        &self,
        (template, times): &Key,
        accounts: &[AccountId],
    ) -> Result<Vec<Answer>, BatchRefused> {
        let all: Vec<&AccountId> = accounts.iter().collect();
        let matcher = self.matcher(&all).unwrap_or_default();
        let query = template.replace(ACCOUNT_MATCHER, &matcher);
        match ask_client(&self.client, &query, *times).await {
            Ok(answer) => self.by_account(answer, accounts).ok_or(BatchRefused::AskEach),
            Err(NoAnswer::TooMuch(_) | NoAnswer::Busy(_)) => Err(BatchRefused::TooMuch),
            Err(NoAnswer::OutOfReach(failure)) => Err(BatchRefused::OutOfReach(failure)),
            Err(_) => Err(BatchRefused::AskEach),
        }
    }

    /// Parts an answer by account; `None` where it has a series of none of them, or a warning.
    fn by_account(&self, answer: Answer, accounts: &[AccountId]) -> Option<Vec<Answer>> {
        if !answer.warnings.is_empty() {
            return None;
        }
        let label = self.tenant_label.as_deref()?;
        let places: BTreeMap<&str, usize> =
            accounts.iter().enumerate().map(|(index, one)| (one.as_str(), index)).collect();
        // An account that asks the same twice at a time gets one answer: asked alone, it gets both.
        if places.len() < accounts.len() {
            return None;
        }
        let mut answers = vec![Answer::default(); accounts.len()];
        for series in answer.series {
            let index = *places.get(series.label(label))?;
            answers[index].series.push(series);
        }
        Some(answers)
    }

    /// The answer to one account's question, without others.
    async fn answer_alone(
        &self,
        (template, times): &Key,
        account: &AccountId,
        place: Place,
    ) -> Outcome {
        let matcher = self.matcher(&[account]).unwrap_or_default();
        let query = template.replace(ACCOUNT_MATCHER, &matcher);
        let mut asked = std::pin::pin!(ask_client(&self.client, &query, *times));
        let in_time = tokio::time::timeout(PATIENCE, &mut asked).await;
        drop(place);
        let outcome = match in_time {
            Ok(outcome) => outcome,
            Err(_) => {
                self.set_alone(account);
                asked.await
            }
        };
        if matches!(&outcome, Err(failed) if !matches!(failed, NoAnswer::OutOfReach(_))) {
            self.set_alone(account);
        }
        outcome
    }

    fn set_alone(&self, account: &AccountId) {
        if self.lock().insert(account.clone()) {
            tracing::debug!(account.id = %account, "the account is asked about alone from here on");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<AccountId>> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask_client(client: &PromClient, query: &str, times: Times) -> Outcome {
    match times {
        Times::At(time) => client.instant(query, time).await,
        Times::Steps { first, last, step } => client.range(query, first, last, step).await,
    }
}

/// Why several accounts have no answer together.
enum BatchRefused {
    /// No account has one for that time.
    OutOfReach(Failure),
    /// It was too much: fewer may be answered.
    TooMuch,
    /// One account may be the cause.
    AskEach,
}
