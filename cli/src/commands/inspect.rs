//! `bernini inspect`: what a folder holds, and whether it keeps the contract.

use std::fmt::Display;

use bernini_builder::{EngineSummary, EnginesReport, inspect as look_at_engines, is_engine_folder};
use bernini_exporter::{
    CheckpointReport, ComponentReport, ExportFolderReport, FolderReport, InspectReport,
    inspect as look,
};

use crate::Outcome;
use crate::args::InspectArgs;

pub fn inspect(args: &InspectArgs) -> anyhow::Result<Outcome> {
    if is_engine_folder(&args.folder) {
        return engines(args);
    }
    let report = look(&args.folder, args.verify)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        match &report {
            InspectReport::Checkpoint(report) => print_checkpoint(report),
            InspectReport::Export(report) => print_export(report),
        }
    }
    Ok(if report.ok() { Outcome::Done } else { Outcome::CheckFailed })
}

fn print_checkpoint(report: &CheckpointReport) {
    println!("checkpoint, {:?} layout, fingerprint {}", report.layout, report.fingerprint);
    println!("\n{:<28} {:>8} {:>16} {:>12}  types", "component", "tensors", "parameters", "MB");
    report.components.iter().for_each(print_component);
    let tensors: usize = report.components.iter().map(|component| component.tensors).sum();
    let parameters: u64 = report.components.iter().map(|component| component.parameters).sum();
    println!("{:<28} {tensors:>8} {parameters:>16}\n", "total");
    for FolderReport { folder, tensors, accounted } in &report.folders {
        println!("{folder}/: {accounted} of {tensors} tensors accounted for");
    }
    print_findings(&report.findings, &report.warnings);
}

fn print_component(component: &ComponentReport) {
    let ComponentReport { name, tensors, parameters, bytes, .. } = component;
    let types: Vec<_> = component.dtypes.iter().map(|(name, n)| format!("{name}×{n}")).collect();
    let megabytes = *bytes as f64 / 1e6;
    println!("{name:<28} {tensors:>8} {parameters:>16} {megabytes:>12.1}  {}", types.join(" "));
    for (stem, used) in &component.submodules {
        println!("  {stem:<26} {used:>8}");
    }
    for same in component.skipped.chunk_by(|a, b| a.reason == b.reason) {
        let more = if same.len() > 1 { format!(" and {} more", same.len() - 1) } else { "".into() };
        println!("  not in a graph: {}{more} ({})", same[0].tensor, same[0].reason);
    }
}

fn print_export(report: &ExportFolderReport) {
    let ExportFolderReport { variant, precision, files, bytes, .. } = report;
    println!("export, {variant:?}, {precision}, of checkpoint {}", report.source);
    if let Some(policy) = &report.policy {
        let balanced = if report.balanced { ", attention re-balanced" } else { "" };
        println!("FP8 policy {policy}{balanced}");
    }
    if report.uncalibrated {
        println!("uncalibrated: the FP8 scales are constants, for speed runs only");
    }
    for (stem, weights) in &report.submodules {
        let fp8 = report.fp8.get(stem).map_or(String::new(), |fp8| {
            let centered = match fp8.centered {
                0 => String::new(),
                n => format!(", {n} of them with centred keys"),
            };
            format!("  FP8: {} linears, {} attentions{centered}", fp8.linears, fp8.attentions)
        });
        println!("{stem:<28} {:>12.1} MB{fp8}", *weights as f64 / 1e6);
    }
    let checked = if report.verified { "hashes checked" } else { "sizes checked" };
    println!("{files} files, {:.1} MB, {checked}", *bytes as f64 / 1e6);
    print_findings(&report.findings, &[]);
}

fn engines(args: &InspectArgs) -> anyhow::Result<Outcome> {
    let report = look_at_engines(&args.folder, args.verify)?;
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print_engines(&report),
    }
    Ok(if report.ok { Outcome::Done } else { Outcome::CheckFailed })
}

fn print_engines(report: &EnginesReport) {
    let EnginesReport { variant, precision, policy, source, gpu, tensorrt, .. } = report;
    let policy = policy.as_ref().map_or(String::new(), |policy| format!(", policy {policy}"));
    println!("engines, {variant:?}, {precision}{policy}, of checkpoint {source}");
    let (name, capability, driver) = (&gpu.name, &gpu.compute_capability, &gpu.cuda_driver);
    println!("TensorRT {tensorrt} on {name} (compute capability {capability}, CUDA {driver})");
    println!("for {}", report.workloads.join(", "));
    if report.uncalibrated {
        println!("uncalibrated: the FP8 scales are constants, for speed runs only");
    }
    let header = ["engine", "numbers", "plan MB", "activations MB", "build s"];
    let [engine, numbers, plan, activations, seconds] = header;
    println!("\n{engine:<24} {numbers:<7} {plan:>10} {activations:>15} {seconds:>8}  key");
    report.engines.iter().for_each(|(stem, engine)| print_engine(stem, engine));
    let engines = || report.engines.values();
    let plans = engines().map(|engine| engine.plan_bytes).fold(0, u64::saturating_add);
    // All engines share one buffer, so the largest one counts.
    let activations = engines().map(|engine| engine.activation_bytes).max().unwrap_or(0);
    let seconds: f64 = engines().map(|engine| engine.build_seconds).sum();
    let [plans, activations] = [plans, activations].map(|bytes| bytes as f64 / 1e6);
    println!("{:<32} {plans:>10.1} {activations:>15.1} {seconds:>8.1}\n", "total; largest; total");
    let checked = if report.verified { "hashes checked" } else { "sizes checked" };
    println!("{} files, {:.1} MB, {checked}", report.files, report.bytes as f64 / 1e6);
    print_findings(&report.findings, &report.warnings);
}

fn print_engine(stem: &str, engine: &EngineSummary) {
    let precision = engine.precision.to_string();
    let [plan, activations] =
        [engine.plan_bytes, engine.activation_bytes].map(|bytes| bytes as f64 / 1e6);
    let (seconds, key) = (engine.build_seconds, engine.key.get(..16).unwrap_or(&engine.key));
    println!("{stem:<24} {precision:<7} {plan:>10.1} {activations:>15.1} {seconds:>8.1}  {key}");
    for profile in &engine.profiles {
        let sizes = profile.sizes.iter().map(|(symbol, size)| match size.min == size.max {
            true => format!("{symbol} {}", size.opt),
            false => format!("{symbol} {} to {}, best at {}", size.min, size.max, size.opt),
        });
        println!("  {}: {}", profile.name, sizes.collect::<Vec<_>>().join("; "));
    }
    if let Some(plugin) = &engine.plugin {
        println!("  runs with {} of blake3 {}", plugin.file, plugin.blake3);
    }
}

fn print_findings<F: Display>(findings: &[F], warnings: &[String]) {
    warnings.iter().for_each(|warning| println!("warning: {warning}"));
    findings.iter().for_each(|finding| println!("wrong: {finding}"));
    match findings.len() {
        0 => println!("\nok: every tensor and file is accounted for"),
        n => println!("\n{n} findings"),
    }
}
