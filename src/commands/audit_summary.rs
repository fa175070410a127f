//! What an audit found and did.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::audit::{Finding, FindingKind, RepairReport};
use crate::cost::{AccountId, Day};

/// What an audit found and did: with `--output json`, its only line of output.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AuditSummary {
    /// 0: nothing is wrong, or all of it was repaired; 1: findings are left.
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
    /// Repaired days that no run computes again by itself, for they are older than `CATCH_UP_DAYS`.
    pub to_backfill: Vec<ToBackfill>,
    /// The commands that repair what is left, in the order to give them.
    pub next_steps: Vec<NextStep>,
    /// The kinds of what is left.
    #[serde(skip)]
    pub kinds_left: BTreeSet<FindingKind>,
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
        let left = || findings.iter().filter(|finding| !finding.kind.is_notice());
        self.findings_left += left().count();
        self.kinds_left.extend(left().map(|finding| finding.kind));
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
        if self.kinds_left.iter().any(|kind| !kind.is_earlier()) {
            step("to repair rows and documents", "--fix");
        }
        if self.kinds_left.iter().any(|kind| kind.is_earlier()) {
            step("to list what would be taken over from earlier software", "--adopt --dry-run");
            step("to take it over", "--adopt");
        }
    }
}

/// An account that was not repaired.
#[derive(Clone, Debug, Serialize)]
pub struct Skipped {
    /// The account.
    pub account: AccountId,
    /// Who is writing it.
    pub what: String,
    /// What to do.
    pub fix: String,
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
    /// Of days that were repaired those before `first`, the first day that runs look after.
    pub(super) fn of(account: &AccountId, repaired: &BTreeSet<Day>, first: Day) -> Option<Self> {
        let days: Vec<Day> = repaired.range(..first).copied().collect();
        let (from, to) = (days.first()?, days.last()?);
        let command =
            format!("kubecost-worker backfill --from {from} --to {to} --account {account}");
        Some(Self { account: account.clone(), days, command })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_that_repair_what_is_left_are_named() {
        let day = |text: &str| text.parse::<Day>().unwrap();
        let advised = |kinds: &[FindingKind]| -> Vec<String> {
            let kinds_left = kinds.iter().copied().collect();
            let mut summary = AuditSummary { kinds_left, ..AuditSummary::default() };
            let account = AccountId::new("a").unwrap();
            summary.advise((day("2026-08-01"), day("2026-08-31")), &[account]);
            summary.next_steps.into_iter().map(|step| step.command).collect()
        };
        let audit = "kubecost-worker audit --from 2026-08-01 --to 2026-08-31 --account a";
        assert_eq!(advised(&[]), [""; 0]);
        assert_eq!(advised(&[FindingKind::Sign]), [format!("{audit} --fix")]);
        let both = [FindingKind::DocumentCost, FindingKind::EarlierDocument];
        let switches = ["--fix", "--adopt --dry-run", "--adopt"];
        assert_eq!(advised(&both), switches.map(|switch| format!("{audit} {switch}")));
    }

    #[test]
    fn days_that_no_run_looks_after_are_named_with_what_to_run() {
        let day = |text: &str| text.parse::<Day>().unwrap();
        let account = AccountId::new("a").unwrap();
        let repaired = ["2026-08-02", "2026-08-05", "2026-11-01"].map(day).into();
        let old = ToBackfill::of(&account, &repaired, day("2026-10-16")).unwrap();
        assert_eq!(old.days, [day("2026-08-02"), day("2026-08-05")]);
        let command = "kubecost-worker backfill --from 2026-08-02 --to 2026-08-05 --account a";
        assert_eq!(old.command, command);
        assert_eq!(ToBackfill::of(&account, &repaired, day("2026-08-02")), None);
    }
}
