//! CPU time, as the kernel counts it.

/// Seconds of a tick of `/proc/PID/stat`.
const TICK_SECONDS: f64 = 0.01;

/// CPU time of this process' children that were waited for, user and system, seconds.
pub(crate) fn of_children() -> f64 {
    ticks("self", 13) + ticks("self", 14)
}

/// A field of `/proc/PID/stat` that counts ticks, by its place after the name, in seconds.
pub(crate) fn ticks(process: &str, place: usize) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = fields.split_whitespace().nth(place).and_then(|field| field.parse::<f64>().ok());
    field.unwrap_or(0.0) * TICK_SECONDS
}
