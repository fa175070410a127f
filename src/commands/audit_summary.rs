//! What an audit found and did.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::audit::day_record::backfill_command;
use crate::audit::{Finding, RepairReport, RepairedBy};
use crate::cost::{AccountId, Day};
use crate::service::failure::Failure;

/// What an audit found and did: with `--output json`, its only line of output.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AuditSummary {
    /// 0: nothing is wrong, or all of it was repaired; 1: findings are left; 3: a store failed.
    pub exit_code: u8,
    /// What was found.
    pub findings: Vec<Finding>,
    /// What was done about it, if that was asked for.
    #[serde(rename = "mended")]
    pub repaired: RepairReport,
    /// What is left.
    pub findings_left: usize,
    /// Accounts that were not repaired, because somebody else is writing them.
    pub skipped: Vec<Skipped>,
    /// Accounts whose audit or repair broke off.
    pub failed: Vec<Skipped>,
    /// Days that a backfill must compute. It comes before the next steps.
    pub to_backfill: Vec<ToBackfill>,
    /// The commands that repair what is left, in the order to give them.
    pub next_steps: Vec<NextStep>,
    /// What repairs what is left.
    #[serde(skip)]
    pub left_to: BTreeSet<RepairedBy>,
}

/// A command that repairs what is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NextStep {
    /// What it does.
    pub what: String,
    /// What to run.
    pub command: String,
}

impl AuditSummary {
    /// Counts findings that are left; those that no command changes do not count.
    pub(super) fn leave(&mut self, findings: &[Finding]) {
        let left = || findings.iter().filter(|finding| finding.repaired_by != RepairedBy::Nothing);
        self.findings_left += left().count();
        self.left_to.extend(left().map(|finding| finding.repaired_by));
    }

    /// Names the days of an account that a backfill must compute, in the place of those named before.
    pub(super) fn name_days(&mut self, account: &AccountId, days: &BTreeSet<Day>) {
        self.to_backfill.retain(|named| named.account != *account);
        self.to_backfill.extend(ToBackfill::of(account, days));
    }

    /// Notes that somebody else writes an account.
    pub(super) fn skip(&mut self, account: &AccountId, failure: Failure) {
        tracing::warn!(account.id = %account, %failure, "the account is not repaired");
        self.skipped.push(Skipped::by(account, failure));
    }

    /// Notes that the audit of an account broke off.
    pub(super) fn fail(&mut self, account: &AccountId, failure: Failure) {
        tracing::error!(account.id = %account, %failure, "the audit of the account broke off");
        self.failed.push(Skipped::by(account, failure));
    }

    /// Names the commands for what is left of these days and accounts; no account: all of them.
    pub(super) fn advise(&mut self, (from, to): (Day, Day), accounts: &[AccountId]) {
        let mut audit = format!("kubecost-worker audit --from {from} --to {to}");
        for account in accounts {
            audit.push_str(&format!(" --account {account}"));
        }
        let mut step = |what: &str, switches: &str| {
            let command = format!("{audit} {switches}");
            self.next_steps.push(NextStep { what: what.to_owned(), command });
        };
        if self.left_to.contains(&RepairedBy::Fix) {
            step("to repair rows and documents", "--fix");
        }
        if self.left_to.contains(&RepairedBy::Adopt) {
            step("to list what would be taken over from earlier software", "--adopt --dry-run");
            step("to take it over", "--adopt");
        }
    }
}

/// An account that was not repaired, or not to its end.
#[derive(Clone, Debug, Serialize)]
pub struct Skipped {
    /// The account.
    pub account: AccountId,
    /// Who is writing it, or what failed.
    pub what: String,
    /// What to do.
    pub fix: String,
}

impl Skipped {
    fn by(account: &AccountId, failure: Failure) -> Self {
        Self { account: account.clone(), what: failure.what, fix: failure.fix }
    }
}

/// Days of an account that have to be computed again by a backfill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToBackfill {
    /// The account.
    pub account: AccountId,
    /// The days.
    pub days: Vec<Day>,
    /// What to run.
    pub command: String,
}

impl ToBackfill {
    fn of(account: &AccountId, days: &BTreeSet<Day>) -> Option<Self> {
        let (from, to) = (days.first()?, days.last()?);
        let command = backfill_command(account, *from, *to);
        Some(Self { account: account.clone(), days: days.iter().copied().collect(), command })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_that_repair_what_is_left_are_named() {
        let day = |text: &str| text.parse::<Day>().unwrap();
        let advised = |left: &[RepairedBy]| -> Vec<String> {
            let left_to = left.iter().copied().collect();
            let mut summary = AuditSummary { left_to, ..AuditSummary::default() };
            let account = AccountId::new("a").unwrap();
            summary.advise((day("2026-08-01"), day("2026-08-31")), &[account]);
            summary.next_steps.into_iter().map(|step| step.command).collect()
        };
        let audit = "kubecost-worker audit --from 2026-08-01 --to 2026-08-31 --account a";
        assert_eq!(advised(&[]), [""; 0]);
        assert_eq!(advised(&[RepairedBy::Backfill]), [""; 0]);
        assert_eq!(advised(&[RepairedBy::Fix]), [format!("{audit} --fix")]);
        let both = [RepairedBy::Fix, RepairedBy::Adopt];
        let switches = ["--fix", "--adopt --dry-run", "--adopt"];
        assert_eq!(advised(&both), switches.map(|switch| format!("{audit} {switch}")));
    }

    #[test]
    fn the_days_of_an_account_that_are_named_last_stand() {
        let days = |names: &[&str]| names.iter().map(|text| text.parse::<Day>().unwrap()).collect();
        let [a, b] = ["a", "b"].map(|id| AccountId::new(id).unwrap());
        let mut summary = AuditSummary::default();
        summary.name_days(&a, &days(&["2026-08-02", "2026-08-05"]));
        summary.name_days(&b, &days(&["2026-08-03"]));
        let command = "kubecost-worker backfill --from 2026-08-02 --to 2026-08-05 --account a";
        assert_eq!(summary.to_backfill[0].command, command);
        assert_eq!(summary.to_backfill[0].days.len(), 2);
        summary.name_days(&a, &days(&[]));
        let left: Vec<&AccountId> = summary.to_backfill.iter().map(|one| &one.account).collect();
        assert_eq!(left, [&b]);
    }
}
