//! What a checkpoint or an export holds, and whether it keeps the contract.

mod checkpoint;
mod export;
mod finding;

use std::path::{Path, PathBuf};

use bernini_graphs::manifest::EXPORT_MANIFEST;
use serde::Serialize;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::export::MARKER;

pub use checkpoint::{CheckpointReport, ComponentReport, FolderReport, SkippedTensor};
pub use export::ExportFolderReport;
pub use finding::Finding;

pub(crate) use export::{needed_shapes, read_manifest};

/// A folder that cannot be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Not a readable checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// An export that was interrupted.
    #[error("{}: an unfinished export; run the same export again to finish it", path.display())]
    Unfinished {
        /// The folder.
        path: PathBuf,
    },
    /// An export of another version.
    #[error(
        "{}: schema: expected {expected}, found {found}; export again with this version",
        file.display()
    )]
    Schema {
        /// The manifest.
        file: PathBuf,
        /// Schema of this version.
        expected: u32,
        /// Schema of the file.
        found: u32,
    },
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum InspectReport {
    /// A checkpoint of either layout.
    Checkpoint(CheckpointReport),
    /// An export folder.
    Export(ExportFolderReport),
}

impl InspectReport {
    /// Whether the contract is kept: exit 0, or 1.
    pub fn ok(&self) -> bool {
        match self {
            Self::Checkpoint(report) => report.ok,
            Self::Export(report) => report.ok,
        }
    }
}

/// Inspects the folder `path`, an export where it has a manifest. `verify` reads every byte of an
/// export and compares the hashes.
pub fn inspect(path: &Path, verify: bool) -> Result<InspectReport, InspectError> {
    if path.join(EXPORT_MANIFEST).exists() {
        return Ok(InspectReport::Export(export::report(path, verify)?));
    }
    if path.join(MARKER).exists() {
        return Err(InspectError::Unfinished { path: path.into() });
    }
    let checkpoint = Checkpoint::open(path)?;
    Ok(InspectReport::Checkpoint(CheckpointReport::new(&checkpoint)))
}
