//! A day's status, as a function of what was read and decided.

use crate::day_status::{
    Attempt, ClusterCoverage, Coverage, DayState, DayStatus, Guard, OtherRows, Override,
    StoredCosts,
};
use crate::source::SourceDay;

use super::accuracy::day_bound;
use super::inputs::DayInputs;
use super::verdict::is_settled;

impl DayInputs {
    /// The status before the first row of the day is written. It keeps what was stored before,
    /// which guards compare with, and marks that the rows may be others by now.
    pub(super) fn pending_status(&self) -> DayStatus {
        let before = self
            .due
            .status
            .clone()
            .unwrap_or_else(|| DayStatus::empty(&self.account, self.due.day));
        let cause = format!("run {} began to write this day and has not ended", self.run_id);
        DayStatus {
            attempt: Attempt {
                state: DayState::Failed,
                cause,
                is_pending: true,
                is_settled: false,
                run_id: self.run_id.clone(),
                at_seconds: self.now_seconds,
            },
            ..before
        }
    }

    /// The status of a day that is written: `rows` live rows of `total_usd`, those of pods
    /// as of `pods_at`, who were last read at `pods_read_at`.
    pub(super) fn written_status(
        &self,
        (state, cause): (DayState, &str),
        (rows, total_usd): (u64, f64),
        other_rows: OtherRows,
        overrides: Vec<Override>,
        (pods_at, pods_read_at): (Option<i64>, Option<i64>),
    ) -> DayStatus {
        let source = &self.costs.source;
        DayStatus {
            account: self.account.clone(),
            day: self.due.day,
            stored: StoredCosts {
                phase: Some(source.phase),
                coverage: coverage(source),
                source_total_usd: self.costs.roll.total.usd(),
                total_usd,
                rows,
                exchange_rates: source.exchange_rates.clone(),
                bound: day_bound(source, &self.costs.roll, self.kept_pods.as_ref()),
                pods_at,
                pods_read_at,
                composition: self.costs.composition(),
            },
            other_rows,
            seen: self.due.presence,
            attempt: self.attempt(state, cause, false),
            overrides,
        }
    }

    /// The status of a day that is left as it is: what it has of what is stored stays. A day that
    /// was left half written stays due.
    pub(super) fn kept_status(
        &self,
        (state, cause): (DayState, &str),
        (rows, total_usd): (u64, f64),
        other_rows: OtherRows,
    ) -> DayStatus {
        let old = self.due.status.clone().unwrap_or_else(|| {
            let mut status = DayStatus::empty(&self.account, self.due.day);
            status.stored.coverage.expected_minutes = self.costs.source.expected_minutes;
            (status.stored.rows, status.stored.total_usd) = (rows, total_usd);
            status
        });
        DayStatus {
            other_rows,
            seen: self.due.presence,
            attempt: self.attempt(state, cause, old.attempt.is_pending),
            ..old
        }
    }

    fn attempt(&self, state: DayState, cause: &str, is_pending: bool) -> Attempt {
        let lag_seconds = self.costs.source.lag_seconds;
        let is_settled = !is_pending && is_settled(self.due.day, lag_seconds, self.now_seconds);
        Attempt {
            state,
            cause: cause.to_owned(),
            is_pending,
            is_settled,
            run_id: self.run_id.clone(),
            at_seconds: self.now_seconds,
        }
    }

    /// The day's overrides once these guards are overridden for a reason.
    pub(super) fn overrides(&self, guards: &[Guard], reason: Option<&str>) -> Vec<Override> {
        let before = self.due.status.as_ref().map(|status| status.overrides.clone());
        let mut overrides = before.unwrap_or_default();
        let Some(reason) = reason else { return overrides };
        overrides.retain(|one| !guards.contains(&one.guard));
        overrides.extend(
            guards.iter().map(|guard| Override { guard: *guard, reason: reason.to_owned() }),
        );
        overrides.sort_by_key(|one| one.guard);
        overrides
    }
}

fn coverage(source: &SourceDay) -> Coverage {
    let one = |(cluster, minutes): (&String, &u32)| ClusterCoverage {
        cluster: cluster.clone(),
        covered_minutes: *minutes,
    };
    Coverage {
        covered_minutes: source.covered_minutes,
        expected_minutes: source.expected_minutes,
        clusters: source.clusters.iter().map(one).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::decide::tests::{new_day, stored_day};
    use super::*;

    fn of(guard: Guard, reason: &str) -> Override {
        Override { guard, reason: reason.to_owned() }
    }

    #[test]
    fn a_pending_status_keeps_what_was_stored_and_names_the_run() {
        let inputs = stored_day();
        let (before, pending) = (inputs.due.status.clone().unwrap(), inputs.pending_status());
        assert_eq!((&pending.stored, pending.seen), (&before.stored, before.seen));
        let attempt = &pending.attempt;
        assert_eq!(
            (attempt.state, attempt.is_pending, attempt.is_settled),
            (DayState::Failed, true, false)
        );
        assert!(attempt.cause.starts_with("run run began"), "{}", attempt.cause);
        assert_eq!((attempt.run_id.as_str(), attempt.at_seconds), ("run", inputs.now_seconds));
        let first = new_day().pending_status();
        assert_eq!((first.stored, first.attempt.is_pending), (StoredCosts::default(), true));
    }

    #[test]
    fn a_kept_day_without_a_status_has_what_the_ledger_shows() {
        let rows = OtherRows { rows: 1, total_usd: 0.5 };
        let status = new_day().kept_status((DayState::Late, "why"), (2, 5.0), rows);
        assert_eq!((status.stored.rows, status.stored.total_usd), (2, 5.0));
        assert_eq!(status.stored.coverage.expected_minutes, 1_440);
        assert_eq!((status.stored.phase, status.other_rows), (None, rows));
        assert_eq!((status.attempt.state, status.attempt.cause.as_str()), (DayState::Late, "why"));
        assert!(status.attempt.is_settled && !status.attempt.is_pending);
    }

    #[test]
    fn a_kept_day_that_was_left_half_written_stays_so_and_is_not_settled() {
        let mut inputs = stored_day();
        let before = inputs.due.status.as_mut().unwrap();
        before.attempt.is_pending = true;
        let stored = before.stored.clone();
        let status = inputs.kept_status((DayState::Late, ""), (7, 7.0), OtherRows::default());
        assert!(status.attempt.is_pending && !status.attempt.is_settled);
        assert_eq!(status.stored, stored);
    }

    #[test]
    fn a_day_that_is_not_over_is_not_settled() {
        let mut inputs = stored_day();
        inputs.now_seconds = inputs.due.day.end_seconds() + 60 + 599;
        let written = |inputs: &DayInputs| {
            inputs.written_status(
                (DayState::Ok, ""),
                (2, 5.0),
                OtherRows::default(),
                Vec::new(),
                (None, None),
            )
        };
        assert!(!written(&inputs).attempt.is_settled);
        inputs.now_seconds += 1;
        assert!(written(&inputs).attempt.is_settled);
    }

    #[test]
    fn an_override_takes_the_place_of_its_guards_earlier_one_only() {
        let mut inputs = stored_day();
        let before =
            vec![of(Guard::SourceConflict, "known"), of(Guard::ShrunkTotal, "fewer nodes")];
        inputs.due.status.as_mut().unwrap().overrides = before.clone();
        assert_eq!(inputs.overrides(&[Guard::ShrunkTotal], None), before);
        assert_eq!(inputs.overrides(&[], Some("again")), before);
        assert_eq!(
            inputs.overrides(&[Guard::ShrunkTotal, Guard::LessCoverage], Some("again")),
            [
                of(Guard::SourceConflict, "known"),
                of(Guard::LessCoverage, "again"),
                of(Guard::ShrunkTotal, "again"),
            ]
        );
    }
}
