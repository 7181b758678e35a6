//! What the operating system says of this process and of the machine; nothing where it says nothing.

/// The resident set, in MiB.
pub fn rss_mb() -> Option<f64> {
    status_mb("VmRSS:")
}

/// The largest resident set so far, in MiB.
pub fn peak_rss_mb() -> Option<f64> {
    status_mb("VmHWM:")
}

fn status_mb(field: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix(field))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some((kib / 102.4).round() / 10.0)
}

/// Seconds of work by all cores: of this process, and of the whole machine.
pub fn cpu_seconds() -> Option<(f64, f64)> {
    /// The unit of these files: fixed at 100 Hz by the kernel's interface.
    const TICKS: f64 = 100.0;
    let number = |field: &str| field.parse::<f64>().ok();
    let own = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = own.rsplit(')').next()?.split_whitespace().collect();
    let own = number(fields.get(11)?)? + number(fields.get(12)?)?;
    let all = std::fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<f64> = all.lines().next()?.split_whitespace().skip(1).take(8).filter_map(number).collect();
    let busy = fields.iter().sum::<f64>() - fields.get(3)? - fields.get(4)?;
    Some((own / TICKS, busy / TICKS))
}
