//! From what was read to an explanation. Pure.

use crate::cost::bound::{BoundInputs, DayBound, bound};
use crate::cost::{AccountId, Cost, CostLine, Day, Level, ResourceKey, RollUp};
use crate::day_status::{DayState, DayStatus};
use crate::documents::ResourceNames;
use crate::ledger::KeyState;
use crate::run::day::inputs::CostedDay;
use crate::service::shown::shown;
use crate::source::{Phase, SourceDay};

use super::model::{Explanation, Hour, SourceFacts, Step, StoredRow, Subject};

/// What the stores have of a number.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The account.
    pub account: AccountId,
    /// The day.
    pub day: Day,
    /// What the number is of.
    pub key: ResourceKey,
    /// Its document.
    pub document: Option<ResourceNames>,
    /// The states of its key.
    pub states: Vec<KeyState>,
    /// The day's status.
    pub status: Option<DayStatus>,
    /// Levels that have rows.
    pub levels: String,
}

impl Stored {
    /// The sum of its rows, USD; `None` without a row.
    fn usd(&self) -> Option<f64> {
        (!self.states.is_empty())
            .then(|| self.states.iter().map(|state| state.cost_usd).sum::<f64>() + 0.0)
    }

    /// What a day has of it, USD.
    fn computed_usd(&self, costed: Option<&CostedDay>) -> Option<f64> {
        costed.and_then(|costed| find(&costed.roll, &self.key)).map(|line| line.cost.usd())
    }

    /// Whether it is what a day has of it, to the last bit.
    pub(super) fn is_computed(&self, costed: Option<&CostedDay>) -> bool {
        match (self.usd(), self.computed_usd(costed)) {
            (Some(stored), Some(computed)) => stored.to_bits() == computed.to_bits(),
            // A row of nothing is not written.
            (None, computed) => computed.is_none_or(|usd| usd == 0.0),
            (Some(_), None) => false,
        }
    }
}

/// Explains a number by what the stores and the source have.
#[must_use]
pub fn build(stored: Stored, address: &str, costed: Option<&CostedDay>) -> Explanation {
    let account = &stored.account;
    let stored_usd = stored.usd();
    let computed = stored.computed_usd(costed);
    let is_equal = stored.is_computed(costed);
    let cluster = stored.key.cluster();
    Explanation {
        subject: Subject::of(&stored.key, account),
        verdict: match newer_pod(&stored, stored_usd, computed) {
            Some(verdict) => verdict,
            None => verdict((stored_usd, computed), &stored, costed.is_some()),
        },
        source: costed.map(|costed| facts(&costed.source, address, cluster)),
        costs: costed
            .and_then(|costed| costed.source.costs.clusters.get(cluster).cloned())
            .unwrap_or_default(),
        steps: costed.map_or(Vec::new(), |costed| steps(costed, &stored.key)),
        roll_up_notes: costed.map_or(Vec::new(), |costed| notes(&costed.roll, cluster)),
        computed_usd: computed,
        is_equal,
        stored_usd,
        rows: stored.states.iter().map(StoredRow::from).collect(),
        document: stored.document,
        status: stored.status,
        day_state: None,
        day_cause: String::new(),
        account: stored.account,
        day: stored.day,
        levels: stored.levels,
        bound: None,
        questions: Vec::new(),
        hours: Vec::new(),
        raw: None,
    }
}

fn find<'a>(roll: &'a RollUp, key: &ResourceKey) -> Option<&'a CostLine> {
    roll.lines.iter().find(|line| line.key == *key)
}

/// What there is to say of a pod that has no row because no pod was written since it is there.
fn newer_pod(stored: &Stored, usd: Option<f64>, computed: Option<f64>) -> Option<String> {
    stored.status.as_ref()?.older_pods_at()?;
    let is_pod = stored.key.level() == Level::Pod;
    (is_pod && usd.is_none() && computed.is_none()).then(|| {
        "nothing is stored, and the source had no such pod when pods were last written: what it \
         cost since is in its namespace's row"
            .to_owned()
    })
}

fn verdict((stored, computed): (Option<f64>, Option<f64>), of: &Stored, was_asked: bool) -> String {
    let status = of.status.as_ref();
    let is_older_pod = of.key.level() == Level::Pod
        && status.is_some_and(|status| status.older_pods_at().is_some());
    let kept = status.filter(|status| !status.attempt.state.is_stored());
    match (stored, computed) {
        (None, _) if kept.is_some_and(|status| status.attempt.state == DayState::Failed) => {
            "nothing is stored: the day failed, see its cause".to_owned()
        }
        (None, None) => {
            "nothing is stored, and the source has no such thing on that day".to_owned()
        }
        (None, Some(usd)) if usd > 0.0 => {
            format!("nothing is stored, although the source has ${usd}: see the day's state")
        }
        (None, Some(_)) => "it costs nothing beside what lies beneath it: no row".to_owned(),
        (Some(_), _) if !was_asked => "the source was not asked".to_owned(),
        (Some(stored), Some(computed)) if stored.to_bits() == computed.to_bits() => {
            "stored and computed are equal to the last bit".to_owned()
        }
        (Some(stored), computed) => {
            let computed = computed.unwrap_or(0.0);
            let why = match kept {
                Some(status) => format!(
                    "the day is {} and was left as it was stored",
                    status.attempt.state.as_str()
                ),
                None if is_older_pod => {
                    "its row is of a run between the time of the day's pods and \
                                         the last run (TODAY_REFRESH)"
                        .to_owned()
                }
                None => "the source has changed since, or other levels or settings held when the \
                         row was written"
                    .to_owned(),
            };
            format!("stored ${stored} and computed ${computed} differ: {why}")
        }
    }
}

fn facts(source: &SourceDay, address: &str, cluster: &str) -> SourceFacts {
    let mut notes: Vec<String> = source.warnings.iter().cloned().map(String::from).collect();
    let more = [&source.conflicts, &source.gap_causes, &source.missing, &source.approximations];
    notes.extend(more.into_iter().flatten().chain(&source.waiting).map(|note| shown(note)));
    SourceFacts {
        address: address.to_owned(),
        phase: source.phase.number(),
        covered_minutes: source.minutes_of(cluster),
        expected_minutes: source.expected_minutes,
        lag_seconds: source.lag_seconds,
        scaled_by: source.reading.scaled_by.get(cluster).copied().unwrap_or(1.0),
        notes,
    }
}

/// The remainder arithmetic from the number up to its cluster.
fn steps(costed: &CostedDay, key: &ResourceKey) -> Vec<Step> {
    let mut keys = vec![key.clone()];
    let cluster = key.cluster().to_owned();
    if let (Some(namespace), Some(_)) = (key.namespace(), key.pod()) {
        let namespace = namespace.to_owned();
        keys.push(ResourceKey::Namespace { cluster: cluster.clone(), namespace });
    }
    if key.namespace().is_some() {
        keys.push(ResourceKey::Cluster { cluster });
    }
    keys.iter().filter_map(|key| step(costed, key)).collect()
}

fn step(costed: &CostedDay, key: &ResourceKey) -> Option<Step> {
    let cluster = costed.source.costs.clusters.get(key.cluster())?;
    let namespace = key.namespace().and_then(|name| cluster.namespaces.get(name));
    let source_usd = match (key.namespace(), key.pod()) {
        (Some(_), Some(pod)) => Some(namespace?.pods.get(pod)?.total_usd),
        (Some(_), None) => namespace?.total_usd,
        _ => cluster.total_usd,
    };
    let is_beneath = |line: &&CostLine| {
        line.key != *key
            && line.key.cluster() == key.cluster()
            && match (key.namespace(), key.pod()) {
                (None, _) => true,
                (Some(name), None) => {
                    line.key.namespace() == Some(name) && line.key.pod().is_some()
                }
                _ => false,
            }
    };
    let beneath: Vec<&CostLine> = costed.roll.lines.iter().filter(is_beneath).collect();
    let sum: Cost = beneath.iter().map(|line| line.cost).sum();
    let row = find(&costed.roll, key).map_or(Cost::ZERO, |line| line.cost);
    Some(Step {
        level: key.level().as_str(),
        name: key.pod().or(key.namespace()).unwrap_or(key.cluster()).to_owned(),
        source_usd,
        rounded_usd: source_usd.and_then(|usd| Cost::from_usd(usd).ok()).map_or(0.0, Cost::usd),
        beneath_usd: sum.usd(),
        row_usd: row.usd(),
        rows_beneath: beneath.iter().filter(|line| !line.cost.is_zero()).count(),
        is_of_rows: false,
    })
}

fn notes(roll: &RollUp, cluster: &str) -> Vec<String> {
    let name =
        |key: &ResourceKey| key.pod().or(key.namespace()).unwrap_or(key.cluster()).to_owned();
    let excess = roll.excess.iter().filter(|one| one.key.cluster() == cluster).map(|one| {
        format!("what is in '{}' adds up to ${} more than it: taken off", name(&one.key), one.usd)
    });
    let contradictions =
        roll.contradictions.iter().filter(|one| one.key.cluster() == cluster).map(|one| {
            format!(
                "what is in '{}' adds up to ${}, but it costs ${}: the level {} is left out",
                name(&one.key),
                one.children_usd,
                one.parent_usd,
                one.left_out.as_str()
            )
        });
    let refused = roll
        .refused
        .iter()
        .filter(|one| one.key.cluster() == cluster)
        .map(|one| format!("'{}' is refused: {}", name(&one.key), one.reason));
    excess.chain(contradictions).chain(refused).collect()
}

/// By how much the number may be off, by its hours: the derivation is in `docs/EXPLAIN.md`.
#[must_use]
pub fn bound_of(explanation: &Explanation) -> Option<DayBound> {
    let source = explanation.source.as_ref()?;
    let mean = |hour: &Hour| {
        if hour.minutes == 0 { 0.0 } else { hour.usd / f64::from(hour.minutes) * 60.0 }
    };
    let most = explanation.hours.iter().map(mean).fold(0.0, f64::max);
    let rate_max = if explanation.hours.is_empty() {
        let usd = explanation.steps.first().and_then(|step| step.source_usd)?;
        usd / f64::from(source.covered_minutes.max(1)) * 60.0
    } else {
        most
    };
    let alive: u32 = explanation.hours.iter().map(|hour| hour.minutes).sum();
    // A beginning or an end lies wherever an hour has some of its minutes; whole days have none.
    let cut = explanation.hours.iter().filter(|hour| (1..60).contains(&hour.minutes)).count();
    let is_whole = alive >= source.expected_minutes;
    let reading = explanation.raw.as_ref().map(|raw| &raw.reading);
    let by_windows = source.phase == Phase::Exporter.number()
        && reading.is_none_or(|reading| reading.is_of_windows);
    let step_minutes = reading.and_then(|reading| reading.step_minutes).unwrap_or(1);
    let edges =
        if by_windows || is_whole { 0 } else { 2 * u32::try_from(cut).unwrap_or(u32::MAX).max(1) };
    Some(bound(BoundInputs {
        rate_max,
        missing_minutes: source.expected_minutes.saturating_sub(source.covered_minutes),
        edges,
        step_minutes: f64::from(step_minutes),
        roundings: u32::try_from(explanation.steps.first().map_or(0, |step| step.rows_beneath))
            .unwrap_or(u32::MAX)
            .saturating_add(1),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::Levels;
    use crate::ledger::Dimensions;
    use crate::settings::worker::GapPolicy;

    fn costed() -> CostedDay {
        let mut source = SourceDay::without_samples(Phase::Exporter, 1_440);
        source.costs.cluster_mut("c").total_usd = Some(10.0);
        source.costs.namespace_mut("c", "shop").total_usd = Some(6.1);
        let pod = crate::cost::PodCosts { total_usd: 1.7, ..Default::default() };
        source.costs.namespace_mut("c", "shop").pods.insert("web".into(), pod);
        source.cover_all(1_440);
        CostedDay::of(source, Levels::ALL, GapPolicy::None)
    }

    fn explained(key: ResourceKey, usd: Option<f64>) -> Explanation {
        let state = |usd: f64| KeyState {
            resource_id: "id".into(),
            date_seconds: 0,
            dimensions: Dimensions::default(),
            cost_usd: usd,
            sign_sum: 1,
            unpaired: Vec::new(),
        };
        let stored = Stored {
            account: AccountId::new("a").unwrap(),
            day: "2026-11-20".parse().unwrap(),
            key,
            document: None,
            states: usd.map(state).into_iter().collect(),
            status: None,
            levels: Levels::ALL.to_string(),
        };
        build(stored, "http://p", Some(&costed()))
    }

    fn namespace() -> ResourceKey {
        ResourceKey::Namespace { cluster: "c".into(), namespace: "shop".into() }
    }

    #[test]
    fn a_remainder_is_explained_up_to_its_cluster_and_equals_the_row() {
        let rounded = |usd: f64| Cost::from_usd(usd).unwrap();
        let row = (rounded(6.1) - rounded(1.7)).usd();
        let one = explained(namespace(), Some(row));
        assert!(one.is_equal, "{}", one.verdict);
        assert_eq!(one.steps.len(), 2);
        let [own, cluster] = &one.steps[..] else { panic!() };
        assert_eq!(
            (own.source_usd, own.beneath_usd, own.row_usd),
            (Some(6.1), rounded(1.7).usd(), row)
        );
        assert_eq!((cluster.level, cluster.rows_beneath), ("cluster", 2));
        assert_eq!(cluster.rounded_usd - cluster.beneath_usd, cluster.row_usd);
    }

    #[test]
    fn a_number_that_differs_or_is_not_there_says_so() {
        let other = explained(namespace(), Some(1.0));
        assert!(!other.is_equal && other.verdict.contains("differ"), "{}", other.verdict);
        let none = explained(namespace(), None);
        assert!(
            !none.is_equal && none.verdict.contains("although the source has"),
            "{}",
            none.verdict
        );
        let unknown =
            explained(ResourceKey::Namespace { cluster: "c".into(), namespace: "x".into() }, None);
        assert!(unknown.verdict.contains("no such thing"), "{}", unknown.verdict);
    }

    #[test]
    fn a_pod_of_ten_minutes_is_off_by_two_minutes_at_most() {
        let key =
            ResourceKey::Pod { cluster: "c".into(), namespace: "shop".into(), pod: "web".into() };
        let mut one = explained(key, Some(1.7));
        one.source.as_mut().unwrap().phase = 1;
        one.hours = vec![Hour { start: 0, usd: 1.0, minutes: 10 }];
        let bound = bound_of(&one).unwrap();
        assert!((bound.high_by_usd - 6.0 / 60.0 * 2.0).abs() < 1e-6, "{bound:?}");
        assert_eq!(bound.gaps_usd, 0.0);
    }
}
