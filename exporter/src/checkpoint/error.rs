//! What can be wrong with a checkpoint on disk.

use std::path::PathBuf;

use bernini_graphs::config::ConfigError;

/// A checkpoint that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("{}: {source}; check that the file is there and readable", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// The folder has neither layout.
    #[error(
        "{}: expected config.json with model_type \"bernini\", or the folders {expected}; found \
         neither; give the folder of a Bernini checkpoint",
        path.display()
    )]
    NotACheckpoint {
        /// The folder.
        path: PathBuf,
        /// Folders of the renderer-only layout.
        expected: String,
    },
    /// `config.json` describes another model.
    #[error(
        "{}: model_type: expected \"bernini\", found {found}; give the folder of a Bernini \
         checkpoint",
        file.display()
    )]
    ModelType {
        /// The file.
        file: PathBuf,
        /// Its model type as JSON.
        found: String,
    },
    /// A directory, pipe or device stands where a file is expected.
    #[error("{}: expected a regular file; replace it", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A small file that is not small.
    #[error(
        "{}: expected at most {limit} bytes, found {found}; download the file again",
        file.display()
    )]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Limit in bytes.
        limit: u64,
        /// Size in bytes.
        found: u64,
    },
    /// A JSON file that is not what it should be.
    #[error("{}: {reason}; correct the file or download it again", file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// What the parser says: field, place, reason.
        reason: String,
    },
    /// A config value that no model can have.
    #[error("{}: {source}; correct the value or download the file again", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// Key, expected and found.
        source: ConfigError,
    },
    /// A lie in the header of a safetensors file.
    #[error("{}: {source}", file.display())]
    Header {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        source: HeaderError,
    },
    /// A folder without weights.
    #[error("{}: expected {expected}, found neither; download the weights", folder.display())]
    MissingWeights {
        /// The folder.
        folder: PathBuf,
        /// The files that were looked for.
        expected: String,
    },
    /// An index names a shard outside its folder.
    #[error(
        "{}: weight_map: expected names of files beside it, found {found:?}; download the index \
         again",
        file.display()
    )]
    ShardPath {
        /// The index.
        file: PathBuf,
        /// The name.
        found: String,
    },
    /// An index names a shard that is not there.
    #[error("{}: shard {shard} is missing; download it", file.display())]
    MissingShard {
        /// The index.
        file: PathBuf,
        /// Name of the shard.
        shard: String,
    },
    /// Two shards hold a tensor of one name.
    #[error(
        "tensor {name} is in {} and in {}; download both shards again",
        first.display(),
        second.display()
    )]
    DuplicateTensor {
        /// Name of the tensor.
        name: String,
        /// One shard.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
}

/// A safetensors header that does not describe its file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The file ends before the header's length does.
    #[error("expected at least 8 bytes, found {found}; download the file again")]
    TooShort {
        /// Size of the file.
        found: u64,
    },
    /// The header's length is absurd.
    #[error("header length: expected 2 to {limit} bytes, found {found}; download the file again")]
    Length {
        /// What the file allows.
        limit: u64,
        /// What it says.
        found: u64,
    },
    /// The header is not the JSON of a header.
    #[error("header: {reason}; download the file again")]
    Json {
        /// What the parser says.
        reason: String,
    },
    /// A name that stands twice.
    #[error("header: tensor {name} stands twice; the file is not a safetensors file")]
    DuplicateName {
        /// Name of the tensor.
        name: String,
    },
    /// A type that safetensors does not have.
    #[error("tensor {name}: dtype: expected a safetensors type, found {found:?}; convert the file")]
    UnknownDType {
        /// Name of the tensor.
        name: String,
        /// The type.
        found: String,
    },
    /// A shape whose size no computer can count.
    #[error("tensor {name}: shape {shape:?} overflows; download the file again")]
    ShapeOverflow {
        /// Name of the tensor.
        name: String,
        /// Its shape.
        shape: Vec<u64>,
    },
    /// An end before its beginning.
    #[error("tensor {name}: data_offsets: expected begin <= end, found {begin} and {end}")]
    ReversedOffsets {
        /// Name of the tensor.
        name: String,
        /// Begin.
        begin: u64,
        /// End.
        end: u64,
    },
    /// Offsets that contradict type and shape.
    #[error(
        "tensor {name}: expected {expected} bytes for its dtype and shape, found {found}; download \
         the file again"
    )]
    SizeMismatch {
        /// Name of the tensor.
        name: String,
        /// Bytes of type and shape.
        expected: u64,
        /// Bytes between the offsets.
        found: u64,
    },
    /// Two tensors share bytes.
    #[error("tensors {first} and {second} overlap; download the file again")]
    Overlap {
        /// The tensor that begins first.
        first: String,
        /// The tensor that begins inside it.
        second: String,
    },
    /// Bytes that belong to no tensor.
    #[error("tensor {name} begins at {found}, expected {expected}: a gap; download the file again")]
    Gap {
        /// The tensor after the gap.
        name: String,
        /// End of the tensor before.
        expected: u64,
        /// Where it begins.
        found: u64,
    },
    /// The file ends before its tensors do.
    #[error("truncated: expected {expected} bytes of data, found {found}; download the file again")]
    Truncated {
        /// End of the last tensor.
        expected: u64,
        /// Bytes after the header.
        found: u64,
    },
    /// The file goes on after its tensors.
    #[error("expected {expected} bytes of data, found {found}; download the file again")]
    TrailingData {
        /// End of the last tensor.
        expected: u64,
        /// Bytes after the header.
        found: u64,
    },
}
