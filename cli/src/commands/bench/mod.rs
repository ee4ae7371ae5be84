//! `bernini bench`: how long every submodule and every stage takes.

mod compare;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use bernini_builder::{Clip as BuilderClip, LayerKinds, Workload};
use bernini_graphs::Submodule;
use bernini_runner::backend::{self, TensorRtOptions};
use bernini_runner::bench::{
    Bench, BenchReport, Clip, Job, KindOf, Machine, Peers, Repeat, Shape, jobs, layers_chart,
    matrix, speed_chart,
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

/// A folder and what is measured on it.
struct Side {
    folder: Folder,
    planned: Vec<Planned>,
}

fn measure(args: &MeasureArgs, interrupted: &AtomicBool) -> anyhow::Result<Outcome> {
    // What cannot work is said before anything runs.
    let sides: Vec<_> = args
        .folders
        .iter()
        .map(|folder| side(folder, &args.workload))
        .collect::<anyhow::Result<_>>()?;
    let peers = args.peers.as_deref().map(read_peers).transpose()?;
    if let Some(folder) = args.output.as_deref().and_then(Path::parent)
        && !folder.as_os_str().is_empty()
        && !folder.is_dir()
    {
        bail!("--output: no folder {}; make it first", folder.display());
    }
    let mut reports = vec![];
    for side in &sides {
        reports.extend(reports_of(side, args, peers.as_ref(), interrupted)?);
    }
    finish(args, &reports)
}

fn side(path: &Path, workloads: &[Workload]) -> anyhow::Result<Side> {
    let folder = Folder::open(path)?;
    let package = package(&folder)?;
    let planned = workloads.iter().map(|workload| plan(workload, &package));
    let planned = planned.collect::<anyhow::Result<_>>()?;
    Ok(Side { folder, planned })
}

/// A report for each workload; the folder's engines are unloaded at the end.
fn reports_of(
    Side { folder, planned }: &Side,
    args: &MeasureArgs,
    peers: Option<&Peers>,
    interrupted: &AtomicBool,
) -> anyhow::Result<Vec<BenchReport>> {
    // Made-up scales cost what measured ones do; the report says which they are.
    let options = TensorRtOptions { allow_uncalibrated: true, vram_limit: None };
    let backend = backend::open(folder, options)?;
    let identity = folder.identity();
    let kinds = args.layers.then(|| {
        let kinds = |submodule| (submodule, LayerKinds::read(&identity.folder, submodule));
        BTreeMap::from(Submodule::ALL.map(kinds))
    });
    let kind_of = kinds.map(|kinds| move |submodule, layer: &str| kinds[&submodule].of(layer));
    let repeat = Repeat {
        warmup: args.warmup as usize,
        iterations: args.iterations as usize,
        layers: kind_of.as_ref().map(|kind_of| kind_of as KindOf<'_>),
    };
    let mut bench = Bench::new(folder, &*backend, repeat);
    let mut reports = vec![];
    for (shape, jobs) in planned {
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
        let machine = Machine { identity: identity.clone(), command };
        let mut report = BenchReport::new(shape, machine, peers.cloned(), timings, jobs);
        report.peak_gpu_memory_bytes = bench.peak_gpu_memory_bytes();
        if !args.json {
            drop(progress);
            println!("{}", report.markdown());
        }
        reports.push(report);
    }
    Ok(reports)
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
    match args.json {
        true => println!("{json}"),
        false => matrix(reports).iter().for_each(|table| println!("{table}")),
    }
    Ok(Outcome::Done)
}

/// The report, and beside it what people look at.
fn write(path: &Path, json: &str, reports: &[BenchReport]) -> anyhow::Result<()> {
    publish(path, &format!("{json}\n"))?;
    let tables = reports.iter().map(BenchReport::markdown).chain(matrix(reports));
    let tables: Vec<_> = tables.collect();
    publish(&path.with_extension("md"), &tables.join("\n"))?;
    for (chart, end) in [(speed_chart(reports), "speed.svg"), (layers_chart(reports), "layers.svg")]
    {
        if let Some(chart) = chart {
            publish(&path.with_extension(end), &chart)?;
        }
    }
    Ok(())
}
