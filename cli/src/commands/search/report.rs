//! What a search found.

use std::path::PathBuf;

use serde::Serialize;

/// The frontier, and what was chosen of it.
#[derive(Serialize)]
pub struct Report {
    /// The policy's file; none where no group keeps the budget.
    pub policy: Option<PathBuf>,
    /// Largest relative L2 of a step.
    pub budget: f64,
    pub cases: Vec<String>,
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
}
