//! Running engines.

use std::sync::Arc;

use crate::{
    Error,
    cuda::{Buffer, Stream},
};

/// State of one run of an engine: profile, shapes, addresses, activation memory. Several contexts
/// may share one activation buffer as long as their work is on one stream.
pub struct Context(());

impl Context {
    /// Chooses a profile (0 at first) and waits for it; forgets every input shape.
    pub fn set_profile(&mut self, profile: usize, stream: &Stream) -> Result<(), Error> {
        let _ = (profile, stream);
        Err(Error::NotCompiled)
    }

    /// Gives the activation memory, at least [`crate::Engine::activation_bytes`] of the profile.
    /// Needed before the first enqueue.
    pub fn set_memory(&mut self, memory: Arc<Buffer>) -> Result<(), Error> {
        let _ = memory;
        Err(Error::NotCompiled)
    }

    /// Sets the shape of an input, within the profile's range.
    pub fn set_shape(&mut self, name: &str, shape: &[i64]) -> Result<(), Error> {
        let _ = (name, shape);
        Err(Error::NotCompiled)
    }

    /// Current shape of a tensor; an output's is known once every input's is set.
    pub fn shape(&self, name: &str) -> Result<Vec<i64>, Error> {
        let _ = name;
        Err(Error::NotCompiled)
    }

    /// Uses the bytes from `offset` of `buffer` for a tensor; dense, row-major. Kept until bound
    /// anew, also over changes of shape and profile.
    pub fn bind(&mut self, name: &str, buffer: Arc<Buffer>, offset: usize) -> Result<(), Error> {
        let _ = (name, buffer, offset);
        Err(Error::NotCompiled)
    }

    /// Queues one run on the stream. Every tensor must be bound with room for its current shape.
    pub fn enqueue(&mut self, stream: &Stream) -> Result<(), Error> {
        let _ = stream;
        Err(Error::NotCompiled)
    }

    /// Runs once with TensorRT's profiler and returns each layer's name and milliseconds.
    pub fn profile_layers(&mut self, stream: &Stream) -> Result<Vec<(String, f32)>, Error> {
        let _ = stream;
        Err(Error::NotCompiled)
    }
}
