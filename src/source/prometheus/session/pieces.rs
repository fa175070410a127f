//! Questions in pieces that the server accepts: shorter times, and where those are no help,
//! fewer series.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use crate::cost::Day;
use crate::service::failure::{Failure, Kind};
use crate::source::checkpoint::Checkpoint;
use crate::source::labels::Labels;
use crate::source::prometheus::client::NoAnswer;
use crate::source::prometheus::presence::SamplesBefore;
use crate::source::prometheus::promql::{Selector, Window, minutes_present};
use crate::source::prometheus::questions::Times;
use crate::source::prometheus::reply::Series;
use crate::source::prometheus::sample_counts;
use crate::source::prometheus::series_parts::{self, SeriesPart};
use crate::source::prometheus::windows::Sampling;

use super::DaySession;
use super::kept_answers::{self, KeptAnswers};

/// How often a query that asks for too much is halved: down to 22 minutes of a day.
const HALVINGS_MAX: u32 = 6;
/// Most points of one reply by regular times: a half of what a reply may take of memory.
const POINTS_MAX: u64 = 500_000;

impl DaySession<'_> {
    /// Has what is answered about the part of a running day that is over be kept, and what a
    /// checkpoint knows of them be used, where these metrics have no more samples than they had.
    pub(in crate::source::prometheus) async fn keep_answers(
        &mut self,
        (metrics, before): (Vec<&'static str>, Option<SamplesBefore>),
        (day, now_seconds): (Day, i64),
        known: Option<Checkpoint>,
    ) {
        let Some(until) = kept_answers::kept_until(day, now_seconds) else { return };
        let warned = self.warned_answers;
        let before = before.filter(|one| one.until == until).map(|one| one.samples);
        let known = kept_answers::usable(known, day, until);
        match self.counted((metrics, before), (day, until), known).await {
            Ok(kept) if warned == self.warned_answers => self.kept = Some(kept),
            Ok(_) => {}
            Err(no_answer) => {
                let failure = no_answer.into_failure();
                tracing::debug!(%failure, %day, "the running day is asked for whole");
            }
        }
    }

    /// The samples are counted before the costs are read, all before those of the part that is
    /// known: one that comes in between is found by the next count.
    async fn counted(
        &mut self,
        (metrics, before): (Vec<&'static str>, Option<u64>),
        (day, until): (Day, i64),
        known: Option<Checkpoint>,
    ) -> Result<KeptAnswers, NoAnswer> {
        let samples = match before {
            Some(samples) => samples,
            None => self.count_before(&metrics, (day, until)).await?,
        };
        let mut unchanged = None;
        if let Some(known) = known {
            let count = match known.until == until {
                true => samples,
                false => self.count_before(&metrics, (day, known.until)).await?,
            };
            unchanged = (count == known.samples).then_some(known);
        }
        Ok(KeptAnswers::new((day, until), (metrics, samples), unchanged))
    }

    async fn count_before(
        &mut self,
        metrics: &[&str],
        (day, end): (Day, i64),
    ) -> Result<u64, NoAnswer> {
        sample_counts::count(self, metrics, Window { start: day.start_seconds(), end }).await
    }

    /// What to keep for the next run, where that is more than was known, and where the source has as
    /// many samples as before the costs were read: of replicas that take turns one may have less,
    /// and some of the answers may be that one's.
    pub(in crate::source::prometheus) async fn checkpoint(&mut self) -> Option<Checkpoint> {
        let (checkpoint, metrics) = self.kept.take()?.checkpoint()?;
        let of_day = (checkpoint.day, checkpoint.until);
        let again = self.count_before(&metrics, of_day).await.ok()?;
        (again == checkpoint.samples).then_some(checkpoint)
    }

    /// How many series of a metric a window has at the most, 0 when there is none.
    pub(in crate::source::prometheus) async fn series_count(
        &mut self,
        selector: &Selector,
        metric: &str,
        window: Window,
    ) -> Result<u64, Failure> {
        // Where it has to be asked in pieces, their sum bounds the count from above.
        let selector = selector.in_parts();
        let query = |piece| selector.series_count(metric, &[], piece);
        let series = self.in_pieces(window, (1, 1), add, query).await?;
        let count = series.values().fold(0.0_f64, |most, value| most.max(*value));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        Ok(count as u64)
    }

    /// For how many minutes a window's expression has a value, by labels.
    pub(in crate::source::prometheus) async fn minutes(
        &mut self,
        expression: &str,
        window: Window,
    ) -> Result<BTreeMap<Labels, f64>, Failure> {
        let sums = self.summed(window, 1, |piece| minutes_present(expression, piece)).await?;
        self.own_only(sums)
    }

    /// Adds up, by labels, what a query says of the pieces of a window.
    pub(in crate::source::prometheus) async fn summed(
        &mut self,
        window: Window,
        series: u64,
        query: impl Fn(Window) -> String,
    ) -> Result<BTreeMap<Labels, f64>, Failure> {
        let count = self.pieces(window, series.saturating_mul(u64::from(window.minutes())));
        self.in_pieces(window, (count, series.max(1)), add, query).await
    }

    /// In how many pieces a window is asked for so that none touches more samples than allowed.
    pub(super) fn pieces(&self, window: Window, samples: u64) -> u32 {
        let count = samples.div_ceil(self.settings.samples_max.max(1));
        u32::try_from(count).unwrap_or(u32::MAX).clamp(1, window.minutes().max(1))
    }

    /// The same in no more pieces than the server needs: of what counters gain, and of changes, those
    /// between the last sample of a piece and the first of the next are in neither.
    pub(in crate::source::prometheus) async fn summed_whole(
        &mut self,
        window: Window,
        series: u64,
        query: impl Fn(Window) -> String,
    ) -> Result<BTreeMap<Labels, f64>, Failure> {
        let kept = self.kept.take();
        let found = self.summed(window, series, query).await;
        self.kept = kept;
        found
    }

    /// The least or the greatest, by labels, of what a query says of the pieces of a window.
    pub(in crate::source::prometheus) async fn extreme(
        &mut self,
        window: Window,
        choose: fn(f64, f64) -> f64,
        query: impl Fn(Window) -> String,
    ) -> Result<BTreeMap<Labels, f64>, Failure> {
        self.in_pieces(window, (1, 1), choose, query).await
    }

    /// The parts in which the server is known to accept a query's series.
    pub(super) fn parts(&self, query: &str) -> Vec<SeriesPart> {
        let known = series_parts::kind(query).and_then(|kind| self.working_splits.get(&kind));
        known.cloned().unwrap_or_else(|| vec![SeriesPart::default()])
    }

    /// Keeps in mind in which parts a query's series were answered.
    pub(super) fn learn_parts(&mut self, query: &str, answered: Vec<SeriesPart>) {
        if let (Some(kind), true) = (series_parts::kind(query), answered.len() > 1) {
            self.working_splits.insert(kind, answered);
        }
    }

    /// The halves of a part of a query's series, where the shortest times were too much.
    ///
    /// # Errors
    /// The server's refusal, where that is no way out.
    pub(super) fn halved(
        &mut self,
        part: &SeriesPart,
        no_answer: NoAnswer,
        query: &str,
    ) -> Result<[SeriesPart; 2], Failure> {
        let halves = series_parts::kind(query).and_then(|_| part.halved());
        match (no_answer, halves) {
            (NoAnswer::TooMuch(failure), Some(halves))
                if failure.kind == Kind::Overloaded
                    && self.series_halvings < series_parts::HALVINGS_MAX =>
            {
                tracing::debug!(%failure, "halving the series");
                self.series_halvings += 1;
                Ok(halves)
            }
            (no_answer, _) => Err(no_answer.into_failure()),
        }
    }

    pub(super) async fn in_pieces(
        &mut self,
        window: Window,
        counts: (u32, u64),
        join: fn(f64, f64) -> f64,
        query: impl Fn(Window) -> String,
    ) -> Result<BTreeMap<Labels, f64>, Failure> {
        let of_window = query(window);
        let mut open = self.parts(&of_window);
        let (mut sums, mut answered) = (BTreeMap::new(), Vec::new());
        while let Some(part) = open.pop() {
            let max_window_minutes = self.max_window_minutes;
            match self.in_times(window, counts, join, |piece| part.of(&query(piece))).await {
                Ok(found) => {
                    // Parts have different series, whatever labels are left of them.
                    join_up(&mut sums, found, add);
                    answered.push(part);
                }
                Err(no_answer) => {
                    open.extend(self.halved(&part, no_answer, &of_window)?);
                    self.max_window_minutes = max_window_minutes;
                }
            }
        }
        self.learn_parts(&of_window, answered);
        Ok(sums)
    }

    /// Of a running day, what was answered about the part that is over is not asked for again.
    async fn in_times(
        &mut self,
        window: Window,
        (count, series): (u32, u64),
        join: fn(f64, f64) -> f64,
        query: impl Fn(Window) -> String,
    ) -> Result<BTreeMap<Labels, f64>, NoAnswer> {
        let Some(until) = self.kept.as_ref().and_then(|kept| kept.within(window)) else {
            return self.in_short_times(window, (count, series), join, &query).await;
        };
        let share = |piece: Window| {
            let of_count = u64::from(count) * u64::from(piece.minutes());
            let count = of_count.div_ceil(u64::from(window.minutes().max(1)));
            (u32::try_from(count).unwrap_or(u32::MAX).max(1), series)
        };
        let question = kept_answers::question(&query, window);
        let known = self.kept.as_ref().and_then(|kept| kept.known(&question, window));
        let (mut sums, start) = known.unwrap_or_else(|| (BTreeMap::new(), window.start));
        let warned = self.warned_answers;
        let over = Window { start, end: until };
        join_up(&mut sums, self.in_short_times(over, share(over), join, &query).await?, join);
        if let (Some(kept), true) = (&mut self.kept, warned == self.warned_answers) {
            kept.learn(question, window, &sums);
        }
        let running = Window { start: until, ..window };
        join_up(&mut sums, self.in_short_times(running, share(running), join, &query).await?, join);
        Ok(sums)
    }

    async fn in_short_times(
        &mut self,
        window: Window,
        (count, series): (u32, u64),
        join: fn(f64, f64) -> f64,
        query: impl Fn(Window) -> String,
    ) -> Result<BTreeMap<Labels, f64>, NoAnswer> {
        let mut sums = BTreeMap::new();
        let count = count.max(window.minutes().div_ceil(self.max_window_minutes));
        let mut open: Vec<(Window, u32)> =
            window.split(count).into_iter().rev().map(|piece| (piece, 0)).collect();
        loop {
            open.retain(|(piece, _)| piece.minutes() > 0);
            if open.is_empty() {
                return Ok(sums);
            }
            let question = |(piece, _): &(Window, u32)| {
                let samples = series.saturating_mul(u64::from(piece.minutes()));
                (query(*piece), Times::At(piece.evaluation_time()), samples)
            };
            match self.join_next(&mut sums, join, &mut open, question).await {
                None => {}
                Some(((piece, halvings), NoAnswer::TooMuch(failure) | NoAnswer::Busy(failure)))
                    if halvings < HALVINGS_MAX && self.series_halvings == 0 =>
                {
                    tracing::debug!(%failure, minutes = piece.minutes(), "halving the query");
                    let half = piece.minutes().div_ceil(2);
                    self.max_window_minutes = self.max_window_minutes.min(half);
                    open.extend(piece.split(2).into_iter().rev().map(|half| (half, halvings + 1)));
                }
                Some((_, no_answer)) => return Err(no_answer),
            }
        }
    }

    /// Asks for the next pieces, those at the end of `open`, and joins their answers to `sums` in
    /// their order, up to the first piece that has none. Returns that one; those after it stay open.
    ///
    /// Once a server refuses a piece, it is asked for one at a time: it may be the second that was
    /// too much. One that found it busy beside another is asked for again as it is.
    async fn join_next<P>(
        &mut self,
        sums: &mut BTreeMap<Labels, f64>,
        join: fn(f64, f64) -> f64,
        open: &mut Vec<P>,
        question: impl Fn(&P) -> (String, Times, u64),
    ) -> Option<(P, NoAnswer)> {
        let mut next = open.split_off(open.len().saturating_sub(self.pieces_at_once));
        let is_alone = next.len() == 1;
        let this = &*self;
        let asked = next.iter().rev().map(|piece| {
            let (query, times, samples) = question(piece);
            async move { this.ask(&query, times, samples).await }
        });
        let outcomes = join_all(asked).await;
        for outcome in outcomes {
            let piece = next.pop()?;
            match outcome {
                Ok(answer) => {
                    self.note_warnings(&answer);
                    join_up(sums, by_labels(answer.series), join);
                }
                Err(no_answer) => {
                    open.append(&mut next);
                    self.pieces_at_once = 1;
                    if let (NoAnswer::Busy(_), false) = (&no_answer, is_alone) {
                        open.push(piece);
                        return None;
                    }
                    return Some((piece, no_answer));
                }
            }
        }
        None
    }

    /// Adds up, by labels, the values of an expression at regular times. The expression is given
    /// the offset of its series, seconds.
    pub(in crate::source::prometheus) async fn sampled(
        &mut self,
        sampling: Sampling,
        series: u64,
        expression: impl Fn(i64) -> String,
    ) -> Result<BTreeMap<Labels, f64>, Failure> {
        let of_series = expression(0);
        let mut open = self.parts(&of_series);
        let (mut sums, mut answered) = (BTreeMap::new(), Vec::new());
        while let Some(part) = open.pop() {
            let max_window_minutes = self.max_window_minutes;
            let of_part = |offset| part.of(&expression(offset));
            match self.sampled_in_times(sampling, series, of_part).await {
                Ok(found) => {
                    join_up(&mut sums, found, add);
                    answered.push(part);
                }
                Err(no_answer) => {
                    open.extend(self.halved(&part, no_answer, &of_series)?);
                    self.max_window_minutes = max_window_minutes;
                }
            }
        }
        self.learn_parts(&of_series, answered);
        self.own_only(sums)
    }

    async fn sampled_in_times(
        &mut self,
        sampling: Sampling,
        series: u64,
        expression: impl Fn(i64) -> String,
    ) -> Result<BTreeMap<Labels, f64>, NoAnswer> {
        let mut sums = BTreeMap::new();
        let mut open = self.split_to(sampling, series, self.max_window_minutes);
        while !open.is_empty() {
            let question = |piece: &Sampling| {
                let (query, time) = piece.sum(&expression);
                (query, Times::At(time), series.saturating_mul(u64::from(piece.count)))
            };
            let refused = self.join_next(&mut sums, add, &mut open, question).await;
            if let Some((piece, no_answer)) = refused {
                let halves = self.halves(piece, no_answer)?;
                let longest = halves.iter().map(|half| half.minutes()).max().unwrap_or(0);
                self.max_window_minutes = self.max_window_minutes.min(longest.max(1));
                open.extend(halves);
            }
        }
        Ok(sums)
    }

    /// The values of an expression at regular times, by labels, in the order of time.
    pub(in crate::source::prometheus) async fn values(
        &mut self,
        sampling: Sampling,
        series: u64,
        expression: impl Fn(i64) -> String,
    ) -> Result<BTreeMap<Labels, Vec<(i64, f64)>>, Failure> {
        let of_series = expression(0);
        let mut open = self.parts(&of_series);
        let (mut values, mut answered) = (BTreeMap::new(), Vec::new());
        while let Some(part) = open.pop() {
            let of_part = |offset| part.of(&expression(offset));
            match self.values_in_times(sampling, series, of_part).await {
                // Callers keep the labels by which series are parted.
                Ok(found) => {
                    values.extend(found);
                    answered.push(part);
                }
                Err(no_answer) => open.extend(self.halved(&part, no_answer, &of_series)?),
            }
        }
        self.learn_parts(&of_series, answered);
        self.own_only(values)
    }

    async fn values_in_times(
        &mut self,
        sampling: Sampling,
        series: u64,
        expression: impl Fn(i64) -> String,
    ) -> Result<BTreeMap<Labels, Vec<(i64, f64)>>, NoAnswer> {
        let mut values: BTreeMap<Labels, Vec<(i64, f64)>> = BTreeMap::new();
        let mut open = self.split_to(sampling, series, u32::MAX);
        while let Some(piece) = open.pop() {
            let offset = piece.offset();
            let (start, end) = (piece.first + offset, piece.last() + offset);
            let times = Times::Steps { first: start, last: end, step: piece.step };
            let samples = series.saturating_mul(u64::from(piece.count));
            match self.ask(&expression(offset), times, samples).await {
                Ok(answer) => {
                    self.note_warnings(&answer);
                    for mut one in answer.series {
                        one.labels.remove("__name__");
                        #[expect(clippy::cast_possible_truncation, reason = "whole seconds")]
                        let points = one.points.iter().map(|(time, v)| (*time as i64 - offset, *v));
                        values.entry(one.labels).or_default().extend(points);
                    }
                }
                Err(no_answer) => open.extend(self.halves(piece, no_answer)?),
            }
        }
        Ok(values)
    }

    /// Two halves of regular times that were too many at once, the later one first.
    fn halves(&self, piece: Sampling, no_answer: NoAnswer) -> Result<[Sampling; 2], NoAnswer> {
        match (no_answer, piece.halves()) {
            (NoAnswer::TooMuch(failure) | NoAnswer::Busy(failure), Some([first, second]))
                if self.series_halvings == 0 =>
            {
                tracing::debug!(%failure, times = piece.count, "halving the query");
                Ok([second, first])
            }
            (no_answer, _) => Err(no_answer),
        }
    }

    /// Regular times in pieces of which none touches more samples than allowed or is longer than
    /// so many minutes, the last first.
    fn split_to(&self, sampling: Sampling, series: u64, minutes: u32) -> Vec<Sampling> {
        let most = self.settings.samples_max.min(POINTS_MAX) / series.max(1);
        let mut open = vec![sampling];
        let mut pieces = Vec::new();
        while let Some(piece) = open.pop() {
            match piece.halves() {
                Some(halves) if u64::from(piece.count) > most || piece.minutes() > minutes => {
                    open.extend(halves);
                }
                _ => pieces.push(piece),
            }
        }
        pieces
    }
}

pub(super) fn add(one: f64, other: f64) -> f64 {
    one + other
}

/// The values of an answer, by labels.
pub(super) fn by_labels(series: Vec<Series>) -> impl Iterator<Item = (Labels, f64)> {
    series.into_iter().filter_map(|mut one| {
        let value = one.value()?;
        one.labels.remove("__name__");
        Some((one.labels, value))
    })
}

/// Joins values to others, by labels.
pub(super) fn join_up(
    joined: &mut BTreeMap<Labels, f64>,
    values: impl IntoIterator<Item = (Labels, f64)>,
    join: fn(f64, f64) -> f64,
) {
    for (labels, value) in values {
        joined.entry(labels).and_modify(|known| *known = join(*known, value)).or_insert(value);
    }
}
