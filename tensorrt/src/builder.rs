//! Building engines.

use std::rc::Rc;

use crate::{Config, Error, Network, Plan, TensorRt, loader, result::Handle, sys};

/// Builds plans from networks; uses the GPU whose context is current on this thread (0 by default).
/// It stays on its thread: "the TensorRT builder may only be used by one thread at a time", and
/// networks, configurations and plans share it.
pub struct Builder(Rc<Owner>);

/// Keeps the C++ builder alive for everything that it made.
pub(crate) struct Owner {
    pub handle: Handle<sys::Builder>,
    pub tensorrt: TensorRt,
}

impl Builder {
    /// A builder; fails with [`Error::BuilderResource`] where TensorRT lacks kernels for the GPU.
    pub fn new(tensorrt: &TensorRt) -> Result<Self, Error> {
        if tensorrt.folder().is_some_and(|folder| !loader::builder_resources_found(folder)) {
            return Err(Error::BuilderResource { log: Vec::new() });
        }
        let handle = tensorrt.call("create a builder", |shim, error| {
            // SAFETY: the entry point and the logger are TensorRT's and live on; the result is ours.
            unsafe {
                let (entry, logger) = (tensorrt.entries().builder, tensorrt.logger());
                Handle::new((shim.builder_create)(entry, logger, error), shim.builder_destroy)
            }
        });
        let handle = handle.map_err(missing_resources)?;
        Ok(Self(Rc::new(Owner { handle, tensorrt: tensorrt.clone() })))
    }

    /// An empty, strongly typed network.
    pub fn network(&self) -> Result<Network, Error> {
        Network::new(&self.0)
    }

    /// A configuration with an empty timing cache.
    pub fn config(&self) -> Result<Config, Error> {
        Config::new(&self.0)
    }

    /// Builds a plan; takes seconds to minutes. Network and configuration must be this builder's.
    /// [`Error::Cancelled`] if the progress callback said so.
    pub fn build(&self, network: &Network, config: &Config) -> Result<Plan, Error> {
        for (value, owner) in [("network", network.builder()), ("configuration", config.builder())]
        {
            if !Rc::ptr_eq(owner, &self.0) {
                return Err(Error::Argument {
                    what: "a part of another builder",
                    value: value.into(),
                });
            }
        }
        config.start_progress();
        let plan = self.0.tensorrt.call("build an engine", |shim, error| {
            // SAFETY: all three objects are alive and stay so during the call; the result is ours.
            unsafe {
                let (builder, network, config) = (self.0.handle.get(), network.get(), config.get());
                let plan = (shim.builder_build)(builder, network, config, error);
                Handle::new(plan, shim.memory_destroy)
            }
        });
        config.check_progress(plan.is_ok())?;
        plan.map(|handle| Plan::new(handle, &self.0))
    }
}

/// TensorRT says a missing resource library only in its log.
fn missing_resources(error: Error) -> Error {
    match error {
        Error::TensorRt { message, mut log, .. }
            if log.iter().chain([&message]).any(|line| line.contains("builder_resource")) =>
        {
            log.push(message);
            Error::BuilderResource { log }
        }
        other => other,
    }
}
