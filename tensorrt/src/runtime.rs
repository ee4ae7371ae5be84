//! Loading engines.

use std::sync::Arc;

use crate::{Engine, Error, TensorRt, result::Handle, sys};

/// Loads plans onto the GPU whose context is current on this thread (0 by default).
#[derive(Clone)]
pub struct Runtime(Arc<Owner>);

/// Keeps the C++ runtime alive for its engines.
pub(crate) struct Owner {
    handle: Handle<sys::Runtime>,
    pub tensorrt: TensorRt,
}

// SAFETY: TensorRT's objects belong to no thread: "accesses to an object from different threads must
// be serialized by the client" (NVIDIA, How TensorRT Works, Threading); moving serialises them.
unsafe impl Send for Owner {}
// SAFETY: the same page lists as thread-safe: non-modifying operations on a runtime or engine, and
// deserialising an engine from a runtime. Nothing else is done through a shared runtime.
unsafe impl Sync for Owner {}

impl Runtime {
    /// A runtime.
    pub fn new(tensorrt: &TensorRt) -> Result<Self, Error> {
        let handle = tensorrt.call("create a runtime", |shim, error| {
            // SAFETY: the entry point and the logger are TensorRT's and live on; the result is ours.
            unsafe {
                let (entry, logger) = (tensorrt.entries().runtime, tensorrt.logger());
                Handle::new((shim.runtime_create)(entry, logger, error), shim.runtime_destroy)
            }
        })?;
        Ok(Self(Arc::new(Owner { handle, tensorrt: tensorrt.clone() })))
    }

    /// Loads a plan; its weights go to the GPU. The plan must come from a trusted, hash-checked
    /// file: TensorRT itself does not check it.
    pub fn deserialize(&self, plan: &[u8]) -> Result<Engine, Error> {
        let handle = self.0.tensorrt.call("load a plan", |shim, error| {
            // SAFETY: the runtime is alive, and kept so by the engine; the plan is only read during
            // the call; the result is ours.
            unsafe {
                let (runtime, bytes) = (self.0.handle.get(), plan.as_ptr().cast());
                let engine = (shim.runtime_deserialize)(runtime, bytes, plan.len(), error);
                Handle::new(engine, shim.engine_destroy)
            }
        })?;
        Engine::new(handle, self.0.clone())
    }
}
