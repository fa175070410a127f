//! The odd days of a report's accounts and namespaces: spikes, and drops to nothing. What is odd is
//! decided by `cost::odd_days`.

use serde::Serialize;

use crate::cost::Day;
use crate::cost::odd_days::odd_days;

pub use crate::cost::odd_days::{AnomalyKind, HISTORY_DAYS, Limits};

/// A day of a name that is odd.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Anomaly {
    /// The account.
    pub account: String,
    /// The cluster; empty where the whole account is meant.
    pub cluster: String,
    /// The namespace; `(account)` where the whole account is meant.
    pub name: String,
    /// The day.
    pub day: Day,
    /// What is odd.
    pub kind: AnomalyKind,
    /// What the day costs, USD.
    pub usd: f64,
    /// The median of days like it, USD.
    pub expected_usd: f64,
    /// The spread of days like it, USD.
    pub spread_usd: f64,
    /// Days that it is held against.
    pub basis_days: usize,
}

/// The odd days of a report's accounts and of its lines, where those are namespaces.
#[must_use]
pub fn of_report(report: &super::Report, limits: Limits) -> Vec<Anomaly> {
    let mut out = Vec::new();
    for account in &report.accounts {
        let complete: Vec<Day> = report
            .status
            .iter()
            .filter(|fact| fact.account.as_str() == account.group.name && fact.is_complete())
            .map(|fact| fact.day)
            .collect();
        let mut add = |line: &super::Line, cluster: &str, name: &str| {
            let costs = report.days.iter().copied().zip(line.by_day.iter().copied()).collect();
            out.extend(odd_days(&costs, &complete, limits).into_iter().map(|odd| Anomaly {
                account: account.group.name.clone(),
                cluster: cluster.to_owned(),
                name: name.to_owned(),
                day: odd.day,
                kind: odd.kind,
                usd: odd.usd,
                expected_usd: odd.expected_usd,
                spread_usd: odd.spread_usd,
                basis_days: odd.basis_days,
            }));
        };
        add(account, "", "(account)");
        let of_account =
            report.lines.iter().filter(|line| line.group.account == account.group.name);
        for line in of_account {
            add(line, &line.group.cluster, &line.group.name);
        }
    }
    out.sort_by(|a, b| (b.day, &a.account, &a.name).cmp(&(a.day, &b.account, &b.name)));
    out
}
