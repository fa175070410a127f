//! Scrapes of past times, written to a real Prometheus as a scraping one would keep them: a
//! series that a scrape no longer shows ends with a staleness marker. Files of OpenMetrics cannot
//! say that, so remote write is spoken here: protobuf, in a snappy block of literals only.

use std::collections::{BTreeMap, BTreeSet};

use super::servers::Server;

/// The value that ends a series.
const STALE: u64 = 0x7ff0_0000_0000_0002;
/// Scrapes sent at once. Prometheus takes nothing that is more than an hour older than its newest
/// sample, so times must go forward for all series together.
const SCRAPES_AT_ONCE: usize = 10;
/// The most that one literal of three bytes' head holds.
const LITERAL_BYTES_MAX: usize = 65_536;

/// A series as `name{a="b",c="d"}`, and its samples: Unix milliseconds and value.
type Samples = BTreeMap<String, Vec<(i64, f64)>>;

/// A scraper of one target into one Prometheus.
pub(crate) struct Scraper<'a> {
    server: &'a Server,
    http: reqwest::Client,
    /// What the last scrape showed.
    shown: BTreeSet<String>,
    waiting: Samples,
    scrapes: usize,
}

impl<'a> Scraper<'a> {
    pub(crate) fn new(server: &'a Server) -> Self {
        kubecost_worker::service::http::install_tls();
        let http = reqwest::Client::new();
        Self { server, http, shown: BTreeSet::new(), waiting: Samples::new(), scrapes: 0 }
    }

    /// Keeps the series of a scrape at a Unix time.
    pub(crate) async fn scrape(&mut self, seconds: i64, series: &[(String, f64)]) {
        let millis = seconds * 1_000;
        let shown: BTreeSet<String> = series.iter().map(|(name, _)| name.clone()).collect();
        for gone in self.shown.difference(&shown) {
            let ended = (millis, f64::from_bits(STALE));
            self.waiting.entry(gone.clone()).or_default().push(ended);
        }
        for (name, value) in series {
            self.waiting.entry(name.clone()).or_default().push((millis, *value));
        }
        self.shown = shown;
        self.scrapes += 1;
        if self.scrapes.is_multiple_of(SCRAPES_AT_ONCE) {
            self.send().await;
        }
    }

    /// Sends what waits.
    pub(crate) async fn send(&mut self) {
        let mut body = Vec::new();
        for (series, samples) in std::mem::take(&mut self.waiting) {
            field(&mut body, 1, &time_series(&series, &samples));
        }
        let asked = self
            .http
            .post(format!("{}/api/v1/write", self.server.url))
            .header("Content-Encoding", "snappy")
            .header("Content-Type", "application/x-protobuf")
            .header("X-Prometheus-Remote-Write-Version", "0.1.0")
            .body(snappy(&body));
        let answer = asked.send().await.unwrap();
        let status = answer.status();
        let said = answer.text().await.unwrap();
        assert!(status.is_success(), "{status}: {said}");
    }
}

/// A `TimeSeries`: labels by name, then samples.
fn time_series(series: &str, samples: &[(i64, f64)]) -> Vec<u8> {
    let (name, labels) = series.split_once('{').unwrap();
    let mut pairs = vec![("__name__", name)];
    pairs.extend(labels.trim_end_matches('}').split(',').map(|pair| {
        let (label, value) = pair.split_once('=').unwrap();
        (label, value.trim_matches('"'))
    }));
    pairs.sort_unstable();
    let mut out = Vec::new();
    for (label, value) in pairs {
        let mut pair = Vec::new();
        field(&mut pair, 1, label.as_bytes());
        field(&mut pair, 2, value.as_bytes());
        field(&mut out, 1, &pair);
    }
    for (millis, value) in samples {
        // Field 1 is a double (wire type 1), field 2 a varint (wire type 0).
        let mut sample = vec![0x09];
        sample.extend(value.to_bits().to_le_bytes());
        sample.push(0x10);
        varint(&mut sample, u64::try_from(*millis).unwrap());
        field(&mut out, 2, &sample);
    }
    out
}

/// A field of bytes (wire type 2).
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A snappy block that compresses nothing.
fn snappy(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 1_000 + 16);
    varint(&mut out, bytes.len() as u64);
    for literal in bytes.chunks(LITERAL_BYTES_MAX) {
        out.push(61 << 2);
        out.extend(u16::try_from(literal.len() - 1).unwrap().to_le_bytes());
        out.extend(literal);
    }
    out
}
