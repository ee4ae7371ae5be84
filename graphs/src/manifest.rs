//! `export.json`: what an export folder holds (design §3). The exporter writes it last, so a
//! folder that has one is complete; builder and runner read nothing that it does not list.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{DType, Port};

/// Name of the manifest in an export folder.
pub const EXPORT_MANIFEST: &str = "export.json";
/// The full package's own `config.json`, in an export folder.
pub const PACKAGE_CONFIG: &str = "config/bernini.json";
/// Table of UMT5's token embeddings.
pub const TEXT_EMBEDDINGS: &str = "text_embeddings";
/// Table of the planner's token embeddings.
pub const PLANNER_EMBEDDINGS: &str = "planner_embeddings";
/// Table of one row: the embedding of a target token that is not revealed yet.
pub const MASK_TOKEN: &str = "mask_token";
/// Version of the manifest's schema; a reader refuses any other.
pub const EXPORT_SCHEMA: u32 = 2;

/// The whole manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportManifest {
    /// [`EXPORT_SCHEMA`].
    pub schema: u32,
    /// Version of the program that wrote it.
    pub bernini: String,
    /// blake3 over the checkpoint's headers, configs and the first elements of every tensor: which
    /// weights these are.
    pub source: String,
    /// Which tasks the checkpoint can do.
    pub variant: Variant,
    /// Precision of the graphs.
    pub precision: PrecisionName,
    /// FP8 only: name of the policy, which speed figures carry.
    pub policy: Option<String>,
    /// FP8 only: whether the scales are constants that were never measured.
    pub uncalibrated: bool,
    /// FP8 only: blake3 of the factors by which attentions were re-balanced in the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<String>,
    /// Submodules by stem.
    pub submodules: BTreeMap<String, SubmoduleEntry>,
    /// Embedding tables by name: safetensors files whose rows are read in place.
    pub tables: BTreeMap<String, FileEntry>,
    /// Configs, tokenizer files and the scheduler, with paths below the folder.
    pub config: Vec<FileEntry>,
}

/// Kind of checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// Planner and renderer.
    Full,
    /// Text encoder, experts and VAE only (Bernini-R).
    Renderer,
}

/// Precision as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionName {
    /// Everything f32.
    F32,
    /// bf16 with f32 islands.
    Bf16,
    /// bf16, and what the policy names in FP8.
    Fp8,
    /// FP8 values in f32 arithmetic: the CPU's stand-in for `Fp8`.
    #[serde(rename = "fp8-f32")]
    Fp8F32,
}

impl PrecisionName {
    /// Whether the graphs hold FP8 values, which need scales and a policy.
    pub fn is_fp8(self) -> bool {
        matches!(self, Self::Fp8 | Self::Fp8F32)
    }

    /// Whether the arithmetic is f32: graphs for ONNX Runtime on the CPU, not for engines.
    pub fn is_for_cpu(self) -> bool {
        matches!(self, Self::F32 | Self::Fp8F32)
    }
}

impl fmt::Display for PrecisionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Fp8 => "fp8",
            Self::Fp8F32 => "fp8-f32",
        })
    }
}

/// One submodule of an export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmoduleEntry {
    /// The `.onnx` file.
    pub graph: FileEntry,
    /// The external data; the chunks of one VAE half share theirs.
    pub weights: FileEntry,
    /// What the graph takes.
    pub inputs: Vec<PortEntry>,
    /// What the graph gives.
    pub outputs: Vec<PortEntry>,
    /// The component's config, as a path below the folder.
    pub config: String,
    /// Its arithmetic.
    pub work: WorkEntry,
    /// What of it runs in FP8.
    pub fp8: Fp8Entry,
}

/// How many layers of a submodule run in FP8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fp8Entry {
    /// Linear layers.
    pub linears: usize,
    /// Attentions: nodes of the domain `bernini`, or their primitives in `fp8-f32`.
    pub attentions: usize,
    /// Those of them whose keys are centred before they are rounded.
    #[serde(default)]
    pub centered: usize,
}

/// FLOPs of a graph's products and convolutions by the numbers that they multiply: polynomials of
/// the sizes of its ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkEntry {
    /// In E4M3.
    pub fp8: String,
    /// In bf16.
    pub bf16: String,
    /// In f32.
    pub f32: String,
}

/// A file of the folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Path below the folder, with forward slashes.
    pub file: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Hash of the content, in hex.
    pub blake3: String,
}

/// A port as text: symbols are polynomials of named sizes, such as `8*latent_height`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortEntry {
    /// Name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Size of each axis.
    pub shape: Vec<String>,
}

impl From<&Port> for PortEntry {
    fn from(port: &Port) -> Self {
        let shape = port.shape.iter().map(|dim| dim.to_string()).collect();
        Self { name: port.name.clone(), dtype: port.dtype, shape }
    }
}
