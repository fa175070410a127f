//! A day's costs, from what is stored of it and what the query layer has.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cost::money::is_same_usd;
use crate::cost::{Composition, Day, Part};
use crate::day_status::{DayState, DayStatus, StoredCosts};
use crate::ledger::DayTotal;
use crate::run::reconcile::DayDifference;

use super::costs::{AccountCosts, DayCost, Origin};
use super::look::{Looked, OpenDay};

/// The rows of a day, by whether this program made the resource's document.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenRows {
    /// USD.
    pub(super) own_usd: f64,
    /// USD; at any time of the day.
    pub(super) others_usd: f64,
    /// USD of the others' rows.
    pub(super) others_by_namespace: BTreeMap<String, f64>,
}

/// A day that is not settled: its rows, and what the query layer has of it.
pub(super) struct Open {
    pub(super) rows: OpenRows,
    pub(super) looked: Arc<Looked>,
}

impl Open {
    pub(super) fn now(&self) -> Option<&OpenDay> {
        match self.looked.as_ref() {
            Looked::Costs(now) => Some(now),
            Looked::Stays { .. } => None,
        }
    }
}

/// What was read of a day.
#[derive(Clone, Copy)]
pub(super) struct DayRead<'a> {
    pub(super) day: Day,
    pub(super) status: Option<&'a DayStatus>,
    pub(super) total: Option<&'a DayTotal>,
    /// Rows of other programs between midnights, USD.
    pub(super) off_midnight_usd: f64,
    /// How the rows of a settled day differ from its status, if they do.
    pub(super) difference: Option<&'a DayDifference>,
    pub(super) open: Option<&'a Open>,
    pub(super) now_seconds: i64,
}

/// Adds a day, if its costs are known.
pub(super) fn add_day(costs: &mut AccountCosts, read: DayRead<'_>) {
    if let Some(status) = read.status {
        let clusters = &status.stored.coverage.clusters;
        costs.clusters.extend(clusters.iter().map(|cluster| cluster.cluster.clone()));
        costs.phase = status.stored.phase.or(costs.phase);
    }
    let day = match read.open.and_then(|open| Some((open.now()?, &open.rows))) {
        Some((now, rows)) => {
            costs.clusters.extend(now.clusters.iter().cloned());
            costs.phase = Some(now.phase);
            day_of_now(read.day, now, rows)
        }
        None => match stored_day(read) {
            Ok(day) => day,
            Err((Some(DayState::Waiting), cause)) if read.open.is_some() => {
                costs.waiting.push((read.day, cause));
                return;
            }
            Err((state, cause)) => {
                costs.not_stored.extend(state.filter(|state| state.had_costs()).map(|_| read.day));
                let cause = (!cause.is_empty()).then(|| format!("{}: {cause}", read.day));
                costs.causes.extend(cause);
                return;
            }
        },
    };
    // No sum of such rows is a cost, and JSON has no word for it.
    if day.usd.is_finite() && day.stored_usd.is_finite() {
        costs.days.push(day);
    } else {
        costs.causes.push(format!(
            "{}: the rows of the day do not add up to a number: see kubecost-worker audit",
            read.day
        ));
    }
}

/// A day as the next run stores it, with the rows of other programs, which a run leaves alone.
fn day_of_now(day: Day, now: &OpenDay, rows: &OpenRows) -> DayCost {
    DayCost {
        day,
        usd: now.usd + rows.others_usd,
        stored_usd: rows.own_usd + rows.others_usd,
        origin: Origin::QueryLayer,
        state: Some(now.state),
        cause: now.cause.clone(),
        known_minutes: now.known_minutes,
        composition: with_others(&now.composition, rows.others_usd),
    }
}

/// A day as it is stored; where nothing is, its state and the cause.
fn stored_day(read: DayRead<'_>) -> Result<DayCost, (Option<DayState>, String)> {
    let DayRead { day, status, total, off_midnight_usd, difference, open, now_seconds } = read;
    let (state, cause) = match (open.map(|open| open.looked.as_ref()), status) {
        (Some(Looked::Stays { state, cause }), _) => (Some(*state), cause.clone()),
        (_, Some(status)) => {
            let (state, cause) = status.state(Day::of_unix(now_seconds));
            (Some(state), cause)
        }
        (_, None) => (None, String::new()),
    };
    let (state, cause) = match (difference, status) {
        (Some(difference), Some(status)) => (Some(DayState::Partial), difference.cause(status)),
        _ => (state, cause),
    };
    let stored = status.map(|status| &status.stored).filter(|stored| stored.phase.is_some());
    if stored.is_none() && total.is_none_or(|total| total.rows == 0) && off_midnight_usd == 0.0 {
        return Err((state, cause));
    }
    let stored_usd = total.map_or(0.0, |total| total.total_usd) + off_midnight_usd;
    // What was stored while the day was running is known up to then.
    let minutes = stored.map(|stored| stored.coverage.expected_minutes);
    let minutes = minutes.filter(|minutes| *minutes > 0);
    let passed_minutes = day.minutes_passed(now_seconds);
    Ok(DayCost {
        day,
        usd: stored_usd,
        stored_usd,
        origin: Origin::Ledger,
        state,
        cause,
        known_minutes: minutes.map_or(passed_minutes, |minutes| minutes.min(passed_minutes)),
        composition: with_others(&stored_composition(stored, total), off_midnight_usd),
    })
}

/// What a stored day is made of, where its rows are those that were stored with that.
fn stored_composition(stored: Option<&StoredCosts>, total: Option<&DayTotal>) -> Composition {
    let ledger = total.map_or((0, 0.0), |total| (total.rows, total.total_usd));
    let is_whole = |stored: &&StoredCosts| {
        i64::try_from(stored.rows) == Ok(ledger.0) && is_same_usd(stored.total_usd, ledger.1)
    };
    stored.filter(is_whole).map(|stored| stored.composition.clone()).unwrap_or_default()
}

/// What costs are made of with rows of other programs, of which that is not known.
pub(super) fn with_others(composition: &Composition, others_usd: f64) -> Composition {
    let mut composition = composition.clone();
    if others_usd < 0.0 {
        composition.parts = None;
    } else if others_usd > 0.0
        && let Some(parts) = &mut composition.parts
    {
        *parts.entry(Part::Other).or_insert(0.0) += others_usd;
    }
    composition
}
