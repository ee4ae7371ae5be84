//! `bernini inspect`: what a folder holds, and whether it keeps the contract.

use std::fmt::Display;

use bernini_exporter::{
    CheckpointReport, ComponentReport, ExportFolderReport, FolderReport, InspectReport,
    inspect as look,
};

use crate::Outcome;
use crate::args::InspectArgs;

pub fn inspect(args: &InspectArgs) -> anyhow::Result<Outcome> {
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
        println!("FP8 policy {policy}");
    }
    if report.uncalibrated {
        println!("uncalibrated: the FP8 scales are constants, for speed runs only");
    }
    for (stem, weights) in &report.submodules {
        let fp8 = report.fp8.get(stem).map_or(String::new(), |fp8| {
            format!("  FP8: {} linears, {} attentions", fp8.linears, fp8.attentions)
        });
        println!("{stem:<28} {:>12.1} MB{fp8}", *weights as f64 / 1e6);
    }
    let checked = if report.verified { "hashes checked" } else { "sizes checked" };
    println!("{files} files, {:.1} MB, {checked}", *bytes as f64 / 1e6);
    print_findings(&report.findings, &[]);
}

fn print_findings<F: Display>(findings: &[F], warnings: &[String]) {
    warnings.iter().for_each(|warning| println!("warning: {warning}"));
    findings.iter().for_each(|finding| println!("wrong: {finding}"));
    match findings.len() {
        0 => println!("\nok: every tensor and file is accounted for"),
        n => println!("\n{n} findings"),
    }
}
