//! By how much a day's total may be off, from what is known when it is computed. The derivation is
//! in `docs/EXPLAIN.md`.

use crate::cost::bound::{BoundInputs, DayBound, bound};
use crate::cost::{Cost, Phase, RollUp};
use crate::source::SourceDay;

use super::inputs::KeptPods;

/// The bound of a day's total: the sum of its clusters'. `None` where nothing is covered. Rows of
/// pods that were kept are of the day's only cluster.
#[must_use]
pub fn day_bound(
    source: &SourceDay,
    roll: &RollUp,
    kept_pods: Option<&KeptPods>,
) -> Option<DayBound> {
    if source.covered_minutes == 0 {
        return None;
    }
    let mut out = DayBound::default();
    for name in source.costs.clusters.keys() {
        let lines = || roll.lines.iter().filter(|line| line.key.cluster() == name);
        // As it is stored, for the last bits of what a server adds up may differ from run to run.
        let kept = kept_pods.map_or((Cost::ZERO, 0), |kept| (kept.cost(), kept.rows.len()));
        let usd = (lines().map(|line| line.cost).sum::<Cost>() + kept.0).usd();
        let lines = u32::try_from(lines().count() + kept.1).unwrap_or(u32::MAX);
        let of_cluster = cluster_bound(source, name, (usd, lines));
        out.low_by_usd += of_cluster.low_by_usd;
        out.high_by_usd += of_cluster.high_by_usd;
        out.gaps_usd += of_cluster.gaps_usd;
    }
    Some(out)
}

fn cluster_bound(source: &SourceDay, name: &str, (usd, lines): (f64, u32)) -> DayBound {
    let covered = source.minutes_of(name);
    let factor = source.reading.scaled_by.get(name).copied().unwrap_or(1.0);
    let seen_usd = usd / factor;
    let rate = seen_usd / f64::from(covered.max(1)) * 60.0;
    let mut out = bound(BoundInputs {
        rate_max: rate,
        missing_minutes: source.expected_minutes.saturating_sub(covered),
        edges: if is_of_windows(source) { 0 } else { 2 },
        step_minutes: f64::from(source.reading.step_minutes.unwrap_or(1)),
        roundings: lines.max(1),
    });
    // An average that is read early or late is in part of other hours.
    let is_own = |cluster: &str| cluster == name;
    let averages = source.reading.parts.iter().filter(|part| is_own(&part.cluster));
    let displaced: i64 = averages
        .map(|part| part.at.map_or(0, |at| (at - part.end).abs().min(part.end - part.start)))
        .sum();
    let displaced_usd = rate * displaced as f64 / 3_600.0;
    out.low_by_usd += displaced_usd;
    out.high_by_usd += displaced_usd;
    // What was added for gaps may not have been there.
    let added_usd = usd - seen_usd;
    out.high_by_usd += added_usd;
    out.low_by_usd = (out.low_by_usd - added_usd).max(out.low_by_usd - out.gaps_usd);
    out.gaps_usd = (out.gaps_usd - added_usd).max(0.0);
    out
}

/// Whether costs are of windows that are billed whole: nothing happens between their samples.
fn is_of_windows(source: &SourceDay) -> bool {
    source.phase == Phase::Exporter && source.reading.is_of_windows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::bound::ROUNDING_USD;
    use crate::cost::{Levels, roll_up};
    use crate::source::ReadPart;
    use std::collections::BTreeMap;

    /// A cluster of a dollar an hour while it is covered.
    fn day(covered: u32) -> SourceDay {
        let mut source = SourceDay::without_samples(Phase::Exporter, 1_440);
        source.costs.cluster_mut("c").total_usd = Some(f64::from(covered) / 60.0);
        source.cover(BTreeMap::from([("c".to_owned(), covered)]));
        source.reading.is_of_windows = true;
        source
    }

    fn of(source: &SourceDay) -> DayBound {
        day_bound(source, &roll_up(&source.costs, Levels::ALL), None).unwrap()
    }

    fn near(usd: f64, wanted: f64) -> bool {
        (usd - wanted).abs() < 1e-6
    }

    #[test]
    fn a_day_that_is_covered_whole_by_windows_is_off_by_rounding_alone() {
        let one = of(&day(1_440));
        assert_eq!((one.low_by_usd, one.high_by_usd), (ROUNDING_USD, ROUNDING_USD));
        assert_eq!(day_bound(&day(0), &roll_up(&day(0).costs, Levels::ALL), None), None);
    }

    #[test]
    fn missing_minutes_make_a_day_low_and_never_high() {
        let one = of(&day(1_380));
        assert!(near(one.gaps_usd, 1.0) && near(one.low_by_usd, 1.0), "{one:?}");
        assert!(near(one.high_by_usd, 0.0), "{one:?}");
    }

    #[test]
    fn each_cluster_has_gaps_of_its_own() {
        let mut source = day(1_440);
        source.costs.cluster_mut("dear").total_usd = Some(230.0);
        source.clusters.insert("dear".to_owned(), 1_380);
        // An hour of the dear one alone, which costs ten dollars.
        assert!(near(of(&source).gaps_usd, 10.0), "{:?}", of(&source));
    }

    #[test]
    fn a_beginning_and_an_end_are_off_by_a_step_of_the_samples_each() {
        let mut source = day(1_440);
        source.reading.is_of_windows = false;
        assert!(near(of(&source).high_by_usd, 2.0 / 60.0));
        source.reading.step_minutes = Some(5);
        assert!(near(of(&source).high_by_usd, 10.0 / 60.0));
    }

    #[test]
    fn what_was_added_for_gaps_may_be_too_much_but_is_not_missing() {
        let mut source = day(1_380);
        source.reading.scaled_by.insert("c".to_owned(), 1_440.0 / 1_380.0);
        source.costs.cluster_mut("c").total_usd = Some(24.0);
        let one = of(&source);
        assert!(near(one.high_by_usd, 1.0) && near(one.low_by_usd, 0.0), "{one:?}");
    }

    #[test]
    fn an_average_that_is_read_late_is_in_part_of_other_hours() {
        let mut source = day(1_440);
        source.reading.parts = vec![ReadPart {
            cluster: "c".into(),
            start: 0,
            end: 86_400,
            at: Some(86_400 + 1_800),
            window_seconds: Some(86_400),
            is_total: false,
            left_out: None,
        }];
        let one = of(&source);
        assert!(near(one.high_by_usd, 0.5) && near(one.low_by_usd, 0.5), "{one:?}");
    }
}
