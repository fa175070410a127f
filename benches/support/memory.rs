//! How large a process is, by the kernel's own account of it.

/// The greatest resident size so far: the kernel keeps it, so that a look now and then is enough.
pub(crate) const PEAK: &str = "VmHWM:";

/// A size in `/proc/PID/status`, MiB; `None` where the process has ended.
pub(crate) fn memory_mib(process: u32, field: &str) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let size = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: f64 = size.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib / 1_024.0)
}
