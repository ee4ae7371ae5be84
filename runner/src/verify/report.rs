//! What was compared, how far apart it is, and whether that is close enough.

use std::path::PathBuf;

use bernini_graphs::Submodule;
use bernini_graphs::manifest::{PrecisionName, Variant};
use serde::Serialize;

use super::{FramesReport, Limit, TrajectoryReport};

/// Everything that was compared.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// The reference.
    pub a: SideReport,
    /// What is judged.
    pub b: SideReport,
    /// What a reader should know of the pair.
    pub warnings: Vec<String>,
    /// The limits.
    pub limit: Limit,
    /// Level A: submodules alone.
    pub modules: Vec<ModuleReport>,
    /// Level B: steps on A's latents.
    pub trajectory: Option<TrajectoryReport>,
    /// Level C: frames from equal noise.
    pub frames: Option<FramesReport>,
    /// Whether everything is within the limits.
    pub passed: bool,
}

impl VerifyReport {
    /// Two folders and the limits of their comparison, which has not begun.
    pub fn new(a: SideReport, b: SideReport, warnings: Vec<String>, limit: Limit) -> Self {
        let (modules, trajectory, frames) = (vec![], None, None);
        Self { a, b, warnings, limit, modules, trajectory, frames, passed: true }
    }

    /// Takes the result of a submodule.
    pub fn add_module(&mut self, module: ModuleReport) {
        self.passed &= module.passed;
        self.modules.push(module);
    }

    /// Takes the results of a case.
    pub fn add_case(
        &mut self,
        (trajectory, frames): (Option<TrajectoryReport>, Option<FramesReport>),
    ) {
        self.passed &= trajectory.as_ref().is_none_or(|trajectory| trajectory.passed);
        self.passed &= frames.as_ref().is_none_or(|frames| frames.passed);
        (self.trajectory, self.frames) = (trajectory, frames);
    }
}

/// One of the two folders.
#[derive(Clone, Debug, Serialize)]
pub struct SideReport {
    /// Where it lies.
    pub folder: PathBuf,
    /// Which tasks its checkpoint can do.
    pub variant: Variant,
    /// Precision of its graphs.
    pub precision: PrecisionName,
    /// FP8 only: name of the policy.
    pub policy: Option<String>,
    /// FP8 only: whether its scales were never measured.
    pub uncalibrated: bool,
    /// Fingerprint of its checkpoint.
    pub source: String,
    /// Engines: the GPU.
    pub gpu: Option<String>,
    /// Engines: version of TensorRT.
    pub tensorrt: Option<String>,
}

/// One submodule at one set of sizes.
#[derive(Clone, Debug, Serialize)]
pub struct ModuleReport {
    /// The submodule.
    #[serde(serialize_with = "stem")]
    pub submodule: Submodule,
    /// Its sizes, such as `context=512 tokens=16`.
    pub sizes: String,
    /// Every output of its contract.
    pub outputs: Vec<OutputReport>,
    /// Whether every output is within the limits.
    pub passed: bool,
    /// Where it is not: the first value that is not, of both graphs' taps, else of two exports'
    /// layers, found by bisection.
    pub first_beyond: Option<OutputReport>,
}

/// How far a tensor of B is from A's.
#[derive(Clone, Debug, Serialize)]
pub struct OutputReport {
    /// Name of the output.
    pub name: String,
    /// How many values it has.
    pub values: usize,
    /// Root of the mean square of A's values: errors of numbers near 0 say little.
    pub rms: f64,
    /// |B − A| / |A| in L2.
    pub rel_l2: f64,
    /// Cosine of the angle between both.
    pub cosine: f64,
    /// Largest absolute difference.
    pub max_abs: f64,
    /// NaN and infinite values in A and in B.
    pub not_finite: [usize; 2],
    /// Whether it is within the limits.
    pub passed: bool,
}

fn stem<S: serde::Serializer>(submodule: &Submodule, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(submodule.stem())
}
