//! `engines.json`: what an engine folder holds (design §3). The builder writes it last, so what it
//! lists is complete; the runner reads nothing that it does not list.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::manifest::{FileEntry, PortEntry, PrecisionName, Variant, WorkEntry};

/// Name of the manifest in an engine folder.
pub const ENGINES_MANIFEST: &str = "engines.json";
/// Version of the manifest's schema; a reader refuses any other.
pub const ENGINES_SCHEMA: u32 = 1;

/// The whole manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnginesManifest {
    /// [`ENGINES_SCHEMA`].
    pub schema: u32,
    /// Version of the program that wrote it.
    pub bernini: String,
    /// Fingerprint of the checkpoint, as in `export.json`.
    pub source: String,
    /// Which tasks the checkpoint can do.
    pub variant: Variant,
    /// Precision of the graphs.
    pub precision: PrecisionName,
    /// FP8 only: name of the policy, which speed figures carry.
    pub policy: Option<String>,
    /// FP8 only: whether the scales are constants that were never measured.
    pub uncalibrated: bool,
    /// FP8 only: re-balancing of the weights, as in the export.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<String>,
    /// Version of the TensorRT that built every engine, such as `10.6.0`.
    pub tensorrt: String,
    /// The GPU that every engine was built on.
    pub gpu: GpuEntry,
    /// What the engines were built for, by name.
    pub workloads: Vec<String>,
    /// Engines by the stem of their submodule.
    pub engines: BTreeMap<String, EngineEntry>,
    /// Embedding tables by name, as in the export.
    pub tables: BTreeMap<String, FileEntry>,
    /// Configs, tokenizer files and the scheduler, as in the export.
    pub config: Vec<FileEntry>,
}

/// A GPU and its driver. Engines run on GPUs of the same name and compute capability.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuEntry {
    /// Name, such as `NVIDIA H200`.
    pub name: String,
    /// Such as `9.0`.
    pub compute_capability: String,
    /// Highest CUDA version of the driver, such as `13.0`.
    pub cuda_driver: String,
}

/// One engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineEntry {
    /// The serialised engine: `<stem>.<precision>.<key>.plan`.
    pub plan: FileEntry,
    /// Hash of everything that decides the plan.
    pub key: String,
    /// What the graph takes, with symbols, as in the export.
    pub inputs: Vec<PortEntry>,
    /// What the graph gives, with symbols, as in the export.
    pub outputs: Vec<PortEntry>,
    /// The component's config, as a path below the folder.
    pub config: String,
    /// Optimization profiles in the engine's order.
    pub profiles: Vec<ProfileEntry>,
    /// Device memory for activations, the largest of all profiles, in bytes.
    pub activation_bytes: u64,
    /// Its arithmetic, as in the export.
    pub work: WorkEntry,
    /// Seconds that the build took.
    pub build_seconds: f64,
    /// The library of the graph's own operators, where it has some.
    pub plugin: Option<PluginEntry>,
}

/// The plugin library that an engine was built with, and runs with alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginEntry {
    /// Its file name; it does not lie in the folder.
    pub file: String,
    /// Hash of the library, in hex.
    pub blake3: String,
}

/// One optimization profile: the sizes that it serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileEntry {
    /// The workload and what it is within it, such as `v2v-480p targets+videos`.
    pub name: String,
    /// Every symbol of the ports.
    pub sizes: BTreeMap<String, SizeRange>,
}

/// The sizes of one symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizeRange {
    /// Smallest.
    pub min: usize,
    /// The one that kernels are chosen for.
    pub opt: usize,
    /// Largest.
    pub max: usize,
}

impl SizeRange {
    /// One size only.
    pub fn fixed(size: usize) -> Self {
        Self { min: size, opt: size, max: size }
    }

    /// Whether `size` is within.
    pub fn contains(self, size: usize) -> bool {
        (self.min..=self.max).contains(&size)
    }
}
