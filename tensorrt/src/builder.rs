//! Building engines.

use crate::{Config, Error, Network, Plan, TensorRt};

/// Builds plans from networks; uses the GPU whose context is current on this thread (0 by default).
pub struct Builder(());

impl Builder {
    /// A builder; fails with [`Error::BuilderResource`] where TensorRT lacks kernels for the GPU.
    pub fn new(tensorrt: &TensorRt) -> Result<Self, Error> {
        let _ = tensorrt;
        Err(Error::NotCompiled)
    }

    /// An empty, strongly typed network.
    pub fn network(&self) -> Result<Network, Error> {
        Err(Error::NotCompiled)
    }

    /// A configuration with an empty timing cache.
    pub fn config(&self) -> Result<Config, Error> {
        Err(Error::NotCompiled)
    }

    /// Builds a plan; takes seconds to minutes. [`Error::Cancelled`] if the progress callback said so.
    pub fn build(&self, network: &Network, config: &Config) -> Result<Plan, Error> {
        let _ = (network, config);
        Err(Error::NotCompiled)
    }
}
