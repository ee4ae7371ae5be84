//! Candidates: groups of layers in FP8, exported and measured against the reference.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use bernini_calibration::search::Group;
use bernini_calibration::{CalibrationTable, Policy};
use bernini_exporter::{Calibration, ExportOptions, export};
use bernini_graphs::manifest::PrecisionName;
use bernini_graphs::{Component, Submodule};
use bernini_runner::backend::{OnnxRuntime, Overlay};
use bernini_runner::bench::{Flops, Job};
use bernini_runner::export::Export;
use bernini_runner::package::Folder;
use bernini_runner::pipeline::{Pipeline, Trace};
use bernini_runner::report::Report;
use bernini_runner::request::{Plan, Request};
use bernini_runner::verify::{limits, trajectory};

use super::super::run::case_name;
use crate::args::ProgressKind;
use crate::progress::Progress;

/// What every candidate is made from and measured on.
pub struct Candidates<'a> {
    pub checkpoint: &'a Path,
    pub table: CalibrationTable,
    /// The reference, in f32.
    pub export: Export,
    pub jobs: Vec<(Request, Plan)>,
    /// What is counted as work: requests with the presets' steps.
    pub work: Vec<Job>,
    /// Where the one candidate lies that there is at a time.
    pub folder: PathBuf,
    pub progress: ProgressKind,
    pub interrupted: &'a AtomicBool,
}

impl Candidates<'_> {
    /// Exports what these groups change, with the FP8 values that they would have.
    pub fn make<'g>(
        &self,
        groups: impl IntoIterator<Item = &'g Group> + Clone,
    ) -> anyhow::Result<Export> {
        // The last one, whose measurement may have failed.
        let _ = fs::remove_dir_all(&self.folder);
        let changed = groups.clone().into_iter().map(Group::submodule).map(|stem| {
            let unknown = || format!("calibration table: there is no submodule {stem}");
            Submodule::from_stem(stem).with_context(unknown)
        });
        let changed: Vec<Submodule> = changed.collect::<anyhow::Result<_>>()?;
        // An expert goes with its context: re-balanced keys and values mean something in both or
        // in neither.
        let together = |s: &Submodule| changed.iter().any(|c| c.component() == s.component());
        let only = Submodule::ALL.into_iter().filter(|submodule| match submodule.component() {
            Component::Transformer | Component::Transformer2 => together(submodule),
            _ => changed.contains(submodule),
        });
        let options = ExportOptions {
            policy: Policy::of_groups("candidate", groups),
            calibration: Some(Calibration::Table(self.table.clone())),
            only: Some(only.collect()),
            ..ExportOptions::new(self.checkpoint, &self.folder, PrecisionName::Fp8F32)
        };
        export(&options, &Progress::new(self.progress), self.interrupted)?;
        Ok(Export::open(&self.folder)?)
    }

    /// Runs the cases in f32.
    pub fn reference(&self) -> anyhow::Result<Vec<(Report, Trace)>> {
        let backend = OnnxRuntime::new(self.export.clone())?;
        let pipeline = Pipeline::open(self.export.clone(), Box::new(backend))?;
        self.run(&pipeline, |_| None)
    }

    /// Relative L2 of every step of every case on the latents of `reference`; the candidate goes.
    pub fn errors(
        &self,
        candidate: Export,
        reference: &[(Report, Trace)],
    ) -> anyhow::Result<Vec<f64>> {
        let backend = Overlay::new(self.export.clone(), candidate)?;
        let pipeline = Pipeline::open(self.export.clone(), Box::new(backend))?;
        let runs = self.run(&pipeline, |case| Some(&reference[case].1))?;
        // Nothing is gated here, so the limit only has to be one.
        let limit = limits(PrecisionName::F32, PrecisionName::Fp8F32, None);
        let mut errors = vec![];
        for ((report, of_reference), (_, found)) in reference.iter().zip(&runs) {
            let compared = trajectory(of_reference, found, report.steps_high_noise, &limit)?;
            errors.extend(compared.steps.iter().map(|step| step.rel_l2));
        }
        fs::remove_dir_all(&self.folder).with_context(|| format!("{}", self.folder.display()))?;
        Ok(errors)
    }

    fn run<'t>(
        &self,
        pipeline: &Pipeline,
        teacher: impl Fn(usize) -> Option<&'t Trace>,
    ) -> anyhow::Result<Vec<(Report, Trace)>> {
        let runs = self.jobs.iter().enumerate().map(|(case, (request, plan))| {
            let latents = teacher(case).map(|trace| &trace.latents[..]);
            let progress = Progress::new(self.progress);
            let run = pipeline.follow(request, plan, latents, &progress, self.interrupted);
            run.with_context(|| case_name(case, self.jobs.len()))
        });
        runs.collect()
    }

    /// The work that is counted, in the submodules that `export` has.
    pub fn flops(&self, export: &Export) -> anyhow::Result<Flops> {
        let flops = Flops::of(&Folder::Export(export.clone()), &self.work);
        flops.context("the graphs' FLOPs are no polynomial of their sizes; export them again")
    }
}
