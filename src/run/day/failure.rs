//! A failure of one day: the day's status has the cause, and the account's other days go on.

use std::collections::BTreeMap;

use crate::cost::{AccountId, Day};
use crate::day_status::{Attempt, DayState, DayStatus};
use crate::run::summary::DaySummary;
use crate::service::failure::{Failure, Hop, Kind};

use super::inputs::DueDay;
use super::rows::{DayRows, live_totals};

/// Whether a failure may concern this day alone: the query layer answers, but not with this day's
/// costs, or the day took too long.
pub(in crate::run) fn is_of_one_day(failure: &Failure) -> bool {
    match failure.hop {
        Hop::QueryLayer => matches!(
            failure.kind,
            Kind::BadData
                | Kind::Currency
                | Kind::BadReply
                | Kind::Timeout
                | Kind::Overloaded
                // A day that is older than what the query layer keeps.
                | Kind::Refused
        ),
        Hop::Worker => failure.kind == Kind::Timeout,
        _ => false,
    }
}

/// The failure of an account with failed days: the newest of them, and how many more there are.
/// Those that failed with an error are in `failures`; the others only an operator can put right.
pub(in crate::run) fn failure_of_days(
    days: &[DaySummary],
    failures: &BTreeMap<Day, Failure>,
) -> Option<Failure> {
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

/// The status of a day that failed; what it has of what is stored stays. `rows` are the day's,
/// where it has no status yet.
pub(in crate::run) fn failed_status(
    account: &AccountId,
    due: &DueDay,
    rows: Option<DayRows>,
    (run_id, now_seconds): (&str, i64),
    failure: &Failure,
) -> DayStatus {
    let before = due.status.clone().unwrap_or_else(|| {
        let rows = rows.unwrap_or_default();
        let mut status = DayStatus::empty(account, due.day);
        status.stored.coverage.expected_minutes = due.day.minutes_passed(now_seconds);
        (status.stored.rows, status.stored.total_usd) = live_totals(&rows.own);
        status.other_rows = rows.others;
        status
    });
    let attempt = Attempt {
        state: DayState::Failed,
        cause: failure.to_string(),
        is_pending: before.attempt.is_pending,
        is_settled: false,
        run_id: run_id.to_owned(),
        at_seconds: now_seconds,
    };
    DayStatus { attempt, ..before }
}

/// The summary of a day that failed.
pub(in crate::run) fn failed_summary(status: &DayStatus) -> DaySummary {
    DaySummary {
        state: DayState::Failed,
        cause: status.attempt.cause.clone(),
        stored_total_usd: status.stored.total_usd,
        rows: status.stored.rows,
        ..DaySummary::without_costs(status.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    fn failed(text: &str, cause: &str) -> DaySummary {
        let summary = DaySummary::without_costs(day(text));
        DaySummary { state: DayState::Failed, cause: cause.to_owned(), ..summary }
    }

    #[test]
    fn a_failure_is_of_one_day_unless_the_layer_is_down_or_a_store_failed() {
        let of = |hop, kind| is_of_one_day(&Failure::new(hop, kind, "", ""));
        for kind in [Kind::BadData, Kind::BadReply, Kind::Timeout, Kind::Overloaded, Kind::Refused]
        {
            assert!(of(Hop::QueryLayer, kind), "{kind:?}");
            assert!(!of(Hop::ClickHouse, kind) && !of(Hop::MongoDb, kind), "{kind:?}");
        }
        for kind in [Kind::Unavailable, Kind::Denied, Kind::Internal] {
            assert!(!of(Hop::QueryLayer, kind) && !of(Hop::Worker, kind), "{kind:?}");
        }
        assert!(!of(Hop::Worker, Kind::Refused));
        assert!(of(Hop::Worker, Kind::Timeout));
    }

    #[test]
    fn the_newest_failed_day_is_named_with_its_own_failure_and_how_many_more() {
        let days = [DaySummary::without_costs(day("2026-11-20"))];
        assert_eq!(failure_of_days(&days, &BTreeMap::new()), None);
        let days = [failed("2026-11-19", "x"), failed("2026-11-18", "two sources")];
        let failure = Failure::query(Kind::BadReply, "not JSON", "look");
        let failures = BTreeMap::from([(day("2026-11-19"), failure.clone())]);
        let shown = failure_of_days(&days, &failures).unwrap();
        assert_eq!((shown.kind, shown.fix.as_str()), (Kind::BadReply, "look"));
        assert_eq!(shown.what, "2026-11-19 (and 1 more day): not JSON");
        let shown = failure_of_days(&days[1..], &failures).unwrap();
        assert_eq!((shown.kind, shown.what.as_str()), (Kind::BadData, "2026-11-18: two sources"));
    }
}
