//! How a day was read, as far as a program that reads it again cannot know it from samples alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How a day was read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The label that names clusters, as it was found; `None` where no series were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_label: Option<String>,
    /// Parts of the day that were read at one time each, or from one reply each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<ReadPart>,
    /// By what the whole of nodes is known, of raw metrics: `total`, `capacity` or `allocated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_basis: Option<String>,
    /// Whether costs are of windows, each of which is billed whole.
    #[serde(default)]
    pub is_of_windows: bool,
    /// Distance of samples, minutes; one where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_minutes: Option<u32>,
    /// By what costs were multiplied to stand for gaps, by cluster (`GAP_POLICY=scale`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scaled_by: BTreeMap<String, f64>,
    /// Scrapers of the same cost model, of which one counts at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scrapers: Option<ReadScrapers>,
}

/// A part of a day that was read at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadPart {
    /// The cluster; empty where a reply is of all of them.
    pub cluster: String,
    /// Its first second, Unix.
    pub start: i64,
    /// The second after its last one.
    pub end: i64,
    /// When its gauges were read, Unix seconds; absent for replies of that part itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<i64>,
    /// The window that the gauges are averages of, seconds; absent for replies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<i64>,
    /// Whether all gauges are USD of that window; else pods' alone are.
    #[serde(default)]
    pub is_total: bool,
    /// Namespaces whose gauges stood there but are not billed; `None`: no namespace is.
    pub left_out: Option<Vec<String>>,
}

/// Scrapers of the same cost model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadScrapers {
    /// The metric that shows that a scraper has samples.
    pub alive: String,
    /// The labels by which scrapers differ.
    pub labels: Vec<String>,
    /// The values of those labels, the scraper that is taken first coming first.
    pub ranked: Vec<Vec<String>>,
    /// Metrics of which one scraper's samples are taken at a time.
    pub chosen: Vec<String>,
}
