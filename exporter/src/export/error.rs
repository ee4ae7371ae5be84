//! What can go wrong while exporting.

use std::path::PathBuf;

use bernini_calibration::TableError;
use bernini_graphs::{BuildErrors, FP8_HEAD_DIM, Submodule};

use crate::checkpoint::CheckpointError;
use crate::inspect::{Finding, InspectError};
use crate::output::OutputError;

/// An export that was refused or broke off.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The export that is already there cannot be read.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// A file cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The calibration table is not usable.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A model function made a mistake; a bug of this version.
    #[error("{0}; this is a bug: report it with the checkpoint's configs")]
    Build(#[from] BuildErrors),
    /// Tensors are missing, extra, or of the wrong shape or type.
    #[error(
        "{}: {} tensors break the contract:\n{}\nrun `bernini inspect` for all of it",
        path.display(),
        findings.len(),
        lines(findings)
    )]
    Contract {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong.
        findings: Vec<Finding>,
    },
    /// A renderer-only checkpoint has no planner to export.
    #[error("{}: a renderer-only checkpoint has no {submodule}; leave it out of --only", path.display())]
    NoPlanner {
        /// The checkpoint.
        path: PathBuf,
        /// The submodule.
        submodule: Submodule,
    },
    /// FP8 needs scales.
    #[error("FP8: expected --calibration TABLE or --calibration synthetic, found none")]
    NoCalibration,
    /// Only FP8 takes scales.
    #[error("--calibration: expected with precision fp8 or fp8-f32 only; leave it out")]
    UnusedCalibration,
    /// The table lacks what the policy wants in FP8.
    #[error(
        "calibration table: no amax for {} layers or attentions, {} first; calibrate with this policy, or choose \
         one with fewer FP8 layers",
        layers.len(),
        layers.first().map_or("none", String::as_str)
    )]
    MissingAmax {
        /// `submodule: path` of each layer.
        layers: Vec<String>,
    },
    /// Attention in FP8 is a node whose kernels have one head size.
    #[error(
        "{submodule}: FP8 attention: expected heads of {FP8_HEAD_DIM} channels, found {found}; \
         choose a policy without FP8 attention, or --precision fp8-f32 for the CPU"
    )]
    HeadSize {
        /// The submodule.
        submodule: Submodule,
        /// Channels per head.
        found: usize,
    },
    /// A tensor whose type no weight has.
    #[error("tensor {tensor}: expected F32, F16 or BF16, found {found}; convert the checkpoint")]
    StoredType {
        /// Name of the tensor.
        tensor: String,
        /// Its type.
        found: &'static str,
    },
    /// Two graphs want one tensor in two forms in their common file; a bug of this version.
    #[error("{file}: initializer {name} differs between two graphs; this is a bug: report it")]
    Conflict {
        /// The weights file.
        file: String,
        /// The initializer.
        name: String,
    },
    /// The target holds something that no export wrote.
    #[error(
        "{}: expected an empty folder or an export, found other files; name another folder",
        path.display()
    )]
    Foreign {
        /// The target.
        path: PathBuf,
    },
    /// The target holds another export.
    #[error(
        "{}: holds an export of another {field}: expected {expected}, found {found}; name another \
         folder or delete this one",
        path.display()
    )]
    OtherExport {
        /// The target.
        path: PathBuf,
        /// What differs.
        field: &'static str,
        /// What this export has.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The caller asked to stop; what is finished stays for the next run.
    #[error("interrupted; run the same command again to go on")]
    Cancelled,
}

/// The first twenty findings.
fn lines(findings: &[Finding]) -> String {
    let shown: Vec<_> = findings.iter().take(20).map(|finding| format!("  {finding}")).collect();
    shown.join("\n")
}
