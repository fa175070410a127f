//! A write that is done only when it can be read.
//!
//! A server may acknowledge rows before they are visible (asynchronous inserts, a `Distributed`
//! table's queue, a proxy), and a difference that is computed from a state without them would be
//! written twice. So a difference is appended once, then looked for. While it does not show,
//! nothing more is written: `docs/adr/0003-visible-writes.md`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cost::{AccountId, Day};
use crate::service::failure::{Failure, Hop, Kind};

use super::ExpenseLedger;
use super::entry::{Dimensions, Entry, KeyState, SignedCost};

/// How long rows that were written are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadBack {
    /// The first pause between two looks; each one is twice as long, up to `pause_max`.
    pub pause: Duration,
    /// The longest pause between two looks.
    pub pause_max: Duration,
    /// How often to look.
    pub looks_max: u32,
}

impl ReadBack {
    /// About 20 seconds: longer than replicas and queues lag, and shorter than a day may take.
    pub const DEFAULT: Self =
        Self { pause: Duration::from_millis(50), pause_max: Duration::from_secs(1), looks_max: 24 };
}

/// Appends `entries`, once, and reads the day until they show. `before` is what was stored.
///
/// Returns what is stored then.
///
/// # Errors
/// What [`LedgerWriter::append`](super::LedgerWriter::append) fails with: the outcome is unknown. [`Kind::NotVisible`] when
/// the rows were acknowledged and do not show, or what shows is not what they make: then the day
/// must be left as it is and read again later, after the lease has expired.
pub async fn append_visible(
    ledger: &dyn ExpenseLedger,
    account: &AccountId,
    day: Day,
    before: &[KeyState],
    entries: &[Entry],
    read_back: ReadBack,
) -> Result<Vec<KeyState>, Failure> {
    let (stored, expected) = (touched(before, entries), expected(before, entries));
    ledger.append(account, day, entries).await?;
    let mut pause = read_back.pause;
    let mut shown = Vec::new();
    for look in 0..read_back.looks_max.max(1) {
        if look > 0 {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(read_back.pause_max);
        }
        shown = ledger.states(account, day).await.map_err(unread)?;
        let found = touched(&shown, entries);
        // A merge of rows that contradict each other may leave fewer of them.
        if found == expected || (found != stored && sums(&found) == sums(&expected)) {
            return Ok(shown);
        }
    }
    let is_unchanged = touched(&shown, entries) == stored;
    Err(not_visible(day, entries.len(), is_unchanged))
}

/// A failure to read rows after they were written: whatever it says of the reading, they were.
fn unread(failure: Failure) -> Failure {
    if !failure.says_nothing_was_written() {
        return failure;
    }
    let what = format!("rows were written, and reading them back failed: {}", failure.what);
    Failure { kind: Kind::NotVisible, what, ..failure }
}

type Groups = BTreeMap<(String, i64, Dimensions), Vec<SignedCost>>;

/// The rows of those keys that `entries` belong to.
fn touched(states: &[KeyState], entries: &[Entry]) -> Vec<KeyState> {
    let groups = groups(states, entries);
    states_of(groups)
}

/// What a reader adds up: of each group, signs and costs to the bit.
fn sums(states: &[KeyState]) -> BTreeMap<(&str, i64, &Dimensions), (i64, u64)> {
    states
        .iter()
        .filter(|state| state.sign_sum != 0 || state.cost_usd != 0.0)
        .map(|state| {
            let key = (state.resource_id.as_str(), state.date_seconds, &state.dimensions);
            (key, (state.sign_sum, state.cost_usd.to_bits()))
        })
        .collect()
}

/// What the keys of `entries` are once these are stored.
fn expected(before: &[KeyState], entries: &[Entry]) -> Vec<KeyState> {
    let mut groups = groups(before, entries);
    for entry in entries {
        let key = (entry.resource_id.clone(), entry.date_seconds, entry.dimensions.clone());
        let row = SignedCost { sign: entry.sign, cost_usd: entry.cost_usd };
        groups.entry(key).or_default().push(row);
    }
    states_of(groups)
}

fn groups(states: &[KeyState], entries: &[Entry]) -> Groups {
    let keys: std::collections::BTreeSet<(&str, i64)> =
        entries.iter().map(|entry| (entry.resource_id.as_str(), entry.date_seconds)).collect();
    let mut groups = Groups::new();
    for state in states {
        if keys.contains(&(state.resource_id.as_str(), state.date_seconds)) {
            let key = (state.resource_id.clone(), state.date_seconds, state.dimensions.clone());
            groups.entry(key).or_default().extend(state.rows());
        }
    }
    groups
}

fn states_of(groups: Groups) -> Vec<KeyState> {
    groups
        .into_iter()
        .filter_map(|((id, date, dimensions), rows)| KeyState::of_rows(id, date, dimensions, &rows))
        .collect()
}

fn not_visible(day: Day, rows: usize, is_unchanged: bool) -> Failure {
    let what = if is_unchanged {
        format!("{day}: {rows} rows were acknowledged and cannot be read yet")
    } else {
        format!("{day}: {rows} rows were acknowledged, and what is read is not what they make")
    };
    let fix = "see system.replicas and system.distribution_queue for what is behind, and whether \
               another worker or program writes this account's expenses; a later run reads the \
               day again";
    Failure::new(Hop::ClickHouse, Kind::NotVisible, what, fix)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::ledger::memory::MemoryLedger;
    use crate::ledger::{DayTotal, LedgerReader, LedgerWriter, ResourceTotal};

    /// A ledger whose rows can be read only after so many looks.
    struct Late {
        ledger: MemoryLedger,
        hidden: Mutex<Vec<Entry>>,
        looks_left: Mutex<u32>,
        appends: Mutex<u32>,
        /// Whether all rows merge before they are read.
        merges: bool,
    }

    impl Late {
        fn by(looks: u32) -> Self {
            Self {
                ledger: MemoryLedger::default(),
                hidden: Mutex::default(),
                looks_left: Mutex::new(looks),
                appends: Mutex::new(0),
                merges: false,
            }
        }
    }

    #[async_trait]
    impl LedgerReader for Late {
        async fn check(&self) -> Result<(), Failure> {
            Ok(())
        }

        async fn states(&self, account: &AccountId, day: Day) -> Result<Vec<KeyState>, Failure> {
            let is_shown = {
                let mut left = self.looks_left.lock().unwrap();
                *left = left.saturating_sub(1);
                *left == 0
            };
            if is_shown {
                let rows = std::mem::take(&mut *self.hidden.lock().unwrap());
                self.ledger.append(account, day, &rows).await?;
            }
            if self.merges {
                self.ledger.merge_some(0, usize::MAX);
            }
            self.ledger.states(account, day).await
        }

        async fn collapsed(&self, account: &AccountId, day: Day) -> Result<Vec<KeyState>, Failure> {
            self.ledger.collapsed(account, day).await
        }

        async fn resource_totals(
            &self,
            account: &AccountId,
            ids: &[String],
        ) -> Result<Vec<ResourceTotal>, Failure> {
            self.ledger.resource_totals(account, ids).await
        }

        async fn day_totals(
            &self,
            account: &AccountId,
            first: Day,
            last: Day,
        ) -> Result<Vec<DayTotal>, Failure> {
            self.ledger.day_totals(account, first, last).await
        }
    }

    #[async_trait]
    impl LedgerWriter for Late {
        async fn append(&self, _: &AccountId, _: Day, entries: &[Entry]) -> Result<(), Failure> {
            *self.appends.lock().unwrap() += 1;
            self.hidden.lock().unwrap().extend_from_slice(entries);
            Ok(())
        }
    }

    const FOUR_LOOKS: ReadBack =
        ReadBack { pause: Duration::ZERO, pause_max: Duration::ZERO, looks_max: 4 };

    fn account() -> AccountId {
        AccountId::new("a").unwrap()
    }

    fn day() -> Day {
        "2026-11-20".parse().unwrap()
    }

    fn row(resource_id: &str, sign: i8, cost_usd: f64) -> Entry {
        Entry {
            resource_id: resource_id.to_owned(),
            date_seconds: day().start_seconds(),
            cost_usd,
            sign,
            dimensions: Dimensions::default(),
        }
    }

    async fn change(ledger: &Late) -> Result<Vec<KeyState>, Failure> {
        ledger.ledger.append(&account(), day(), &[row("r", 1, 5.0)]).await.unwrap();
        let before = ledger.ledger.states(&account(), day()).await.unwrap();
        let entries = [row("r", -1, 5.0), row("r", 1, 7.0)];
        append_visible(ledger, &account(), day(), &before, &entries, FOUR_LOOKS).await
    }

    #[tokio::test]
    async fn rows_that_show_at_the_last_look_are_written_once() {
        let ledger = Late::by(4);
        let states = change(&ledger).await.unwrap();
        assert_eq!(states.len(), 1);
        assert_eq!((states[0].cost_usd, states[0].is_healthy()), (7.0, true));
        assert_eq!(*ledger.appends.lock().unwrap(), 1);
    }

    #[tokio::test]
    async fn rows_that_do_not_show_are_a_failure_and_are_not_written_again() {
        let ledger = Late::by(5);
        let failure = change(&ledger).await.unwrap_err();
        assert_eq!((failure.hop, failure.kind), (Hop::ClickHouse, Kind::NotVisible));
        assert!(failure.what.contains("2 rows were acknowledged and cannot be read"), "{failure}");
        assert_eq!(*ledger.appends.lock().unwrap(), 1);
    }

    #[tokio::test]
    async fn rows_that_are_merged_before_they_are_read_show_by_their_sums() {
        let ledger = Late { merges: true, ..Late::by(1) };
        let stored = [row("r", 1, 5.0), row("r", 1, 7.0)];
        ledger.ledger.append(&account(), day(), &stored).await.unwrap();
        let before = ledger.ledger.states(&account(), day()).await.unwrap();
        let entries = [row("r", -1, 3.0), row("r", -1, 9.0), row("r", 1, 9.0)];
        let shown = append_visible(&ledger, &account(), day(), &before, &entries, FOUR_LOOKS).await;
        assert_eq!(shown.unwrap()[0].cost_usd, 9.0);
        assert_eq!(ledger.ledger.rows().len(), 1);
    }

    #[tokio::test]
    async fn what_others_write_to_the_key_meanwhile_is_no_success() {
        let ledger = Late::by(1);
        ledger.hidden.lock().unwrap().push(row("r", 1, 1.0));
        let failure = change(&ledger).await.unwrap_err();
        assert_eq!(failure.kind, Kind::NotVisible);
        assert!(failure.what.contains("is not what they make"), "{failure}");
    }

    #[tokio::test]
    async fn what_others_write_to_other_keys_does_not_matter() {
        let ledger = Late::by(1);
        ledger.hidden.lock().unwrap().push(row("other", 1, 1.0));
        assert_eq!(change(&ledger).await.unwrap().len(), 2);
    }
}
