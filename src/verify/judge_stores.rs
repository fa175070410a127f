//! What is found in MongoDB and ClickHouse.

use crate::accounts::ACCOUNT_TYPE;
use crate::cost::Day;
use crate::day_status::{AccountDay, DayState};
use crate::service::failure::Failure;

use super::finding::{Finding, ago};
use super::judge_source::{CLOCK_SECONDS_MAX, likely_cause};

/// How old the newest record may be: runs are minutes apart, and a record is of today's costs.
const RECORD_AGE_MAX_SECONDS: i64 = 7_200;

/// Whether MongoDB answers, and agrees on the time.
#[must_use]
pub fn mongodb(asked: &Result<Option<i64>, Failure>, system_seconds: i64) -> Finding {
    match asked {
        Err(failure) => Finding::failed(failure, likely_cause(failure)),
        Ok(Some(server)) if (server - system_seconds).abs() > CLOCK_SECONDS_MAX => Finding::broken(
            format!(
                "its clock and this machine's are {} apart",
                ago((server - system_seconds).abs())
            ),
            "a clock is off, there or here",
            "set both clocks by NTP: leases and days depend on them",
        ),
        Ok(_) => Finding::ok("it answers"),
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
pub fn account(asked: &Result<Option<AccountFacts>, Failure>) -> Finding {
    let create = "see ids with: kubecost-worker accounts; create the cloud account in CloudTuner";
    match asked {
        Err(failure) => Finding::failed(failure, likely_cause(failure)),
        Ok(None) => Finding::broken(
            "cloud_account has no document with this id",
            "the account was never made, or the id is another",
            create,
        ),
        Ok(Some(facts)) if facts.kind != ACCOUNT_TYPE => Finding::broken(
            format!("its type is '{}', not {ACCOUNT_TYPE}", facts.kind),
            "the account is of another cloud",
            create,
        ),
        Ok(Some(AccountFacts { deleted_at: Some(0), .. })) => Finding::ok("it is there and live"),
        Ok(Some(AccountFacts { deleted_at: None, .. })) => Finding::broken(
            "its document has no deleted_at: 0, so that nobody finds it",
            "it was not written by CloudTuner",
            "set deleted_at: 0 on it",
        ),
        Ok(Some(AccountFacts { deleted_at: Some(time), .. })) => Finding::broken(
            format!("it is deleted (deleted_at: {time})"),
            "somebody deleted the account; a new one has a new id",
            "set the new id at the exporter and in Cloud-Account-Id, or restore the account",
        ),
    }
}

/// A call that either works or does not.
#[must_use]
pub fn works(asked: &Result<(), Failure>, what: &str) -> Finding {
    match asked {
        Ok(()) => Finding::ok(what),
        Err(failure) => Finding::failed(failure, likely_cause(failure)),
    }
}

/// What the ledger and the records have of an account's yesterday and today.
#[derive(Clone, Debug, Default)]
pub struct RowFacts {
    /// For each day its rows and their sum in USD.
    pub days: Vec<(Day, u64, f64)>,
    /// Keys whose signs do not sum to 0 or 1.
    pub contradictory: u64,
    /// Rows whose resource is no document of the account.
    pub orphans: u64,
    /// The records of these days.
    pub records: Vec<AccountDay>,
}

/// Whether rows are there, fresh, and what the records say they are.
#[must_use]
pub fn rows(asked: &Result<RowFacts, Failure>, now_seconds: i64) -> Finding {
    let facts = match asked {
        Ok(facts) => facts,
        Err(failure) => return Finding::failed(failure, likely_cause(failure)),
    };
    let again = "kubecost-worker run; it writes what differs";
    let count: u64 = facts.days.iter().map(|(_, rows, _)| rows).sum();
    if facts.contradictory > 0 {
        let what = format!("{} keys have more rows than one live", facts.contradictory);
        return Finding::broken(what, "two writers wrote at once", format!("{again} and heals"));
    }
    let recorded = facts.records.iter().filter(|record| record.rows > 0);
    for record in recorded.clone() {
        let found = facts.days.iter().find(|(day, ..)| *day == record.day);
        let (rows, usd) = found.map_or((0, 0.0), |(_, rows, usd)| (*rows, *usd));
        if rows == 0 {
            let what = format!("{}: no rows, but {} were written", record.day, record.rows);
            let cause = "rows were dropped, or CLICKHOUSE_DATABASE is another one now";
            return Finding::broken(what, cause, again);
        }
        if (usd - record.stored_total_usd).abs() > 1e-6 {
            let what = format!(
                "{}: rows add up to ${usd}, recorded are ${}",
                record.day, record.stored_total_usd
            );
            return Finding::broken(what, "another program writes or removes rows", again);
        }
    }
    if let Some(finding) = facts.records.iter().find_map(refused) {
        return finding;
    }
    if count == 0 {
        let fix = "kubecost-worker run; see its summary";
        return Finding::broken("no rows of today or yesterday", "no run has stored costs", fix);
    }
    if facts.orphans > 0 {
        return Finding::broken(
            format!("{} rows name a resource that is no document's _id", facts.orphans),
            "documents were deleted, or another importer writes rows: readers show no cost of them",
            again,
        );
    }
    let newest = facts.records.iter().map(|record| record.updated_at).max();
    match newest.map(|time| now_seconds - time) {
        None => Finding::broken(
            format!("{count} rows, but no record of a run"),
            "another program wrote the rows",
            "kubecost-worker run",
        ),
        Some(age) if age > RECORD_AGE_MAX_SECONDS => Finding::broken(
            format!("the newest rows were written {} ago", ago(age)),
            "no run has stored anything since: the CronJob stands still, or runs fail",
            "kubectl get cronjob,jobs; see the last run's log",
        ),
        Some(age) => Finding::ok(format!("{count} rows as recorded, {} ago", ago(age.max(0)))),
    }
}

/// A day that the worker looked at and would not write.
fn refused(record: &AccountDay) -> Option<Finding> {
    let likely = match record.state {
        DayState::Late => "the source says less of the day than it did before",
        DayState::Failed if !record.pending => "the source contradicts itself",
        _ => return None,
    };
    let what = format!("{} is kept as it was: {}", record.day, record.cause);
    let fix = "mend the source; or run --from --to --force --reason to take what it says now";
    Some(Finding::broken(what, likely, fix))
}

#[cfg(test)]
#[path = "judge_stores_tests.rs"]
mod tests;
