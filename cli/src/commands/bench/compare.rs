//! `bernini bench compare`: what became faster or slower between two reports.

use std::fs;
use std::path::Path;

use anyhow::Context;
use bernini_runner::bench::{
    Comparison, Estimate, Item, Recorded, Verdict, compare as compare_reports,
};

use crate::Outcome;
use crate::args::CompareArgs;

pub fn compare(args: &CompareArgs) -> anyhow::Result<Outcome> {
    let (old, new) = (read(&args.old)?, read(&args.new)?);
    let comparison = compare_reports(&old, &new, args.threshold / 100.0)?;
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&comparison)?),
        false => print(&comparison),
    }
    Ok(if comparison.passed { Outcome::Done } else { Outcome::CheckFailed })
}

fn read(path: &Path) -> anyhow::Result<Vec<Recorded>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let remedy = || format!("{}: expected a report of `bernini bench -o`", path.display());
    serde_json::from_str(&text).with_context(remedy)
}

fn print(comparison: &Comparison) {
    comparison.warnings.iter().for_each(|warning| println!("warning: {warning}"));
    let mut workload = "";
    for item in &comparison.items {
        if item.workload != workload {
            workload = &item.workload;
            let header = ["old ms (95 %)", "new ms (95 %)", "change"];
            let [old, new, change] = header;
            println!("\n{workload:<46} {old:>30} {new:>30} {change:>8}");
        }
        print_item(item);
    }
    let slower = comparison.items.iter().filter(|item| item.verdict == Verdict::Slower).count();
    let threshold = 100.0 * comparison.threshold;
    let beyond = format!("by more than {threshold} % with 95 % intervals apart");
    match slower {
        0 => println!("\nnothing became slower {beyond}"),
        n => println!("\n{n} of {} became slower {beyond}", comparison.items.len()),
    }
}

fn print_item(item: &Item) {
    let Item { name, old, new, change, verdict, .. } = item;
    let shown =
        |Estimate { value, low, high }: &Estimate| format!("{value:.3} ({low:.3}–{high:.3})");
    let verdict = match verdict {
        Verdict::Same => "",
        Verdict::Faster => "  faster",
        Verdict::Slower => "  SLOWER",
        Verdict::TooFewRuns => "  too few runs to know: measure with --iterations 3 or more",
    };
    let change = format!("{:+.1} %", 100.0 * change);
    println!("{name:<46} {:>30} {:>30} {change:>8}{verdict}", shown(old), shown(new));
}
