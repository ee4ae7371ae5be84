//! What runs a submodule. The pipeline knows only these traits.

#[cfg(feature = "host-memory")]
mod host_memory;
mod onnxruntime;
mod overlay;
mod ports;
mod tensorrt;

use std::collections::BTreeMap;
use std::path::PathBuf;

use bernini_graphs::{DType, Submodule};
use serde::Serialize;

#[cfg(feature = "host-memory")]
pub use host_memory::HostMemory;
pub use onnxruntime::{OnnxRuntime, library as onnxruntime_library};
pub use overlay::Overlay;
pub use ports::Outputs;
pub(crate) use ports::{check_inputs, owned};
pub use tensorrt::{EngineError, TensorRt, TensorRtOptions, check_engines};

use crate::device::DeviceTensor;
use crate::guidance::Branch;
use crate::memory::MemoryError;
use crate::package::{Folder, Package};
use crate::request::{Plan, Request, RequestError};
use crate::tensor::Tensor;

#[cfg(test)]
pub(crate) use tensorrt::testing;

/// Loads submodules.
pub trait Backend {
    /// A session that is ready to run.
    fn load(&self, submodule: Submodule) -> Result<Box<dyn Session>, BackendError>;

    /// Refuses a request, whose `plan` is its own, that cannot run here; touches no weights.
    fn check(&self, request: &Request, plan: &Plan, package: &Package) -> Result<(), BackendError>;

    /// Begins to fetch what a request, whose `plan` is its own, will load.
    fn expect(&self, request: &Request, plan: &Plan, package: &Package) {
        let _ = (request, plan, package);
    }

    /// The tensor where sessions read it without a copy: for what is fed in again and again.
    fn resident(&self, tensor: Tensor) -> Result<Tensor, BackendError> {
        Ok(tensor)
    }

    /// Hears which guidance branch the next runs of an expert belong to.
    fn begin_branch(&self, branch: Branch) {
        let _ = branch;
    }

    /// What a GPU did since this was last asked, if there is one.
    fn device_use(&self) -> Result<Option<DeviceUse>, BackendError> {
        Ok(None)
    }
}

/// What runs the graphs or engines of `folder`; of `options`, graphs heed `allow_uncalibrated`.
pub fn open(folder: &Folder, options: TensorRtOptions) -> Result<Box<dyn Backend>, BackendError> {
    Ok(match folder {
        Folder::Export(export) => {
            if export.manifest().uncalibrated && !options.allow_uncalibrated {
                return Err(EngineError::Uncalibrated { folder: export.folder().into() }.into());
            }
            Box::new(OnnxRuntime::new(export.clone())?)
        }
        Folder::Engines(engines) => Box::new(TensorRt::open(engines.clone(), options)?),
    })
}

/// Work of a GPU.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceUse {
    /// Seconds in which it ran each submodule, from its own events.
    pub seconds: BTreeMap<Submodule, f64>,
    /// Most memory in use, by any process, in bytes.
    pub peak_memory_bytes: u64,
    /// Engines that were loaded, in that order.
    pub loads: Vec<EngineLoad>,
}

/// How an engine came to the GPU.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EngineLoad {
    /// Stem of the submodule.
    pub name: &'static str,
    /// Bytes of the plan.
    pub bytes: u64,
    /// Seconds of reading and hashing the plan, maybe while the GPU did something else.
    pub read_seconds: f64,
    /// Seconds in which nothing was done but wait for the plan.
    pub waited_seconds: f64,
    /// Seconds in which TensorRT brought it to the GPU.
    pub deserialize_seconds: f64,
}

/// One loaded submodule.
pub trait Session {
    /// Runs once: every input of the contract by name, every output of it back.
    fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Outputs, BackendError>;

    /// The tensor where the input `name` is read without a copy, in the input's own type.
    fn resident(&self, name: &str, tensor: Tensor) -> Result<Tensor, BackendError> {
        let _ = name;
        Ok(tensor)
    }

    /// A tensor of the port `name` in GPU memory that nobody holds, contents undefined; `None` where
    /// tensors lie on the host.
    fn empty(
        &self,
        name: &str,
        dtype: DType,
        shape: &[usize],
    ) -> Result<Option<DeviceTensor>, BackendError> {
        let _ = (name, dtype, shape);
        Ok(None)
    }

    /// Zeros, f32, where the input `name` is read without a copy.
    fn zeros(&self, name: &str, shape: &[usize]) -> Result<Tensor, BackendError> {
        let Some(zeros) = self.empty(name, DType::F32, shape)? else {
            return Ok(Tensor::zeros(shape));
        };
        zeros.zero()?;
        Ok(Tensor::Device(zeros))
    }

    /// The entries `indices` of axis `axis` of a tensor, where it lies, as one of the port `name`.
    fn select(
        &self,
        name: &str,
        tensor: &Tensor,
        axis: usize,
        indices: &[usize],
    ) -> Result<Tensor, BackendError> {
        let device = match tensor {
            Tensor::Device(device) if !tensor.is_whole(axis, indices) => device,
            _ => return Ok(tensor.select(axis, indices)),
        };
        let selected = self.empty(name, device.dtype(), &device.selected(axis, indices))?;
        let selected = selected.expect("invariant: who has tensors on a GPU has memory there");
        device.select_into(&selected, axis, indices)?;
        Ok(Tensor::Device(selected))
    }

    /// Runs once and gives every layer with its milliseconds; nothing where a backend cannot tell.
    fn layers(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, f32)>, BackendError> {
        self.run(inputs).map(|_| vec![])
    }
}

/// Why a submodule could not be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// A request that cannot run anywhere.
    #[error(transparent)]
    Request(Box<RequestError>),
    /// A request that does not fit this machine's memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// An engine folder that does not fit this machine, or a request that does not fit it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The GPU failed to copy or to allocate.
    #[error(transparent)]
    Gpu(#[from] bernini_tensorrt::Error),
    /// The ONNX Runtime library is not where we look.
    #[error(
        "ONNX Runtime not found: looked for {}; run `./x setup`, or set ORT_DYLIB_PATH to \
         libonnxruntime.so of version 1.24 or later",
        tried.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    LibraryMissing {
        /// Every place that was tried.
        tried: Vec<PathBuf>,
    },
    /// The ONNX Runtime library is there but does not load.
    #[error("{} does not load as ONNX Runtime: {reason}; run `./x setup`", path.display())]
    LibraryBroken {
        /// The library.
        path: PathBuf,
        /// What the loader says.
        reason: String,
    },
    /// ONNX Runtime refuses a graph or fails in it.
    #[error("{submodule}: ONNX Runtime failed to {action}: {reason}")]
    OnnxRuntime {
        /// Which graph.
        submodule: Submodule,
        /// `load` or `run`.
        action: &'static str,
        /// Its own words.
        reason: String,
    },
    /// The folder does not hold the submodule.
    #[error(
        "the folder holds no {submodule}; export the checkpoint again, or build all its engines"
    )]
    MissingSubmodule {
        /// Which one.
        submodule: Submodule,
    },
    /// A port of the contract is not there.
    #[error("{submodule}: no port {name}")]
    MissingPort {
        /// Which submodule.
        submodule: Submodule,
        /// Name of the port.
        name: String,
    },
    /// An input that the contract does not know.
    #[error("{submodule}: unknown input {name}")]
    UnknownPort {
        /// Which submodule.
        submodule: Submodule,
        /// Name of the input.
        name: String,
    },
    /// A tensor does not fit its port.
    #[error("{submodule}: port {name}: expected {expected}, found {found}")]
    Port {
        /// Which submodule.
        submodule: Submodule,
        /// Name of the port.
        name: String,
        /// Type and shape of the contract.
        expected: String,
        /// Type and shape of the tensor.
        found: String,
    },
}
