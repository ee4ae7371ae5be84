//! One streaming pass from a checkpoint to an export folder (design §3).

mod error;
mod folder;
mod job;
mod options;
mod plan;
mod small;

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crate::balance;
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
    check_contract(options, &checkpoint)?;
    if let Some(Calibration::Table(table)) = &options.calibration {
        table.validate()?;
        table.check_source(checkpoint.fingerprint())?;
        balance::check(options, &checkpoint)?;
    }
    let job = Job::new(options, checkpoint)?;
    match folder::state(&options.out, &job.identity)? {
        State::Finished => job.confirm(started),
        State::Open => job.run(started, progress, cancelled),
    }
}

/// Refuses tensors that break the contract, and submodules that the checkpoint has no place for.
fn check_contract(options: &ExportOptions, checkpoint: &Checkpoint) -> Result<(), ExportError> {
    let mut findings = CheckpointReport::new(checkpoint).findings;
    if let Some(only) = &options.only {
        let held = checkpoint.components();
        if let Some(&submodule) = only.iter().find(|s| !held.contains_key(&s.component())) {
            return Err(ExportError::NoPlanner { path: options.source.clone(), submodule });
        }
        findings.retain(|finding| finding.concerns(|component| options.includes_any(component)));
    }
    if findings.is_empty() {
        return Ok(());
    }
    Err(ExportError::Contract { path: options.source.clone(), findings })
}

/// Scales belong to FP8, and FP8 needs them.
fn check_calibration(options: &ExportOptions) -> Result<(), ExportError> {
    match (options.precision.is_fp8(), &options.calibration) {
        (true, None) => Err(ExportError::NoCalibration),
        (false, Some(_)) => Err(ExportError::UnusedCalibration),
        _ => Ok(()),
    }
}
