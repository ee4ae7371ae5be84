//! Files of an export folder: each appears under its name only when it is complete and on disk.

use std::fs::File;
use std::io::Write;
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
    pub source: std::io::Error,
}

/// Attaches a path to an error of the operating system.
pub fn at(path: &Path) -> impl Fn(std::io::Error) -> OutputError + '_ {
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
