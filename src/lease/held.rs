//! A lease in hand: kept alive by a heartbeat, asked for again before each write, and never given
//! back while a write of unknown outcome may still be carried out.

use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::cost::AccountId;
use crate::service::failure::{Failure, Hop, Kind};

use super::{Acquired, Lease, Leases};

/// How often a lease is renewed within its length.
const HEARTBEATS_PER_LENGTH: u32 = 3;

/// The right of one run to write one account.
///
/// It ends by [`release`](Self::release). Where it is dropped instead, no heartbeat renews it any
/// more, and it expires.
pub struct HeldLease(Arc<Held>);

struct Held {
    leases: Arc<dyn Leases>,
    lease: Lease,
    length: Duration,
    state: Mutex<State>,
    /// How many writes are under way.
    writes: watch::Sender<usize>,
    heartbeat: OnceLock<Heartbeat>,
}

struct State {
    /// By this process' own clock, counted from before the store was asked, so that the store's
    /// lease lasts at least as long.
    valid_until: Instant,
    end: Option<End>,
}

/// Why nothing may be written any more.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// It expired, or somebody else has it.
    Lost,
    /// A write may still be carried out; what it was.
    OutcomeUnknown(String),
}

/// The task that renews a lease; it ends with this.
struct Heartbeat(JoinHandle<()>);

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl HeldLease {
    /// Takes the account's lease for a run, for at least `length` without a heartbeat.
    ///
    /// # Errors
    /// [`Kind::Conflict`] naming the holder when somebody else has it; or when the store fails.
    pub async fn take(
        leases: &Arc<dyn Leases>,
        length: Duration,
        account: &AccountId,
        run_id: &str,
    ) -> Result<Self, Failure> {
        let asked_at = Instant::now();
        let answers = leases.acquire(slice::from_ref(account), &holder(run_id), length).await?;
        match answers.into_iter().next() {
            Some(Acquired::Granted(lease)) => {
                Ok(Self::new(Arc::clone(leases), lease, length, asked_at))
            }
            Some(Acquired::HeldBy { lease, seconds_left }) => Err(Failure::new(
                Hop::MongoDb,
                Kind::Conflict,
                format!(
                    "{} is writing account {account} (its lease expires in {seconds_left} s)",
                    lease.holder
                ),
                "wait for it; if it is dead, its lease expires by itself",
            )),
            None => {
                let what = format!("taking the lease of account {account}: no answer");
                Err(Failure::new(Hop::MongoDb, Kind::Internal, what, "report it"))
            }
        }
    }

    /// A lease that was granted when `asked_at` was already over.
    fn new(leases: Arc<dyn Leases>, lease: Lease, length: Duration, asked_at: Instant) -> Self {
        let state = State { valid_until: asked_at + length, end: None };
        let held = Arc::new(Held {
            leases,
            lease,
            length,
            state: Mutex::new(state),
            writes: watch::Sender::new(0),
            heartbeat: OnceLock::new(),
        });
        let weak = Arc::downgrade(&held);
        let heartbeat = tokio::spawn(async move {
            loop {
                sleep(length / HEARTBEATS_PER_LENGTH).await;
                let Some(held) = weak.upgrade() else { return };
                // A store that does not answer now may do so at the next beat.
                if let Err(failure) = held.renew().await {
                    tracing::warn!(
                        account.id = %held.lease.account, %failure, "the lease was not renewed"
                    );
                }
                if held.end().is_some() {
                    return;
                }
            }
        });
        let _ = held.heartbeat.set(Heartbeat(heartbeat));
        Self(held)
    }

    /// The account.
    #[must_use]
    pub fn account(&self) -> &AccountId {
        &self.0.lease.account
    }

    /// The fencing token: a later holder has a greater one.
    #[must_use]
    pub fn token(&self) -> i64 {
        self.0.lease.token
    }

    /// Sees that the lease is still the caller's and renews it. Called before each write;
    /// [`write`](Self::write) does so by itself.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when the lease expired, when somebody else has it, or when the outcome
    /// of an earlier write is unknown; or when the store fails.
    pub async fn keep(&self) -> Result<(), Failure> {
        self.0.check_end()?;
        self.0.renew().await?;
        self.0.check_end()?;
        if Instant::now() < self.0.lock().valid_until {
            return Ok(());
        }
        // The answer came later than the lease is long: others may have it by now.
        self.0.end_by(End::Lost);
        self.0.check_end()
    }

    /// Makes a write under the lease. It runs in a task of its own, to its end, even if the caller
    /// stops waiting, and holds the lease meanwhile. `what` names it, as "inserting expenses".
    ///
    /// When its failure leaves open whether it was carried out, or may yet be, nothing more is
    /// written under this lease, and it is not given back.
    ///
    /// # Errors
    /// Those of [`keep`](Self::keep), before which nothing is written; or the write's own.
    pub async fn write<T, F>(&self, what: &str, write: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        self.keep().await?;
        let under_way = UnderWay::new(&self.0, what);
        let task = tokio::spawn(async move {
            let outcome = write.await;
            under_way.ends(outcome.as_ref().err().is_none_or(Failure::says_nothing_was_written));
            outcome
        });
        task.await.unwrap_or_else(|_| {
            let what = format!("{what}: it ended without an outcome");
            Err(Failure::new(
                Hop::Worker,
                Kind::Internal,
                what,
                "run again; if it stays, report it",
            ))
        })
    }

    /// Whether the lease is still this holder's, by the store, when this is awaited: for a write that
    /// found in its midst that it has more to write.
    pub fn still_held(&self) -> impl Future<Output = bool> + Send + 'static {
        let held = Arc::clone(&self.0);
        async move { held.renew().await.is_ok() && held.end().is_none() }
    }

    /// Notes that a write may still be carried out, or was for all that is known: nothing more is
    /// written under this lease, and it is not given back but expires.
    pub fn outcome_unknown(&self, what: &str) {
        self.0.end_by(End::OutcomeUnknown(what.to_owned()));
    }

    /// Waits for writes that are under way, then gives the lease back, unless the outcome of a
    /// write is unknown: then, and if giving it back fails, it expires by itself.
    pub async fn release(self) {
        let held = self.0;
        // It cannot fail: the sender lives as long as `held`.
        let _ = held.writes.subscribe().wait_for(|under_way| *under_way == 0).await;
        let account = &held.lease.account;
        if let Some(End::OutcomeUnknown(what)) = held.end() {
            tracing::warn!(
                account.id = %account, what,
                "the outcome of a write is unknown: the lease is left to expire"
            );
            return;
        }
        if let Err(failure) = held.leases.release(slice::from_ref(&held.lease)).await {
            tracing::warn!(account.id = %account, %failure, "the lease was not released");
        }
    }
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) -> Option<End> {
        self.lock().end.clone()
    }

    /// The first end stands, but for an unknown outcome, which decides on giving the lease back.
    fn end_by(&self, end: End) {
        let mut state = self.lock();
        if state.end.is_none() || state.end == Some(End::Lost) {
            state.end = Some(end);
        }
    }

    async fn renew(&self) -> Result<(), Failure> {
        let asked_at = Instant::now();
        let answers = self.leases.renew(slice::from_ref(&self.lease), self.length).await?;
        if answers == [true] {
            let mut state = self.lock();
            state.valid_until = state.valid_until.max(asked_at + self.length);
        } else {
            self.end_by(End::Lost);
        }
        Ok(())
    }

    fn check_end(&self) -> Result<(), Failure> {
        let account = &self.lease.account;
        let (what, fix) = match self.end() {
            None => return Ok(()),
            Some(End::Lost) => (
                format!("the lease on account {account} was lost: it took too long"),
                "raise LEASE_SECONDS, or see what slows the run down; the next run goes on",
            ),
            Some(End::OutcomeUnknown(of)) => (
                format!("account {account}: the outcome of an earlier write is unknown ({of})"),
                "a run goes on from what is stored once the lease has expired",
            ),
        };
        Err(Failure::new(Hop::MongoDb, Kind::Conflict, what, fix))
    }
}

/// A write that is under way. Where it ends without an outcome, as by a panic, that is unknown.
struct UnderWay {
    held: Arc<Held>,
    what: String,
    is_known: bool,
}

impl UnderWay {
    fn new(held: &Arc<Held>, what: &str) -> Self {
        held.writes.send_modify(|under_way| *under_way += 1);
        Self { held: Arc::clone(held), what: what.to_owned(), is_known: false }
    }

    fn ends(mut self, is_known: bool) {
        self.is_known = is_known;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !self.is_known {
            self.held.end_by(End::OutcomeUnknown(std::mem::take(&mut self.what)));
        }
        self.held.writes.send_modify(|under_way| *under_way -= 1);
    }
}

/// Who holds a lease, as another worker's message shows it.
fn holder(run_id: &str) -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "this host".to_owned());
    format!("run {run_id} on {host}, process {}", std::process::id())
}

#[cfg(test)]
mod tests;
