//! What a build did, or would do.

use std::path::PathBuf;

use bernini_graphs::Submodule;
use bernini_graphs::engines::ProfileEntry;
use bernini_graphs::manifest::PrecisionName;
use serde::Serialize;

use crate::decision::Action;
use crate::key::{InputRange, Platform};
use crate::layers::LayerSummary;

/// What would be built.
#[derive(Clone, Debug, Serialize)]
pub struct DryRun {
    /// TensorRT and the GPU, where both were found.
    pub platform: Option<Platform>,
    /// The engines that the workloads need, in pipeline order.
    pub engines: Vec<PlannedEngine>,
}

/// One engine that would be built or reused.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedEngine {
    /// Which one.
    #[serde(serialize_with = "stem")]
    pub submodule: Submodule,
    /// What would happen.
    pub action: Action,
    /// Why.
    pub why: String,
    /// Its key, where the platform is known.
    pub key: Option<String>,
    /// Bytes of its weights in the export.
    pub weight_bytes: u64,
    /// Its optimization profiles.
    pub profiles: Vec<ProfileEntry>,
    /// Inputs of each profile.
    pub inputs: Vec<Vec<InputRange>>,
}

/// What was built.
#[derive(Clone, Debug, Serialize)]
pub struct BuildReport {
    /// The engine folder.
    pub out: PathBuf,
    /// TensorRT and the GPU.
    pub platform: Platform,
    /// Precision of the graphs.
    pub precision: PrecisionName,
    /// FP8 only: the policy, which speed figures carry.
    pub policy: Option<String>,
    /// FP8 only: whether the scales were never measured.
    pub uncalibrated: bool,
    /// What the folder serves now.
    pub workloads: Vec<String>,
    /// The engines that were asked for, in pipeline order.
    pub engines: Vec<EngineReport>,
    /// Engines of the folder that stay as they were.
    pub kept: Vec<String>,
    /// Plans that were removed, because nothing lists them any more.
    pub removed: Vec<String>,
    /// What was not as it should be, and did no harm.
    pub warnings: Vec<String>,
    /// Seconds in all.
    pub seconds: f64,
}

/// One engine.
#[derive(Clone, Debug, Serialize)]
pub struct EngineReport {
    /// Which one.
    #[serde(serialize_with = "stem")]
    pub submodule: Submodule,
    /// Built or reused.
    pub action: Action,
    /// Why.
    pub why: String,
    /// Seconds that TensorRT built, now or when it was built.
    pub build_seconds: f64,
    /// Bytes of its weights in the export.
    pub weight_bytes: u64,
    /// Bytes of the plan.
    pub plan_bytes: u64,
    /// Device memory for activations, the largest of all profiles, in bytes.
    pub activation_bytes: u64,
    /// Names of its optimization profiles.
    pub profiles: Vec<String>,
    /// Kernels chosen, as counts; of engines that were built.
    pub layers: Option<LayerSummary>,
}

fn stem<S: serde::Serializer>(submodule: &Submodule, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(submodule.stem())
}
