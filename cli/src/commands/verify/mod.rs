//! `bernini verify`: how far folders are from a reference.

mod folders;
mod print;

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use bernini_builder::Workload;
use bernini_runner::backend::{self, Backend};
use bernini_runner::bench::{Clip, Flops, Job, Shape, jobs};
use bernini_runner::package::{Folder, Package};
use bernini_runner::pipeline::{Pipeline, Progress as Watch};
use bernini_runner::request::{Plan, Request};
use bernini_runner::verify::{
    Case, CaseReference, ModuleReference, Side, SideReport, VerifyReport, common_jobs, profile_jobs,
};

use super::bench::shape;
use crate::Outcome;
use crate::args::{Level, VerifyArgs, check_sources, settings};
use crate::files::publish;
use crate::progress::Progress;
use folders::{Folders, Other};

pub fn verify(args: &VerifyArgs, interrupted: &AtomicBool) -> anyhow::Result<Outcome> {
    let mut folders = Folders::open(args)?;
    let case = args.has_case().then(|| request(args, &folders.package)).transpose()?;
    if case.is_none() && (args.wants(Level::B) || args.wants(Level::C)) {
        bail!("--level b and c run a case on every folder: pass --case FILE, or --prompt");
    }
    let requested = requested(&args.flags.workload, case.as_ref(), &folders.package)?;
    for other in &mut folders.others {
        let flops = Flops::of(&other.folder, &requested).filter(|flops| flops.total > 0.0);
        other.report.fp8_share = flops.map(|flops| flops.fp8 / flops.total);
    }
    let common = match args.wants(Level::A) {
        true => common_to_a(&folders, &level_a_jobs(requested, &folders)?)?,
        false => folders.others.iter().map(|_| vec![]).collect(),
    };
    let warnings = folders.others.iter().flat_map(|other| &other.report.warnings);
    warnings.for_each(|warning| eprintln!("warning: {warning}"));
    // What cannot be opened is said before anything runs; engines are loaded later, and leave when
    // their folder's turn is over.
    let open = |folder, name: &str| {
        let backend = backend::open(folder, args.run.flags.tensorrt_options());
        backend.with_context(|| name.to_string())
    };
    let backend_a = open(&folders.a, "A")?;
    let opened = folders.others.iter().map(|other| open(&other.folder, &other.report.name));
    let backends: Vec<_> = opened.collect::<anyhow::Result<_>>()?;
    let progress = Progress::new(args.run.flags.progress);
    let wanted = [Level::B, Level::C].map(|level| args.wants(level));
    let case = case.filter(|_| wanted != [false, false]);
    let case = case.as_ref().map(|(request, plan)| Case {
        request,
        plan,
        progress: &progress,
        interrupted,
    });
    let run = Run { case, wanted, watch: &progress, interrupted };
    let reference = run.reference(&folders, backend_a, &common)?;
    for ((other, backend), common) in folders.others.iter_mut().zip(backends).zip(&common) {
        let name = other.report.name.clone();
        run.compare(&reference, other, backend, common).context(name)?;
    }
    let shown = reference.case.map(|case| case.shown()).transpose()?.unwrap_or_default();
    drop(progress);
    let a = SideReport::new(&folders.a);
    let mut reports = folders.others.into_iter().map(|other| other.report);
    let floor = if folders.has_floor { reports.next() } else { None };
    finish(args, &VerifyReport::new(a, floor, reports.collect(), shown))
}

/// What is done with every folder.
struct Run<'a> {
    case: Option<Case<'a>>,
    /// Levels B and C.
    wanted: [bool; 2],
    watch: &'a dyn Watch,
    interrupted: &'a AtomicBool,
}

/// What A made of everything, kept for all that it is compared with.
struct Reference {
    modules: Vec<ModuleReference>,
    case: Option<CaseReference>,
}

impl Run<'_> {
    fn reference(
        &self,
        folders: &Folders,
        backend: Box<dyn Backend>,
        common: &[Vec<Job>],
    ) -> anyhow::Result<Reference> {
        let others: Vec<_> = folders.others.iter().map(|other| &other.folder).collect();
        let (jobs, own_contexts) = (distinct(common), folders.own_contexts);
        self.watch.begin("submodules of A", jobs.len());
        let mut modules = vec![];
        for job in jobs {
            self.check()?;
            modules.push(ModuleReference::run(&folders.a, &*backend, &others, job, own_contexts)?);
            self.watch.advance();
        }
        let case = match &self.case {
            Some(case) => {
                let pipeline = Pipeline::open(folders.package.clone(), backend).context("A")?;
                Some(case.reference(&pipeline)?)
            }
            None => None,
        };
        Ok(Reference { modules, case })
    }

    fn compare(
        &self,
        reference: &Reference,
        other: &mut Other,
        backend: Box<dyn Backend>,
        common: &[Job],
    ) -> anyhow::Result<()> {
        let Other { folder, package, report } = other;
        self.watch.begin("submodules", common.len());
        let shared = |module: &&ModuleReference| common.contains(module.job());
        for module in reference.modules.iter().filter(shared) {
            self.check()?;
            let side = Side { name: &report.name, folder };
            let module = module.compare(side, &*backend, &report.limit)?;
            report.add_module(module);
            self.watch.advance();
        }
        if let (Some(case), Some(of_a)) = (&self.case, &reference.case) {
            let pipeline = Pipeline::open(package.clone(), backend)?;
            let (name, limit) = (&report.name, &report.limit);
            let found = case.compare(of_a, name, &pipeline, limit, self.wanted)?;
            report.add_case(found);
        }
        Ok(())
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted; nothing was written");
        }
        Ok(())
    }
}

/// The one case.
fn request(args: &VerifyArgs, package: &Package) -> anyhow::Result<(Request, Plan)> {
    let variant = package.variant();
    let settings = settings(&args.run)?.into_iter().next().context("--case: expected one case")?;
    let mut request = settings.request(variant)?;
    // Frames are compared as pictures without loss, whatever the case's own output is.
    request.output = std::env::temp_dir().join("bernini-verify/");
    check_sources(&request, variant)?;
    let plan = request.plan(variant)?;
    Ok((request, plan))
}

/// Jobs of what `--workload` names, else of the cases.
pub(super) fn requested<'c>(
    workloads: &[Workload],
    cases: impl IntoIterator<Item = &'c (Request, Plan)>,
    package: &Package,
) -> anyhow::Result<Vec<Job>> {
    let shapes: Vec<Shape> = match workloads {
        [] => cases.into_iter().map(|(_, plan)| shape_of(plan)).collect(),
        _ => workloads.iter().map(shape).collect(),
    };
    let planner = package.configs().planner.as_ref();
    let mut all = vec![];
    for shape in &shapes {
        all.extend(jobs(shape, planner, package.boundary_ratio())?.0);
    }
    Ok(all)
}

/// Sizes to compare submodules at: the requested ones, else those of the engines' profiles.
fn level_a_jobs(requested: Vec<Job>, folders: &Folders) -> anyhow::Result<Vec<Job>> {
    let mut all = requested;
    for folder in folders.all().filter(|_| all.is_empty()).collect::<Vec<_>>() {
        if let Folder::Engines(engines) = folder {
            all.extend(profile_jobs(engines));
        }
    }
    if all.is_empty() {
        bail!("nothing says at which sizes to compare: pass --workload, or --case FILE");
    }
    Ok(all)
}

/// What a case comes to.
fn shape_of(plan: &Plan) -> Shape {
    let clip = |width: u32, height: u32, frames| Clip {
        width: width as usize,
        height: height as usize,
        frames,
    };
    let sources = plan.sources.iter().map(|source| {
        clip(source.width, source.height, source.frames.as_ref().map_or(1, Vec::len))
    });
    Shape {
        name: "case".into(),
        target: clip(plan.width, plan.height, plan.frames),
        sources: sources.collect(),
    }
}

/// Of each other folder, the jobs that it shares with A.
fn common_to_a(folders: &Folders, jobs: &[Job]) -> anyhow::Result<Vec<Vec<Job>>> {
    let a = Side { name: "A", folder: &folders.a };
    let common = folders.others.iter().map(|other| {
        let side = Side { name: &other.report.name, folder: &other.folder };
        let common = common_jobs(a, side, jobs, folders.own_contexts);
        common.with_context(|| other.report.name.clone())
    });
    common.collect()
}

/// Each job once.
fn distinct(common: &[Vec<Job>]) -> Vec<&Job> {
    let mut all: Vec<&Job> = vec![];
    for job in common.iter().flatten() {
        if !all.contains(&job) {
            all.push(job);
        }
    }
    all
}

fn finish(args: &VerifyArgs, report: &VerifyReport) -> anyhow::Result<Outcome> {
    let json = serde_json::to_string_pretty(report)?;
    if let Some(path) = args.output() {
        publish(path, &format!("{json}\n")).context("--output")?;
    }
    if let Some(path) = &args.flags.html {
        publish(path, &report.html()).context("--html")?;
    }
    match args.run.flags.json {
        true => println!("{json}"),
        false => print::print(report),
    }
    Ok(if report.passed { Outcome::Done } else { Outcome::CheckFailed })
}
