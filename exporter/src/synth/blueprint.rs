//! A checkpoint that is to be written: small files as bytes, tensors as rules.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use half::{bf16, f16};
use rayon::prelude::*;
use serde_json::json;

use super::SynthError;
use super::values::Values;
use crate::cast::bytes_of;
use crate::checkpoint::StoredType;
use crate::output::check_space;

/// Elements that are made and written at a time: they fit into a core's own cache.
const BLOCK: u64 = 1 << 18;

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
        check_space(out, self.bytes())
            .map_err(|source| SynthError::Io { path: out.into(), source })?;
        self.write_with(out, write_values)
    }

    /// As [`Blueprint::write`], with a hole for the data of every weights file.
    pub fn write_names(&self, out: &Path) -> Result<u64, SynthError> {
        self.write_with(out, write_nothing)
    }

    /// Bytes of all weights.
    fn bytes(&self) -> u64 {
        let tensors = self.weights.iter().flat_map(|weights| &weights.tensors);
        tensors.map(SynthTensor::elements).sum::<u64>() * self.dtype.bytes()
    }

    fn write_with(&self, out: &Path, data: WriteData) -> Result<u64, SynthError> {
        let io = |source| SynthError::Io { path: out.into(), source };
        if out.exists() && std::fs::read_dir(out).map_err(io)?.next().is_some() {
            return Err(SynthError::NotEmpty { path: out.into() });
        }
        let name = out.file_name().ok_or(SynthError::NotEmpty { path: out.into() })?;
        let temporary = out.with_file_name(format!(".{}.part", name.to_string_lossy()));
        let written = self.write_all(&temporary, data).and_then(|bytes| {
            std::fs::rename(&temporary, out).map_err(io)?;
            Ok(bytes)
        });
        if written.is_err() {
            let _ = std::fs::remove_dir_all(&temporary);
        }
        written
    }

    fn write_all(&self, root: &Path, data: WriteData) -> Result<u64, SynthError> {
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
        let mut shards = vec![];
        for weights in &self.weights {
            let folder = root.join(&weights.folder);
            std::fs::create_dir_all(&folder).map_err(error(&folder))?;
            shards.extend(weights.start(&folder, self.dtype).map_err(error(&folder))?);
        }
        data(&shards, self.dtype).map_err(error(root))?;
        Ok(self.bytes())
    }
}

/// A weights file whose header is written and whose data is a hole.
struct Shard<'a> {
    file: File,
    /// Where the data begins.
    start: u64,
    /// Size of the data.
    bytes: u64,
    tensors: &'a [SynthTensor],
}

impl<'a> Shard<'a> {
    fn start(path: &Path, tensors: &'a [SynthTensor], dtype: StoredType) -> io::Result<Self> {
        let mut file = File::create(path)?;
        let (head, bytes) = head(tensors, dtype)?;
        file.write_all(&head)?;
        let start = head.len() as u64;
        file.set_len(start + bytes)?;
        Ok(Self { file, start, bytes, tensors })
    }
}

impl SynthWeights {
    /// Writes the headers of all files, and the index of more than one.
    fn start(&self, folder: &Path, dtype: StoredType) -> io::Result<Vec<Shard<'_>>> {
        if self.shards <= 1 {
            let file = folder.join(format!("{}.safetensors", self.stem));
            return Ok(vec![Shard::start(&file, &self.tensors, dtype)?]);
        }
        let mut map = serde_json::Map::new();
        let per_shard = self.tensors.len().div_ceil(self.shards).max(1);
        let parts: Vec<_> = self.tensors.chunks(per_shard).collect();
        let mut shards = vec![];
        for (i, part) in parts.iter().enumerate() {
            let name = format!("{}-{:05}-of-{:05}.safetensors", self.stem, i + 1, parts.len());
            shards.push(Shard::start(&folder.join(&name), part, dtype)?);
            map.extend(part.iter().map(|t| (t.name.clone(), json!(name))));
        }
        let total: u64 = shards.iter().map(|shard| shard.bytes).sum();
        let index = json!({"metadata": {"total_size": total}, "weight_map": map});
        let path = folder.join(format!("{}.safetensors.index.json", self.stem));
        std::fs::write(path, serde_json::to_vec_pretty(&index)?)?;
        Ok(shards)
    }
}

/// Puts the data of all weights files in its place.
type WriteData = fn(&[Shard<'_>], StoredType) -> io::Result<()>;

/// Leaves the holes.
fn write_nothing(_: &[Shard<'_>], _: StoredType) -> io::Result<()> {
    Ok(())
}

/// Elements that are made and written at a time.
struct Block<'a> {
    file: &'a File,
    offset: u64,
    values: &'a Values,
    start: u64,
    count: usize,
}

impl Block<'_> {
    fn write(&self, buffer: &mut Vec<f32>, dtype: StoredType) -> io::Result<()> {
        buffer.resize(self.count, 0.0);
        self.values.fill(self.start, buffer);
        self.file.write_all_at(&encode(buffer, dtype), self.offset)
    }
}

/// Makes and writes blocks on all cores. Whoever is done takes on the far end of what is left, so
/// that the cores write to different files: a file takes one write at a time.
fn write_values(shards: &[Shard<'_>], dtype: StoredType) -> io::Result<()> {
    let blocks: Vec<_> = shards.iter().flat_map(|shard| blocks(shard, dtype)).collect();
    blocks.par_iter().try_for_each_init(Vec::new, |buffer, block| block.write(buffer, dtype))
}

fn blocks<'a>(shard: &'a Shard<'_>, dtype: StoredType) -> Vec<Block<'a>> {
    let (file, mut offset) = (&shard.file, shard.start);
    let mut blocks = vec![];
    for SynthTensor { shape, values, .. } in shard.tensors {
        let elements: u64 = shape.iter().map(|&n| n as u64).product();
        for start in (0..elements).step_by(BLOCK as usize) {
            let count = (elements - start).min(BLOCK) as usize;
            blocks.push(Block { file, offset, values, start, count });
            offset += count as u64 * dtype.bytes();
        }
    }
    blocks
}

/// Length and header of a weights file, and the bytes of its data.
fn head(tensors: &[SynthTensor], dtype: StoredType) -> io::Result<(Vec<u8>, u64)> {
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

fn encode(values: &[f32], dtype: StoredType) -> Vec<u8> {
    let values = values.iter().copied();
    match dtype {
        StoredType::Bf16 => bytes_of(values, |x| bf16::from_f32(x).to_le_bytes()),
        StoredType::F16 => bytes_of(values, |x| f16::from_f32(x).to_le_bytes()),
        // The presets store nothing else.
        StoredType::F32 | StoredType::Other(..) => bytes_of(values, f32::to_le_bytes),
    }
}
