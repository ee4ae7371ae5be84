//! Checkpoints to spoil, and what was left where.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use bernini_exporter::{ExportError, ExportOptions, ExportReport, export, synth};
use bernini_graphs::manifest::{PrecisionName, Variant};
use tempfile::TempDir;

/// A flag that nobody raises.
pub fn never() -> AtomicBool {
    AtomicBool::new(false)
}

/// A fresh tiny checkpoint in a folder of its own.
pub struct Fixture {
    dir: TempDir,
}

impl Fixture {
    /// Writes the checkpoint.
    pub fn new(layout: Variant) -> Self {
        let fixture = Self { dir: tempfile::tempdir().unwrap() };
        synth::write(synth::Preset::Tiny, layout, 3, &fixture.checkpoint()).unwrap();
        fixture
    }

    pub fn checkpoint(&self) -> PathBuf {
        self.dir.path().join("checkpoint")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.checkpoint().join(name)
    }

    pub fn out(&self) -> PathBuf {
        self.dir.path().join("export")
    }

    pub fn options(&self, precision: PrecisionName) -> ExportOptions {
        ExportOptions::new(&self.checkpoint(), &self.out(), precision)
    }

    pub fn export(&self, precision: PrecisionName) -> Result<ExportReport, ExportError> {
        export(&self.options(precision), &(), &never())
    }

    /// Everything below the fixture's folder that is not the checkpoint.
    pub fn left_behind(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| *path != self.checkpoint()).collect()
    }

    /// Replaces text in a small file, where it must occur.
    pub fn replace(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(file)).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(self.path(file), text.replacen(from, to, 1)).unwrap();
    }
}

/// Rewrites the header of a safetensors file; the data stays.
pub fn edit_header(file: &Path, edit: impl FnOnce(String) -> String) {
    let bytes = fs::read(file).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = edit(String::from_utf8(bytes[8..8 + length].into()).unwrap());
    let length = (header.len() as u64).to_le_bytes();
    let whole = [&length, header.as_bytes(), &bytes[8 + header_end(&bytes)..]].concat();
    fs::write(file, whole).unwrap();
}

fn header_end(bytes: &[u8]) -> usize {
    u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize
}

/// All files below `root` with their contents, by relative path.
pub fn contents(root: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_path_buf();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}
