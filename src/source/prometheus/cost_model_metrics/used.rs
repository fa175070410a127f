//! Efficiencies of Phase 1: what containers use over what they request. The cost model's own metrics
//! hold the greater of the two; these two are cAdvisor's and kube-state-metrics'.

use std::collections::BTreeMap;

use crate::cost::{Breakdown, Level};
use crate::service::failure::Failure;
use crate::source::labels::Labels;
use crate::source::metric_names::{CPU_USED, RAM_USED, REQUESTED};
use crate::source::prometheus::efficiencies::ratio;
use crate::source::prometheus::gauges::breakdown_of;
use crate::source::prometheus::promql::{Selector, Window};

use super::RawDay;

/// Containers that are none: sums of a pod's, and what keeps its network.
const REAL: [&str; 2] = ["container!=\"\"", "container!=\"POD\""];
const CONTAINER: [&str; 3] = ["namespace", "pod", "container"];

/// A resource that is used and requested.
struct Resource {
    used: &'static str,
    /// The metric counts up: its rate is what is used.
    is_counter: bool,
    requested: &'static str,
    set: fn(&mut Breakdown, Option<f64>),
}

const RESOURCES: [Resource; 2] = [
    Resource {
        used: CPU_USED,
        is_counter: true,
        requested: "resource=\"cpu\"",
        set: |of, ratio| of.cpu_efficiency = ratio,
    },
    Resource {
        used: RAM_USED,
        is_counter: false,
        requested: "resource=\"memory\"",
        set: |of, ratio| of.ram_efficiency = ratio,
    },
];

impl RawDay<'_, '_> {
    /// Adds efficiencies, where parts are wanted and the metrics are there. They are no costs:
    /// where they cannot be read, the day is as good without them.
    pub(super) async fn efficiencies(&mut self, selector: &Selector) {
        if !self.session.levels().has_parts {
            return;
        }
        for resource in RESOURCES {
            if let Err(failure) = self.efficiency(selector, &resource).await {
                self.session.warn(format!(
                    "efficiencies are not known: {} cannot be read: {}",
                    resource.used, failure.what
                ));
                return;
            }
        }
    }

    async fn efficiency(
        &mut self,
        selector: &Selector,
        resource: &Resource,
    ) -> Result<(), Failure> {
        let used = self.added_up(resource.used, |piece| resource.used(selector, piece)).await?;
        if used.is_empty() {
            return Ok(());
        }
        let requested = selector.raw(REQUESTED, &[resource.requested]);
        let requested = selector.max_by(&CONTAINER, &requested);
        let requested = selector.sum_by(&["namespace"], &requested);
        let requested = self.added_up(REQUESTED, |piece| points(&requested, piece)).await?;
        for level in [Level::Cluster, Level::Namespace] {
            let [used, requested] = [&used, &requested].map(|of| at_level(level, of));
            for (labels, requested) in requested {
                let used = used.get(&labels).copied().unwrap_or(0.0);
                let costs = &mut self.out.costs;
                if let Some(known) = breakdown_of(self.session, level, &labels, costs) {
                    (resource.set)(known, ratio(used, requested));
                }
            }
        }
        Ok(())
    }

    /// What a query says of the pieces of the day, of a metric that is there.
    async fn added_up(
        &mut self,
        metric: &str,
        query: impl Fn(Window) -> String,
    ) -> Result<BTreeMap<Labels, f64>, Failure> {
        let selector = self.session.selector();
        let series = self.session.series_count(&selector, metric, self.window).await?;
        if series == 0 {
            return Ok(BTreeMap::new());
        }
        self.session.summed_whole(self.window, series, query).await
    }
}

impl Resource {
    /// Cores, or bytes, that containers use, added up over the minutes of a piece. One that is
    /// started again in its pod has another `id`; scrapers of one container have the same. A
    /// counter is asked for what it grew by: rates of five minutes would reach beyond the end of a
    /// container that lives for less.
    fn used(&self, selector: &Selector, piece: Window) -> String {
        let container = [CONTAINER.as_slice(), &["id"]].concat();
        let by_namespace =
            |of: &str| selector.sum_by(&["namespace"], &selector.max_by(&container, of));
        if self.is_counter {
            let grown = selector.over_time("increase", self.used, &REAL, &piece.range());
            return format!("{} / 60", by_namespace(&grown));
        }
        points(&by_namespace(&selector.raw(self.used, &REAL)), piece)
    }
}

/// The sum of an expression over the minutes of a piece: coarser points would miss or favor jobs
/// that start at the same minute of each hour.
fn points(expression: &str, piece: Window) -> String {
    format!("sum_over_time(({expression})[{}:1m])", piece.range())
}

/// Sums of namespaces, or those of their clusters.
fn at_level(level: Level, of: &BTreeMap<Labels, f64>) -> BTreeMap<Labels, f64> {
    let mut out = BTreeMap::new();
    for (labels, value) in of {
        let mut labels = labels.clone();
        if level == Level::Cluster {
            labels.remove("namespace");
        }
        *out.entry(labels).or_insert(0.0) += value;
    }
    out
}
