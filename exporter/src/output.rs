//! Files of an export folder: each appears under its name only when it is complete and on disk.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use bernini_graphs::manifest::FileEntry;

/// Is told how far an export is, file by file.
pub trait Progress: Sync {
    /// The file called `name` begins; it will have `total` bytes.
    fn begin(&self, name: &str, total: u64);
    /// `bytes` more of it are written.
    fn advance(&self, bytes: u64);
}

/// Tells nobody.
impl Progress for () {
    fn begin(&self, _: &str, _: u64) {}
    fn advance(&self, _: u64) {}
}

/// A failure on one file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}; check space and permissions", path.display())]
pub struct OutputError {
    /// The file or folder.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

/// Attaches a path to an error of the operating system.
pub fn at(path: &Path) -> impl Fn(io::Error) -> OutputError + '_ {
    |source| OutputError { path: path.into(), source }
}

/// A file that is written under a temporary name; dropped unfinished, it is removed.
pub struct PartialFile {
    path: PathBuf,
    temporary: PathBuf,
    /// The open file; use it through [`PartialFile::file`].
    file: File,
    finished: bool,
}

impl PartialFile {
    /// Starts the file that will be called `path`.
    pub fn create(path: &Path) -> Result<Self, OutputError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(at(folder))?;
        let mut name = path.as_os_str().to_owned();
        name.push(".part");
        let temporary = PathBuf::from(name);
        let file = File::create(&temporary).map_err(at(&temporary))?;
        Ok(Self { path: path.into(), temporary, file, finished: false })
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Puts it on disk, then under its name.
    pub fn finish(mut self) -> Result<(), OutputError> {
        self.file.sync_all().map_err(at(&self.temporary))?;
        std::fs::rename(&self.temporary, &self.path).map_err(at(&self.path))?;
        self.finished = true;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.finished {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Refuses what the disk of `folder`, which need not be there yet, has no room for.
pub fn check_space(folder: &Path, bytes: u64) -> io::Result<()> {
    let there = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    // A system that does not tell will say so when the disk is full.
    let Ok(disk) = rustix::fs::statvfs(there) else { return Ok(()) };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if bytes <= free {
        return Ok(());
    }
    let [bytes, free] = [bytes, free].map(|bytes| bytes as f64 / 1e9);
    let text = format!("{bytes:.1} GB are to be written, and {free:.1} GB are free");
    Err(io::Error::new(ErrorKind::StorageFull, text))
}

/// Writes a small file below `root`.
pub fn write(root: &Path, name: &str, bytes: &[u8]) -> Result<FileEntry, OutputError> {
    let path = root.join(name);
    let partial = PartialFile::create(&path)?;
    partial.file().write_all(bytes).map_err(at(&path))?;
    partial.finish()?;
    Ok(entry(name, bytes))
}

/// The manifest's line for a file that holds `bytes`.
pub fn entry(name: &str, bytes: &[u8]) -> FileEntry {
    let blake3 = blake3::hash(bytes).to_hex().to_string();
    FileEntry { file: name.into(), bytes: bytes.len() as u64, blake3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_no_disk_is_refused_before_its_folder_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        check_space(&folder, 1).unwrap();
        check_space(Path::new("no-such-folder"), 1).unwrap();
        let error = check_space(&folder, u64::MAX).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!(error.to_string().contains("18446744073.7 GB are to be written, and "), "{error}");
        assert!(!folder.exists());
    }
}
