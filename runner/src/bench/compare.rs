//! Two reports of `bernini bench`: what became faster or slower, beyond noise.

use serde::{Deserialize, Serialize};

use super::statistics::{Estimate, quantiles};

/// Runs from which an interval says something about noise.
const ENOUGH: usize = 3;

/// What a report says of one workload, as far as it is compared; older reports have it too.
#[derive(Clone, Debug, Deserialize)]
pub struct Recorded {
    /// Name of the workload.
    pub workload: String,
    /// Where the numbers come from.
    pub machine: RecordedMachine,
    /// Every submodule that was measured.
    pub timings: Vec<RecordedTiming>,
}

/// Where recorded numbers come from.
#[derive(Clone, Debug, Deserialize)]
pub struct RecordedMachine {
    /// None: graphs on the CPU.
    pub gpu: Option<RecordedGpu>,
    /// Version of TensorRT.
    pub tensorrt: Option<String>,
    /// Precision of the graphs.
    pub precision: String,
    /// FP8 only: name of the policy.
    pub policy: Option<String>,
    /// FP8 only: whether the scales were never measured.
    pub uncalibrated: bool,
}

/// A GPU by its name.
#[derive(Clone, Debug, Deserialize)]
pub struct RecordedGpu {
    /// Such as `NVIDIA H200`.
    pub name: String,
}

/// Recorded runs of one submodule.
#[derive(Clone, Debug, Deserialize)]
pub struct RecordedTiming {
    /// Stem of the submodule and its sizes.
    pub name: String,
    /// Measured runs in milliseconds.
    pub milliseconds: Vec<f64>,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// What both reports have measured, in the order of the new one.
    pub items: Vec<Item>,
    /// What a reader should know of the pair.
    pub warnings: Vec<String>,
    /// Smallest relative change of a median that counts.
    pub threshold: f64,
    /// Whether nothing became slower.
    pub passed: bool,
}

/// One submodule at one set of sizes in both reports.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Item {
    /// Name of the workload.
    pub workload: String,
    /// Stem of the submodule and its sizes.
    pub name: String,
    /// Median in milliseconds before.
    pub old: Estimate,
    /// Median in milliseconds now.
    pub new: Estimate,
    /// new / old − 1.
    pub change: f64,
    /// What that means.
    pub verdict: Verdict,
}

/// What a change of a median means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Within noise or below the threshold.
    Same,
    /// The intervals are apart, and so are the medians by more than the threshold.
    Faster,
    /// The same, the other way.
    Slower,
    /// Beyond the threshold, but of too few runs to know the noise.
    TooFewRuns,
}

/// Why two reports cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// Times of two machines.
    #[error("{workload}: OLD ran on {old}, NEW on {new}; measure both on one machine")]
    Machine {
        /// The workload.
        workload: String,
        /// GPU or CPU of the old report.
        old: String,
        /// GPU or CPU of the new one.
        new: String,
    },
    /// Nothing that both have measured.
    #[error(
        "the reports have no measurement in common: OLD has {old}, NEW has {new}; bench the same \
         --workload on folders with the same submodules"
    )]
    NothingInCommon {
        /// Workloads of the old report.
        old: String,
        /// Workloads of the new one.
        new: String,
    },
    /// Times that no run can have.
    #[error("{name}: expected one run or more, each of more than 0 ms; measure again")]
    Times {
        /// Which submodule.
        name: String,
    },
}

/// Compares medians; a change counts where their intervals are apart and it is more than
/// `threshold`.
///
/// # Errors
/// See [`CompareError`]. Other differences of the machines are warnings: they may be the point.
pub fn compare(
    old: &[Recorded],
    new: &[Recorded],
    threshold: f64,
) -> Result<Comparison, CompareError> {
    let (mut items, mut warnings) = (vec![], vec![]);
    for new in new {
        let Some(old) = old.iter().find(|old| old.workload == new.workload) else {
            warnings.push(format!("{}: OLD did not measure this workload", new.workload));
            continue;
        };
        for warning in same_machine(old, new)? {
            // Said once for all workloads.
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        for timing in &new.timings {
            let before = old.timings.iter().find(|before| before.name == timing.name);
            match before {
                Some(before) => items.push(item(&new.workload, before, timing, threshold)?),
                None => warnings.push(format!("{}: not in OLD", timing.name)),
            }
        }
        let gone = |old: &&RecordedTiming| new.timings.iter().all(|new| new.name != old.name);
        let gone = old.timings.iter().filter(gone);
        warnings.extend(gone.map(|old| format!("{}: not in NEW any more", old.name)));
    }
    let gone = old.iter().filter(|old| new.iter().all(|new| new.workload != old.workload));
    warnings.extend(gone.map(|old| format!("{}: NEW did not measure this workload", old.workload)));
    if items.is_empty() {
        let [old, new] = [old, new].map(|reports| {
            reports.iter().map(|report| report.workload.as_str()).collect::<Vec<_>>().join(", ")
        });
        return Err(CompareError::NothingInCommon { old, new });
    }
    let passed = items.iter().all(|item| item.verdict != Verdict::Slower);
    Ok(Comparison { items, warnings, threshold, passed })
}

/// What differs and does not forbid a comparison.
fn same_machine(old: &Recorded, new: &Recorded) -> Result<Vec<String>, CompareError> {
    let (a, b) = (&old.machine, &new.machine);
    let place = |m: &RecordedMachine| m.gpu.as_ref().map_or("the CPU".into(), |g| g.name.clone());
    let (old, place) = (place(a), place(b));
    if old != place {
        return Err(CompareError::Machine { workload: new.workload.clone(), old, new: place });
    }
    let text = |value: &Option<String>| value.clone().unwrap_or("none".into());
    let scales = |m: &RecordedMachine| match m.uncalibrated {
        true => "synthetic scales".to_string(),
        false => "no synthetic scales".into(),
    };
    let pairs = [
        ("TensorRT", text(&a.tensorrt), text(&b.tensorrt)),
        ("precision", a.precision.clone(), b.precision.clone()),
        ("policy", text(&a.policy), text(&b.policy)),
        ("calibration", scales(a), scales(b)),
    ];
    let differ = pairs.into_iter().filter(|(_, old, new)| old != new);
    Ok(differ.map(|(what, old, new)| format!("{what}: OLD has {old}, NEW has {new}")).collect())
}

fn item(
    workload: &str,
    old: &RecordedTiming,
    new: &RecordedTiming,
    threshold: f64,
) -> Result<Item, CompareError> {
    let runs = old.milliseconds.len().min(new.milliseconds.len());
    let all = || old.milliseconds.iter().chain(&new.milliseconds);
    // A file can say anything.
    if runs == 0 || !all().all(|ms| ms.is_finite() && *ms > 0.0) {
        return Err(CompareError::Times { name: new.name.clone() });
    }
    let ([old], [median]) =
        (quantiles(&old.milliseconds, [0.5]), quantiles(&new.milliseconds, [0.5]));
    let change = median.value / old.value - 1.0;
    let apart = median.low > old.high || median.high < old.low;
    let verdict = match () {
        () if change.abs() <= threshold || !apart => Verdict::Same,
        () if runs < ENOUGH => Verdict::TooFewRuns,
        () if change < 0.0 => Verdict::Faster,
        () => Verdict::Slower,
    };
    let (workload, name) = (workload.into(), new.name.clone());
    Ok(Item { workload, name, old, new: median, change, verdict })
}

#[cfg(test)]
mod tests;
