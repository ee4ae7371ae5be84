//! Loaded engines.

use crate::{Context, EngineTensor, Error};

/// An engine on the GPU. Cheap to clone.
#[derive(Clone)]
pub struct Engine(());

impl Engine {
    /// Inputs and outputs.
    pub fn tensors(&self) -> Vec<EngineTensor> {
        Vec::new()
    }

    /// Number of profiles.
    pub fn profiles(&self) -> usize {
        0
    }

    /// Shapes of an input in a profile: `[min, opt, max]`.
    pub fn profile_shape(&self, name: &str, profile: usize) -> Result<[Vec<i64>; 3], Error> {
        let _ = (name, profile);
        Err(Error::NotCompiled)
    }

    /// Bytes of activation memory that a context needs in a profile, see [`Context::set_memory`].
    pub fn activation_bytes(&self, profile: usize) -> u64 {
        let _ = profile;
        0
    }

    /// Number of TensorRT layers after fusion.
    pub fn layer_count(&self) -> usize {
        0
    }

    /// What each layer became, as TensorRT's JSON; the plan must have been built with
    /// [`crate::Config::set_detailed`] to show more than names.
    pub fn layers(&self) -> Result<String, Error> {
        Err(Error::NotCompiled)
    }

    /// A context that runs this engine.
    pub fn context(&self) -> Result<Context, Error> {
        Err(Error::NotCompiled)
    }
}
