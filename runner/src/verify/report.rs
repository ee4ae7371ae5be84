//! What was compared, how far apart it is, and whether that is close enough.

use std::path::PathBuf;

use bernini_graphs::Submodule;
use bernini_graphs::manifest::{PrecisionName, Variant};
use serde::Serialize;

use super::{FramesReport, Limit, Summary, TrajectoryReport};

/// Everything that was compared with one reference.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// The reference.
    pub a: SideReport,
    /// The reference against another valid folder: what a difference means nothing below. Its figures
    /// are shown beside all others and judge nothing.
    pub floor: Option<Comparison>,
    /// What is judged.
    pub options: Vec<Comparison>,
    /// A line for the floor and for each of those.
    pub summary: Vec<Summary>,
    /// Whether every option is within its limits.
    pub passed: bool,
    /// First, middle and last frame of A as png files, for the html report.
    #[serde(skip)]
    pub shown: Vec<(usize, Vec<u8>)>,
}

impl VerifyReport {
    /// All comparisons, which are done.
    pub fn new(
        a: SideReport,
        floor: Option<Comparison>,
        options: Vec<Comparison>,
        shown: Vec<(usize, Vec<u8>)>,
    ) -> Self {
        let of_options = options.iter().map(Summary::of_option);
        let summary = floor.iter().map(Summary::of_floor).chain(of_options).collect();
        let passed = options.iter().all(|option| option.passed);
        Self { a, floor, options, summary, passed, shown }
    }

    /// The floor, if there is one, and the options: what has figures, in the order of columns.
    pub fn columns(&self) -> impl Iterator<Item = &Comparison> + Clone {
        self.floor.iter().chain(&self.options)
    }
}

/// One folder against the reference.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// What it is called in the report.
    pub name: String,
    /// The folder.
    pub side: SideReport,
    /// What a reader should know of the pair.
    pub warnings: Vec<String>,
    /// The limits.
    pub limit: Limit,
    /// Share of a request's FLOPs that it runs in FP8, in the submodules that it has; none where
    /// nothing says what a request is.
    pub fp8_share: Option<f64>,
    /// Level A: submodules alone.
    pub modules: Vec<ModuleReport>,
    /// Level B: steps on A's latents.
    pub trajectory: Option<TrajectoryReport>,
    /// Level C: frames from equal noise.
    pub frames: Option<FramesReport>,
    /// Whether everything is within the limits.
    pub passed: bool,
}

impl Comparison {
    /// A comparison that has not begun.
    pub fn new(name: String, side: SideReport, warnings: Vec<String>, limit: Limit) -> Self {
        let (fp8_share, modules, trajectory, frames) = (None, vec![], None, None);
        let passed = true;
        Self { name, side, warnings, limit, fp8_share, modules, trajectory, frames, passed }
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

    /// The result of the submodule that `other` is of, at its sizes.
    pub fn module(&self, other: &ModuleReport) -> Option<&ModuleReport> {
        let key = |module: &ModuleReport| (module.submodule, module.sizes.clone());
        self.modules.iter().find(|module| key(module) == key(other))
    }
}

/// One of the folders.
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
    /// FP8 only: whether its attentions are re-balanced.
    pub balanced: bool,
    /// Fingerprint of its checkpoint.
    pub source: String,
    /// Engines: the GPU.
    pub gpu: Option<String>,
    /// Engines: version of TensorRT.
    pub tensorrt: Option<String>,
}

impl SideReport {
    /// Its numbers and where it runs, such as `fp8-f32, all-fp8, re-balanced, CPU`.
    pub fn numbers(&self) -> String {
        let balanced = self.balanced.then(|| "re-balanced".to_string());
        let place = self.gpu.clone().unwrap_or("CPU".into());
        let parts = [Some(self.precision.to_string()), self.policy.clone(), balanced, Some(place)];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
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
    /// Every named value inside, in the order of the graph, where both graphs have taps; they are not
    /// gated, since later layers may make an error smaller.
    pub layers: Vec<OutputReport>,
    /// Whether every output is within the limits.
    pub passed: bool,
    /// Where it is not: the first value that is not, of both graphs' taps, else of two exports'
    /// layers, found by bisection.
    pub first_beyond: Option<OutputReport>,
}

/// How far a tensor is from A's.
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
