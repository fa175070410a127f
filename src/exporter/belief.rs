//! Which answer stands: the last good one, until a better or until it is too old.
//!
//! Around the full hour servers answer with windows that are empty, half computed or of fewer
//! namespaces. Such an answer is looked at again before it takes the place of a good one.

use std::sync::Arc;

use super::snapshot::{Node, Pod, Snapshot};
use crate::allocation_api::Window;

/// A window that fell is not believed before it ended this long ago: by then both servers have
/// computed it.
const FALL_SETTLES_SECONDS: i64 = 600;
/// A window whose rows end early may be half computed, or a gap in the data. It is taken for a gap
/// when it ended this long ago and has not changed for [`CUT_UNCHANGED_SECONDS`].
const CUT_SETTLES_SECONDS: i64 = 1_200;
const CUT_UNCHANGED_SECONDS: i64 = 600;
/// Totals that differ by less than this share are the same: byte fields flicker, costs do not.
const SAME_SHARE: f64 = 1e-6;

/// What an answer looks like from afar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// Its window.
    pub window: Window,
    /// Its number of rows.
    pub rows: usize,
    /// Its total, USD in the window.
    pub total: f64,
    /// When its rows end, if that can be seen.
    pub reach_end: Option<i64>,
    /// Whether they end before the window does.
    pub is_cut_short: bool,
}

impl Look {
    fn is_same(&self, other: &Self) -> bool {
        self.window == other.window
            && self.rows == other.rows
            && self.reach_end == other.reach_end
            && (self.total - other.total).abs() <= SAME_SHARE * self.total.abs().max(1e-3)
    }
}

/// What is done with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It takes the last one's place.
    Believed,
    /// The last one stands, and this one is looked at again.
    LookAgain(&'static str),
    /// The last one stands.
    Refused(&'static str),
}

impl Judgement {
    /// The label value `reason`, unless it is believed.
    #[must_use]
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Believed => None,
            Self::LookAgain(reason) | Self::Refused(reason) => Some(reason),
        }
    }
}

/// The answer that stands, and the one that is looked at again.
#[derive(Debug, Default)]
pub struct Belief {
    believed: Option<Believed>,
    suspect: Option<(Look, i64)>,
}

#[derive(Debug)]
struct Believed {
    look: Look,
    snapshot: Arc<Snapshot>,
    confirmed_at: i64,
}

impl Belief {
    /// Judges an answer seen at `now_seconds`.
    pub fn judge(&mut self, look: Look, now_seconds: i64) -> Judgement {
        if look.window.end > now_seconds {
            return Judgement::Refused("future-window");
        }
        let known = self.believed.as_ref().map(|believed| believed.look);
        if known.is_some_and(|known| look.window.end < known.window.end) {
            return Judgement::Refused("older-window");
        }
        let fell = known.is_some_and(|known| fell(&known, &look));
        // A gap that was believed once is not doubted again.
        let cut = look.is_cut_short && known.is_none_or(|known| !known.is_same(&look));
        if !fell && !cut {
            self.suspect = None;
            return Judgement::Believed;
        }
        let reason = if cut { "partial" } else { "fell" };
        let Some((_, since)) = self.suspect.filter(|(seen, _)| seen.is_same(&look)) else {
            self.suspect = Some((look, now_seconds));
            return Judgement::LookAgain(reason);
        };
        let ended_ago = now_seconds - look.window.end;
        let has_settled = !cut
            || (ended_ago >= CUT_SETTLES_SECONDS && now_seconds - since >= CUT_UNCHANGED_SECONDS);
        if ended_ago < FALL_SETTLES_SECONDS || !has_settled {
            return Judgement::LookAgain(reason);
        }
        self.suspect = None;
        Judgement::Believed
    }

    /// Puts an answer that was judged believed in the last one's place.
    pub fn accept(&mut self, look: Look, snapshot: Snapshot, now_seconds: i64) {
        self.believed =
            Some(Believed { look, snapshot: Arc::new(snapshot), confirmed_at: now_seconds });
    }

    /// The answer that stands, while it may be shown: for `stale_after` seconds after a poll last
    /// confirmed it, and after the next window should have taken its place.
    #[must_use]
    pub fn shown(&self, now_seconds: i64, stale_after: i64) -> Option<Arc<Snapshot>> {
        let believed = self.believed.as_ref()?;
        let window = believed.look.window;
        let is_fresh = now_seconds - believed.confirmed_at <= stale_after
            && now_seconds - (window.end + window.seconds()) <= stale_after;
        is_fresh.then(|| Arc::clone(&believed.snapshot))
    }

    /// The window of the last good answer, stale or not.
    #[must_use]
    pub fn window(&self) -> Option<Window> {
        self.believed.as_ref().map(|believed| believed.look.window)
    }

    /// The nodes of the last good answer.
    #[must_use]
    pub fn nodes(&self) -> Vec<Node> {
        self.believed.as_ref().map_or_else(Vec::new, |believed| believed.snapshot.nodes.clone())
    }

    /// The pods of the last good answer.
    #[must_use]
    pub fn pods(&self) -> Vec<Pod> {
        self.believed.as_ref().map_or_else(Vec::new, |believed| believed.snapshot.pods.clone())
    }
}

/// Whether an answer lost more than half of the cost and some of the rows, or all of the cost.
fn fell(known: &Look, look: &Look) -> bool {
    let is_less = look.total < known.total / 2.0 && look.rows < known.rows;
    let is_nothing = look.total == 0.0 && known.total > 0.0;
    is_less || is_nothing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocation_api::Costs;
    use crate::exporter::snapshot::Efficiencies;

    fn look(hour: i64, rows: usize, total: f64) -> Look {
        let window = Window { start: hour * 3_600, end: (hour + 1) * 3_600 };
        Look { window, rows, total, reach_end: Some(window.end), is_cut_short: false }
    }

    fn cut(hour: i64, total: f64, reach_end: i64) -> Look {
        Look { reach_end: Some(reach_end), is_cut_short: true, ..look(hour, 10, total) }
    }

    fn snapshot(look: &Look) -> Snapshot {
        Snapshot {
            window: look.window,
            cluster: Costs { total: look.total, ..Costs::default() },
            efficiencies: Efficiencies::default(),
            namespaces: Vec::new(),
            pods: Vec::new(),
            nodes: Vec::new(),
            folded: 0,
        }
    }

    fn after(first: &Look) -> Belief {
        let mut belief = Belief::default();
        let now = first.window.end + 180;
        assert_eq!(belief.judge(*first, now), Judgement::Believed);
        belief.accept(*first, snapshot(first), now);
        belief
    }

    #[test]
    fn a_window_that_fell_is_looked_at_again() {
        let mut belief = after(&look(0, 10, 8.0));
        let fallen = look(1, 3, 1.0);
        let again = Judgement::LookAgain("fell");
        assert_eq!(belief.judge(fallen, 7_200 + 180), again);
        assert_eq!(belief.judge(fallen, 7_200 + 240), again, "too soon after the hour");
        assert_eq!(belief.judge(fallen, 7_200 + 600), Judgement::Believed);
        assert_eq!(belief.judge(look(1, 3, 5.0), 7_200 + 180), Judgement::Believed);
        assert_eq!(belief.judge(look(1, 10, 1.0), 7_200 + 180), Judgement::Believed);
        assert_eq!(belief.judge(look(1, 10, 0.0), 7_200 + 180), again, "all cost gone");
    }

    #[test]
    fn a_fall_that_changes_between_looks_is_no_settled_one() {
        let mut belief = after(&look(0, 10, 8.0));
        let again = Judgement::LookAgain("fell");
        assert_eq!(belief.judge(look(1, 3, 1.0), 8_000), again);
        assert_eq!(belief.judge(look(1, 4, 2.0), 8_060), again);
        assert_eq!(belief.judge(look(1, 10, 7.0), 8_120), Judgement::Believed);
    }

    #[test]
    fn a_cut_window_waits_until_it_stays_cut() {
        let mut belief = after(&look(0, 10, 8.0));
        let again = Judgement::LookAgain("partial");
        assert_eq!(belief.judge(cut(1, 2.0, 4_500), 7_200 + 300), again);
        assert_eq!(belief.judge(cut(1, 4.0, 5_400), 7_200 + 600), again, "it grows");
        assert_eq!(belief.judge(cut(1, 4.0, 5_400), 7_200 + 1_140), again);
        let gap = cut(1, 4.0, 5_400);
        assert_eq!(belief.judge(gap, 7_200 + 1_200), Judgement::Believed);
        belief.accept(gap, snapshot(&gap), 7_200 + 1_200);
        assert_eq!(belief.judge(gap, 7_200 + 1_260), Judgement::Believed, "known by now");
    }

    #[test]
    fn windows_of_the_past_and_the_future_are_refused() {
        let mut belief = after(&look(5, 10, 8.0));
        assert_eq!(belief.judge(look(4, 10, 8.0), 22_000), Judgement::Refused("older-window"));
        assert_eq!(belief.judge(look(7, 10, 8.0), 22_000), Judgement::Refused("future-window"));
    }

    #[test]
    fn the_last_good_answer_stands_until_it_is_stale() {
        let first = look(0, 10, 8.0);
        let mut belief = after(&first);
        let confirmed = 3_600 + 180;
        assert!(belief.shown(confirmed + 10_800, 10_800).is_some());
        assert!(belief.shown(confirmed + 10_801, 10_800).is_none());
        assert_eq!(belief.window(), Some(first.window));
        // A server that repeats an old window for ever does not keep it fresh.
        belief.accept(first, snapshot(&first), 50_000);
        assert!(belief.shown(50_000, 10_800).is_none());
    }
}
