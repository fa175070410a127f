//! Made-up histories, of which it is known which days are odd.

use proptest::prelude::*;

use super::*;

const DAYS: usize = 70;

fn days() -> Vec<Day> {
    let first: Day = "2026-09-01".parse().unwrap();
    first.through("2030-01-01".parse().unwrap()).take(DAYS).collect()
}

/// Numbers by chance, the same each time.
struct Chance(u64);

impl Chance {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) as f64 / (1_u64 << 31) as f64
    }

    /// Near to normal, mean 0 and variance 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// A history with the days that are odd in it.
struct Made {
    costs: Costs,
    complete: Vec<Day>,
    odd: Vec<(Day, AnomalyKind)>,
}

/// History `number` of 200: five kinds of everyday life; every second one has an odd day, spikes of
/// 1.6 to 4 times the day, and drops; some have incomplete days, which are no spikes.
fn made(number: u64) -> Made {
    let mut chance = Chance(number * 7_919 + 17);
    let days = days();
    let level = 5.0 + chance.uniform() * 200.0;
    let noise = 0.01 + chance.uniform() * 0.07;
    let kind = number % 5;
    let mut costs: Vec<f64> = (0..DAYS)
        .map(|index| {
            let weekend = if is_weekend(days[index]) { 0.4 } else { 1.0 };
            let shape = match kind {
                0 => 1.0,
                1 => weekend,
                // Growth by a fifth over the whole time.
                2 => 1.0 + 0.2 * index as f64 / DAYS as f64,
                // Grown by a quarter at once, five weeks ago, to stay so.
                3 => {
                    if index < 35 {
                        0.8
                    } else {
                        1.0
                    }
                }
                // Bursts: every few days a third more, which is its everyday life.
                _ => {
                    if chance.uniform() < 0.3 {
                        1.33
                    } else {
                        1.0
                    }
                }
            };
            (level * shape * (1.0 + noise * chance.normal())).max(0.0)
        })
        .collect();
    let mut odd = Vec::new();
    // The last three weeks are judged with enough history of both kinds of days behind them.
    let at = DAYS - 1 - (chance.uniform() * 20.0) as usize;
    if number.is_multiple_of(2) {
        if number % 8 == 6 {
            costs[at] = 0.0;
            odd.push((days[at], AnomalyKind::Drop));
        } else {
            costs[at] *= 1.6 + chance.uniform() * 2.4;
            odd.push((days[at], AnomalyKind::Spike));
        }
    }
    let mut complete = days.clone();
    if number % 7 == 3 {
        let gap = 20 + (chance.uniform() * 40.0) as usize;
        if gap != at {
            costs[gap] *= 0.05;
            complete.remove(gap);
        }
    }
    Made { costs: days.iter().copied().zip(costs).collect(), complete, odd }
}

/// The goal: to know how often the rule is right. The method: 200 histories by chance, each of 70
/// days, 100 with one odd day. The figures stand in `docs/ANOMALIES.md`.
#[test]
fn of_two_hundred_made_up_histories_the_odd_days_are_found_and_few_others() {
    let (mut hits, mut misses, mut false_alarms, mut judged) = (0, 0, 0, 0);
    for number in 0..200 {
        let made = made(number);
        let found: Vec<_> = odd_days(&made.costs, &made.complete, Limits::default())
            .iter()
            .map(|odd| (odd.day, odd.kind))
            .collect();
        judged += made.complete.len();
        hits += made.odd.iter().filter(|one| found.contains(one)).count();
        misses += made.odd.iter().filter(|one| !found.contains(one)).count();
        false_alarms += found.iter().filter(|one| !made.odd.contains(one)).count();
    }
    let precision = hits as f64 / (hits + false_alarms) as f64;
    let recall = hits as f64 / (hits + misses) as f64;
    let figures = format!(
        "hits {hits}, misses {misses}, false alarms {false_alarms} of {judged} days: precision \
         {precision:.3}, recall {recall:.3}"
    );
    assert_eq!(hits + misses, 100, "{figures}");
    assert!(precision >= 0.9 && recall >= 0.9, "{figures}");
    let docs = include_str!("../../../docs/ANOMALIES.md");
    assert!(docs.contains(&figures), "docs/ANOMALIES.md must say: {figures}");
}

fn steady(usd: f64) -> Costs {
    days().into_iter().map(|day| (day, usd)).collect()
}

#[test]
fn a_name_that_is_new_or_gone_for_good_or_hardly_costs_is_reported_once_at_most() {
    let days = days();
    let mut costs = steady(20.0);
    for day in &days[..60] {
        costs.insert(*day, 0.0);
    }
    assert_eq!(odd_days(&costs, &days, Limits::default()), [], "its first week, then as ever");
    let mut gone = steady(20.0);
    for day in &days[50..] {
        gone.insert(*day, 0.0);
    }
    let found = odd_days(&gone, &days, Limits::default());
    assert_eq!(
        found.iter().map(|odd| (odd.day, odd.kind)).collect::<Vec<_>>(),
        [(days[50], AnomalyKind::Drop)]
    );
    let mut cheap = steady(0.1);
    cheap.insert(days[60], 1.0);
    assert_eq!(odd_days(&cheap, &days, Limits::default()), [], "90 cents are nobody's concern");
}

#[test]
fn a_day_that_is_not_complete_is_never_odd() {
    let mut days = days();
    let mut costs = steady(20.0);
    costs.insert(days[60], 200.0);
    costs.insert(days[61], 0.0);
    assert_eq!(odd_days(&costs, &days, Limits::default()).len(), 2);
    days.drain(60..62);
    assert_eq!(odd_days(&costs, &days, Limits::default()), []);
}

#[test]
fn one_spike_does_not_hide_the_next() {
    let days = days();
    let mut costs = steady(20.0);
    for at in [50, 52, 57] {
        costs.insert(days[at], 100.0);
    }
    assert_eq!(odd_days(&costs, &days, Limits::default()).len(), 3);
}

proptest! {
    #[test]
    fn what_is_reported_is_what_the_rule_says(
        costs in prop::collection::vec(0.0_f64..1e4, DAYS), spreads in 1.0_f64..8.0,
        least_usd in 0.0_f64..100.0,
    ) {
        let days = days();
        let limits = Limits { spreads, least_usd };
        let costs: Costs = days.iter().copied().zip(costs).collect();
        for odd in odd_days(&costs, &days, limits) {
            prop_assert!(odd.day >= days[7] && odd.basis_days >= BASIS_MIN);
            prop_assert_eq!(odd.usd, costs[&odd.day]);
            prop_assert!((odd.usd - odd.expected_usd).abs() > least_usd);
            prop_assert_eq!(odd.kind == AnomalyKind::Spike, odd.usd > odd.expected_usd);
        }
    }

    #[test]
    fn costs_in_another_unit_have_the_same_spikes(
        costs in prop::collection::vec(0.0_f64..1e4, DAYS), at in 0_u32..8,
    ) {
        let days = days();
        let factor = 2.0_f64.powi(i32::try_from(at).unwrap());
        let of = |factor: f64| {
            let costs: Costs =
                days.iter().copied().zip(costs.iter().map(|usd| usd * factor)).collect();
            let limits = Limits { spreads: 4.0, least_usd: factor };
            odd_days(&costs, &days, limits).iter().map(|odd| (odd.day, odd.kind)).collect::<Vec<_>>()
        };
        prop_assert_eq!(of(1.0), of(factor));
    }
}

#[test]
fn the_newest_day_is_judged_alone_and_not_without_enough_to_hold_it_against() {
    let all = days();
    let last = *all.last().unwrap();
    let costs = |usd: f64| -> Costs {
        let of = |day: &Day| (*day, if *day == last { usd } else { 10.0 });
        all.iter().map(of).collect()
    };
    let judged = |usd: f64| newest_day(&costs(usd), &all, Limits::default()).unwrap();
    let plain = Judged { day: last, spike_usd: 0.0, drop_usd: 0.0 };
    assert_eq!(judged(11.0), plain);
    assert_eq!(judged(30.0), Judged { spike_usd: 20.0, ..plain });
    assert_eq!(judged(0.0), Judged { drop_usd: 10.0, ..plain });
    // A spike of the day before is none of today's.
    let mut before = costs(10.0);
    before.insert(last.previous(), 30.0);
    assert_eq!(newest_day(&before, &all, Limits::default()), Some(plain));
    let few: Vec<Day> = all.iter().copied().rev().take(6).collect();
    assert_eq!(newest_day(&costs(30.0), &few, Limits::default()), None);
    assert_eq!(newest_day(&Costs::new(), &all, Limits::default()), None);
}

/// What the rule says of a cost: the kind of what is odd.
fn kind_of(usd: f64, basis: &[f64], spreads: f64, least_usd: f64) -> Option<AnomalyKind> {
    judge(usd, basis, Limits { spreads, least_usd }).map(|odd| odd.kind)
}

#[test]
fn a_spike_exceeds_each_of_its_three_bounds() {
    // A median of 10, a spread of 1.2 and nine of ten days at 10.
    let kind = |usd, spreads, least_usd| kind_of(usd, &[10.0; 10], spreads, least_usd);
    let spike = Some(AnomalyKind::Spike);
    // By five dollars at least.
    assert_eq!((kind(15.0, 0.0, 5.0), kind(15.5, 0.0, 5.0)), (None, spike));
    // By five spreads: six dollars.
    assert_eq!((kind(16.0, 5.0, 0.0), kind(16.1, 5.0, 0.0)), (None, spike));
    // A fifth above the dear days.
    assert_eq!((kind(12.0, 0.0, 0.0), kind(12.5, 0.0, 0.0)), (None, spike));
}

#[test]
fn a_drop_is_below_a_tenth_of_the_least_day_and_by_enough() {
    let kind = |usd, least_usd| kind_of(usd, &[10.0; 10], 0.0, least_usd);
    let drop = Some(AnomalyKind::Drop);
    assert_eq!((kind(1.0, 0.0), kind(0.5, 0.0)), (None, drop));
    assert_eq!((kind(0.5, 9.5), kind(0.25, 9.5)), (None, drop));
}

#[test]
fn five_days_are_a_basis_and_four_are_none() {
    assert_eq!(kind_of(100.0, &[10.0; 4], 4.0, 1.0), None);
    assert_eq!(kind_of(100.0, &[10.0; 5], 4.0, 1.0), Some(AnomalyKind::Spike));
}

#[test]
fn the_spread_is_the_median_distance_and_never_less_than_an_eighth_or_so() {
    let spread = |basis: &[f64]| {
        let odd = judge(100.0, basis, Limits::default()).unwrap();
        (odd.expected_usd, odd.spread_usd)
    };
    assert_eq!(spread(&[8.0, 9.0, 10.0, 11.0, 12.0]), (10.0, 1.482_6));
    assert_eq!(spread(&[10.0; 5]), (10.0, 1.2));
}

#[test]
fn medians_and_the_day_that_nine_of_ten_do_not_exceed() {
    assert_eq!([median(&[]), median(&[5.0]), median(&[3.0, 1.0, 2.0])], [0.0, 5.0, 2.0]);
    assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    let up_to = |count: u32| (1..=count).map(f64::from).rev().collect::<Vec<_>>();
    assert_eq!(
        [high(&[]), high(&up_to(1)), high(&up_to(10)), high(&up_to(21))],
        [0.0, 1.0, 9.0, 19.0]
    );
}

#[test]
fn saturdays_and_sundays_are_weekends() {
    let week: Vec<Day> = "2026-11-16".parse::<Day>().unwrap().through(day("2026-11-22")).collect();
    let found: Vec<bool> = week.iter().map(|day| is_weekend(*day)).collect();
    assert_eq!(found, [false, false, false, false, false, true, true]);
}

fn day(text: &str) -> Day {
    text.parse().unwrap()
}

#[test]
fn a_day_is_held_against_days_like_it_of_the_eight_weeks_before() {
    let days = days();
    let spike = |at: usize| {
        let mut costs = steady(20.0);
        costs.insert(days[at], 100.0);
        odd_days(&costs, &days, Limits::default())
    };
    let wanted = |at: usize, basis_days: usize| Odd {
        day: days[at],
        kind: AnomalyKind::Spike,
        usd: 100.0,
        expected_usd: 20.0,
        spread_usd: 20.0 * 0.12,
        basis_days,
    };
    // A Saturday and the Friday before it.
    assert_eq!(days[60], day("2026-10-31"));
    assert_eq!(spike(60), [wanted(60, 16)]);
    assert_eq!(spike(59), [wanted(59, 40)]);
}

#[test]
fn a_name_that_came_back_drops_again() {
    let days = days();
    let mut costs = steady(20.0);
    // A Friday, and the Saturday of the week after.
    for at in [45, 53] {
        costs.insert(days[at], 0.0);
    }
    let dropped = |costs: &Costs| -> Vec<Day> {
        odd_days(costs, &days, Limits::default()).iter().map(|odd| odd.day).collect()
    };
    assert_eq!(dropped(&costs), [days[45], days[53]]);
    // What is gone from a Friday to a Saturday dropped once.
    costs = steady(20.0);
    for at in [45, 46] {
        costs.insert(days[at], 0.0);
    }
    assert_eq!(dropped(&costs), [days[45]]);
    // A spike between two drops parts them.
    let mut costs = steady(20.0);
    for (at, usd) in [(45, 0.0), (46, 100.0), (47, 0.0)] {
        costs.insert(days[at], usd);
    }
    let kinds: Vec<AnomalyKind> =
        odd_days(&costs, &days, Limits::default()).iter().map(|odd| odd.kind).collect();
    assert_eq!(kinds, [AnomalyKind::Drop, AnomalyKind::Spike, AnomalyKind::Drop]);
}

#[test]
fn the_newest_day_is_judged_from_a_week_and_five_days_like_it_on() {
    // Mondays: the first is all of a week old, and has five working days behind it.
    let first = day("2026-11-02");
    let judged = |begin: &str, last: &str| {
        let complete: Vec<Day> = first.through(day(last)).collect();
        let usd = |one: &Day| if *one < day(begin) { 0.0 } else { 10.0 };
        let costs: Costs = complete.iter().map(|day| (*day, usd(day))).collect();
        newest_day(&costs, &complete, Limits::default()).is_some()
    };
    let of = |last: &str| judged("2026-11-02", last);
    assert!(of("2026-11-09") && !of("2026-11-08") && !of("2026-11-06"));
    // A name begins with its first cost.
    assert!(!judged("2026-11-03", "2026-11-09"));
}

#[test]
fn kinds_have_names() {
    let names = [AnomalyKind::Spike, AnomalyKind::Drop].map(|kind| kind.to_string());
    assert_eq!(names, ["spike", "drop"]);
}
