//! Keys whose rows contradict each other, healed by rows alone while parts merge at random.
//!
//! Goal: `docs/adr/0004-heal-without-merge.md` is right. Method: any rows of a key are stored, each a
//! part of its own; runs append differences between merges of parts that stand side by side, which
//! is what CollapsingMergeTree does in either sort order: in both, the rows of a key stand side by
//! side. A part may be merged alone, as with parts that have no row of the key.

use kubecost_worker::cost::{AccountId, Cost, Day};
use kubecost_worker::ledger::memory::{MemoryLedger, StoredRow};
use kubecost_worker::ledger::{
    Dimensions, LedgerReader, ReadBack, WantedRow, append_visible, difference,
};
use proptest::prelude::*;

use crate::contract::{account, day};

/// Rounds of a history; most are quiet after three.
const ROUNDS: usize = 200;

struct Key {
    ledger: MemoryLedger,
    account: AccountId,
    /// In units.
    wanted: Option<u8>,
    /// USD; costs are exact multiples of it.
    unit: f64,
}

impl Key {
    fn new(rows: &[(i8, u8)], wanted: Option<u8>) -> Self {
        Self::of_units(1.0, rows, wanted)
    }

    fn of_units(unit: f64, rows: &[(i8, u8)], wanted: Option<u8>) -> Self {
        let (ledger, account) = (MemoryLedger::default(), account("t", "healing"));
        for (sign, usd) in rows {
            ledger.insert_raw(StoredRow {
                account: account.clone(),
                resource_id: "r".to_owned(),
                date_seconds: day().start_seconds(),
                cost_usd: f64::from(*usd) * unit,
                sign: *sign,
                dimensions: Dimensions::default(),
            });
        }
        Self { ledger, account, wanted, unit }
    }

    /// One run; whether it wrote anything.
    async fn run(&self) -> bool {
        let day: Day = day();
        let wanted: Vec<WantedRow> = self
            .wanted
            .map(|usd| WantedRow {
                resource_id: "r".to_owned(),
                cost: Cost::from_usd(f64::from(usd) * self.unit).unwrap(),
                dimensions: Dimensions::default(),
            })
            .into_iter()
            .collect();
        let before = self.ledger.states(&self.account, day).await.unwrap();
        let entries = difference(day, &before, &wanted).entries;
        if !entries.is_empty() {
            let (ledger, read_back) = (&self.ledger, ReadBack::DEFAULT);
            append_visible(ledger, &self.account, day, &before, &entries, read_back).await.unwrap();
        }
        !entries.is_empty()
    }

    /// What a reader adds up: signs and USD.
    fn sums(&self) -> (i64, f64) {
        let add = |sums: (i64, f64), row: StoredRow| {
            (sums.0 + i64::from(row.sign), sums.1 + row.cost_usd * f64::from(row.sign))
        };
        self.ledger.rows().into_iter().fold((0, 0.0), add)
    }

    fn is_right(&self) -> bool {
        let (sign, usd) = self.sums();
        let wanted = self.wanted.map_or(0.0, |usd| f64::from(usd) * self.unit);
        // Sums of costs that are no multiples of 2^-24 USD are not exact.
        let noise = if self.unit.fract() == 0.0 { 0.0 } else { 1e-6 };
        sign == i64::from(self.wanted.is_some()) && (usd - wanted).abs() <= noise
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn any_rows() -> impl Strategy<Value = Vec<(i8, u8)>> {
    prop::collection::vec((prop::sample::select(vec![1, -1]), 1u8..5), 1..8)
}

/// Which parts are merged, as shares of how many there are.
fn any_merges() -> impl Strategy<Value = Vec<(f64, f64)>> {
    prop::collection::vec((0.0..1.0, 0.0..1.0), 0..6)
}

/// Merges parts that were written after the first `kept` ones.
fn merge_after(ledger: &MemoryLedger, kept: usize, merges: &[(f64, f64)]) {
    for (from, length) in merges {
        let count = ledger.part_count() - kept;
        let share = |share: f64| (share * (count + 1) as f64) as usize;
        let first = kept + share(*from);
        ledger.merge_some(first, first + 1 + share(*length));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn a_run_makes_any_key_right_and_merges_of_all_its_rows_end_right(
        rows in any_rows(),
        wanted in prop::option::of(1u8..5),
    ) {
        runtime().block_on(async {
            let key = Key::new(&rows, wanted);
            let (sign, _) = key.sums();
            let was_healed = key.run().await;
            prop_assert!(key.is_right(), "{:?}", key.ledger.rows());
            prop_assert!(!key.run().await, "a second run finds nothing to write");
            key.ledger.merge_some(0, usize::MAX);
            // Of no more +1 than -1, none that is appended can be right in both sums and merge.
            if was_healed && (sign > 0 || wanted.is_none()) {
                prop_assert!(key.is_right(), "{:?}", key.ledger.rows());
            }
            for _ in 0..2 {
                key.run().await;
                prop_assert!(key.is_right(), "{:?}", key.ledger.rows());
                key.ledger.merge_some(0, usize::MAX);
            }
            prop_assert!(key.is_right() && !key.run().await, "{:?}", key.ledger.rows());
            Ok::<(), TestCaseError>(())
        })?;
    }

    /// Other programs' costs do not add up exactly: each is taken back as it is.
    #[test]
    fn a_run_makes_rows_without_exact_sums_right_and_a_merge_of_all_leaves_them_so(
        rows in any_rows(),
        wanted in prop::option::of(1u8..5),
    ) {
        runtime().block_on(async {
            let key = Key::of_units(0.1, &rows, wanted);
            let was_healed = key.run().await;
            prop_assert!(key.is_right(), "{:?}", key.ledger.rows());
            prop_assert!(!key.run().await, "a second run finds nothing to write");
            key.ledger.merge_some(0, usize::MAX);
            // Rows that cancel out in the wrong order are not seen before a merge.
            prop_assert!(!was_healed || key.is_right(), "{:?}", key.ledger.rows());
            Ok::<(), TestCaseError>(())
        })?;
    }

    /// The engine merges what is new and small long before it touches large old parts.
    #[test]
    fn merges_of_what_a_run_wrote_change_no_cost(
        rows in any_rows(),
        usd in 1u8..5,
        merges in any_merges(),
    ) {
        runtime().block_on(async {
            let key = Key::new(&rows, Some(usd));
            let (sign, _) = key.sums();
            key.run().await;
            merge_after(&key.ledger, rows.len(), &merges);
            prop_assert_eq!(key.sums().1, f64::from(usd), "{:?}", key.ledger.rows());
            // Of several rows with one sign, a merge keeps one.
            prop_assert!(!(0..=2).contains(&sign) || key.is_right(), "{:?}", key.ledger.rows());
            Ok::<(), TestCaseError>(())
        })?;
    }

    /// A difference that was written twice, or two of them: the costs are wrong, the signs are not.
    #[test]
    fn a_key_of_sign_one_stays_right_while_its_cost_goes_on(
        rows in any_rows(),
        changes in prop::collection::vec((1u8..9, any_merges()), 1..6),
    ) {
        let mut rows = rows;
        let sign: i64 = rows.iter().map(|(sign, _)| i64::from(*sign)).sum();
        let missing = usize::try_from((sign - 1).abs()).unwrap();
        rows.extend(std::iter::repeat_n((if sign > 1 { -1 } else { 1 }, 2), missing));
        runtime().block_on(async {
            let mut key = Key::new(&rows, None);
            for (usd, merges) in changes {
                key.wanted = Some(usd);
                key.run().await;
                merge_after(&key.ledger, rows.len(), &merges);
                prop_assert!(key.is_right() && !key.run().await, "{:?}", key.ledger.rows());
            }
            Ok::<(), TestCaseError>(())
        })?;
    }
}

/// Numbers that look random and are the same each time (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    fn usd(&mut self) -> u8 {
        u8::try_from(1 + self.below(4)).unwrap()
    }
}

/// Runs of one key between random merges, until ten in a row had nothing to write: how often it was
/// healed.
async fn heals_until_quiet(seed: u64) -> usize {
    let mut random = Random(seed);
    let rows: Vec<(i8, u8)> = (0..=random.below(7))
        .map(|_| (if random.below(2) == 0 { 1 } else { -1 }, random.usd()))
        .collect();
    let wanted = (random.below(4) > 0).then(|| random.usd());
    let key = Key::new(&rows, wanted);
    let (mut heals, mut quiet) = (0, 0);
    for _ in 0..ROUNDS {
        if key.run().await {
            (heals, quiet) = (heals + 1, 0);
        } else {
            quiet += 1;
        }
        assert!(key.is_right(), "seed {seed}: {:?}", key.ledger.rows());
        if quiet == 10 {
            return heals;
        }
        for _ in 0..random.below(4) {
            let first = random.below(key.ledger.part_count() + 1);
            let length = 1 + random.below(key.ledger.part_count() + 1);
            key.ledger.merge_some(first, first + length);
        }
    }
    panic!("seed {seed}: healed {heals} times and not quiet: {:?}", key.ledger.rows());
}

#[test]
fn runs_between_random_merges_are_each_right_and_come_to_an_end() {
    let heals: Vec<usize> =
        (0..4_000).map(|seed| runtime().block_on(heals_until_quiet(seed))).collect();
    let (sum, max) = (heals.iter().sum::<usize>(), heals.iter().max().unwrap());
    println!("4000 keys were healed {sum} times, one of them {max} times");
    assert!(sum > 4_000, "merges between runs changed nothing");
}
