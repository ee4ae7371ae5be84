//! How a network is built.

use crate::{BuildProgress, Error, InputShapes};

/// Settings of a build: profiles, timing cache, limits, progress.
pub struct Config(());

impl Config {
    /// Adds a profile: a range for every input with a size of -1. Returns its index.
    pub fn add_profile(&mut self, shapes: &[InputShapes]) -> Result<usize, Error> {
        let _ = shapes;
        Err(Error::NotCompiled)
    }

    /// Starts from a saved timing cache. Returns false, and starts from an empty one, when the
    /// bytes are damaged or come from another GPU or TensorRT.
    pub fn set_timing_cache(&mut self, bytes: &[u8]) -> Result<bool, Error> {
        let _ = bytes;
        Err(Error::NotCompiled)
    }

    /// The timing cache's bytes, with what builds have added to it.
    pub fn timing_cache(&self) -> Result<Vec<u8>, Error> {
        Err(Error::NotCompiled)
    }

    /// Limits the scratch memory of a single layer, in bytes; TensorRT's default is all of the GPU.
    pub fn set_workspace(&mut self, bytes: usize) {
        let _ = bytes;
    }

    /// 0 (fastest build) to 5 (fastest engine); TensorRT's default is 3.
    pub fn set_optimization_level(&mut self, level: u8) {
        let _ = level;
    }

    /// Whether the plan keeps the detailed layer information of [`crate::Engine::layers`].
    pub fn set_detailed(&mut self, detailed: bool) {
        let _ = detailed;
    }

    /// Calls `progress` at every step of a build, possibly from TensorRT's threads, one at a time;
    /// false cancels the build.
    pub fn set_progress(
        &mut self,
        progress: impl FnMut(BuildProgress) -> bool + Send + 'static,
    ) -> Result<(), Error> {
        let _ = progress;
        Err(Error::NotCompiled)
    }
}
