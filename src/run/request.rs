//! What a run is asked to do, and the request to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::accounts::Account;
use crate::cost::{AccountId, Day};

use super::plan::Plan;
use super::progress::ProgressTo;

/// How long after a stop was asked for an account is left as it is, in the middle of its writes too.
const STOP_DEADLINE: Duration = Duration::from_secs(7);

/// What a run is to do.
#[derive(Clone, Debug, Default)]
pub struct RunRequest {
    /// Exactly these days, first and last; otherwise those that are due.
    pub days: Option<(Day, Day)>,
    /// Only these accounts; otherwise all.
    pub accounts: Vec<AccountId>,
    /// The reason for which guards are overridden, if they are.
    pub force_reason: Option<String>,
    /// Where it is shown how far the run is, if anywhere.
    pub progress: ProgressTo,
}

impl RunRequest {
    /// Whether it is for some accounts only, so that its summary lacks the others.
    #[must_use]
    pub fn is_narrowed(&self) -> bool {
        !self.accounts.is_empty()
    }
}

/// Asks a run to end after the day that it is working on.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<Option<Instant>>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::channel(None).0))
    }
}

impl Stop {
    /// Asks for the end.
    pub fn ask(&self) {
        self.0.send_if_modified(|asked_at| {
            let is_first = asked_at.is_none();
            asked_at.get_or_insert_with(Instant::now);
            is_first
        });
    }

    /// Whether the end was asked for.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits until the end is asked for.
    pub async fn asked(&self) {
        // It cannot fail: the sender lives as long as `self`.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }

    /// What work comes to; `None` where a stop leaves it in the middle. What it was writing may still
    /// arrive then, as of a process that is killed: its lease must not be given back.
    pub(super) async fn bound<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.asked_ago(STOP_DEADLINE) => None,
        }
    }

    /// Waits until the end was asked for so long ago.
    pub(super) async fn asked_ago(&self, time: Duration) {
        self.asked().await;
        let asked_at = *self.0.borrow();
        if let Some(asked_at) = asked_at {
            sleep_until(asked_at + time).await;
        }
    }
}

/// Which days of an account a run works on, and where their costs come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Days<'a> {
    /// Those that are due.
    Due,
    /// These, first and last, the newest first.
    Range(Day, Day),
    /// These, in this order.
    List(&'a [Day]),
    /// Those of a plan, at the costs that the source had when it was made.
    Plan(&'a Plan),
}

/// One account's part of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct AccountJob<'a> {
    pub(super) account: &'a Account,
    pub(super) days: Days<'a>,
    pub(super) force_reason: Option<&'a str>,
    pub(super) run_id: &'a str,
    /// Whether all that is stored is compared, not only the days that are worked on.
    pub(super) reconciles: bool,
    /// Whether pods that keep their rows need not be read. A plan has all costs that it rests on, and
    /// is carried out with these.
    pub(super) leaves_pods: bool,
}

impl<'a> AccountJob<'a> {
    /// The plan that is carried out, if one is.
    pub(super) fn plan(&self) -> Option<&'a Plan> {
        match self.days {
            Days::Plan(plan) => Some(plan),
            _ => None,
        }
    }

    /// How old the rows of a running day's pods may become, by a setting: of days that were asked
    /// for all is written.
    pub(super) fn today_refresh(&self, setting: Duration) -> Duration {
        let is_due = match self.days {
            Days::Due => true,
            Days::Range(..) | Days::List(_) => false,
            Days::Plan(plan) => plan.is_of_due_days,
        };
        if is_due { setting } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_some_accounts_is_narrowed() {
        let id = AccountId::new("a").unwrap();
        let accounts = RunRequest { accounts: vec![id], ..RunRequest::default() };
        assert!(accounts.is_narrowed());
        let forced = RunRequest { force_reason: Some("a".to_owned()), ..RunRequest::default() };
        assert!(!forced.is_narrowed(), "over all accounts and all due days");
    }
}
