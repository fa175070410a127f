//! Samples that are no cost: they are named, and left out.

use crate::service::failure::Failure;
use crate::source::labels::Labels;
use crate::source::prometheus::promql::{Selector, Window};
use crate::source::prometheus::reply::shown_labels;
use crate::source::prometheus::windows::LOOKBACK_SECONDS;

use super::pieces::add;
use super::{DaySession, MANY_SERIES, PIECES_AT_ONCE};

/// A function of a range holds the samples of one series at a time, a subquery those of all: so many
/// times the samples are no harder on a server.
const RANGE_SHARE: u64 = 4;

impl DaySession<'_> {
    /// Learns which of the metrics have samples that are no cost in the window, names their
    /// series, and makes `selector` leave such samples out.
    pub(in crate::source::prometheus) async fn filter_bad_samples(
        &mut self,
        selector: &mut Selector,
        metrics: &[(&str, &[&str])],
        window: Window,
        series: u64,
    ) -> Result<(), Failure> {
        const NAMED_MAX: usize = 5;
        for (metric, extra) in metrics {
            let plain = selector.in_parts();
            if !self.has_bad_samples(&plain, (metric, extra), window, series).await? {
                continue;
            }
            let bad = self
                .summed(window, series, |piece| plain.bad_samples(metric, extra, piece))
                .await?;
            if bad.is_empty() {
                continue;
            }
            selector.filtered.insert((*metric).to_owned());
            self.is_partial = true;
            let named: Vec<_> = bad.keys().take(NAMED_MAX).map(|l| shown(metric, l)).collect();
            self.warn(format!(
                "{} series of {metric} have samples that are no cost (NaN, infinite or negative); \
                 those samples are left out: {}",
                bad.len(),
                named.join(", ")
            ));
        }
        Ok(())
    }

    /// Whether some series of a metric may have a sample in the window that is no cost, or had one
    /// when it began: a cheap question that answers no for nearly all accounts.
    async fn has_bad_samples(
        &mut self,
        selector: &Selector,
        (metric, extra): (&str, &[&str]),
        window: Window,
        series: u64,
    ) -> Result<bool, Failure> {
        // The window's first minutes may have the value of a sample before it; servers may be told
        // to look back for longer. What is before a later piece is in the one before it, but for
        // the last second.
        let query = |piece: Window| {
            let earlier = if piece.start == window.start { 2 * LOOKBACK_SECONDS } else { 1 };
            let start = piece.start - earlier;
            selector.extent(metric, extra, Window { start, ..piece })
        };
        let samples = series.saturating_mul(u64::from(window.minutes()));
        // Servers evaluate one question on one core.
        let least = if series < MANY_SERIES { 1 } else { PIECES_AT_ONCE };
        let count = self.pieces(window, samples / RANGE_SHARE).max(least);
        // How long a time was too much is of no concern to other questions, which are harder.
        let max_window_minutes = self.max_window_minutes;
        let found = self.in_pieces(window, (count, series.max(1)), add, query).await?;
        self.max_window_minutes = max_window_minutes;
        let is_fine = |number: &f64| number.is_finite() && *number >= 0.0;
        // A server that leaves out what is no number answers with one of the two.
        Ok(found.len() % 2 != 0 || !found.values().all(is_fine))
    }
}

fn shown(metric: &str, labels: &Labels) -> String {
    format!("{metric}{}", shown_labels(labels))
}
