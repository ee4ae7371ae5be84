//! One streaming pass from a checkpoint to an export folder (design §3).

mod error;
mod folder;
mod job;
mod options;
mod plan;
mod small;

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use bernini_graphs::manifest::PrecisionName;
use bernini_graphs::models::{Configs, build};
use bernini_graphs::{Component, Precision, Submodule};

use crate::checkpoint::{Checkpoint, ComponentTensors};
use crate::inspect::CheckpointReport;
use crate::output::{self, Progress};
use folder::State;
use job::{Job, graph_name, write_file};

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

/// Writes the graphs and weights of one component to `out`, without configs or manifest: what a
/// comparison with a reference library needs.
pub fn export_component(
    tensors: &ComponentTensors,
    component: Component,
    configs: &Configs,
    precision: Precision<'_>,
    taps: bool,
    out: &Path,
) -> Result<(), ExportError> {
    let mut graphs = vec![];
    for submodule in Submodule::ALL.into_iter().filter(|s| s.component() == component) {
        graphs.push((submodule, build(submodule, configs, tensors, precision, taps)?));
    }
    let files = plan::files(&graphs)?;
    for file in &files {
        write_file(out, file, tensors, &AtomicBool::new(false), &())?;
    }
    for planned in plan::encode(graphs, &files) {
        output::write(out, &graph_name(planned.submodule), &planned.onnx)?;
    }
    Ok(())
}
