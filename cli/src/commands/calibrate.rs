//! `bernini calibrate`: what linear layers and attentions meet on real trajectories.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use bernini_calibration::balance::Balance;
use bernini_calibration::{CalibrationTable, Method};
use bernini_graphs::Submodule;
use bernini_graphs::manifest::{PortEntry, Variant};
use bernini_runner::backend::{Backend, OnnxRuntime, TensorRt, TensorRtOptions, check_engines};
use bernini_runner::calibrate::{
    Calibrating, Centering, Measurements, has_statistics, is_tapped, measures_centered_keys,
};
use bernini_runner::package::{Folder, Package};
use bernini_runner::pipeline::Pipeline;
use bernini_runner::request::{Plan, Request};
use serde::Serialize;

use super::run::{case_name, package};
use crate::Outcome;
use crate::args::{CalibrateArgs, RunFlags, check_sources, settings};
use crate::files::{Scratch, publish};
use crate::progress::Progress;

/// What was measured.
#[derive(Serialize)]
struct Report {
    table: PathBuf,
    cases: Vec<String>,
    method: Method,
    /// Submodule → linear layers in the table.
    layers: BTreeMap<String, usize>,
    /// Submodule → attentions in the table.
    attentions: BTreeMap<String, usize>,
    /// Submodule → attentions whose factors are not all 1.
    balanced: BTreeMap<String, usize>,
    /// Submodule → attention whose keys are centred → share of the noise in its scores that is left.
    centered: BTreeMap<String, BTreeMap<String, f32>>,
    /// Expert → guidance branch → tensors of which it met the largest magnitude.
    branches: BTreeMap<String, BTreeMap<String, usize>>,
    /// Submodules with layers to measure that no case ran.
    not_run: Vec<String>,
}

pub fn calibrate(
    CalibrateArgs { run: args, flags: choice }: &CalibrateArgs,
    interrupted: &AtomicBool,
) -> anyhow::Result<Outcome> {
    let flags = &args.flags;
    let settings = settings(args)?;
    let folder = Folder::open(&flags.folder)?;
    let tapped = stems(&folder, is_tapped);
    if tapped.is_empty() {
        bail!(
            "{}: no amax outputs; make them with `bernini export CKPT -o EXPORT --taps amax`",
            flags.folder.display()
        );
    }
    if choice.center_keys && stems(&folder, measures_centered_keys).is_empty() {
        bail!(
            "{}: --center-keys: its graphs do not measure centred keys; make them anew with \
             `bernini export CKPT -o EXPORT --taps amax`",
            flags.folder.display()
        );
    }
    let method = choice.method();
    let chosen_from = stems(&folder, has_statistics);
    if let Some(stem) = tapped.iter().find(|stem| !chosen_from.contains(stem))
        && method != Method::Amax
    {
        bail!(
            "{}: {stem}: expected statistics for this --method, found amax alone; make them with \
             `bernini export CKPT -o EXPORT --taps statistics`",
            flags.folder.display()
        );
    }
    let package = package(&folder)?;
    let variant = package.variant();
    if flags.preset.is_some() && variant == Variant::Renderer {
        bail!("--preset holds settings of the full model; this one is renderer-only");
    }
    let scratch = Scratch::beside(&flags.output, "frames")?;
    let requests = settings.iter().map(|settings| settings.request(variant));
    let jobs = plan(requests.collect::<anyhow::Result<_>>()?, variant, &scratch)?;
    let source = folder.identity().source;
    let measurements = Measurements::default();
    let pipeline = open(flags, folder, package, &jobs, &measurements)?;
    for (index, (request, plan)) in jobs.iter().enumerate() {
        let progress = Progress::new(flags.progress);
        let run = pipeline.run(request, plan, &progress, interrupted);
        run.with_context(|| case_name(index, jobs.len()))?;
    }
    let cases = jobs.iter().map(|(request, plan)| describe(request, plan)).collect();
    let centered = if choice.center_keys { measurements.center_keys() } else { Centering::new() };
    let table = measurements.table(&source, cases, method, choice.balance)?;
    publish(&flags.output, &serde_json::to_string_pretty(&table)?)?;
    report(flags, table, centered, tapped)
}

/// Stems of the submodules whose outputs are of that kind.
fn stems(folder: &Folder, kind: fn(&[PortEntry]) -> bool) -> Vec<String> {
    let is_kind =
        |submodule: &Submodule| folder.submodule(*submodule).is_some_and(|e| kind(e.outputs));
    Submodule::ALL.into_iter().filter(is_kind).map(|s| s.stem().into()).collect()
}

/// Checks every request before any runs; the frames of each go to a folder of its own.
pub(super) fn plan(
    requests: Vec<Request>,
    variant: Variant,
    scratch: &Scratch,
) -> anyhow::Result<Vec<(Request, Plan)>> {
    let count = requests.len();
    let plan = |(index, mut request): (usize, Request)| {
        request.output = scratch.path().join(format!("{index}/"));
        let checked = check_sources(&request, variant);
        let plan = checked.and_then(|()| Ok(request.plan(variant)?));
        Ok((request, plan.with_context(|| case_name(index, count))?))
    };
    requests.into_iter().enumerate().map(plan).collect()
}

fn open(
    flags: &RunFlags,
    folder: Folder,
    package: Package,
    jobs: &[(Request, Plan)],
    measurements: &Measurements,
) -> anyhow::Result<Pipeline> {
    let measurements = measurements.clone();
    let backend: Box<dyn Backend> = match folder {
        Folder::Export(export) => {
            Box::new(Calibrating::new(OnnxRuntime::new(export)?, measurements))
        }
        Folder::Engines(engines) => {
            for (index, (request, plan)) in jobs.iter().enumerate() {
                check_engines(request, plan, &package, &engines)
                    .with_context(|| case_name(index, jobs.len()))?;
            }
            let vram_limit = flags.vram_limit.map(|limit| limit.0);
            let options = TensorRtOptions { allow_uncalibrated: false, vram_limit };
            Box::new(Calibrating::new(TensorRt::open(engines, options)?, measurements))
        }
    };
    Ok(Pipeline::open(package, backend)?)
}

/// One measured case in one line.
pub(super) fn describe(request: &Request, plan: &Plan) -> String {
    let Request { task_type, seed, num_inference_steps, prompt, .. } = request;
    let Plan { width, height, frames, .. } = plan;
    let size = format!("{width}x{height}x{frames}, {num_inference_steps} steps, seed {seed}");
    format!("{task_type} {size}: {}", prompt.chars().take(80).collect::<String>())
}

fn report(
    flags: &RunFlags,
    table: CalibrationTable,
    centered: Centering,
    tapped: Vec<String>,
) -> anyhow::Result<Outcome> {
    let run = |stem: &String| table.submodules.contains_key(stem);
    let not_run: Vec<_> = tapped.into_iter().filter(|stem| !run(stem)).collect();
    let layers = table.submodules.into_iter().map(|(stem, layers)| (stem, layers.len())).collect();
    let changed = |b: &&Balance| b.queries.iter().chain(&b.values).any(|&e| e != 0);
    let balanced = table.balance.iter();
    let balanced = balanced.map(|(stem, all)| (stem.clone(), all.values().filter(changed).count()));
    let balanced = balanced.collect();
    let branches = table.branches.iter().map(|(stem, all)| (stem.clone(), counted(all))).collect();
    let attentions = table.attention.into_iter().map(|(stem, all)| (stem, all.len())).collect();
    let (output, cases, method) = (flags.output.clone(), table.cases, table.method);
    let centered = centered.into_iter().map(|(expert, all)| (expert.stem().into(), all)).collect();
    let report = Report {
        table: output,
        cases,
        method,
        layers,
        attentions,
        balanced,
        centered,
        branches,
        not_run,
    };
    if flags.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(Outcome::Done);
    }
    println!("{}: scales by {}, measured on", report.table.display(), report.method);
    report.cases.iter().for_each(|case| println!("  {case}"));
    for (stem, layers) in &report.layers {
        let attentions = report.attentions.get(stem).copied().unwrap_or_default();
        let balanced = match report.balanced.get(stem) {
            Some(balanced) if attentions > 0 => format!(", {balanced} re-balanced"),
            _ => String::new(),
        };
        let centered = report.centered.get(stem).map_or_else(String::new, noise_left);
        println!(
            "{stem:<28} {layers:>6} linear layers {attentions:>6} attentions{balanced}{centered}"
        );
    }
    for (stem, branches) in &report.branches {
        let each: Vec<_> = branches.iter().map(|(name, count)| format!("{name} {count}")).collect();
        println!("{stem:<28} largest magnitudes by branch: {}", each.join(", "));
    }
    if !report.not_run.is_empty() {
        println!("not run, so not in the table: {}", report.not_run.join(", "));
    }
    Ok(Outcome::Done)
}

/// How many keys are centred, and what is left of the noise in their scores.
fn noise_left(centered: &BTreeMap<String, f32>) -> String {
    let [least, most] =
        [f32::min as fn(f32, f32) -> f32, f32::max].map(|f| centered.values().copied().reduce(f));
    let percent = |share: Option<f32>| 100.0 * share.unwrap_or_default();
    let (least, most) = (percent(least), percent(most));
    format!(", {} with centred keys ({least:.0}–{most:.0} % of the noise left)", centered.len())
}

/// Branch → tensors of which it met the largest magnitude.
fn counted(tensors: &BTreeMap<String, BTreeMap<String, f32>>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for branches in tensors.values() {
        let largest = branches.iter().max_by(|(_, a), (_, b)| a.total_cmp(b));
        if let Some((branch, _)) = largest {
            *counts.entry(branch.clone()).or_default() += 1;
        }
    }
    counts
}
