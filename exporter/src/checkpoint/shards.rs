//! The weights of one folder: a single safetensors file, or shards with an index.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::header::{self, StoredType};
use super::{CheckpointError, files};

/// Names that transformers and diffusers give to weights.
const STEMS: [&str; 2] = ["diffusion_pytorch_model", "model"];

/// An open safetensors file whose header was checked.
#[derive(Debug)]
pub struct Shard {
    /// Where it lies.
    pub path: PathBuf,
    /// Size in bytes.
    pub bytes: u64,
    /// The header's bytes.
    pub header: Vec<u8>,
    file: File,
}

/// A tensor on disk.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Element type.
    pub dtype: StoredType,
    /// Size of each axis.
    pub shape: Vec<usize>,
    /// The file that holds it.
    pub shard: Arc<Shard>,
    offset: u64,
    /// Size in bytes.
    pub bytes: u64,
}

impl Tensor {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.bytes / self.dtype.bytes()
    }

    /// `count` elements from element `start` on, as little-endian bytes.
    pub fn read(&self, start: u64, count: usize) -> Result<Vec<u8>, CheckpointError> {
        let size = self.dtype.bytes();
        let mut bytes = vec![0; count * size as usize];
        let read = self.shard.file.read_exact_at(&mut bytes, self.offset + start * size);
        read.map_err(|source| CheckpointError::Io { path: self.shard.path.clone(), source })?;
        Ok(bytes)
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The tensors of one folder.
#[derive(Debug, Default)]
pub struct Weights {
    /// Tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// The files, in order of their names.
    pub shards: Vec<Arc<Shard>>,
    /// Where index and shards disagree.
    pub warnings: Vec<String>,
}

impl Weights {
    /// Opens the weights of `folder`, an index first.
    pub fn open(folder: &Path) -> Result<Self, CheckpointError> {
        let names = |end: &str| STEMS.map(|stem| format!("{stem}{end}"));
        let there =
            |names: [String; 2]| names.map(|n| folder.join(n)).into_iter().find(|p| p.exists());
        if let Some(index) = there(names(".safetensors.index.json")) {
            return Self::sharded(folder, &index);
        }
        let Some(single) = there(names(".safetensors")) else {
            let expected = STEMS.map(|s| format!("{s}.safetensors (or its index)")).join(" or ");
            return Err(CheckpointError::MissingWeights { folder: folder.into(), expected });
        };
        let mut weights = Self::default();
        weights.add(&single)?;
        Ok(weights)
    }

    /// What the shards hold counts; an index that says otherwise is reported.
    fn sharded(folder: &Path, index: &Path) -> Result<Self, CheckpointError> {
        let map = files::json::<Index>(index)?.weight_map;
        let mut weights = Self::default();
        for shard in map.values().collect::<BTreeSet<_>>() {
            let plain = Path::new(shard).file_name().is_some_and(|name| *name == **shard);
            if !plain {
                let (file, found) = (index.into(), shard.clone());
                return Err(CheckpointError::ShardPath { file, found });
            }
            let path = folder.join(shard);
            if !path.exists() {
                let (file, shard) = (index.into(), shard.clone());
                return Err(CheckpointError::MissingShard { file, shard });
            }
            weights.add(&path)?;
        }
        weights.compare(index, &map);
        Ok(weights)
    }

    fn add(&mut self, path: &Path) -> Result<(), CheckpointError> {
        let (file, bytes) = files::open(path)?;
        let header = header::read(&file, bytes)
            .map_err(|source| CheckpointError::Io { path: path.into(), source })?
            .map_err(|source| CheckpointError::Header { file: path.into(), source })?;
        let shard = Arc::new(Shard { path: path.into(), bytes, header: header.bytes, file });
        for entry in header.entries {
            let header::Entry { name, dtype, shape, offset, bytes } = entry;
            let tensor = Tensor { dtype, shape, shard: shard.clone(), offset, bytes };
            if let Some(other) = self.tensors.insert(name.clone(), tensor) {
                let (first, second) = (other.shard.path.clone(), path.into());
                return Err(CheckpointError::DuplicateTensor { name, first, second });
            }
        }
        self.shards.push(shard);
        Ok(())
    }

    fn compare(&mut self, index: &Path, map: &BTreeMap<String, String>) {
        let index = index.display();
        for (name, shard) in map {
            let held = self.tensors.get(name).and_then(|t| t.shard.path.file_name());
            if held.is_none_or(|held| *held != **shard) {
                let warning = format!("{index}: {shard} does not hold tensor {name}");
                self.warnings.push(warning);
            }
        }
        for (name, tensor) in &self.tensors {
            if !map.contains_key(name) {
                let shard = tensor.shard.path.display();
                self.warnings.push(format!("{index}: does not list tensor {name} of {shard}"));
            }
        }
    }
}
