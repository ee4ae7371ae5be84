//! `bernini bench`: how long every submodule and every stage takes.

use std::env;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use bernini_builder::{Clip as BuilderClip, Workload};
use bernini_graphs::Submodule;
use bernini_runner::backend::{self, Backend, TensorRtOptions};
use bernini_runner::bench::{
    BenchReport, Clip, Graph, Job, Machine, Peers, Repeat, Shape, Timing, jobs, measure,
};
use bernini_runner::package::{Folder, Package};
use bernini_runner::pipeline::Progress as Watch;

use super::run::package;
use crate::Outcome;
use crate::args::BenchArgs;
use crate::progress::Progress;

pub fn bench(args: &BenchArgs, interrupted: &AtomicBool) -> anyhow::Result<Outcome> {
    let folder = Folder::open(&args.folder)?;
    let package = package(&folder)?;
    let peers = args.peers.as_deref().map(read_peers).transpose()?;
    let planned: Vec<_> = args
        .workload
        .iter()
        .map(|workload| plan(workload, &package))
        .collect::<anyhow::Result<_>>()?;
    // Made-up scales cost what measured ones do; the report says which they are.
    let options = TensorRtOptions { allow_uncalibrated: true, vram_limit: None };
    let backend = backend::open(&folder, options)?;
    let mut reports = vec![];
    for (shape, jobs) in &planned {
        let progress = Progress::new(args.progress);
        let watch: &dyn Watch = &progress;
        watch.begin("bench", jobs.0.len());
        let mut timings = vec![];
        for job in &jobs.0 {
            if interrupted.load(Ordering::Relaxed) {
                anyhow::bail!("interrupted; nothing was written");
            }
            timings.extend(time(&*backend, &folder, job, args)?);
            watch.advance();
        }
        let report = BenchReport::new(shape, machine(&folder), peers.clone(), timings, jobs);
        if !args.json {
            drop(progress);
            println!("{}", report.markdown());
        }
        reports.push(report);
    }
    finish(args, &reports)
}

type Planned = (Shape, (Vec<Job>, [usize; 2]));

fn plan(workload: &Workload, package: &Package) -> anyhow::Result<Planned> {
    let shape = shape(workload);
    let planner = package.configs().planner.as_ref();
    let jobs = jobs(&shape, planner, package.boundary_ratio())?;
    Ok((shape, jobs))
}

/// What the runner is asked for, in its own words.
pub(super) fn shape(workload: &Workload) -> Shape {
    let clip =
        |&BuilderClip { width, height, frames }: &BuilderClip| Clip { width, height, frames };
    Shape {
        name: workload.name.clone(),
        target: clip(&workload.target),
        sources: workload.sources.iter().map(clip).collect(),
    }
}

/// Times one job; nothing where the folder lacks its submodule.
fn time(
    backend: &dyn Backend,
    folder: &Folder,
    job: &Job,
    args: &BenchArgs,
) -> anyhow::Result<Option<Timing>> {
    let Some(graph) = graph(folder, job.submodule) else { return Ok(None) };
    let (warmup, iterations) = (args.warmup as usize, args.iterations as usize);
    let repeat = Repeat { warmup, iterations, layers: args.layers };
    let timing = measure(backend, graph, job, repeat).with_context(|| job.submodule.to_string())?;
    let wrong = || format!("{}: the manifest has other sizes than this workload", job.submodule);
    Ok(Some(timing.with_context(wrong)?))
}

fn graph(folder: &Folder, submodule: Submodule) -> Option<Graph<'_>> {
    match folder {
        Folder::Export(export) => {
            let entry = export.manifest().submodules.get(submodule.stem())?;
            Some(Graph { inputs: &entry.inputs, work: &entry.work })
        }
        Folder::Engines(engines) => {
            let entry = engines.engine(submodule)?;
            Some(Graph { inputs: &entry.inputs, work: &entry.work })
        }
    }
}

fn machine(folder: &Folder) -> Machine {
    let command = env::args().collect::<Vec<_>>().join(" ");
    match folder {
        Folder::Export(export) => {
            let m = export.manifest();
            let (policy, uncalibrated) = (m.policy.clone(), m.uncalibrated);
            let precision = m.precision;
            Machine { gpu: None, tensorrt: None, precision, policy, uncalibrated, command }
        }
        Folder::Engines(engines) => {
            let m = engines.manifest();
            Machine {
                gpu: Some(m.gpu.clone()),
                tensorrt: Some(m.tensorrt.clone()),
                precision: m.precision,
                policy: m.policy.clone(),
                uncalibrated: m.uncalibrated,
                command,
            }
        }
    }
}

fn read_peers(path: &Path) -> anyhow::Result<Peers> {
    let text = fs::read_to_string(path).with_context(|| format!("--peers {}", path.display()))?;
    let remedy = || format!("--peers {}: make it with bench/peer_torch.py", path.display());
    serde_json::from_str(&text).with_context(remedy)
}

fn finish(args: &BenchArgs, reports: &[BenchReport]) -> anyhow::Result<Outcome> {
    let json = serde_json::to_string_pretty(reports)?;
    if let Some(path) = &args.output {
        let write = |path: &Path, text: &str| {
            fs::write(path, text).with_context(|| format!("--output {}", path.display()))
        };
        write(path, &format!("{json}\n"))?;
        let tables: Vec<_> = reports.iter().map(BenchReport::markdown).collect();
        write(&path.with_extension("md"), &tables.join("\n"))?;
    }
    if args.json {
        println!("{json}");
    }
    Ok(Outcome::Done)
}
