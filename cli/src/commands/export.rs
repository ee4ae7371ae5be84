//! `bernini export`: checkpoint to ONNX graphs.

use std::fs;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use bernini_calibration::{CalibrationTable, Policy};
use bernini_exporter::{Calibration, ExportOptions, ExportReport, export as write};
use bernini_graphs::Taps;
use bernini_graphs::manifest::PrecisionName;

use crate::Outcome;
use crate::args::{self, ExportArgs, Precision};
use crate::progress::Progress;

pub fn export(args: &ExportArgs, interrupted: &AtomicBool) -> anyhow::Result<Outcome> {
    let precision = match args.precision {
        Precision::F32 => PrecisionName::F32,
        Precision::Bf16 => PrecisionName::Bf16,
        Precision::Fp8 => PrecisionName::Fp8,
        Precision::Fp8F32 => PrecisionName::Fp8F32,
    };
    if args.calibration.is_some() && !precision.is_fp8() {
        bail!("--calibration goes with --precision fp8 and fp8-f32 only");
    }
    let options = ExportOptions {
        policy: policy(&args.policy)?,
        calibration: args.calibration.as_deref().map(calibration).transpose()?,
        taps: match args.taps {
            None => Taps::None,
            Some(args::Taps::Values) => Taps::Values,
            Some(args::Taps::Amax) => Taps::Amax,
            Some(args::Taps::Statistics) => Taps::Statistics,
        },
        only: (!args.only.is_empty()).then(|| args.only.clone()),
        ..ExportOptions::new(&args.checkpoint, &args.output, precision)
    };
    let progress = Progress::new(args.progress);
    let report = write(&options, &progress, interrupted)?;
    drop(progress);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(Outcome::Done)
}

/// A policy by name or from a file.
fn policy(name: &str) -> anyhow::Result<Policy> {
    if !name.ends_with(".json") {
        return Ok(Policy::named(name)?);
    }
    let text = fs::read_to_string(name).with_context(|| format!("--policy {name}"))?;
    Policy::parse(&text).with_context(|| format!("--policy {name}"))
}

fn calibration(table: &str) -> anyhow::Result<Calibration> {
    if table == "synthetic" {
        return Ok(Calibration::Synthetic);
    }
    let text = fs::read_to_string(table).with_context(|| format!("--calibration {table}"))?;
    let parsed = CalibrationTable::parse(&text);
    Ok(Calibration::Table(parsed.with_context(|| format!("--calibration {table}"))?))
}

fn print(report: &ExportReport) {
    report.warnings.iter().for_each(|warning| println!("warning: {warning}"));
    let out = report.out.display();
    if report.up_to_date {
        println!("{out}: up to date, nothing written");
        return;
    }
    println!("{out}: {:.1} MB in {:.1} s", report.bytes as f64 / 1e6, report.seconds);
    if let (Some(rate), Some(disk)) = (report.bytes_per_second, report.disk_bytes_per_second) {
        let share = 100.0 * rate / disk;
        println!("{:.0} MB/s, {share:.0} % of the disk's {:.0} MB/s", rate / 1e6, disk / 1e6);
    }
    if let Some(peak) = report.peak_rss_bytes {
        println!("peak memory {:.0} MiB", peak as f64 / f64::from(1 << 20));
    }
    if !report.reused.is_empty() {
        println!("{} files of an earlier run reused", report.reused.len());
    }
    if report.uncalibrated {
        println!("uncalibrated: constant FP8 scales, for speed runs only");
    }
}
