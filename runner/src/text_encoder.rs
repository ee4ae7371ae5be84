//! UMT5: token ids to hidden states (spec E.1, E.2).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bernini_graphs::Submodule;
use bernini_graphs::config::TextEncoderConfig;
use bernini_graphs::manifest::TEXT_EMBEDDINGS;
use bernini_graphs::submodule::text_encoder::{BUCKETS, EMBEDS, HIDDEN};
use half::bf16;
use ndarray::{Array2, Array3, Axis};
use safetensors::tensor::{Dtype, Metadata};

use crate::backend::{Backend, BackendError, Session};
use crate::package::{Package, PackageError};
use crate::tensor::Tensor;

/// The text encoder with its embedding table.
pub struct TextEncoder {
    session: Box<dyn Session>,
    table: EmbeddingTable,
    config: TextEncoderConfig,
}

impl TextEncoder {
    /// Loads the graph and opens the table.
    pub fn open(backend: &dyn Backend, package: &Package) -> Result<Self, TextEncoderError> {
        let table = EmbeddingTable::open(&package.table_path(TEXT_EMBEDDINGS)?)?;
        let session = backend.load(Submodule::TextEncoder)?;
        Ok(Self { session, table, config: package.configs().text_encoder.clone() })
    }

    /// Hidden states f32 `[ids, d_model]` of an unpadded prompt.
    pub fn encode(&mut self, ids: &[i64]) -> Result<Array2<f32>, TextEncoderError> {
        let embeds = self.table.rows(ids)?.insert_axis(Axis(0));
        let buckets = relative_buckets(ids.len(), &self.config);
        let (embeds, buckets) = (Tensor::from(embeds), Tensor::from(buckets));
        let mut outputs = self.session.run(&[(EMBEDS, &embeds), (BUCKETS, &buckets)])?;
        let hidden: Array3<f32> = outputs.take_f32(HIDDEN)?;
        Ok(hidden.index_axis_move(Axis(0), 0))
    }
}

/// Bucket of every (query, key) pair, `[n, n]` (spec E.2, bidirectional).
fn relative_buckets(n: usize, config: &TextEncoderConfig) -> Array2<i64> {
    let half = config.relative_attention_num_buckets as i64 / 2;
    let exact = half / 2;
    let range = (config.relative_attention_max_distance as f32 / exact as f32).ln();
    Array2::from_shape_fn((n, n), |(query, key)| {
        let distance = key as i64 - query as i64;
        let side = if distance > 0 { half } else { 0 };
        let distance = distance.abs();
        if distance < exact {
            return side + distance;
        }
        let log = (distance as f32 / exact as f32).ln() / range * (half - exact) as f32;
        side + (exact + log as i64).min(half - 1)
    })
}

/// A `[rows, width]` table of which a prompt needs a few rows: they are read where they lie.
#[derive(Debug)]
pub struct EmbeddingTable {
    file: File,
    path: PathBuf,
    start: u64,
    rows: usize,
    width: usize,
    dtype: Dtype,
}

impl EmbeddingTable {
    /// Longest header that is read.
    const MAX_HEADER: u64 = 1 << 20;

    /// Opens a safetensors file that holds one tensor called `weight`, f32 or bf16.
    pub fn open(path: &Path) -> Result<Self, TextEncoderError> {
        let io = |source| TextEncoderError::Io { path: path.into(), source };
        let broken = |reason: String| TextEncoderError::Table { path: path.into(), reason };
        let file = File::open(path).map_err(io)?;
        let mut length = [0; 8];
        file.read_exact_at(&mut length, 0).map_err(io)?;
        let length = u64::from_le_bytes(length);
        if length > Self::MAX_HEADER {
            return Err(broken(format!("its header says {length} bytes")));
        }
        let mut header = vec![0; length as usize];
        file.read_exact_at(&mut header, 8).map_err(io)?;
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|e| broken(e.to_string()))?;
        let info =
            metadata.info("weight").ok_or_else(|| broken("it has no tensor `weight`".into()))?;
        let (&[rows, width], Dtype::F32 | Dtype::BF16) = (&info.shape[..], info.dtype) else {
            let found = format!(
                "weight is {:?} {:?}, expected f32 or bf16 [rows, width]",
                info.dtype, info.shape
            );
            return Err(broken(found));
        };
        let start = 8 + length + info.data_offsets.0 as u64;
        Ok(Self { file, path: path.into(), start, rows, width, dtype: info.dtype })
    }

    /// Rows `ids` as f32 `[ids, width]`.
    pub fn rows(&self, ids: &[i64]) -> Result<Array2<f32>, TextEncoderError> {
        let size = if self.dtype == Dtype::F32 { 4 } else { 2 };
        let mut bytes = vec![0; self.width * size];
        let mut rows = Array2::zeros((ids.len(), self.width));
        for (mut row, &id) in rows.rows_mut().into_iter().zip(ids) {
            let index = usize::try_from(id).ok().filter(|&index| index < self.rows);
            let index = index.ok_or_else(|| TextEncoderError::TokenId {
                path: self.path.clone(),
                id,
                rows: self.rows,
            })?;
            let offset = self.start + (index * bytes.len()) as u64;
            let io = |source| TextEncoderError::Io { path: self.path.clone(), source };
            self.file.read_exact_at(&mut bytes, offset).map_err(io)?;
            for (value, raw) in row.iter_mut().zip(bytes.chunks_exact(size)) {
                *value = match *raw {
                    [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
                    [a, b] => bf16::from_le_bytes([a, b]).to_f32(),
                    _ => 0.0,
                };
            }
        }
        Ok(rows)
    }
}

/// Why a prompt could not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum TextEncoderError {
    /// The graph failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The folder has no such table.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// The table could not be read.
    #[error("reading {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The table is not what it should be.
    #[error("{}: {reason}; export the checkpoint again", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The tokenizer knows more tokens than the table.
    #[error("{}: token {id} of {rows} rows; the tokenizer belongs to another checkpoint", path.display())]
    TokenId {
        /// The table.
        path: PathBuf,
        /// The id.
        id: i64,
        /// Rows of the table.
        rows: usize,
    },
}
