//! Loading engines.

use crate::{Engine, Error, TensorRt};

/// Loads plans onto the GPU whose context is current on this thread (0 by default).
pub struct Runtime(());

impl Runtime {
    /// A runtime.
    pub fn new(tensorrt: &TensorRt) -> Result<Self, Error> {
        let _ = tensorrt;
        Err(Error::NotCompiled)
    }

    /// Loads a plan; its weights go to the GPU. The plan must come from a trusted, hash-checked
    /// file: TensorRT itself does not check it.
    pub fn deserialize(&self, plan: &[u8]) -> Result<Engine, Error> {
        let _ = plan;
        Err(Error::NotCompiled)
    }
}
