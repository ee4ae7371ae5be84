//! Checkpoint to ONNX graphs: reads either layout of a Bernini checkpoint, accounts for every
//! tensor, and writes graphs, weights, tables and a manifest in one streaming pass.
//!
//! ```
//! use std::sync::atomic::AtomicBool;
//! use bernini_exporter::{ExportOptions, export, synth};
//! use bernini_graphs::manifest::{PrecisionName, Variant};
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let (source, out) = (dir.path().join("ckpt"), dir.path().join("export"));
//! synth::write(synth::Preset::Tiny, Variant::Renderer, 0, &source).unwrap();
//! let options = ExportOptions::new(&source, &out, PrecisionName::F32);
//! let report = export(&options, &(), &AtomicBool::new(false)).unwrap();
//! assert!(report.bytes > 0 && out.join("export.json").exists());
//! ```

mod balance;
mod cast;
pub mod checkpoint;
mod export;
mod inspect;
mod magnitudes;
mod meter;
mod output;
mod precision;
mod rearrange;
pub mod synth;
mod tables;
mod weights;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use export::{Calibration, ExportError, ExportOptions, ExportReport, export};
pub use inspect::{
    CheckpointReport, ComponentReport, ExportFolderReport, Finding, FolderReport, InspectError,
    InspectReport, SkippedTensor, inspect,
};
pub use output::{OutputError, Progress};
