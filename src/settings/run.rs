//! How a run computes and protects days.

use std::time::Duration;

use crate::cost::{Levels, Limits, NodeLevel, Phase};

use super::parallel::ParallelConfig;
use super::reader::{ReadSettings, Reader};
use super::worker_names as names;

/// The shortest lease: longer than any write may take.
pub const LEASE_MIN: Duration = Duration::from_secs(90);
const LEASE_MAX: Duration = Duration::from_secs(3_600);

/// What a day with gaps costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapPolicy {
    /// What was seen.
    None,
    /// What was seen, divided by the coverage.
    Scale,
}

/// When a run in which accounts failed is itself one that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailOn {
    /// When any account failed.
    #[default]
    Account,
    /// When none was done.
    Run,
}

impl FailOn {
    /// The exit code of a run with this exit code, in which so many accounts were done.
    #[must_use]
    pub fn exit_code(self, code: u8, accounts_done: usize) -> u8 {
        if self == Self::Run && code == 1 && accounts_done > 0 { 0 } else { code }
    }
}

/// How a run computes and protects days.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Levels that have rows of their own.
    pub levels: Levels,
    /// The phase to use, if not chosen by what there is.
    pub phase: Option<Phase>,
    /// Cluster name of series that have none.
    pub default_cluster: String,
    /// How long a lease holds.
    pub lease: Duration,
    /// How many past days are looked after.
    pub catch_up_days: u32,
    /// By which share a day's total may fall.
    pub shrink_limit: f64,
    /// What a day with gaps costs.
    pub gap_policy: GapPolicy,
    /// How old the rows of a running day's pods may become before they are written again.
    pub today_refresh: Duration,
    /// Time one account may take in a run.
    pub account_deadline: Duration,
    /// How much an account's day may have.
    pub limits: Limits,
    /// How many accounts are worked on at a time, and how long the run may take.
    pub parallel: ParallelConfig,
}

impl ReadSettings for RunConfig {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let seconds = Duration::from_secs;
        let policies = [("none", GapPolicy::None), ("scale", GapPolicy::Scale)];
        let levels = levels(reader);
        let phase = phase(reader);
        let default_cluster = reader.text(names::DEFAULT_CLUSTER);
        let lease = lease(reader);
        let catch_up_days = catch_up_days(reader);
        let shrink_limit = reader.share(names::SHRINK_LIMIT);
        let gap_policy = reader.choice(names::GAP_POLICY, &policies);
        let today_refresh = reader.duration(names::TODAY_REFRESH, Duration::ZERO, seconds(86_400));
        let account_deadline =
            reader.duration(names::ACCOUNT_DEADLINE_SECONDS, seconds(5), seconds(86_400));
        let limits = limits(reader);
        let parallel = ParallelConfig::read(reader);
        Some(Self {
            levels: levels?,
            phase: phase?,
            default_cluster: default_cluster?,
            lease: lease?,
            catch_up_days: catch_up_days?,
            shrink_limit: shrink_limit?,
            gap_policy: gap_policy?,
            today_refresh: today_refresh?,
            account_deadline: account_deadline?,
            limits: limits?,
            parallel: parallel?,
        })
    }
}

fn limits(reader: &mut Reader<'_>) -> Option<Limits> {
    let resources = reader.number(names::MAX_RESOURCES, 1, 1_000_000);
    let clusters = reader.number(names::MAX_CLUSTERS, 1, 100_000);
    let is_folding = reader.choice(names::OVER_LIMIT, &[("fail", false), ("fold", true)]);
    Some(Limits {
        resources_max: usize::try_from(resources?).ok()?,
        clusters_max: usize::try_from(clusters?).ok()?,
        is_folding: is_folding?,
    })
}

/// `None`: the setting is wrong; `Some(None)`: the phase is chosen by what there is.
pub(super) fn phase(reader: &mut Reader<'_>) -> Option<Option<Phase>> {
    let phases = [("auto", None), ("1", Some(Phase::Raw)), ("2", Some(Phase::Exporter))];
    reader.choice(names::PHASE, &phases)
}

pub(super) fn fail_on(reader: &mut Reader<'_>) -> Option<FailOn> {
    reader.choice(names::FAIL_ON, &[("account", FailOn::Account), ("run", FailOn::Run)])
}

pub(super) fn lease(reader: &mut Reader<'_>) -> Option<Duration> {
    reader.duration(names::LEASE_SECONDS, LEASE_MIN, LEASE_MAX)
}

pub(super) fn catch_up_days(reader: &mut Reader<'_>) -> Option<u32> {
    u32::try_from(reader.number(names::CATCH_UP_DAYS, 1, 400)?).ok()
}

fn levels(reader: &mut Reader<'_>) -> Option<Levels> {
    let text = reader.text(names::LEVELS)?;
    let mut levels = Levels { cluster: false, namespace: false, ..Levels::DEFAULT };
    levels.has_parts = reader.flag(names::COST_PARTS)?;
    let has_rows = reader.choice(names::NODE_ROWS, &[("pods", false), ("always", true)])?;
    for word in text.split(',').map(str::trim) {
        match word {
            "cluster" => levels.cluster = true,
            "node" => levels.node = NodeLevel::Documents,
            "namespace" => levels.namespace = true,
            "pod" => levels.pod = true,
            other => {
                let what = format!("'{other}' is no level: cluster, node, namespace or pod");
                reader.error(names::LEVELS, &what);
            }
        }
    }
    if levels.node == NodeLevel::Documents && (levels.pod || has_rows) {
        levels.node = NodeLevel::Rows;
    }
    Some(levels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::RawSettings;

    #[test]
    fn one_failed_account_of_many_fails_a_run_only_if_asked_for() {
        assert_eq!(FailOn::Account.exit_code(1, 999), 1);
        assert_eq!(FailOn::Run.exit_code(1, 999), 0);
        assert_eq!(FailOn::Run.exit_code(1, 0), 1);
        for other in [0, 2, 3] {
            assert_eq!(FailOn::Run.exit_code(other, 999), other);
        }
    }

    fn node(pairs: &[(&str, &str)]) -> NodeLevel {
        let raw = RawSettings::of(names::SETTINGS, pairs);
        RunConfig::validate(raw).map_err(|errors| errors.to_string()).unwrap().levels.node
    }

    #[test]
    fn nodes_have_rows_where_pods_do_and_else_only_where_they_are_asked_for() {
        assert_eq!(node(&[]), NodeLevel::Off);
        let all = ("LEVELS", "cluster, node, namespace, pod");
        assert_eq!(node(&[all]), NodeLevel::Rows);
        let documents = ("LEVELS", "cluster,node,namespace");
        assert_eq!(node(&[documents]), NodeLevel::Documents);
        assert_eq!(node(&[documents, ("NODE_ROWS", "always")]), NodeLevel::Rows);
        assert_eq!(node(&[("NODE_ROWS", "always")]), NodeLevel::Off);
    }
}
