//! What an export is measured against: the disk's own write rate, and memory.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use crate::output::{OutputError, PartialFile, at};

const BLOCK: usize = 8 << 20;

/// Bytes per second that `folder`'s disk takes when `bytes` bytes are written and synced.
pub fn disk_write_rate(folder: &Path, bytes: u64) -> Result<f64, OutputError> {
    let path = folder.join("disk-rate");
    // Bytes that no file system compresses away.
    let mut block = vec![0; BLOCK];
    blake3::Hasher::new().finalize_xof().fill(&mut block);
    let partial = PartialFile::create(&path)?;
    let started = Instant::now();
    let mut left = bytes;
    while left > 0 {
        let count = left.min(BLOCK as u64);
        partial.file().write_all(&block[..count as usize]).map_err(at(&path))?;
        left -= count;
    }
    partial.file().sync_all().map_err(at(&path))?;
    Ok(bytes as f64 / started.elapsed().as_secs_f64())
}

/// Highest resident memory of this process so far, in bytes; `None` off Linux.
pub fn peak_rss() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measuring_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        assert!(disk_write_rate(dir.path(), 3 << 20).unwrap() > 0.0);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(peak_rss().is_some_and(|bytes| bytes > 1 << 20));
    }
}
