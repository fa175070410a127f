//! What the benches of the worker share: histories of a large account, and the measuring of a run.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use crate::worker;

use blocks::write_blocks;
use memory::{PEAK, memory_mib};
pub(crate) use number::number;

mod blocks;
mod cpu;
mod memory;
mod number;

/// The account.
pub(crate) const ACCOUNT: &str = "bc55eb8c-5db2-4c32-b976-2df0edb0619a";
/// Its namespaces, over which the pods are spread.
pub(crate) const NAMESPACES: usize = 300;
/// Samples of a series are so far apart: with the look-back every minute has a value.
const STEP: i64 = 300;
/// One block of Prometheus: days are made of whole ones, and promtool reads its text once for each.
const BLOCK: i64 = 6 * 3_600;

/// Seconds of the windows of which gauges are, as the exporter of this project shows them;
/// without it gauges say no window, as those of other exporters.
fn window_seconds() -> Option<i64> {
    std::env::var("WINDOW_SECONDS").ok().map(|text| text.parse().unwrap())
}

/// Writes blocks of `days` days from the midnight `start`, in which every pod lives all the time,
/// and one block before: the first minute of a day is covered by the sample of the minute before.
/// A window is shown after it ended, those of the last day's evening on the next day.
pub(crate) fn write_history(directory: &Path, pods: usize, start: i64, days: usize) {
    let window_seconds = window_seconds();
    let after = if window_seconds.is_some() { BLOCK } else { 0 };
    let end = start + i64::try_from(days).unwrap() * 86_400 + after;
    let mut block = start - BLOCK;
    while block < end {
        write_block(directory, pods, block, window_seconds);
        block += BLOCK;
    }
}

fn write_block(directory: &Path, pods: usize, start: i64, window_seconds: Option<i64>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut out = std::io::BufWriter::new(file.as_file());
    let mut put = |metric: &str, series: &mut dyn Iterator<Item = (String, f64)>| {
        let metric = format!("cloudtuner_kubecost_{metric}");
        let is_end = metric.ends_with("window_end_timestamp_seconds");
        writeln!(out, "# TYPE {metric} gauge").unwrap();
        for (labels, value) in series {
            let series = format!("{metric}{{tenant_id=\"{ACCOUNT}\",cluster=\"big\"{labels}}}");
            let mut lines = String::new();
            for step in 0..BLOCK / STEP {
                let time = start + step * STEP + 7;
                // A window's end is given by its length.
                let value = if is_end { (time as f64 / value).floor() * value } else { value };
                writeln!(lines, "{series} {value} {time}").unwrap();
            }
            out.write_all(lines.as_bytes()).unwrap();
        }
    };
    // Namespaces cost more than their pods, and the cluster more than they.
    let of_namespace = 0.03 * pods.div_ceil(NAMESPACES) as f64;
    let of_cluster = 1.2 * of_namespace * NAMESPACES as f64;
    put("cluster_total_cost", &mut [(String::new(), of_cluster)].into_iter());
    let namespaces = (0..NAMESPACES).map(|n| (format!(",namespace=\"team-{n}\""), of_namespace));
    put("namespace_total_cost", &mut namespaces.into_iter());
    let pods = (0..pods).map(|p| {
        let (namespace, node) = (p % NAMESPACES, p % 500);
        let pod = format!("service-{namespace}-7c5ddbdf54-{p:05}");
        (format!(",namespace=\"team-{namespace}\",pod=\"{pod}\",node=\"node-{node}\""), 0.02)
    });
    put("pod_total_cost", &mut pods.into_iter());
    if let Some(seconds) = window_seconds {
        let mut put_one = |metric: &str, labels: &str, value: f64| {
            put(metric, &mut [(labels.to_owned(), value)].into_iter());
        };
        put_one("window_end_timestamp_seconds", "", seconds as f64);
        put_one("window_seconds", "", seconds as f64);
        put_one("exporter_scrape_success", "", 1.0);
        put_one("exporter_build_info", ",version=\"9\",mode=\"rate\"", 1.0);
    }
    out.write_all(b"# EOF\n").unwrap();
    drop(out);
    write_blocks(file.path(), directory, 6);
}

/// What a run of the worker took.
pub(crate) struct Measured {
    pub(crate) seconds: f64,
    /// CPU time of the worker itself, user and system.
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_mib: f64,
    pub(crate) summary: serde_json::Value,
}

/// Runs the worker to its end.
pub(crate) fn measure(settings: &[(&str, String)], arguments: &[&str]) -> Measured {
    let (started, cpu_before) = (Instant::now(), cpu::of_children());
    let mut child = worker::command(settings, arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || std::io::read_to_string(&mut stdout).unwrap());
    let mut peak_mib = 0.0_f64;
    while child.try_wait().unwrap().is_none() {
        peak_mib = peak_mib.max(memory_mib(child.id(), PEAK).unwrap_or(0.0));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let seconds = started.elapsed().as_secs_f64();
    let cpu_seconds = cpu::of_children() - cpu_before;
    let stdout = reader.join().unwrap();
    let summary = serde_json::from_str(stdout.lines().last().unwrap_or_default()).unwrap();
    Measured { seconds, cpu_seconds, peak_mib, summary }
}
