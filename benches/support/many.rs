//! A history of many accounts, each with one cluster and some namespaces.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use blocks::write_blocks;
pub(crate) use number::number;

#[path = "blocks.rs"]
mod blocks;
#[path = "number.rs"]
mod number;

/// One block of Prometheus; promtool reads its text once for each.
pub(crate) const BLOCK: i64 = 6 * 3_600;

/// How large the history is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) accounts: usize,
    pub(crate) namespaces: usize,
    /// Distance of samples, seconds.
    pub(crate) step: i64,
}

impl Size {
    /// As `ACCOUNTS`, `NAMESPACES` and `STEP` say, otherwise so many accounts and namespaces, and a
    /// sample a minute.
    pub(crate) fn or(accounts: usize, namespaces: usize) -> Self {
        Self {
            accounts: number("ACCOUNTS", accounts),
            namespaces: number("NAMESPACES", namespaces),
            step: i64::try_from(number("STEP", 60)).unwrap(),
        }
    }

    /// The ids of the accounts.
    pub(crate) fn ids(self) -> Vec<String> {
        (0..self.accounts).map(|index| format!("ace00000-0000-4000-8000-{index:012}")).collect()
    }
}

/// Writes blocks from `start` to `end`, in which all namespaces live all the time and cost
/// something else every minute.
pub(crate) fn write(directory: &Path, size: Size, start: i64, end: i64) {
    let mut block = start;
    while block < end {
        write_block(directory, size, block);
        block += BLOCK;
    }
}

fn write_block(directory: &Path, size: Size, start: i64) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut out = std::io::BufWriter::new(file.as_file());
    let whole = 2.0 + size.namespaces as f64;
    let clusters = [(String::new(), whole)];
    let namespaces = (0..size.namespaces).map(|of| (format!(",namespace=\"team-{of}\""), 0.5));
    let namespaces: Vec<_> = namespaces.collect();
    for (level, of_account) in [("cluster", &clusters[..]), ("namespace", &namespaces[..])] {
        let metric = format!("cloudtuner_kubecost_{level}_total_cost");
        writeln!(out, "# TYPE {metric} gauge").unwrap();
        for id in size.ids() {
            for (labels, rate) in of_account {
                let series = format!("{metric}{{tenant_id=\"{id}\",cluster=\"main\"{labels}}}");
                let mut lines = String::new();
                let mut time = start;
                while time < start + BLOCK {
                    let rate = rate + (time / 60 % 13) as f64 / 100.0;
                    writeln!(lines, "{series} {rate:.2} {time}").unwrap();
                    time += size.step;
                }
                out.write_all(lines.as_bytes()).unwrap();
            }
        }
    }
    out.write_all(b"# EOF\n").unwrap();
    drop(out);
    write_blocks(file.path(), directory, 6);
}
