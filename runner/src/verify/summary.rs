//! Every option in one line: what it costs and what it saves.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Comparison;

/// One line of the table of options.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The option, or the floor.
    pub name: String,
    /// Its numbers, such as `fp8-f32, all-fp8, CPU`.
    pub numbers: String,
    /// Share of a request's FLOPs in FP8.
    pub fp8_share: Option<f64>,
    /// Level A: largest relative L2 of an output of each expert, by stem.
    pub modules: BTreeMap<&'static str, f64>,
    /// Level B: relative L2 of the worst step of each expert, by stem.
    pub steps: BTreeMap<&'static str, f64>,
    /// Level C: PSNR in dB, worst and mean frame.
    pub psnr: Option<[f64; 2]>,
    /// Level C: SSIM, worst and mean frame.
    pub ssim: Option<[f64; 2]>,
    /// The limit of its relative L2; none for the floor, which is not judged.
    pub limit: Option<f64>,
    /// Whether it is within all its limits.
    pub passed: Option<bool>,
}

/// Stems of the experts, in the order of their steps.
pub(super) const EXPERTS: [&str; 2] = ["transformer", "transformer_2"];

impl Summary {
    /// What the floor comes to.
    pub fn of_floor(comparison: &Comparison) -> Self {
        Self { limit: None, passed: None, ..Self::of_option(comparison) }
    }

    /// What an option comes to.
    pub fn of_option(comparison: &Comparison) -> Self {
        let (mut modules, mut steps) = (BTreeMap::new(), BTreeMap::new());
        for expert in EXPERTS {
            let of = comparison.modules.iter().filter(|module| module.submodule.stem() == expert);
            let outputs = of.flat_map(|module| module.outputs.iter().map(|output| output.rel_l2));
            modules.extend(worst(outputs).map(|error| (expert, error)));
            let all = comparison.trajectory.iter().flat_map(|trajectory| &trajectory.steps);
            let of = all.filter(|step| step.expert == expert).map(|step| step.rel_l2);
            steps.extend(worst(of).map(|error| (expert, error)));
        }
        let frames = comparison.frames.as_ref();
        Self {
            name: comparison.name.clone(),
            numbers: comparison.side.numbers(),
            fp8_share: comparison.fp8_share,
            modules,
            steps,
            psnr: frames.map(|frames| [frames.worst_psnr, frames.mean_psnr]),
            ssim: frames.and_then(|frames| Some([frames.worst_ssim?, frames.mean_ssim?])),
            limit: Some(comparison.limit.rel_l2),
            passed: Some(comparison.passed),
        }
    }

    /// Names of the columns of [`Summary::cells`].
    pub const HEAD: [&str; 8] = [
        "option",
        "FP8 FLOPs",
        "expert alone, high, low",
        "worst step, high, low",
        "limit",
        "PSNR dB, worst, mean",
        "SSIM, worst, mean",
        "",
    ];

    /// The line as text; what was not measured is a dash.
    pub fn cells(&self) -> [String; 8] {
        let errors = |of: &BTreeMap<&str, f64>| {
            let of = EXPERTS.map(|expert| of.get(expert).map(|error| format!("{error:.2e}")));
            pair(of)
        };
        let two = |of: Option<[f64; 2]>, digits: usize| {
            pair(of.map_or([None, None], |of| of.map(|x| Some(format!("{x:.digits$}")))))
        };
        [
            self.name.clone(),
            self.fp8_share.map_or("–".into(), |share| format!("{:.1} %", 100.0 * share)),
            errors(&self.modules),
            errors(&self.steps),
            self.limit.map_or("–".into(), |limit| limit.to_string()),
            two(self.psnr, 2),
            two(self.ssim, 4),
            self.passed.map_or("", |passed| if passed { "passed" } else { "FAILED" }).into(),
        ]
    }
}

/// The largest; NaN is worse than any number.
fn worst(errors: impl Iterator<Item = f64>) -> Option<f64> {
    errors.map(|error| if error.is_nan() { f64::INFINITY } else { error }).reduce(f64::max)
}

fn pair(of: [Option<String>; 2]) -> String {
    match of {
        [None, None] => "–".into(),
        of => of.map(|x| x.unwrap_or("–".into())).join(", "),
    }
}
