//! Questions of many callers put together: those that wait at the same time become one.
//!
//! Accounts are worked side by side and ask the same of the same server. A caller's question waits
//! for a moment, and for one of the places for questions under way; what has come by then goes
//! together. Nobody waits for a caller who has not asked yet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::service::failure::{Failure, Hop, Kind, REPORT};
use crate::service::spans::step;

/// How long the first question of a batch waits for others: far less than any server needs.
pub const LINGER: Duration = Duration::from_millis(2);

/// A place among the questions under way; given back when it is dropped.
pub type Place = OwnedSemaphorePermit;

/// Where a question's answer goes.
#[derive(Debug)]
pub struct Reply<A>(oneshot::Sender<A>);

impl<A> Reply<A> {
    /// Hands the answer over.
    pub fn send(self, answer: A) {
        // Who asked may have given up.
        let _ = self.0.send(answer);
    }
}

/// Questions of a batch, in the order of asking, and where their answers go.
pub type Asked<Q, A> = Vec<(Q, Reply<A>)>;

/// How large a batch may become.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Most questions of a batch.
    pub questions_max: usize,
    /// Greatest sum of their weights.
    pub weight_max: u64,
    /// How long the first question waits for others.
    pub linger: Duration,
    /// How often it waits so long: again where others came meanwhile.
    pub lingers_max: u32,
}

/// Puts questions of one key together.
#[derive(Debug)]
pub struct Batcher<K, Q, A> {
    open: Mutex<BTreeMap<K, Arc<Batch<Q, A>>>>,
    places: Arc<Semaphore>,
    limits: BatchLimits,
}

#[derive(Debug)]
struct Batch<Q, A>(Mutex<Members<Q, A>>);

#[derive(Debug)]
struct Members<Q, A> {
    asked: Asked<Q, A>,
    weight: u64,
    is_closed: bool,
}

impl<K: Ord + Clone + Send + 'static, Q: Send + 'static, A: Send + 'static> Batcher<K, Q, A> {
    /// A batcher with so many questions under way at the most.
    #[must_use]
    pub fn new(places: Arc<Semaphore>, limits: BatchLimits) -> Self {
        Self { open: Mutex::default(), places, limits }
    }

    /// Asks a question of some weight together with others of its key. `answer` is given the
    /// batch and sends each its answer, as soon as it has one. It runs to its end even if the
    /// caller stops waiting, as others wait for it too.
    ///
    /// Returns `None` where no answer came: the task that was to give it ended by a panic.
    pub async fn ask<F, Fut>(
        self: &Arc<Self>,
        key: K,
        question: Q,
        weight: u64,
        answer: F,
    ) -> Option<A>
    where
        F: FnOnce(Asked<Q, A>, Place) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send,
    {
        let (sender, receiver) = oneshot::channel();
        if let Some(batch) = self.join(&key, (question, Reply(sender)), weight) {
            let batcher = Arc::clone(self);
            let span = step!("batch", questions = Empty);
            let answering = async move {
                batcher.linger(&batch).await;
                let Ok(place) = Arc::clone(&batcher.places).acquire_owned().await else { return };
                let asked = batcher.close(&key, &batch);
                Span::current().record("questions", asked.len());
                answer(asked, place).await;
            };
            tokio::spawn(answering.instrument(span));
        }
        receiver.await.ok()
    }

    /// Waits for others, as long as more of them come.
    async fn linger(&self, batch: &Batch<Q, A>) {
        let mut count = 1;
        for _ in 0..self.limits.lingers_max.max(1) {
            tokio::time::sleep(self.limits.linger).await;
            let now = batch.0.lock().unwrap_or_else(PoisonError::into_inner).asked.len();
            if now == std::mem::replace(&mut count, now) {
                return;
            }
        }
    }

    /// A place for a question that is asked beside a batch.
    ///
    /// # Errors
    /// Never: places are not closed.
    pub async fn place(&self) -> Result<Place, tokio::sync::AcquireError> {
        Arc::clone(&self.places).acquire_owned().await
    }

    /// Adds a question to the open batch of its key. Returns the batch where it is a new one, for
    /// which the caller must find the answers.
    fn join(&self, key: &K, asked: (Q, Reply<A>), weight: u64) -> Option<Arc<Batch<Q, A>>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(batch) = open.get(key) {
            let mut members = batch.0.lock().unwrap_or_else(PoisonError::into_inner);
            let is_full = members.asked.len() >= self.limits.questions_max
                || members.weight.saturating_add(weight) > self.limits.weight_max;
            if !members.is_closed && !is_full {
                members.asked.push(asked);
                members.weight = members.weight.saturating_add(weight);
                return None;
            }
        }
        let members = Members { asked: vec![asked], weight, is_closed: false };
        let batch = Arc::new(Batch(Mutex::new(members)));
        open.insert(key.clone(), Arc::clone(&batch));
        Some(batch)
    }

    fn close(&self, key: &K, batch: &Arc<Batch<Q, A>>) -> Asked<Q, A> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.get(key).is_some_and(|one| Arc::ptr_eq(one, batch)) {
            open.remove(key);
        }
        let mut members = batch.0.lock().unwrap_or_else(PoisonError::into_inner);
        members.is_closed = true;
        std::mem::take(&mut members.asked)
    }
}

impl<K, Q, T> Batcher<K, Q, Result<T, Failure>>
where
    K: Ord + Clone + Send + 'static,
    Q: Clone + Send + Sync + 'static,
    T: Send + 'static,
{
    /// Asks a question of some weight together with others of its key, which `answer_all` answers
    /// at once. Where that fails each is asked alone, so that one that cannot be answered fails by
    /// itself.
    ///
    /// # Errors
    /// Why the question cannot be answered.
    pub async fn ask_all<F, Fut>(
        self: &Arc<Self>,
        key: K,
        question: Q,
        weight: u64,
        answer_all: F,
    ) -> Result<T, Failure>
    where
        F: Fn(Vec<Q>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<T>, Failure>> + Send,
    {
        let answer = |asked, _place| answer_together(asked, answer_all);
        self.ask(key, question, weight, answer).await.unwrap_or_else(|| Err(no_answer()))
    }
}

/// What was found, by the keys that were asked for and in their order. A key that was asked for twice
/// gets the same twice.
#[must_use]
pub fn in_order<K: Ord, T: Clone>(
    keys: impl IntoIterator<Item = K>,
    found: impl IntoIterator<Item = (K, T)>,
) -> Vec<Vec<T>> {
    let mut by_key: BTreeMap<K, Vec<T>> = BTreeMap::new();
    for (key, one) in found {
        by_key.entry(key).or_default().push(one);
    }
    keys.into_iter().map(|key| by_key.get(&key).cloned().unwrap_or_default()).collect()
}

/// Sends each question of a batch its answer.
async fn answer_together<Q: Clone, A, Fut: Future<Output = Result<Vec<A>, Failure>>>(
    asked: Asked<Q, Result<A, Failure>>,
    answer_all: impl Fn(Vec<Q>) -> Fut,
) {
    let (questions, replies): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
    for (reply, answer) in replies.into_iter().zip(together(questions, answer_all).await) {
        reply.send(answer);
    }
}

/// The answers are in the order of the questions.
async fn together<Q: Clone, A, Fut: Future<Output = Result<Vec<A>, Failure>>>(
    questions: Vec<Q>,
    answer_all: impl Fn(Vec<Q>) -> Fut,
) -> Vec<Result<A, Failure>> {
    let failure = match answer_all(questions.clone()).await {
        Ok(answers) if answers.len() == questions.len() => {
            return answers.into_iter().map(Ok).collect();
        }
        Ok(_) => no_answer(),
        Err(failure) => failure,
    };
    if questions.len() < 2 {
        return questions.iter().map(|_| Err(failure.clone())).collect();
    }
    let mut answers = Vec::with_capacity(questions.len());
    for question in questions {
        let one = answer_all(vec![question]).await;
        answers.push(one.and_then(|mut found| found.pop().ok_or_else(no_answer)));
    }
    answers
}

/// A question that ended without an answer, which is a fault of this program.
#[must_use]
pub fn no_answer() -> Failure {
    let what = "a question that was asked together with others ended without an answer";
    Failure::new(Hop::Worker, Kind::Internal, what, REPORT)
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    type Numbers = Batcher<&'static str, u32, (u32, usize)>;

    fn batcher(places: usize, questions_max: usize, weight_max: u64) -> Arc<Numbers> {
        let limits = BatchLimits { questions_max, weight_max, linger: LINGER, lingers_max: 1 };
        Arc::new(Batcher::new(Arc::new(Semaphore::new(places)), limits))
    }

    /// The question, and how many were asked together.
    async fn ask(batcher: &Arc<Numbers>, key: &'static str, question: u32) -> (u32, usize) {
        let answer = |asked: Asked<u32, (u32, usize)>, _place| async move {
            let count = asked.len();
            for (question, reply) in asked {
                reply.send((question * 10, count));
            }
        };
        batcher.ask(key, question, 1, answer).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn questions_of_a_key_that_wait_together_are_one_batch_and_get_their_own_answers() {
        let batcher = batcher(1, 10, 10);
        let asked = [("a", 1), ("b", 2), ("a", 3)].map(|(key, q)| ask(&batcher, key, q));
        assert_eq!(join_all(asked).await, [(10, 2), (20, 1), (30, 2)]);
    }

    /// How many were asked together of five who come one after the other, each before the first
    /// has waited once more.
    async fn together_of_five(lingers_max: u32) -> usize {
        let limits = BatchLimits { questions_max: 9, weight_max: 9, linger: LINGER, lingers_max };
        let batcher: Arc<Numbers> = Arc::new(Batcher::new(Arc::new(Semaphore::new(1)), limits));
        let asked = (0..5).map(|place| {
            let batcher = &batcher;
            async move {
                tokio::time::sleep(LINGER * 3 / 4 * place).await;
                ask(batcher, "a", place).await
            }
        });
        join_all(asked).await[0].1
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_waits_as_long_as_others_come_and_no_longer_than_it_may() {
        assert_eq!(together_of_five(1).await, 2);
        assert_eq!(together_of_five(2).await, 3);
        assert_eq!(together_of_five(10).await, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_full_by_its_questions_and_by_their_weight() {
        for batcher in [batcher(9, 2, 100), batcher(9, 100, 2)] {
            let answers = join_all((0..5).map(|q| ask(&batcher, "a", q))).await;
            assert_eq!(answers.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [2, 2, 2, 2, 1]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_while_there_is_no_place_goes_together() {
        let batcher = batcher(1, 10, 10);
        let place = Arc::clone(&batcher.places).acquire_owned().await.unwrap();
        let first = tokio::spawn({
            let batcher = Arc::clone(&batcher);
            async move { ask(&batcher, "a", 1).await }
        });
        tokio::time::sleep(LINGER * 10).await;
        let second = tokio::spawn({
            let batcher = Arc::clone(&batcher);
            async move { ask(&batcher, "a", 2).await }
        });
        tokio::time::sleep(LINGER * 10).await;
        drop(place);
        assert_eq!((first.await.unwrap(), second.await.unwrap()), ((10, 2), (20, 2)));
    }

    #[tokio::test(start_paused = true)]
    async fn others_get_their_answers_where_the_first_who_asked_gives_up() {
        let batcher = batcher(1, 10, 10);
        let first = tokio::spawn({
            let batcher = Arc::clone(&batcher);
            async move { ask(&batcher, "a", 1).await }
        });
        tokio::task::yield_now().await;
        first.abort();
        assert_eq!(ask(&batcher, "a", 2).await, (20, 2));
    }

    #[test]
    fn what_was_found_goes_to_each_who_asked_for_its_key() {
        let found = [("b", 1), ("a", 2), ("b", 3)];
        let answers = in_order(["a", "b", "c", "b"], found);
        assert_eq!(answers, [vec![2], vec![1, 3], vec![], vec![1, 3]]);
    }

    #[tokio::test]
    async fn a_question_that_cannot_be_answered_fails_by_itself() {
        let all = |questions: Vec<u32>| async move {
            if questions.contains(&2) { Err(no_answer()) } else { Ok(questions) }
        };
        let answers = together(vec![1, 2, 3], all).await;
        let shown: Vec<Option<u32>> = answers.into_iter().map(Result::ok).collect();
        assert_eq!(shown, [Some(1), None, Some(3)]);
        assert!(together(vec![2], all).await[0].is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_no_answer() {
        let batcher = batcher(1, 10, 10);
        let answer = |_: Asked<u32, (u32, usize)>, _place| async move { panic!("broken") };
        assert_eq!(batcher.ask("a", 1, 1, answer).await, None);
        assert_eq!(ask(&batcher, "a", 2).await, (20, 1));
    }
}
