//! The report as text: every figure of every option, the floor beside it.

use std::collections::BTreeMap;

use bernini_runner::verify::{Comparison, ModuleReport, OutputReport, Summary, VerifyReport};

pub fn print(report: &VerifyReport) {
    println!("A: {} ({})", report.a.folder.display(), report.a.numbers());
    for Comparison { name, side, limit, .. } in report.columns() {
        let limit = format!("limit: relative L2 {} ({})", limit.rel_l2, limit.reason);
        println!("{name}: {} ({}); {limit}", side.folder.display(), side.numbers());
    }
    modules(report);
    steps(report);
    println!("\nrelative L2 against A; of experts and steps the worst");
    let rows = report.summary.iter().map(|line| line.cells().to_vec()).collect();
    table(&Summary::HEAD.map(String::from), rows);
    println!("\n{}", if report.passed { "passed" } else { "FAILED" });
}

fn modules(report: &VerifyReport) {
    let mut rows = vec![];
    let mut inside = vec![];
    for module in distinct(report) {
        rows.push(vec![format!("{} {}", module.submodule, module.sizes)]);
        for (name, members) in grouped(&module.outputs) {
            for column in report.columns() {
                let found = column.module(module).map(|found| members_of(&found.outputs, &members));
                let worst = found.as_deref().and_then(worst);
                rows.extend(worst.map(|output| row(&name, &column.name, output)));
            }
        }
        for option in &report.options {
            let first = option.module(module).and_then(|found| found.first_beyond.as_ref());
            let named = first.map(|first| (format!("first beyond: {}", first.name), first));
            rows.extend(named.map(|(name, first)| row(&name, &option.name, first)));
        }
        inside.extend(layers(report, module));
    }
    if !rows.is_empty() {
        println!("\nsubmodules on equal inputs; ! is beyond the limit");
        let head = ["output", "option", "rms of A", "rel. L2", "1 - cosine", "max abs", "NaN/Inf"];
        table(&head.map(String::from), rows);
    }
    if !inside.is_empty() {
        println!("\nrelative L2 inside");
        table(&head_of(report, &["value"]), inside);
    }
}

/// One of each submodule and sizes that any folder was compared in.
fn distinct(report: &VerifyReport) -> Vec<&ModuleReport> {
    let mut seen: Vec<&ModuleReport> = vec![];
    for module in report.columns().flat_map(|column| &column.modules) {
        let same = |m: &&ModuleReport| m.submodule == module.submodule && m.sizes == module.sizes;
        if !seen.iter().any(same) {
            seen.push(module);
        }
    }
    seen
}

/// Names of outputs, of which the caches of a chunk, that are many, are one line: the worst.
fn grouped(outputs: &[OutputReport]) -> Vec<(String, Vec<String>)> {
    let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for output in outputs {
        let group = output.name.split_once('.').map_or(&*output.name, |(prefix, _)| prefix);
        groups.entry(group).or_default().push(output.name.clone());
    }
    let name = |group: &str, members: &[String]| match members {
        [one] => one.clone(),
        many => format!("{group}.* ({}, worst)", many.len()),
    };
    groups.into_iter().map(|(group, members)| (name(group, &members), members)).collect()
}

fn members_of<'o>(outputs: &'o [OutputReport], names: &[String]) -> Vec<&'o OutputReport> {
    outputs.iter().filter(|output| names.contains(&output.name)).collect()
}

/// The output that is farthest off.
fn worst<'o>(all: &[&'o OutputReport]) -> Option<&'o OutputReport> {
    // NaN is worse than any number.
    let off = |output: &OutputReport| match output.rel_l2 {
        x if x.is_nan() => f64::INFINITY,
        x => x,
    };
    all.iter().copied().max_by(|a, b| off(a).total_cmp(&off(b)))
}

fn row(name: &str, option: &str, output: &OutputReport) -> Vec<String> {
    let OutputReport { rms, rel_l2, cosine, max_abs, not_finite: [a, b], passed, .. } = output;
    vec![
        format!("  {name}"),
        option.into(),
        format!("{rms:.3}"),
        error(*rel_l2, *passed),
        format!("{:.2e}", 1.0 - cosine),
        format!("{max_abs:.2e}"),
        (a + b).to_string(),
    ]
}

/// A line for each named value inside one graph, a column for each folder.
fn layers(report: &VerifyReport, module: &ModuleReport) -> Vec<Vec<String>> {
    let of = |column: &Comparison| column.module(module).map(|found| found.layers.clone());
    let longest = report.columns().filter_map(of).max_by_key(Vec::len).unwrap_or_default();
    let cell = |column: &Comparison, name: &str| {
        let layers = of(column).unwrap_or_default();
        let found = layers.iter().find(|layer| layer.name == name);
        found.map_or("–".into(), |layer| format!("{:.2e}", layer.rel_l2))
    };
    let row = |layer: &OutputReport| {
        let name = format!("{} {}", module.submodule, layer.name.trim_start_matches("tap."));
        std::iter::once(name).chain(report.columns().map(|c| cell(c, &layer.name))).collect()
    };
    longest.iter().map(row).collect()
}

fn steps(report: &VerifyReport) {
    let Some(first) = report.columns().find_map(|column| column.trajectory.as_ref()) else {
        return;
    };
    println!("\nrelative L2 of the guided velocity, on A's latents; ! is beyond the limit");
    let of = |column: &Comparison, step: usize| {
        let step = column.trajectory.as_ref().and_then(|trajectory| trajectory.steps.get(step));
        step.map_or("–".into(), |step| error(step.rel_l2, step.passed))
    };
    let rows = first.steps.iter().enumerate().map(|(index, step)| {
        let place = format!("step {} {}", step.step, step.expert);
        std::iter::once(place).chain(report.columns().map(|c| of(c, index))).collect()
    });
    let conditions = first.conditions.iter().enumerate().map(|(index, condition)| {
        let of = |column: &Comparison| {
            let conditions = column.trajectory.as_ref().map(|t| &t.conditions);
            let found = conditions.and_then(|conditions| conditions.get(index));
            found.map_or("–".into(), |found| format!("{:.2e}", found.rel_l2))
        };
        std::iter::once(condition.name.clone()).chain(report.columns().map(of)).collect()
    });
    table(&head_of(report, &[""]), conditions.chain(rows).collect());
}

fn error(rel_l2: f64, passed: bool) -> String {
    format!("{rel_l2:.2e}{}", if passed { " " } else { "!" })
}

fn head_of(report: &VerifyReport, first: &[&str]) -> Vec<String> {
    let names = report.columns().map(|column| column.name.clone());
    first.iter().map(|name| name.to_string()).chain(names).collect()
}

/// Columns as wide as their widest cell: the first to the left, the others to the right. A row of one
/// cell is a title.
fn table(head: &[String], rows: Vec<Vec<String>>) {
    let all: Vec<&[String]> = std::iter::once(head).chain(rows.iter().map(Vec::as_slice)).collect();
    let width = |column: usize| {
        let cells = all.iter().filter(|row| row.len() > 1).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    for row in all {
        let cells = row.iter().zip(&widths).enumerate().map(|(i, (cell, &width))| match i {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
