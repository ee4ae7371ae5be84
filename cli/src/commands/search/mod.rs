//! `bernini search`: what can run in FP8 within an error budget.
//!
//! A verb of its own, since it is neither of its neighbours: `verify` judges a policy that somebody
//! chose and has no checkpoint to make another from, `calibrate` measures the scales that every
//! policy needs, and `export` reads no case. It makes each candidate as an `fp8-f32` export, whose
//! FP8 values are those of engines, so it needs no GPU and builds nothing; only submodules that the
//! candidate changes are exported, and the rest runs from EXPORT.
//!
//! One run for each group alone, then a bisection over the frontier: n + log₂ n runs, so deep stacks
//! are searched in bands of neighbouring blocks (`--groups`).

mod candidates;
mod report;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use bernini_calibration::search::{self, Group, Sensitivity, most_within, predicted, worst};
use bernini_calibration::{CalibrationTable, Policy};
use bernini_exporter::Checkpoint;
use bernini_graphs::manifest::{PrecisionName, Variant};
use bernini_runner::export::Export;
use bernini_runner::package::Folder;

use super::calibrate::{describe, plan};
use super::verify::requested;
use crate::Outcome;
use crate::args::{SearchArgs, settings};
use crate::files::{Scratch, publish};
use candidates::Candidates;
use report::{Point, Report};

pub fn search(args: &SearchArgs, interrupted: &AtomicBool) -> anyhow::Result<Outcome> {
    let flags = &args.run.flags;
    let name = policy_name(&flags.output)?;
    let settings = settings(&args.run)?;
    let table = read_table(&args.flags.calibration)?;
    let export = reference(&flags.folder)?;
    check_source(&args.flags.checkpoint, &export, &table)?;
    let groups = search::groups(&table, args.flags.groups.into());
    if groups.is_empty() {
        let table = args.flags.calibration.display();
        bail!("--calibration {table}: no layer in it can run in FP8; calibrate with a case");
    }
    let variant = export.package().variant();
    if flags.preset.is_some() && variant == Variant::Renderer {
        bail!("--preset holds settings of the full model; this one is renderer-only");
    }
    let scratch = Scratch::beside(&flags.output, "search")?;
    let requests = settings.iter().map(|settings| settings.request(variant));
    let jobs = plan(requests.collect::<anyhow::Result<_>>()?, variant, &scratch)?;
    let cases = jobs.iter().map(|(request, plan)| describe(request, plan)).collect();
    let workloads = args.flags.workload.iter().map(|workload| workload.name.clone()).collect();
    let work = requested(&args.flags.workload, &jobs, export.package())?;
    let candidates = Candidates {
        checkpoint: &args.flags.checkpoint,
        table,
        export,
        jobs,
        work,
        folder: scratch.path().join("candidate"),
        progress: flags.progress,
        interrupted,
    };
    let (ordered, points, chosen) = frontier(&candidates, groups, args.flags.budget)?;
    let policy = (chosen > 0).then(|| flags.output.clone());
    if let Some(path) = &policy {
        let chosen = ordered[..chosen].iter().map(|sensitivity| &sensitivity.group);
        let policy = Policy::of_groups(&name, chosen);
        publish(path, &format!("{}\n", serde_json::to_string_pretty(&policy)?))?;
    }
    let budget = args.flags.budget;
    let report = Report { policy, budget, cases, workloads, chosen, frontier: points };
    if let Some(path) = &args.flags.svg {
        publish(path, &report.svg()).context("--svg")?;
    }
    match flags.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => report.print(),
    }
    Ok(if report.policy.is_some() { Outcome::Done } else { Outcome::CheckFailed })
}

/// What figures of the policy in this file will carry.
fn policy_name(output: &Path) -> anyhow::Result<String> {
    let name = output.file_name().and_then(|name| name.to_str());
    let stem = name.and_then(|name| name.strip_suffix(".json")).filter(|stem| !stem.is_empty());
    let found = || format!("-o {}: expected a file called NAME.json", output.display());
    Ok(stem.with_context(found)?.into())
}

fn read_table(path: &Path) -> anyhow::Result<CalibrationTable> {
    let context = || format!("--calibration {}", path.display());
    let text = std::fs::read_to_string(path).with_context(context)?;
    CalibrationTable::parse(&text).with_context(context)
}

/// The f32 export that candidates are compared with.
fn reference(folder: &Path) -> anyhow::Result<Export> {
    let found = match Folder::open(folder)? {
        Folder::Export(export) if export.manifest().precision == PrecisionName::F32 => {
            return Ok(export);
        }
        Folder::Export(export) => export.manifest().precision.to_string(),
        Folder::Engines(_) => "engines".into(),
    };
    let folder = folder.display();
    bail!("{folder}: expected an export in f32 to compare with, found {found}; make one")
}

/// Scales, reference and candidates are of the same weights.
fn check_source(path: &Path, export: &Export, table: &CalibrationTable) -> anyhow::Result<()> {
    let expected = &export.manifest().source;
    table.check_source(expected)?;
    let checkpoint = Checkpoint::open(path)?;
    let found = checkpoint.fingerprint();
    if found != expected {
        let (path, export) = (path.display(), export.folder().display());
        bail!("{path}: expected source {expected}, that of {export}, found {found}; pass its own");
    }
    Ok(())
}

/// Groups in the order in which they are worth it, every beginning of that order, and the length
/// of the longest that keeps the budget.
fn frontier(
    candidates: &Candidates<'_>,
    groups: Vec<Group>,
    budget: f64,
) -> anyhow::Result<(Vec<Sensitivity>, Vec<Point>, usize)> {
    // First of all, since it finds out which scales the table lacks.
    let everything = candidates.make(&groups)?;
    let reference = candidates.reference()?;
    let total = candidates.flops(&candidates.export)?.total;
    let all = worst(&candidates.errors(everything, &reference)?);
    let mut ordered = vec![];
    for group in groups {
        let export = candidates.make([&group])?;
        let flops = candidates.flops(&export)?.fp8;
        let errors = candidates.errors(export, &reference)?;
        ordered.push(Sensitivity { group, errors, flops });
    }
    let fitting = search::order(&mut ordered, budget);
    let count = ordered.len();
    let measured = RefCell::new(BTreeMap::from([(count, all)]));
    let guess = if all <= budget { count } else { fitting };
    let chosen = most_within(count, guess, budget, |n| -> anyhow::Result<f64> {
        if let Some(&error) = measured.borrow().get(&n) {
            return Ok(error);
        }
        let export = candidates.make(ordered[..n].iter().map(|s| &s.group))?;
        let error = worst(&candidates.errors(export, &reference)?);
        measured.borrow_mut().insert(n, error);
        Ok(error)
    })?;
    let measured = measured.into_inner();
    let mut flops = 0.0;
    let points = ordered.iter().enumerate().map(|(i, added)| {
        flops += added.flops;
        Point {
            added: added.group.name.clone(),
            error_alone: added.error(),
            fp8_share: flops / total,
            predicted: predicted(&ordered[..=i]),
            measured: measured.get(&(i + 1)).copied(),
        }
    });
    let points = points.collect();
    Ok((ordered, points, chosen))
}
