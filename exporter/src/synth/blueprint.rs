//! A checkpoint that is to be written: small files as bytes, tensors as rules.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use half::{bf16, f16};
use rayon::prelude::*;
use serde_json::json;

use super::SynthError;
use super::values::Values;
use crate::cast::bytes_of;
use crate::checkpoint::StoredType;

/// Elements that are made at a time.
const BLOCK: u64 = 1 << 20;
/// Blocks between two writes.
const BATCH: u64 = 32;

/// One tensor of a checkpoint.
#[derive(Clone, Debug)]
pub struct SynthTensor {
    /// Name in the file.
    pub name: String,
    /// Size of each axis.
    pub shape: Vec<usize>,
    /// Its content.
    pub values: Values,
}

impl SynthTensor {
    fn elements(&self) -> u64 {
        self.shape.iter().map(|&n| n as u64).product()
    }
}

/// The weights of one folder.
#[derive(Clone, Debug)]
pub struct SynthWeights {
    /// Folder below the checkpoint.
    pub folder: String,
    /// File stem: `model` or `diffusion_pytorch_model`.
    pub stem: &'static str,
    /// Number of shards; one is a single file without index.
    pub shards: usize,
    /// The tensors in file order.
    pub tensors: Vec<SynthTensor>,
}

/// A whole checkpoint.
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// Small files: path below the checkpoint, content.
    pub files: Vec<(String, Vec<u8>)>,
    /// Folders of weights.
    pub weights: Vec<SynthWeights>,
    /// Element type of all weights: F32, F16 or BF16.
    pub dtype: StoredType,
}

impl Blueprint {
    /// Writes everything to `out`, which must be absent or empty: into a temporary folder beside
    /// it first, then under its name. Returns the bytes of all weights.
    pub fn write(&self, out: &Path) -> Result<u64, SynthError> {
        self.write_with(out, &write_shard)
    }

    /// As [`Blueprint::write`], with a hole for the data of every weights file.
    pub fn write_names(&self, out: &Path) -> Result<u64, SynthError> {
        self.write_with(out, &write_hole)
    }

    fn write_with(&self, out: &Path, shard: WriteShard<'_>) -> Result<u64, SynthError> {
        let io = |source| SynthError::Io { path: out.into(), source };
        if out.exists() && std::fs::read_dir(out).map_err(io)?.next().is_some() {
            return Err(SynthError::NotEmpty { path: out.into() });
        }
        let name = out.file_name().ok_or(SynthError::NotEmpty { path: out.into() })?;
        let temporary = out.with_file_name(format!(".{}.part", name.to_string_lossy()));
        let written = self.write_all(&temporary, shard).and_then(|bytes| {
            std::fs::rename(&temporary, out).map_err(io)?;
            Ok(bytes)
        });
        if written.is_err() {
            let _ = std::fs::remove_dir_all(&temporary);
        }
        written
    }

    fn write_all(&self, root: &Path, shard: WriteShard<'_>) -> Result<u64, SynthError> {
        let error = |path: &Path| {
            let path = path.to_path_buf();
            move |source| SynthError::Io { path, source }
        };
        if root.exists() {
            std::fs::remove_dir_all(root).map_err(error(root))?;
        }
        std::fs::create_dir_all(root).map_err(error(root))?;
        for (path, bytes) in &self.files {
            let path = root.join(path);
            let folder = path.parent().unwrap_or(root);
            std::fs::create_dir_all(folder).map_err(error(folder))?;
            std::fs::write(&path, bytes).map_err(error(&path))?;
        }
        let mut total = 0;
        for weights in &self.weights {
            let folder = root.join(&weights.folder);
            std::fs::create_dir_all(&folder).map_err(error(&folder))?;
            total += weights.write(&folder, self.dtype, shard).map_err(error(&folder))?;
        }
        Ok(total)
    }
}

impl SynthWeights {
    fn write(
        &self,
        folder: &Path,
        dtype: StoredType,
        shard: WriteShard<'_>,
    ) -> std::io::Result<u64> {
        let total: u64 = self.tensors.iter().map(|t| t.elements() * dtype.bytes()).sum();
        if self.shards <= 1 {
            let file = folder.join(format!("{}.safetensors", self.stem));
            shard(&file, &self.tensors, dtype)?;
            return Ok(total);
        }
        let mut map = serde_json::Map::new();
        let per_shard = self.tensors.len().div_ceil(self.shards).max(1);
        let parts: Vec<_> = self.tensors.chunks(per_shard).collect();
        for (i, part) in parts.iter().enumerate() {
            let name = format!("{}-{:05}-of-{:05}.safetensors", self.stem, i + 1, parts.len());
            shard(&folder.join(&name), part, dtype)?;
            map.extend(part.iter().map(|t| (t.name.clone(), json!(name))));
        }
        let index = json!({"metadata": {"total_size": total}, "weight_map": map});
        let path = folder.join(format!("{}.safetensors.index.json", self.stem));
        std::fs::write(path, serde_json::to_vec_pretty(&index)?)?;
        Ok(total)
    }
}

/// Writes one weights file.
type WriteShard<'a> = &'a dyn Fn(&Path, &[SynthTensor], StoredType) -> std::io::Result<()>;

fn write_shard(path: &Path, tensors: &[SynthTensor], dtype: StoredType) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let (head, _) = head(tensors, dtype)?;
    file.write_all(&head)?;
    tensors.iter().try_for_each(|tensor| write_tensor(&mut file, tensor, dtype))?;
    file.flush()
}

fn write_hole(path: &Path, tensors: &[SynthTensor], dtype: StoredType) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let (head, data) = head(tensors, dtype)?;
    file.write_all(&head)?;
    file.set_len(head.len() as u64 + data)
}

/// Length and header of a weights file, and the bytes of its data.
fn head(tensors: &[SynthTensor], dtype: StoredType) -> std::io::Result<(Vec<u8>, u64)> {
    let mut header = serde_json::Map::from_iter([("__metadata__".into(), json!({"format": "pt"}))]);
    let mut end = 0;
    for tensor in tensors {
        let begin = end;
        end += tensor.elements() * dtype.bytes();
        let entry =
            json!({"dtype": dtype.name(), "shape": tensor.shape, "data_offsets": [begin, end]});
        header.insert(tensor.name.clone(), entry);
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(([(header.len() as u64).to_le_bytes().as_slice(), &header].concat(), end))
}

fn write_tensor(
    file: &mut impl Write,
    tensor: &SynthTensor,
    dtype: StoredType,
) -> std::io::Result<()> {
    let elements = tensor.elements();
    let blocks: Vec<u64> = (0..elements.div_ceil(BLOCK)).collect();
    for batch in blocks.chunks(BATCH as usize) {
        let bytes: Vec<Vec<u8>> = batch
            .par_iter()
            .map(|block| {
                let start = block * BLOCK;
                let mut values = vec![0.0; (elements - start).min(BLOCK) as usize];
                tensor.values.fill(start, &mut values);
                encode(&values, dtype)
            })
            .collect();
        bytes.iter().try_for_each(|bytes| file.write_all(bytes))?;
    }
    Ok(())
}

fn encode(values: &[f32], dtype: StoredType) -> Vec<u8> {
    let values = values.iter().copied();
    match dtype {
        StoredType::Bf16 => bytes_of(values, |x| bf16::from_f32(x).to_le_bytes()),
        StoredType::F16 => bytes_of(values, |x| f16::from_f32(x).to_le_bytes()),
        // The presets store nothing else.
        StoredType::F32 | StoredType::Other(..) => bytes_of(values, f32::to_le_bytes),
    }
}
