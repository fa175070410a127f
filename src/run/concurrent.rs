//! Works on accounts concurrently, bounded by their number and by their rows.

use futures_util::StreamExt;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::order::{QueuedAccount, ROWS_AT_ONCE_MAX};
use super::request::Stop;

/// When no more accounts are begun.
pub(super) struct StopOrDeadline<'a> {
    pub(super) stop: &'a Stop,
    pub(super) deadline: Instant,
}

impl StopOrDeadline<'_> {
    fn is_over(&self) -> bool {
        self.stop.is_asked() || Instant::now() >= self.deadline
    }
}

/// Works on accounts in their order, so many at once. Returns what came of those that were begun,
/// and how many were not.
pub(super) async fn run_concurrently<T, Fut: Future<Output = T>>(
    queue: Vec<QueuedAccount>,
    accounts_at_once: usize,
    until: StopOrDeadline<'_>,
    work: impl Fn(QueuedAccount) -> Fut,
) -> (Vec<T>, usize) {
    let rows = Semaphore::new(ROWS_AT_ONCE_MAX as usize);
    let (rows, until, work) = (&rows, &until, &work);
    let begun = queue.into_iter().map(|queued| async move {
        // It cannot fail: the semaphore is not closed.
        let _rows = rows.acquire_many(queued.rows_estimate).await;
        if until.is_over() { None } else { Some(work(queued).await) }
    });
    let begun = futures_util::stream::iter(begun).buffer_unordered(accounts_at_once.max(1));
    let all: Vec<Option<T>> = begun.collect().await;
    let left = all.iter().filter(|one| one.is_none()).count();
    (all.into_iter().flatten().collect(), left)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::accounts::Account;
    use crate::cost::AccountId;

    fn queue(rows: &[u32]) -> Vec<QueuedAccount> {
        let queued = |(index, rows): (usize, &u32)| QueuedAccount {
            account: Account::unnamed(AccountId::new(format!("a{index}")).unwrap()),
            rows_estimate: *rows,
            reconciles: true,
        };
        rows.iter().enumerate().map(queued).collect()
    }

    fn long(stop: &Stop) -> StopOrDeadline<'_> {
        StopOrDeadline { stop, deadline: Instant::now() + Duration::from_secs(1_000) }
    }

    /// The greatest number of accounts at work at a time.
    async fn most_at_once(rows: &[u32], accounts_at_once: usize) -> usize {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let stop = Stop::default();
        let work = |_| async {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            now.fetch_sub(1, Ordering::SeqCst);
        };
        let (done, left) = run_concurrently(queue(rows), accounts_at_once, long(&stop), work).await;
        assert_eq!((done.len(), left), (rows.len(), 0));
        most.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn accounts_are_bounded_in_number_and_in_rows() {
        assert_eq!(most_at_once(&[1; 10], 4).await, 4);
        assert_eq!(most_at_once(&[ROWS_AT_ONCE_MAX / 2; 10], 4).await, 2);
        assert_eq!(most_at_once(&[ROWS_AT_ONCE_MAX; 3], 4).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn no_account_is_begun_after_a_stop_or_the_deadline() {
        let stop = Stop::default();
        let asks_to_stop = |account: Account| account.id.as_str() == "a1";
        let work = |queued: QueuedAccount| {
            let (stop, asks) = (&stop, asks_to_stop(queued.account));
            async move {
                tokio::time::sleep(Duration::from_secs(10)).await;
                if asks {
                    stop.ask();
                }
            }
        };
        let (done, left) = run_concurrently(queue(&[1; 6]), 2, long(&stop), work).await;
        assert_eq!((done.len(), left), (2, 4));
        let stop = Stop::default();
        let until =
            StopOrDeadline { stop: &stop, deadline: Instant::now() + Duration::from_secs(15) };
        let slow = |_| tokio::time::sleep(Duration::from_secs(10));
        let (done, left) = run_concurrently(queue(&[1; 6]), 2, until, slow).await;
        assert_eq!((done.len(), left), (4, 2));
    }
}
