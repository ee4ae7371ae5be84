//! Files that appear whole, or not at all; folders that nobody keeps.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Writes `text` to `path`: a temporary file beside it, which takes its name when it is on disk.
pub fn publish(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".part");
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    written.with_context(|| path.display().to_string())
}

/// A folder for what is made on the way; it goes when this does.
pub struct Scratch(PathBuf);

impl Scratch {
    /// An empty folder beside the file `output`, called after it and `what` it holds.
    pub fn beside(output: &Path, what: &str) -> anyhow::Result<Self> {
        let name = output.file_name().context("-o: expected a file, found a folder")?;
        let path = output.with_file_name(format!(".{}.{what}", name.to_string_lossy()));
        // What a killed run left.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A leftover does no harm: the next run removes it.
        let _ = fs::remove_dir_all(&self.0);
    }
}
