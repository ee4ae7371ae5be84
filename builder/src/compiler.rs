//! The seam between deciding what to build and building it: TensorRT stands behind it, or a stand-in
//! in tests.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bernini_graphs::Submodule;
use bernini_graphs::engines::GpuEntry;
use bernini_graphs::manifest::PortEntry;

use crate::key::{Flags, InputRange, Platform};

/// Is told how far a build is.
pub trait Progress: Send + Sync {
    /// The engine of `submodule` begins; it is number `index` of `count`, from 0.
    fn engine(&self, submodule: Submodule, index: usize, count: usize);
    /// Within the engine, `step` of `steps` of a phase are done. Phases nest and overlap.
    fn step(&self, phase: &str, step: u32, steps: u32);
}

/// Tells nobody.
impl Progress for () {
    fn engine(&self, _: Submodule, _: usize, _: usize) {}
    fn step(&self, _: &str, _: u32, _: u32) {}
}

/// Who is told, and who may end it: shared with TensorRT's threads.
#[derive(Clone)]
pub struct Watch {
    /// Is told how far it is.
    pub progress: Arc<dyn Progress>,
    /// Set where the build is to end.
    pub interrupted: Arc<AtomicBool>,
}

impl Watch {
    /// Whether the build is to end.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

/// One engine to build.
pub struct Job<'a> {
    /// Which one.
    pub submodule: Submodule,
    /// The graph; its external data lies beside it.
    pub graph: &'a Path,
    /// What the graph takes.
    pub inputs: &'a [PortEntry],
    /// Inputs of each profile.
    pub profiles: &'a [Vec<InputRange>],
    /// How.
    pub flags: Flags,
    /// The library of the graph's own operators, where it has some.
    pub plugin: Option<&'a Path>,
    /// What earlier builds have measured; empty at first.
    pub timing_cache: &'a [u8],
}

/// An engine that was built.
pub struct Compiled {
    /// The serialised engine.
    pub plan: Box<dyn AsRef<[u8]>>,
    /// Device memory for activations, the largest of all profiles, in bytes.
    pub activation_bytes: u64,
    /// What each layer became, as TensorRT's JSON.
    pub layers: String,
    /// What this build and those before have measured.
    pub timing_cache: Vec<u8>,
    /// Seconds that TensorRT built.
    pub seconds: f64,
    /// Whether the timing cache that was given could not be used.
    pub timing_cache_refused: bool,
}

/// Builds engines.
pub trait Compiler {
    /// What it builds with and for: decides keys.
    fn platform(&self) -> Platform;

    /// The GPU, for the manifest.
    fn gpu(&self) -> GpuEntry;

    /// Builds one engine.
    ///
    /// # Errors
    /// See [`CompileError`]; [`CompileError::Cancelled`] where the watch was interrupted.
    fn compile(&mut self, job: &Job<'_>, watch: &Watch) -> Result<Compiled, CompileError>;
}

/// Why an engine was not built.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The watch asked for the end.
    #[error("interrupted")]
    Cancelled,
    /// The graph could not be read.
    #[error(transparent)]
    File(#[from] crate::files::FileError),
    /// TensorRT or the GPU.
    #[error(transparent)]
    TensorRt(bernini_tensorrt::Error),
    /// The graph's inputs are not those of the manifest.
    #[error(
        "the graph's input {name} is {found}, the manifest says {expected}; export the checkpoint \
         again"
    )]
    Contract {
        /// The input.
        name: String,
        /// As the manifest has it.
        expected: String,
        /// As TensorRT read it.
        found: String,
    },
    /// The GPU had no room to try kernels in.
    #[error(
        "the GPU ran out of memory ({free} of {total} bytes are free now); end what else runs on \
         it, build workloads of fewer tokens, or use a GPU with more memory: {source}"
    )]
    OutOfMemory {
        /// Bytes free after the failure.
        free: usize,
        /// Bytes of the GPU.
        total: usize,
        /// TensorRT's own words.
        source: bernini_tensorrt::Error,
    },
}

impl From<bernini_tensorrt::Error> for CompileError {
    fn from(error: bernini_tensorrt::Error) -> Self {
        match error {
            bernini_tensorrt::Error::Cancelled => Self::Cancelled,
            other => Self::TensorRt(other),
        }
    }
}
