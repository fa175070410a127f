//! Which days of an account are due, in which order, and from which metrics.

use std::collections::{BTreeMap, BTreeSet};

use crate::cost::Day;
use crate::day_status::{DayState, DayStatus};
use crate::source::{Phase, Presence};

/// For how many days before today all samples are counted. On older days, late samples are found
/// only in the metrics that `CostSource::presence` counts.
pub(super) const COUNTED_DAYS: u32 = 2;

/// The days to compute now, the newest first: today, and every earlier day back to `first` that has
/// samples and is not settled, or has more samples than when it was computed (an incomplete one also
/// when the day after it has: a source that lags has the samples of a day's last hours on the next
/// morning), or has no status though there were samples before it. Yesterday also where all its
/// samples were not counted when it was computed.
#[must_use]
pub fn days_due(
    today: Day,
    first: Day,
    presence: &BTreeMap<Day, Presence>,
    statuses: &BTreeMap<Day, DayStatus>,
) -> Vec<Day> {
    let has_samples = |day: &Day| presence.get(day).is_some_and(|p| *p != Presence::default());
    let known_since = presence.keys().filter(|day| has_samples(day)).chain(statuses.keys()).min();
    let next_has_more = |day: Day| {
        let next = day.next();
        let here = presence.get(&next).copied().unwrap_or_default();
        statuses.get(&next).is_some_and(|status| has_more(here, status))
    };
    let is_due = |day: &Day| {
        if *day >= today || (*day == today.previous() && !is_counted(statuses.get(day))) {
            return true;
        }
        let here = presence.get(day).copied().unwrap_or_default();
        match statuses.get(day) {
            None => known_since.is_some_and(|since| since <= day),
            Some(status) => {
                is_open(status)
                    || has_more(here, status)
                    || (status.stored.coverage.is_incomplete() && next_has_more(*day))
            }
        }
    };
    let mut days: Vec<Day> = first.through(today).filter(is_due).collect();
    days.reverse();
    days
}

/// Whether a day has to be computed again whatever the source has.
fn is_open(status: &DayStatus) -> bool {
    let attempt = &status.attempt;
    !attempt.is_settled || attempt.is_pending || attempt.state == DayState::Failed
}

/// Whether all samples of a day were counted when it was computed.
fn is_counted(status: Option<&DayStatus>) -> bool {
    status.is_some_and(|status| status.seen.all_samples.is_some())
}

/// Where a run that does not reconcile the account starts looking: its first open day, else today.
/// Settled days wait for the run that reconciles it. `first` for an account whose first known day is
/// open, or that has none: a run works on today first, and may have ended after it.
#[must_use]
pub fn first_open(today: Day, first: Day, statuses: &BTreeMap<Day, DayStatus>) -> Day {
    let known = statuses.first_key_value().filter(|(_, status)| !is_open(status));
    let Some((known_since, _)) = known else { return first };
    let is_first = |day: &Day| match statuses.get(day) {
        // Between days that were computed: time was up, or a run was killed.
        None => day > known_since,
        Some(status) => is_open(status) || (*day == today.previous() && !is_counted(Some(status))),
    };
    first.through(today).find(is_first).unwrap_or(today)
}

/// Settled days of which all samples are to be counted again: late ones may have come.
pub(super) fn days_to_count(
    today: Day,
    due: &[Day],
    statuses: &BTreeMap<Day, DayStatus>,
) -> Vec<Day> {
    let recent = today.minus(COUNTED_DAYS).through(today.previous());
    recent.filter(|day| !due.contains(day) && is_counted(statuses.get(day))).collect()
}

/// Whether the source has samples that it did not have when it was last looked at.
#[must_use]
pub fn has_more(presence: Presence, status: &DayStatus) -> bool {
    let seen = status.seen;
    presence.exporter_samples > seen.exporter_samples
        || presence.raw_samples > seen.raw_samples
        || presence.exporter_minutes > seen.exporter_minutes
        || presence.raw_minutes > seen.raw_minutes
        || presence.all_samples.zip(seen.all_samples).is_some_and(|(now, then)| now > then)
}

/// The metrics that a day's costs come from; `None` when there are none of the allowed ones.
///
/// The exporter's gauges come first, by presence whatever their value. A day that is stored from
/// raw metrics stays with them while they cover more of it: the day on which an exporter was
/// installed.
#[must_use]
pub fn phase_of(
    setting: Option<Phase>,
    presence: Presence,
    status: Option<&DayStatus>,
) -> Option<Phase> {
    let has = |phase: Phase| presence.minutes(phase) > 0;
    if let Some(forced) = setting {
        return has(forced).then_some(forced);
    }
    let is_stored_raw = status.is_some_and(|status| status.stored.phase == Some(Phase::Raw));
    if is_stored_raw && presence.raw_minutes > presence.exporter_minutes {
        return Some(Phase::Raw);
    }
    [Phase::Exporter, Phase::Raw].into_iter().find(|phase| has(*phase))
}

/// The metrics that a day's costs come from, by what the source has of it and of the day after it.
#[must_use]
pub fn phase_of_day(
    setting: Option<Phase>,
    day: Day,
    presence: &BTreeMap<Day, Presence>,
    status: Option<&DayStatus>,
) -> Option<Phase> {
    let of = |day: Day| presence.get(&day).copied().unwrap_or_default();
    let here = of(day);
    phase_of(setting, here, status).or_else(|| phase_by_next_day(setting, here, of(day.next())))
}

/// The same of a day without a sample of its own, by what the next one has: the windows of a day may
/// be shown on the next day alone, where they are long or the exporter was down.
fn phase_by_next_day(setting: Option<Phase>, day: Presence, next: Presence) -> Option<Phase> {
    let is_silent = day.exporter_minutes == 0 && day.raw_minutes == 0;
    let phase = Phase::Exporter;
    (is_silent && setting.is_none_or(|forced| forced == phase) && next.minutes(phase) > 0)
        .then_some(phase)
}

/// Today, then the oldest day that is due, then yesterday and the others, the newest first: where
/// the newest days use up the account's time, each run still works off one of the old ones. Days
/// that failed before are tried last among the old, so that one that fails in every run does not
/// hold up the others.
pub(super) fn work_order(
    due: &BTreeSet<Day>,
    today: Day,
    statuses: &BTreeMap<Day, DayStatus>,
) -> Vec<Day> {
    let has_failed = |day: &Day| {
        let attempt = statuses.get(day).map(|status| &status.attempt);
        attempt.is_some_and(|attempt| attempt.state == DayState::Failed && !attempt.is_pending)
    };
    let is_old = |day: &&Day| **day < today.previous();
    let oldest = due.iter().filter(is_old).min_by_key(|day| (has_failed(day), **day)).copied();
    let mut order: Vec<Day> =
        due.iter().rev().filter(|day| Some(**day) != oldest).copied().collect();
    if let Some(oldest) = oldest {
        let after_today = order.iter().take_while(|day| **day >= today).count();
        order.insert(after_today, oldest);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::day_status::stored_form::tests::complete;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    fn present(minutes: u32) -> Presence {
        Presence {
            exporter_minutes: minutes,
            exporter_samples: minutes.into(),
            ..Presence::default()
        }
    }

    #[test]
    fn a_day_without_samples_is_looked_at_where_the_next_one_may_show_it() {
        let (none, some) = (Presence::default(), present(60));
        let raw = Presence { raw_minutes: 5, ..none };
        assert_eq!(phase_by_next_day(None, none, some), Some(Phase::Exporter));
        assert_eq!(phase_by_next_day(Some(Phase::Exporter), none, some), Some(Phase::Exporter));
        assert_eq!(phase_by_next_day(Some(Phase::Raw), none, some), None);
        for (day, next) in [(none, none), (raw, some), (some, some), (none, raw)] {
            assert_eq!(phase_by_next_day(None, day, next), None);
        }
    }

    fn due(presence: &[(&str, u32)], statuses: Vec<DayStatus>) -> Vec<String> {
        let presence = presence.iter().map(|(d, m)| (day(d), present(*m))).collect();
        let statuses = statuses.into_iter().map(|s| (s.day, s)).collect();
        let days = days_due(day("2026-11-20"), day("2026-11-10"), &presence, &statuses);
        days.iter().map(ToString::to_string).collect()
    }

    /// A settled day of which all samples were counted.
    fn counted(text: &str) -> DayStatus {
        let mut status = complete(day(text));
        status.seen = Presence { all_samples: Some(9), ..present(1_440) };
        status
    }

    #[test]
    fn today_is_always_due_and_yesterday_until_all_its_samples_were_counted() {
        assert_eq!(due(&[], vec![]), ["2026-11-20", "2026-11-19"]);
        let statuses = |yesterday: DayStatus| vec![yesterday, counted("2026-11-20")];
        let days = due(&[], statuses(complete(day("2026-11-19"))));
        assert_eq!(days, ["2026-11-20", "2026-11-19"]);
        assert_eq!(due(&[], statuses(counted("2026-11-19"))), ["2026-11-20"]);
        for open in [
            |status: &mut DayStatus| status.attempt.is_settled = false,
            |status: &mut DayStatus| status.attempt.is_pending = true,
            |status: &mut DayStatus| status.attempt.state = DayState::Failed,
        ] {
            let mut yesterday = counted("2026-11-19");
            open(&mut yesterday);
            assert_eq!(due(&[], statuses(yesterday)), ["2026-11-20", "2026-11-19"]);
        }
        let more = due(&[("2026-11-19", 1_441)], statuses(counted("2026-11-19")));
        assert_eq!(more, ["2026-11-20", "2026-11-19"]);
    }

    fn first_looked_at(statuses: Vec<DayStatus>) -> String {
        let statuses = statuses.into_iter().map(|status| (status.day, status)).collect();
        first_open(day("2026-11-20"), day("2026-11-10"), &statuses).to_string()
    }

    #[test]
    fn a_run_looks_from_the_first_day_that_is_open_and_at_all_days_of_a_new_account() {
        assert_eq!(first_looked_at(vec![]), "2026-11-10");
        let days = |names: [&str; 3]| names.map(counted).to_vec();
        let all = days(["2026-11-18", "2026-11-19", "2026-11-20"]);
        assert_eq!(first_looked_at(all.clone()), "2026-11-20");
        let mut open = all.clone();
        open[1].attempt.is_settled = false;
        assert_eq!(first_looked_at(open), "2026-11-19");
        let mut uncounted = all;
        uncounted[1].seen.all_samples = None;
        assert_eq!(first_looked_at(uncounted), "2026-11-19");
        let hole = days(["2026-11-14", "2026-11-19", "2026-11-20"]);
        assert_eq!(first_looked_at(hole), "2026-11-15");
        assert_eq!(first_looked_at(vec![counted("2026-11-18")]), "2026-11-19");
    }

    #[test]
    fn a_run_looks_at_all_days_where_the_runs_before_may_have_ended_after_today() {
        let running = |name: &str| {
            let mut status = counted(name);
            status.attempt.is_settled = false;
            status
        };
        let since_yesterday = vec![running("2026-11-19"), running("2026-11-20")];
        for statuses in [vec![running("2026-11-20")], since_yesterday] {
            assert_eq!(first_looked_at(statuses), "2026-11-10");
        }
    }

    #[test]
    fn of_settled_days_the_last_two_are_counted_again_where_they_are_not_due() {
        let names = ["2026-11-17", "2026-11-18", "2026-11-19", "2026-11-20"];
        let mut statuses: BTreeMap<Day, DayStatus> =
            names.map(|name| (day(name), counted(name))).into();
        let counts = |statuses: &BTreeMap<Day, DayStatus>, due: &[Day]| {
            days_to_count(day("2026-11-20"), due, statuses)
        };
        assert_eq!(counts(&statuses, &[]), [day("2026-11-18"), day("2026-11-19")]);
        assert_eq!(counts(&statuses, &[day("2026-11-19")]), [day("2026-11-18")]);
        statuses.insert(day("2026-11-18"), complete(day("2026-11-18")));
        assert_eq!(counts(&statuses, &[]), [day("2026-11-19")]);
    }

    #[test]
    fn a_first_run_takes_all_days_with_samples_and_names_the_holes_between() {
        let days = due(&[("2026-11-15", 5), ("2026-11-17", 5)], vec![]);
        let wanted = ["20", "19", "18", "17", "16", "15"].map(|d| format!("2026-11-{d}"));
        assert_eq!(days, wanted);
    }

    #[test]
    fn settled_days_rest_until_more_samples_come() {
        let settled = |d: &str| complete(day(d));
        let days: Vec<_> = (10..19).map(|d| settled(&format!("2026-11-{d}"))).collect();
        let seen = [("2026-11-15", 1_440)];
        assert_eq!(due(&seen, days.clone()), ["2026-11-20", "2026-11-19"]);
        let mut late = days;
        late[5].seen.exporter_minutes = 1_200;
        assert_eq!(due(&seen, late), ["2026-11-20", "2026-11-19", "2026-11-15"]);
    }

    #[test]
    fn a_settled_day_is_due_when_samples_of_another_cluster_come() {
        let days: Vec<_> = (10..19).map(|d| complete(day(&format!("2026-11-{d}")))).collect();
        let statuses: BTreeMap<_, _> = days.into_iter().map(|s| (s.day, s)).collect();
        let more = Presence { exporter_samples: 2_000, ..present(1_440) };
        let presence = [(day("2026-11-15"), more)].into();
        let due = days_due(day("2026-11-20"), day("2026-11-10"), &presence, &statuses);
        assert_eq!(due, ["2026-11-20", "2026-11-19", "2026-11-15"].map(day));
    }

    #[test]
    fn an_incomplete_day_waits_for_the_late_samples_of_the_next_morning() {
        let mut part = complete(day("2026-11-15"));
        part.stored.coverage.covered_minutes = 1_380;
        let mut next = complete(day("2026-11-16"));
        next.seen.exporter_minutes = 1_380;
        let seen = [("2026-11-15", 1_440), ("2026-11-16", 1_440)];
        let rest = || ["17", "18"].map(|d| complete(day(&format!("2026-11-{d}")))).to_vec();
        let due_days = due(&seen, [vec![part, next.clone()], rest()].concat());
        assert_eq!(due_days, ["2026-11-20", "2026-11-19", "2026-11-16", "2026-11-15"]);
        let whole = complete(day("2026-11-15"));
        let due_days = due(&seen, [vec![whole, next], rest()].concat());
        assert_eq!(due_days, ["2026-11-20", "2026-11-19", "2026-11-16"]);
    }

    #[test]
    fn presence_decides_on_the_phase_and_not_value() {
        let both = Presence { exporter_minutes: 1, raw_minutes: 1_440, ..Presence::default() };
        let raw = Presence { raw_minutes: 9, ..Presence::default() };
        assert_eq!(phase_of(None, both, None), Some(Phase::Exporter));
        assert_eq!(phase_of(None, raw, None), Some(Phase::Raw));
        assert_eq!(phase_of(None, Presence::default(), None), None);
        assert_eq!(phase_of(Some(Phase::Raw), both, None), Some(Phase::Raw));
        assert_eq!(phase_of(Some(Phase::Exporter), raw, None), None);
        let mut stored_raw = complete(day("2026-11-20"));
        stored_raw.stored.phase = Some(Phase::Raw);
        assert_eq!(phase_of(None, both, Some(&stored_raw)), Some(Phase::Raw));
    }

    fn november(text: &str) -> Day {
        day(&format!("2026-11-{text}"))
    }

    fn order(due: &[&str], failed: &[&str]) -> Vec<String> {
        let due = due.iter().map(|text| november(text)).collect();
        let failed = failed.iter().map(|text| {
            let mut status = complete(november(text));
            status.attempt.state = DayState::Failed;
            (status.day, status)
        });
        let order = work_order(&due, november("20"), &failed.collect());
        order.iter().map(|day| day.to_string()[8..].to_owned()).collect()
    }

    #[test]
    fn the_oldest_day_comes_right_after_today() {
        assert_eq!(order(&["20", "19", "18", "17", "12"], &[]), ["20", "12", "19", "18", "17"]);
        assert_eq!(order(&["20", "19"], &[]), ["20", "19"]);
        assert_eq!(order(&["20", "19", "18"], &[]), ["20", "18", "19"]);
        assert_eq!(order(&["18", "12"], &[]), ["12", "18"]);
    }

    #[test]
    fn a_day_that_failed_before_does_not_hold_up_the_others() {
        let due = ["20", "19", "18", "17", "12"];
        assert_eq!(order(&due, &["12"]), ["20", "17", "19", "18", "12"]);
        assert_eq!(order(&due, &["12", "17", "18"]), ["20", "12", "19", "18", "17"]);
    }

    #[test]
    fn a_day_that_was_left_half_written_did_not_fail_by_itself() {
        let due = [november("20"), november("19"), november("18"), november("12")].into();
        let mut half = complete(november("12"));
        (half.attempt.state, half.attempt.is_pending) = (DayState::Failed, true);
        let statuses = BTreeMap::from([(half.day, half)]);
        assert_eq!(work_order(&due, november("20"), &statuses)[1], november("12"));
    }

    #[test]
    fn a_settled_day_that_failed_or_was_left_half_written_is_due() {
        let is_due = |change: fn(&mut DayStatus)| {
            let mut status = complete(day("2026-11-15"));
            change(&mut status);
            let others = (16..19).map(|d| complete(day(&format!("2026-11-{d}"))));
            due(&[], others.chain([status]).collect()).contains(&"2026-11-15".to_owned())
        };
        assert!(!is_due(|_| ()));
        assert!(is_due(|status| status.attempt.is_settled = false));
        assert!(is_due(|status| status.attempt.is_pending = true));
        assert!(is_due(|status| status.attempt.state = DayState::Failed));
    }

    #[test]
    fn more_minutes_or_samples_of_either_phase_are_more() {
        let mut status = complete(day("2026-11-15"));
        let seen = Presence {
            raw_minutes: 5,
            exporter_minutes: 5,
            raw_samples: 5,
            exporter_samples: 5,
            all_samples: Some(5),
        };
        status.seen = seen;
        assert!(!has_more(seen, &status));
        for more in [
            Presence { raw_minutes: 6, ..seen },
            Presence { exporter_minutes: 6, ..seen },
            Presence { raw_samples: 6, ..seen },
            Presence { exporter_samples: 6, ..seen },
            Presence { all_samples: Some(6), ..seen },
        ] {
            assert!(has_more(more, &status), "{more:?}");
        }
        assert!(!has_more(Presence::default(), &status));
        status.seen.all_samples = None;
        assert!(!has_more(Presence { all_samples: Some(9), ..seen }, &status));
    }

    #[test]
    fn a_day_of_raw_metrics_goes_to_the_exporter_once_that_covers_as_much() {
        let mut status = complete(day("2026-11-20"));
        status.stored.phase = Some(Phase::Raw);
        let as_much = Presence { exporter_minutes: 9, raw_minutes: 9, ..Presence::default() };
        assert_eq!(phase_of(None, as_much, Some(&status)), Some(Phase::Exporter));
        let more = Presence { raw_minutes: 10, ..as_much };
        assert_eq!(phase_of(None, more, Some(&status)), Some(Phase::Raw));
        status.stored.phase = Some(Phase::Exporter);
        assert_eq!(phase_of(None, more, Some(&status)), Some(Phase::Exporter));
    }
}
