//! A plan: what a run would change, to be looked at and then carried out unchanged.
//!
//! A plan holds what the source said and, by day, a fingerprint of every row that would be
//! written. Carrying it out is a run that is told by the plan what the source says; where
//! the stores moved on since, the fingerprint is another one and the day is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::accounts::Account;
use crate::cost::{AccountId, Day, RollUp};
use crate::documents::Change;
use crate::ledger::{Difference, KeyState, WantedRow, difference};
use crate::service::failure::{Failure, Hop, Kind};
use crate::source::{CostSource, Phase, Presence, SourceDay};

use super::day::{DayWork, DueDay};
use super::guard::Verdict;
use super::rows::wanted;
use super::summary::RunSummary;

/// What a run would change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// When it was made, Unix seconds; costs are as of then.
    pub made_at: i64,
    /// The run that made it.
    pub run_id: String,
    /// The accounts.
    pub accounts: Vec<AccountPlan>,
}

/// What would change of an account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccountPlan {
    /// The account.
    pub account: AccountId,
    /// Its days, the newest first.
    pub days: Vec<DayPlan>,
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
    /// Says whether two plans are the same to the last bit.
    pub fingerprint: String,
    /// Minutes that the source had.
    pub presence: Presence,
    /// What the source said.
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
    /// The plan in a run's summary, which must have been a dry run that wanted one.
    #[must_use]
    pub fn of(summary: &RunSummary) -> Self {
        let accounts = summary.accounts.iter().map(|account| AccountPlan {
            account: account.account.id.clone(),
            days: account.days.iter().filter_map(|day| day.planned.clone()).collect(),
        });
        Self {
            made_at: summary.started_at,
            run_id: summary.run_id.clone(),
            accounts: accounts.collect(),
        }
    }

    /// The days planned for an account.
    #[must_use]
    pub fn days(&self, account: &AccountId) -> &[DayPlan] {
        let of_account = self.accounts.iter().find(|plan| plan.account == *account);
        of_account.map_or(&[], |plan| plan.days.as_slice())
    }

    fn day(&self, account: &AccountId, day: Day) -> Option<&DayPlan> {
        self.days(account).iter().find(|plan| plan.day == day)
    }
}

/// What a day's plan is made of.
pub(super) struct Found<'a> {
    pub(super) verdict: &'a Verdict,
    pub(super) source: &'a SourceDay,
    pub(super) roll: &'a RollUp,
    pub(super) ids: &'a BTreeMap<String, String>,
    pub(super) states: &'a [KeyState],
    pub(super) documents: &'a [Change],
}

impl DayWork<'_> {
    /// The day's plan where one is wanted. Where one is carried out, sees that it is still true.
    pub(super) fn see_plan(
        &self,
        due: DueDay<'_>,
        found: &Found<'_>,
    ) -> Result<Option<DayPlan>, Failure> {
        if !self.request.wants_plan && self.request.plan.is_none() {
            return Ok(None);
        }
        let rows = wanted(found.roll, found.ids, &self.account.id);
        let made = day_plan(due, found, &rows);
        if let Some(plan) = &self.request.plan {
            let is_same = plan
                .day(&self.account.id, due.day)
                .is_some_and(|planned| planned.fingerprint == made.fingerprint);
            if !is_same {
                return Err(Failure::new(
                    Hop::Worker,
                    Kind::Refused,
                    format!(
                        "{}: the stores or the settings are not as they were when the plan was \
                         made (run {})",
                        due.day, plan.run_id
                    ),
                    "make a new plan, look at it, and carry that out",
                ));
            }
        }
        Ok(self.request.wants_plan.then_some(made))
    }
}

fn day_plan(due: DueDay<'_>, found: &Found<'_>, rows: &[WantedRow]) -> DayPlan {
    let (diff, rows, documents, verdict) = match found.verdict {
        Verdict::Store(..) => {
            let diff = difference(due.day, found.states, rows, false);
            (diff, Some(rows), found.documents, "store".to_owned())
        }
        Verdict::Keep(state, cause) => {
            (Difference::default(), None, &[][..], format!("{}: {cause}", state.as_str()))
        }
    };
    let namespaces = namespaces(&diff, found.states, rows);
    let signs = |sign| diff.entries.iter().filter(|entry| entry.sign == sign).count() as u64;
    let usd_before = found.states.iter().map(|state| state.cost_usd).sum::<f64>() + 0.0;
    DayPlan {
        day: due.day,
        rows_added: signs(1),
        rows_taken_back: signs(-1),
        documents: documents.len() as u64,
        usd_before,
        usd_after: rows
            .map_or(usd_before, |rows| rows.iter().map(|row| row.cost.usd()).sum::<f64>() + 0.0),
        namespaces,
        fingerprint: fingerprint(&verdict, &diff),
        verdict,
        presence: due.presence,
        source: found.source.clone(),
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

/// Of the rows alone: documents are never changed but in ways that bear repeating, and one day's
/// documents are the next one's too.
fn fingerprint(verdict: &str, diff: &Difference) -> String {
    let mut hash = Sha256::new();
    // The debug form shows every field, and floats to the last bit.
    hash.update(format!("{verdict}\n{diff:?}"));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The query layer of a plan: it says what the source said then.
#[derive(Clone, Debug)]
pub struct PlannedQuery(pub Arc<Plan>);

#[async_trait]
impl CostSource for PlannedQuery {
    fn describe(&self) -> String {
        format!("the plan of run {}", self.0.run_id)
    }

    fn has_history(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn observe(&self, _account: &Account, _now_seconds: i64) -> Result<(), Failure> {
        Ok(())
    }

    async fn presence(
        &self,
        account: &Account,
        _first: Day,
        _last: Day,
        _now_seconds: i64,
    ) -> Result<BTreeMap<Day, Presence>, Failure> {
        Ok(self.0.days(&account.id).iter().map(|plan| (plan.day, plan.presence)).collect())
    }

    async fn day_costs(
        &self,
        account: &Account,
        day: Day,
        _phase: Phase,
        _now_seconds: i64,
    ) -> Result<SourceDay, Failure> {
        self.0.day(&account.id, day).map(|plan| plan.source.clone()).ok_or_else(|| {
            let what = format!("{day} of account {} is not in the plan", account.id);
            Failure::query(Kind::Refused, what, "make a new plan")
        })
    }
}
