//! One export: what it writes, and the writing.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use bernini_graphs::Submodule;
use bernini_graphs::manifest::{
    EXPORT_MANIFEST, EXPORT_SCHEMA, ExportManifest, FileEntry, PortEntry, SubmoduleEntry,
};

use super::folder::{self, Identity};
use super::plan::{self, PlannedFile, PlannedGraph};
use super::{Calibration, ExportError, ExportOptions, ExportReport, small};
use crate::checkpoint::Checkpoint;
use crate::inspect::read_manifest;
use crate::output::{self, Progress};
use crate::{balance, meter, weights};

/// Largest file that the disk's own rate is measured with.
const MAX_PROBE: u64 = 1 << 30;
/// Smallest one: less than this measures the fsync alone.
const MIN_PROBE: u64 = 1 << 20;

/// Everything that one export writes.
pub struct Job<'a> {
    options: &'a ExportOptions,
    checkpoint: Checkpoint,
    /// What the folder will be an export of.
    pub identity: Identity,
    graphs: Vec<PlannedGraph>,
    files: Vec<PlannedFile>,
}

impl<'a> Job<'a> {
    /// Decides all of it; nothing is written.
    pub fn new(options: &'a ExportOptions, checkpoint: Checkpoint) -> Result<Self, ExportError> {
        let mut graphs = plan::graphs(&checkpoint, options)?;
        let mut files = plan::files(&graphs, options)?;
        plan::encode(&mut graphs, &files);
        files.extend(plan::tables(&checkpoint, options));
        let source = checkpoint.fingerprint().to_string();
        let identity = Identity { source, precision: options.precision };
        Ok(Self { options, checkpoint, identity, graphs, files })
    }

    fn uncalibrated(&self) -> bool {
        matches!(self.options.calibration, Some(Calibration::Synthetic))
    }

    fn policy(&self) -> Option<String> {
        self.options.precision.is_fp8().then(|| self.options.policy.name.clone())
    }

    fn report(&self, started: Instant) -> ExportReport {
        ExportReport {
            out: self.options.out.clone(),
            up_to_date: false,
            policy: self.policy(),
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
    pub fn confirm(&self, started: Instant) -> Result<ExportReport, ExportError> {
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
        let expected = balance::hash(self.options);
        if manifest.balance != expected {
            let [expected, found] =
                [expected, manifest.balance].map(|hash| hash.unwrap_or_else(|| "none".into()));
            let (path, field) = (root.clone(), "re-balancing of attention");
            return Err(ExportError::OtherExport { path, field, expected, found });
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

    /// Writes what is missing, the manifest last, and measures the disk.
    pub fn run(
        &self,
        started: Instant,
        progress: &dyn Progress,
        cancelled: &AtomicBool,
    ) -> Result<ExportReport, ExportError> {
        let root = &self.options.out;
        let config = small::collect(&self.checkpoint)?;
        let finished = self.finished();
        let missing = self.files.iter().zip(&finished).filter(|(_, finished)| finished.is_none());
        let missing = missing.map(|(file, _)| file.plan.bytes).sum();
        output::check_space(root, missing).map_err(output::at(root))?;
        folder::mark(root, &self.identity)?;
        let mut report = self.report(started);
        let writing = Instant::now();
        let files = self.write_files(finished, &mut report, progress, cancelled)?;
        let seconds = writing.elapsed().as_secs_f64();
        self.finish(&files, &config)?;
        report.seconds = started.elapsed().as_secs_f64();
        if report.bytes > 0 {
            report.bytes_per_second = Some(report.bytes as f64 / seconds);
            let probe = report.bytes.clamp(MIN_PROBE, MAX_PROBE);
            report.disk_bytes_per_second = Some(meter::disk_write_rate(root, probe)?);
        }
        report.peak_rss_bytes = meter::peak_rss();
        Ok(report)
    }

    /// Of weights and tables in order, those that an earlier run has finished.
    fn finished(&self) -> Vec<Option<FileEntry>> {
        let (root, source) = (&self.options.out, &self.identity.source);
        let files = self.files.iter();
        files.map(|file| folder::finished(root, &file.name, source, &file.plan.hash())).collect()
    }

    /// Writes weights and tables, but for those that are `finished`.
    fn write_files(
        &self,
        finished: Vec<Option<FileEntry>>,
        report: &mut ExportReport,
        progress: &dyn Progress,
        cancelled: &AtomicBool,
    ) -> Result<Vec<FileEntry>, ExportError> {
        let (root, source) = (&self.options.out, &self.identity.source);
        let mut entries = vec![];
        for (file, finished) in self.files.iter().zip(finished) {
            progress.begin(&file.name, file.plan.bytes);
            let entry = if let Some(entry) = finished {
                progress.advance(entry.bytes);
                report.reused.push(file.name.clone());
                entry
            } else {
                let entry = self.write_file(file, progress, cancelled)?;
                folder::record(root, source, &file.plan.hash(), &entry)?;
                report.bytes += entry.bytes;
                entry
            };
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Writes one file of weights or one table.
    fn write_file(
        &self,
        file: &PlannedFile,
        progress: &dyn Progress,
        cancelled: &AtomicBool,
    ) -> Result<FileEntry, ExportError> {
        let tensors = &self.checkpoint.components()[&file.component];
        let PlannedFile { name, head, plan, .. } = file;
        weights::write(&self.options.out, name, head, plan, tensors, cancelled, progress)
    }

    /// Writes small files, graphs and, last, the manifest.
    fn finish(&self, files: &[FileEntry], config: &[(String, Vec<u8>)]) -> Result<(), ExportError> {
        let root = &self.options.out;
        let config = config.iter().map(|(name, bytes)| output::write(root, name, bytes));
        let config = config.collect::<Result<_, _>>()?;
        let written = |name: &str| {
            let found = files.iter().find(|entry| entry.file == name);
            found.cloned().expect("invariant: every planned file was written")
        };
        let table = |file: &PlannedFile| Some((file.table?.to_string(), written(&file.name)));
        let mut manifest = ExportManifest {
            schema: EXPORT_SCHEMA,
            bernini: env!("CARGO_PKG_VERSION").into(),
            source: self.identity.source.clone(),
            variant: self.checkpoint.variant(),
            precision: self.options.precision,
            policy: self.policy(),
            uncalibrated: self.uncalibrated(),
            balance: balance::hash(self.options),
            submodules: Default::default(),
            tables: self.files.iter().filter_map(table).collect(),
            config,
        };
        for planned in &self.graphs {
            let entry = SubmoduleEntry {
                graph: output::write(root, &graph_name(planned.submodule), &planned.onnx)?,
                weights: written(&plan::weights_name(planned.submodule)),
                inputs: planned.graph.inputs.iter().map(PortEntry::from).collect(),
                outputs: planned.graph.outputs.iter().map(PortEntry::from).collect(),
                config: planned.submodule.component().config_file(),
                work: planned.graph.work(),
                fp8: planned.fp8,
            };
            manifest.submodules.insert(planned.submodule.stem().into(), entry);
        }
        let text = serde_json::to_vec_pretty(&manifest).expect("invariant: a manifest is JSON");
        output::write(root, EXPORT_MANIFEST, &text)?;
        folder::clean(root);
        Ok(())
    }
}

/// Name of a submodule's ONNX file.
fn graph_name(submodule: Submodule) -> String {
    format!("{}.onnx", submodule.stem())
}
