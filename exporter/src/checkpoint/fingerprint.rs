//! Which weights a checkpoint holds, told in milliseconds.

use std::path::Path;
use std::sync::Arc;

use super::layout::Places;
use super::shards::{Shard, Tensor};
use super::{CheckpointError, files};

/// Elements of every tensor that are hashed: releases of one architecture share their headers.
const SAMPLE: u64 = 64;

/// blake3, in hex, over configs, headers, file sizes and the first elements of every tensor.
pub fn of(
    root: &Path,
    places: &Places,
    shards: &[Arc<Shard>],
    tensors: &[Tensor],
) -> Result<String, CheckpointError> {
    let mut hash = blake3::Hasher::new();
    let mut add = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for path in places.configs.paths().iter().filter(|path| path.exists()) {
        add(&files::read(path, files::MAX_JSON)?);
    }
    add(&files::read(&places.tokenizer.join("spiece.model"), super::MAX_TOKENIZER)?);
    for shard in shards {
        let name = shard.path.strip_prefix(root).unwrap_or(&shard.path);
        add(name.as_os_str().as_encoded_bytes());
        add(&shard.bytes.to_le_bytes());
        add(&shard.header);
    }
    for tensor in tensors {
        add(&tensor.read(0, tensor.elements().min(SAMPLE) as usize)?);
    }
    Ok(hash.finalize().to_hex().to_string())
}
