//! What an export is asked for, and what it reports.

use std::path::{Path, PathBuf};

use bernini_calibration::{CalibrationTable, Policy};
use bernini_graphs::manifest::PrecisionName;
use bernini_graphs::{Component, Submodule, Taps};
use serde::Serialize;

/// Where FP8 scales come from.
#[derive(Clone, Debug)]
pub enum Calibration {
    /// Constants, for speed and parsing only; the export is marked uncalibrated.
    Synthetic,
    /// Measured amax values of this very checkpoint.
    Table(CalibrationTable),
}

/// What to export, where, and how.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// The checkpoint.
    pub source: PathBuf,
    /// The export folder: absent, empty, or a part of the same export.
    pub out: PathBuf,
    /// Precision of the graphs.
    pub precision: PrecisionName,
    /// FP8 only: which layers.
    pub policy: Policy,
    /// FP8 only: their scales.
    pub calibration: Option<Calibration>,
    /// Outputs besides those of the contract.
    pub taps: Taps,
    /// The submodules to export, whatever else the checkpoint has or lacks; `None` for all.
    pub only: Option<Vec<Submodule>>,
}

impl ExportOptions {
    /// Every submodule, the default policy, no calibration, no taps.
    pub fn new(source: &Path, out: &Path, precision: PrecisionName) -> Self {
        let policy = Policy::named("default").expect("invariant: there is a default policy");
        let (source, out) = (source.into(), out.into());
        Self { source, out, precision, policy, calibration: None, taps: Taps::None, only: None }
    }

    /// Whether `submodule` is to be exported.
    pub(crate) fn includes(&self, submodule: Submodule) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&submodule))
    }

    /// Whether anything of `component` is to be exported. The mask token is the planner's.
    pub(crate) fn includes_any(&self, component: Component) -> bool {
        let owner = match component {
            Component::MaskTokens => Component::PlannerLm,
            other => other,
        };
        Submodule::ALL.into_iter().any(|s| s.component() == owner && self.includes(s))
    }
}

/// What an export did.
#[derive(Clone, Debug, Serialize)]
pub struct ExportReport {
    /// The export folder.
    pub out: PathBuf,
    /// Whether the folder was complete before and nothing was written.
    pub up_to_date: bool,
    /// Name of the FP8 policy; `None` for other precisions.
    pub policy: Option<String>,
    /// Whether the FP8 scales were never measured.
    pub uncalibrated: bool,
    /// Bytes of weights and tables written by this run.
    pub bytes: u64,
    /// Files that an earlier run had finished.
    pub reused: Vec<String>,
    /// Seconds from opening the checkpoint to the manifest, without the disk measurement.
    pub seconds: f64,
    /// `bytes` per second of writing them, fsync included; `None` where nothing was written.
    pub bytes_per_second: Option<f64>,
    /// What the disk took in the same run, fsync included.
    pub disk_bytes_per_second: Option<f64>,
    /// Highest resident memory of the process, in bytes.
    pub peak_rss_bytes: Option<u64>,
    /// Warnings of the checkpoint.
    pub warnings: Vec<String>,
}
