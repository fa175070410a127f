//! Windows as shown by exporters that run well, get stuck, restart and overlap.

use proptest::prelude::*;

use super::*;

const HOUR: i64 = 3_600;
const DAY: Window = Window { start: 86_400 * 20_000, end: 86_400 * 20_001 };

fn hour(number: i64) -> i64 {
    DAY.start + number * HOUR
}

/// What an exporter shows from minute to minute of `life`: its window's end by time.
fn shown(life: Window, length: i64, end: impl Fn(i64) -> Option<i64>) -> Vec<WindowSample> {
    (life.start.div_euclid(60)..life.end.div_euclid(60))
        .filter_map(|minute| {
            let end = end(minute * 60)?;
            let window = Window { start: end - length, end };
            Some(WindowSample { time: minute * 60, window, is_total: Some(false) })
        })
        .collect()
}

fn closed(time: i64, length: i64, late: i64) -> i64 {
    (time - late).div_euclid(length) * length
}

fn long() -> Window {
    Window { start: DAY.start, end: DAY.end + 86_400 + 3 * HOUR }
}

fn hours_of(parts: &[WindowSlice]) -> f64 {
    parts.iter().map(|part| (part.span.end - part.span.start) as f64 / 3_600.0).sum()
}

fn usd(parts: &[WindowSlice], rate: impl Fn(Window) -> f64) -> f64 {
    parts.iter().map(|part| part.weight() * rate(part.window)).sum()
}

#[test]
fn windows_of_any_length_that_divides_a_day_cover_it_once() {
    for hours in [1, 2, 3, 4, 6, 8, 12, 24] {
        let length = hours * HOUR;
        let exposed = exposed_windows(&shown(long(), length, |t| Some(closed(t, length, 180))));
        let parts = choose(&exposed, DAY);
        assert_eq!(parts.len() as i64, 24 / hours, "{hours}");
        assert_eq!(hours_of(&parts), 24.0);
        let samplings = samplings(&parts);
        assert_eq!(samplings.len(), 1, "{hours}: {samplings:?}");
        assert_eq!(samplings[0].1, hours as f64);
        assert_eq!(lag(&exposed), length + 180);
    }
}

#[test]
fn gauges_that_are_totals_weigh_their_window_once() {
    let mut shown = shown(long(), 6 * HOUR, |t| Some(closed(t, 6 * HOUR, 180)));
    shown.iter_mut().for_each(|one| one.is_total = Some(true));
    let parts = choose(&exposed_windows(&shown), DAY);
    assert_eq!(usd(&parts, |_| 12.0), 48.0);
}

#[test]
fn a_window_that_is_shown_for_three_hours_counts_once_and_those_never_shown_are_missing() {
    let end = |t: i64| {
        let stuck = hour(10) + 180..hour(13) + 180;
        Some(if stuck.contains(&t) { hour(10) } else { closed(t, HOUR, 180) })
    };
    let exposed = exposed_windows(&shown(long(), HOUR, end));
    let parts = choose(&exposed, DAY);
    let rate = |window: Window| if window.end == hour(10) { 100.0 } else { 2.0 };
    assert_eq!(usd(&parts, rate), 21.0 * 2.0 + 100.0);
    let spans: Vec<_> = parts.iter().map(|part| part.span).collect();
    assert_eq!(uncovered(DAY, &spans), [Window { start: hour(10), end: hour(12) }]);
    assert_eq!(samplings(&parts).len(), 2);
}

#[test]
fn a_window_across_midnight_is_split_by_time() {
    // Six-hour windows that end at 03:00, 09:00, ...
    let end = |t: i64| Some(closed(t - 3 * HOUR, 6 * HOUR, 180) + 3 * HOUR);
    let exposed = exposed_windows(&shown(long(), 6 * HOUR, end));
    let parts = choose(&exposed, DAY);
    assert_eq!(hours_of(&parts), 24.0);
    let weights: Vec<_> = parts.iter().map(WindowSlice::weight).collect();
    assert_eq!(weights, [3.0, 6.0, 6.0, 6.0, 3.0]);
    assert_eq!(samplings(&parts).len(), 3);
}

#[test]
fn of_windows_that_overlap_the_days_own_is_taken() {
    // At each full hour the last 24 hours.
    let end = |t: i64| Some(closed(t, HOUR, 180));
    let all = exposed_windows(&shown(long(), 24 * HOUR, end));
    let parts = choose(&all, DAY);
    assert_eq!(parts.iter().map(|part| part.window).collect::<Vec<_>>(), [DAY]);
    let without_own: Vec<_> = all.into_iter().filter(|one| one.window != DAY).collect();
    assert_eq!(hours_of(&choose(&without_own, DAY)), 24.0);
}

#[test]
fn a_change_of_the_windows_length_doubles_nothing() {
    let change = hour(10) + 600;
    let mut all = shown(long(), HOUR, |t| (t < change).then(|| closed(t, HOUR, 180)));
    let six = |t: i64| (t >= change).then(|| closed(t, 6 * HOUR, 180));
    all.extend(shown(long(), 6 * HOUR, six));
    assert_eq!(hours_of(&choose(&exposed_windows(&all), DAY)), 24.0);
}

#[test]
fn only_what_should_have_been_shown_by_now_is_due() {
    let until = |now: i64, length: i64| {
        let life = Window { start: DAY.start, end: now };
        let exposed = exposed_windows(&shown(life, length, |t| Some(closed(t, length, 180))));
        due_end(&exposed, now).unwrap() - DAY.start
    };
    assert_eq!(until(hour(0) + 1_800, HOUR), 0);
    assert_eq!(until(hour(1) + 240, HOUR), HOUR);
    assert_eq!(until(hour(2) + 1_800, 4 * HOUR), 0);
    assert_eq!(until(hour(12), 24 * HOUR), 0);
    // An exporter that died at noon owes all that ended since.
    let life = Window { start: DAY.start, end: hour(12) };
    let exposed = exposed_windows(&shown(life, HOUR, |t| Some(closed(t, HOUR, 180))));
    assert_eq!(due_end(&exposed, hour(20)), Some(hour(19)));
    assert_eq!(due_end(&exposed, hour(48)), Some(hour(47)));
}

#[test]
fn a_window_is_read_late_in_its_showing_and_never_while_the_one_before_may_be_seen() {
    let exposed = exposed_windows(&shown(long(), HOUR, |t| Some(closed(t, HOUR, 180))));
    let one = exposed.iter().find(|one| one.window.end == hour(5)).unwrap();
    assert_eq!(one.first, hour(5) + 180);
    assert_eq!(one.minutes.first(), Some(&(hour(5) + 480)));
    assert_eq!(one.minutes.last(), Some(&(hour(6) + 120)));
    let short =
        super::exposed_windows(&shown(Window { start: hour(1), end: hour(1) + 240 }, HOUR, |_| {
            Some(hour(1))
        }));
    assert_eq!(short[0].minutes.iter().collect::<Vec<_>>(), [&(hour(1) + 180)]);
}

#[test]
fn windows_far_away_or_of_no_length_are_not_accepted() {
    let window = |start, end| Window { start, end };
    let now = hour(12);
    assert!(is_plausible(window(hour(10), hour(11)), now));
    assert!(!is_plausible(window(-3_600, 0), now));
    assert!(!is_plausible(window(hour(12), hour(13)), now));
    assert!(!is_plausible(window(hour(11), hour(11)), now));
}

#[test]
fn clusters_that_are_shown_alike_are_read_together() {
    let parts = |late: i64, length: i64| {
        choose(&exposed_windows(&shown(long(), length, |t| Some(closed(t, length, late)))), DAY)
    };
    let cluster = |name: &str, parts| (name.to_owned(), Sources::All, parts);
    let found = groups(vec![
        cluster("a", parts(180, HOUR)),
        cluster("b", parts(240, HOUR)),
        cluster("day", parts(180, 24 * HOUR)),
        ("replicas".to_owned(), Sources::Newest, parts(180, HOUR)),
    ]);
    let names: Vec<_> = found.iter().map(|group| group.clusters.join(",")).collect();
    assert_eq!(names, ["a,b", "day", "replicas"]);
    assert_eq!(found[0].parts[0].minutes.first(), Some(&(hour(1) + 540)));
}

#[test]
fn regular_times_are_a_query_whose_points_lie_on_its_grid() {
    let sampling = Sampling { first: hour(1) - 60, step: HOUR, count: 24 };
    let (query, time) = sampling.sum(|offset| format!("m offset {offset}s"));
    assert_eq!(query, "sum_over_time((m offset 60s)[82800500ms:3600s])");
    assert_eq!(time, hour(24));
    assert_eq!(
        Sampling::once(hour(1)).sum(|offset| format!("m {offset}")),
        ("m 0".into(), hour(1))
    );
    let [one, other] = sampling.halves().unwrap();
    assert_eq!((one.count + other.count, other.last()), (24, sampling.last()));
    assert_eq!(Sampling::once(0).halves(), None);
}

proptest! {
    /// Whatever an exporter shows when: each part is read at a minute at which its window was
    /// shown, with its own weight, and no second of the day is paid for twice.
    #[test]
    fn each_second_of_a_day_is_paid_for_once_at_most(
        stops in prop::collection::vec((0i64..48 * 60, 0i64..300), 0..6),
        hours in prop::sample::select(vec![1i64, 2, 5, 6, 24]),
        late in 0i64..20,
    ) {
        let length = hours * HOUR;
        let is_up = |t: i64| {
            let minute = (t - DAY.start) / 60;
            !stops.iter().any(|(start, long)| (*start..start + long).contains(&minute))
        };
        let end = |t: i64| is_up(t).then(|| closed(t, length, late * 60));
        let all = shown(long(), length, end);
        let parts = choose(&exposed_windows(&all), DAY);
        for pair in parts.windows(2) {
            prop_assert!(pair[0].span.end <= pair[1].span.start);
        }
        let read: Vec<(i64, f64)> = samplings(&parts)
            .into_iter()
            .flat_map(|(one, weight)| {
                (0..one.count).map(move |n| (one.first + one.step * i64::from(n), weight))
            })
            .collect();
        prop_assert_eq!(read.len(), parts.len());
        for (part, (time, weight)) in parts.iter().zip(&read) {
            let at = all.iter().find(|one| one.time == *time).unwrap();
            prop_assert_eq!(at.window, part.window);
            prop_assert_eq!(weight.to_bits(), part.weight().to_bits());
        }
        let shown_ends: BTreeSet<_> = all.iter().map(|one| one.window.end).collect();
        let due: i64 = shown_ends
            .iter()
            .map(|end| ((*end).min(DAY.end) - (end - length).max(DAY.start)).max(0))
            .sum();
        prop_assert_eq!((hours_of(&parts) * 3_600.0).round() as i64, due);
    }
}
