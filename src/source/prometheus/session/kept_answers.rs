//! The part of a running day that is over: what was answered about it is kept, and asked for once.
//!
//! Answers for two times add up (or are the greater or the lesser of both) wherever a question may
//! be asked in pieces, so a kept answer stands for its piece. A question is known by its text: with
//! another selector, setting or formula it is another question. Late samples are found by counting:
//! of gauges those of clusters, of raw metrics all. What that count cannot see is found when the
//! answers are given up, which they are every few hours, and at the latest when the day is over and
//! is integrated whole.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::cost::Day;
use crate::cost::day::DAY_SECONDS;
use crate::cost::resource_id::hex;
use crate::source::checkpoint::{Answer, Checkpoint, Values};
use crate::source::prometheus::promql::Window;

const HOUR_SECONDS: i64 = 3_600;
/// Answers are kept up to a multiple of this, seconds.
const STEP_SECONDS: i64 = HOUR_SECONDS / 4;
/// For how long after the end of a step its samples may be on their way, seconds.
const LATE_SECONDS: i64 = 600;
/// After so many seconds of a day all of it is asked for again.
const GIVEN_UP_SECONDS: i64 = 6 * HOUR_SECONDS;

/// The time of a running day before which answers are kept, Unix seconds.
pub(in crate::source::prometheus) fn kept_until(day: Day, now_seconds: i64) -> Option<i64> {
    let start = day.start_seconds();
    let until = (now_seconds - LATE_SECONDS).div_euclid(STEP_SECONDS) * STEP_SECONDS;
    (start < until && now_seconds < day.end_seconds()).then_some(until)
}

/// What of a checkpoint may still be used, when answers before a time are kept.
pub(super) fn usable(known: Option<Checkpoint>, day: Day, until: i64) -> Option<Checkpoint> {
    let turn = |time: i64| (time - day.start_seconds()).div_euclid(GIVEN_UP_SECONDS);
    known.filter(|one| one.day == day && one.until <= until && turn(one.until) == turn(until))
}

/// What a day's session knows and learns about the part of the day that is over.
#[derive(Debug)]
pub(super) struct KeptAnswers {
    day: Day,
    /// Answers are kept up to here, Unix seconds.
    until: i64,
    /// The metrics whose samples are counted.
    metrics: Vec<&'static str>,
    /// How many samples there were before it.
    samples: u64,
    known: Option<Checkpoint>,
    learned: BTreeMap<String, Answer>,
}

impl KeptAnswers {
    /// With what is known from before, where it still holds; `samples` are those of the metrics
    /// before `until`.
    pub(super) fn new(
        (day, until): (Day, i64),
        (metrics, samples): (Vec<&'static str>, u64),
        known: Option<Checkpoint>,
    ) -> Self {
        Self { day, until, metrics, samples, known, learned: BTreeMap::new() }
    }

    /// The time up to which a window's answers are kept, if it reaches beyond it.
    pub(super) fn within(&self, window: Window) -> Option<i64> {
        (window.start < self.until && self.until < window.end).then_some(self.until)
    }

    /// What is known of a question about a window: the values, and up to when they are.
    pub(super) fn known(&self, question: &str, window: Window) -> Option<(Values, i64)> {
        let known = self.known.as_ref()?;
        let answer = known.answers.get(question).filter(|one| one.start == window.start)?;
        Some((answer.values.clone(), answer.until))
    }

    /// Keeps what was answered about a window up to that time, where the known one is of less.
    pub(super) fn learn(&mut self, question: String, window: Window, values: &Values) {
        let Window { start, .. } = window;
        let known = self.known.as_ref().and_then(|known| known.answers.get(&question));
        if known.is_none_or(|known| known.until < self.until || known.start != start) {
            let answer = Answer { start, until: self.until, values: values.clone() };
            self.learned.insert(question, answer);
        }
    }

    /// The checkpoint to store, and the metrics whose samples it counts; `None` where the known one
    /// says as much, or where there is too much to store. What was not asked this time (pods are
    /// asked for now and then) stays, as of its time.
    pub(super) fn checkpoint(self) -> Option<(Checkpoint, Vec<&'static str>)> {
        let Self { day, until, metrics, samples, learned, known } = self;
        let has_learned = !learned.is_empty();
        let mut answers = known.map(|known| known.answers).unwrap_or_default();
        answers.extend(learned);
        let checkpoint = Checkpoint { day, until, samples, answers };
        let is_kept = has_learned && !checkpoint.has_too_many_values();
        is_kept.then_some((checkpoint, metrics))
    }
}

/// A question's name: of its text about a time that is always as long.
pub(super) fn question(query: impl Fn(Window) -> String, window: Window) -> String {
    let text = query(Window { end: window.start + DAY_SECONDS, ..window });
    hex(&Sha256::digest(text.as_bytes())[..12])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::labels::Labels;

    const HOUR: i64 = HOUR_SECONDS;

    fn day() -> Day {
        "2026-11-20".parse().unwrap()
    }

    fn at(hours: i64, minutes: i64) -> i64 {
        day().start_seconds() + hours * HOUR + minutes * 60
    }

    fn kept(until: i64, samples: u64, known: Option<Checkpoint>) -> KeptAnswers {
        KeptAnswers::new((day(), until), (vec!["a"], samples), known)
    }

    fn checkpoint(until: i64) -> Checkpoint {
        Checkpoint { day: day(), until, samples: 1, answers: BTreeMap::new() }
    }

    #[test]
    fn answers_are_kept_up_to_the_quarter_of_an_hour_that_ended_ten_minutes_ago() {
        assert_eq!(kept_until(day(), at(5, 10)), Some(at(5, 0)));
        assert_eq!(kept_until(day(), at(5, 10) - 1), Some(at(4, 45)));
        assert_eq!(kept_until(day(), at(0, 24)), None, "nothing of the day is over");
        assert_eq!(kept_until(day(), at(24, 10)), None, "the day is over");
        assert_eq!(kept_until(day(), at(-3, 0)), None, "the day has not begun");
    }

    #[test]
    fn every_six_hours_all_is_asked_for_again() {
        let is_usable = |known: i64, until: i64| {
            usable(Some(checkpoint(at(known, 0))), day(), at(until, 0)).is_some()
        };
        assert!(is_usable(6, 6) && is_usable(6, 11) && is_usable(1, 5));
        assert!(!is_usable(5, 6) && !is_usable(6, 12) && !is_usable(17, 18));
        assert!(!is_usable(8, 7), "it is of a later time");
        let next = day().next();
        let until = next.start_seconds() + HOUR;
        assert!(usable(Some(checkpoint(until)), next, until).is_none(), "of another day");
    }

    #[test]
    fn a_question_is_known_by_its_text_and_its_beginning() {
        let window = Window { start: at(0, 0), end: at(5, 30) };
        let ask = |text: &'static str| {
            move |piece: Window| format!("{text}[{}s]", piece.end - piece.start)
        };
        let name = question(ask("a"), window);
        assert_eq!(name.len(), 24);
        assert_eq!(name, question(ask("a"), Window { end: at(9, 0), ..window }));
        assert_ne!(name, question(ask("b"), window));
        let values = Values::from([(Labels::default(), 1.5)]);
        let mut first = kept(at(4, 0), 3, None);
        assert_eq!(first.known(&name, window), None);
        first.learn(name.clone(), window, &values);
        let (stored, metrics) = first.checkpoint().unwrap();
        assert_eq!(metrics, ["a"]);
        assert_eq!((stored.until, stored.samples), (at(4, 0), 3));
        let second = kept(at(5, 0), 4, Some(stored));
        assert_eq!(second.known(&name, window), Some((values, at(4, 0))));
        let shifted = Window { start: at(0, 1), ..window };
        assert_eq!(second.known(&name, shifted), None, "it begins at another time");
    }

    #[test]
    fn only_a_window_that_reaches_beyond_that_time_is_parted() {
        let of_day = kept(at(4, 0), 0, None);
        let within = |start, end| of_day.within(Window { start, end });
        assert_eq!(within(at(0, 0), at(4, 1)), Some(at(4, 0)));
        assert_eq!(within(at(0, 0), at(4, 0)), None);
        assert_eq!(within(at(4, 0), at(5, 0)), None);
    }

    #[test]
    fn a_checkpoint_is_stored_when_it_reaches_further() {
        let window = Window { start: at(0, 0), end: at(5, 30) };
        let stored = |until: i64, known: Option<i64>| {
            let known = known.map(|until| {
                let answer = Answer { start: at(0, 0), until, values: Values::new() };
                Checkpoint { answers: [("q".to_owned(), answer)].into(), ..checkpoint(until) }
            });
            let mut of_day = kept(until, 0, known);
            of_day.learn("q".into(), window, &Values::new());
            of_day.checkpoint().map(|(one, _)| one.until)
        };
        assert_eq!(stored(at(5, 0), None), Some(at(5, 0)));
        assert_eq!(stored(at(5, 0), Some(at(4, 0))), Some(at(5, 0)));
        assert_eq!(stored(at(5, 0), Some(at(5, 0))), None);
        assert_eq!(kept(at(5, 0), 0, None).checkpoint(), None, "nothing was asked");
    }

    #[test]
    fn what_was_not_asked_this_time_stays_as_of_its_time() {
        let window = Window { start: at(0, 0), end: at(5, 30) };
        let (pods, above) = ("pods".to_owned(), "above".to_owned());
        let value = |usd| Values::from([(Labels::default(), usd)]);
        let mut of_both = kept(at(4, 0), 3, None);
        of_both.learn(pods.clone(), window, &value(1.0));
        of_both.learn(above.clone(), window, &value(2.0));
        let stored = of_both.checkpoint().unwrap().0;
        let mut of_one = kept(at(4, 30), 4, Some(stored));
        of_one.learn(above.clone(), window, &value(3.0));
        let stored = of_one.checkpoint().unwrap().0;
        assert_eq!((stored.until, stored.samples), (at(4, 30), 4));
        let mut third = kept(at(4, 30), 4, Some(stored.clone()));
        assert_eq!(third.known(&above, window), Some((value(3.0), at(4, 30))));
        assert_eq!(third.known(&pods, window), Some((value(1.0), at(4, 0))));
        third.learn(above.clone(), window, &value(3.0));
        assert_eq!(third.checkpoint(), None, "it says as much");
        let mut again = kept(at(4, 30), 4, Some(stored));
        again.learn("new".into(), window, &value(5.0));
        let stored = again.checkpoint().unwrap().0;
        assert_eq!(stored.answers.len(), 3, "a question that was not asked before");
    }
}
