//! `bernini verify`: how far folders are from a reference.

mod folders;
mod print;

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use bernini_runner::backend::{self, Backend};
use bernini_runner::bench::{Clip, Flops, Job, Shape, jobs};
use bernini_runner::package::{Folder, Package};
use bernini_runner::pipeline::{Pipeline, Progress as Watch};
use bernini_runner::request::{Plan, Request};
use bernini_runner::verify::{
    Case, ModuleReference, Side, SideReport, VerifyReport, common_jobs, profile_jobs,
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
    let requested = requested(args, case.as_ref(), &folders.package)?;
    for other in &mut folders.others {
        let flops = Flops::of(&other.folder, &requested).filter(|flops| flops.total > 0.0);
        other.report.fp8_share = flops.map(|flops| flops.fp8 / flops.total);
    }
    let level_a_jobs = match args.wants(Level::A) {
        true => level_a_jobs(requested, &folders)?,
        false => vec![],
    };
    let warnings = folders.others.iter().flat_map(|other| &other.report.warnings);
    warnings.for_each(|warning| eprintln!("warning: {warning}"));
    let open = |folder| backend::open(folder, args.run.flags.tensorrt_options());
    let backend_a = open(&folders.a).context("A")?;
    let opened = folders
        .others
        .iter()
        .map(|other| open(&other.folder).with_context(|| other.report.name.clone()));
    let backends: Vec<_> = opened.collect::<anyhow::Result<_>>()?;
    if args.wants(Level::A) {
        level_a(args, &mut folders, &*backend_a, &backends, &level_a_jobs, interrupted)?;
    }
    let mut shown = vec![];
    let wanted = [Level::B, Level::C].map(|level| args.wants(level));
    if let Some((request, plan)) = case.filter(|_| wanted != [false, false]) {
        let progress = Progress::new(args.run.flags.progress);
        let case = Case { request: &request, plan: &plan, progress: &progress, interrupted };
        let reference = {
            let a = Pipeline::open(folders.package.clone(), backend_a).context("A")?;
            case.reference(&a)?
        };
        for (other, backend) in folders.others.iter_mut().zip(backends) {
            let Other { package, report, .. } = other;
            let name = report.name.clone();
            let pipeline = Pipeline::open(package.clone(), backend).context(name.clone())?;
            let found = case.compare(&reference, &name, &pipeline, &report.limit, wanted);
            report.add_case(found.context(name)?);
        }
        shown = reference.shown()?;
    }
    let a = SideReport::new(&folders.a);
    let mut reports = folders.others.into_iter().map(|other| other.report);
    let floor = if folders.has_floor { reports.next() } else { None };
    finish(args, &VerifyReport::new(a, floor, reports.collect(), shown))
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

/// What `--workload`, else the case, comes to.
fn requested(
    args: &VerifyArgs,
    case: Option<&(Request, Plan)>,
    package: &Package,
) -> anyhow::Result<Vec<Job>> {
    let mut shapes: Vec<Shape> = args.flags.workload.iter().map(shape).collect();
    if shapes.is_empty() {
        shapes.extend(case.map(|(_, plan)| shape_of(plan)));
    }
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
pub(super) fn shape_of(plan: &Plan) -> Shape {
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

/// Every submodule, run in A once and then in every other folder that has it.
fn level_a(
    args: &VerifyArgs,
    folders: &mut Folders,
    backend_a: &dyn Backend,
    backends: &[Box<dyn Backend>],
    jobs: &[Job],
    interrupted: &AtomicBool,
) -> anyhow::Result<()> {
    let Folders { a, others, own_contexts, .. } = folders;
    let a = Side { name: "A", folder: a, backend: backend_a };
    let mut common: Vec<Vec<Job>> = vec![];
    for (other, backend) in others.iter().zip(backends) {
        let shared = common_jobs(a, side(other, &**backend), jobs, *own_contexts);
        common.push(shared.with_context(|| other.report.name.clone())?);
    }
    let mut all: Vec<&Job> = vec![];
    for job in common.iter().flatten() {
        if !all.contains(&job) {
            all.push(job);
        }
    }
    let progress = Progress::new(args.run.flags.progress);
    let watch: &dyn Watch = &progress;
    watch.begin("submodules", all.len());
    for job in all {
        let sides: Vec<_> = others.iter().zip(backends).map(|(o, b)| side(o, &**b)).collect();
        let reference = ModuleReference::run(a, &sides, job, *own_contexts)?;
        for ((other, backend), common) in others.iter_mut().zip(backends).zip(&common) {
            if interrupted.load(Ordering::Relaxed) {
                bail!("interrupted; nothing was written");
            }
            if common.contains(job) {
                let found = reference.compare(side(other, &**backend), &other.report.limit);
                let module = found.with_context(|| other.report.name.clone())?;
                other.report.add_module(module);
            }
        }
        watch.advance();
    }
    Ok(())
}

fn side<'s>(other: &'s Other, backend: &'s dyn Backend) -> Side<'s> {
    Side { name: &other.report.name, folder: &other.folder, backend }
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
