//! The kinds of faults that an audit finds, and what it finds them in.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::cost::{AccountId, Day};
use crate::day_status::DayStatus;
use crate::documents::{PoolOwner, StoredResource};
use crate::ledger::{KeyState, ResourceTotal};
use crate::run::reconcile::DayDifference;

/// What an account's stores hold over a range of days.
#[derive(Clone, Debug, Default)]
pub struct StoredState {
    /// The rows as plain sums, by resource, exact date and dimensions.
    pub states: Vec<KeyState>,
    /// The rows as they will be once merged, by resource and exact date.
    pub collapsed: Vec<KeyState>,
    /// The documents that this program made.
    pub documents: Vec<StoredResource>,
    /// What the ledger has of those documents over all days.
    pub totals: Vec<ResourceTotal>,
    /// The live documents of earlier software.
    pub earlier: Vec<StoredResource>,
    /// Pool and owner that the account's documents get by default, where known.
    pub default_owner: Option<PoolOwner>,
    /// Those resource ids of rows that some document has as its `_id`.
    pub known_ids: BTreeSet<String>,
    /// The status of days, those before the range too: documents hold the costs of all days.
    pub statuses: BTreeMap<Day, DayStatus>,
    /// Those of these days whose status and ledger disagree.
    pub differences: Vec<DayDifference>,
    /// The first day that runs compute again by themselves.
    pub caught_up_from: Option<Day>,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// `sum(sign)` of a key is neither 0 nor 1.
    Sign,
    /// A row takes back another cost than was stored: sums change when parts merge.
    CancelDiffers,
    /// A row of this program's resource whose date is not a midnight: no later row of the day
    /// collapses with it.
    OffMidnight,
    /// A row of the worker or importer that this one replaces: under its document, or dated by the
    /// time of a run and under an id that no document has.
    EarlierWorker,
    /// A document of the worker or importer that this one replaces.
    EarlierDocument,
    /// A row that no document has the `_id` of: readers do not show it.
    RowWithoutDocument,
    /// A document that says it cost something, without any row.
    DocumentWithoutRows,
    /// A document that says another `total_cost` or `last_expense` than its rows.
    DocumentCost,
    /// A document that readers cannot use: dates that are numbers, nulls where keys must be absent.
    DocumentUnreadable,
    /// A document whose `_id` is its stable id, as version 0.1.0 made it: it works, but what of the
    /// UI validates ids refuses it. Nothing can change an `_id` that rows are stored under.
    FirstFormId,
    /// A day older than `CATCH_UP_DAYS` whose status says that its costs are still to be computed: a
    /// repair, a backfill or a run of it broke off. No run does so by itself.
    DayUnfinished,
    /// A day whose rows in the ledger are not what its status says was stored: rows were lost, or
    /// came from elsewhere.
    LedgerDiffers,
}

/// What repairs a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RepairedBy {
    /// `audit --fix`.
    Fix,
    /// `audit --adopt`.
    Adopt,
    /// A backfill of the day, for the stores alone do not say what it cost.
    Backfill,
    /// Nothing: it is for information only.
    Nothing,
}

impl FindingKind {
    /// The kind's name in tables and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::CancelDiffers => "cancel-differs",
            Self::OffMidnight => "off-midnight",
            Self::EarlierWorker => "earlier-worker",
            Self::EarlierDocument => "earlier-document",
            Self::RowWithoutDocument => "row-without-document",
            Self::DocumentWithoutRows => "document-without-rows",
            Self::DocumentCost => "document-cost",
            Self::DocumentUnreadable => "document-unreadable",
            Self::FirstFormId => "first-form-id",
            Self::DayUnfinished => "day-unfinished",
            Self::LedgerDiffers => "ledger-differs",
        }
    }

    /// What repairs a finding of this kind.
    #[must_use]
    pub fn repaired_by(self) -> RepairedBy {
        match self {
            Self::Sign
            | Self::CancelDiffers
            | Self::OffMidnight
            | Self::RowWithoutDocument
            | Self::DocumentWithoutRows
            | Self::DocumentCost
            | Self::DocumentUnreadable => RepairedBy::Fix,
            Self::EarlierWorker | Self::EarlierDocument => RepairedBy::Adopt,
            Self::DayUnfinished | Self::LedgerDiffers => RepairedBy::Backfill,
            Self::FirstFormId => RepairedBy::Nothing,
        }
    }

    /// Whether it is about a day as a whole.
    #[must_use]
    pub fn is_of_day(self) -> bool {
        matches!(self, Self::DayUnfinished | Self::LedgerDiffers)
    }

    /// Whether it is about the costs that a document shows.
    #[must_use]
    pub fn is_of_document_cost(self) -> bool {
        matches!(self, Self::DocumentCost | Self::DocumentWithoutRows)
    }
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The account.
    pub account: AccountId,
    /// Its kind.
    pub kind: FindingKind,
    /// What repairs it.
    pub repaired_by: RepairedBy,
    /// The `_id` and `resource_id`; empty for days.
    pub resource_id: String,
    /// The row's date, Unix seconds; `None` for documents and days.
    pub date_seconds: Option<i64>,
    /// The row's day, or the day that is wrong.
    pub day: Option<Day>,
    /// How much money it is about, USD.
    pub usd: f64,
    /// What is wrong, for people.
    pub what: String,
}

impl Finding {
    /// A fault of a document, or of a day as a whole: no row's.
    pub(super) fn of_no_row(
        account: &AccountId,
        kind: FindingKind,
        (resource_id, day): (&str, Option<Day>),
        usd: f64,
        what: String,
    ) -> Self {
        Self {
            account: account.clone(),
            kind,
            repaired_by: kind.repaired_by(),
            resource_id: resource_id.to_owned(),
            date_seconds: None,
            day,
            usd,
            what,
        }
    }
}
