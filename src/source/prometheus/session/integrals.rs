//! Costs of rates over a window: of many series, the server adds up several pieces before it answers.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::try_join_all;

use crate::service::failure::Failure;
use crate::source::labels::Labels;
use crate::source::prometheus::promql::{Window, integral, integral_in_pieces};
use crate::source::prometheus::questions::Times;
use crate::source::prometheus::series_parts::SeriesPart;

use super::pieces::{add, by_labels, join_up};
use super::{DaySession, MANY_SERIES, PIECES_AT_ONCE};

/// How many pieces the server adds up in one question at the most.
const PIECES_JOINED: u32 = 3;
/// How long such a question may take: gateways give up after 30 s.
const JOINED_PATIENCE: Duration = Duration::from_secs(25);
/// How long its text may be: VictoriaMetrics takes 16 KiB, and an address is longer than its text.
const JOINED_BYTES_MAX: usize = 6_000;

impl DaySession<'_> {
    /// The cost of a rate over a window by labels, split so that no query touches more samples
    /// than allowed when the rate reads `series` series.
    pub(in crate::source::prometheus) async fn integrate(
        &mut self,
        rate: &str,
        window: Window,
        series: u64,
    ) -> Result<BTreeMap<Labels, f64>, Failure> {
        let sums = self.summed(window, series, |piece| integral(rate, piece)).await?;
        self.own_only(sums)
    }

    /// The same of a rate that has a value for each series that it reads.
    pub(in crate::source::prometheus) async fn integrate_each(
        &mut self,
        rate: &str,
        window: Window,
        series: u64,
    ) -> Result<BTreeMap<Labels, f64>, Failure> {
        match self.integrate_joined(rate, window, series).await {
            Some(sums) => self.own_only(sums),
            None => self.integrate(rate, window, series).await,
        }
    }

    /// The same, of a day that is over, added up by the server; `None` where that is of no use, or
    /// where the server does not do it at once: then nobody asks it for that again.
    async fn integrate_joined(
        &mut self,
        rate: &str,
        window: Window,
        series: u64,
    ) -> Option<BTreeMap<Labels, f64>> {
        let (count, joined) = self.joined_pieces(window, series)?;
        let part = SeriesPart::default();
        let questions: Vec<(Window, String)> = window
            .split(count)
            .into_iter()
            .map(|piece| (piece, part.of(&integral_in_pieces(rate, piece, joined))))
            .collect();
        if questions.iter().any(|(_, query)| query.len() > JOINED_BYTES_MAX) {
            return None;
        }
        let mut sums = BTreeMap::new();
        for at_once in questions.chunks(self.pieces_at_once) {
            let this = &*self;
            let asked = at_once.iter().map(|(piece, query)| {
                let samples = series.saturating_mul(u64::from(piece.minutes()));
                this.ask(query, Times::At(piece.evaluation_time()), samples)
            });
            let Ok(Ok(answers)) = tokio::time::timeout(JOINED_PATIENCE, try_join_all(asked)).await
            else {
                tracing::debug!(
                    series,
                    "the query layer is not asked to add up pieces from here on"
                );
                self.questions.join_no_more_pieces();
                return None;
            };
            for answer in answers {
                self.note_warnings(&answer);
                join_up(&mut sums, by_labels(answer.series), add);
            }
        }
        Some(sums)
    }

    /// In how many questions a window is asked for, and how many pieces each of them has.
    fn joined_pieces(&self, window: Window, series: u64) -> Option<(u32, u32)> {
        // What is kept of a running day's answers goes by the questions.
        let is_whole = self.kept.is_none() && self.max_window_minutes == u32::MAX;
        let is_asked = is_whole && self.series_halvings == 0 && self.working_splits.is_empty();
        // A server that found a piece too much beside another is not asked for more at a time.
        let is_at_ease = self.pieces_at_once == PIECES_AT_ONCE as usize;
        if series < MANY_SERIES || !is_asked || !is_at_ease || !self.questions.joins_pieces() {
            return None;
        }
        let pieces = self.pieces(window, series.saturating_mul(u64::from(window.minutes())));
        // As many as are asked for at a time, or a multiple: none is the last one alone.
        let questions = pieces.div_ceil(PIECES_JOINED).next_multiple_of(PIECES_AT_ONCE);
        let joined = pieces.div_ceil(questions);
        (joined > 1).then_some((questions, joined))
    }
}
