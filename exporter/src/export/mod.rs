//! One streaming pass from a checkpoint to an export folder (design §3).

mod error;
mod folder;
mod job;
mod options;
mod plan;
mod small;

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use bernini_graphs::manifest::PrecisionName;

use crate::checkpoint::Checkpoint;
use crate::inspect::CheckpointReport;
use crate::output::Progress;
use folder::State;
use job::Job;

pub use error::ExportError;
pub(crate) use folder::MARKER;
pub use options::{Calibration, ExportOptions, ExportReport};

/// Exports a checkpoint. Interrupted through `cancelled` or killed, it leaves no manifest, and
/// the same call goes on where it stopped.
pub fn export(
    options: &ExportOptions,
    progress: &dyn Progress,
    cancelled: &AtomicBool,
) -> Result<ExportReport, ExportError> {
    let started = Instant::now();
    check_calibration(options)?;
    let checkpoint = Checkpoint::open(&options.source)?;
    let inspected = CheckpointReport::new(&checkpoint);
    if !inspected.ok {
        let (path, findings) = (options.source.clone(), inspected.findings);
        return Err(ExportError::Contract { path, findings });
    }
    if let Some(Calibration::Table(table)) = &options.calibration {
        table.validate()?;
        table.check_source(checkpoint.fingerprint())?;
    }
    let job = Job::new(options, checkpoint)?;
    match folder::state(&options.out, &job.identity)? {
        State::Finished => job.confirm(started),
        State::Open => job.run(started, progress, cancelled),
    }
}

/// Scales belong to FP8, and FP8 needs them.
fn check_calibration(options: &ExportOptions) -> Result<(), ExportError> {
    match (options.precision, &options.calibration) {
        (PrecisionName::Fp8, None) => Err(ExportError::NoCalibration),
        (PrecisionName::F32 | PrecisionName::Bf16, Some(_)) => Err(ExportError::UnusedCalibration),
        _ => Ok(()),
    }
}
