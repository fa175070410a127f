//! The page docs/PERFORMANCE.md: what was measured, beside the goals.

use std::fmt::Write as _;

use crate::counters::{Counts, Taken};
use crate::many::Size;

/// Samples of a series in a day that are a minute apart.
const DAY_MINUTES: f64 = 1_440.0;
/// Runs a day, one every five minutes.
const RUNS_A_DAY: f64 = 288.0;

const HEAD: &str = "# Performance\n\n\
    Made by `WRITE_PERFORMANCE=1 cargo bench --bench accounts`: the worker beside a straight Python \
    worker (`benches/reference/worker.py`: requests, pymongo, clickhouse-driver; one account after \
    the other), each on empty databases of the same servers, which share the machine's cores with \
    both. The servers are those of `tests/servers`.\n\n\
    - **first**: nothing is stored yet; yesterday and today are due.\n\
    - **nothing changed**: the same again. The straight worker reads both days anew; this program \
    reads today, and yesterday only where it has more samples than when it was settled.\n\
    - **five minutes later**: every cost of the running day is another one.\n\n\
    CPU of servers is that of their processes during the run. Questions and samples are counted by \
    Prometheus, statements and rows by ClickHouse. Both programs end with the same sum of costs; the \
    command asserts it.\n\n\
    The straight worker asks two questions an account and day, for the integral of the day, so that \
    its sums are the same; it has no lease, no status, no check of what was stored.\n\n";

const NOT_MEASURED: &str = "\
Not measured by this command: one account of 25 000 and 100 000 pods and long histories \
(`cargo bench --bench size`), hostile tenants (`--bench hostile`), shards (`--bench shards`), floors of \
single writes.\n\n\
What costs the most now, and what is missing for the goals:\n\n\
- Of 25 accounts a run, by turns, all samples of the settled yesterday are counted, which reads them \
once: with 200 accounts that is an eighth of all in each run, with 1 000 a fortieth.\n\
- Which days have samples is asked of the cluster's gauge alone, for yesterday and today: of 20 \
namespaces an account a tenth of a day's samples, of 100 a fiftieth.\n\
- Rows of accounts go together as they come: within what a question about several accounts answers, \
and for as long as others follow, half a second at most.\n";

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

/// The whole page.
pub(crate) fn page(size: Size, build: &str, lines: &[Line]) -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("unknown");
    let mut page = HEAD.to_owned();
    writeln!(
        page,
        "{} accounts of {} namespaces, a sample every {} s; {cores} cores, load average {load} around \
         the runs (what exceeds about 3 is other work, which makes times longer for both programs \
         and not equally); the worker built {build}.\n",
        size.accounts, size.namespaces, size.step
    )
    .unwrap();
    writeln!(page, "{TABLE_HEAD}").unwrap();
    lines.iter().for_each(|line| writeln!(page, "{}", line.row()).unwrap());
    writeln!(page, "\n{}", of_a_day(lines)).unwrap();
    page.push_str("\n## Goals\n\n| what | goal | measured | |\n|---|--:|--:|---|\n");
    for (what, goal, measured) in goals(size, lines) {
        let verdict = if what.contains("the goal is for") {
            "at this size".to_owned()
        } else if measured <= goal {
            "met".to_owned()
        } else {
            format!("missed by {:.1} times", measured / goal)
        };
        writeln!(page, "| {what} | {goal} | {measured:.2} | {verdict} |").unwrap();
    }
    page.push('\n');
    page.push_str(NOT_MEASURED);
    page
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

fn goals(size: Size, lines: &[Line]) -> Vec<(&'static str, f64, f64)> {
    let line = |program: &str, run: &str| {
        let found = lines.iter().find(|line| (line.program, line.run) == (program, run));
        found.expect("each run was measured")
    };
    let beside =
        |run: &str, of: fn(&Line) -> f64| of(line("worker", run)) / of(line("python", run));
    let wall = |line: &Line| line.taken.seconds;
    let cpu = |line: &Line| line.taken.cpu_seconds;
    let later = line("worker", "five minutes later");
    let series = (size.accounts * (size.namespaces + 1)) as f64;
    let of_day = series * DAY_MINUTES * 60.0 / size.step as f64;
    vec![
        ("nothing changed: wall beside the Python worker", 0.25, beside("nothing changed", wall)),
        ("nothing changed: own CPU beside it", 0.15, beside("nothing changed", cpu)),
        ("first run: wall beside it", 0.4, beside("first", wall)),
        (
            "five minutes later: samples touched beside a day's",
            0.1,
            later.counts["samples"] / of_day,
        ),
        (
            "five minutes later: inserts (the goal is for 1 000 accounts)",
            40.0,
            later.counts["inserts"],
        ),
        (
            "first run: peak MiB (the goal is for 1 000 accounts of 100)",
            200.0,
            line("worker", "first").taken.peak_mib,
        ),
    ]
}
