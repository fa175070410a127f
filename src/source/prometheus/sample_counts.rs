//! How many samples a day has: where there are no more than before, its costs are the same.

use crate::cost::Day;
use crate::service::failure::Failure;
use crate::source::prometheus::client::NoAnswer;
use crate::source::prometheus::promql::{Selector, Window};
use crate::source::prometheus::reply::Series;
use crate::source::prometheus::session::DaySession;

/// For how long after its end a day's costs may be shown, seconds: longer than exporters lag.
const SHOWN_LATE_SECONDS: i64 = 4 * 3_600;
/// A label for a metric's name: aggregations drop `__name__` itself.
const METRIC: &str = "metric_name_";

/// The samples of all these metrics on a day that is over and in the hours after it. `None` where
/// the server does not accept the question: then the day is computed again instead.
pub(super) async fn all_samples(
    mut session: DaySession<'_>,
    metrics: &[&str],
    day: Day,
    now_seconds: i64,
) -> Result<Option<u64>, Failure> {
    let latest = day.end_seconds() + SHOWN_LATE_SECONDS;
    let window = Window { start: day.start_seconds(), end: latest.min(now_seconds + 1) };
    match count(&mut session, metrics, window).await {
        Ok(count) => Ok(Some(count)),
        Err(no_answer) => {
            let failure = no_answer.into_refusal()?;
            tracing::debug!(%failure, %day, "the samples are not counted");
            Ok(None)
        }
    }
}

/// The samples of all these metrics in a window.
pub(super) async fn count(
    session: &mut DaySession<'_>,
    metrics: &[&str],
    window: Window,
) -> Result<u64, NoAnswer> {
    let query = query(&session.selector(), metrics, window);
    let counts = session.try_at(&query, window).await?;
    Ok(of(&counts))
}

/// The sum of the counts that were answered.
pub(super) fn of(counts: &[Series]) -> u64 {
    let counts = counts.iter().filter_map(Series::value);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
    let counts = counts.map(|count| count.max(0.0) as u64);
    counts.sum()
}

/// The samples of a metric in a window that were not in the question about the one before it, which
/// ends with the last whole second.
pub(super) fn rest(selector: &Selector, metric: &str, window: Window) -> String {
    let milliseconds = (window.end - window.start) * 1_000 - 1;
    let stored = format!("{}[{milliseconds}ms]", selector.stored(metric, &[]));
    selector.over_clusters("sum", &format!("count_over_time({stored})"))
}

/// One question: the samples of each metric, all its series together.
pub(super) fn query(selector: &Selector, metrics: &[&str], window: Window) -> String {
    let count = |metric: &&str| {
        let stored = format!("{}[{}]", selector.stored(metric, &[]), window.range());
        let sum = selector.over_clusters("sum", &format!("count_over_time({stored})"));
        format!("label_replace({sum}, \"{METRIC}\", \"{metric}\", \"\", \"\")")
    };
    metrics.iter().map(count).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_question_counts_the_samples_of_each_metric_by_tenant() {
        let selector =
            Selector { tenant: Some(("tenant_id".into(), "a".into())), ..Selector::default() };
        let window = Window { start: 86_400, end: 2 * 86_400 };
        let one = |metric: &str| {
            format!(
                "label_replace(sum by (tenant_id) (count_over_time({metric}{{tenant_id=\"a\"}}\
                 [86399500ms])), \"metric_name_\", \"{metric}\", \"\", \"\")"
            )
        };
        let wanted = format!("{} or {}", one("m"), one("n"));
        assert_eq!(query(&selector, &["m", "n"], window), wanted);
    }
}
