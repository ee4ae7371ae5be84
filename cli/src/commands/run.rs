//! `bernini run`: the pipeline.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use bernini_runner::backend::OnnxRuntime;
use bernini_runner::export::Export;
use bernini_runner::pipeline::Pipeline;
use bernini_runner::report::Report;

use crate::Outcome;
use crate::args::RunArgs;
use crate::progress::Progress;

pub fn run(args: &RunArgs, interrupted: &AtomicBool) -> anyhow::Result<Outcome> {
    let request = args.request()?;
    let export = Export::open(&args.folder)?;
    export.require_f32()?;
    if let Some(report) = &args.report {
        fs::write(report, "").with_context(|| format!("--report {}", report.display()))?;
    }
    let plan = request.plan()?;
    let backend = OnnxRuntime::new(export.clone())?;
    let pipeline = Pipeline::open(export, Box::new(backend))?;
    let progress = Progress::new(args.progress);
    let report = pipeline.run(&request, &plan, &progress, interrupted)?;
    drop(progress);

    let json = serde_json::to_string_pretty(&report)?;
    if let Some(path) = &args.report {
        fs::write(path, &json).with_context(|| format!("--report {}", path.display()))?;
    }
    if args.json {
        println!("{json}");
    } else {
        print(&report, &request.output);
    }
    Ok(Outcome::Done)
}

fn print(report: &Report, output: &Path) {
    let Report { frames, width, height, .. } = report;
    println!("{}: {frames} frames of {width}×{height}", output.display());
    println!(
        "{} steps ({} high noise, {} low noise), {} forwards of up to {} tokens",
        report.steps_high_noise + report.steps_low_noise,
        report.steps_high_noise,
        report.steps_low_noise,
        report.forwards,
        report.max_tokens,
    );
    println!("\n{:<12} {:>9} {:>7} {:>11}", "stage", "seconds", "count", "ms each");
    for stage in &report.stages {
        let each = match stage.count {
            0 => String::new(),
            count => format!("{:.2}", stage.seconds / count as f64 * 1e3),
        };
        println!("{:<12} {:>9.3} {:>7} {each:>11}", stage.name, stage.seconds, stage.count);
    }
    println!("{:<12} {:>9.3}", "total", report.seconds);
    println!("peak memory  {:>6.0} MiB", report.peak_memory_bytes as f64 / f64::from(1 << 20));
}
