//! Sums by group and day, within a bound of memory.

use std::collections::BTreeMap;

use super::group::Group;

/// Groups whose days are kept; beyond, the smallest are folded into the others.
pub const GROUPS_MAX: usize = 20_000;

/// Sums of costs by group and day.
#[derive(Clone, Debug)]
pub struct Series {
    days: usize,
    groups_max: usize,
    sums: BTreeMap<Group, Vec<f64>>,
    others: Vec<f64>,
    folded: usize,
    folded_usd_max: f64,
}

impl Series {
    /// Sums over so many days, with at most so many groups.
    #[must_use]
    pub fn new(days: usize, groups_max: usize) -> Self {
        Self {
            days,
            groups_max: groups_max.max(2),
            sums: BTreeMap::new(),
            others: vec![0.0; days],
            folded: 0,
            folded_usd_max: 0.0,
        }
    }

    /// Adds a cost to a group's day; the day is an index.
    pub fn add(&mut self, group: Group, day: usize, usd: f64) {
        if self.sums.len() >= self.groups_max && !self.sums.contains_key(&group) {
            self.fold();
        }
        let days = self.days;
        let sums = self.sums.entry(group).or_insert_with(|| vec![0.0; days]);
        if let Some(sum) = sums.get_mut(day) {
            *sum += usd;
        }
    }

    /// Takes the smaller half of the groups into the others. A group that comes again begins anew,
    /// so its sum is low by at most the largest one folded each time.
    fn fold(&mut self) {
        let mut totals: Vec<(f64, Group)> =
            self.sums.iter().map(|(group, sums)| (sums.iter().sum(), group.clone())).collect();
        totals.sort_by(|a, b| a.0.total_cmp(&b.0));
        totals.truncate(self.groups_max / 2);
        self.folded += totals.len();
        self.folded_usd_max += totals.last().map_or(0.0, |(usd, _)| *usd);
        for (_, group) in totals {
            let sums = self.sums.remove(&group).unwrap_or_default();
            self.others.iter_mut().zip(sums).for_each(|(other, usd)| *other += usd);
        }
    }

    /// The groups with their sums by day; the dearest first, those of one cost by name.
    #[must_use]
    pub fn into_sorted(self) -> Sorted {
        let mut groups: Vec<(Group, Vec<f64>, f64)> = self
            .sums
            .into_iter()
            .map(|(group, sums)| {
                let total = sums.iter().sum::<f64>() + 0.0;
                (group, sums, total)
            })
            .collect();
        groups.sort_by(|a, b| b.2.total_cmp(&a.2).then_with(|| a.0.cmp(&b.0)));
        Sorted {
            groups,
            others: self.others,
            folded: self.folded,
            folded_usd_max: self.folded_usd_max,
        }
    }
}

/// Sums by group, the dearest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Sorted {
    /// Group, USD by day, USD.
    pub groups: Vec<(Group, Vec<f64>, f64)>,
    /// USD by day of the groups that were folded.
    pub others: Vec<f64>,
    /// How often a group was folded.
    pub folded: usize,
    /// By how much a group's sum may be low.
    pub folded_usd_max: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(name: usize) -> Group {
        Group { name: format!("g{name:03}"), ..Group::default() }
    }

    #[test]
    fn costs_add_up_by_group_and_day_and_the_dearest_comes_first() {
        let mut series = Series::new(2, 10);
        for (name, day, usd) in [(1, 0, 1.0), (2, 0, 5.0), (1, 1, 2.0), (1, 1, 0.5)] {
            series.add(named(name), day, usd);
        }
        let sorted = series.into_sorted();
        assert_eq!(sorted.groups[0], (named(2), vec![5.0, 0.0], 5.0));
        assert_eq!(sorted.groups[1], (named(1), vec![1.0, 2.5], 3.5));
        assert_eq!((sorted.folded, sorted.folded_usd_max), (0, 0.0));
    }

    proptest! {
        #[test]
        fn folding_keeps_the_sum_and_the_bound_on_what_a_group_lacks(
            costs in prop::collection::vec((0_usize..40, 0_usize..3, 1_u32..100), 0..300),
        ) {
            let mut series = Series::new(3, 8);
            let mut truth: BTreeMap<Group, f64> = BTreeMap::new();
            for (name, day, usd) in &costs {
                series.add(named(*name), *day, f64::from(*usd));
                *truth.entry(named(*name)).or_default() += f64::from(*usd);
                prop_assert!(series.sums.len() <= 8);
            }
            let sorted = series.into_sorted();
            let kept: f64 = sorted.groups.iter().map(|(_, _, usd)| usd).sum();
            let all: f64 = truth.values().sum();
            prop_assert_eq!(kept + sorted.others.iter().sum::<f64>(), all);
            for (group, _, usd) in &sorted.groups {
                prop_assert!(*usd <= truth[group]);
                prop_assert!(truth[group] - usd <= sorted.folded_usd_max);
            }
        }
    }
}
