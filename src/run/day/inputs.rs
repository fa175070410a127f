//! All that a decision about a day rests on.

use std::collections::BTreeSet;

use crate::cost::{AccountId, CostLine, Day, Levels, RollUp, roll_up};
use crate::day_status::DayStatus;
use crate::documents::{ObservedResource, PoolOwner, SeenNow, StoredResource};
use crate::ledger::KeyState;
use crate::settings::worker::GapPolicy;
use crate::source::{Phase, Presence, SourceDay};

use super::gap_scaling::scale_over_gaps;

/// A day to work on, and what was known of it before it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct DueDay {
    /// The day.
    pub day: Day,
    /// The metrics to use; `None` when there are none.
    pub phase: Option<Phase>,
    /// Minutes with samples.
    pub presence: Presence,
    /// Its status, if there is one.
    pub status: Option<DayStatus>,
}

/// A day's costs as they would be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct CostedDay {
    /// What the source has, scaled over gaps where the operator wants that.
    pub source: SourceDay,
    /// Its costs, rounded, each dollar in one line.
    pub roll: RollUp,
}

impl CostedDay {
    /// The costs of what the source has.
    #[must_use]
    pub fn of(mut source: SourceDay, levels: Levels, gap_policy: GapPolicy) -> Self {
        if gap_policy == GapPolicy::Scale {
            scale_over_gaps(&mut source);
        }
        let roll = roll_up(&source.costs, levels);
        Self { source, roll }
    }

    /// The resources that the costs name.
    #[must_use]
    pub fn observed(&self, account: &AccountId) -> Vec<ObservedResource> {
        let one = |line: &CostLine| ObservedResource {
            cloud_resource_id: line.key.id(account),
            key: line.key.clone(),
            node: line.node.clone(),
            service: line.service.clone(),
        };
        self.roll.lines.iter().map(one).collect()
    }
}

/// The documents that a day's decision rests on.
#[derive(Clone, Debug, Default)]
pub struct DocumentsRead {
    /// The resources that the day's costs name.
    pub observed: Vec<ObservedResource>,
    /// Those of their documents that are stored.
    pub stored: Vec<StoredResource>,
    /// The account's other documents, where those of version 0.1.0 are to be repaired.
    pub others: Vec<StoredResource>,
    /// `_id`s of new documents that other documents already have.
    pub taken: BTreeSet<String>,
    /// What has a sample right now, where that was asked for.
    pub seen_now: Option<SeenNow>,
    /// Pool and owner of documents that have neither.
    pub owner: Option<PoolOwner>,
}

/// The ledger's states of a day.
#[derive(Clone, Debug, Default)]
pub struct RowsRead {
    /// All of them, whoever wrote them.
    pub states: Vec<KeyState>,
    /// Resources that this program has made documents of, beside those that the costs name.
    pub own_ids: BTreeSet<String>,
}

/// All that a decision about a day rests on.
#[derive(Clone, Debug)]
pub struct DayInputs {
    /// The account.
    pub account: AccountId,
    /// The run.
    pub run_id: String,
    /// The time that the costs are of, Unix seconds.
    pub now_seconds: i64,
    /// The day.
    pub due: DueDay,
    /// Its costs.
    pub costs: CostedDay,
    /// Its documents.
    pub documents: DocumentsRead,
    /// Its rows.
    pub rows: RowsRead,
}
