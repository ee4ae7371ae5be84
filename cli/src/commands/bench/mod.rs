//! `bernini bench`: how long every submodule and every stage takes.

mod compare;

use std::env;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use bernini_builder::{Clip as BuilderClip, LayerKinds, Workload};
use bernini_graphs::Submodule;
use bernini_runner::backend::{self, TensorRtOptions};
use bernini_runner::bench::{
    Bench, BenchReport, Clip, Job, Machine, Peers, Repeat, Shape, jobs, layers_chart, speed_chart,
};
use bernini_runner::package::{Folder, Package};
use bernini_runner::pipeline::Progress as Watch;

use super::run::package;
use crate::Outcome;
use crate::args::{BenchArgs, BenchCommand, MeasureArgs};
use crate::files::publish;
use crate::progress::Progress;

pub fn bench(args: &BenchArgs, interrupted: &AtomicBool) -> anyhow::Result<Outcome> {
    match (&args.command, &args.measure) {
        (Some(BenchCommand::Compare(args)), _) => compare::compare(args),
        (None, Some(args)) => measure(args, interrupted),
        (None, None) => bail!("expected a folder, or `bernini bench compare OLD.json NEW.json`"),
    }
}

fn measure(args: &MeasureArgs, interrupted: &AtomicBool) -> anyhow::Result<Outcome> {
    let folder = Folder::open(&args.folder)?;
    let package = package(&folder)?;
    let peers = args.peers.as_deref().map(read_peers).transpose()?;
    let planned: Vec<_> = args
        .workload
        .iter()
        .map(|workload| plan(workload, &package))
        .collect::<anyhow::Result<_>>()?;
    if let Some(folder) = args.output.as_deref().and_then(Path::parent)
        && !folder.as_os_str().is_empty()
        && !folder.is_dir()
    {
        bail!("--output: no folder {}; make it first", folder.display());
    }
    // Made-up scales cost what measured ones do; the report says which they are.
    let options = TensorRtOptions { allow_uncalibrated: true, vram_limit: None };
    let backend = backend::open(&folder, options)?;
    let kinds = Submodule::ALL.map(|submodule| LayerKinds::read(&args.folder, submodule));
    let kind_of = |submodule, layer: &str| {
        let all = Submodule::ALL.iter().zip(&kinds);
        all.clone().find(|(known, _)| **known == submodule).map_or("other", |(_, k)| k.of(layer))
    };
    let repeat = Repeat {
        warmup: args.warmup as usize,
        iterations: args.iterations as usize,
        layers: args.layers.then_some(&kind_of),
    };
    let mut bench = Bench::new(&folder, &*backend, repeat);
    let mut reports = vec![];
    for (shape, jobs) in &planned {
        let progress = Progress::new(args.progress);
        let watch: &dyn Watch = &progress;
        watch.begin("bench", jobs.0.len());
        let mut timings = vec![];
        for job in &jobs.0 {
            if interrupted.load(Ordering::Relaxed) {
                bail!("interrupted; nothing was written");
            }
            timings.extend(bench.time(job).with_context(|| job.submodule.to_string())?);
            watch.advance();
        }
        let command = env::args().collect::<Vec<_>>().join(" ");
        let machine = Machine { identity: folder.identity(), command };
        let mut report = BenchReport::new(shape, machine, peers.clone(), timings, jobs);
        report.peak_gpu_memory_bytes = bench.peak_gpu_memory_bytes();
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

fn read_peers(path: &Path) -> anyhow::Result<Peers> {
    let text = fs::read_to_string(path).with_context(|| format!("--peers {}", path.display()))?;
    let remedy = || format!("--peers {}: make it with bench/peer_torch.py", path.display());
    serde_json::from_str(&text).with_context(remedy)
}

fn finish(args: &MeasureArgs, reports: &[BenchReport]) -> anyhow::Result<Outcome> {
    let json = serde_json::to_string_pretty(reports)?;
    if let Some(path) = &args.output {
        write(path, &json, reports).context("--output")?;
    }
    if args.json {
        println!("{json}");
    }
    Ok(Outcome::Done)
}

/// The report, and beside it what people look at.
fn write(path: &Path, json: &str, reports: &[BenchReport]) -> anyhow::Result<()> {
    publish(path, &format!("{json}\n"))?;
    let tables: Vec<_> = reports.iter().map(BenchReport::markdown).collect();
    publish(&path.with_extension("md"), &tables.join("\n"))?;
    for (chart, end) in [(speed_chart(reports), "speed.svg"), (layers_chart(reports), "layers.svg")]
    {
        if let Some(chart) = chart {
            publish(&path.with_extension(end), &chart)?;
        }
    }
    Ok(())
}
