//! How large a process became.

/// The greatest resident size that a process has had, MiB; `None` where it has ended. The kernel
/// keeps it, so that a look now and then is enough.
pub(crate) fn peak_mib(process: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let mark = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = mark.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib / 1_024.0)
}
