//! `bernini build`: ONNX graphs to TensorRT engines.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use bernini_builder::{
    Action, BuildReport, Compiler, DryRun, EngineReport, Flags, Options, PlannedEngine,
    TensorRtCompiler, Watch, build as make, dry_run,
};
use bernini_tensorrt::{PluginLibrary, restart_with_library_path};

use crate::Outcome;
use crate::args::BuildArgs;
use crate::progress::Progress;

pub fn build(args: &BuildArgs, interrupted: &Arc<AtomicBool>) -> anyhow::Result<Outcome> {
    let options = Options {
        export: args.export.clone(),
        engines: args.output.clone(),
        workloads: args.workload.clone(),
        only: args.only.clone(),
        flags: Flags { optimization_level: args.optimization_level, ..Flags::default() },
        plugin: PluginLibrary::find()?,
        timing_cache: args.timing_cache.clone(),
    };
    // What is wrong with the request is said before TensorRT is looked for.
    let without_keys = dry_run(&options, None)?;
    // TensorRT looks for its builder resources by the loader's path, which a process cannot change.
    restart_with_library_path().context("looking for TensorRT's builder resources")?;
    let compiler = TensorRtCompiler::open();
    if args.dry_run {
        let (plan, missing) = match &compiler {
            Ok(compiler) => (dry_run(&options, Some(&compiler.platform()))?, None),
            Err(error) => (without_keys, Some(error.to_string())),
        };
        return show(&plan, missing.as_deref(), args.json);
    }
    let mut compiler = compiler.context("building engines")?;
    let progress = Arc::new(Progress::new(args.progress));
    let watch = Watch { progress: progress.clone(), interrupted: interrupted.clone() };
    let report = make(&options, &mut compiler, &watch)?;
    progress.end();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(Outcome::Done)
}

fn show(plan: &DryRun, missing: Option<&str>, json: bool) -> anyhow::Result<Outcome> {
    if json {
        println!("{}", serde_json::to_string_pretty(plan)?);
        return Ok(Outcome::Done);
    }
    match (&plan.platform, missing) {
        (Some(platform), _) => println!("TensorRT {} on {}", platform.tensorrt, platform.gpu),
        (None, error) => println!("TensorRT: not found: {}", error.unwrap_or("no GPU")),
    }
    plan.engines.iter().for_each(show_engine);
    Ok(Outcome::Done)
}

fn show_engine(engine: &PlannedEngine) {
    let PlannedEngine { submodule, action, why, weight_bytes, profiles, inputs, .. } = engine;
    let megabytes = *weight_bytes as f64 / 1e6;
    println!("\n{submodule}, {megabytes:.1} MB of weights: {}", said(*action, why));
    for (profile, inputs) in profiles.iter().zip(inputs) {
        println!("  {}", profile.name);
        for input in inputs {
            let shape = match input.min == input.max {
                true => format!("{:?}", input.opt),
                false => format!("{:?} to {:?}, best at {:?}", input.min, input.max, input.opt),
            };
            println!("    {:<14} {shape}", input.name);
        }
    }
}

fn said(action: Action, why: &str) -> String {
    match action {
        Action::Build => format!("build, {why}"),
        Action::Reuse => "reuse".into(),
        Action::Unknown => "build or reuse, depends on TensorRT and the GPU".into(),
    }
}

fn print(report: &BuildReport) {
    let BuildReport { platform, workloads, .. } = report;
    report.warnings.iter().for_each(|warning| println!("warning: {warning}"));
    let header = ["engine", "seconds", "weights MB", "plan MB", "activations MB"];
    let [engine, seconds, weights, plan, activations] = header;
    println!("{engine:<24} {seconds:>9} {weights:>11} {plan:>10} {activations:>15}");
    report.engines.iter().for_each(print_engine);
    if !report.kept.is_empty() {
        println!("kept as they were: {}", report.kept.join(", "));
    }
    if !report.removed.is_empty() {
        println!("{} plans that nothing uses any more were removed", report.removed.len());
    }
    if report.uncalibrated {
        println!("uncalibrated: constant FP8 scales, for speed runs only");
    }
    let (out, seconds) = (report.out.display(), report.seconds);
    let (tensorrt, gpu) = (&platform.tensorrt, &platform.gpu);
    println!("{out}: {} in {seconds:.1} s, TensorRT {tensorrt}, {gpu}", workloads.join(", "));
}

fn print_engine(engine: &EngineReport) {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    println!(
        "{:<24} {:>9.1} {:>11.1} {:>10.1} {:>15.1}  {}",
        engine.submodule.stem(),
        engine.build_seconds,
        megabytes(engine.weight_bytes),
        megabytes(engine.plan_bytes),
        megabytes(engine.activation_bytes),
        said(engine.action, &engine.why),
    );
    if let Some(layers) = &engine.layers {
        layers.to_string().lines().for_each(|line| println!("  {line}"));
    }
}
