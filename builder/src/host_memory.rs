//! Whether a build fits into host memory: TensorRT's parser holds every weight of a graph, and the
//! plan is written while they are there.

/// Host memory that a build takes, at most, per byte of weights.
const PER_WEIGHT_BYTE: u64 = 2;

/// Bytes of host memory that building a graph with `weights` bytes of weights takes.
pub(crate) fn needed(weights: u64) -> u64 {
    weights.saturating_mul(PER_WEIGHT_BYTE)
}

/// Bytes that can be had without swapping; `None` where the system does not say.
pub(crate) fn available() -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read() {
        let text = "MemTotal:  24 kB\nMemAvailable:   123456 kB\nBuffers: 1 kB\n";
        assert_eq!(parse(text), Some(123_456 * 1024));
        assert_eq!(parse("MemTotal: 24 kB\n"), None);
        assert_eq!(parse("MemAvailable: lots kB\n"), None);
        assert!(available().unwrap() > 0);
        assert_eq!(needed(u64::MAX), u64::MAX);
    }
}
