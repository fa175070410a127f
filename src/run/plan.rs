//! A plan: what a run would change, to be looked at and then carried out unchanged.
//!
//! A plan holds the source's costs and, by day, a digest of every row that would be written. To
//! carry it out is a run that takes the costs from the plan; where the stores moved on since, the
//! digest is another one and the day is refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cost::resource_id::hex;
use crate::cost::{AccountId, Day};
use crate::ledger::{Difference, KeyState, WantedRow};
use crate::service::failure::{Failure, Hop, Kind};
use crate::source::{Presence, SourceDay};

use super::day::{DayDecision, Verdict};

/// What a run would change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// When it was made, Unix seconds; costs are as of then.
    pub made_at: i64,
    /// The run that made it.
    pub run_id: String,
    /// Whether its days are those that were due, not those that somebody asked for.
    #[serde(default)]
    pub is_of_due_days: bool,
    /// The accounts.
    pub accounts: Vec<AccountPlan>,
    /// Accounts that are not in it, because a stop was asked for or the time was up.
    #[serde(default)]
    pub accounts_left: usize,
}

impl Plan {
    /// How many due days of its accounts are not in it.
    #[must_use]
    pub fn days_left(&self) -> usize {
        // A plan is read from a file: its numbers may be any.
        self.accounts.iter().fold(0, |left, account| left.saturating_add(account.days_left))
    }

    /// Whether it lacks accounts or days.
    #[must_use]
    pub fn is_of_a_part(&self) -> bool {
        self.accounts_left > 0 || self.days_left() > 0
    }
}

/// What would change of an account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccountPlan {
    /// The account.
    pub account: AccountId,
    /// Its days, the newest first.
    pub days: Vec<DayPlan>,
    /// Documents that would be marked as inactive.
    #[serde(default)]
    pub documents_retired: u64,
    /// Due days that are not in it, because a stop was asked for or the account's time was up.
    #[serde(default)]
    pub days_left: usize,
}

/// What would change of a day.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DayPlan {
    /// The day.
    pub day: Day,
    /// Whether it would be written; else why not.
    pub verdict: String,
    /// Rows that would be added with sign +1.
    pub rows_added: u64,
    /// Rows that would be added with sign -1.
    pub rows_taken_back: u64,
    /// Documents that would be inserted or changed.
    pub documents: u64,
    /// What is stored, USD.
    pub usd_before: f64,
    /// What would be, USD.
    pub usd_after: f64,
    /// Namespaces that would change, and the cluster's own part.
    pub namespaces: Vec<NamespaceChange>,
    /// The same for two plans that are the same to the last bit.
    pub fingerprint: String,
    /// Minutes that the source had.
    pub presence: Presence,
    /// The source's costs.
    pub source: SourceDay,
}

/// What would change of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NamespaceChange {
    /// The namespace; `None`: what is of no namespace, the cluster's own part.
    pub namespace: Option<String>,
    /// Rows that would be added, of either sign.
    pub rows: u64,
    /// What is stored, USD.
    pub usd_before: f64,
    /// What would be, USD.
    pub usd_after: f64,
}

impl Plan {
    /// The days planned for an account.
    #[must_use]
    pub fn days(&self, account: &AccountId) -> &[DayPlan] {
        let of_account = self.accounts.iter().find(|plan| plan.account == *account);
        of_account.map_or(&[], |plan| plan.days.as_slice())
    }

    fn day(&self, account: &AccountId, day: Day) -> Option<&DayPlan> {
        self.days(account).iter().find(|plan| plan.day == day)
    }

    /// The minutes with samples that the source had, by day.
    pub(super) fn presence(&self, account: &AccountId) -> BTreeMap<Day, Presence> {
        self.days(account).iter().map(|plan| (plan.day, plan.presence)).collect()
    }

    /// The costs that the source had.
    ///
    /// # Errors
    /// When the day is not in the plan.
    pub(super) fn source_day(&self, account: &AccountId, day: Day) -> Result<SourceDay, Failure> {
        self.day(account, day).map(|plan| plan.source.clone()).ok_or_else(|| {
            let what = format!("{day} of account {account} is not in the plan");
            Failure::query(Kind::Refused, what, "make a new plan")
        })
    }
}

/// Checks that a day's decision is still the planned one.
///
/// # Errors
/// [`Kind::Refused`] where it is not.
pub(super) fn check_plan(
    plan: &Plan,
    account: &AccountId,
    day: Day,
    decision: &DayDecision,
) -> Result<(), Failure> {
    let made = digest(&verdict_text(&decision.verdict), &decision.rows);
    if plan.day(account, day).is_some_and(|planned| planned.fingerprint == made) {
        return Ok(());
    }
    Err(Failure::new(
        Hop::Worker,
        Kind::Refused,
        format!(
            "{day}: the stores or the settings are not as they were when the plan was made (run {})",
            plan.run_id
        ),
        "make a new plan, look at it, and carry that out",
    ))
}

/// A day's decision as a plan shows it, with how many documents it would insert or change.
pub(super) fn day_plan(day: Day, decision: &DayDecision, documents: u64) -> DayPlan {
    let (rows, stored) = (&decision.rows, decision.stored.as_slice());
    let is_stored = matches!(decision.verdict, Verdict::Store { .. });
    let wanted = is_stored.then_some(decision.wanted.as_slice());
    let signs = |sign| rows.entries.iter().filter(|entry| entry.sign == sign).count() as u64;
    let usd_before = stored.iter().map(|state| state.cost_usd).sum::<f64>() + 0.0;
    let verdict = verdict_text(&decision.verdict);
    DayPlan {
        day,
        rows_added: signs(1),
        rows_taken_back: signs(-1),
        documents,
        usd_before,
        usd_after: wanted
            .map_or(usd_before, |rows| rows.iter().map(|row| row.cost.usd()).sum::<f64>() + 0.0),
        namespaces: namespaces(rows, stored, wanted),
        fingerprint: digest(&verdict, rows),
        verdict,
        presence: decision.presence,
        source: decision.source.clone(),
    }
}

fn verdict_text(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Store { .. } => "store".to_owned(),
        Verdict::KeepStored { state, cause } => format!("{}: {cause}", state.as_str()),
    }
}

/// The namespaces of a difference, with what they have and would have.
fn namespaces(
    diff: &Difference,
    states: &[KeyState],
    rows: Option<&[WantedRow]>,
) -> Vec<NamespaceChange> {
    let mut changes: BTreeMap<Option<String>, NamespaceChange> = BTreeMap::new();
    for entry in &diff.entries {
        let namespace = entry.dimensions.namespace.clone();
        let none = NamespaceChange { namespace: namespace.clone(), ..NamespaceChange::default() };
        changes.entry(namespace).or_insert(none).rows += 1;
    }
    for state in states {
        if let Some(change) = changes.get_mut(&state.dimensions.namespace) {
            change.usd_before += state.cost_usd;
        }
    }
    for row in rows.unwrap_or_default() {
        if let Some(change) = changes.get_mut(&row.dimensions.namespace) {
            change.usd_after += row.cost.usd();
        }
    }
    changes.into_values().collect()
}

/// A digest of the verdict and the rows. Documents are left out: their changes can be made twice
/// without harm, and carrying out one day of a plan changes documents that the next day names too.
fn digest(verdict: &str, rows: &Difference) -> String {
    let mut hash = Sha256::new();
    // The debug form shows every field, and floats to the last bit.
    hash.update(format!("{verdict}\n{rows:?}"));
    hex(&hash.finalize())
}
