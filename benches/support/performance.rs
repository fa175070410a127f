//! What was measured of many accounts, beside the goals.

use crate::counters::{Counts, Taken};
use crate::goals::Goal;
use crate::many::Size;

const DAY_SECONDS: f64 = 86_400.0;
/// Runs a day, one every five minutes.
const RUNS_A_DAY: f64 = 288.0;

/// One run of one program.
pub(crate) struct Line {
    pub(crate) program: &'static str,
    pub(crate) run: &'static str,
    pub(crate) taken: Taken,
    /// What the servers counted during the run.
    pub(crate) counts: Counts,
    pub(crate) documents: Option<u64>,
}

pub(crate) const TABLE_HEAD: &str = "\
| program | run | s | own CPU s | peak MiB | CPU s of Prometheus, MongoDB, ClickHouse | questions \
| samples | selects | inserts | rows | parts | documents |\n\
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|";

impl Line {
    /// A row of the table.
    pub(crate) fn row(&self) -> String {
        let count = |name: &str| self.counts[name];
        let documents = self.documents.map_or("not counted".to_owned(), |n| n.to_string());
        format!(
            "| {} | {} | {:.1} | {:.2} | {:.0} | {:.1}, {:.1}, {:.1} | {} | {} | {} | {} | {} \
             | {} | {documents} |",
            self.program,
            self.run,
            self.taken.seconds,
            self.taken.cpu_seconds,
            self.taken.peak_mib,
            count("cpu_prometheus"),
            count("cpu_mongodb"),
            count("cpu_clickhouse"),
            count("questions"),
            count("samples"),
            count("selects"),
            count("inserts"),
            count("rows"),
            count("parts"),
        )
    }
}

/// What a day of runs writes, each of which finds every cost of the running day changed.
pub(crate) fn of_a_day(lines: &[Line]) -> String {
    let is_later = |line: &&Line| (line.program, line.run) == ("worker", "five minutes later");
    let later = lines.iter().find(is_later).expect("each run was measured");
    format!(
        "A day of the worker, a run every five minutes: {:.0} rows, {:.0} parts.",
        later.counts["rows"] * RUNS_A_DAY,
        later.counts["parts"] * RUNS_A_DAY
    )
}

/// What there are goals for of this size.
pub(crate) fn goals(size: Size, lines: &[Line]) -> Vec<Goal> {
    let find = |program: &str, run: &str| {
        lines.iter().find(|line| (line.program, line.run) == (program, run))
    };
    let own = |run: &str| find("worker", run).expect("each run was measured");
    let wall = |line: &Line| line.taken.seconds;
    let cpu = |line: &Line| line.taken.cpu_seconds;
    let later = own("five minutes later");
    let series = (size.accounts * (size.namespaces + 1)) as f64;
    let of_day = series * DAY_SECONDS / size.step as f64;
    let mut goals = vec![(
        "five minutes later: samples touched beside a day's",
        0.1,
        later.counts["samples"] / of_day,
    )];
    if let (Some(first), Some(again)) = (find("python", "first"), find("python", "nothing changed"))
    {
        let unchanged = own("nothing changed");
        goals.extend([
            ("nothing changed: wall beside the Python worker", 0.25, wall(unchanged) / wall(again)),
            ("nothing changed: own CPU beside it", 0.15, cpu(unchanged) / cpu(again)),
            ("first run: wall beside it", 0.4, wall(own("first")) / wall(first)),
        ]);
    }
    if size.accounts >= 1_000 {
        let first = own("first");
        goals.extend([
            ("first run: s", 150.0, wall(first)),
            ("first run: peak MiB", 200.0, first.taken.peak_mib),
            ("first run: inserts", 40.0, first.counts["inserts"]),
            ("five minutes later: s", 60.0, wall(later)),
            ("five minutes later: inserts", 40.0, later.counts["inserts"]),
        ]);
    }
    goals
}
