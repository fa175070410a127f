//! What is written over what is stored, and what is kept.

use super::*;
use crate::cost::Level;
use crate::cost::rollup::Contradiction;
use crate::day_status::Override;
use crate::day_status::stored_form::tests::complete;
use crate::source::Phase;

fn before() -> DayStatus {
    complete("2026-11-19".parse().unwrap())
}

fn source(covered: u32) -> SourceDay {
    let mut source = SourceDay::without_samples(Phase::Exporter, 1_440);
    source.costs.cluster_mut("c").total_usd = Some(1.0);
    source.cover_all(covered);
    source
}

fn judged(
    source: &SourceDay,
    usd: f64,
    status: Option<&DayStatus>,
    stored_usd: f64,
    is_forced: bool,
) -> Verdict {
    let roll = RollUp { total: Cost::from_usd(usd).unwrap(), ..RollUp::default() };
    verdict(source, &roll, StoredDay { status, total_usd: stored_usd }, 0.2, is_forced)
}

fn ok() -> Verdict {
    Verdict::Store { state: DayState::Ok, cause: String::new(), overridden: vec![] }
}

fn kept(verdict: &Verdict) -> (DayState, &str) {
    match verdict {
        Verdict::KeepStored { state, cause } => (*state, cause),
        Verdict::Store { .. } => panic!("{verdict:?}"),
    }
}

fn stored(verdict: &Verdict) -> (DayState, &str, &[Guard]) {
    match verdict {
        Verdict::Store { state, cause, overridden } => (*state, cause, overridden),
        Verdict::KeepStored { .. } => panic!("{verdict:?}"),
    }
}

#[test]
fn no_series_writes_nothing() {
    let none = judged(&source(0), 0.0, None, 5.0, true);
    assert_eq!(kept(&none), (DayState::NoData, "the source has no sample of this day"));
}

#[test]
fn a_day_of_which_nothing_is_due_waits() {
    let mut lagging = SourceDay::without_samples(Phase::Exporter, 0);
    lagging.lag_seconds = 3_900;
    let verdict = judged(&lagging, 0.0, None, 0.0, false);
    let cause = "the source lags by 65 min: nothing of this day can be known yet";
    assert_eq!(kept(&verdict), (DayState::Waiting, cause));
    let mut first = SourceDay::without_samples(Phase::Exporter, 20);
    first.waiting = Some("the first window ends at 01:00".into());
    let verdict = judged(&first, 0.0, None, 0.0, false);
    assert_eq!(kept(&verdict), (DayState::Waiting, "the first window ends at 01:00"));
}

#[test]
fn less_coverage_than_stored_is_kept_unless_forced() {
    let (before, less) = (before(), source(1_200));
    let verdict = judged(&less, 1.0, Some(&before), 1.0, false);
    assert_eq!(kept(&verdict).0, DayState::Late);
    let verdict = judged(&less, 1.0, Some(&before), 1.0, true);
    let (state, _, overridden) = stored(&verdict);
    assert_eq!((state, overridden), (DayState::Partial, &[Guard::LessCoverage][..]));
}

#[test]
fn a_cluster_that_vanishes_is_kept_however_much_the_others_cost() {
    let of = |cluster: &str| ClusterCoverage { cluster: cluster.into(), covered_minutes: 700 };
    let mut before = before();
    before.stored.coverage.covered_minutes = 700;
    before.stored.coverage.clusters = vec![of("c"), of("gone")];
    let verdict = judged(&source(1_440), 9.0, Some(&before), 1.0, false);
    let (state, cause) = kept(&verdict);
    assert!(state == DayState::Late && cause.contains("'gone'"), "{cause}");
    before.stored.coverage.clusters.pop();
    assert_eq!(judged(&source(1_440), 9.0, Some(&before), 1.0, false), ok());
}

#[test]
fn a_few_minutes_less_are_kept_in_silence_where_they_would_cost_something() {
    let before = before();
    let judge = |minutes, usd| judged(&source(minutes), usd, Some(&before), 1.0, false);
    assert_eq!(kept(&judge(1_436, 0.99)), (DayState::Ok, ""));
    let mut refused = before.clone();
    (refused.attempt.state, refused.attempt.cause) = (DayState::Failed, "two".into());
    let verdict = judged(&source(1_436), 0.99, Some(&refused), 1.0, false);
    assert_eq!(kept(&verdict), (DayState::Ok, ""));
    refused.stored.coverage.covered_minutes = 1_438;
    let verdict = judged(&source(1_436), 0.99, Some(&refused), 1.0, false);
    let cause =
        "it is stored with 1438 of 1440 min, and of these the source has fewer by now: kept";
    assert_eq!(kept(&verdict), (DayState::Partial, cause));
    assert_eq!(stored(&judge(1_436, 1.0)).0, DayState::Partial);
    assert_eq!(judge(1_440, 0.99), ok());
}

#[test]
fn a_day_that_went_on_after_it_was_stored_is_not_whole_because_it_was() {
    let mut running = before();
    (running.stored.coverage.covered_minutes, running.stored.coverage.expected_minutes) =
        (1_436, 1_436);
    let judge = |status: &DayStatus| {
        let verdict = judged(&source(1_435), 0.99, Some(status), 1.0, false);
        let (state, cause) = kept(&verdict);
        (state, cause.to_owned())
    };
    let (state, cause) = judge(&running);
    assert_eq!(state, DayState::Partial);
    assert!(cause.contains("1436 of 1440 min"), "{cause}");
    for state in [DayState::Approximate, DayState::Late, DayState::Failed, DayState::NoData] {
        running.attempt.state = state;
        assert_eq!(judge(&running), (DayState::Partial, cause.clone()), "{state:?}");
    }
    running.attempt.state = DayState::Approximate;
    running.stored.coverage.covered_minutes = 1_440;
    assert_eq!(judge(&running).0, DayState::Approximate);
}

#[test]
fn a_day_that_was_refused_since_has_the_faults_that_the_source_has() {
    let mut before = before();
    before.attempt.state = DayState::Failed;
    let mut faulty = source(1_436);
    faulty.missing = vec!["a metric is missing".into()];
    let verdict = judged(&faulty, 0.99, Some(&before), 1.0, false);
    assert_eq!(kept(&verdict), (DayState::Partial, "a metric is missing"));
    faulty.missing.clear();
    faulty.approximations = vec!["about".into()];
    let verdict = judged(&faulty, 0.99, Some(&before), 1.0, false);
    assert_eq!(kept(&verdict), (DayState::Approximate, "about"));
}

#[test]
fn a_refused_day_that_was_stored_incomplete_is_partial_however_little_is_due_by_now() {
    let mut refused = before();
    refused.attempt.state = DayState::Failed;
    refused.stored.coverage.covered_minutes = 1_392;
    let mut source = source(1_388);
    source.expected_minutes = 1_390;
    let verdict = judged(&source, 0.99, Some(&refused), 1.0, false);
    assert_eq!(kept(&verdict), (DayState::Partial, "the source has samples for 1388 of 1390 min"));
}

#[test]
fn what_was_left_half_written_is_no_reason_to_keep_a_few_minutes_more() {
    let mut half = before();
    half.attempt.is_pending = true;
    assert_eq!(stored(&judged(&source(1_436), 0.99, Some(&half), 1.0, false)).0, DayState::Partial);
}

#[test]
fn sources_in_conflict_are_named_and_refused_unless_forced() {
    let mut source = source(1_440);
    source.conflicts = vec!["a has 1 and b has 2".into()];
    let verdict = judged(&source, 1.0, None, 0.0, false);
    let (state, cause) = kept(&verdict);
    assert!(state == DayState::Failed && cause.starts_with("a has 1"), "{cause}");
    let verdict = judged(&source, 1.0, None, 0.0, true);
    let (state, cause, overridden) = stored(&verdict);
    assert_eq!((state, cause), (DayState::Partial, "a has 1 and b has 2"));
    assert_eq!(overridden, [Guard::SourceConflict]);
}

#[test]
fn an_override_unlocks_its_own_guard_and_no_other() {
    let mut source = source(1_440);
    source.conflicts = vec!["a has 1 and b has 2".into()];
    let with = |guard| {
        let reason = "known".to_owned();
        DayStatus { overrides: vec![Override { guard, reason }], ..before() }
    };
    let verdict = judged(&source, 1.0, Some(&with(Guard::SourceConflict)), 1.0, false);
    assert_eq!(stored(&verdict).0, DayState::Partial);
    for guard in [Guard::ShrunkTotal, Guard::LessCoverage, Guard::LostCluster] {
        let verdict = judged(&source, 1.0, Some(&with(guard)), 1.0, false);
        assert_eq!(kept(&verdict).0, DayState::Failed, "{guard:?}");
    }
}

#[test]
fn a_total_that_shrinks_beyond_the_limit_is_kept() {
    let full = source(1_440);
    let verdict = judged(&full, 0.79, None, 1.0, false);
    let (state, cause) = kept(&verdict);
    assert_eq!(state, DayState::Late);
    for part in ["$0.7900", "20 %", "$1.0000"] {
        assert!(cause.contains(part), "{cause}");
    }
    assert_eq!(judged(&full, 0.81, None, 1.0, false), ok());
    assert_eq!(stored(&judged(&full, 0.79, None, 1.0, true)).2, [Guard::ShrunkTotal], "forced");
}

#[test]
fn averages_over_other_times_are_an_approximation() {
    let mut source = source(1_440);
    source.approximations = vec!["an exporter does not say its windows".into()];
    let verdict = judged(&source, 1.0, None, 0.0, false);
    let cause = "an exporter does not say its windows";
    assert_eq!(stored(&verdict), (DayState::Approximate, cause, &[][..]));
    source.is_partial = true;
    assert_eq!(stored(&judged(&source, 1.0, None, 0.0, false)).0, DayState::Partial);
}

#[test]
fn children_that_cost_more_than_their_parent_are_no_complete_day() {
    let key = ResourceKey::Cluster { cluster: "c".into() };
    let (parent_usd, children_usd) = (1.0, 1.5);
    let one = Contradiction { key, parent_usd, children_usd, left_out: Level::Namespace };
    let roll = RollUp {
        total: Cost::from_usd(1.0).unwrap(),
        contradictions: vec![one; 7],
        ..RollUp::default()
    };
    let stored_day = StoredDay { status: None, total_usd: 0.0 };
    let verdict = verdict(&source(1_440), &roll, stored_day, 0.2, false);
    let (state, cause, _) = stored(&verdict);
    assert_eq!(state, DayState::Partial);
    for part in ["cluster c", "$1.5000", "$1.0000", "the namespaces of", "2 more of that kind"] {
        assert!(cause.contains(part), "{cause}");
    }
}

#[test]
fn a_day_settles_after_its_lag() {
    let day: Day = "2026-11-19".parse().unwrap();
    assert!(!is_settled(day, 3_900, day.end_seconds() + 3_900));
    assert!(!is_settled(day, 3_900, day.end_seconds() + 4_499));
    assert!(is_settled(day, 3_900, day.end_seconds() + 4_500));
}

#[test]
fn five_minutes_less_are_noise_and_six_are_not() {
    let mut status = before();
    let of_c = ClusterCoverage { cluster: "c".into(), covered_minutes: 1_440 };
    status.stored.coverage.clusters = vec![of_c];
    let has_less = |minutes| less_coverage(&source(minutes), Some(&status)).is_some();
    let has_lost = |minutes| lost_cluster(&source(minutes), Some(&status)).is_some();
    assert_eq!([has_less(1_435), has_less(1_434)], [false, true]);
    assert_eq!([has_lost(1_435), has_lost(1_434)], [false, true]);
    status.stored.phase = None;
    assert_eq!(less_coverage(&source(9), Some(&status)), None, "nothing is stored");
}

#[test]
fn a_total_at_the_limit_is_not_below_it() {
    let cost = |usd| Cost::from_usd(usd).unwrap();
    assert_eq!(shrunk_total(cost(0.75), 1.0, 0.25), None);
    assert_eq!(shrunk_total(Cost::ZERO, 0.0, 0.25), None);
}

#[test]
fn minutes_that_one_cluster_lacks_are_missing_too() {
    let mut status = before();
    let of_c = ClusterCoverage { cluster: "c".into(), covered_minutes: 1_440 };
    status.stored.coverage.clusters = vec![of_c];
    let judge = |minutes| {
        let mut source = source(1_440);
        source.clusters.insert("c".into(), minutes);
        judged(&source, 0.99, Some(&status), 1.0, false)
    };
    assert_eq!(kept(&judge(1_438)).0, DayState::Ok);
    assert_eq!(judge(1_440), ok());
}

#[test]
fn a_day_without_costs_says_where_samples_are_missing() {
    let mut source = source(0);
    source.gap_causes = vec!["c has none".into()];
    let verdict = judged(&source, 0.0, None, 0.0, false);
    assert_eq!(kept(&verdict).1, "the source has no cost of this day: c has none");
    source.cover_all(10);
    let cause = "the source has samples for 10 of 1440 min: c has none";
    assert_eq!(stored(&judged(&source, 1.0, None, 0.0, false)).1, cause);
}
