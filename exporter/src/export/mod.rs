//! One streaming pass from a checkpoint to an export folder (design §3).

mod error;
mod folder;
mod plan;
mod small;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use bernini_calibration::{CalibrationTable, Policy};
use bernini_graphs::manifest::{
    EXPORT_MANIFEST, EXPORT_SCHEMA, ExportManifest, FileEntry, PortEntry, PrecisionName,
    SubmoduleEntry,
};
use bernini_graphs::models::{Configs, build};
use bernini_graphs::{Component, Precision, Submodule};
use serde::Serialize;

use crate::checkpoint::{Checkpoint, ComponentTensors};
use crate::inspect::{CheckpointReport, read_manifest};
use crate::output::{self, Progress};
use crate::{meter, weights};
use folder::{Identity, State};
use plan::{PlannedFile, PlannedGraph};

pub use error::ExportError;

/// Largest file that the disk's own rate is measured with.
const MAX_PROBE: u64 = 1 << 30;
/// Smallest one: less than this measures the fsync alone.
const MIN_PROBE: u64 = 1 << 20;

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
    /// Whether intermediate values become outputs.
    pub taps: bool,
}

impl ExportOptions {
    /// The default policy, no calibration, no taps.
    pub fn new(source: &Path, out: &Path, precision: PrecisionName) -> Self {
        let policy = Policy::named("default").expect("invariant: there is a default policy");
        let (source, out) = (source.into(), out.into());
        Self { source, out, precision, policy, calibration: None, taps: false }
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

/// Everything that one export writes.
struct Job<'a> {
    options: &'a ExportOptions,
    checkpoint: Checkpoint,
    identity: Identity,
    graphs: Vec<PlannedGraph>,
    files: Vec<PlannedFile>,
}

impl<'a> Job<'a> {
    fn new(options: &'a ExportOptions, checkpoint: Checkpoint) -> Result<Self, ExportError> {
        let graphs = plan::graphs(&checkpoint, options)?;
        let mut files = plan::files(&graphs)?;
        let graphs = plan::encode(graphs, &files);
        files.push(plan::text_table(&checkpoint, checkpoint.configs(), options.precision));
        let source = checkpoint.fingerprint().to_string();
        let identity = Identity { source, precision: options.precision };
        Ok(Self { options, checkpoint, identity, graphs, files })
    }

    fn uncalibrated(&self) -> bool {
        matches!(self.options.calibration, Some(Calibration::Synthetic))
    }

    fn report(&self, started: Instant) -> ExportReport {
        let fp8 = self.options.precision == PrecisionName::Fp8;
        ExportReport {
            out: self.options.out.clone(),
            up_to_date: false,
            policy: fp8.then(|| self.options.policy.name.clone()),
            uncalibrated: self.uncalibrated(),
            bytes: 0,
            reused: vec![],
            seconds: started.elapsed().as_secs_f64(),
            bytes_per_second: None,
            disk_bytes_per_second: None,
            peak_rss_bytes: meter::peak_rss(),
            warnings: self.checkpoint.warnings().into(),
        }
    }

    /// A folder with a manifest: fine if it is this export's, refused otherwise.
    fn confirm(&self, started: Instant) -> Result<ExportReport, ExportError> {
        let root = &self.options.out;
        let manifest = read_manifest(root)?;
        let found = Identity { source: manifest.source.clone(), precision: manifest.precision };
        folder::check(root, &found, &self.identity)?;
        let other = |field, expected: &FileEntry, found: Option<&FileEntry>| {
            let found = found.map_or("none".to_string(), |file| file.blake3.clone());
            let expected = expected.blake3.clone();
            ExportError::OtherExport { path: root.clone(), field, expected, found }
        };
        for planned in &self.graphs {
            let stem = planned.submodule.stem();
            let expected = output::entry(&graph_name(planned.submodule), &planned.onnx);
            let found = manifest.submodules.get(stem).map(|entry| &entry.graph);
            if found != Some(&expected) {
                return Err(other("graph (policy, scales, taps or version)", &expected, found));
            }
        }
        for (name, bytes) in self.expected_sizes() {
            let found = std::fs::metadata(root.join(&name)).map_or(0, |file| file.len());
            if found != bytes {
                let (expected, found) = (format!("{name} {bytes}"), format!("{name} {found}"));
                let (path, field) = (root.clone(), "file size");
                return Err(ExportError::OtherExport { path, field, expected, found });
            }
        }
        folder::clean(root);
        Ok(ExportReport { up_to_date: true, ..self.report(started) })
    }

    fn expected_sizes(&self) -> Vec<(String, u64)> {
        let graphs = self.graphs.iter().map(|g| (graph_name(g.submodule), g.onnx.len() as u64));
        let files = self.files.iter().map(|file| (file.name.clone(), file.plan.bytes));
        graphs.chain(files).collect()
    }

    fn run(
        &self,
        started: Instant,
        progress: &dyn Progress,
        cancelled: &AtomicBool,
    ) -> Result<ExportReport, ExportError> {
        let root = &self.options.out;
        let config = small::collect(&self.checkpoint)?;
        folder::mark(root, &self.identity)?;
        let writing = Instant::now();
        let (mut report, mut entries) = (self.report(started), vec![]);
        for file in &self.files {
            progress.begin(&file.name, file.plan.bytes);
            let plan = file.plan.hash();
            let source = &self.identity.source;
            if let Some(entry) = folder::finished(root, &file.name, source, &plan) {
                report.reused.push(file.name.clone());
                progress.advance(entry.bytes);
                entries.push(entry);
                continue;
            }
            let tensors = self.checkpoint.component(file.component);
            let entry = write_file(root, file, tensors, cancelled, progress)?;
            folder::record(root, source, &plan, &entry)?;
            report.bytes += entry.bytes;
            entries.push(entry);
        }
        let seconds = writing.elapsed().as_secs_f64();
        let config = config
            .iter()
            .map(|(name, bytes)| output::write(root, name, bytes))
            .collect::<Result<Vec<_>, _>>()?;
        self.finish(&entries, config)?;
        report.seconds = started.elapsed().as_secs_f64();
        if report.bytes > 0 {
            report.bytes_per_second = Some(report.bytes as f64 / seconds);
            let probe = report.bytes.clamp(MIN_PROBE, MAX_PROBE);
            report.disk_bytes_per_second = Some(meter::disk_write_rate(root, probe)?);
        }
        report.peak_rss_bytes = meter::peak_rss();
        Ok(report)
    }

    /// Writes graphs and, last, the manifest.
    fn finish(&self, files: &[FileEntry], config: Vec<FileEntry>) -> Result<(), ExportError> {
        let root = &self.options.out;
        let written = |name: &str| {
            let found = files.iter().find(|entry| entry.file == name);
            found.cloned().expect("invariant: every planned file was written")
        };
        let mut manifest = ExportManifest {
            schema: EXPORT_SCHEMA,
            bernini: env!("CARGO_PKG_VERSION").into(),
            source: self.identity.source.clone(),
            variant: self.checkpoint.variant(),
            precision: self.options.precision,
            uncalibrated: self.uncalibrated(),
            submodules: Default::default(),
            tables: [("text_embeddings".to_string(), written(plan::TEXT_TABLE))].into(),
            config,
        };
        for planned in &self.graphs {
            let entry = SubmoduleEntry {
                graph: output::write(root, &graph_name(planned.submodule), &planned.onnx)?,
                weights: written(&plan::weights_name(planned.submodule)),
                inputs: planned.graph.inputs.iter().map(PortEntry::from).collect(),
                outputs: planned.graph.outputs.iter().map(PortEntry::from).collect(),
                config: small::config_name(planned.submodule.component()),
            };
            manifest.submodules.insert(planned.submodule.stem().into(), entry);
        }
        let text = serde_json::to_vec_pretty(&manifest).expect("invariant: a manifest is JSON");
        output::write(root, EXPORT_MANIFEST, &text)?;
        folder::clean(root);
        Ok(())
    }
}

fn graph_name(submodule: Submodule) -> String {
    format!("{}.onnx", submodule.stem())
}

fn write_file(
    root: &Path,
    file: &PlannedFile,
    tensors: &ComponentTensors,
    cancelled: &AtomicBool,
    progress: &dyn Progress,
) -> Result<FileEntry, ExportError> {
    weights::write(root, &file.name, &file.head, &file.plan, tensors, cancelled, progress)
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
