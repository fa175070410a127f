//! What a day's record says, as a function of what was found and done.

use crate::cost::AccountId;
use crate::day_status::{AccountDay, ClusterCoverage, DayState};
use crate::source::SourceDay;

use super::day::DueDay;
use super::guard::is_settled;
use super::rows::DayRows;
use super::summary::DaySummary;

fn clusters(source: &SourceDay) -> Vec<ClusterCoverage> {
    let one = |(cluster, minutes): (&String, &u32)| ClusterCoverage {
        cluster: cluster.clone(),
        covered_minutes: *minutes,
    };
    source.clusters.iter().map(one).collect()
}

/// A day of which nothing is stored and nothing known.
pub(super) fn blank(due: DueDay<'_>, account: &AccountId) -> AccountDay {
    AccountDay {
        account: account.clone(),
        day: due.day,
        state: DayState::NoData,
        cause: String::new(),
        phase: None,
        covered_minutes: 0,
        clusters: Vec::new(),
        expected_minutes: 0,
        source_total_usd: 0.0,
        stored_total_usd: 0.0,
        rows: 0,
        foreign_total_usd: 0.0,
        foreign_rows: 0,
        pending: false,
        settled: false,
        raw_minutes: 0,
        exporter_minutes: 0,
        raw_samples: 0,
        exporter_samples: 0,
        forced_reason: None,
        run_id: String::new(),
        updated_at: 0,
    }
}

/// The record before the first row of a day is written. It keeps what is known of what was stored
/// before, which guards go by, and says that this may no longer be so.
pub(super) fn pending(
    due: DueDay<'_>,
    account: &AccountId,
    run_id: &str,
    now_seconds: i64,
) -> AccountDay {
    AccountDay {
        state: DayState::Failed,
        cause: format!("run {run_id} began to write this day and has not ended"),
        pending: true,
        settled: false,
        run_id: run_id.to_owned(),
        updated_at: now_seconds,
        ..due.record.cloned().unwrap_or_else(|| blank(due, account))
    }
}

/// The record of a day that was written.
pub(super) fn written(
    due: DueDay<'_>,
    account: &AccountId,
    source: &SourceDay,
    rows: &DayRows,
    summary: &DaySummary,
    now_seconds: i64,
) -> AccountDay {
    AccountDay {
        state: summary.state,
        cause: summary.cause.clone(),
        phase: Some(source.phase.number()),
        covered_minutes: source.covered_minutes,
        clusters: clusters(source),
        expected_minutes: source.expected_minutes,
        source_total_usd: summary.source_total_usd,
        stored_total_usd: summary.stored_total_usd,
        rows: summary.rows,
        foreign_total_usd: rows.foreign_total_usd,
        foreign_rows: rows.foreign_rows,
        settled: is_settled(due.day, source.lag_seconds, now_seconds),
        raw_minutes: due.presence.raw_minutes,
        exporter_minutes: due.presence.exporter_minutes,
        raw_samples: due.presence.raw_samples,
        exporter_samples: due.presence.exporter_samples,
        updated_at: now_seconds,
        ..blank(due, account)
    }
}

/// The record of a day that is left as it was: what it says of what is stored stays. A day that
/// was left half written stays due.
pub(super) fn kept(
    due: DueDay<'_>,
    account: &AccountId,
    source: &SourceDay,
    rows: &DayRows,
    summary: &DaySummary,
    now_seconds: i64,
) -> AccountDay {
    let old = due.record.cloned().unwrap_or_else(|| AccountDay {
        expected_minutes: source.expected_minutes,
        stored_total_usd: summary.stored_total_usd,
        rows: summary.rows,
        ..blank(due, account)
    });
    AccountDay {
        state: summary.state,
        cause: summary.cause.clone(),
        foreign_total_usd: rows.foreign_total_usd,
        foreign_rows: rows.foreign_rows,
        settled: !old.pending && is_settled(due.day, source.lag_seconds, now_seconds),
        raw_minutes: due.presence.raw_minutes,
        exporter_minutes: due.presence.exporter_minutes,
        raw_samples: due.presence.raw_samples,
        exporter_samples: due.presence.exporter_samples,
        updated_at: now_seconds,
        ..old
    }
}
