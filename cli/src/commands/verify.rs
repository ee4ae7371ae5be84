//! `bernini verify`: how far one folder is from another.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use bernini_runner::backend;
use bernini_runner::bench::{Clip, Job, Shape, jobs};
use bernini_runner::package::{Folder, Package};
use bernini_runner::pipeline::{Pipeline, Progress as Watch};
use bernini_runner::request::{Plan, Request};
use bernini_runner::verify::{
    Case, FramesReport, ModuleReport, OutputReport, Side, SideReport, TrajectoryReport,
    VerifyReport, check_pair, common_jobs, limits, module, profile_jobs,
};

use super::bench::shape;
use super::run::package;
use crate::Outcome;
use crate::args::{Level, VerifyArgs, check_sources, settings};
use crate::progress::Progress;

pub fn verify(args: &VerifyArgs, interrupted: &AtomicBool) -> anyhow::Result<Outcome> {
    let flags = &args.run.flags;
    let a = Folder::open(&flags.folder).context("A")?;
    let b = Folder::open(&args.flags.other).context("B")?;
    let warnings = check_pair(&a, &b)?;
    let package = package(&a).context("A")?;
    let package_b = super::run::package(&b).context("B")?;
    let case = args.has_case().then(|| request(args, &package)).transpose()?;
    if case.is_none() && (args.wants(Level::B) || args.wants(Level::C)) {
        bail!("--level b and c run a case on both folders: pass --case FILE, or --prompt");
    }
    let jobs = match args.wants(Level::A) {
        true => level_a_jobs(args, case.as_ref(), &package, [&a, &b])?,
        false => vec![],
    };
    let [info_a, info_b] = [SideReport::new(&a), SideReport::new(&b)];
    let limit = limits(info_a.precision, info_b.precision, args.flags.limit);
    let mut report = VerifyReport::new(info_a, info_b, warnings, limit);
    report.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    let open = |folder| backend::open(folder, flags.tensorrt_options());
    let (backend_a, backend_b) = (open(&a).context("A")?, open(&b).context("B")?);
    let a = Side { name: "A", folder: &a, backend: &*backend_a };
    let b = Side { name: "B", folder: &b, backend: &*backend_b };
    if args.wants(Level::A) {
        level_a(args, [a, b], jobs, &mut report, interrupted)?;
    }
    let wanted = [Level::B, Level::C].map(|level| args.wants(level));
    if let Some((request, plan)) = case.filter(|_| wanted != [false, false]) {
        let progress = Progress::new(flags.progress);
        let case = Case { request: &request, plan: &plan, progress: &progress, interrupted };
        let a = Pipeline::open(package, backend_a).context("A")?;
        let b = Pipeline::open(package_b, backend_b).context("B")?;
        report.add_case(case.compare(&a, &b, &report.limit, wanted)?);
    }
    finish(args, &report)
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

/// Sizes to compare submodules at: of `--workload`, of the case, of the engines' profiles.
fn level_a_jobs(
    args: &VerifyArgs,
    case: Option<&(Request, Plan)>,
    package: &Package,
    folders: [&Folder; 2],
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
    for folder in folders.into_iter().filter(|_| shapes.is_empty()) {
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

fn level_a(
    args: &VerifyArgs,
    [a, b]: [Side<'_>; 2],
    jobs: Vec<Job>,
    report: &mut VerifyReport,
    interrupted: &AtomicBool,
) -> anyhow::Result<()> {
    let jobs = common_jobs(a, b, jobs)?;
    let progress = Progress::new(args.run.flags.progress);
    let watch: &dyn Watch = &progress;
    watch.begin("submodules", jobs.len());
    for job in &jobs {
        if interrupted.load(Ordering::Relaxed) {
            bail!("interrupted; nothing was written");
        }
        report.add_module(module(a, b, job, &report.limit)?);
        watch.advance();
    }
    Ok(())
}

fn finish(args: &VerifyArgs, report: &VerifyReport) -> anyhow::Result<Outcome> {
    let json = serde_json::to_string_pretty(report)?;
    if let Some(path) = args.output() {
        let written = fs::write(path, format!("{json}\n"));
        written.with_context(|| format!("--output {}", path.display()))?;
    }
    if let Some(path) = &args.flags.html {
        fs::write(path, report.html()).with_context(|| format!("--html {}", path.display()))?;
    }
    if args.run.flags.json {
        println!("{json}");
    } else {
        print(report);
    }
    Ok(if report.passed { Outcome::Done } else { Outcome::CheckFailed })
}

fn print(report: &VerifyReport) {
    for (name, side) in [("A", &report.a), ("B", &report.b)] {
        let precision = side.precision;
        let policy = side.policy.as_ref().map_or(String::new(), |name| format!(", {name}"));
        let place = side.gpu.as_deref().unwrap_or("CPU");
        println!("{name}: {} ({precision}{policy}, {place})", side.folder.display());
    }
    println!("limit: relative L2 {} ({})", report.limit.rel_l2, report.limit.reason);
    if !report.modules.is_empty() {
        print_modules(&report.modules);
    }
    if let Some(trajectory) = &report.trajectory {
        print_trajectory(trajectory);
    }
    if let Some(frames) = &report.frames {
        print_frames(frames);
    }
    println!("\n{}", if report.passed { "passed" } else { "FAILED" });
}

fn print_modules(modules: &[ModuleReport]) {
    println!(
        "\n{:<28} {:<22} {:>9} {:>9} {:>11} {:>9} {:>7}",
        "submodule, output", "sizes", "rms of A", "rel. L2", "1 - cosine", "max abs", "NaN/Inf"
    );
    for module in modules {
        println!("{:<28} {}", module.submodule.stem(), module.sizes);
        for group in grouped(&module.outputs) {
            print_output(&group);
        }
        if let Some(first) = &module.first_beyond {
            println!("  first value beyond the limit:");
            print_output(&(first.name.clone(), first));
        }
    }
}

fn print_trajectory(trajectory: &TrajectoryReport) {
    println!("\n{:<18} {:>9}", "condition", "rel. L2");
    for condition in &trajectory.conditions {
        println!("{:<18} {:>9.2e}", condition.name, condition.rel_l2);
    }
    println!(
        "\n{:>4} {:<13} {:>9} {:>11} {:>9}",
        "step", "expert", "rel. L2", "1 - cosine", "max abs"
    );
    for step in &trajectory.steps {
        let bad = if step.passed { "" } else { "  FAILED" };
        println!(
            "{:>4} {:<13} {:>9.2e} {:>11.2e} {:>9.2e}{bad}",
            step.step,
            step.expert,
            step.rel_l2,
            1.0 - step.cosine,
            step.max_abs
        );
    }
}

fn print_frames(frames: &FramesReport) {
    let ssim = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.4}"));
    println!("\n{} frames    {:>9} {:>9}", frames.frames.len(), "worst", "mean");
    println!("PSNR, dB    {:>9.2} {:>9.2}", frames.worst_psnr, frames.mean_psnr);
    println!("SSIM        {:>9} {:>9}", ssim(frames.worst_ssim), ssim(frames.mean_ssim));
}

/// Outputs, of which the caches of a chunk, that are many, are one line: the worst.
fn grouped(outputs: &[OutputReport]) -> Vec<(String, &OutputReport)> {
    let mut groups: BTreeMap<&str, Vec<&OutputReport>> = BTreeMap::new();
    for output in outputs {
        let group = output.name.split_once('.').map_or(&*output.name, |(prefix, _)| prefix);
        groups.entry(group).or_default().push(output);
    }
    groups.into_iter().filter_map(|(name, all)| worst(name, &all)).collect()
}

/// The output that is farthest off, under the name of all.
fn worst<'a>(name: &str, all: &[&'a OutputReport]) -> Option<(String, &'a OutputReport)> {
    // NaN is worse than any number.
    let off = |output: &OutputReport| match output.rel_l2 {
        x if x.is_nan() => f64::INFINITY,
        x => x,
    };
    let worst = all.iter().copied().max_by(|a, b| off(a).total_cmp(&off(b)))?;
    let name = match all {
        [_] => worst.name.clone(),
        all => format!("{name}.* ({}, worst)", all.len()),
    };
    Some((name, worst))
}

fn print_output((name, output): &(String, &OutputReport)) {
    let OutputReport { rms, rel_l2, cosine, max_abs, not_finite: [a, b], passed, .. } = output;
    let bad = if *passed { "" } else { "  FAILED" };
    println!(
        "  {name:<49} {rms:>9.3} {rel_l2:>9.2e} {:>11.2e} {max_abs:>9.2e} {:>7}{bad}",
        1.0 - cosine,
        a + b
    );
}
