//! Which days of an account are due, and from which metrics.

use std::collections::BTreeMap;

use crate::cost::Day;
use crate::day_status::{AccountDay, DayState};
use crate::source::{Phase, Presence};

/// The days to compute now, the newest first: today and yesterday, and every earlier day back to
/// `first` that has samples and is not settled, or has more samples than when it was computed (an
/// incomplete one also when the day after it has: a source that lags tells of a day's last hours
/// on the next morning), or has no record though there were samples before it.
#[must_use]
pub fn days_due(
    today: Day,
    first: Day,
    presence: &BTreeMap<Day, Presence>,
    records: &BTreeMap<Day, AccountDay>,
) -> Vec<Day> {
    let has_samples = |day: &Day| presence.get(day).is_some_and(|p| *p != Presence::default());
    let known_since = presence.keys().filter(|day| has_samples(day)).chain(records.keys()).min();
    let next_has_more = |day: Day| {
        let next = day.next();
        let here = presence.get(&next).copied().unwrap_or_default();
        records.get(&next).is_some_and(|record| has_more(here, record))
    };
    let is_due = |day: &Day| {
        if *day >= today.previous() {
            return true;
        }
        let here = presence.get(day).copied().unwrap_or_default();
        match records.get(day) {
            None => known_since.is_some_and(|since| since < day) || has_samples(day),
            Some(record) => {
                let is_incomplete = record.covered_minutes < record.expected_minutes;
                !record.settled
                    || record.pending
                    || record.state == DayState::Failed
                    || has_more(here, record)
                    || (is_incomplete && next_has_more(*day))
            }
        }
    };
    let mut days: Vec<Day> = first.through(today).filter(is_due).collect();
    days.reverse();
    days
}

/// Whether the source has minutes that it had not when the day was computed.
#[must_use]
pub fn has_more(presence: Presence, record: &AccountDay) -> bool {
    presence.exporter_samples > record.exporter_samples
        || presence.raw_samples > record.raw_samples
        || presence.exporter_minutes > record.exporter_minutes
        || presence.raw_minutes > record.raw_minutes
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
    record: Option<&AccountDay>,
) -> Option<Phase> {
    let has = |phase: Phase| presence.minutes(phase) > 0;
    if let Some(forced) = setting {
        return has(forced).then_some(forced);
    }
    let is_stored_raw = record.is_some_and(|r| r.phase == Some(Phase::Raw.number()));
    if is_stored_raw && presence.raw_minutes > presence.exporter_minutes {
        return Some(Phase::Raw);
    }
    [Phase::Exporter, Phase::Raw].into_iter().find(|phase| has(*phase))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cost::AccountId;

    pub(crate) fn record(day: Day) -> AccountDay {
        AccountDay {
            account: AccountId::new("a").unwrap(),
            day,
            state: DayState::Ok,
            cause: String::new(),
            phase: Some(2),
            covered_minutes: 1_440,
            clusters: vec![],
            expected_minutes: 1_440,
            source_total_usd: 1.0,
            stored_total_usd: 1.0,
            rows: 1,
            foreign_total_usd: 0.0,
            foreign_rows: 0,
            pending: false,
            settled: true,
            raw_minutes: 0,
            exporter_minutes: 1_440,
            raw_samples: 0,
            exporter_samples: 1_440,
            forced_reason: None,
            run_id: "r".into(),
            updated_at: 0,
        }
    }

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

    fn due(presence: &[(&str, u32)], records: Vec<AccountDay>) -> Vec<String> {
        let presence = presence.iter().map(|(d, m)| (day(d), present(*m))).collect();
        let records = records.into_iter().map(|r| (r.day, r)).collect();
        let days = days_due(day("2026-11-20"), day("2026-11-10"), &presence, &records);
        days.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn today_and_yesterday_are_always_due() {
        assert_eq!(due(&[], vec![]), ["2026-11-20", "2026-11-19"]);
    }

    #[test]
    fn a_first_run_takes_all_days_with_samples_and_names_the_holes_between() {
        let days = due(&[("2026-11-15", 5), ("2026-11-17", 5)], vec![]);
        let wanted = ["20", "19", "18", "17", "16", "15"].map(|d| format!("2026-11-{d}"));
        assert_eq!(days, wanted);
    }

    #[test]
    fn settled_days_rest_until_more_samples_come() {
        let settled = |d: &str| record(day(d));
        let days: Vec<_> = (10..19).map(|d| settled(&format!("2026-11-{d}"))).collect();
        let seen = [("2026-11-15", 1_440)];
        assert_eq!(due(&seen, days.clone()), ["2026-11-20", "2026-11-19"]);
        let mut late = days;
        late[5].exporter_minutes = 1_200;
        assert_eq!(due(&seen, late), ["2026-11-20", "2026-11-19", "2026-11-15"]);
    }

    #[test]
    fn a_settled_day_is_due_when_samples_of_another_cluster_come() {
        let days: Vec<_> = (10..19).map(|d| record(day(&format!("2026-11-{d}")))).collect();
        let records: BTreeMap<_, _> = days.into_iter().map(|r| (r.day, r)).collect();
        let more = Presence { exporter_samples: 2_000, ..present(1_440) };
        let presence = [(day("2026-11-15"), more)].into();
        let due = days_due(day("2026-11-20"), day("2026-11-10"), &presence, &records);
        assert_eq!(due, ["2026-11-20", "2026-11-19", "2026-11-15"].map(day));
    }

    #[test]
    fn an_incomplete_day_waits_for_the_late_samples_of_the_next_morning() {
        let part = AccountDay { covered_minutes: 1_380, ..record(day("2026-11-15")) };
        let next = AccountDay { exporter_minutes: 1_380, ..record(day("2026-11-16")) };
        let seen = [("2026-11-15", 1_440), ("2026-11-16", 1_440)];
        let rest = || ["17", "18"].map(|d| record(day(&format!("2026-11-{d}")))).to_vec();
        let due_days = due(&seen, [vec![part, next.clone()], rest()].concat());
        assert_eq!(due_days, ["2026-11-20", "2026-11-19", "2026-11-16", "2026-11-15"]);
        let whole = record(day("2026-11-15"));
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
        let stored_raw = AccountDay { phase: Some(1), ..record(day("2026-11-20")) };
        assert_eq!(phase_of(None, both, Some(&stored_raw)), Some(Phase::Raw));
    }
}
