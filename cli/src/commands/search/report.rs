//! What a search found.

use std::path::PathBuf;

use bernini_runner::curves::{Curves, Line, Scale};
use serde::Serialize;

/// The frontier, and what was chosen of it.
#[derive(Serialize)]
pub struct Report {
    /// The policy's file; none where no group keeps the budget.
    pub policy: Option<PathBuf>,
    /// Largest relative L2 of a step.
    pub budget: f64,
    pub cases: Vec<String>,
    /// Whose work counts; the cases' where there are none.
    pub workloads: Vec<String>,
    /// How many points of the frontier the policy puts in FP8, from the first.
    pub chosen: usize,
    /// Groups in the order in which they are worth it.
    pub frontier: Vec<Point>,
}

/// One group more in FP8. Errors are relative L2 of the worst step; not finite ones are null.
#[derive(Serialize)]
pub struct Point {
    /// The group.
    pub added: String,
    /// Of this group alone.
    pub error_alone: f64,
    /// Share of a request's FLOPs in FP8, with those before.
    pub fp8_share: f64,
    /// With those before, if roundings are independent.
    pub predicted: f64,
    /// With those before, where it was measured.
    pub measured: Option<f64>,
}

impl Report {
    pub fn print(&self) {
        println!("relative L2 of the worst step, searched on");
        self.cases.iter().for_each(|case| println!("  {case}"));
        if !self.workloads.is_empty() {
            println!("work counted of {}", self.workloads.join(", "));
        }
        println!(
            "\n{:<36} {:>9} {:>10} {:>9} {:>9}",
            "in FP8, with those above", "alone", "FP8 FLOPs", "predicted", "measured"
        );
        for (i, point) in self.frontier.iter().enumerate() {
            let Point { added, error_alone, fp8_share, predicted, measured } = point;
            let measured = measured.map_or(String::new(), |error| format!("{error:.2e}"));
            let line = format!(
                "{added:<36} {error_alone:>9.2e} {:>8.1} % {predicted:>9.2e} {measured:>9}",
                100.0 * fp8_share
            );
            let chosen = if i + 1 == self.chosen { "  <- within the budget" } else { "" };
            println!("{}{chosen}", line.trim_end());
        }
        match &self.policy {
            Some(policy) => println!("\n{}: written", policy.display()),
            None => println!("\nno group keeps the budget of {}; nothing was written", self.budget),
        }
    }

    /// The frontier as a drawing: error against the work in FP8.
    pub fn svg(&self) -> String {
        let percent = |point: &Point| 100.0 * point.fp8_share;
        let line = |name: &str, error: fn(&Point) -> Option<f64>, dashed| {
            let points = self.frontier.iter();
            let points = points.filter_map(|point| Some([percent(point), error(point)?]));
            Line { name: name.into(), points: points.collect(), dashed }
        };
        let predicted =
            line("predicted from each group alone", |point| Some(point.predicted), true);
        let measured = line("measured", |point| point.measured, false);
        let chosen = self.chosen.checked_sub(1).and_then(|last| self.frontier.get(last));
        let mark = chosen.and_then(|point| {
            let (share, error) = (percent(point), point.measured?);
            let groups = format!("{} of {}", self.chosen, self.frontier.len());
            let text = format!("chosen: {share:.1} % of FLOPs, {error:.2e}, {groups} groups");
            Some(([share, error], text))
        });
        let chart = Curves {
            title: "Relative L2 of the worst step against work in FP8",
            x: "share of a request's FLOPs in FP8, %",
            scale: Scale::Errors,
            ticks: (0..=10).map(|i| 10.0 * f64::from(i)).map(|x| (x, format!("{x:.0}"))).collect(),
            lines: vec![predicted, measured],
            bounds: vec![(format!("budget {}", self.budget), self.budget)],
            mark,
        };
        chart.svg()
    }
}
