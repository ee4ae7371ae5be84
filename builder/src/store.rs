//! The engine folder. Nothing in it is replaced before what takes its place is complete: plans have
//! names of their own, and `engines.json` is written over the old one when all of them are there.
//!
//! A plan that no manifest lists yet has a journal `<plan>.json` beside it, so that a build that
//! was killed goes on where it stopped.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use bernini_graphs::Submodule;
use bernini_graphs::engines::{ENGINES_MANIFEST, ENGINES_SCHEMA, EngineEntry, EnginesManifest};
use bernini_graphs::manifest::{FileEntry, PrecisionName};

use crate::files::{self, FileError, PARTIAL};
use crate::key::short;

/// Held while a build writes; marks the folder as ours before there is a manifest.
pub(crate) const LOCK: &str = ".lock";
/// What builds have measured, for the next ones.
pub(crate) const TIMING_CACHE: &str = "timing.cache";
/// Folder of TensorRT's description of every engine, `<stem>.json`.
const LAYERS: &str = "layers";
/// End of the name of a plan, and of its journal.
const PLAN: &str = ".plan";
const JOURNAL: &str = ".plan.json";

/// An engine folder that this process alone writes.
pub(crate) struct Store {
    root: PathBuf,
    manifest: Option<EnginesManifest>,
    /// Released by the system when the process ends, however it ends.
    _lock: File,
}

/// Whether an engine is there already.
pub(crate) enum Found {
    No,
    Yes(Box<EngineEntry>),
    Damaged(FileError),
}

impl Store {
    /// Locks the folder, which is made if it is not there.
    pub(crate) fn open(root: &Path) -> Result<Self, StoreError> {
        Self::peek(root)?;
        fs::create_dir_all(root).map_err(files::at(root))?;
        let path = root.join(LOCK);
        let lock = File::create(&path).map_err(files::at(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { root: root.into() }),
            Err(TryLockError::Error(source)) => return Err(files::at(&path)(source).into()),
        }
        // Read anew: another build may have ended in between.
        Ok(Self { root: root.into(), manifest: Self::peek(root)?, _lock: lock })
    }

    /// The manifest, if there is one, without locking or writing anything.
    pub(crate) fn peek(root: &Path) -> Result<Option<EnginesManifest>, StoreError> {
        let path = root.join(ENGINES_MANIFEST);
        if !path.exists() {
            let ours = root.join(LOCK).exists() || !root.exists() || is_empty(root)?;
            return if ours { Ok(None) } else { Err(StoreError::Foreign { root: root.into() }) };
        }
        let manifest: EnginesManifest = files::json(&path)?;
        match manifest.schema {
            ENGINES_SCHEMA => Ok(Some(manifest)),
            found => Err(StoreError::Schema { path, found }),
        }
    }

    /// The manifest as it was when the store was opened.
    pub(crate) fn manifest(&self) -> Option<&EnginesManifest> {
        self.manifest.as_ref()
    }

    /// What an earlier build has measured.
    pub(crate) fn timing_cache(&self) -> Vec<u8> {
        fs::read(self.root.join(TIMING_CACHE)).unwrap_or_default()
    }

    /// Looks for an engine and checks every byte of its plan.
    pub(crate) fn find(&self, plan: &str, key: &str) -> Found {
        find(&self.root, self.manifest.as_ref(), plan, key, files::check)
    }

    /// Writes a plan under its own name.
    pub(crate) fn write_plan(&self, name: &str, plan: &[u8]) -> Result<FileEntry, StoreError> {
        Ok(files::write(&self.root, name, plan)?)
    }

    /// Records that an engine is complete.
    pub(crate) fn record(&self, entry: &EngineEntry) -> Result<(), StoreError> {
        files::write(&self.root, &journal(&entry.plan.file), &to_json(entry))?;
        Ok(())
    }

    pub(crate) fn write_layers(&self, submodule: Submodule, json: &str) -> Result<(), StoreError> {
        files::write(&self.root, &layers_file(submodule), json.as_bytes())?;
        Ok(())
    }

    pub(crate) fn write_timing_cache(&self, bytes: &[u8]) -> Result<(), StoreError> {
        files::write(&self.root, TIMING_CACHE, bytes)?;
        Ok(())
    }

    /// Puts a file of the export into the folder, unless it is there with this content.
    pub(crate) fn place(&self, export: &Path, entry: &FileEntry) -> Result<(), StoreError> {
        if files::check(&self.root, entry).is_err() {
            let from = files::check(export, entry)?;
            files::link(&from, &files::path(&self.root, &entry.file)?)?;
        }
        Ok(())
    }

    /// Whether a file of this name is there, of whatever content.
    pub(crate) fn has(&self, entry: &FileEntry) -> bool {
        files::path(&self.root, &entry.file).is_ok_and(|path| path.exists())
    }

    pub(crate) fn write_manifest(&self, manifest: &EnginesManifest) -> Result<(), StoreError> {
        files::write(&self.root, ENGINES_MANIFEST, &to_json(manifest))?;
        Ok(())
    }

    /// Removes plans that the manifest, which is in place, does not list, and journals. Gives the
    /// names of the plans.
    pub(crate) fn sweep(&self, manifest: &EnginesManifest) -> Result<Vec<String>, StoreError> {
        let listed = |name: &str| manifest.engines.values().any(|entry| entry.plan.file == name);
        let mut stale = vec![];
        for entry in fs::read_dir(&self.root).map_err(files::at(&self.root))? {
            let entry = entry.map_err(files::at(&self.root))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let plan = is_plan(&name) && !listed(&name);
            if plan || is_leftover(&name) {
                files::remove(&entry.path())?;
            }
            stale.extend(plan.then_some(name));
        }
        stale.sort();
        Ok(stale)
    }
}

/// Looks for an engine in a folder with this manifest; `check` says how closely.
pub(crate) fn find(
    root: &Path,
    manifest: Option<&EnginesManifest>,
    plan: &str,
    key: &str,
    check: fn(&Path, &FileEntry) -> Result<PathBuf, FileError>,
) -> Found {
    let journal: Option<EngineEntry> = files::json(&root.join(journal(plan))).ok();
    let listed = manifest.into_iter().flat_map(|manifest| manifest.engines.values()).cloned();
    let same = |entry: &EngineEntry| entry.key == key && entry.plan.file == plan;
    match journal.into_iter().chain(listed).find(same) {
        None => Found::No,
        Some(entry) => match check(root, &entry.plan) {
            Ok(_) => Found::Yes(Box::new(entry)),
            Err(error) => Found::Damaged(error),
        },
    }
}

/// File name of an engine's plan.
pub(crate) fn plan_name(submodule: Submodule, precision: PrecisionName, key: &str) -> String {
    format!("{submodule}.{precision}.{}{PLAN}", short(key))
}

/// TensorRT's description of an engine, as a path below the folder.
pub(crate) fn layers_file(submodule: Submodule) -> String {
    format!("{LAYERS}/{submodule}.json")
}

fn journal(plan: &str) -> String {
    format!("{plan}.json")
}

/// Only names that this store gives: whatever else lies in the folder is not ours to remove.
pub(crate) fn is_plan(name: &str) -> bool {
    let parts = name.strip_suffix(PLAN).map(|name| name.split('.').collect::<Vec<_>>());
    let Some([stem, "bf16" | "fp8", key]) = parts.as_deref() else { return false };
    Submodule::from_stem(stem).is_some() && key.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A journal, or a plan or journal that was not finished.
fn is_leftover(name: &str) -> bool {
    let (whole, is_partial) = match name.strip_suffix(PARTIAL) {
        Some(whole) => (whole, true),
        None => (name, false),
    };
    let of_plan = whole.strip_suffix(JOURNAL).is_some_and(|name| is_plan(&format!("{name}{PLAN}")));
    of_plan || (is_partial && is_plan(whole))
}

fn is_empty(root: &Path) -> Result<bool, StoreError> {
    Ok(fs::read_dir(root).map_err(files::at(root))?.next().is_none())
}

fn to_json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("invariant: strings and finite numbers are JSON")
}

/// Why an engine folder cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A folder of something else.
    #[error(
        "{} is neither empty nor an engine folder (no {ENGINES_MANIFEST}); choose another",
        root.display()
    )]
    Foreign {
        /// The folder.
        root: PathBuf,
    },
    /// A build that did not end.
    #[error(
        "{}: an unfinished build (no {ENGINES_MANIFEST}); run the same build again to finish it",
        root.display()
    )]
    Unfinished {
        /// The folder.
        root: PathBuf,
    },
    /// Another build writes it.
    #[error("{}: another build writes this folder; wait for it or choose another", root.display())]
    Locked {
        /// The folder.
        root: PathBuf,
    },
    /// Another version of the manifest.
    #[error(
        "{}: schema {found}, expected {ENGINES_SCHEMA}; remove the file to build again",
        path.display()
    )]
    Schema {
        /// The manifest.
        path: PathBuf,
        /// Its schema.
        found: u32,
    },
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
}

#[cfg(test)]
mod tests;
