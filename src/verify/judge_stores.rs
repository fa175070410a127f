//! What is found in MongoDB and ClickHouse.

use crate::accounts::ACCOUNT_TYPE;
use crate::cost::Day;
use crate::day_status::{DayState, DayStatus};
use crate::service::failure::Failure;

use super::finding::{HopFinding, ago};
use super::judge_source::{CLOCK_SECONDS_MAX, likely_cause};

/// How old the newest status may be: runs are minutes apart, and a status is of today's costs.
const RECORD_AGE_MAX_SECONDS: i64 = 7_200;

/// Whether MongoDB answers, and agrees on the time.
#[must_use]
pub fn mongodb(asked: &Result<Option<i64>, Failure>, system_seconds: i64) -> HopFinding {
    match asked {
        Err(failure) => HopFinding::failed(failure, likely_cause(failure)),
        Ok(Some(server)) if (server - system_seconds).abs() > CLOCK_SECONDS_MAX => {
            HopFinding::broken(
                format!(
                    "its clock and this machine's are {} apart",
                    ago((server - system_seconds).abs())
                ),
                "a clock is off, there or here",
                "set both clocks by NTP: which day it is depends on them",
            )
        }
        Ok(_) => HopFinding::ok("it answers"),
    }
}

/// The account's document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountFacts {
    /// Its type.
    pub kind: String,
    /// Its `deleted_at`; `None` when it is absent or no number.
    pub deleted_at: Option<i64>,
}

/// Whether the account exists and is live.
#[must_use]
pub fn account(asked: &Result<Option<AccountFacts>, Failure>) -> HopFinding {
    let create = "see ids with: kubecost-worker accounts; create the cloud account in CloudTuner";
    match asked {
        Err(failure) => HopFinding::failed(failure, likely_cause(failure)),
        Ok(None) => HopFinding::broken(
            "cloud_account has no document with this id",
            "the account was never made, or the id is another",
            create,
        ),
        Ok(Some(facts)) if facts.kind != ACCOUNT_TYPE => HopFinding::broken(
            format!("its type is '{}', not {ACCOUNT_TYPE}", facts.kind),
            "the account is of another cloud",
            create,
        ),
        Ok(Some(AccountFacts { deleted_at: Some(0), .. })) => {
            HopFinding::ok("it is there and live")
        }
        Ok(Some(AccountFacts { deleted_at: None, .. })) => HopFinding::broken(
            "its document has no deleted_at: 0, so that nobody finds it",
            "it was not written by CloudTuner",
            "set deleted_at: 0 on it",
        ),
        Ok(Some(AccountFacts { deleted_at: Some(time), .. })) => HopFinding::broken(
            format!("it is deleted (deleted_at: {time})"),
            "somebody deleted the account; a new one has a new id",
            "set the new id at the exporter and in Cloud-Account-Id, or restore the account",
        ),
    }
}

/// A call that either works or does not.
#[must_use]
pub fn works(asked: &Result<(), Failure>, what: &str) -> HopFinding {
    match asked {
        Ok(()) => HopFinding::ok(what),
        Err(failure) => HopFinding::failed(failure, likely_cause(failure)),
    }
}

/// What the ledger and the status have of an account's yesterday and today.
#[derive(Clone, Debug, Default)]
pub struct RowFacts {
    /// For each day its rows and their sum in USD.
    pub days: Vec<(Day, u64, f64)>,
    /// Keys whose signs do not sum to 0 or 1.
    pub contradictory: u64,
    /// Rows whose resource is no document of the account.
    pub orphans: u64,
    /// The status of these days.
    pub statuses: Vec<DayStatus>,
}

impl RowFacts {
    /// What the rows of these days come to, USD.
    #[must_use]
    pub fn total_usd(&self) -> f64 {
        self.days.iter().map(|(_, _, usd)| usd).sum()
    }
}

/// Whether rows are there, fresh, and as their status has them.
#[must_use]
pub fn rows(asked: &Result<RowFacts, Failure>, now_seconds: i64) -> HopFinding {
    let facts = match asked {
        Ok(facts) => facts,
        Err(failure) => return HopFinding::failed(failure, likely_cause(failure)),
    };
    let again = "kubecost-worker run; it writes what differs";
    let count: u64 = facts.days.iter().map(|(_, rows, _)| rows).sum();
    if facts.contradictory > 0 {
        let what = format!("{} keys have more rows than one live", facts.contradictory);
        return HopFinding::broken(what, "two writers wrote at once", format!("{again} and heals"));
    }
    let recorded = facts.statuses.iter().filter(|status| status.stored.rows > 0);
    for status in recorded.clone() {
        let found = facts.days.iter().find(|(day, ..)| *day == status.day);
        let (rows, usd) = found.map_or((0, 0.0), |(_, rows, usd)| (*rows, *usd));
        if rows == 0 {
            let what = format!("{}: no rows, but {} were written", status.day, status.stored.rows);
            let cause = "rows were dropped, or CLICKHOUSE_DATABASE is another one now";
            return HopFinding::broken(what, cause, again);
        }
        let recorded_usd = status.stored.total_usd + status.other_rows.total_usd;
        if (usd - recorded_usd).abs() > 1e-6 {
            let what =
                format!("{}: rows add up to ${usd}, recorded are ${recorded_usd}", status.day);
            if status.attempt.is_pending {
                let cause = "a run is writing this day now, or ended in the middle of it";
                let fix = format!("{again}, once the lease of that run has ended (LEASE_SECONDS)");
                return HopFinding::broken(what, cause, fix);
            }
            return HopFinding::broken(what, "another program writes or removes rows", again);
        }
    }
    if let Some(finding) = facts.statuses.iter().find_map(refused) {
        return finding;
    }
    if count == 0 {
        let fix = "kubecost-worker run; see its summary";
        return HopFinding::broken("no rows of today or yesterday", "no run has stored costs", fix);
    }
    if facts.orphans > 0 {
        return HopFinding::broken(
            format!("{} rows name a resource that is no document's _id", facts.orphans),
            "documents were deleted, or another importer writes rows: readers show no cost of them",
            again,
        );
    }
    let newest = facts.statuses.iter().map(|status| status.attempt.at_seconds).max();
    match newest.map(|time| now_seconds - time) {
        None => HopFinding::broken(
            format!("{count} rows, but no record of a run"),
            "another program wrote the rows",
            "kubecost-worker run",
        ),
        Some(age) if age > RECORD_AGE_MAX_SECONDS => HopFinding::broken(
            format!("the newest rows were written {} ago", ago(age)),
            "no run has stored anything since: the CronJob stands still, or runs fail",
            "kubectl get cronjob,jobs; see the last run's log",
        ),
        Some(age) => HopFinding::ok(format!("{count} rows as recorded, {} ago", ago(age.max(0)))),
    }
}

/// A day that the worker read and did not write.
fn refused(status: &DayStatus) -> Option<HopFinding> {
    let likely_cause = match status.attempt.state {
        DayState::Late => "the source shows less of the day than before",
        DayState::Failed if !status.attempt.is_pending => "the source contradicts itself",
        _ => return None,
    };
    let what = format!("{} is kept as it was: {}", status.day, status.attempt.cause);
    let fix = "correct the source; or run --from --to --force --reason to write what it shows now";
    Some(HopFinding::broken(what, likely_cause, fix))
}

#[cfg(test)]
mod tests;
