//! Small files of a checkpoint, with bounds.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::CheckpointError;

/// Longest config, tokenizer config or index, in bytes.
pub const MAX_JSON: u64 = 64 << 20;

/// Opens a regular file: `(file, size)`.
pub fn open(path: &Path) -> Result<(File, u64), CheckpointError> {
    let io = |source| CheckpointError::Io { path: path.into(), source };
    // Asked before opening: opening a pipe would wait for ever.
    let metadata = std::fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        return Err(CheckpointError::NotAFile { path: path.into() });
    }
    Ok((File::open(path).map_err(io)?, metadata.len()))
}

/// The content of a file of at most `limit` bytes.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, CheckpointError> {
    let (file, found) = open(path)?;
    if found > limit {
        return Err(CheckpointError::TooLarge { file: path.into(), limit, found });
    }
    let mut bytes = vec![];
    let read = file.take(limit).read_to_end(&mut bytes);
    read.map_err(|source| CheckpointError::Io { path: path.into(), source })?;
    Ok(bytes)
}

/// A JSON file of at most [`MAX_JSON`] bytes.
pub fn json<T: DeserializeOwned>(path: &Path) -> Result<T, CheckpointError> {
    let bytes = read(path, MAX_JSON)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| CheckpointError::Json { file: path.into(), reason: error.to_string() })
}
