//! The time of these tests is tokio's, paused: it goes on by itself when all wait.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;
use crate::lease::memory::MemoryLeases;
use crate::service::clock::Clock;

const LENGTH: Duration = Duration::from_secs(90);

/// The paused time as a store's clock.
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now_seconds(&self) -> i64 {
        1_000 + i64::try_from(self.0.elapsed().as_secs()).unwrap()
    }
}

/// Leases whose store is slow to answer renewals, or down.
struct Store {
    leases: MemoryLeases,
    answer_seconds: AtomicU64,
    is_down: AtomicBool,
}

impl Store {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            leases: MemoryLeases::new(Arc::new(PausedClock(Instant::now()))),
            answer_seconds: AtomicU64::new(0),
            is_down: AtomicBool::new(false),
        })
    }

    async fn take(self: &Arc<Self>, run_id: &str) -> Result<HeldLease, Failure> {
        let leases: Arc<dyn Leases> = Arc::clone(self) as Arc<dyn Leases>;
        HeldLease::take(&leases, LENGTH, &AccountId::new("a").unwrap(), run_id).await
    }

    async fn is_held(self: &Arc<Self>) -> bool {
        match self.take("another").await {
            Ok(_) => false,
            Err(failure) => {
                assert_eq!(failure.kind, Kind::Conflict, "{failure}");
                true
            }
        }
    }
}

#[async_trait]
impl Leases for Store {
    async fn acquire(
        &self,
        accounts: &[AccountId],
        holder: &str,
        length: Duration,
    ) -> Result<Vec<Acquired>, Failure> {
        self.leases.acquire(accounts, holder, length).await
    }

    async fn renew(&self, leases: &[Lease], length: Duration) -> Result<Vec<bool>, Failure> {
        if self.is_down.load(Ordering::SeqCst) {
            return Err(Failure::new(Hop::MongoDb, Kind::Unavailable, "down", "start it"));
        }
        let answer = self.leases.renew(leases, length).await;
        sleep(Duration::from_secs(self.answer_seconds.load(Ordering::SeqCst))).await;
        answer
    }

    async fn release(&self, leases: &[Lease]) -> Result<(), Failure> {
        self.leases.release(leases).await
    }
}

fn failed(kind: Kind) -> Failure {
    Failure::new(Hop::ClickHouse, kind, "inserting expenses failed", "look")
}

fn conflict(outcome: Result<(), Failure>, part: &str) {
    let failure = outcome.unwrap_err();
    assert_eq!(failure.kind, Kind::Conflict, "{failure}");
    assert!(failure.what.contains(part), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_keeps_a_lease_for_longer_than_its_length() {
    let store = Store::new();
    let held = store.take("r").await.unwrap();
    sleep(LENGTH * 20).await;
    assert!(store.is_held().await);
    held.keep().await.unwrap();
    held.release().await;
    assert!(!store.is_held().await);
}

#[tokio::test(start_paused = true)]
async fn a_holder_is_named_with_when_its_lease_expires() {
    let store = Store::new();
    let _held = store.take("first-run").await.unwrap();
    let failure = store.take("second-run").await.err().unwrap();
    assert_eq!(failure.kind, Kind::Conflict);
    assert!(failure.what.contains("run first-run on "), "{failure}");
    assert!(failure.what.contains("expires in 91 s"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_dropped_expires() {
    let store = Store::new();
    drop(store.take("r").await.unwrap());
    sleep(LENGTH - Duration::from_secs(1)).await;
    assert!(store.is_held().await);
    sleep(Duration::from_secs(3)).await;
    assert!(!store.is_held().await);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_for_a_while_loses_no_lease() {
    let store = Store::new();
    let held = store.take("r").await.unwrap();
    store.is_down.store(true, Ordering::SeqCst);
    sleep(LENGTH * 2 / 3 - Duration::from_secs(1)).await;
    assert_eq!(held.keep().await.unwrap_err().kind, Kind::Unavailable);
    store.is_down.store(false, Ordering::SeqCst);
    sleep(LENGTH).await;
    assert!(store.is_held().await);
    held.keep().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_expired_is_lost_and_nothing_is_written_under_it() {
    let store = Store::new();
    let held = store.take("r").await.unwrap();
    store.is_down.store(true, Ordering::SeqCst);
    sleep(LENGTH * 2).await;
    store.is_down.store(false, Ordering::SeqCst);
    let is_written = Arc::new(AtomicBool::new(false));
    let written = Arc::clone(&is_written);
    let outcome = held.write("inserting", async move {
        written.store(true, Ordering::SeqCst);
        Ok(())
    });
    conflict(outcome.await, "was lost");
    assert!(!is_written.load(Ordering::SeqCst));
    conflict(held.keep().await, "was lost");
}

#[tokio::test(start_paused = true)]
async fn an_answer_later_than_the_lease_is_long_is_no_lease() {
    let store = Store::new();
    let held = store.take("r").await.unwrap();
    store.answer_seconds.store(89, Ordering::SeqCst);
    held.keep().await.unwrap();
    store.answer_seconds.store(90, Ordering::SeqCst);
    // The heartbeat's answers are as late.
    sleep(LENGTH).await;
    conflict(held.keep().await, "was lost");
}

#[tokio::test(start_paused = true)]
async fn a_write_goes_on_when_the_caller_stops_waiting_and_holds_the_lease_until_its_end() {
    let store = Store::new();
    let held = store.take("r").await.unwrap();
    let (done, outcome) = oneshot::channel();
    let is_written = Arc::new(AtomicBool::new(false));
    let written = Arc::clone(&is_written);
    let write = held.write("inserting", async move {
        outcome.await.unwrap();
        written.store(true, Ordering::SeqCst);
        Ok(())
    });
    assert!(timeout(Duration::from_secs(5), write).await.is_err(), "nobody ended it");
    let releasing = tokio::spawn(held.release());
    sleep(LENGTH * 3).await;
    assert!(!releasing.is_finished());
    assert!(store.is_held().await);
    done.send(()).unwrap();
    releasing.await.unwrap();
    assert!(is_written.load(Ordering::SeqCst));
    assert!(!store.is_held().await);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_under_way_keeps_a_lease_that_was_dropped() {
    let store = Store::new();
    let held = store.take("r").await.unwrap();
    let (done, outcome) = oneshot::channel::<()>();
    let write = held.write("inserting", async move { Ok(outcome.await.is_ok()) });
    assert!(timeout(Duration::from_secs(5), write).await.is_err(), "nobody ended it");
    drop(held);
    sleep(LENGTH * 3).await;
    assert!(store.is_held().await);
    done.send(()).unwrap();
    sleep(LENGTH + Duration::from_secs(2)).await;
    assert!(!store.is_held().await, "there is nobody to give it back, so it expires");
}

#[tokio::test(start_paused = true)]
async fn after_an_unknown_outcome_nothing_is_written_and_the_lease_expires() {
    for kind in [Kind::Timeout, Kind::Unavailable, Kind::BadReply, Kind::Internal] {
        let store = Store::new();
        let held = store.take("r").await.unwrap();
        let write = held.write("inserting", async move { Err::<(), _>(failed(kind)) });
        assert_eq!(write.await, Err(failed(kind)), "the write's own failure");
        conflict(held.keep().await, "unknown (inserting)");
        conflict(held.write("again", async { Ok(()) }).await, "unknown (inserting)");
        held.release().await;
        sleep(LENGTH - Duration::from_secs(1)).await;
        assert!(store.is_held().await, "{kind:?}");
        sleep(Duration::from_secs(3)).await;
        assert!(!store.is_held().await, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_write_that_was_refused_the_lease_is_given_back() {
    let definite = [
        Kind::Denied,
        Kind::ReadOnly,
        Kind::Overloaded,
        Kind::BadData,
        Kind::Schema,
        Kind::Conflict,
        Kind::Refused,
    ];
    for kind in definite {
        let store = Store::new();
        let held = store.take("r").await.unwrap();
        let write = held.write("inserting", async move { Err::<(), _>(failed(kind)) });
        assert_eq!(write.await, Err(failed(kind)));
        assert_eq!(held.write("again", async { Ok(7) }).await, Ok(7));
        held.release().await;
        assert!(!store.is_held().await, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_panics_has_no_known_outcome() {
    let store = Store::new();
    let held = store.take("r").await.unwrap();
    let write = held.write("inserting", async { panic!("a fault of this program") });
    let outcome: Result<(), Failure> = write.await;
    assert_eq!(outcome.unwrap_err().kind, Kind::Internal);
    conflict(held.keep().await, "unknown (inserting)");
    held.release().await;
    assert!(store.is_held().await);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_that_was_noted_counts_even_for_a_lost_lease() {
    let store = Store::new();
    let held = store.take("r").await.unwrap();
    store.is_down.store(true, Ordering::SeqCst);
    sleep(LENGTH * 2).await;
    store.is_down.store(false, Ordering::SeqCst);
    conflict(held.keep().await, "was lost");
    held.outcome_unknown("merging expenses");
    conflict(held.keep().await, "unknown (merging expenses)");
    held.outcome_unknown("something later");
    conflict(held.keep().await, "unknown (merging expenses)");
}

#[tokio::test(start_paused = true)]
async fn each_holder_has_a_greater_token() {
    let store = Store::new();
    let first = store.take("r").await.unwrap();
    assert_eq!((first.account().as_str(), first.token()), ("a", 1));
    first.release().await;
    assert_eq!(store.take("s").await.unwrap().token(), 2);
}
