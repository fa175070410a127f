//! What gauges say of themselves beside costs: their currency, whether they are rates, and of which
//! windows they are.

use std::collections::BTreeMap;

use crate::cost::day::DAY_SECONDS;
use crate::rate_journal::SeenWindow;
use crate::service::failure::{Failure, Kind};

use crate::source::in_another_currency;
use crate::source::metric_names::{
    BUILD_INFO, EARLIER_INFO, WINDOW_COVERED, WINDOW_END, WINDOW_SECONDS, WINDOW_UNKNOWN_ROWS,
};
use crate::source::prometheus::reply::Series;

use super::client::{Metrics, series};
use super::query::{LEVELS, MetroculusQuery};

/// Whether gauges are the earlier exporter's.
pub(super) fn is_earlier(metrics: &Metrics) -> bool {
    !series(metrics, EARLIER_INFO).is_empty() && series(metrics, BUILD_INFO).is_empty()
}

impl MetroculusQuery {
    /// Sees that the gauges are rates in the ledger's currency.
    pub(super) fn check_gauges(&self, metrics: &Metrics) -> Result<(), Failure> {
        let own = &self.settings.currency;
        for one in LEVELS.into_iter().flat_map(|(_, name)| series(metrics, name)) {
            let (code, cluster) = (one.label("currency"), self.cluster(one));
            if !code.is_empty() && code != own {
                return Err(Failure::query(
                    Kind::Currency,
                    in_another_currency(&format!("cluster '{cluster}'"), code, own),
                    "have the exporter tell costs in the ledger's currency, set CURRENCY where all \
                     costs are in that one, or read by QUERY_LAYER=prometheus, which converts them",
                ));
            }
        }
        let modes = series(metrics, BUILD_INFO).iter().chain(series(metrics, EARLIER_INFO));
        let is_total =
            |one: &&Series| [one.label("mode"), one.label("metric_mode")].contains(&"total");
        if let Some(one) = modes.into_iter().find(is_total) {
            return Err(Failure::query(
                Kind::Refused,
                format!(
                    "the gauges of cluster '{}' are USD per window (METRIC_MODE=total), which \
                     Metroculus answers as though they were rates",
                    self.cluster(one)
                ),
                "set METRIC_MODE=rate at the exporter, or read by QUERY_LAYER=prometheus",
            ));
        }
        Ok(())
    }

    /// The greatest value of a metric, by cluster.
    pub(super) fn greatest<'a>(
        &'a self,
        metrics: &'a Metrics,
        name: &str,
    ) -> BTreeMap<&'a str, f64> {
        let mut greatest: BTreeMap<&str, f64> = BTreeMap::new();
        for one in series(metrics, name) {
            for (_, value) in &one.points {
                let most = greatest.entry(self.cluster(one)).or_insert(*value);
                if value.total_cmp(most).is_gt() {
                    *most = *value;
                }
            }
        }
        greatest
    }

    /// The windows that clusters' gauges are of; of several exporters of a cluster the newest.
    pub(super) fn windows(&self, metrics: &Metrics) -> Vec<SeenWindow> {
        let [lengths, covered, unknown_rows] =
            [WINDOW_SECONDS, WINDOW_COVERED, WINDOW_UNKNOWN_ROWS]
                .map(|name| self.greatest(metrics, name));
        let mut windows: BTreeMap<&str, SeenWindow> = BTreeMap::new();
        for one in series(metrics, WINDOW_END) {
            let cluster = self.cluster(one);
            let (Some(end), Some(length)) = (one.value(), lengths.get(cluster).copied()) else {
                continue;
            };
            if !(1.0..=DAY_SECONDS as f64).contains(&length) || !(0.0..1e11).contains(&end) {
                continue;
            }
            let is_incomplete = covered.get(cluster).is_some_and(|covered| *covered < length)
                || unknown_rows.get(cluster).is_some_and(|rows| *rows > 0.0);
            #[expect(clippy::cast_possible_truncation, reason = "both are bounded above")]
            let (end_seconds, length_seconds) = (end as i64, length as i64);
            let known = windows.get(cluster).is_some_and(|one| one.end_seconds >= end_seconds);
            if !known {
                let window = SeenWindow {
                    cluster: cluster.to_owned(),
                    end_seconds,
                    length_seconds,
                    is_incomplete,
                };
                windows.insert(cluster, window);
            }
        }
        windows.into_values().collect()
    }
}

/// By how much the source lags: the window plus the age of its end, if it shows both.
pub(super) fn lag(ends: &[Series], windows: &[Series], now_seconds: i64) -> Option<i64> {
    let greatest = |list: &[Series]| list.iter().filter_map(Series::value).max_by(f64::total_cmp);
    let (end, window) = (greatest(ends)?, greatest(windows)?);
    let lag = now_seconds as f64 - end + window;
    if lag.is_nan() || lag > 86_400.0 {
        tracing::warn!(window_end = end, "a window that ended days ago is not plausible");
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "at most a day")]
    Some(lag.max(0.0) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::labels::Labels;

    #[test]
    fn the_lag_is_the_window_and_its_age() {
        let one = |value| vec![Series { labels: Labels::default(), points: vec![(0.0, value)] }];
        assert_eq!(lag(&one(7_200.0), &one(3_600.0), 7_500), Some(3_900));
        assert_eq!(lag(&[], &one(3_600.0), 7_500), None);
        assert_eq!(lag(&one(0.0), &one(3_600.0), 1_795_000_000), None);
        assert_eq!(lag(&one(9_000.0), &one(600.0), 7_500), Some(0));
    }
}
