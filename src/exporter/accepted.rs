//! Which answer stands: the last good one, until a better or until it is too old.
//!
//! Around the full hour servers answer with windows that are empty, half computed or of fewer
//! namespaces. Such an answer is checked again before it takes the place of a good one.

use std::sync::Arc;

use super::snapshot::{Node, Pod, Snapshot};
use crate::allocation_api::Window;
use crate::allocation_api::window::SETTLE_SECONDS;
use crate::settings::exporter::POLLS_LEAST;

/// A window that fell is not accepted before it ended this long ago: by then both servers have
/// computed it.
const FALL_SETTLES_SECONDS: i64 = 600;
/// A window whose rows begin late or end early may be half computed, a gap in the data, or of a
/// cluster that was made in it. It is taken for what it is when it ended this long ago and has not
/// changed for [`PARTIAL_UNCHANGED_SECONDS`]. So is one with rows that have no cost, and one without
/// the idle cost that the window before had.
const PARTIAL_SETTLES_SECONDS: i64 = 1_200;
const PARTIAL_UNCHANGED_SECONDS: i64 = 600;
/// Totals that differ by less than this share are the same: byte fields flicker, costs do not.
const SAME_SHARE: f64 = 1e-6;

/// What is known of an answer without reading its rows again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnswerFacts {
    /// Its window.
    pub window: Window,
    /// Its number of rows.
    pub rows: usize,
    /// Its total, USD in the window.
    pub total: f64,
    /// The part of the window that its rows are of.
    pub covered: Window,
    /// How many rows have no cost that can be used, or only a part of it.
    pub unknown_rows: u64,
    /// The time between the sets that it was summed from, of which there are no rows.
    pub missing_seconds: i64,
    /// Whether it has a row of idle cost, where one of its own is asked for.
    pub has_idle: bool,
}

impl AnswerFacts {
    /// How much of its window its rows are of.
    #[must_use]
    pub fn covered_seconds(&self) -> i64 {
        (self.covered.seconds() - self.missing_seconds).max(0)
    }

    /// Whether it has less than the whole cost of its window.
    fn is_partial(&self) -> bool {
        self.covered != self.window || self.unknown_rows > 0 || self.missing_seconds > 0
    }

    /// Whether it lacks the idle cost that another answer has.
    fn lost_idle(&self, known: &Self) -> bool {
        known.has_idle && !self.has_idle
    }

    /// Whether it is a worse answer for the window of `known`. A lower total of the same rows may
    /// be a reconciliation of Kubecost with the bill: that is none.
    fn is_poorer(&self, known: &Self) -> bool {
        let has_less = self.covered_seconds() < known.covered_seconds()
            || self.unknown_rows > known.unknown_rows;
        let lower = known.total - self.total > noise_usd(known.total);
        self.window == known.window
            && ((has_less && !known.is_partial())
                || (self.rows < known.rows && lower)
                || (known.total > 0.0 && self.total < known.total / 2.0)
                || self.lost_idle(known))
    }

    fn is_same(&self, other: &Self) -> bool {
        self.window == other.window
            && self.rows == other.rows
            && self.covered == other.covered
            && self.unknown_rows == other.unknown_rows
            && self.missing_seconds == other.missing_seconds
            && self.has_idle == other.has_idle
            && (self.total - other.total).abs() <= noise_usd(self.total)
    }
}

/// By how much totals may differ from this one and be the same, USD.
fn noise_usd(total: f64) -> f64 {
    SAME_SHARE * total.abs().max(1e-3)
}

/// What is done with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// It takes the last one's place.
    Accepted,
    /// The last one stands, and this one is checked again.
    CheckAgain(&'static str),
    /// The last one stands.
    Refused(&'static str),
}

impl Acceptance {
    /// The label value `reason`, unless it is accepted.
    #[must_use]
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Accepted => None,
            Self::CheckAgain(reason) | Self::Refused(reason) => Some(reason),
        }
    }
}

/// The answer that stands, and the one that is checked again.
#[derive(Debug, Default)]
pub struct AcceptedAnswer {
    accepted: Option<Accepted>,
    suspect: Option<(AnswerFacts, i64)>,
}

#[derive(Debug)]
struct Accepted {
    facts: AnswerFacts,
    snapshot: Arc<Snapshot>,
    confirmed_at: i64,
}

impl AcceptedAnswer {
    /// Checks an answer seen at `now_seconds`.
    pub fn check(&mut self, facts: AnswerFacts, now_seconds: i64) -> Acceptance {
        if facts.window.end > now_seconds {
            return Acceptance::Refused("future-window");
        }
        let known = self.accepted.as_ref().map(|accepted| accepted.facts);
        if known.is_some_and(|known| facts.window.end < known.window.end) {
            return Acceptance::Refused("older-window");
        }
        if known.is_some_and(|known| facts.is_poorer(&known)) {
            return Acceptance::Refused("poorer");
        }
        let fell = known.is_some_and(|known| fell(&known, &facts));
        // A gap that was accepted once is not doubted again.
        let has_gap = facts.is_partial() && known.is_none_or(|known| !known.is_same(&facts));
        let partial = has_gap || known.is_some_and(|known| facts.lost_idle(&known));
        if !fell && !partial {
            self.suspect = None;
            return Acceptance::Accepted;
        }
        let reason = if partial { "partial" } else { "fell" };
        let Some((_, since)) = self.suspect.filter(|(seen, _)| seen.is_same(&facts)) else {
            self.suspect = Some((facts, now_seconds));
            return Acceptance::CheckAgain(reason);
        };
        let times = SettlingTimes::of(facts.window.seconds());
        let ended_ago = now_seconds - facts.window.end;
        let has_settled = if partial {
            ended_ago >= times.partial_seconds && now_seconds - since >= times.unchanged_seconds
        } else {
            ended_ago >= times.fall_seconds
        };
        if !has_settled {
            return Acceptance::CheckAgain(reason);
        }
        self.suspect = None;
        Acceptance::Accepted
    }

    /// Puts an answer that was accepted in the last one's place.
    pub fn accept(&mut self, facts: AnswerFacts, snapshot: Snapshot, now_seconds: i64) {
        self.accepted =
            Some(Accepted { facts, snapshot: Arc::new(snapshot), confirmed_at: now_seconds });
    }

    /// The answer that stands, while it may be shown: for `stale_after` seconds after a poll last
    /// confirmed it, and after the next window should have taken its place.
    #[must_use]
    pub fn shown(&self, now_seconds: i64, stale_after: i64) -> Option<Arc<Snapshot>> {
        let accepted = self.accepted.as_ref()?;
        let window = accepted.facts.window;
        let is_fresh = now_seconds - accepted.confirmed_at <= stale_after
            && !is_over(window, now_seconds, stale_after);
        is_fresh.then(|| Arc::clone(&accepted.snapshot))
    }

    /// What is known of the last good answer, stale or not.
    #[must_use]
    pub fn facts(&self) -> Option<AnswerFacts> {
        self.accepted.as_ref().map(|accepted| accepted.facts)
    }

    /// The nodes of the last good answer, where it is of this window.
    #[must_use]
    pub fn nodes(&self, window: Window) -> Vec<Node> {
        self.of(window).map_or_else(Vec::new, |snapshot| snapshot.nodes.clone())
    }

    /// The pods of the last good answer, where it is of this window.
    #[must_use]
    pub fn pods(&self, window: Window) -> Vec<Pod> {
        self.of(window).map_or_else(Vec::new, |snapshot| snapshot.pods.clone())
    }

    fn of(&self, window: Window) -> Option<&Snapshot> {
        let accepted = self.accepted.as_ref().filter(|one| one.facts.window == window)?;
        Some(&accepted.snapshot)
    }
}

/// Whether a window is too old to be shown: `stale_after` seconds ago the next one was over too.
#[must_use]
pub fn is_over(window: Window, now_seconds: i64, stale_after: i64) -> bool {
    now_seconds - (window.end + window.seconds()) > stale_after
}

/// When a doubted window of some length is taken for what it is.
///
/// A window is asked for from [`SETTLE_SECONDS`] after its end (its own length, where that is less)
/// and for its own length. Polls that come at least twice in that time ([`POLLS_LEAST`]) must find
/// each window settled, or a fall that lasts would leave nothing to accept ever again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SettlingTimes {
    /// Since the end of one that fell.
    fall_seconds: i64,
    /// Since the end of a partial one.
    partial_seconds: i64,
    /// Since a partial one changed last.
    unchanged_seconds: i64,
}

impl SettlingTimes {
    fn of(length_seconds: i64) -> Self {
        let last_poll = SETTLE_SECONDS.min(length_seconds) + length_seconds / POLLS_LEAST;
        Self {
            fall_seconds: FALL_SETTLES_SECONDS.min(last_poll),
            partial_seconds: PARTIAL_SETTLES_SECONDS.min(last_poll),
            unchanged_seconds: PARTIAL_UNCHANGED_SECONDS.min(length_seconds / 3),
        }
    }
}

/// Whether an answer lost more than half of the cost and some of the rows, or all of the cost.
fn fell(known: &AnswerFacts, facts: &AnswerFacts) -> bool {
    let is_less = facts.total < known.total / 2.0 && facts.rows < known.rows;
    let is_nothing = facts.total == 0.0 && known.total > 0.0;
    is_less || is_nothing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocation_api::Costs;
    use crate::exporter::snapshot::Efficiencies;

    fn facts(hour: i64, rows: usize, total: f64) -> AnswerFacts {
        of(Window { start: hour * 3_600, end: (hour + 1) * 3_600 }, rows, total)
    }

    /// An answer that has all of its window.
    fn of(window: Window, rows: usize, total: f64) -> AnswerFacts {
        AnswerFacts {
            window,
            rows,
            total,
            covered: window,
            unknown_rows: 0,
            missing_seconds: 0,
            has_idle: false,
        }
    }

    fn cut(hour: i64, total: f64, end: i64) -> AnswerFacts {
        let whole = facts(hour, 10, total);
        AnswerFacts { covered: Window { end, ..whole.window }, ..whole }
    }

    fn snapshot(facts: &AnswerFacts) -> Snapshot {
        Snapshot {
            window: facts.window,
            cluster: Costs { total: facts.total, ..Costs::default() },
            efficiencies: Efficiencies::default(),
            namespaces: Vec::new(),
            pods: Vec::new(),
            nodes: Vec::new(),
            folded: 0,
        }
    }

    fn after(first: &AnswerFacts) -> AcceptedAnswer {
        let mut accepted = AcceptedAnswer::default();
        let now = first.window.end + 180;
        assert_eq!(accepted.check(*first, now), Acceptance::Accepted);
        accepted.accept(*first, snapshot(first), now);
        accepted
    }

    #[test]
    fn a_window_that_fell_is_checked_again() {
        let mut accepted = after(&facts(0, 10, 8.0));
        let fallen = facts(1, 3, 1.0);
        let again = Acceptance::CheckAgain("fell");
        assert_eq!(accepted.check(fallen, 7_200 + 180), again);
        assert_eq!(accepted.check(fallen, 7_200 + 240), again, "too soon after the hour");
        assert_eq!(accepted.check(fallen, 7_200 + 600), Acceptance::Accepted);
        assert_eq!(accepted.check(facts(1, 3, 5.0), 7_200 + 180), Acceptance::Accepted);
        assert_eq!(accepted.check(facts(1, 10, 1.0), 7_200 + 180), Acceptance::Accepted);
        assert_eq!(accepted.check(facts(1, 10, 0.0), 7_200 + 180), again, "all cost gone");
    }

    #[test]
    fn a_fall_that_changes_between_looks_is_no_settled_one() {
        let mut accepted = after(&facts(0, 10, 8.0));
        let again = Acceptance::CheckAgain("fell");
        assert_eq!(accepted.check(facts(1, 3, 1.0), 8_000), again);
        assert_eq!(accepted.check(facts(1, 4, 2.0), 8_060), again);
        assert_eq!(accepted.check(facts(1, 10, 7.0), 8_120), Acceptance::Accepted);
    }

    #[test]
    fn a_cut_window_waits_until_it_stays_cut() {
        let mut accepted = after(&facts(0, 10, 8.0));
        let again = Acceptance::CheckAgain("partial");
        assert_eq!(accepted.check(cut(1, 2.0, 4_500), 7_200 + 300), again);
        assert_eq!(accepted.check(cut(1, 4.0, 5_400), 7_200 + 600), again, "it grows");
        assert_eq!(accepted.check(cut(1, 4.0, 5_400), 7_200 + 1_140), again);
        let gap = cut(1, 4.0, 5_400);
        assert_eq!(accepted.check(gap, 7_200 + 1_200), Acceptance::Accepted);
        accepted.accept(gap, snapshot(&gap), 7_200 + 1_200);
        assert_eq!(accepted.check(gap, 7_200 + 1_260), Acceptance::Accepted, "known by now");
    }

    #[test]
    fn a_window_that_begins_late_waits_as_one_that_ends_early_and_also_as_the_first() {
        let whole = facts(1, 10, 2.0);
        let born = AnswerFacts { covered: Window { start: 5_400, ..whole.window }, ..whole };
        for mut accepted in [after(&facts(0, 10, 8.0)), AcceptedAnswer::default()] {
            let again = Acceptance::CheckAgain("partial");
            assert_eq!(accepted.check(born, 7_200 + 300), again);
            assert_eq!(accepted.check(born, 7_200 + 1_140), again);
            assert_eq!(accepted.check(born, 7_200 + 1_200), Acceptance::Accepted);
        }
        let mut accepted = AcceptedAnswer::default();
        assert_eq!(accepted.check(born, 9_000), Acceptance::CheckAgain("partial"));
        assert_eq!(accepted.check(born, 9_600), Acceptance::Accepted, "unchanged for 10 minutes");
    }

    #[test]
    fn a_poorer_answer_for_the_same_window_never_takes_the_place_of_a_better_one() {
        let whole = AnswerFacts { has_idle: true, ..facts(0, 10, 8.0) };
        let mut accepted = after(&whole);
        let hole = AnswerFacts { missing_seconds: 900, ..whole };
        for poorer in [
            AnswerFacts { unknown_rows: 1, ..whole },
            AnswerFacts { covered: Window { end: 1_800, ..whole.window }, ..whole },
            hole,
            AnswerFacts { rows: 9, total: 7.9, ..whole },
            AnswerFacts { total: 3.9, ..whole },
            AnswerFacts { total: 0.0, ..whole },
            AnswerFacts { has_idle: false, ..whole },
        ] {
            for now in [4_000, 5_000, 7_000] {
                let refused = Acceptance::Refused("poorer");
                assert_eq!(accepted.check(poorer, now), refused, "{poorer:?}");
            }
        }
        let fewer = AnswerFacts { rows: 9, ..whole };
        let reconciled = AnswerFacts { total: 7.0, ..whole };
        for as_good in [whole, fewer, reconciled, AnswerFacts { total: 9.0, ..whole }] {
            assert_eq!(accepted.check(as_good, 7_000), Acceptance::Accepted, "{as_good:?}");
        }
        accepted.accept(hole, snapshot(&hole), 7_000);
        assert_eq!(accepted.check(whole, 7_060), Acceptance::Accepted, "the hole is filled");
    }

    #[test]
    fn a_window_that_lost_its_idle_cost_or_has_a_hole_settles_as_a_partial_one() {
        let known = AnswerFacts { has_idle: true, ..facts(0, 10, 8.0) };
        let hole = AnswerFacts { has_idle: true, missing_seconds: 900, ..facts(1, 10, 8.0) };
        for doubted in [facts(1, 10, 8.0), hole] {
            let mut accepted = after(&known);
            let again = Acceptance::CheckAgain("partial");
            assert_eq!(accepted.check(doubted, 7_200 + 300), again);
            assert_eq!(accepted.check(doubted, 7_200 + 1_140), again);
            assert_eq!(accepted.check(doubted, 7_200 + 1_200), Acceptance::Accepted);
            accepted.accept(doubted, snapshot(&doubted), 7_200 + 1_200);
            assert_eq!(accepted.check(doubted, 7_200 + 1_260), Acceptance::Accepted);
        }
        assert_eq!((hole.covered_seconds(), known.covered_seconds()), (2_700, 3_600));
        assert_eq!(AnswerFacts { missing_seconds: 9_999, ..hole }.covered_seconds(), 0);
    }

    /// How a doubted window that stays the same ends, asked for every `interval` seconds from
    /// `phase` on for as long as it is the last closed one: since its end, seconds.
    fn settled_after(length: i64, (interval, phase): (i64, i64), fallen: bool) -> Option<i64> {
        let window = Window { start: 86_400 - length, end: 86_400 };
        let before = Window { start: window.start - length, end: window.start };
        let mut accepted = after(&of(before, 10, 8.0));
        let doubted = AnswerFacts { unknown_rows: u64::from(!fallen), ..of(window, 3, 2.0) };
        let asked_from = window.end + SETTLE_SECONDS.min(length);
        (asked_from + phase..)
            .step_by(usize::try_from(interval).unwrap())
            .take_while(|now| Window::last_closed(*now, length) == window)
            .find(|now| accepted.check(doubted, *now) == Acceptance::Accepted)
            .map(|now| now - window.end)
    }

    #[test]
    fn doubted_hours_settle_ten_and_twenty_minutes_after_their_end() {
        for (fallen, minutes) in [(true, 10), (false, 20)] {
            assert_eq!(settled_after(3_600, (60, 0), fallen), Some(minutes * 60));
        }
    }

    proptest::proptest! {
        /// A cluster that is scaled down, or a gap at a window's end, must not stop the exporter.
        #[test]
        fn each_window_settles_while_it_is_asked_for(
            minutes in proptest::sample::select(vec![
                1_i64, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60, 120, 180, 240, 360, 480, 720, 1_440,
            ]),
            interval_share in 0.0..=1.0_f64,
            phase_share in 0.0..1.0_f64,
            fallen: bool,
        ) {
            let length = minutes * 60;
            let longest = (length / POLLS_LEAST).min(3_600);
            let interval = ((longest as f64 * interval_share) as i64).max(1);
            let phase = (interval as f64 * phase_share) as i64;
            let settled = settled_after(length, (interval, phase), fallen);
            proptest::prop_assert!(settled.is_some(), "{minutes} min, every {interval} s");
        }
    }

    #[test]
    fn windows_of_the_past_and_the_future_are_refused() {
        let mut accepted = after(&facts(5, 10, 8.0));
        assert_eq!(accepted.check(facts(4, 10, 8.0), 22_000), Acceptance::Refused("older-window"));
        assert_eq!(accepted.check(facts(7, 10, 8.0), 22_000), Acceptance::Refused("future-window"));
    }

    #[test]
    fn the_last_good_answer_stands_until_it_is_stale() {
        let first = facts(0, 10, 8.0);
        let mut accepted = after(&first);
        let confirmed = 3_600 + 180;
        assert!(accepted.shown(confirmed + 10_800, 10_800).is_some());
        assert!(accepted.shown(confirmed + 10_801, 10_800).is_none());
        assert_eq!(accepted.facts(), Some(first));
        // A server that repeats an old window for ever does not keep it fresh.
        accepted.accept(first, snapshot(&first), 50_000);
        assert!(accepted.shown(50_000, 10_800).is_none());
    }
}
