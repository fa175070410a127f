//! The stored form of a day's status: flat, with the names that operators query and that version
//! 0.1.0 wrote.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cost::bound::DayBound;
use crate::cost::{AccountId, Composition, Day, Efficiency, Parts};
use crate::source::{Phase, Presence};

use super::{
    Attempt, ClusterCoverage, Coverage, DayState, DayStatus, Guard, OtherRows, Override,
    StoredCosts,
};

/// A document of `kubecost_account_day`. Fields with a default are missing in documents of
/// version 0.1.0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StoredForm {
    account: AccountId,
    day: Day,
    state: DayState,
    cause: String,
    /// 1 (raw metrics) or 2 (exporter's gauges); null when no costs are stored.
    phase: Option<u8>,
    covered_minutes: u32,
    #[serde(default)]
    clusters: Vec<ClusterCoverage>,
    expected_minutes: u32,
    source_total_usd: f64,
    stored_total_usd: f64,
    rows: u64,
    #[serde(default)]
    foreign_total_usd: f64,
    #[serde(default)]
    foreign_rows: i64,
    #[serde(default)]
    pending: bool,
    settled: bool,
    raw_minutes: u32,
    exporter_minutes: u32,
    #[serde(default)]
    raw_samples: u64,
    #[serde(default)]
    exporter_samples: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    all_samples: Option<u64>,
    #[serde(default)]
    overrides: Vec<Override>,
    /// Of version 0.1.0, which had one reason for all guards.
    #[serde(default, skip_serializing)]
    forced_reason: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    exchange_rates: BTreeMap<String, f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error_bound: Option<DayBound>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pods_written_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pods_read_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cost_parts: Option<Parts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cpu_efficiency: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ram_efficiency: Option<f64>,
    run_id: String,
    updated_at: i64,
}

impl Serialize for DayStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        StoredForm::from(self.clone()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for DayStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = StoredForm::deserialize(deserializer)?;
        form.check_numbers().map_err(serde::de::Error::custom)?;
        Ok(form.into())
    }
}

impl From<DayStatus> for StoredForm {
    fn from(status: DayStatus) -> Self {
        let DayStatus { account, day, stored, other_rows, seen, attempt, overrides } = status;
        Self {
            account,
            day,
            state: attempt.state,
            cause: attempt.cause,
            phase: stored.phase.map(Phase::number),
            covered_minutes: stored.coverage.covered_minutes,
            clusters: stored.coverage.clusters,
            expected_minutes: stored.coverage.expected_minutes,
            source_total_usd: stored.source_total_usd,
            stored_total_usd: stored.total_usd,
            rows: stored.rows,
            foreign_total_usd: other_rows.total_usd,
            foreign_rows: other_rows.rows,
            pending: attempt.is_pending,
            settled: attempt.is_settled,
            raw_minutes: seen.raw_minutes,
            exporter_minutes: seen.exporter_minutes,
            raw_samples: seen.raw_samples,
            exporter_samples: seen.exporter_samples,
            all_samples: seen.all_samples,
            overrides,
            forced_reason: None,
            exchange_rates: stored.exchange_rates,
            error_bound: stored.bound,
            pods_written_at: stored.pods_at,
            pods_read_at: stored.pods_read_at,
            cost_parts: stored.composition.parts,
            cpu_efficiency: stored.composition.efficiency.cpu,
            ram_efficiency: stored.composition.efficiency.ram,
            run_id: attempt.run_id,
            updated_at: attempt.at_seconds,
        }
    }
}

impl StoredForm {
    /// Sees that all costs are numbers: another program may have written what is none.
    fn check_numbers(&self) -> Result<(), String> {
        let costs = [
            ("source_total_usd", self.source_total_usd),
            ("stored_total_usd", self.stored_total_usd),
            ("foreign_total_usd", self.foreign_total_usd),
        ];
        let rates = self.exchange_rates.values().map(|rate| ("exchange_rates", *rate));
        let parts = self.cost_parts.iter().flatten().map(|(_, usd)| ("cost_parts", *usd));
        match costs.into_iter().chain(rates).chain(parts).find(|(_, number)| !number.is_finite()) {
            Some((name, number)) => {
                Err(format!("status of {} {}: {name} is {number}", self.account, self.day))
            }
            None => Ok(()),
        }
    }
}

impl From<StoredForm> for DayStatus {
    fn from(form: StoredForm) -> Self {
        let mut overrides = form.overrides;
        // In version 0.1.0 a stored reason went on overriding this guard and no other.
        let earlier = form.forced_reason.map(|reason| (Guard::SourceConflict, reason));
        if let Some((guard, reason)) = earlier
            && !overrides.iter().any(|one| one.guard == guard)
        {
            overrides.push(Override { guard, reason });
        }
        Self {
            account: form.account,
            day: form.day,
            stored: StoredCosts {
                phase: form.phase.and_then(Phase::of_number),
                coverage: Coverage {
                    covered_minutes: form.covered_minutes,
                    expected_minutes: form.expected_minutes,
                    clusters: form.clusters,
                },
                source_total_usd: form.source_total_usd,
                total_usd: form.stored_total_usd,
                rows: form.rows,
                exchange_rates: form.exchange_rates,
                bound: form.error_bound,
                pods_at: form.pods_written_at,
                pods_read_at: form.pods_read_at,
                composition: Composition {
                    parts: form.cost_parts,
                    efficiency: Efficiency::known(form.cpu_efficiency, form.ram_efficiency),
                },
            },
            other_rows: OtherRows { rows: form.foreign_rows, total_usd: form.foreign_total_usd },
            seen: Presence {
                raw_minutes: form.raw_minutes,
                exporter_minutes: form.exporter_minutes,
                raw_samples: form.raw_samples,
                exporter_samples: form.exporter_samples,
                all_samples: form.all_samples,
            },
            attempt: Attempt {
                state: form.state,
                cause: form.cause,
                is_pending: form.pending,
                is_settled: form.settled,
                run_id: form.run_id,
                at_seconds: form.updated_at,
            },
            overrides,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cost::Part;

    /// A settled day of $1 that an exporter covers whole.
    pub(crate) fn complete(day: Day) -> DayStatus {
        DayStatus {
            account: AccountId::new("a").unwrap(),
            day,
            stored: StoredCosts {
                phase: Some(Phase::Exporter),
                coverage: Coverage {
                    covered_minutes: 1_440,
                    expected_minutes: 1_440,
                    clusters: Vec::new(),
                },
                source_total_usd: 1.0,
                total_usd: 1.0,
                rows: 1,
                exchange_rates: BTreeMap::new(),
                bound: None,
                pods_at: None,
                pods_read_at: None,
                composition: Composition::default(),
            },
            other_rows: OtherRows::default(),
            seen: Presence {
                exporter_minutes: 1_440,
                exporter_samples: 1_440,
                ..Presence::default()
            },
            attempt: Attempt {
                state: DayState::Ok,
                cause: String::new(),
                is_pending: false,
                is_settled: true,
                run_id: "r".into(),
                at_seconds: 0,
            },
            overrides: Vec::new(),
        }
    }

    #[test]
    fn a_status_with_a_cost_that_is_no_number_is_not_read() {
        let status = complete("2026-11-20".parse().unwrap());
        let mut document = mongodb::bson::to_document(&status).unwrap();
        document.insert("stored_total_usd", f64::INFINITY);
        let error = mongodb::bson::from_document::<DayStatus>(document).unwrap_err();
        let wanted = "status of a 2026-11-20: stored_total_usd is inf";
        assert!(error.to_string().contains(wanted), "{error}");
    }

    #[test]
    fn a_status_is_the_same_after_it_was_stored() {
        let mut status = complete("2026-11-19".parse().unwrap());
        status.stored.coverage.clusters =
            vec![ClusterCoverage { cluster: "c".into(), covered_minutes: 7 }];
        status.stored.exchange_rates = [("EUR".to_owned(), 1.08)].into();
        status.stored.bound =
            Some(DayBound { low_by_usd: 0.25, high_by_usd: 0.125, gaps_usd: 0.1875 });
        status.stored.pods_at = Some(1_795_132_800);
        status.stored.pods_read_at = Some(1_795_134_600);
        status.stored.composition = Composition {
            parts: Some([(Part::Cpu, 0.75), (Part::LoadBalancer, 0.25)].into()),
            efficiency: Efficiency { cpu: Some(0.5), ram: None },
        };
        status.other_rows = OtherRows { rows: 2, total_usd: 3.5 };
        status.seen = Presence {
            raw_minutes: 1,
            exporter_minutes: 2,
            raw_samples: 3,
            exporter_samples: 4,
            all_samples: Some(5),
        };
        let reason = "the second cluster is gone".to_owned();
        status.overrides = vec![Override { guard: Guard::LostCluster, reason }];
        status.attempt.is_pending = true;
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<DayStatus>(&text).unwrap(), status);
    }

    #[test]
    fn a_document_of_version_0_1_0_is_read_without_loss() {
        let text = r#"{"account": "a", "day": "2026-11-19", "state": "late", "cause": "why",
            "phase": 1, "covered_minutes": 1380, "clusters":
            [{"cluster": "c", "covered_minutes": 1380}], "expected_minutes": 1440,
            "source_total_usd": 2.5, "stored_total_usd": 2.25, "rows": 4,
            "foreign_total_usd": 0.5, "foreign_rows": 1, "pending": true, "settled": false,
            "raw_minutes": 11, "exporter_minutes": 12, "raw_samples": 13, "exporter_samples": 14,
            "forced_reason": "known", "run_id": "r", "updated_at": 1795132800}"#;
        let status: DayStatus = serde_json::from_str(text).unwrap();
        let coverage = &status.stored.coverage;
        assert_eq!((coverage.covered_minutes, coverage.expected_minutes), (1_380, 1_440));
        assert_eq!(coverage.clusters[0].covered_minutes, 1_380);
        assert_eq!(status.stored.phase, Some(Phase::Raw));
        assert_eq!((status.stored.source_total_usd, status.stored.total_usd), (2.5, 2.25));
        assert_eq!(status.stored.rows, 4);
        assert_eq!(status.other_rows, OtherRows { rows: 1, total_usd: 0.5 });
        let seen = status.seen;
        assert_eq!((seen.raw_minutes, seen.exporter_minutes), (11, 12));
        assert_eq!((seen.raw_samples, seen.exporter_samples), (13, 14));
        assert_eq!((status.attempt.state, status.attempt.cause.as_str()), (DayState::Late, "why"));
        assert!(status.attempt.is_pending && !status.attempt.is_settled);
        assert_eq!(
            (status.attempt.run_id.as_str(), status.attempt.at_seconds),
            ("r", 1_795_132_800)
        );
        assert_eq!(status.override_reason(Guard::SourceConflict), Some("known"));
        assert_eq!(status.override_reason(Guard::ShrunkTotal), None);
        let again = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<DayStatus>(&again).unwrap(), status);
    }
}
