//! Resident memory of this process, as the kernel counts it.

/// Forgets the peak so far, so that [`peak_bytes`] speaks of what follows. Quietly does nothing where the kernel
/// does not offer it; [`peak_bytes`] then speaks of the whole process.
pub fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Peak resident bytes since the last [`reset_peak`]; `None` where the system does not tell.
pub fn peak_bytes() -> Option<u64> {
    status_bytes("VmHWM:")
}

/// Resident bytes now; `None` where the system does not tell.
pub fn resident_bytes() -> Option<u64> {
    status_bytes("VmRSS:")
}

/// Memory of the machine that can still be taken, in bytes; `None` where the system does not tell.
pub fn available_bytes() -> Option<u64> {
    kibibytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// Memory of the machine in bytes; `None` where the system does not tell.
pub fn total_bytes() -> Option<u64> {
    kibibytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

fn status_bytes(key: &str) -> Option<u64> {
    kibibytes(&std::fs::read_to_string("/proc/self/status").ok()?, key)
}

fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}
