//! A day that fails by itself: it is recorded with its cause, and the account's other days go on.

use std::collections::BTreeMap;

use crate::cost::Day;
use crate::day_status::{AccountDay, DayState};
use crate::service::failure::{Failure, Hop, Kind};

use super::day::{DayWork, DueDay};
use super::record;
use super::rows::live;
use super::summary::DaySummary;

/// Whether a failure is one of this day alone, as far as can be told: the query layer answers, but
/// not with this day's costs, or the day took too long.
pub(super) fn is_of_one_day(failure: &Failure) -> bool {
    match failure.hop {
        Hop::QueryLayer => matches!(
            failure.kind,
            Kind::BadData | Kind::BadReply | Kind::Timeout | Kind::Overloaded
        ),
        Hop::Worker => failure.kind == Kind::Timeout,
        _ => false,
    }
}

/// What an account with failed days says: the newest of them, and how many more there are. Those
/// that failed with an error are in `failures`; the others only an operator can put right.
pub(super) fn of_days(days: &[DaySummary], failures: &BTreeMap<Day, Failure>) -> Option<Failure> {
    let failed: Vec<_> = days.iter().filter(|day| day.state == DayState::Failed).collect();
    let first = failed.first()?;
    let more = match failed.len() - 1 {
        0 => String::new(),
        1 => " (and 1 more day)".to_owned(),
        more => format!(" (and {more} more days)"),
    };
    if let Some(failure) = failures.get(&first.day) {
        let what = format!("{}{more}: {}", first.day, failure.what);
        return Some(Failure::new(failure.hop, failure.kind, what, failure.fix.clone()));
    }
    let what = format!("{}{more}: {}", first.day, first.cause);
    let fix = "give each cluster a name, and each exporter labels, of its own; for days that are \
               past, run --from --to --force --reason takes the greater costs";
    Some(Failure::query(Kind::BadData, what, fix))
}

impl DayWork<'_> {
    /// Puts down that the day failed and why; what its record says of what is stored stays.
    ///
    /// # Errors
    /// When a store fails or the lease was lost; and with `failure` itself when the day was left
    /// half written, which only a run that has time for it can end.
    pub(super) async fn day_failed(
        &self,
        due: DueDay<'_>,
        failure: &Failure,
    ) -> Result<DaySummary, Failure> {
        let now_seconds = self.now_seconds();
        // The day's work may have changed it since it was read.
        let days = &self.environment.days;
        let found = days.days(&self.account.id, due.day, due.day).await?.pop();
        if failure.hop == Hop::Worker && found.as_ref().is_some_and(|record| record.pending) {
            return Err(Failure {
                what: format!("{}: {}", due.day, failure.what),
                ..failure.clone()
            });
        }
        let cause = failure.to_string();
        let failed = match &found {
            Some(old) => old.clone(),
            None => {
                let rows = self.day_rows(due.day, &BTreeMap::new()).await?;
                let (live_rows, stored_usd) = live(&rows.own);
                AccountDay {
                    expected_minutes: due.day.minutes_passed(now_seconds),
                    stored_total_usd: stored_usd,
                    rows: live_rows,
                    foreign_total_usd: rows.foreign_total_usd,
                    foreign_rows: rows.foreign_rows,
                    ..record::blank(due, &self.account.id)
                }
            }
        };
        let failed = AccountDay {
            state: DayState::Failed,
            cause: cause.clone(),
            settled: false,
            run_id: self.run_id.to_owned(),
            updated_at: now_seconds,
            ..failed
        };
        if let Some(lease) = self.lease
            && !found.is_some_and(|old| old.says_the_same(&failed))
        {
            lease.keep().await?;
            days.put(&failed).await?;
        }
        Ok(DaySummary {
            state: DayState::Failed,
            cause,
            stored_total_usd: failed.stored_total_usd,
            rows: failed.rows,
            ..DaySummary::untold(due.day)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    fn failed(text: &str, cause: &str) -> DaySummary {
        let summary = DaySummary::untold(day(text));
        DaySummary { state: DayState::Failed, cause: cause.to_owned(), ..summary }
    }

    #[test]
    fn a_failure_is_of_one_day_unless_the_layer_is_down_or_a_store_failed() {
        let of = |hop, kind| is_of_one_day(&Failure::new(hop, kind, "", ""));
        for kind in [Kind::BadData, Kind::BadReply, Kind::Timeout, Kind::Overloaded] {
            assert!(of(Hop::QueryLayer, kind), "{kind:?}");
            assert!(!of(Hop::ClickHouse, kind) && !of(Hop::MongoDb, kind), "{kind:?}");
        }
        for kind in [Kind::Unavailable, Kind::Denied, Kind::Internal, Kind::Refused] {
            assert!(!of(Hop::QueryLayer, kind) && !of(Hop::Worker, kind), "{kind:?}");
        }
        assert!(of(Hop::Worker, Kind::Timeout));
    }

    #[test]
    fn the_newest_failed_day_is_named_with_its_own_failure_and_how_many_more() {
        let days = [DaySummary::untold(day("2026-11-20"))];
        assert_eq!(of_days(&days, &BTreeMap::new()), None);
        let days = [failed("2026-11-19", "x"), failed("2026-11-18", "two sources")];
        let failure = Failure::query(Kind::BadReply, "not JSON", "look");
        let failures = BTreeMap::from([(day("2026-11-19"), failure.clone())]);
        let said = of_days(&days, &failures).unwrap();
        assert_eq!((said.kind, said.fix.as_str()), (Kind::BadReply, "look"));
        assert_eq!(said.what, "2026-11-19 (and 1 more day): not JSON");
        let said = of_days(&days[1..], &failures).unwrap();
        assert_eq!((said.kind, said.what.as_str()), (Kind::BadData, "2026-11-18: two sources"));
    }
}
