//! Questions of many callers put together: those that wait at the same time become one.
//!
//! Accounts are worked side by side and ask the same of the same server. A caller's question waits
//! for a moment, and for one of the places for questions under way; what has come by then goes
//! together. Where few large batches matter more than a moment, a batch waits for those who have said
//! that they will ask ([`Batcher::presence`]).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::service::failure::{Failure, Hop, Kind, REPORT};
use crate::service::spans::step;

/// How long the first question of a batch waits for others: far less than any server needs.
pub const LINGER: Duration = Duration::from_millis(2);

/// How long a question keeps its place: a slow one goes on without it and does not hold up others.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A place among the questions under way, given back when it is dropped; empty where a batch went
/// without one.
#[derive(Debug)]
pub struct Place {
    _held: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// Does some work to its end, in this place for [`PATIENCE`] at the most.
    async fn during<T>(self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let in_time = tokio::time::timeout(PATIENCE, &mut work).await;
        drop(self);
        match in_time {
            Ok(done) => done,
            Err(_) => work.await,
        }
    }
}

/// Where a question's answer goes.
#[derive(Debug)]
pub struct Reply<A>(oneshot::Sender<A>);

impl<A> Reply<A> {
    /// Hands the answer over.
    pub fn send(self, answer: A) {
        // Who asked may have given up.
        let _ = self.0.send(answer);
    }

    /// Whether who asked has given up.
    fn is_given_up(&self) -> bool {
        self.0.is_closed()
    }
}

/// Questions of a batch, in the order of asking, and where their answers go.
pub type Asked<Q, A> = Vec<(Q, Reply<A>)>;

/// How long the first question of a batch waits for others.
#[derive(Clone, Copy, Debug)]
pub enum Linger {
    /// A moment, and again where others came meanwhile.
    WhileTheyCome {
        /// How long each time.
        step: Duration,
        /// How often at the most.
        steps_max: u32,
    },
    /// Until all who are present have asked.
    ForThePresent {
        /// How long for each of them at the most.
        for_each: Duration,
        /// How long in all.
        total_max: Duration,
    },
}

/// How long somebody who is present is waited for, since they last said so: one who hangs holds up
/// the others no longer.
const PRESENT_FOR: Duration = Duration::from_secs(20);

/// Somebody who will ask, until this is dropped.
#[derive(Debug, Default)]
pub struct Presence {
    said_at: Option<Arc<Mutex<Instant>>>,
}

impl Presence {
    /// Says again that they will ask.
    pub fn renew(&self) {
        if let Some(said_at) = &self.said_at {
            *locked(said_at) = Instant::now();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How large a batch may become.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Most questions of a batch.
    pub questions_max: usize,
    /// Greatest sum of their weights.
    pub weight_max: u64,
    /// How long the first question waits for others.
    pub linger: Linger,
    /// How long a batch waits for a place, and takes in others meanwhile, before it goes without
    /// one; `None`: as long as it takes.
    pub place_wait_max: Option<Duration>,
}

impl BatchLimits {
    /// Of questions that wait for each other for a moment only, and for a place as long as it takes.
    #[must_use]
    pub const fn of_reads(questions_max: usize, weight_max: u64) -> Self {
        let linger = Linger::WhileTheyCome { step: LINGER, steps_max: 1 };
        Self { questions_max, weight_max, linger, place_wait_max: None }
    }
}

/// Puts questions of one key together.
#[derive(Debug)]
pub struct Batcher<K, Q, A> {
    open: Mutex<BTreeMap<K, Arc<Batch<Q, A>>>>,
    places: Arc<Semaphore>,
    /// When each who is present said so.
    present: Mutex<Vec<Weak<Mutex<Instant>>>>,
    limits: BatchLimits,
}

#[derive(Debug)]
struct Batch<Q, A> {
    members: Mutex<Members<Q, A>>,
    /// Told when a question came that it cannot take in.
    full: Notify,
}

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
        Self { open: Mutex::default(), places, present: Mutex::default(), limits }
    }

    /// Says that somebody will ask, who is waited for where batches wait for those.
    pub fn presence(&self) -> Presence {
        let said_at = Arc::new(Mutex::new(Instant::now()));
        let mut present = locked(&self.present);
        present.retain(|one| one.strong_count() > 0);
        present.push(Arc::downgrade(&said_at));
        Presence { said_at: Some(said_at) }
    }

    /// How many are present and have said so not long ago.
    fn present(&self) -> usize {
        let present = locked(&self.present);
        let said_at = present.iter().filter_map(Weak::upgrade);
        let is_fresh = |at: &Arc<Mutex<Instant>>| locked(at).elapsed() < PRESENT_FOR;
        said_at.filter(is_fresh).count()
    }

    /// Asks a question of some weight together with others of its key. `answer` is given the
    /// batch and sends each its answer, as soon as it has one. It runs to its end even if the
    /// caller stops waiting, as others wait for it too; it has its place for [`PATIENCE`] at the most.
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
        F: FnOnce(Asked<Q, A>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send,
    {
        let in_place = |asked, place: Place| place.during(answer(asked));
        self.ask_in_place(key, question, weight, in_place).await
    }

    /// Like [`ask`](Self::ask), where `answer` is given the place too, and says how long it has it.
    pub async fn ask_in_place<F, Fut>(
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
                tokio::select! {
                    () = batcher.linger(&batch) => {}
                    () = batch.full.notified() => {}
                }
                let place = batcher.place_in_time().await;
                let asked = batcher.close(&key, &batch);
                Span::current().record("questions", asked.len());
                answer(asked, place).await;
            };
            tokio::spawn(answering.instrument(span));
        }
        receiver.await.ok()
    }

    async fn linger(&self, batch: &Batch<Q, A>) {
        let asked = || locked(&batch.members).asked.len();
        match self.limits.linger {
            Linger::WhileTheyCome { step, steps_max } => {
                let mut count = 1;
                for _ in 0..steps_max.max(1) {
                    tokio::time::sleep(step).await;
                    let now = asked();
                    if now == std::mem::replace(&mut count, now) {
                        return;
                    }
                }
            }
            Linger::ForThePresent { for_each, total_max } => {
                let started = Instant::now();
                loop {
                    let others = self.present().saturating_sub(1);
                    let others = u32::try_from(others).unwrap_or(u32::MAX);
                    let limit = for_each.saturating_mul(others).min(total_max);
                    if asked() > others as usize || started.elapsed() >= limit {
                        return;
                    }
                    tokio::time::sleep(for_each).await;
                }
            }
        }
    }

    /// A place for a question that is asked beside a batch.
    pub async fn place(&self) -> Place {
        // It cannot fail: the semaphore is not closed.
        Place { _held: Arc::clone(&self.places).acquire_owned().await.ok() }
    }

    /// A place, or none where that takes too long.
    async fn place_in_time(&self) -> Place {
        match self.limits.place_wait_max {
            None => self.place().await,
            Some(limit) => {
                tokio::time::timeout(limit, self.place()).await.unwrap_or(Place { _held: None })
            }
        }
    }

    /// Adds a question to the open batch of its key. Returns the batch where it is a new one, for
    /// which the caller must find the answers.
    fn join(&self, key: &K, asked: (Q, Reply<A>), weight: u64) -> Option<Arc<Batch<Q, A>>> {
        let mut open = locked(&self.open);
        if let Some(batch) = open.get(key) {
            let mut members = locked(&batch.members);
            let is_full = members.asked.len() >= self.limits.questions_max
                || members.weight.saturating_add(weight) > self.limits.weight_max;
            if !members.is_closed && !is_full {
                members.asked.push(asked);
                members.weight = members.weight.saturating_add(weight);
                return None;
            }
            batch.full.notify_one();
        }
        let members = Members { asked: vec![asked], weight, is_closed: false };
        let batch = Arc::new(Batch { members: Mutex::new(members), full: Notify::new() });
        open.insert(key.clone(), Arc::clone(&batch));
        Some(batch)
    }

    fn close(&self, key: &K, batch: &Arc<Batch<Q, A>>) -> Asked<Q, A> {
        let mut open = locked(&self.open);
        if open.get(key).is_some_and(|one| Arc::ptr_eq(one, batch)) {
            open.remove(key);
        }
        let mut members = locked(&batch.members);
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
        let answer = |asked| answer_together(asked, answer_all);
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

/// Sends each question of a batch its answer, but for those whose callers have given up.
async fn answer_together<Q: Clone, A, Fut: Future<Output = Result<Vec<A>, Failure>>>(
    asked: Asked<Q, Result<A, Failure>>,
    answer_all: impl Fn(Vec<Q>) -> Fut,
) {
    let awaited: Vec<_> = asked.into_iter().filter(|(_, reply)| !reply.is_given_up()).collect();
    if !awaited.is_empty() {
        answer_in_order(awaited, |questions| together(questions, answer_all)).await;
    }
}

/// Sends each question of a batch the answer at its place.
pub async fn answer_in_order<Q, A, Fut: Future<Output = Vec<A>>>(
    asked: Asked<Q, A>,
    answer_all: impl FnOnce(Vec<Q>) -> Fut,
) {
    let (questions, replies): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
    for (reply, answer) in replies.into_iter().zip(answer_all(questions).await) {
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
mod tests;
