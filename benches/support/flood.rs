//! Samples that a hostile tenant writes, and those of tenants beside it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use blocks::write_blocks;

#[path = "blocks.rs"]
mod blocks;

/// 2026-03-01 00:00:00 UTC: the day of the floods.
pub(crate) const FLOOD_DAY: i64 = 1_772_323_200;
/// 11:00 of the day after it.
pub(crate) const NOW: &str = "2026-03-02T11:00:00Z";
const END: i64 = FLOOD_DAY + 35 * 3_600;
const NOON: i64 = FLOOD_DAY + 12 * 3_600;
const MINUTE: i64 = 60;
/// So many minutes of that day have passed by then, with the one that begins.
pub(crate) const NOW_MINUTES: f64 = 661.0;
/// What a good tenant's cluster costs, USD an hour.
pub(crate) const GOOD_RATE: f64 = 3.0;

/// What a hostile tenant writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flood {
    /// 30 000 clusters of one sample.
    Clusters,
    /// 300 000 namespaces that live for one minute each, spread over the day.
    ShortLives,
    /// A million namespaces in one minute.
    OneMinute,
    /// Names of 70 000 bytes, with characters that control a terminal or turn text around.
    LongNames,
    /// A label that is another one in every minute.
    NewLabels,
}

impl Flood {
    pub(crate) const ALL: [Self; 5] =
        [Self::Clusters, Self::ShortLives, Self::OneMinute, Self::LongNames, Self::NewLabels];

    /// What it is called in a table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Clusters => "30 000 clusters",
            Self::ShortLives => "300 000 namespaces of a minute each",
            Self::OneMinute => "1 000 000 series in one reply",
            Self::LongNames => "names of 70 000 bytes, ESC, CR, LF, bidi",
            Self::NewLabels => "a label that differs every minute",
        }
    }

    /// The account that does it.
    pub(crate) fn account(self) -> String {
        format!("bad00000-0000-4000-8000-{:012}", self as u8)
    }

    /// Its series of a level: labels beside the tenant, cost an hour, first and last sample.
    fn series(self, level: &str) -> Vec<(String, f64, i64, i64)> {
        let is_cluster = level == "cluster";
        let whole = (r#"cluster="big""#.to_owned(), 5_000.0, FLOOD_DAY, FLOOD_DAY + 86_400);
        let one = |labels: String, rate: f64, time: i64| (labels, rate, time, time + MINUTE);
        match (self, is_cluster) {
            (Self::Clusters, true) => {
                (0..30_000).map(|n| one(format!(r#"cluster="c{n}""#), 1.0, NOON)).collect()
            }
            (Self::Clusters, false) => Vec::new(),
            (Self::ShortLives | Self::OneMinute, true) => vec![whole],
            (Self::ShortLives, false) => (0..300_000)
                .map(|n| {
                    let labels = format!(r#"cluster="big",namespace="n{n}""#);
                    one(labels, 0.001, FLOOD_DAY + n % 1_440 * MINUTE)
                })
                .collect(),
            (Self::OneMinute, false) => (0..1_000_000)
                .map(|n| one(format!(r#"cluster="big",namespace="n{n}""#), 0.001, NOON))
                .collect(),
            (Self::LongNames, true) => {
                let labels = "cluster=\"bad\u{1b}[31m\r\\n\u{202e}\"".to_owned();
                vec![whole, (labels, 1.0, NOON, NOON + 3_600)]
            }
            (Self::LongNames, false) => (0..20)
                .map(|n| {
                    let long = "x".repeat(70_000);
                    let name =
                        format!("cluster=\"big\",namespace=\"{n}\u{1b}[2J\r\\n\u{202e}{long}\"");
                    (name, 0.1, NOON, NOON + 3_600)
                })
                .collect(),
            (Self::NewLabels, _) => {
                let names = if is_cluster { 0..1 } else { 0..5 };
                let labels = |n: i64, minute: i64| match is_cluster {
                    true => format!(r#"cluster="big",build="{minute}""#),
                    false => format!(r#"cluster="big",namespace="n{n}",build="{minute}""#),
                };
                let rate = if is_cluster { 10.0 } else { 1.0 };
                let of = |n| (0..1_440).map(move |m| (n, m));
                names
                    .flat_map(of)
                    .map(|(n, m)| one(labels(n, m), rate, FLOOD_DAY + m * MINUTE))
                    .collect()
            }
        }
    }
}

/// The accounts that pay their bills.
pub(crate) fn good_accounts() -> Vec<String> {
    (0..3).map(|index| format!("900d0000-0000-4000-8000-{index:012}")).collect()
}

/// Blocks with the samples of the good tenants, of these, and of all hostile ones.
pub(crate) fn write(directory: &Path, as_good: &[String]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut out = std::io::BufWriter::new(file.as_file());
    for level in ["cluster", "namespace"] {
        let metric = format!("cloudtuner_kubecost_{level}_total_cost");
        writeln!(out, "# TYPE {metric} gauge").unwrap();
        let of_good: &[(&str, f64)] = match level {
            "cluster" => &[("", GOOD_RATE)],
            _ => &[(",namespace=\"shop\"", 1.0), (",namespace=\"web\"", 0.5)],
        };
        for account in good_accounts().iter().chain(as_good) {
            for (labels, rate) in of_good {
                let labels = format!("cluster=\"main\"{labels}");
                write_series(&mut out, &metric, account, &(labels, *rate, FLOOD_DAY, END));
            }
        }
        for flood in Flood::ALL {
            for series in flood.series(level) {
                write_series(&mut out, &metric, &flood.account(), &series);
            }
        }
    }
    out.write_all(b"# EOF\n").unwrap();
    drop(out);
    write_blocks(file.path(), directory, 48);
}

fn write_series(
    out: &mut impl std::io::Write,
    metric: &str,
    account: &str,
    (labels, rate, first, end): &(String, f64, i64, i64),
) {
    let mut lines = String::new();
    let mut time = *first;
    while time < *end {
        writeln!(lines, "{metric}{{tenant_id=\"{account}\",{labels}}} {rate} {time}").unwrap();
        time += MINUTE;
    }
    out.write_all(lines.as_bytes()).unwrap();
}
