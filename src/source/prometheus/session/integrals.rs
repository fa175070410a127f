//! Costs of rates over a window: of many series, the server adds up several pieces before it answers.

use std::collections::BTreeMap;

use crate::service::failure::Failure;
use crate::source::labels::Labels;
use crate::source::prometheus::promql::{Window, integral_in_pieces};

use super::DaySession;
use super::pieces::add;

/// From how many series on the server adds up pieces: to send and read such an answer takes as long
/// as to evaluate a piece of it.
const LONG_ANSWER_SERIES: u64 = 1_000;
/// How many pieces the server adds up at a time. More could take longer than it allows a query.
const PIECES_JOINED: u32 = 4;

impl DaySession<'_> {
    /// The cost of a rate over a window by labels, split so that no query touches more samples
    /// than allowed when the rate reads `series` series.
    pub(in crate::source::prometheus) async fn integrate(
        &mut self,
        rate: &str,
        window: Window,
        series: u64,
    ) -> Result<BTreeMap<Labels, f64>, Failure> {
        let count = self.pieces(window, series.saturating_mul(u64::from(window.minutes())));
        let joined = if series >= LONG_ANSWER_SERIES { count.min(PIECES_JOINED) } else { 1 };
        let query = |part| integral_in_pieces(rate, part, joined);
        let counts = (count.div_ceil(joined), series.max(1));
        let sums = self.in_pieces(window, counts, add, query).await?;
        self.own_only(sums)
    }
}
