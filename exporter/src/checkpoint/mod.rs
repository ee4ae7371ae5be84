//! A Bernini checkpoint on disk (spec A): either layout, opened without reading weights.

mod configs;
mod error;
pub mod files;
mod fingerprint;
mod header;
mod layout;
mod package;
mod shards;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bernini_graphs::Component;
use bernini_graphs::manifest::Variant;
use bernini_graphs::models::Configs;

pub use error::{CheckpointError, HeaderError};
pub use header::StoredType;
pub use layout::prefix;
pub use package::Package;
pub use shards::{Shard, Tensor};

/// Longest tokenizer file that is read, in bytes.
pub const MAX_TOKENIZER: u64 = 256 << 20;

/// The tensors of one component, by the names that its model uses.
#[derive(Debug, Default)]
pub struct ComponentTensors {
    /// Prefix that the names have in the checkpoint.
    pub prefix: &'static str,
    /// Tensors by name without prefix.
    pub tensors: BTreeMap<String, Tensor>,
}

impl bernini_graphs::Checkpoint for ComponentTensors {
    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|tensor| tensor.shape.as_slice())
    }
}

/// An open checkpoint: names, shapes and configs are checked, weights are not read.
#[derive(Debug)]
pub struct Checkpoint {
    root: PathBuf,
    variant: Variant,
    configs: Configs,
    scheduler: serde_json::Value,
    components: BTreeMap<Component, ComponentTensors>,
    package: Option<Package>,
    strangers: BTreeMap<String, Tensor>,
    tokenizer: PathBuf,
    fingerprint: String,
    warnings: Vec<String>,
}

impl Checkpoint {
    /// Opens the checkpoint in `path`; the layout is told by its files.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let folder = std::fs::metadata(path);
        folder.map_err(|source| CheckpointError::Io { path: path.into(), source })?;
        let places = layout::detect(path)?;
        let mut warnings = vec![];
        let read = configs::read(&places.configs, &mut warnings)?;
        files::open(&places.tokenizer.join("spiece.model"))?;
        let weights = layout::open(&places)?;
        warnings.extend(weights.warnings);
        let fingerprint = fingerprint::of(path, &places, &weights.shards, &weights.all)?;
        Ok(Self {
            root: path.into(),
            variant: places.variant,
            configs: read.configs,
            scheduler: read.scheduler,
            components: weights.components,
            package: read.package,
            strangers: weights.strangers,
            tokenizer: places.tokenizer,
            fingerprint,
            warnings,
        })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Full package or renderer only.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// The checked configs.
    pub fn configs(&self) -> &Configs {
        &self.configs
    }

    /// The scheduler's config, an object.
    pub fn scheduler(&self) -> &serde_json::Value {
        &self.scheduler
    }

    /// The components of this layout with their tensors, in pipeline order.
    pub fn components(&self) -> &BTreeMap<Component, ComponentTensors> {
        &self.components
    }

    /// What only the full package has.
    pub fn package(&self) -> Option<&Package> {
        self.package.as_ref()
    }

    /// Tensors whose prefix is not known, by full name.
    pub fn strangers(&self) -> &BTreeMap<String, Tensor> {
        &self.strangers
    }

    /// Folder of the T5 tokenizer; it holds `spiece.model`.
    pub fn tokenizer(&self) -> &Path {
        &self.tokenizer
    }

    /// blake3, in hex, over headers, configs and the first bytes of every tensor.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What is odd but not wrong: unknown config keys, an index that disagrees with its shards.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
