//! In which order accounts are worked on, and about how many rows each has.
//!
//! Accounts whose last attempt failed come last, so that one that fails or hangs in every run holds
//! up no other. Among the rest those come first whose last attempt is longest ago: where a run ends
//! before all are done, the next one begins with those that were left.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::accounts::Account;
use crate::cost::AccountId;
use crate::day_status::{DayState, DayStatus};

/// Rows of an account of which nothing is known yet.
const ROWS_UNKNOWN: u32 = 500;
/// Rows of all accounts that are worked on at a time: a bound on memory. An account that is larger
/// counts as that many and is worked on alone.
pub(super) const ROWS_AT_ONCE_MAX: u32 = 60_000;
/// How many accounts each run compares as a whole, documents with ledger and each past day with its
/// status: that takes more the longer their history is. More of them go by turns.
pub(super) const RECONCILED_MAX: usize = 25;
/// How long a turn lasts, seconds: the schedule of most installations.
const RECONCILE_SECONDS: i64 = 300;

/// With more rows than these one of few accounts is not reconciled by every run, but once an hour at
/// least, or by each run of a schedule that is rarer: all samples of its last days are counted for that.
const LARGE_ROWS: u32 = 500;
const HOUR_SECONDS: i64 = 3_600;
/// How long it takes until each of many accounts was reconciled: less than the two days of which late
/// samples are counted. All samples of these are counted for it, so that a run every five minutes
/// reconciles a 72nd of the accounts: a 144th, and those of one more turn by [`ATTEMPT_LAG_SECONDS`].
const ROUND_SECONDS: i64 = 12 * HOUR_SECONDS;
/// How long after the beginning of a run an account may be attempted, seconds: its hour may have
/// turned in between. Of a longer run some wait for their next turn.
const ATTEMPT_LAG_SECONDS: i64 = 300;

/// An account that is to be worked on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct QueuedAccount {
    pub(super) account: Account,
    /// About how many rows its day has, at most [`ROWS_AT_ONCE_MAX`].
    pub(super) rows_estimate: u32,
    /// Whether this run compares all that is stored of the account, not only its due days.
    pub(super) reconciles: bool,
}

impl QueuedAccount {
    /// An account that is worked on alone, and as a whole.
    pub(super) fn alone(account: Account) -> Self {
        Self { account, rows_estimate: ROWS_AT_ONCE_MAX, reconciles: true }
    }
}

/// Which group is reconciled at a time. One after the other, and each round begins with another
/// one: by the time alone, runs every ten minutes would find the same half of the groups for ever.
fn group_at(now_seconds: i64, groups: u64) -> u64 {
    let turn = now_seconds.max(0).unsigned_abs() / RECONCILE_SECONDS.unsigned_abs();
    let mut hasher = DefaultHasher::new();
    (turn / groups).hash(&mut hasher);
    (turn % groups + hasher.finish() % groups) % groups
}

/// Which accounts a run reconciles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turns {
    /// Each by every run, but for large ones: these once an hour.
    EachRun,
    /// Each once in [`ROUND_SECONDS`], or by every run of a schedule that is rarer.
    Round,
    /// One of so many groups: a first run, or the first one in two days.
    Group(usize),
}

impl Turns {
    /// For so many accounts, of some of which the last days' status is known or of none.
    fn of(accounts: usize, is_known: bool) -> Self {
        match accounts.div_ceil(RECONCILED_MAX) {
            0 | 1 => Self::EachRun,
            _ if is_known => Self::Round,
            groups => Self::Group(groups),
        }
    }
}

/// For how long after it failed an account comes after the others.
const FAILED_LAST_SECONDS: i64 = 3_600;

/// Whether a period has begun for an account, of a place among all, since it was last attempted. Each
/// begins its periods at another time.
fn has_begun(period_seconds: i64, place: usize, now_seconds: i64, last_seconds: i64) -> bool {
    let offset = (place as i64 * RECONCILE_SECONDS) % period_seconds;
    let period = |seconds: i64| (seconds + offset).div_euclid(period_seconds);
    period(now_seconds) != period(last_seconds - ATTEMPT_LAG_SECONDS)
}

/// Puts accounts in the order of work, by what is stored of their last days. Which of them are
/// reconciled goes by the time: each in its turn.
pub(super) fn in_work_order(
    accounts: Vec<Account>,
    statuses: &[DayStatus],
    now_seconds: i64,
) -> Vec<QueuedAccount> {
    let turns = Turns::of(accounts.len(), !statuses.is_empty());
    let mut ids: Vec<AccountId> = accounts.iter().map(|account| account.id.clone()).collect();
    ids.sort();
    let reconciles = |account: &Account, rows: u32, last_seconds: i64| {
        let place = ids.binary_search(&account.id).unwrap_or_default();
        let has_begun =
            |period_seconds| has_begun(period_seconds, place, now_seconds, last_seconds);
        match turns {
            Turns::EachRun => rows <= LARGE_ROWS || has_begun(HOUR_SECONDS),
            Turns::Group(groups) => (place % groups) as u64 == group_at(now_seconds, groups as u64),
            Turns::Round => has_begun(ROUND_SECONDS),
        }
    };
    let mut by_account: BTreeMap<&AccountId, Vec<&DayStatus>> = BTreeMap::new();
    for status in statuses {
        by_account.entry(&status.account).or_default().push(status);
    }
    let queued = |account: Account| {
        let of_account = by_account.get(&account.id).map(Vec::as_slice).unwrap_or_default();
        let last = of_account.iter().max_by_key(|status| (status.attempt.at_seconds, status.day));
        let last_seconds = last.map_or(0, |status| status.attempt.at_seconds);
        // Last, but not for longer than that: where runs end before their queue does, it would
        // never have its turn.
        let is_recent = now_seconds - last_seconds < FAILED_LAST_SECONDS;
        let has_failed =
            is_recent && last.is_some_and(|status| status.attempt.state == DayState::Failed);
        let rows = of_account.iter().map(|status| status.stored.rows).max();
        let rows = rows.map_or(ROWS_UNKNOWN, |rows| u32::try_from(rows).unwrap_or(u32::MAX));
        let rows_estimate = rows.clamp(1, ROWS_AT_ONCE_MAX);
        let reconciles = reconciles(&account, rows_estimate, last_seconds);
        ((has_failed, last_seconds), QueuedAccount { account, rows_estimate, reconciles })
    };
    let mut queue: Vec<_> = accounts.into_iter().map(queued).collect();
    queue.sort_by_key(|(key, _)| *key);
    queue.into_iter().map(|(_, queued)| queued).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::day_status::stored_form::tests::complete;

    fn status(account: &str, day: &str, at_seconds: i64, state: DayState, rows: u64) -> DayStatus {
        let mut status = complete(day.parse().unwrap());
        status.account = AccountId::new(account).unwrap();
        (status.attempt.at_seconds, status.attempt.state) = (at_seconds, state);
        status.stored.rows = rows;
        status
    }

    fn ordered(statuses: &[DayStatus]) -> Vec<(String, u32)> {
        let accounts = ["a", "b", "c", "d"].map(|id| Account::unnamed(AccountId::new(id).unwrap()));
        let queue = in_work_order(accounts.to_vec(), statuses, 0);
        queue.into_iter().map(|one| (one.account.id.to_string(), one.rows_estimate)).collect()
    }

    #[test]
    fn the_one_whose_turn_is_longest_ago_is_first_and_one_that_failed_is_last() {
        let (ok, failed) = (DayState::Ok, DayState::Failed);
        let statuses = [
            status("a", "2026-11-20", 100, failed, 7),
            status("b", "2026-11-19", 300, ok, 70_000),
            status("b", "2026-11-20", 300, ok, 10),
            status("c", "2026-11-20", 200, ok, 0),
            status("d", "2026-11-19", 200, failed, 5),
            status("d", "2026-11-20", 250, ok, 6),
        ];
        let named = |all: &[(&str, u32)]| -> Vec<(String, u32)> {
            all.iter().map(|(id, rows)| ((*id).to_owned(), *rows)).collect()
        };
        assert_eq!(
            ordered(&statuses),
            named(&[("c", 1), ("d", 6), ("b", ROWS_AT_ONCE_MAX), ("a", 7)])
        );
    }

    #[test]
    fn one_that_failed_long_ago_has_its_turn_like_the_others() {
        let statuses = [
            status("a", "2026-11-20", -20 * 3_600, DayState::Failed, 7),
            status("b", "2026-11-20", -300, DayState::Failed, 7),
            status("c", "2026-11-20", -200, DayState::Ok, 7),
            status("d", "2026-11-20", -250, DayState::Ok, 7),
        ];
        let order: Vec<String> = ordered(&statuses).into_iter().map(|(id, _)| id).collect();
        assert_eq!(order, ["a", "d", "c", "b"]);
    }

    #[test]
    fn a_large_account_is_reconciled_every_hour_or_by_each_run_of_a_rarer_schedule() {
        let accounts: Vec<Account> = (0..25)
            .map(|n| Account::unnamed(AccountId::new(format!("a{n:02}")).unwrap()))
            .collect();
        // Runs begin a minute before the hours of accounts turn, and attempt these so much later.
        let reconciled = |rows: u64, every_seconds: i64, lag_seconds: i64| -> Vec<Vec<usize>> {
            let of_run = |run: i64| {
                let now = run * every_seconds - 60;
                let last = now - every_seconds + lag_seconds;
                let of = |account: &Account| {
                    status(account.id.as_str(), "2026-11-20", last, DayState::Ok, rows)
                };
                let statuses: Vec<DayStatus> = accounts.iter().map(of).collect();
                in_work_order(accounts.clone(), &statuses, now)
            };
            let runs: Vec<_> = (1..=288).map(of_run).collect();
            let of_account = |place: usize| {
                let is_done = |run: &&usize| runs[**run][place].reconciles;
                (0..runs.len()).collect::<Vec<_>>().iter().filter(is_done).copied().collect()
            };
            (0..accounts.len()).map(of_account).collect()
        };
        for lag_seconds in [0, 90, 290] {
            assert!(reconciled(500, 300, lag_seconds).iter().all(|runs| runs.len() == 288));
            for (every_seconds, runs_an_hour) in [(300, 12), (600, 6), (3_600, 1), (86_400, 1)] {
                for runs in reconciled(501, every_seconds, lag_seconds) {
                    let gap = runs.windows(2).map(|two| two[1] - two[0]).max().unwrap();
                    assert!(gap <= runs_an_hour, "{every_seconds} {lag_seconds}: {gap}");
                    let share = runs.len() * runs_an_hour / 288;
                    assert!(share <= 3, "{every_seconds} {lag_seconds}: {share} an hour");
                }
            }
        }
    }

    #[test]
    fn each_account_is_reconciled_in_its_turn_and_few_are_in_each_run() {
        let accounts: Vec<Account> = (0..60)
            .map(|n| Account::unnamed(AccountId::new(format!("a{n:02}")).unwrap()))
            .collect();
        let reconciled = |now_seconds| -> Vec<String> {
            let queue = in_work_order(accounts.clone(), &[], now_seconds);
            let these = queue.into_iter().filter(|one| one.reconciles);
            these.map(|one| one.account.id.to_string()).collect()
        };
        let runs = [0, 300, 600].map(reconciled);
        assert!(runs.iter().all(|run| run.len() == 20), "{runs:?}");
        let mut all = runs.concat();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 60);
        let few = in_work_order(accounts[..25].to_vec(), &[], 12_345);
        assert!(few.iter().all(|one| one.reconciles));
    }

    #[test]
    fn many_accounts_are_reconciled_within_twelve_hours_or_by_each_run_of_a_rarer_schedule() {
        assert_eq!(Turns::of(25, true), Turns::EachRun);
        assert_eq!(Turns::of(26, true), Turns::Round);
        assert_eq!(Turns::of(200, false), Turns::Group(8));
        assert_eq!(Turns::of(0, false), Turns::EachRun);
        let accounts: Vec<Account> = (0..1_000)
            .map(|n| Account::unnamed(AccountId::new(format!("a{n:03}")).unwrap()))
            .collect();
        for (minutes, within, most) in
            [(5, 144, 14), (15, 48, 28), (60, 12, 91), (360, 2, 511), (1_440, 1, 1_000)]
        {
            let mut had: BTreeSet<String> = BTreeSet::new();
            for run in 0..within {
                let now = 1_795_000_000 + run * minutes * 60;
                let last = |account: &Account| {
                    let at_seconds = now - minutes * 60 + 290;
                    status(account.id.as_str(), "2026-11-20", at_seconds, DayState::Ok, 9)
                };
                let statuses: Vec<DayStatus> = accounts.iter().map(last).collect();
                let queue = in_work_order(accounts.clone(), &statuses, now);
                let these: Vec<_> = queue.into_iter().filter(|one| one.reconciles).collect();
                assert!(these.len() <= most, "every {minutes} minutes: {}", these.len());
                had.extend(these.into_iter().map(|one| one.account.id.to_string()));
            }
            assert_eq!(had.len(), accounts.len(), "every {minutes} minutes");
        }
    }

    #[test]
    fn each_group_has_its_turn_whatever_the_schedule() {
        for minutes in [5, 7, 10, 15, 20, 30, 60, 120, 360, 1_440] {
            for groups in 1..=12 {
                let runs = (0..groups as i64 * 20).map(|run| 1_795_000_000 + run * minutes * 60);
                let had: BTreeSet<u64> = runs.map(|now| group_at(now, groups)).collect();
                assert_eq!(had.len() as u64, groups, "{groups} groups, {minutes} minutes");
            }
        }
    }

    #[test]
    fn an_account_without_any_status_is_first() {
        let statuses = [status("a", "2026-11-20", 100, DayState::Partial, 1)];
        let order: Vec<String> = ordered(&statuses).into_iter().map(|(id, _)| id).collect();
        assert_eq!(order, ["b", "c", "d", "a"]);
        assert_eq!(ordered(&statuses)[0].1, ROWS_UNKNOWN);
    }
}
