//! All that a decision about a day rests on.

use std::collections::{BTreeMap, BTreeSet};

use crate::cost::{
    AccountId, ClusterCosts, Composition, Cost, CostLine, Day, Efficiency, Levels, Limits,
    NodeFacts, OverLimit, Parts, ResourceKey, RollUp, RowParts, add_known_parts, roll_up,
    row_parts,
};
use crate::day_status::DayStatus;
use crate::documents::{ObservedResource, PoolOwner, SeenNow, StoredResource};
use crate::ledger::{KeyState, ResourceTotal, WantedRow};
use crate::rest_api::nodes::{TabNodes, tab_nodes};
use crate::settings::worker::GapPolicy;
use crate::source::{Phase, Presence, SourceDay};

use super::gap_scaling::scale_over_gaps;

/// A day to work on, and what was known of it before it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct DueDay {
    /// The day.
    pub day: Day,
    /// The metrics to use; `None` when there are none.
    pub phase: Option<Phase>,
    /// Minutes with samples.
    pub presence: Presence,
    /// Its status, if there is one.
    pub status: Option<DayStatus>,
    /// The clusters that the days before it had.
    pub clusters_before: BTreeSet<String>,
}

/// For how many days after its last one a cluster is missed: from then on it is taken for gone.
pub const MISSED_DAYS: u32 = 3;
/// How long a day must have run before a cluster without a sample is missed, minutes.
const MISSED_AFTER_MINUTES: u32 = 60;

/// The clusters that the days before a day have in store.
#[must_use]
pub fn clusters_before<'s>(
    day: Day,
    statuses: impl IntoIterator<Item = &'s DayStatus>,
) -> BTreeSet<String> {
    let before = day.minus(MISSED_DAYS)..day;
    let days = statuses.into_iter().filter(|status| before.contains(&status.day));
    let clusters = days.flat_map(|status| &status.stored.coverage.clusters);
    clusters.filter(|one| one.covered_minutes > 0).map(|one| one.cluster.clone()).collect()
}

/// Names the clusters that the days before had and this one lacks: a query-layer store that is
/// down hides its clusters without a warning.
pub fn name_missed_clusters(source: &mut SourceDay, before: &BTreeSet<String>) {
    if source.covered_minutes == 0 || source.expected_minutes < MISSED_AFTER_MINUTES {
        return;
    }
    let is_missed = |cluster: &&String| source.minutes_of(cluster) == 0;
    let missed: Vec<&String> = before.iter().filter(is_missed).collect();
    for cluster in missed {
        source.missing.push(format!(
            "cluster '{cluster}', which the days before have, has no sample of this day: if it is \
             gone, this ends by itself after {MISSED_DAYS} days; else see its exporter, and the \
             stores of the query layer"
        ));
    }
}

/// A day's costs as they would be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct CostedDay {
    /// What the source has, scaled over gaps where the operator wants that.
    pub source: SourceDay,
    /// Its costs, rounded, each dollar in one line.
    pub roll: RollUp,
    /// What the lines are made of, where the source says it; `None`: that is not asked for.
    pub parts: Option<BTreeMap<ResourceKey, RowParts>>,
}

impl CostedDay {
    /// The costs of what the source has.
    #[must_use]
    pub fn of(mut source: SourceDay, levels: Levels, gap_policy: GapPolicy) -> Self {
        if gap_policy == GapPolicy::Scale {
            scale_over_gaps(&mut source);
        }
        let roll = roll_up(&source.costs, levels);
        let parts = levels.has_parts.then(|| row_parts(&source.costs, &roll, levels));
        Self { source, roll, parts }
    }

    /// Sees that the day is no larger than it may be, or folds the cheapest of its rows. Returns how
    /// many were folded.
    ///
    /// # Errors
    /// [`OverLimit`] where it is too large; then nothing is changed.
    pub fn enforce(&mut self, limits: Limits, levels: Levels) -> Result<usize, OverLimit> {
        limits.enforce_clusters(&self.source.costs)?;
        let folded = limits.enforce(&mut self.roll, levels)?;
        if folded > 0 && self.parts.is_some() {
            self.parts = Some(row_parts(&self.source.costs, &self.roll, levels));
        }
        Ok(folded)
    }

    /// What the day's total is made of.
    #[must_use]
    pub fn composition(&self) -> Composition {
        let known = self.parts.as_ref();
        let mut parts = known.map(|_| Parts::new());
        for line in self.roll.lines.iter().filter(|line| !line.cost.is_zero()) {
            let row = known.and_then(|parts| parts.get(&line.key));
            add_known_parts(&mut parts, row.map(|row| &row.parts), 1.0);
        }
        let cluster = self.only_cluster().filter(|_| known.is_some());
        let efficiency = cluster.map(|cluster| Efficiency::of(&cluster.breakdown));
        Composition { parts, efficiency: efficiency.unwrap_or_default() }
    }

    /// The day's cluster, where it has one: the ratios of several cannot be added up.
    #[must_use]
    pub fn only_cluster(&self) -> Option<&ClusterCosts> {
        let clusters = &self.source.costs.clusters;
        clusters.values().next().filter(|_| clusters.len() == 1)
    }

    fn facts(&self, line: &CostLine) -> NodeFacts {
        let nodes = self.source.costs.clusters.get(line.key.cluster()).map(|one| &one.nodes);
        let known = nodes.zip(line.key.node()).and_then(|(nodes, node)| nodes.get(node));
        known.map(|node| node.facts.clone()).unwrap_or_default()
    }

    /// The resources that the costs name.
    #[must_use]
    pub fn observed(&self, account: &AccountId) -> Vec<ObservedResource> {
        let one = |line: &CostLine| ObservedResource {
            cloud_resource_id: line.key.id(account),
            key: line.key.clone(),
            node: line.node.clone(),
            service: line.service.clone(),
            facts: self.facts(line),
            kubernetes: None,
        };
        self.roll.lines.iter().map(one).collect()
    }
}

/// The documents that a day's decision rests on.
#[derive(Clone, Debug, Default)]
pub struct DocumentsRead {
    /// The resources that the day's costs name.
    pub observed: Vec<ObservedResource>,
    /// Those of their documents that are stored.
    pub stored: Vec<StoredResource>,
    /// The account's other documents, where those of version 0.1.0 are to be repaired.
    pub others: Vec<StoredResource>,
    /// `_id`s of new documents that other documents already have.
    pub taken: BTreeSet<String>,
    /// What the ledger has of the new documents' resources: those that it knows.
    pub new_totals: Vec<ResourceTotal>,
    /// What has a sample right now, where that was asked for.
    pub seen_now: Option<SeenNow>,
    /// Pool and owner of documents that have neither.
    pub owner: Option<PoolOwner>,
}

impl DocumentsRead {
    /// The nodes that the day's costs name.
    #[must_use]
    pub fn nodes(&self) -> TabNodes {
        tab_nodes(self.observed.iter().filter_map(|one| Some((one.key.node()?, &one.facts))))
    }
}

/// The ledger's states of a day.
#[derive(Clone, Debug, Default)]
pub struct RowsRead {
    /// All of them, whoever wrote them.
    pub states: Vec<KeyState>,
    /// Resources that this program has made documents of, beside those that the costs name.
    pub own_ids: BTreeSet<String>,
}

/// The rows of pods that stay, of a day that was read without its pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeptPods {
    /// The rows, as they are stored.
    pub rows: Vec<WantedRow>,
}

impl KeptPods {
    /// The sum of the rows.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.rows.iter().map(|row| row.cost).sum()
    }
}

/// All that a decision about a day rests on.
#[derive(Clone, Debug)]
pub struct DayInputs {
    /// The account.
    pub account: AccountId,
    /// The run.
    pub run_id: String,
    /// The time that the costs are of, Unix seconds.
    pub now_seconds: i64,
    /// The day.
    pub due: DueDay,
    /// Its costs.
    pub costs: CostedDay,
    /// Its documents.
    pub documents: DocumentsRead,
    /// Its rows.
    pub rows: RowsRead,
    /// The rows of pods that stay, where the day was read without its pods.
    pub kept_pods: Option<KeptPods>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::day_status::ClusterCoverage;
    use crate::day_status::stored_form::tests::complete;

    #[test]
    fn a_cluster_that_the_days_before_had_is_missed_for_three_days() {
        let day = |text: &str| -> Day { text.parse().unwrap() };
        let mut status = complete(day("2026-11-17"));
        let cluster = |name: &str, covered_minutes| ClusterCoverage {
            cluster: name.to_owned(),
            covered_minutes,
        };
        status.stored.coverage.clusters = vec![cluster("c", 1_440), cluster("none", 0)];
        let before = |text: &str| clusters_before(day(text), [&status]);
        assert_eq!(before("2026-11-18"), BTreeSet::from(["c".to_owned()]));
        assert_eq!(before("2026-11-20"), before("2026-11-18"));
        assert!(before("2026-11-21").is_empty() && before("2026-11-17").is_empty());
    }

    #[test]
    fn a_day_without_one_of_its_clusters_is_missing_something() {
        let before = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let missed = |covered: u32, expected: u32| {
            let mut source = SourceDay::without_samples(Phase::Exporter, expected);
            source.cover(BTreeMap::from([("a".to_owned(), covered)]));
            name_missed_clusters(&mut source, &before);
            source.missing
        };
        assert!(missed(1_440, 1_440)[0].contains("cluster 'b'"));
        assert_eq!(missed(1_440, 1_440).len(), 1);
        assert!(missed(59, 59).is_empty(), "it may still come");
        assert!(missed(0, 1_440).is_empty(), "that day has no data at all");
    }
}
