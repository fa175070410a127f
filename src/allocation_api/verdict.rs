//! Which part of a reply is the answer, and which answers are not to be accepted.
//!
//! The API answers HTTP 200 with code 200 also when it has nothing, has only a part, or has lost
//! every pod on the way. What is published or stored must pass here first.

use super::reply::Reply;
use super::row::{AllocationSet, Costs, Fault, Faults, Row};
use super::window::{Window, rfc3339};
use crate::cost::costs::is_special;
use crate::service::failure::{Failure, Kind};

/// How long after a window's start its rows may begin, and before its end they may end, and the
/// window still be whole: two steps of the 5-minute grid to which OpenCost cuts times.
const REACH_SLACK_SECONDS: i64 = 600;

/// As little of a part of idle cost is rounding, USD: costs have five decimals.
const IDLE_ROUNDING_USD: f64 = 1e-4;

/// Why an answer is not accepted.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// No rows at all.
    Empty,
    /// No rows of the only cluster that is taken.
    NothingOfCluster(Box<str>),
    /// Only volumes and load balancers have a cost and all the rest is idle: the server could not
    /// list the pods.
    PodsMissing,
    /// The rows speak of another length of time than was asked for.
    WrongWindow(Option<Window>),
    /// The sum of all rows is below zero.
    NegativeTotal(f64),
    /// Idle cost is listed that the server was asked to share among the other rows.
    IdleNotShared,
}

impl Refusal {
    /// The label value `reason`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Empty | Self::NothingOfCluster(_) => "empty",
            Self::PodsMissing => "pods-missing",
            Self::WrongWindow(_) => "wrong-window",
            Self::NegativeTotal(_) => "negative-total",
            Self::IdleNotShared => "idle-not-shared",
        }
    }

    /// As a failure of the query layer, for a window that had to have an answer.
    #[must_use]
    pub fn failure(&self, window: Window) -> Failure {
        let (what, fix) = match self {
            Self::Empty => ("has no rows".to_owned(), "wait until the server has computed it"),
            Self::NothingOfCluster(cluster) => (
                format!("has no rows of the cluster '{cluster}'"),
                "wait until the server has computed it; CLUSTER_FILTER may also name no cluster of \
                 it: set it to the name that the server has for the cluster",
            ),
            Self::PodsMissing => (
                "has no pod with a CPU cost while the whole cluster is idle".to_owned(),
                "see the server's log: its Prometheus refused or timed out the query for pods",
            ),
            Self::WrongWindow(got) => {
                let got = got.map_or("no time at all".to_owned(), |got| got.to_string());
                (format!("is answered for {got}"), "see whether a cache stands before the server")
            }
            Self::NegativeTotal(usd) => {
                (format!("costs {usd} USD in all"), "see the prices and adjustments of the server")
            }
            Self::IdleNotShared => (
                "has idle cost beside rows that it was to be shared among (shareIdle)".to_owned(),
                "set SHARE_IDLE=false (gauges of nodes need sharing too: NODE_METRICS=false), or \
                 use an OpenCost from July 2024 on",
            ),
        };
        Failure::query(Kind::BadData, format!("the window {window} {what}"), fix)
    }
}

/// The rows of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Selected {
    /// The window that the rows speak of.
    pub window: Window,
    /// All rows; rows of one key from several sets are summed.
    pub rows: Vec<Row>,
    /// The time between the sets that were summed, of which there are no rows.
    pub missing_seconds: i64,
}

/// Takes from a reply the rows of the window `asked`.
///
/// One set of that window is the rule. Kubecost may also answer by smaller sets that fill it; they
/// are summed. A set of another window but the same length is taken for what it says it is, and
/// counted.
///
/// # Errors
/// [`Refusal::Empty`] or [`Refusal::NothingOfCluster`] without rows, [`Refusal::WrongWindow`] when
/// the rows are of a time that is not in the window asked for.
pub fn select(reply: Reply, asked: Window, faults: &mut Faults) -> Result<Selected, Refusal> {
    let mut sets: Vec<_> = reply.sets.into_iter().filter(|set| !set.rows.is_empty()).collect();
    if let Some(at) = sets.iter().position(|set| set.window == Some(asked)) {
        let rows = sets.swap_remove(at).rows;
        return Ok(Selected { window: asked, rows, missing_seconds: 0 });
    }
    match sets.as_mut_slice() {
        [] => Err(reply.cluster.map_or(Refusal::Empty, Refusal::NothingOfCluster)),
        [set] => {
            let rows = std::mem::take(&mut set.rows);
            match set.window {
                // Times that are garbage were counted; the position is all there is to go by.
                None => Ok(Selected { window: asked, rows, missing_seconds: 0 }),
                Some(window) if window.seconds() == asked.seconds() => {
                    faults.add(Fault::OtherWindow, &rfc3339(window.start));
                    Ok(Selected { window, rows, missing_seconds: 0 })
                }
                Some(window) => Err(Refusal::WrongWindow(Some(window))),
            }
        }
        _ => {
            let mut windows: Vec<_> = sets.iter().filter_map(|set| set.window).collect();
            windows.sort();
            let inside = windows.len() == sets.len()
                && windows.iter().all(|window| asked.contains(*window))
                && windows.windows(2).all(|pair| pair[0].end <= pair[1].start);
            if !inside {
                return Err(Refusal::WrongWindow(windows.first().copied()));
            }
            let gaps = windows.windows(2).map(|pair| pair[1].start - pair[0].end);
            let missing_seconds: i64 = gaps.sum();
            Ok(Selected { window: asked, rows: sum(sets), missing_seconds })
        }
    }
}

/// The rows of several sets, those of one key added up. Efficiencies are computed from the usage of
/// all rows of a key; where one has none, they are those of the first row.
#[must_use]
pub fn sum(sets: Vec<AllocationSet>) -> Vec<Row> {
    let mut rows = std::collections::BTreeMap::<Box<str>, Row>::new();
    for row in sets.into_iter().flat_map(|set| set.rows) {
        match rows.entry(row.key.clone()) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(row);
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                known.costs.add(&row.costs);
                add_usage(known, &row);
                known.span = match (known.span, row.span) {
                    (Some(a), Some(b)) => {
                        Some(Window { start: a.start.min(b.start), end: a.end.max(b.end) })
                    }
                    (a, b) => a.or(b),
                };
                known.node = row.node.or(known.node.take());
                known.service = row.service.or(known.service.take());
            }
        }
    }
    rows.into_values().collect()
}

/// Adds what a row of another set used, to a row that has the costs of both.
fn add_usage(known: &mut Row, row: &Row) {
    let (Some(mut usage), Some(more)) = (known.usage, row.usage) else {
        // Of a part of the sets it would be no usage of the sum.
        known.usage = None;
        return;
    };
    usage.add(&more);
    known.usage = Some(usage);
    let cpu = ratio(usage.cpu_used, usage.cpu_requested);
    let ram = ratio(usage.ram_used, usage.ram_requested);
    let (of_cpu, of_ram) = (known.costs.cpu, known.costs.ram);
    let both = of_cpu + of_ram;
    let total = if both > 0.0 { (cpu * of_cpu + ram * of_ram) / both } else { 0.0 };
    // A ratio that neither row has stays absent.
    known.cpu_efficiency = known.cpu_efficiency.or(row.cpu_efficiency).map(|_| cpu);
    known.ram_efficiency = known.ram_efficiency.or(row.ram_efficiency).map(|_| ram);
    known.total_efficiency = known.total_efficiency.or(row.total_efficiency).map(|_| total);
}

/// Used over requested as both servers have it: 1 where what is used was not requested.
fn ratio(used: f64, requested: f64) -> f64 {
    if requested > 0.0 {
        used / requested
    } else if used > 0.0 {
        1.0
    } else {
        0.0
    }
}

/// Sees that an answer can be true.
///
/// # Errors
/// The [`Refusal`].
pub fn check(rows: &[Row]) -> Result<(), Refusal> {
    if rows.is_empty() {
        return Err(Refusal::Empty);
    }
    let (mut idle, mut other) = (Costs::default(), Costs::default());
    let (mut has_cpu, mut has_compute) = (false, false);
    for row in rows {
        if row.is_idle() {
            idle.add(&row.costs);
        } else {
            other.add(&row.costs);
            has_cpu |= row.costs.cpu > 0.0;
            has_compute |= row.costs.cpu > 0.0 || row.costs.ram > 0.0 || row.costs.gpu > 0.0;
        }
    }
    let lost_pods = idle.cpu > 0.0 && !has_cpu;
    // The same loss where idle was not asked for: volumes and load balancers are all there is.
    let only_assets = !has_compute && (idle.total > 0.0 || other.pv > 0.0 || other.lb > 0.0);
    if lost_pods || only_assets {
        return Err(Refusal::PodsMissing);
    }
    let total = idle.total + other.total;
    if total < 0.0 { Err(Refusal::NegativeTotal(total)) } else { Ok(()) }
}

/// Leaves in rows of idle cost that was to be shared only what could not be, and refuses a reply
/// whose idle cost was not shared.
///
/// Servers share the idle cost of each resource by what the other rows of a set cost of it. Where
/// none has any, as with GPU nodes on which nothing uses a GPU, they list that part as `__idle__`:
/// it is in no other row. A part that others have is listed only by a server that does not know
/// `shareIdle`: its rows have no idle cost, and whoever leaves the row out loses it.
///
/// # Errors
/// [`Refusal::IdleNotShared`].
pub fn check_shared_idle(sets: &mut [AllocationSet]) -> Result<(), Refusal> {
    for set in sets {
        let others = || set.rows.iter().filter(|row| !row.is_idle());
        let has_cpu = others().any(|row| row.costs.cpu > 0.0);
        let has_ram = others().any(|row| row.costs.ram > 0.0);
        let has_gpu = others().any(|row| row.costs.gpu > 0.0);
        for row in set.rows.iter_mut().filter(|row| row.is_idle()) {
            let Costs { cpu, ram, gpu, .. } = row.costs;
            let listed = [(cpu, has_cpu), (ram, has_ram), (gpu, has_gpu)];
            if listed.iter().any(|(usd, is_of_others)| *is_of_others && is_cost(*usd)) {
                return Err(Refusal::IdleNotShared);
            }
            let [cpu, ram, gpu] = listed.map(|(usd, of_others)| if of_others { 0.0 } else { usd });
            row.costs = Costs { total: cpu + ram + gpu, cpu, ram, gpu, ..Costs::default() };
        }
        set.rows.retain(|row| !row.is_idle() || row.costs != Costs::default());
    }
    Ok(())
}

fn is_cost(usd: f64) -> bool {
    usd.abs() > IDLE_ROUNDING_USD
}

/// Which part of the window the rows tell about, as far as it can be seen.
///
/// `__idle__` begins and ends with the data, where it is there in all of the time: of sets that are
/// summed, some may have none. Rows that hold a volume say the whole window even when it has hardly
/// begun, so they tell nothing.
#[must_use]
pub fn reach<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Option<Window> {
    let is_plain = |row: &Row| row.costs.pv == 0.0 && row.costs.cpu > 0.0 && !is_special(&row.key);
    rows.into_iter()
        .filter(|row| row.is_idle() || is_plain(row))
        .filter_map(|row| row.span)
        .reduce(|a, b| Window { start: a.start.min(b.start), end: a.end.max(b.end) })
}

/// The part of a window that its rows are of; all of it where that cannot be seen.
///
/// A cluster that was made in the window, or whose source has data from then on only, looks the
/// same as a gap: there are no costs of the rest.
#[must_use]
pub fn covered(window: Window, rows: &[Row]) -> Window {
    let Some(reach) = reach(rows) else { return window };
    let is_from_start = reach.start <= window.start + REACH_SLACK_SECONDS;
    let is_to_end = reach.end >= window.end - REACH_SLACK_SECONDS;
    let start = if is_from_start { window.start } else { reach.start.min(window.end) };
    let end = if is_to_end { window.end } else { reach.end };
    Window::new(start, end)
}

/// Whether the rows begin later or end earlier than their window, so that more of them may be to
/// come.
#[must_use]
pub fn is_cut_short(window: Window, rows: &[Row]) -> bool {
    covered(window, rows) != window
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocation_api::reply::parse;
    use crate::allocation_api::row::Usage;

    const ASKED: Window = Window { start: 3_600, end: 7_200 };

    fn row(key: &str, cpu: f64, pv: f64) -> Row {
        let costs = Costs { total: cpu + pv, cpu, pv, ..Costs::default() };
        Row { key: key.into(), costs, ..Row::default() }
    }

    fn chosen(sets: &[(&str, i64, i64)]) -> Result<(Window, f64), Refusal> {
        let sets: Vec<String> = sets
            .iter()
            .map(|(key, start, end)| {
                let (start, end) = (rfc3339(*start), rfc3339(*end));
                format!(
                    r#"{{"{key}":{{"totalCost":1,"window":{{"start":"{start}","end":"{end}"}}}}}},"#
                )
            })
            .collect();
        let json = format!(r#"{{"code":200,"data":[{{}},{}null]}}"#, sets.concat());
        let reply = parse(json.as_bytes()).unwrap();
        let mut faults = Faults::default();
        let selected = select(reply, ASKED, &mut faults)?;
        Ok((selected.window, selected.rows.iter().map(|row| row.costs.total).sum()))
    }

    #[test]
    fn the_set_of_the_window_is_taken_and_others_only_where_they_fill_it() {
        assert_eq!(chosen(&[("a", 0, 3_600), ("a", 3_600, 7_200)]), Ok((ASKED, 1.0)));
        assert_eq!(chosen(&[("a", 3_600, 5_400), ("a", 5_400, 7_200)]), Ok((ASKED, 2.0)));
        let other = Window { start: 0, end: 3_600 };
        assert_eq!(chosen(&[("a", 0, 3_600)]), Ok((other, 1.0)));
        let wrong = Window { start: 0, end: 86_400 };
        assert_eq!(chosen(&[("a", 0, 86_400)]), Err(Refusal::WrongWindow(Some(wrong))));
        assert!(chosen(&[("a", 3_600, 6_000), ("a", 5_400, 7_200)]).is_err());
        assert_eq!(chosen(&[]).unwrap_err(), Refusal::Empty);
    }

    #[test]
    fn an_empty_reply_for_one_cluster_says_that_its_name_may_be_wrong() {
        let mut reply = parse(br#"{"code":200,"data":[{}]}"#).unwrap();
        let empty = select(reply.clone(), ASKED, &mut Faults::default()).unwrap_err();
        assert!(!empty.failure(ASKED).to_string().contains("CLUSTER_FILTER"));
        reply.cluster = Some("prod".into());
        let empty = select(reply, ASKED, &mut Faults::default()).unwrap_err();
        let said = empty.failure(ASKED).to_string();
        assert!(said.contains("'prod'") && said.contains("CLUSTER_FILTER"), "{said}");
        assert_eq!(empty.reason(), "empty");
    }

    #[test]
    fn a_hole_between_sets_that_are_summed_is_told() {
        let set = |start: i64, end: i64| AllocationSet {
            window: Some(Window { start, end }),
            rows: vec![row("shop", 1.0, 0.0)],
        };
        let missing = |sets: Vec<AllocationSet>| {
            let mut reply = parse(br#"{"code":200,"data":[]}"#).unwrap();
            reply.sets = sets;
            select(reply, ASKED, &mut Faults::default()).unwrap().missing_seconds
        };
        assert_eq!(missing(vec![set(3_600, 4_500), set(5_400, 6_300), set(6_300, 7_200)]), 900);
        assert_eq!(missing(vec![set(6_300, 7_200), set(3_600, 4_500)]), 1_800, "in any order");
        assert_eq!(missing(vec![set(3_600, 5_400), set(5_400, 7_200)]), 0);
        assert_eq!(missing(vec![set(3_600, 7_200)]), 0);
    }

    #[test]
    fn efficiencies_of_several_sets_are_of_all_that_was_used_and_requested() {
        let of = |used: f64, told: Option<f64>| {
            let usage = Usage { cpu_used: used, cpu_requested: 4.0, ..Usage::default() };
            Row {
                usage: Some(usage),
                cpu_efficiency: told,
                ram_efficiency: told.map(|_| 0.0),
                total_efficiency: told,
                ..row("shop", 1.0, 0.0)
            }
        };
        let summed = |rows: [Row; 2]| {
            sum(rows.map(|row| AllocationSet { window: None, rows: vec![row] }).into()).remove(0)
        };
        let both = summed([of(1.0, Some(0.25)), of(3.0, Some(0.75))]);
        assert_eq!(both.usage.map(|usage| (usage.cpu_used, usage.cpu_requested)), Some((4.0, 8.0)));
        assert_eq!((both.cpu_efficiency, both.total_efficiency), (Some(0.5), Some(0.5)));
        assert_eq!(both.ram_efficiency, Some(0.0));
        assert_eq!(summed([of(1.0, None), of(3.0, None)]).cpu_efficiency, None);
        let without_usage = Row { usage: None, ..of(3.0, Some(0.75)) };
        let first = summed([of(1.0, Some(0.25)), without_usage]);
        assert_eq!((first.cpu_efficiency, first.usage), (Some(0.25), None));
    }

    #[test]
    fn a_reply_without_pods_is_not_accepted() {
        let lost = [row("__idle__", 2.5, 0.0), row("databases", 0.0, 0.06)];
        assert_eq!(check(&lost), Err(Refusal::PodsMissing));
        assert_eq!(check(&lost[1..]), Err(Refusal::PodsMissing));
        assert_eq!(check(&lost[..1]), Err(Refusal::PodsMissing));
        let whole = [row("__idle__", -0.5, 0.0), row("shop", 1.0, 0.0)];
        assert_eq!(check(&whole), Ok(()));
        assert_eq!(check(&[row("shop", 0.0, 0.0)]), Ok(()), "prices of zero are no loss");
    }

    #[test]
    fn a_total_below_zero_is_not_accepted() {
        let rows = [row("__idle__", -5.0, 0.0), row("shop", 1.0, 0.0)];
        assert_eq!(check(&rows), Err(Refusal::NegativeTotal(-4.0)));
    }

    #[test]
    fn rows_with_volumes_do_not_tell_how_far_the_data_reach() {
        let span = |start, end| Some(Window { start, end });
        let volume = Row { span: span(3_600, 7_200), ..row("databases", 1.0, 1.0) };
        let plain = Row { span: span(3_600, 5_400), ..row("shop", 1.0, 0.0) };
        assert!(is_cut_short(ASKED, &[volume.clone(), plain.clone()]));
        assert!(!is_cut_short(ASKED, std::slice::from_ref(&volume)));
        let idle = Row { span: span(3_600, 7_200), ..row("__idle__", 1.0, 0.0) };
        assert!(!is_cut_short(ASKED, &[volume, plain, idle]));
    }

    #[test]
    fn a_window_is_covered_from_where_its_rows_begin_to_where_they_end() {
        let of = |start: i64, end: i64| {
            let span = Some(Window { start: ASKED.start + start, end: ASKED.start + end });
            let covered = covered(ASKED, &[Row { span, ..row("__idle__", 1.0, 0.0) }]);
            (covered.start - ASKED.start, covered.end - ASKED.start)
        };
        assert_eq!(of(600, 3_000), (0, 3_600), "within two steps of the grid at both ends");
        assert_eq!(of(601, 3_600), (601, 3_600));
        assert_eq!(of(0, 2_999), (0, 2_999));
        assert_eq!(of(900, 1_800), (900, 1_800));
        assert_eq!(of(-7_200, 7_200), (0, 3_600));
        assert_eq!(of(4_000, 5_000), (3_600, 3_600), "rows of another time");
        assert_eq!(of(-900, -300), (0, 0), "rows of another time");
        assert_eq!(covered(ASKED, &[row("shop", 1.0, 0.0)]), ASKED, "rows without times");
    }

    #[test]
    fn of_shared_idle_cost_only_what_no_other_row_has_is_left() {
        let costs = |cpu, ram, gpu| Costs {
            total: cpu + ram + gpu,
            cpu,
            ram,
            gpu,
            ..row("", 0.0, 0.0).costs
        };
        let left = |idle: Costs, shop: Costs| {
            let rows = vec![
                Row { costs: idle, ..row("__idle__", 0.0, 0.0) },
                Row { costs: shop, ..row("shop", 0.0, 0.0) },
            ];
            let mut sets = [AllocationSet { window: None, rows }];
            check_shared_idle(&mut sets)?;
            let idle = sets[0].rows.iter().filter(|row| row.is_idle());
            Ok(idle.map(|row| row.costs).next())
        };
        let shop = costs(2.0, 1.0, 0.0);
        assert_eq!(left(costs(0.0, 0.0, 12.0), shop), Ok(Some(costs(0.0, 0.0, 12.0))));
        assert_eq!(left(costs(5e-5, 0.0, 12.0), shop), Ok(Some(costs(0.0, 0.0, 12.0))), "rounding");
        assert_eq!(left(costs(0.0, -5e-5, 0.0), shop), Ok(None));
        for unshared in [costs(0.5, 0.0, 12.0), costs(0.0, -0.5, 0.0), costs(3.0, 2.0, 1.0)] {
            assert_eq!(left(unshared, shop), Err(Refusal::IdleNotShared));
        }
        let nothing = costs(0.0, 0.0, 0.0);
        assert_eq!(left(costs(1.0, 1.0, 0.0), nothing), Ok(Some(costs(1.0, 1.0, 0.0))));
    }
}
