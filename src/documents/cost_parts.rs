//! What a document shows of what its costs are made of: the last day, and the month to date.
//!
//! The parts of each day of the month are kept, so that a day that is counted again takes the place
//! of what it had before. They add up to the rows of these days, to the last bit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cost::{Day, Part, Parts, RowParts, add_parts};

/// The field with the parts.
pub const PARTS_KEY: &str = "cost_parts";
/// The last day's parts that stand at the top level too, as CloudTuner's schema has them.
pub const TOP_LEVEL_PARTS: [(Part, &str); 3] =
    [(Part::Cpu, "cpu_cost"), (Part::Ram, "ram_cost"), (Part::Pv, "pv_cost")];
/// The last day's efficiencies at the top level.
pub const EFFICIENCY_KEYS: [&str; 2] = ["cpu_efficiency", "ram_efficiency"];

/// What a document's costs are made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CostParts {
    /// Days of one month, and the parts of their rows. Never empty.
    pub days: BTreeMap<Day, Parts>,
    /// The last day's CPU used over CPU requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_efficiency: Option<f64>,
    /// The last day's memory used over memory requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ram_efficiency: Option<f64>,
}

/// What changes about them.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum PartsUpdate {
    /// They stay.
    #[default]
    Keep,
    /// They become these.
    Set(CostParts),
    /// They go: what costs are made of is not known any more.
    Unset,
}

impl CostParts {
    /// The last day and its parts.
    #[must_use]
    pub fn last_day(&self) -> Option<(Day, &Parts)> {
        self.days.last_key_value().map(|(day, parts)| (*day, parts))
    }

    fn is_of_month(&self, day: Day) -> bool {
        self.last_day().is_some_and(|(last, _)| last.month() == day.month())
    }

    /// The first day of the month that is known, and the parts of all days since.
    #[must_use]
    pub fn month_to_date(&self) -> Option<(Day, Parts)> {
        let since = *self.days.first_key_value()?.0;
        let mut sum = Parts::new();
        for parts in self.days.values() {
            add_parts(&mut sum, parts, 1.0);
        }
        Some((since, sum))
    }
}

/// What a document shows once a day's row is made of `row` (`None`: there is no row, or its parts
/// are not known). `None`: nothing any more.
#[must_use]
pub fn with_day(stored: Option<&CostParts>, day: Day, row: Option<&RowParts>) -> Option<CostParts> {
    let mut parts = stored.cloned().unwrap_or_default();
    let is_last = parts.last_day().is_none_or(|(last, _)| last <= day);
    match row {
        // What an older month was made of is shown nowhere.
        Some(row) if is_last || parts.is_of_month(day) => {
            drop(parts.days.insert(day, row.parts.clone()));
        }
        _ => drop(parts.days.remove(&day)),
    }
    if is_last {
        parts.cpu_efficiency = row.and_then(|row| row.cpu_efficiency);
        parts.ram_efficiency = row.and_then(|row| row.ram_efficiency);
    }
    let (last, _) = parts.last_day()?;
    parts.days.retain(|day, _| day.month() == last.month());
    Some(parts)
}

/// The change from what is stored to what is wanted.
#[must_use]
pub fn parts_update(stored: Option<&CostParts>, wanted: Option<CostParts>) -> PartsUpdate {
    match (stored, wanted) {
        (None, None) => PartsUpdate::Keep,
        (Some(_), None) => PartsUpdate::Unset,
        (stored, Some(wanted)) if stored == Some(&wanted) => PartsUpdate::Keep,
        (_, Some(wanted)) => PartsUpdate::Set(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    fn row(cpu: f64, ram: f64) -> RowParts {
        let parts = [(Part::Cpu, cpu), (Part::Ram, ram)].into();
        RowParts { parts, cpu_efficiency: Some(cpu / 10.0), ram_efficiency: None }
    }

    #[test]
    fn a_day_that_is_counted_again_takes_the_place_of_what_it_had() {
        let first = with_day(None, day("2026-11-20"), Some(&row(1.0, 2.0)));
        let second = with_day(first.as_ref(), day("2026-11-21"), Some(&row(3.0, 4.0)));
        let again = with_day(second.as_ref(), day("2026-11-20"), Some(&row(0.5, 0.5))).unwrap();
        assert_eq!(again.last_day().unwrap().0, day("2026-11-21"));
        let (since, sum) = again.month_to_date().unwrap();
        assert_eq!(since, day("2026-11-20"));
        assert_eq!(sum, [(Part::Cpu, 3.5), (Part::Ram, 4.5)].into());
        assert_eq!(again.cpu_efficiency, Some(0.3), "the last day's");
        let gone = with_day(Some(&again), day("2026-11-21"), None).unwrap();
        assert_eq!((gone.last_day().unwrap().0, gone.cpu_efficiency), (day("2026-11-20"), None));
        assert_eq!(with_day(Some(&gone), day("2026-11-20"), None), None);
    }

    #[test]
    fn a_new_month_begins_anew_and_an_older_one_is_not_shown() {
        let november = with_day(None, day("2026-11-30"), Some(&row(1.0, 2.0)));
        let december = with_day(november.as_ref(), day("2026-12-01"), Some(&row(3.0, 4.0)));
        assert_eq!(december.as_ref().unwrap().month_to_date().unwrap().0, day("2026-12-01"));
        let older = with_day(december.as_ref(), day("2026-11-30"), Some(&row(9.0, 9.0)));
        assert_eq!(older, december);
    }

    #[test]
    fn nothing_is_written_where_nothing_changes() {
        let known = with_day(None, day("2026-11-30"), Some(&row(1.0, 2.0)));
        assert_eq!(parts_update(known.as_ref(), known.clone()), PartsUpdate::Keep);
        assert_eq!(parts_update(None, None), PartsUpdate::Keep);
        assert_eq!(parts_update(known.as_ref(), None), PartsUpdate::Unset);
        assert_eq!(parts_update(None, known.clone()), PartsUpdate::Set(known.unwrap()));
    }

    proptest! {
        /// In whatever order days come, and however often: the month is the sum of its days.
        #[test]
        fn a_month_is_the_sum_of_its_days(
            order in prop::collection::vec((1u32..28, 0u32..1_000), 1..20),
        ) {
            let (mut parts, mut last) = (None, BTreeMap::new());
            for (number, units) in order {
                let day = day(&format!("2026-11-{number:02}"));
                parts = with_day(parts.as_ref(), day, Some(&row(units.into(), 1.0)));
                last.insert(day, units);
            }
            let (since, sum) = parts.unwrap().month_to_date().unwrap();
            prop_assert_eq!(since, *last.keys().next().unwrap());
            prop_assert_eq!(sum[&Part::Cpu], f64::from(last.values().sum::<u32>()));
        }
    }
}
