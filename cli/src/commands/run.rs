//! `bernini run`: the pipeline.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use bernini_graphs::manifest::Variant;
use bernini_runner::backend::{self, check_engines};
use bernini_runner::enhancer::{SourceFiles, enhance_or_keep};
use bernini_runner::package::{Folder, Package};
use bernini_runner::pipeline::Pipeline;
use bernini_runner::report::{ExpertReport, Report, Stage};
use bernini_runner::request::{Plan, Request};

use crate::Outcome;
use crate::args::{RunArgs, RunFlags, Settings, check_outputs, check_sources, settings};
use crate::progress::Progress;

pub fn run(args: &RunArgs, interrupted: &AtomicBool) -> anyhow::Result<Outcome> {
    let flags = &args.flags;
    let settings = settings(args)?;
    if flags.print_config {
        print_config(&settings, flags.inputs.is_some(), flags.json)?;
        return Ok(Outcome::Done);
    }
    let folder = Folder::open(&flags.folder)?;
    let package = package(&folder)?;
    let variant = package.variant();
    if flags.preset.is_some() && variant == Variant::Renderer {
        anyhow::bail!("--preset holds settings of the full model; this folder is renderer-only");
    }
    if let Some(report) = &flags.report {
        fs::write(report, "").with_context(|| format!("--report {}", report.display()))?;
    }
    let mut jobs = plan(&settings, variant)?;
    if flags.use_pe {
        jobs.iter_mut().try_for_each(|(request, _)| rewrite_prompt(flags, request))?;
    }
    let pipeline = open(flags, folder, package, &jobs)?;
    let mut reports = vec![];
    for (index, (request, plan)) in jobs.iter().enumerate() {
        let progress = Progress::new(flags.progress);
        let report = pipeline
            .run(request, plan, &progress, interrupted)
            .with_context(|| case_name(index, jobs.len()))?;
        drop(progress);
        if !flags.json {
            print(&report, &request.output);
        }
        reports.push(report);
    }
    finish(args, &reports)
}

/// What the pipeline reads besides graphs or engines; refuses what cannot run here.
pub(super) fn package(folder: &Folder) -> anyhow::Result<Package> {
    match folder {
        Folder::Export(export) => {
            export.require_cpu()?;
            Ok(export.package().clone())
        }
        Folder::Engines(engines) => Ok(engines.package()?),
    }
}

/// Opens the backend of `folder`; every job is checked before any library is.
fn open(
    flags: &RunFlags,
    folder: Folder,
    package: Package,
    jobs: &[(Request, Plan)],
) -> anyhow::Result<Pipeline> {
    if let Folder::Engines(engines) = &folder {
        for (index, (request, plan)) in jobs.iter().enumerate() {
            check_engines(request, plan, &package, engines)
                .with_context(|| case_name(index, jobs.len()))?;
        }
    }
    let backend = backend::open(&folder, flags.tensorrt_options())?;
    Ok(Pipeline::open(package, backend)?)
}

/// Lets the prompt enhancer rewrite the prompt; where it fails, the typed one stands.
fn rewrite_prompt(flags: &RunFlags, request: &mut Request) -> anyhow::Result<()> {
    let Request { videos, image, images, task_type, prompt, .. } = &*request;
    let sources = SourceFiles { videos, image: image.as_deref(), images };
    let model = flags.pe_model.as_deref();
    let enhanced = enhance_or_keep(model, flags.pe_required, task_type, prompt, &sources)?;
    match enhanced.warning {
        Some(why) => eprintln!("warning: the prompt stays as typed: {why}"),
        None => eprintln!("enhanced prompt: {}", enhanced.prompt),
    }
    request.prompt = enhanced.prompt;
    Ok(())
}

/// Checks every request before any runs.
fn plan(settings: &[Settings], variant: Variant) -> anyhow::Result<Vec<(Request, Plan)>> {
    let requests = settings.iter().map(|settings| settings.request(variant));
    let requests: Vec<Request> = requests.collect::<anyhow::Result<_>>()?;
    check_outputs(&requests)?;
    let count = requests.len();
    let plan = |(index, request): (usize, Request)| {
        let checked = check_sources(&request, variant);
        let plan = checked.and_then(|()| Ok(request.plan(variant)?));
        Ok((request, plan.with_context(|| case_name(index, count))?))
    };
    requests.into_iter().enumerate().map(plan).collect()
}

pub(super) fn case_name(index: usize, count: usize) -> String {
    if count == 1 { "request".into() } else { format!("case {} of {count}", index + 1) }
}

/// One report as an object, those of a file of cases as a list.
fn finish(args: &RunArgs, reports: &[Report]) -> anyhow::Result<Outcome> {
    let json = match reports {
        [report] if args.flags.inputs.is_none() => serde_json::to_string_pretty(report)?,
        reports => serde_json::to_string_pretty(reports)?,
    };
    if let Some(path) = &args.flags.report {
        fs::write(path, &json).with_context(|| format!("--report {}", path.display()))?;
    }
    if args.flags.json {
        println!("{json}");
    }
    Ok(Outcome::Done)
}

/// Every setting with its origin: a table for each case, or JSON.
fn print_config(settings: &[Settings], many: bool, json: bool) -> anyhow::Result<()> {
    let all: Vec<_> = settings.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
    if json {
        let value = if many { all.into() } else { all.into_iter().next().unwrap_or_default() };
        println!("{}", serde_json::to_string_pretty(&value)?);
        return Ok(());
    }
    for (index, case) in all.iter().enumerate() {
        if many {
            println!("{}{}", if index == 0 { "" } else { "\n" }, case_name(index, all.len()));
        }
        for (name, setting) in case.as_object().into_iter().flatten() {
            let from = setting["from"].as_str().unwrap_or_default();
            println!("{name:<20} {from:<10} {}", setting["value"]);
        }
    }
    Ok(())
}

fn print(report: &Report, output: &Path) {
    let Report { frames, width, height, .. } = report;
    println!("{}: {frames} frames of {width}×{height}", output.display());
    println!(
        "{} steps ({} high noise, {} low noise), {} forwards of up to {} tokens; official: {}",
        report.steps_high_noise + report.steps_low_noise,
        report.steps_high_noise,
        report.steps_low_noise,
        report.forwards,
        report.max_tokens,
        report.forwards_official,
    );
    if report.planner_passes > 0 {
        let Report { planner_passes, planner_passes_official, .. } = report;
        println!("{planner_passes} passes of the planner; official: {planner_passes_official}");
    }
    println!("\n{:<12} {:>9} {:>7} {:>11} {:>9}", "stage", "seconds", "count", "ms each", "GPU s");
    for stage in &report.stages {
        let each = match stage.count {
            0 => String::new(),
            count => format!("{:.2}", stage.seconds / count as f64 * 1e3),
        };
        let gpu = stage.gpu_seconds.map(|seconds| format!("{seconds:.3}")).unwrap_or_default();
        let Stage { name, seconds, count, .. } = stage;
        println!(
            "{}",
            format!("{name:<12} {seconds:>9.3} {count:>7} {each:>11} {gpu:>9}").trim_end()
        );
    }
    println!("{:<12} {:>9.3}", "total", report.seconds);
    for expert in &report.experts {
        let ExpertReport { name, seconds_per_step, forwards, .. } = expert;
        println!("{name}: {seconds_per_step:.3} s a step, {forwards} forwards");
    }
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!("peak memory  {:>6.0} MiB", mib(report.peak_memory_bytes));
    if let Some(bytes) = report.peak_gpu_memory_bytes {
        println!("GPU memory   {:>6.0} MiB", mib(bytes));
    }
    if let Some(share) = report.gpu_idle_share {
        println!("GPU idle     {:>6.2} % of the denoising steps", 100.0 * share);
    }
}
