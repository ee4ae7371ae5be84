//! Why engines do not run.

use std::path::PathBuf;

use bernini_graphs::Submodule;

/// What is wrong with an engine folder, this machine, or a request on them.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// FP8 scales that nobody measured.
    #[error(
        "{}: its FP8 scales are made up, so its pictures are noise; calibrate, export and build \
         again, or pass --allow-uncalibrated to measure speed",
        folder.display()
    )]
    Uncalibrated {
        /// The engine folder.
        folder: PathBuf,
    },
    /// Another GPU than the one that the engines were built on.
    #[error(
        "{}: built on {expected}, this machine has {found}; run `bernini build` here",
        folder.display()
    )]
    Gpu {
        /// The engine folder.
        folder: PathBuf,
        /// Name and compute capability in the manifest.
        expected: String,
        /// Those of this machine's GPU.
        found: String,
    },
    /// Another TensorRT than the one that built the engines.
    #[error(
        "{}: built with TensorRT {expected}, this machine has {found}; run `bernini build` again, \
         or set TENSORRT_LIB_DIR to TensorRT {expected}",
        folder.display()
    )]
    Version {
        /// The engine folder.
        folder: PathBuf,
        /// Version in the manifest.
        expected: String,
        /// Version of the library.
        found: String,
    },
    /// An engine has operators of the plugin library, which was not found.
    #[error(
        "{}: {submodule} was built with the plugin {file} (blake3 {blake3}), which is not there; make \
         it with `./x plugin` and set BERNINI_PLUGIN to it, or put it beside this program",
        folder.display()
    )]
    NoPlugin {
        /// The engine folder.
        folder: PathBuf,
        /// Which engine.
        submodule: Submodule,
        /// Name of the library in the manifest.
        file: String,
        /// Its hash.
        blake3: String,
    },
    /// Another plugin library than the one that an engine was built with.
    #[error(
        "{}: {submodule} was built with a plugin of blake3 {expected}, {} has {found}; set \
         BERNINI_PLUGIN to the one that it was built with, or run `bernini build` again",
        folder.display(), path.display()
    )]
    OtherPlugin {
        /// The engine folder.
        folder: PathBuf,
        /// Which engine.
        submodule: Submodule,
        /// Hash in the manifest.
        expected: String,
        /// The library that was found.
        path: PathBuf,
        /// Its hash.
        found: String,
    },
    /// A plan could not be read.
    #[error("reading {}: {source}", path.display())]
    Io {
        /// The plan.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A plan is not the one that was built.
    #[error(
        "{}: expected {expected}, found {found}: the file is damaged; run `bernini build` again",
        path.display()
    )]
    Damaged {
        /// The plan.
        path: PathBuf,
        /// Size or hash in the manifest.
        expected: String,
        /// Size or hash of the file.
        found: String,
    },
    /// An engine whose tensors are not those of the manifest.
    #[error(
        "{submodule}: port {name}: the manifest says {expected}, the engine {found}; run \
         `bernini build` again"
    )]
    Contract {
        /// Which engine.
        submodule: Submodule,
        /// Name of the tensor.
        name: String,
        /// Direction and type in the manifest.
        expected: String,
        /// Direction and type in the engine.
        found: String,
    },
    /// Sizes that contradict the contract.
    #[error("{submodule}: port {name}: expected {expected}, found {found}")]
    Sizes {
        /// Which engine.
        submodule: Submodule,
        /// Name of the port.
        name: String,
        /// What the contract says of an axis, such as `past+tokens`.
        expected: String,
        /// Its size.
        found: usize,
    },
    /// No profile holds the sizes of a request.
    #[error(
        "{submodule}: no profile for {wanted}; there are {profiles}; \
         `bernini build EXPORT -o ENGINES --workload {workload}` adds one"
    )]
    NoProfile {
        /// Which engine.
        submodule: Submodule,
        /// The sizes asked for, such as `tokens 32760`.
        wanted: String,
        /// Names and ranges of the profiles.
        profiles: String,
        /// What to build, such as `832x480x81`.
        workload: String,
    },
    /// No room for an engine.
    #[error(
        "{submodule}: no room on the GPU: it needs {} for weights and {} for activations, and {} \
         would fit once idle engines are unloaded; build FP8 engines or a smaller workload, stop \
         other programs on the GPU, or raise --vram-limit",
        gib(*weights), gib(*activations), gib(*fits)
    )]
    OutOfMemory {
        /// Which engine.
        submodule: Submodule,
        /// Bytes of its plan.
        weights: u64,
        /// Bytes that its activations need beyond what is there.
        activations: u64,
        /// Bytes that could be had.
        fits: u64,
    },
    /// TensorRT or CUDA failed.
    #[error("{submodule}: {source}")]
    TensorRt {
        /// In which engine.
        submodule: Submodule,
        /// What they say.
        source: bernini_tensorrt::Error,
    },
}

/// Bytes as people say them.
pub(super) fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64)
}
