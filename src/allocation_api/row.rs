//! One row of an allocation set: its costs, and the rules for numbers that cannot be true.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::number::{Number, Text};
use super::window::{Window, parse_rfc3339};

/// The largest cost of one row, USD: far above any cluster, far below garbage such as 1e25.
pub const ROW_COST_USD_MAX: f64 = 536_870_912.0;
/// The largest efficiency taken for one (a ratio; 58.5 was seen and is true).
const EFFICIENCY_MAX: f64 = 1e6;
/// How far a row's total may be from its parts: they are rounded to 5 decimals each.
const SUM_TOLERANCE_USD: f64 = 2e-4;

/// Something odd in a reply, each with its rule. The label value `reason` of the exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A cost is `null` (NaN or infinite at the source): that part is unknown, the total stands.
    NullCost,
    /// Something else than a number stands for a cost: treated as unknown.
    NotANumber,
    /// A cost beyond [`ROW_COST_USD_MAX`] either way: the row is refused.
    AbsurdCost,
    /// A cost below zero after adjustments, of a row that is not idle: kept, as the source's own
    /// total holds it.
    NegativeCost,
    /// `__idle__` below zero (an overcommitted cluster): kept.
    NegativeIdle,
    /// No total: the sum of the parts is taken.
    TotalMissing,
    /// No total, and a part is unknown: the sum of the others is taken, and less than the cost.
    UnknownTotal,
    /// The total is not the sum of its parts: the total stands.
    SumMismatch,
    /// A row without any cost at all: refused.
    NoCost,
    /// `null` in place of a row: refused.
    NullRow,
    /// An efficiency that is no number, negative or absurd: left out.
    BadEfficiency,
    /// `minutes` below zero or no number: left out, costs stand.
    BadMinutes,
    /// A time that is none: left out.
    BadTime,
    /// A row of another window than its set.
    OddWindow,
    /// A whole set of another window than asked for, of the same length: its own window counts.
    OtherWindow,
    /// A name that Kubernetes does not allow: its cost goes to `__other__`.
    BadName,
    /// `__idle__` although idle cost was not asked for: left out.
    IdleTwice,
    /// Idle was asked for and is not there.
    IdleMissing,
    /// Rows of several clusters where one was expected: all are in the sums.
    SeveralClusters,
    /// The product says another currency than the label of the costs: they stand.
    OtherCurrency,
}

impl Fault {
    /// The name in metric labels and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NullCost => "null-cost",
            Self::NotANumber => "not-a-number",
            Self::AbsurdCost => "absurd-cost",
            Self::NegativeCost => "negative-cost",
            Self::NegativeIdle => "negative-idle",
            Self::TotalMissing => "total-missing",
            Self::UnknownTotal => "unknown-total",
            Self::SumMismatch => "sum-mismatch",
            Self::NoCost => "no-cost",
            Self::NullRow => "null-row",
            Self::BadEfficiency => "bad-efficiency",
            Self::BadMinutes => "bad-minutes",
            Self::BadTime => "bad-time",
            Self::OddWindow => "odd-window",
            Self::OtherWindow => "other-window",
            Self::BadName => "bad-name",
            Self::IdleTwice => "idle-twice",
            Self::IdleMissing => "idle-missing",
            Self::SeveralClusters => "several-clusters",
            Self::OtherCurrency => "other-currency",
        }
    }
}

/// How often each fault was met, with the key of the first row that had it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults(pub BTreeMap<Fault, (u64, Box<str>)>);

impl Faults {
    /// Counts a fault of the row `key`.
    pub fn add(&mut self, fault: Fault, key: &str) {
        self.0.entry(fault).or_insert_with(|| (0, key.into())).0 += 1;
    }

    /// Adds another count.
    pub fn merge(&mut self, other: Self) {
        for (fault, (count, key)) in other.0 {
            self.0.entry(fault).or_insert((0, key)).0 += count;
        }
    }

    /// How often this fault was met.
    #[must_use]
    pub fn count(&self, fault: Fault) -> u64 {
        self.0.get(&fault).map_or(0, |(count, _)| *count)
    }

    /// How many rows have a cost that is not known, or only in part, or that cannot be: what is
    /// summed lacks it.
    #[must_use]
    pub fn unknown_costs(&self) -> u64 {
        let faults = [Fault::NoCost, Fault::NullRow, Fault::UnknownTotal, Fault::AbsurdCost];
        faults.into_iter().map(|fault| self.count(fault)).sum()
    }

    /// One line for logs: `negative-idle 1 (__idle__), null-cost 3 (shop)`; empty when all is well.
    #[must_use]
    pub fn line(&self) -> String {
        let parts: Vec<_> = self
            .0
            .iter()
            .map(|(fault, (count, key))| {
                format!("{} {count} ({})", fault.as_str(), crate::service::failure::excerpt(key))
            })
            .collect();
        parts.join(", ")
    }
}

/// Costs of a row in USD over the set's window, adjustments included. `total` also holds shared
/// and external costs and is not always the sum of the parts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Costs {
    /// Everything.
    pub total: f64,
    /// CPU.
    pub cpu: f64,
    /// Memory.
    pub ram: f64,
    /// GPUs.
    pub gpu: f64,
    /// Persistent volumes.
    pub pv: f64,
    /// Network egress.
    pub network: f64,
    /// Load balancers.
    pub lb: f64,
}

impl Costs {
    /// Adds another row's costs, part by part.
    pub fn add(&mut self, other: &Self) {
        self.total += other.total;
        self.cpu += other.cpu;
        self.ram += other.ram;
        self.gpu += other.gpu;
        self.pv += other.pv;
        self.network += other.network;
        self.lb += other.lb;
    }

    /// Every part times `factor`.
    #[must_use]
    pub fn times(mut self, factor: f64) -> Self {
        for part in [
            &mut self.total,
            &mut self.cpu,
            &mut self.ram,
            &mut self.gpu,
            &mut self.pv,
            &mut self.network,
            &mut self.lb,
        ] {
            *part *= factor;
        }
        self
    }
}

/// What efficiencies are made from: used over requested, per resource, in hours of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Core-hours requested.
    pub cpu_requested: f64,
    /// Core-hours used.
    pub cpu_used: f64,
    /// Byte-hours requested.
    pub ram_requested: f64,
    /// Byte-hours used.
    pub ram_used: f64,
}

impl Usage {
    /// Adds another row's usage, part by part.
    pub fn add(&mut self, other: &Self) {
        self.cpu_requested += other.cpu_requested;
        self.cpu_used += other.cpu_used;
        self.ram_requested += other.ram_requested;
        self.ram_used += other.ram_used;
    }
}

/// A row of a set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The aggregate's values joined by `/`.
    pub key: Box<str>,
    /// Its costs.
    pub costs: Costs,
    /// CPU used over requested (a ratio), if told.
    pub cpu_efficiency: Option<f64>,
    /// Memory used over requested (a ratio), if told.
    pub ram_efficiency: Option<f64>,
    /// Both, weighted by cost (a ratio), if told.
    pub total_efficiency: Option<f64>,
    /// What was used and requested, if told.
    pub usage: Option<Usage>,
    /// When it began and ended within the window.
    pub span: Option<Window>,
    /// The cluster of all that is in the row, if it is one.
    pub cluster: Option<Box<str>>,
    /// The node of all that is in the row, if it is one.
    pub node: Option<Box<str>>,
    /// The first service of the row.
    pub service: Option<Box<str>>,
}

impl Row {
    /// Whether the row is idle cost, merged or of one cluster or node.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.key.split('/').any(|segment| segment == "__idle__")
    }
}

/// The rows of one window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AllocationSet {
    /// The window its rows speak of; an empty set has none.
    pub window: Option<Window>,
    /// Its rows, in the reply's order.
    pub rows: Vec<Row>,
}

/// A row as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RawRow {
    properties: Option<RawProperties>,
    window: Option<RawWindow>,
    start: Text,
    end: Text,
    minutes: Number,
    cpu_core_request_average: Number,
    cpu_core_usage_average: Number,
    cpu_cost: Number,
    cpu_cost_adjustment: Number,
    cpu_efficiency: Number,
    gpu_cost: Number,
    gpu_cost_adjustment: Number,
    network_cost: Number,
    network_cost_adjustment: Number,
    load_balancer_cost: Number,
    load_balancer_cost_adjustment: Number,
    pv_cost: Number,
    pv_cost_adjustment: Number,
    ram_byte_request_average: Number,
    ram_byte_usage_average: Number,
    ram_cost: Number,
    ram_cost_adjustment: Number,
    ram_efficiency: Number,
    external_cost: Number,
    shared_cost: Number,
    total_cost: Number,
    total_efficiency: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawProperties {
    cluster: Text,
    node: Text,
    services: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawWindow {
    start: Text,
    end: Text,
}

impl RawRow {
    /// The row and its set's window, or nothing when no cost of it can be used.
    pub(super) fn read(self, key: Box<str>, faults: &mut Faults) -> Option<(Row, Option<Window>)> {
        let costs = self.costs(&key, faults)?;
        let minutes = self.minutes(&key, faults);
        let usage = self.usage(minutes);
        let mut efficiency = |number: Number| match number {
            Number::Absent | Number::Null => None,
            Number::Value(value) if (0.0..=EFFICIENCY_MAX).contains(&value) => number.value(),
            _ => {
                faults.add(Fault::BadEfficiency, &key);
                None
            }
        };
        let cpu_efficiency = efficiency(self.cpu_efficiency);
        let ram_efficiency = efficiency(self.ram_efficiency);
        let total_efficiency = efficiency(self.total_efficiency);
        let span = span(&self.start, &self.end, &key, faults);
        let window = self.window.and_then(|w| span_of_window(&w, &key, faults));
        let properties = self.properties.unwrap_or_default();
        let text = |text: Text| text.0.filter(|text| !text.is_empty());
        let row = Row {
            costs,
            cpu_efficiency,
            ram_efficiency,
            total_efficiency,
            usage,
            span,
            cluster: text(properties.cluster),
            node: text(properties.node),
            service: text(properties.services),
            key,
        };
        Some((row, window))
    }

    fn costs(&self, key: &str, faults: &mut Faults) -> Option<Costs> {
        let parts = [
            [self.cpu_cost, self.cpu_cost_adjustment],
            [self.ram_cost, self.ram_cost_adjustment],
            [self.gpu_cost, self.gpu_cost_adjustment],
            [self.pv_cost, self.pv_cost_adjustment],
            [self.network_cost, self.network_cost_adjustment],
            [self.load_balancer_cost, self.load_balancer_cost_adjustment],
            [self.shared_cost, self.external_cost],
        ];
        let all = || parts.iter().flatten().chain([&self.total_cost]);
        for number in all() {
            match number {
                Number::Null => faults.add(Fault::NullCost, key),
                Number::Nonsense => faults.add(Fault::NotANumber, key),
                Number::Absent | Number::Value(_) => {}
            }
        }
        if all().filter_map(|number| number.value()).any(|usd| usd.abs() > ROW_COST_USD_MAX) {
            faults.add(Fault::AbsurdCost, key);
            return None;
        }
        if all().all(|number| number.value().is_none()) {
            faults.add(Fault::NoCost, key);
            return None;
        }
        let sums = parts.map(|pair| pair.iter().filter_map(|n| n.value()).sum::<f64>());
        let sum: f64 = sums.iter().sum();
        let has_parts = parts.iter().flatten().any(|number| number.value().is_some());
        let total = self.total_cost.value().unwrap_or_else(|| {
            faults.add(Fault::TotalMissing, key);
            if parts.iter().flatten().any(|number| number.is_unknown()) {
                faults.add(Fault::UnknownTotal, key);
            }
            sum
        });
        if has_parts && (total - sum).abs() > SUM_TOLERANCE_USD + 1e-4 * total.abs() {
            faults.add(Fault::SumMismatch, key);
        }
        if total < 0.0 {
            let is_idle = key.contains("__idle__");
            faults.add(if is_idle { Fault::NegativeIdle } else { Fault::NegativeCost }, key);
        }
        let [cpu, ram, gpu, pv, network, lb, _] = sums;
        Some(Costs { total, cpu, ram, gpu, pv, network, lb })
    }

    fn minutes(&self, key: &str, faults: &mut Faults) -> Option<f64> {
        match self.minutes {
            Number::Value(minutes) if minutes >= 0.0 => Some(minutes),
            Number::Absent | Number::Null => None,
            Number::Value(_) | Number::Nonsense => {
                faults.add(Fault::BadMinutes, key);
                None
            }
        }
    }

    fn usage(&self, minutes: Option<f64>) -> Option<Usage> {
        let hours = minutes? / 60.0;
        let known = |number: Number| number.value().filter(|value| *value >= 0.0);
        Some(Usage {
            cpu_requested: known(self.cpu_core_request_average)? * hours,
            cpu_used: known(self.cpu_core_usage_average)? * hours,
            ram_requested: known(self.ram_byte_request_average)? * hours,
            ram_used: known(self.ram_byte_usage_average)? * hours,
        })
    }
}

fn span_of_window(window: &RawWindow, key: &str, faults: &mut Faults) -> Option<Window> {
    span(&window.start, &window.end, key, faults)
}

/// A pair of times; a pair that is no time or runs backwards is none.
fn span(start: &Text, end: &Text, key: &str, faults: &mut Faults) -> Option<Window> {
    let (start, end) = (start.0.as_deref()?, end.0.as_deref()?);
    match (parse_rfc3339(start), parse_rfc3339(end)) {
        (Some(start), Some(end)) if start <= end => Some(Window { start, end }),
        _ => {
            faults.add(Fault::BadTime, key);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> (Option<Row>, Faults) {
        let mut faults = Faults::default();
        let raw: RawRow = serde_json::from_str(json).unwrap();
        (raw.read("shop".into(), &mut faults).map(|(row, _)| row), faults)
    }

    #[test]
    fn adjustments_are_part_of_each_cost() {
        let (row, faults) = read(
            r#"{"cpuCost":1,"cpuCostAdjustment":-0.25,"ramCost":2,"pvCost":4,"gpuCost":8,
                "networkCost":16,"loadBalancerCost":32,"sharedCost":64,"externalCost":128,
                "totalCost":254.75}"#,
        );
        let costs = row.unwrap().costs;
        assert_eq!((costs.total, costs.cpu, costs.lb), (254.75, 0.75, 32.0));
        assert_eq!(faults, Faults::default());
    }

    #[test]
    fn unknown_parts_leave_the_total_standing_and_are_counted() {
        let (row, faults) = read(r#"{"cpuCost":null,"ramCost":"NaN","pvCost":2,"totalCost":3}"#);
        assert_eq!(row.unwrap().costs.total, 3.0);
        let counts = [Fault::NullCost, Fault::NotANumber, Fault::SumMismatch];
        assert_eq!(counts.map(|fault| faults.count(fault)), [1, 1, 1]);
    }

    #[test]
    fn a_missing_total_is_the_sum_of_its_parts_and_no_cost_at_all_is_no_row() {
        let (row, faults) = read(r#"{"cpuCost":1.5e-3,"ramCost":-0.000000,"totalCost":null}"#);
        let costs = row.unwrap().costs;
        assert_eq!((costs.total, costs.ram.is_sign_positive()), (0.0015, true));
        assert_eq!((faults.count(Fault::TotalMissing), faults.unknown_costs()), (1, 0));
        let (row, faults) = read(r#"{"cpuCost":1,"ramCost":null,"totalCost":null}"#);
        assert_eq!((row.unwrap().costs.total, faults.count(Fault::UnknownTotal)), (1.0, 1));
        for json in ["{}", r#"{"totalCost":null}"#, r#"{"minutes":60,"totalCost":[]}"#] {
            let (row, faults) = read(json);
            assert_eq!((row, faults.count(Fault::NoCost)), (None, 1), "{json}");
            assert_eq!(faults.unknown_costs(), 1, "{json}");
        }
    }

    #[test]
    fn absurd_costs_refuse_the_row_and_negative_ones_are_kept() {
        let (row, faults) = read(r#"{"cpuCost":-1.97e25,"totalCost":0.5}"#);
        assert_eq!((row, faults.count(Fault::AbsurdCost)), (None, 1));
        assert_eq!(faults.unknown_costs(), 1);
        let (row, faults) = read(r#"{"cpuCost":1,"cpuCostAdjustment":-3,"totalCost":-2}"#);
        assert_eq!(row.unwrap().costs.total, -2.0);
        assert_eq!(faults.count(Fault::NegativeCost), 1);
    }

    #[test]
    fn efficiencies_may_be_high_but_not_negative_or_absurd() {
        let json =
            r#"{"totalCost":1,"cpuEfficiency":58.5,"ramEfficiency":-1,"totalEfficiency":1e9}"#;
        let (row, faults) = read(json);
        let row = row.unwrap();
        assert_eq!((row.cpu_efficiency, row.ram_efficiency), (Some(58.5), None));
        assert_eq!((row.total_efficiency, faults.count(Fault::BadEfficiency)), (None, 2));
    }

    #[test]
    fn minutes_below_zero_and_garbage_times_cost_the_row_nothing() {
        let json = r#"{"totalCost":1,"minutes":-17,"start":"0x","end":"2026-11-20T17:00:00Z"}"#;
        let (row, faults) = read(json);
        let row = row.unwrap();
        assert_eq!((row.costs.total, row.span, row.usage), (1.0, None, None));
        assert_eq!([Fault::BadMinutes, Fault::BadTime].map(|f| faults.count(f)), [1, 1]);
    }
}
